"""No conversion passes that does not compute what PyTorch computes: judged with networks that are wrong on purpose."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np
import pytest
import torch
from cohorts import threshold_spec
from scipy.special import expit
from torch import nn

from brain_edge.errors import BrainEdgeError, ParityError
from brain_edge.image.phantom import Phantom, make_study
from brain_edge.image.resample import Interpolation
from brain_edge.package.manifest import GraphParity
from brain_edge.spec import Activation, Label, ModelSpec, Network, Sequence, Stage, Task
from brain_edge.spec.steps import Argmax, CropToStage, LargestComponent, Restore, Threshold
from brain_edge_conversion.convert.parity import (
    Moved,
    PairedSession,
    ParityLimits,
    RecallingSession,
    Side,
    TorchSession,
    compare_graphs,
    exceeds,
    find_parity,
    require_parity,
)
from brain_edge_conversion.convert.rewrites.input_affine import Affine

if TYPE_CHECKING:
    from collections.abc import Callable

    from brain_edge.runtime.protocol import Session

SPEC = threshold_spec(0.5)
STUDY = make_study(Phantom(shape=(22, 26, 24), spacing_mm=8.0), ["T1"])
RESTORE = Restore(interpolation=Interpolation.NEAREST)


def bright(batch: np.ndarray) -> np.ndarray:
    """The network that was published: a probability (1, 1, I, J, K)."""
    return np.asarray(expit((batch - 350) / 60), dtype=np.float32)


def both_classes(batch: np.ndarray) -> np.ndarray:
    """The same as a softmax over two classes (1, 2, I, J, K)."""
    return np.concatenate([1 - bright(batch), bright(batch)], axis=1)


def check(
    published: Session, converted: Session, specs: tuple[ModelSpec, ModelSpec] = (SPEC, SPEC), **limits: float
) -> tuple[Any, float | None]:
    """Compare two networks for the graph `identity`."""
    one, other = (
        Side(spec, {"identity": session}) for spec, session in zip(specs, (published, converted), strict=True)
    )
    parity = require_parity(find_parity(one, other, STUDY, ParityLimits(**limits), {}))
    return parity.graphs, parity.mask_dice


def test_the_same_network_differs_by_nothing():
    (graph,), mask_dice = check(bright, bright)
    assert (graph.graph, graph.max_error, graph.relative_error, graph.same_label_share) == ("identity", 0.0, 0.0, 1.0)
    assert mask_dice == 1.0


def test_the_error_is_the_largest_difference_over_the_largest_output_of_pytorch():
    def off(batch: np.ndarray) -> np.ndarray:
        output = 4 * bright(batch)
        output[0, 0, 3, 4, 5] += 0.25
        return output

    (graph,), _ = check(lambda batch: 4 * bright(batch), off, relative_error=0.5)
    assert graph.max_error == pytest.approx(0.25, rel=1e-5)
    assert graph.relative_error == pytest.approx(0.25 / (4 * bright(STUDY.volumes["T1"].voxels).max()), rel=1e-5)


def flip(batch: np.ndarray) -> np.ndarray:
    return np.ascontiguousarray(bright(batch)[:, :, :, ::-1])


def not_a_number(batch: np.ndarray) -> np.ndarray:
    output = bright(batch)
    output[0, 0, 1, 1, 1] = np.nan
    return output


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        pytest.param(not_a_number, r"identity: OpenVINO differs from PyTorch by nan", id="one NaN"),
        pytest.param(lambda batch: np.full_like(batch, np.nan), r"by nan", id="NaN"),
        pytest.param(lambda batch: bright(batch) + np.inf, r"by inf", id="infinity"),
        pytest.param(lambda batch: bright(np.roll(batch, 1, axis=2)), r"the same label in 8\d\.\d", id="a voxel off"),
        pytest.param(flip, r"the same label in \d\d\.\d", id="mirrored"),
        pytest.param(np.zeros_like, r"by 1 \(relative 1, allowed 0\.0005\)", id="all zero"),
        pytest.param(lambda batch: 1 - bright(batch), r"in 0\.\d+% of the voxels", id="inverted"),
        pytest.param(
            lambda batch: bright(batch)[..., :-1],
            r"returns the shape \(1, 1, 22, 26, 24\), OpenVINO \(1, 1, 22, 26, 23\)",
            id="another shape",
        ),
        pytest.param(
            both_classes, r"the shape \(1, 1, 22, 26, 24\), OpenVINO \(1, 2, 22, 26, 24\)", id="more channels"
        ),
    ],
)
def test_a_conversion_is_refused_that_gives(wrong: Callable[[np.ndarray], np.ndarray], words: str):
    with pytest.raises(ParityError, match=words) as refused:
        check(bright, wrong)
    assert refused.value.exit_code == 1


def test_one_voxel_may_move_as_far_as_rounding_moves_it_and_no_farther():
    def off(by: float) -> Callable[[np.ndarray], np.ndarray]:
        def session(batch: np.ndarray) -> np.ndarray:
            output = bright(batch)
            output[0, 0, 0, 0, 0] += by  # air: the label stays
            return output

        return session

    assert check(bright, off(0.0004))[1] == 1.0
    with pytest.raises(ParityError, match=r"relative 0\.0006, allowed 0\.0005.*no layer is suspect by its type"):
        check(bright, off(0.0006))


def test_masks_are_compared_too():
    """Networks that agree, between steps that do not."""
    other = threshold_spec(0.95)
    with pytest.raises(ParityError, match=r"the masks of PyTorch and OpenVINO agree at Dice 0\.\d{5}, expected 0\.999"):
        check(bright, bright, (SPEC, other))


def test_suspect_layers_are_named_for_the_graph_that_is_wrong():
    sides = Side(SPEC, {"identity": bright}), Side(SPEC, {"identity": np.zeros_like})
    suspects = {"identity": ["down.norm", "up.norm"], "another": ["never.named"]}
    words = r"suspect: 2 normalisation layer\(s\) with running statistics \(first: down\.norm\) .*OpenVINO"
    with pytest.raises(ParityError, match=words):
        require_parity(find_parity(*sides, STUDY, ParityLimits(), suspects))


def test_limits_can_be_narrower():
    def nearly(batch: np.ndarray) -> np.ndarray:
        return bright(batch + 1)

    check(bright, nearly, mask_dice=0.99, same_label_share=0.99, relative_error=0.5)
    with pytest.raises(ParityError, match=r"allowed 0\.001"):
        check(bright, nearly, mask_dice=0.99, same_label_share=0.99, relative_error=0.001)


# --- what is compared is what is meant


def two_classes(activation: Activation, channels: int, *decide: Any) -> ModelSpec:
    stage = Stage(
        name="only",
        before=(),
        network=Network(graphs=("identity",), channels_in=1, channels_out=channels, activation=activation),
        after=(*decide, RESTORE),
    )
    return msgspec.structs.replace(SPEC, stages=(stage,))


PUBLISHED = two_classes(Activation.NONE, 2, Argmax())
MERGED = two_classes(Activation.SIGMOID, 1, Threshold(channel=0, above=0.5))


def test_a_merged_logit_is_compared_as_the_probabilities_that_it_stands_for():
    (graph,), mask_dice = check(both_classes, lambda batch: (batch - 350) / 60, (PUBLISHED, MERGED))
    assert graph.max_error < 1e-6
    assert (graph.same_label_share, mask_dice) == (1.0, 1.0)


def test_a_merged_logit_of_the_wrong_sign_is_refused():
    with pytest.raises(ParityError, match=r"by 1 "):
        check(both_classes, lambda batch: (350 - batch) / 60, (PUBLISHED, MERGED))


def test_two_regions_are_not_taken_for_two_classes():
    """A network of two overlapping regions, each with its own sigmoid, returns two logits on both sides."""
    regions = two_classes(Activation.SIGMOID, 2, Threshold(channel=1, above=0.5))

    def logits(batch: np.ndarray) -> np.ndarray:
        return np.concatenate([(batch - 200) / 60, (batch - 350) / 60], axis=1)

    (graph,), mask_dice = check(logits, logits, (regions, regions))
    assert (graph.max_error, mask_dice) == (0.0, 1.0)


def cascade() -> ModelSpec:
    """A box, then the brain in it."""
    box = Network(graphs=("box",), channels_in=1, channels_out=1)
    brain = Network(graphs=("brain",), channels_in=1, channels_out=1)
    decide = Threshold(channel=0, above=0.5)
    return ModelSpec(
        name="cascade",
        task=Task.SKULL_STRIPPING,
        inputs=(Sequence(name="T1"),),
        stages=(
            Stage(name="box", before=(), network=box, after=(decide, LargestComponent())),
            Stage(name="brain", before=(CropToStage(stage="box"),), network=brain, after=(decide, RESTORE)),
        ),
        labels=(Label(value=1, name="brain"),),
    )


def test_each_graph_of_a_cascade_is_compared_on_what_pytorch_leads_it_to():
    """The second network sees PyTorch's box, whatever the first one has become."""
    published = Side(cascade(), {"box": bright, "brain": bright})
    converted = Side(cascade(), {"box": np.zeros_like, "brain": bright})
    (box, brain), _ = compare_graphs(published, converted, STUDY)
    assert (box.graph, brain.graph) == ("box", "brain")
    assert box.max_error > 0.9
    assert brain.max_error == 0.0


