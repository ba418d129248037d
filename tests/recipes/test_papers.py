"""What recipes build, against sentences of the papers they are called after.

`tests/papers.toml` has a table for each statement: the recipe, the paper's place and words, and the value that the
built specification, card or network must have. What is not stated stands there too, with what was chosen.
"""

from __future__ import annotations

import re
import tomllib
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, TypeVar

import pytest
import torch

from brain_edge.errors import WeightsError
from brain_edge.spec import SlicesAlong, SlidingWindow, StridedWindows
from brain_edge.spec.execution import Execution
from brain_edge.spec.steps import (
    Argmax,
    ComponentExtent,
    CropAroundStage,
    CropOrPadInPlane,
    CropOrPadTo,
    FitPercentile,
    Linear,
    LookUpRegions,
    MinimumVolume,
    OneHot,
    Orient,
    PaintRegions,
    ResizeInPlane,
    ResizeTo,
    Threshold,
    VoteStages,
)
from brain_edge_conversion.networks.brainmage import BrainMaGe
from brain_edge_conversion.recipe import Variant
from brain_edge_conversion.recipes import (
    _synthetic_slices,
    cotrnet,
    deepseg_nnunet,
    hardnet_bts,
    load_recipe,
    multi_annotator_2d,
    nnunet_loss_ensemble,
    recipe_names,
    residual_unet_cascade,
    vae_unet,
    vox2vox,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from brain_edge.spec.steps import Step
    from brain_edge_conversion.recipe import GraphSource, ModelSource

STATEMENTS: Final = tomllib.loads((Path(__file__).parents[1] / "papers.toml").read_text("utf-8"))["statement"]
LONGEST_QUOTE: Final = 20
Run = TypeVar("Run", bound=Execution)


def steps(source: ModelSource, kind: type[Step]) -> Iterator[Any]:
    return (step for stage in source.spec.stages for step in (*stage.before, *stage.after) if isinstance(step, kind))


def built(graph: GraphSource) -> torch.nn.Module:
    """Shapes only, no number is drawn; but for a network that asks for numbers while it is made (Swin UNETR)."""
    with torch.device("cpu" if graph.has_fixed_sides else "meta"):
        return graph.build(None)


def parameters(source: ModelSource) -> list[int]:
    """Of each network, in the order of its graphs."""
    return [sum(each.numel() for each in built(graph).parameters()) for graph in source.graphs]


def windows(source: ModelSource) -> list[list[int]]:
    return [list(getattr(stage.network.execution, "shape", ())) for stage in source.spec.stages]


def strides(source: ModelSource) -> list[list[int]]:
    return [list(getattr(stage.network.execution, "stride", ())) for stage in source.spec.stages]


def executions(source: ModelSource, kind: type[Run]) -> Iterator[Run]:
    """How the networks run, where all run in one way."""
    for stage in source.spec.stages:
        assert isinstance(stage.network.execution, kind)
        yield stage.network.execution


def children(source: ModelSource) -> dict[str, int]:
    """Of each part of the only network."""
    (graph,) = source.graphs
    return {name: sum(each.numel() for each in part.parameters()) for name, part in built(graph).named_children()}


def painted(source: ModelSource) -> list[list[float]]:
    return [[each.channel, each.above, each.label] for step in steps(source, PaintRegions) for each in step.regions]


def prepared(source: ModelSource) -> list[Any]:
    """The reference, the atlas, its grid and spacing, and the skull."""
    found = source.spec.preparation
    assert found
    assert found.atlas
    return [found.references[0], found.atlas.space, list(found.atlas.shape), found.atlas.spacing_mm, str(found.skull)]


MEASURES: Final[dict[str, Callable[[ModelSource], Any]]] = {
    "sequences": lambda source: [each.name for each in source.spec.inputs],
    "channels_in": lambda source: [stage.network.channels_in for stage in source.spec.stages],
    "channels_out": lambda source: [stage.network.channels_out for stage in source.spec.stages],
    "labels": lambda source: [f"{each.value} {each.name}" for each in source.spec.labels],
    "parameters": parameters,
    "windows": windows,
    "strides": strides,
    "crops": lambda source: [list(step.shape) for step in steps(source, CropOrPadTo)],
    "boxes": lambda source: [list(step.shape) for step in steps(source, CropAroundStage)],
    "planes": lambda source: [list(step.shape) for step in steps(source, ResizeInPlane)],
    "least_voxels": lambda source: [step.voxels for step in steps(source, MinimumVolume)],
    "mean_areas": lambda source: [step.mean_area_above for step in steps(source, ComponentExtent)],
    "before": lambda source: [type(step).__name__ for step in source.spec.stages[0].before],
    "after": lambda source: [type(step).__name__ for step in source.spec.stages[-1].after],
    "figures": lambda source: source.card.published_figures,
    "networks": lambda source: len(source.graphs),
    "passes": lambda source: [stage.network.passes for stage in source.spec.stages],
    "children": children,
    "resized": lambda source: [list(step.shape) for step in steps(source, ResizeTo)],
    "padded": lambda source: [list(step.shape) for step in steps(source, CropOrPadInPlane)],
    "orientation": lambda source: [step.axes for step in steps(source, Orient)],
    "contrasts": lambda source: [list(map(str, each.stated)) for each in source.spec.inputs],
    "percents": lambda source: [step.percent for step in steps(source, FitPercentile)],
    "linear": lambda source: [[round(step.multiply, 6), round(step.add, 6)] for step in steps(source, Linear)],
    "one_hot": lambda source: [list(step.values) for step in steps(source, OneHot)],
    "thresholds": lambda source: [step.above for step in steps(source, Threshold)],
    "decided": lambda source: [list(step.values) for step in steps(source, Argmax)],
    "looked_up": lambda source: [list(step.labels) for step in steps(source, LookUpRegions)],
    "painted": painted,
    "ties": lambda source: [list(step.tie_order) for step in steps(source, VoteStages)],
    "neighbours": lambda source: [each.neighbours for each in executions(source, SlicesAlong)],
    "overlaps": lambda source: [each.overlap for each in executions(source, SlidingWindow)],
    "preparation": prepared,
    "cores": lambda source: [list(each.core) for each in executions(source, StridedWindows)],
}


WITHOUT_A_PAPER: Final = {
    "deepbet": "no text at hand; read from its published program",
    "hd-bet-v1": "no text at hand; read from its published program",
    "aparc50": "no text at hand; read from its published program",
    "dk-atlas": "no text at hand; read from its published program",
    "mindgrab": "no text at hand; read from its published program",
    "robust-subcortical": "no text at hand; read from its published program",
    "robust-tissue": "no text at hand; read from its published program",
    "meshnet-subcortical": "no text at hand; read from its published program",
    "meshnet-tissue": "no text at hand; read from its published program",
    "fit-nnunet": "fit for testing; not the published network",
    "fit-vox2vox": "fit for testing; not the published network",
}
"""Recipes without statements."""


def title(statement: dict[str, Any]) -> str:
    return f"{statement['recipe']}-{statement['what']}"


def variant_of(statement: dict[str, Any]) -> Variant:
    names = statement.get("sequences")
    return Variant(
        members=statement.get("members"), flips=statement.get("flips", False), sequences=tuple(names) if names else None
    )


@pytest.mark.parametrize("statement", STATEMENTS, ids=title)
def test_a_recipe_is_what_its_paper_says(statement: dict[str, Any]):
    recipe = load_recipe(statement["recipe"])
    found = MEASURES[statement["what"]](recipe.variant(variant_of(statement)))
    if statement["what"] == "figures":
        assert statement["value"] in found
    elif statement["what"] == "children":
        assert {name: found[name] for name in statement["value"]} == statement["value"]
    else:
        assert found == statement["value"]


def altered(value: Any) -> Any:
    """Another value of the same kind."""
    if isinstance(value, dict):
        return {name: each + 1 for name, each in value.items()}
    if isinstance(value, list):
        return [*value, value[-1]]
    return f"{value} and more" if isinstance(value, str) else value + 1


FIRST_OF_EACH_KIND: Final = {each["what"]: each for each in reversed(STATEMENTS)}


@pytest.mark.parametrize("kind", MEASURES)
def test_another_value_is_noticed(kind: str):
    statement = FIRST_OF_EACH_KIND[kind]
    with pytest.raises(AssertionError):
        test_a_recipe_is_what_its_paper_says(statement | {"value": altered(statement["value"])})


@pytest.mark.parametrize("statement", [each for each in STATEMENTS if "printed" in each], ids=title)
def test_a_number_of_parameters_that_a_paper_prints_is_ours_by_a_stated_way(statement: dict[str, Any]):
    """To half of its last digit, unless a tolerance is stated."""
    named = list(built(load_recipe(statement["recipe"]).variant(Variant()).graphs[0]).named_parameters())
    left_out = statement.get("uncounted", "$^")
    counted = sum(each.numel() for name, each in named if not re.search(left_out, name)) + statement.get("added", 0)
    number, _, million = statement["printed"].partition(" ")
    unit = 10**6 if million else 1
    decimals = len(number.partition(".")[2])
    tolerance = statement.get("tolerance", unit / 10**decimals / 2)
    assert abs(counted - float(number.replace(",", "")) * unit) <= tolerance
    assert ("why" in statement) == bool({"uncounted", "added"} & set(statement))


@pytest.mark.parametrize("statement", STATEMENTS, ids=title)
def test_a_statement_has_its_place_and_few_words(statement: dict[str, Any]):
    assert statement["recipe"] in recipe_names()
    assert ("quote" in statement) != ("chosen" in statement), "the paper's words, or what was chosen without them"
    assert statement["place"]
    assert len(statement.get("quote", "").split()) <= LONGEST_QUOTE


def test_every_recipe_with_a_paper_has_four_kinds_of_statements_or_more():
    kinds = {name: {each["what"] for each in STATEMENTS if each["recipe"] == name} for name in recipe_names()}
    assert {name for name, found in kinds.items() if len(found) < 4} == set(WITHOUT_A_PAPER)
    assert not any(kinds[name] for name in WITHOUT_A_PAPER)


def test_the_chapters_number_of_parameters_is_that_of_the_program_and_not_of_its_words():
    """Two classes and transposed convolutions, as the chapter writes them, are 304,657 parameters more."""
    with torch.device("meta"):
        program, words = (sum(each.numel() for each in BrainMaGe(as_written=it).parameters()) for it in (False, True))
    assert (program, words) == (8_290_417, 8_595_074)


def test_brainmage_as_written_has_two_classes_that_sum_to_one():
    network = BrainMaGe(4, as_written=True).eval()
    with torch.no_grad():
        answer = network(torch.randn(1, 1, 32, 16, 16))
    assert answer.shape == (1, 2, 32, 16, 16)
    torch.testing.assert_close(answer.sum(dim=1), torch.ones(1, 32, 16, 16))


PAGE: Final = Path(__file__).parents[2] / "docs/concepts/papers.md"
PAPERS: Final = 45


def test_the_page_of_papers_names_all_papers_and_every_recipe_that_has_one():
    tables = [line for line in PAGE.read_text("utf-8").splitlines() if line.startswith("| ")]
    papers = [line for line in tables if not line.startswith("| paper ")]
    assert len(papers) == PAPERS
    named = {name for line in papers for name in re.findall("`([^`]+)`", line.split("|")[2])} & set(recipe_names())
    assert named == set(recipe_names()) - set(WITHOUT_A_PAPER)
    assert all(f"`{name}`" in PAGE.read_text("utf-8") for name in WITHOUT_A_PAPER)


OLD: Final = {
    "vox2vox": (lambda: vox2vox.vox2vox_graphs(1, 2), {"up3.0.weight": (16, 8, 4, 4, 4)}, "the last block of"),
    "unet-2d": (lambda: _synthetic_slices.unet_graphs(2, 2), {"down.4.3.weight": (32, 32, 3, 3)}, "two convolutions"),
    "residual": (
        lambda: residual_unet_cascade.localisation_graphs(1, (2, 2)),
        {"encoders.0.norm.weight": (2,)},
        "third group norm",
    ),
    "hardnet-bts": (lambda: hardnet_bts.hardnet_graphs(("v1",), 2), {"head.weight": (3, 2, 1, 1, 1)}, "three channels"),
    "cotrnet": (lambda: cotrnet.cotrnet_graphs((4, 8, 8, 8), (8, 8, 4, 4, 4)), {"head.bias": (3,)}, "three heads"),
    "nnunet": (
        lambda: nnunet_loss_ensemble.nnunet_graphs(1, (2, 4)),
        {"decoder.seg_layers.0.bias": (3,)},
        "network of nnU-Net 2",
    ),
    "deepseg-nnunet": (
        lambda: deepseg_nnunet.ensemble_graphs(1, 4, (2, 4)),
        {"input_block.conv1.conv.weight": (2, 4, 3, 3, 3)},
        "DynUNet",
    ),
    "multi-annotator-2d": (
        lambda: multi_annotator_2d.annotator_graphs((2, 4)),
        {"unet.encoder.stages.1.0.convs.0.conv.weight": (5, 2, 1, 3, 3)},
        "512 maps",
    ),
}
"""Of each corrected recipe: narrow networks, a tensor as the variant before it had it, and what is said."""


@pytest.mark.parametrize(("graphs", "tensor", "words"), OLD.values(), ids=OLD)
def test_weights_of_the_variant_before_are_refused_by_name_and_with_what_was_corrected(
    graphs: Callable[[], tuple[GraphSource, ...]], tensor: dict[str, tuple[int, ...]], words: str, tmp_path: Path
):
    graph = graphs()[0]
    state = graph.build(None).state_dict()
    torch.save(state | {name: torch.zeros(shape) for name, shape in tensor.items()}, tmp_path / "old.pt")
    (name,) = tensor
    with pytest.raises(WeightsError, match=f"{re.escape(name)}.*now follows its paper; before, .*{words}"):
        graph.build(tmp_path / "old.pt")
    torch.save(state, tmp_path / "new.pt")
    assert graph.build(tmp_path / "new.pt").state_dict().keys() == state.keys()


@pytest.mark.parametrize("beside_weights", [False, True])
def test_landmarks_are_not_needed_where_a_z_score_follows(beside_weights: bool, tmp_path: Path):
    weights = vae_unet.vae_graphs(8)[0].build(None).state_dict() if beside_weights else {}
    names = ["t1_landmarks"] if beside_weights else ["T1", "T1C", "T2", "FLAIR"]
    torch.save(weights | dict.fromkeys(names, torch.linspace(0, 100, 13)), tmp_path / "weights.pt")
    words = r"weights\.pt: expected the weights of the network, got landmarks of a histogram \((T1|t1_landmarks).*"
    with pytest.raises(
        WeightsError, match=rf"{words}This recipe needs no landmarks, because its z-score cancels their factor"
    ):
        vae_unet.vae_graphs(8)[0].build(tmp_path / "weights.pt")


VERSION_1: Final = {
    "volumes": (lambda: nnunet_loss_ensemble.nnunet_graphs(1, (2, 4, 6))[0], ""),
    "batch norms": (lambda: deepseg_nnunet.ensemble_graphs(1, 4, (2, 4, 6))[0], ""),
    "slices": (lambda: multi_annotator_2d.annotator_graphs((2, 4, 6))[0], "unet."),
}
"""Narrow networks of nnU-Net 1, and what stands before the names of their tensors."""


@pytest.mark.parametrize(("build", "prefix"), VERSION_1.values(), ids=VERSION_1)
def test_state_dicts_of_nnunet_1_load_under_their_own_names(
    build: Callable[[], GraphSource], prefix: str, tmp_path: Path
):
    """Names as `Generic_UNet` makes them: two blocks in a level, at the deepest level two layers of one block."""
    graph = build()
    wanted = {name: each for name, each in graph.build(None).state_dict().items() if "tracked" not in name}
    two = (0, 1)
    layers = {
        **{f"conv_blocks_context.{a}.blocks.{b}": f"encoder.stages.{a}.0.convs.{b}" for a in two for b in two},
        **{f"conv_blocks_context.2.{b}.blocks.0": f"encoder.stages.2.0.convs.{b}" for b in two},
        **{f"conv_blocks_localization.{a}.{b}.blocks.0": f"decoder.stages.{a}.convs.{b}" for a in two for b in two},
    }
    tensors = ("weight", "bias", "running_mean", "running_var")
    parts = {f"conv.{each}": f"conv.{each}" for each in tensors} | {f"instnorm.{e}": f"norm.{e}" for e in tensors}
    names = {f"{a}.{b}": f"{c}.{d}" for a, c in layers.items() for b, d in parts.items()}
    names |= {f"tu.{n}.weight": f"decoder.transpconvs.{n}.weight" for n in two}
    names |= {f"seg_outputs.{n}.weight": f"decoder.seg_layers.{n}.weight" for n in two}
    file = {theirs: prefix + ours for theirs, ours in names.items() if prefix + ours in wanted}
    assert set(file.values()) == set(wanted)
    flat = {name: each.squeeze(2) if prefix and each.ndim > 2 else each for name, each in wanted.items()}
    state = {theirs: flat[ours] + 1 for theirs, ours in file.items()}
    torch.save({"state_dict": state}, tmp_path / "v1.model")
    loaded = graph.build(tmp_path / "v1.model").state_dict()
    assert all(torch.equal(loaded[name], tensor + 1) for name, tensor in wanted.items())
