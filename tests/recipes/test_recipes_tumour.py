"""The recipes of papers without public weights: sizes that the papers state, and packages of narrow networks.

The networks here are narrow and see small crops; steps, names and numbers of graphs are those of the recipes.
At full width the same is done under the marker `full`.
"""

from __future__ import annotations

import dataclasses
import sys
from typing import TYPE_CHECKING

import numpy as np
import pytest
import torch
from present import present

from brain_edge.engine.segmenter import Segmenter
from brain_edge.errors import MissingExtraError, UsageError, WeightsError
from brain_edge.evaluation.cohort import load_case, load_cohort, study_for
from brain_edge.image.phantom import Phantom, make_study
from brain_edge.image.volume import Study
from brain_edge.package import WeightsStatus
from brain_edge.runtime.session import open_sessions
from brain_edge.spec.plan import cost_in_words
from brain_edge.spec.steps import Argmax, MinimumVolume
from brain_edge.verbs.build_side import build_side
from brain_edge_conversion.convert.convert import ConvertOptions, convert
from brain_edge_conversion.convert.parity import ParityLimits, TorchSession
from brain_edge_conversion.recipe import ModelSource, Variant
from brain_edge_conversion.recipes import (
    cascaded_unet,
    cbam_attention_unet,
    deepseg_nnunet,
    hardnet_bts,
    load_recipe,
    maab_unet3d,
    nnunet_loss_ensemble,
    residual_unet_cascade,
    swin_unetr,
    unet_baseline_m1,
    unet_baseline_m3,
    unet_baseline_m4,
    unet_baseline_m5,
    vae_unet,
    vox2vox,
    vox2vox_calibrated,
    vox2vox_modified,
)
from brain_edge_conversion.recipes._tumour import LICENCE
from brain_edge_conversion.sources import Request, resolve

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from brain_edge.spec import ModelSpec
    from brain_edge_conversion.recipe import GraphSource

BASELINES = tuple(f"unet-baseline-{which}" for which in ("m1", "m2", "m3", "m4", "m5", "m6", "m6-pair"))
NAMES = (
    "cascaded-unet",
    "cbam-attention-unet",
    "deepseg-nnunet",
    "hardnet-bts",
    "maab-unet3d",
    "nnunet-loss-ensemble",
    "residual-unet-cascade",
    "swin-unetr",
    "vae-unet",
    "vox2vox",
    "vox2vox-calibrated",
    "vox2vox-modified",
    *BASELINES,
)
TIGHT = ParityLimits(relative_error=1e-4)
ATTENTION = ParityLimits(relative_error=5e-4)
FULL = pytest.mark.full
PHANTOM = Phantom(shape=(48, 56, 40), spacing_mm=4.0)


def source(spec: ModelSpec, graphs: tuple[GraphSource, ...]) -> ModelSource:
    return ModelSource(spec, graphs, vox2vox.CARD, LICENCE)


NARROW_M4 = dataclasses.replace(unet_baseline_m4.BASELINE, channels=4)
NARROW: dict[str, Callable[[], ModelSource]] = {
    "vox2vox-ensemble": lambda: source(vox2vox.spec(5, (48, 48, 32)), vox2vox.vox2vox_graphs(5, 4)),
    "vox2vox-modified": lambda: source(vox2vox_modified.spec((48, 48, 32)), vox2vox_modified.modified_graphs(4)),
    "cascaded-unet": lambda: source(cascaded_unet.spec((35, 40, 40)), cascaded_unet.cascaded_graphs(8)),
    "residual-unet-cascade": lambda: source(
        residual_unet_cascade.spec(2, (48, 48, 40), (32, 32, 32), 5.0),
        residual_unet_cascade.localisation_graphs(2, (8, 8)),
    ),
    "hardnet-bts": lambda: source(
        hardnet_bts.spec(hardnet_bts.VERSIONS, ((), (0,))), hardnet_bts.hardnet_graphs(hardnet_bts.VERSIONS, 8)
    ),
    "nnunet-loss-ensemble": lambda: source(
        nnunet_loss_ensemble.spec(2, (32, 32, 32)), nnunet_loss_ensemble.nnunet_graphs(2, (4, 8, 16, 16))
    ),
    "cbam-attention-unet": lambda: source(
        cbam_attention_unet.spec(((), (0,)), (32, 32, 32)), cbam_attention_unet.cbam_graphs(8)
    ),
    "maab-unet3d": lambda: source(maab_unet3d.spec(2, 24, 20), maab_unet3d.maab_graphs(2, 8)),
    "vae-unet": lambda: source(vae_unet.spec(32, 24, 16), vae_unet.vae_graphs(8)),
    "deepseg-nnunet": lambda: source(
        deepseg_nnunet.spec(2, (32, 40, 32), 32, 5.0), deepseg_nnunet.ensemble_graphs(2, 4, (4, 8, 8, 8))
    ),
    "swin-unetr": lambda: source(swin_unetr.spec(1, 64, 38), swin_unetr.swin_graphs(1, 12, 64)),
    "unet-baseline-m1": lambda: source(unet_baseline_m1.BASELINE.spec(32), unet_baseline_m1.BASELINE.graphs()),
    "unet-baseline-m4": lambda: source(NARROW_M4.spec(32), NARROW_M4.graphs()),
    "unet-baseline-m5": lambda: source(unet_baseline_m5.BASELINE.spec(32), unet_baseline_m5.BASELINE.graphs()),
}
QUICK = ("vox2vox-modified", "unet-baseline-m1")
"""The others take minutes."""