def test_a_broken_first_stage_is_named_and_not_what_it_makes_of_the_second():
    """Without the order of the checks the words would be "no brain was found in this image"."""
    published = Side(cascade(), {"box": bright, "brain": bright})
    converted = Side(cascade(), {"box": np.zeros_like, "brain": bright})
    with pytest.raises(ParityError, match=r"^box: OpenVINO differs"):
        require_parity(find_parity(published, converted, STUDY, ParityLimits(), {}))


def test_the_second_of_two_graphs_is_judged_too():
    """So little is wrong with it that the masks are the same."""
    published = Side(cascade(), {"box": bright, "brain": bright})
    converted = Side(cascade(), {"box": bright, "brain": lambda batch: bright(batch) * np.float32(0.999)})
    assert find_parity(published, converted, STUDY, ParityLimits(), {}).failure.startswith("brain: OpenVINO differs")
    near = ParityLimits(relative_error=0.01, same_label_share=0.9)
    assert find_parity(published, converted, STUDY, near, {}).failure == ""


def test_windows_and_mirrorings_are_all_compared():
    """An error in any pass counts, not only in the last one."""
    passes = iter([1.0, 0.0, 0.0, 0.0])
    network = msgspec.structs.replace(SPEC.stages[0].network, flips=((), (0,), (1,), (2,)))
    mirrored = msgspec.structs.replace(SPEC, stages=(msgspec.structs.replace(SPEC.stages[0], network=network),))
    with pytest.raises(ParityError, match=r"by 1 "):
        check(bright, lambda batch: bright(batch) + np.float32(next(passes)), (mirrored, mirrored))


def test_a_published_network_that_computes_nan_is_no_measure_for_another():
    with pytest.raises(BrainEdgeError, match=r"the network computed NaN"):
        check(lambda batch: np.full_like(batch, np.nan), bright)


# --- PyTorch as a session


def test_a_torch_session_runs_the_module_as_it_is_without_gradients():
    torch.manual_seed(1)
    module = nn.Sequential(nn.Conv3d(1, 2, 3, padding=1), nn.InstanceNorm3d(2, track_running_stats=True))
    module.train()
    image = np.random.default_rng(1).normal(size=(1, 1, 6, 7, 8)).astype(np.float32)
    flipped = image[:, :, ::-1]  # a view with negative strides, which torch refuses
    output = TorchSession(module)(flipped)
    expected = module(torch.from_numpy(flipped.copy())).detach().numpy()
    np.testing.assert_allclose(output, expected, rtol=1e-6)
    assert output.dtype == np.float32
    assert module.training
    output[...] = 0  # the caller may change it


class Clamping(nn.Module):
    """Changes what it is given, where a tracer does not see it."""

    def forward(self, batch: torch.Tensor) -> torch.Tensor:
        batch.data.clamp_(0, 400)
        return torch.sigmoid((batch - 350) / 60)


def test_a_network_that_changes_its_input_does_not_change_what_the_other_side_is_given():
    """Both would agree on an input that nobody has given them."""
    batch = np.full((1, 1, 2, 2, 2), 600, np.float32)
    TorchSession(Clamping())(batch)
    assert batch.min() == 600
    with pytest.raises(ParityError, match=r"identity: OpenVINO differs from PyTorch"):
        check(TorchSession(Clamping()), bright)