def stand_in(spec: ModelSpec):
    return make_study(PHANTOM, [sequence.name for sequence in spec.inputs])


@pytest.mark.parametrize("name", [name if name in QUICK else pytest.param(name, marks=FULL) for name in NARROW])
def test_converts_with_random_weights_and_openvino_agrees(name: str, tmp_path: Path):
    model = NARROW[name]()
    weights = dict.fromkeys(model.spec.graphs)
    lines: list[str] = []
    options = ConvertOptions(limits=TIGHT, report=lines.append)
    package = convert(model, weights, stand_in(model.spec), tmp_path / "package", options)
    assert package.manifest.weights_status is WeightsStatus.RANDOM
    assert tuple(graph.graph for graph in present(package.manifest.parity).graphs) == model.spec.graphs
    networks = [line for line in lines if "passes of a network" in line]
    assert len(networks) == (1 if sum(stage.network.passes for stage in model.spec.stages) > 1 else 0)


@FULL  # five members
def test_the_ensemble_is_the_mean_of_its_members_softmax(tmp_path: Path):
    """Against PyTorch, member by member, before the decision."""
    model = NARROW["vox2vox-ensemble"]()
    study = stand_in(model.spec)
    package = convert(
        model, dict.fromkeys(model.spec.graphs), study, tmp_path / "package", ConvertOptions(limits=TIGHT)
    )
    modules = [graph.build(None) for graph in model.graphs]
    seen: list[np.ndarray] = []

    def watched(batch: np.ndarray) -> np.ndarray:
        seen.append(batch.copy())
        return TorchSession(modules[0])(batch)

    sessions = {graph.graph: TorchSession(module) for graph, module in zip(model.graphs, modules, strict=True)}
    Segmenter(model.spec, {**sessions, "model0": watched})(study)
    with torch.no_grad():
        each = [module(torch.from_numpy(seen[0]))[0].double() for module in modules]
    expected = torch.stack(each).mean(dim=0).argmax(dim=0).numpy()
    assert not all(torch.equal(each[0], other) for other in each[1:])

    from brain_edge.engine.inference import predict

    stage = package.manifest.spec.stages[0]
    got = predict(stage.network, open_sessions(package), seen[0][0])
    assert np.abs(got - torch.stack(each).mean(dim=0).numpy()).max() < 1e-4
    assert (got.argmax(axis=0) == expected).mean() > 0.9999


def test_members_have_weights_of_their_own_and_the_same_each_time():
    first, second = vox2vox.vox2vox_graphs(2, width=2)
    once, again, other = first.build(None), first.build(None), second.build(None)
    for name, tensor in once.state_dict().items():
        assert torch.equal(tensor, again.state_dict()[name])
    assert not torch.equal(once.get_parameter("down1.0.weight"), other.get_parameter("down1.0.weight"))


@pytest.mark.parametrize("name", NAMES)
def test_without_weights_it_is_said_that_none_can_be_fetched(name: str):
    with pytest.raises(WeightsError, match=f"the weights of {name} cannot be fetched: give the file with --weights"):
        resolve(Request(source=name))


def test_what_an_ensemble_costs_is_said_in_words():
    assert cost_in_words(vox2vox.spec(1)) is None
    assert cost_in_words(vox2vox.spec(5)) == (
        "5 passes of a network (tumour 5), each over the whole volume or all of its windows"
    )
    cascade = load_recipe("residual-unet-cascade").variant(Variant(members=5)).spec
    assert str(cost_in_words(cascade)).startswith("16 passes of a network (coarse 1, wt 5, tc 5, et 5)")


def test_there_are_no_more_members_than_the_paper_has():
    with pytest.raises(UsageError, match="vox2vox has 5 member"):
        load_recipe("vox2vox").variant(Variant(members=6))


def test_calibrated_vox2vox_has_the_steps_of_vox2vox_and_the_labels_of_brats():
    (ours,), (theirs,) = vox2vox_calibrated.spec().stages, vox2vox.spec().stages
    assert ours.before == theirs.before
    assert isinstance(ours.after[0], Argmax)
    assert ours.after[0].values == (0, 1, 2, 4)
    assert vox2vox_calibrated.spec().label_names() == {1: "necrosis", 2: "oedema", 4: "enhancing"}
    assert vox2vox.spec().label_names() == {1: "necrosis", 2: "oedema", 3: "enhancing"}


def test_the_cascade_of_five_folds_is_fifteen_fine_networks_and_a_coarse_one():
    model = load_recipe("residual-unet-cascade").variant(Variant(members=5))
    assert len(model.graphs) == 16
    assert [len(stage.network.graphs) for stage in model.spec.stages] == [1, 5, 5, 5]


def test_hardnet_mirrors_in_all_eight_ways():
    (stage,) = load_recipe("hardnet-bts").variant(Variant(members=3, flips=True)).spec.stages
    assert stage.network.passes == 24


@pytest.mark.parametrize("name", NAMES)
def test_every_recipe_has_a_stand_in_for_random_weights_of_the_grid_that_its_data_have(name: str):
    assert load_recipe(name).parity_phantom == Phantom(shape=(240, 240, 155), spacing_mm=1.0)
    assert load_recipe(name).parity_input is None


@pytest.mark.parametrize(
    ("module", "library", "extra"),
    [("monai.networks", "monai", "monai"), ("einops", "einops", "monai"), ("unet", "unet", "convert")],
)
def test_a_network_whose_library_is_missing_names_it_and_its_extra(module: str, library: str, extra: str):
    words = rf"convert needs {library}, which is not installed here: pip install 'brain-edge\[{extra}\]'"
    with pytest.raises(MissingExtraError, match=words), build_side("convert"):
        raise ModuleNotFoundError(name=module)


def test_swin_unetr_asks_for_what_monai_would_miss_later(monkeypatch: pytest.MonkeyPatch):
    """MONAI itself looks for einops when the network runs, and its words name no package of ours."""
    monkeypatch.setitem(sys.modules, "einops", None)
    with pytest.raises(ModuleNotFoundError, match="einops"):
        swin_unetr.swin_graphs()[0].build(None)


@pytest.mark.parametrize("name", BASELINES)
def test_weights_whose_landmarks_are_not_known_are_refused(name: str, tmp_path: Path):
    """With other landmarks than those of its training a network sees other images; the words say what to do."""
    file = tmp_path / "weights.pt"
    torch.save({}, file)
    resolved = resolve(Request(source=name, weights={"": file}))
    with pytest.raises(
        WeightsError, match=r"weights\.pt: .* step match_landmarks, .*unet_baseline.*:network with --spec"
    ):
        resolved.model.graphs[0].build(resolved.weights["model"])


def test_a_baseline_of_other_sequences_has_their_channels_and_the_figures_of_their_row(tmp_path: Path):
    recipe = load_recipe("unet-baseline-m3")
    assert recipe.sequences == (("T1C",), ("T1C", "FLAIR"), ("T1", "T1C", "T2", "FLAIR"))
    alone, pair, turned, four = (
        recipe.variant(Variant(sequences=names)) for names in (("T1C",), ("T1C", "FLAIR"), ("FLAIR", "T1C"), None)
    )
    assert [model.spec.stages[0].network.channels_in for model in (alone, pair, four)] == [1, 2, 4]
    assert turned.spec == pair.spec
    assert "0.577/0.497/0.684" in alone.card.published_figures
    assert "0.608/0.753/0.757" in pair.card.published_figures
    assert four.card.published_figures.startswith("none: the paper did not train this model with these sequences")
    torch.save({}, tmp_path / "weights.pt")
    with pytest.raises(WeightsError, match=r"unet_baseline_m3:network_of_1 with --spec"):
        alone.graphs[0].build(tmp_path / "weights.pt")
    assert unet_baseline_m3.network_of_1().state_dict().keys() == alone.graphs[0].build(None).state_dict().keys()


def test_all_twelve_pairs_of_model_and_sequences_are_there():
    trained = {
        (name, names)
        for name in BASELINES
        for names in load_recipe(name).sequences or (None,)
        if "none" not in load_recipe(name).variant(Variant(sequences=names)).card.published_figures
    }
    assert len(trained - {("unet-baseline-m6-pair", None)}) == 12