def test_a_network_that_gives_one_value_everywhere_is_nothing_to_compare():
    with pytest.raises(
        ParityError, match=r"identity: PyTorch returns 0\.25 in every voxel, so there is nothing to compare"
    ):
        check(lambda batch: np.full_like(batch, 0.25), lambda batch: np.full_like(batch, 0.25))


def test_two_empty_masks_are_no_agreement():
    def faint(batch: np.ndarray) -> np.ndarray:
        return bright(batch) * np.float32(0.4)

    (graph,), mask_dice = check(faint, faint)
    assert graph.max_error == 0.0
    assert mask_dice is None


def test_no_input_is_computed_twice_by_a_converted_graph_that_recalls(tmp_path):
    """Beside PyTorch and alone it sees the same input, and answers once."""
    seen = []

    def counted(batch: np.ndarray) -> np.ndarray:
        seen.append(batch.tobytes())
        return both_classes(batch)

    _graphs, mask_dice = check(both_classes, RecallingSession("tiny", counted, tmp_path), (PUBLISHED, PUBLISHED))
    assert mask_dice == 1.0
    assert len(seen) == len(set(seen)) == 1


def test_a_graph_is_not_answered_with_what_another_graph_said(tmp_path):
    batch = np.ones((1, 1, 2, 2, 2), np.float32)
    one = RecallingSession("one", lambda values: values + 1, tmp_path)
    two = RecallingSession("two", lambda values: values + 2, tmp_path)
    for _ in range(2):
        assert (one(batch).max(), two(batch).max(), one(2 * batch).max()) == (2.0, 3.0, 3.0)
    assert one(batch.reshape(1, 1, 1, 2, 4)).shape == (1, 1, 1, 2, 4), "the shape is part of the question"


@pytest.mark.parametrize(
    ("relative_error", "same_label_share", "exceeded"),
    [(5e-4, 0.9999, False), (6e-4, 1.0, True), (0.0, 0.9998, True), (float("nan"), 1.0, True), (0.0, 1.0, False)],
)
def test_the_limits_of_a_graph_are_those_of_decision_0006(
    relative_error: float, same_label_share: float, exceeded: bool
):
    """Trained networks are within 4e-5; one voxel in ten thousand may lie on the threshold."""
    graph = GraphParity(graph="g", max_error=1.0, relative_error=relative_error, same_label_share=same_label_share)
    assert exceeds(graph, ParityLimits()) is exceeded
    assert ParityLimits().mask_dice == 0.999


def test_a_graph_that_changes_intensities_itself_is_given_them_as_they_were():
    """The step (x - 100) / 50 went into the graph: it takes what PyTorch's steps have taken."""
    pair = PairedSession(
        "g", lambda scaled: scaled, lambda raw: (raw - 100) / 50, Moved(affine=Affine(multiply=1 / 50, add=-2.0))
    )
    scaled = np.linspace(-2, 3, 24, dtype=np.float32).reshape(1, 1, 2, 3, 4)
    np.testing.assert_array_equal(pair(scaled), scaled)
    assert pair.parity().relative_error < 1e-5