@pytest.mark.full  # a smaller input of the baseline that stays
def test_a_baseline_of_one_sequence_converts(tmp_path: Path):
    baseline = unet_baseline_m1.BASELINE
    inputs = tuple(each for each in baseline.inputs if each.name == "T1C")
    model = source(baseline.spec(32, inputs), baseline.graphs(1))
    package = convert(model, {"model": None}, stand_in(model.spec), tmp_path / "package", ConvertOptions(limits=TIGHT))
    assert [each.name for each in package.spec.inputs] == ["T1C"]


def test_weights_with_landmarks_have_a_way_in():
    """`module:network` builds what the recipe builds, for `convert ... --spec`."""
    recipe = load_recipe("unet-baseline-m1").variant(Variant())
    assert unet_baseline_m1.network().state_dict().keys() == recipe.graphs[0].build(None).state_dict().keys()


def test_the_autoencoder_is_cut_off_and_its_weights_still_load(tmp_path: Path):
    """Against MONAI's own network, which returns the segmentation first."""
    from monai.networks.nets import SegResNet, SegResNetVAE

    from brain_edge_conversion.networks.vae_unet import VaeUNet

    published = SegResNetVAE((16, 16, 16), init_filters=8, in_channels=4, out_channels=4).eval()
    ours = VaeUNet(width=8, side=16).eval()
    ours.load_state_dict(published.state_dict())
    image = torch.randn(1, 4, 16, 16, 16)
    torch.save(published.state_dict(), tmp_path / "weights.pt")
    (graph,) = vae_unet.vae_graphs(8, 16)
    with torch.no_grad():
        expected = published(image)[0]
        assert torch.equal(graph.build(tmp_path / "weights.pt")(image), expected)
        assert torch.equal(ours(image), expected)
        assert torch.equal(ours.without_autoencoder()(image), expected)
    segmenter = SegResNet(init_filters=8, in_channels=4, out_channels=4)
    assert ours.state_dict().keys() == segmenter.state_dict().keys()


def test_swin_unetr_sees_the_windows_of_the_published_program():
    """MONAI's sliding_window_inference on a case of BraTS: 32 windows of 128^3."""
    from monai.data.utils import dense_patch_slices

    (stage,) = swin_unetr.spec().stages
    ours = present(stage.network.execution.tiling((240, 240, 155))).places()
    step = int(128 * (1 - 0.7))
    theirs = [tuple(place) for place in dense_patch_slices((240, 240, 155), (128,) * 3, (step,) * 3)]
    assert len(theirs) == 32
    assert {tuple(each.start for each in place) for place in ours} == {
        tuple(int(each.start) for each in place) for place in theirs
    }


def test_deepseg_and_nnunet_agree_by_staple_on_the_callers_grid():
    *_, last = deepseg_nnunet.spec(5).stages
    assert [type(step).__name__ for step in last.after] == ["PaintRegions", "Restore", "MinimumVolume", "StapleStages"]
    assert isinstance(last.after[2], MinimumVolume)
    assert last.after[2].voxels == 200
    assert len(load_recipe("deepseg-nnunet").variant(Variant(members=5)).graphs) == 15


@FULL
@pytest.mark.data
@pytest.mark.parametrize("name", NAMES)
def test_converts_at_full_width_on_a_real_case_of_four_sequences(name: str, tmp_path: Path):
    """Every network as wide as its recipe, on all windows of a 240 x 240 x 155 head with a glioma."""
    resolved = resolve(Request(source=name, random_weights=True))
    (case,) = load_cohort("tcga-fg-6692-tumour").cases()
    study = study_for(load_case(case)[0], resolved.model.spec)
    assert isinstance(study, Study)
    limits = ATTENTION if name == "swin-unetr" else TIGHT
    package = convert(resolved.model, resolved.weights, study, tmp_path / "package", ConvertOptions(limits=limits))
    assert package.manifest.weights_status is WeightsStatus.RANDOM


@FULL
@pytest.mark.parametrize("name", NAMES)
def test_converts_at_full_width(name: str, tmp_path: Path):
    resolved = resolve(Request(source=name, random_weights=True))
    study = make_study(present(load_recipe(name).parity_phantom), [each.name for each in resolved.model.spec.inputs])
    package = convert(resolved.model, resolved.weights, study, tmp_path / "package", ConvertOptions(limits=TIGHT))
    assert package.manifest.weights_status is WeightsStatus.RANDOM
