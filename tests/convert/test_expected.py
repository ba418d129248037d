"""A wrong specification is caught by the mask of the user's own program, and the mistake is named."""

from __future__ import annotations

from itertools import permutations, product
from typing import TYPE_CHECKING, Any

import msgspec
import nibabel
import numpy as np
import pytest
from openvino import Model, PartialShape, Type
from openvino import opset13 as ops
from phantoms import make_affine, make_head, save_head
from scipy.ndimage import correlate
from tiny_package import SPEC, tiny_manifest

from brain_edge.errors import GeometryError, InputError, UsageError
from brain_edge.image.geometry import Geometry, axis_moves
from brain_edge.image.resample import Interpolation
from brain_edge.image.volume import Mask, Study, Volume
from brain_edge.package import ModelPackage, graph_path
from brain_edge.spec import Label, ModelSpec, Network, Stage, Task
from brain_edge.spec.steps import Argmax, Clip, FitPercentile, Orient, RescaleToUnit, Restore, ZScore
from brain_edge_conversion.convert.expected import Expectation, ExpectedData, judge, read_expectation
from brain_edge_conversion.convert.trials import ORIENTATIONS, seen_axes, trials
from brain_edge_conversion.sealing.graph import save_graph

if TYPE_CHECKING:
    from pathlib import Path

SHAPE = (18, 24, 21)
AFFINE = make_affine("LPS", (8.0, 8.0, 8.0))
HEAD = make_head(SHAPE).astype(np.float32)
CUTS = (0.25, 0.7)
"""Between background, label 1 and label 2, of an image that is scaled to 0..1."""
STEEPNESS = 100.0

SCALE = (
    FitPercentile(name="low", percent=0.5),
    FitPercentile(name="high", percent=99.5),
    RescaleToUnit(lower="low", upper="high"),
)
RIGHT = ModelSpec(
    name="own",
    task=Task.TISSUE,
    inputs=SPEC.inputs,
    stages=(
        Stage(
            name="main",
            before=(Orient(axes="SPL"), *SCALE),
            network=Network(graphs=("own",), channels_in=1, channels_out=3),
            after=(Argmax(), Restore(interpolation=Interpolation.NEAREST)),
        ),
    ),
    labels=(Label(value=1, name="grey"), Label(value=2, name="white")),
)


def kernel() -> np.ndarray:
    """A mean over neighbours (5, 5, 5) that lie elsewhere along each axis: no flip and no order leaves it the same."""
    weights = np.zeros((5, 5, 5), dtype=np.float32)
    weights[4, 2, 2], weights[2, 0, 2], weights[2, 2, 3], weights[2, 2, 2] = 0.4, 0.3, 0.2, 0.1
    return weights


def own_program(voxels: np.ndarray, axes: str = "SPL") -> np.ndarray:
    """The mask of a program that shares no code with the package: numpy, SciPy and nibabel's orientations."""
    code = nibabel.orientations.axcodes2ornt(nibabel.aff2axcodes(AFFINE))
    turn = nibabel.orientations.ornt_transform(code, nibabel.orientations.axcodes2ornt(tuple(axes)))
    seen = nibabel.orientations.apply_orientation(voxels, turn)
    low, high = np.percentile(seen, (0.5, 99.5))
    mean = correlate(np.clip((seen - low) / (high - low), 0, 1), kernel(), mode="constant")
    labels = (mean > CUTS[0]).astype(np.uint8) + (mean > CUTS[1])
    back = nibabel.orientations.ornt_transform(nibabel.orientations.axcodes2ornt(tuple(axes)), code)
    return nibabel.orientations.apply_orientation(labels, back).astype(np.uint8)


def graph() -> Any:
    """The same network as an OpenVINO model: logits 0, s (x - a) and s (2 x - a - b)."""
    image = ops.parameter(PartialShape([1, 1, -1, -1, -1]), Type.f32, name="image")
    weights = STEEPNESS * np.stack([0 * kernel(), kernel(), 2 * kernel()])[:, np.newaxis]
    bias = -STEEPNESS * np.array([0, CUTS[0], sum(CUTS)], dtype=np.float32).reshape(1, 3, 1, 1, 1)
    ones, pads = [1, 1, 1], [2, 2, 2]
    convolved = ops.convolution(image, ops.constant(weights.astype(np.float32)), ones, pads, pads, ones)
    return Model([ops.add(convolved, ops.constant(bias))], [image], "own")


def package(folder: Path, spec: ModelSpec) -> ModelPackage:
    save_graph(graph(), folder / graph_path("own"), spec)
    return ModelPackage(folder, tiny_manifest(spec))


def study() -> Study:
    return Study.of(T1=Volume(HEAD, Geometry(SHAPE, AFFINE), "head"))


def expectation(labels: np.ndarray | None = None, **changes: Any) -> Expectation:
    given = study()
    return Expectation(given, Mask(own_program(HEAD) if labels is None else labels, given.geometry), **changes)


def changed(before: tuple[object, ...] = (), after: tuple[object, ...] = ()) -> ModelSpec:
    """The right specification with other steps before or after its network."""
    (stage,) = RIGHT.stages
    stage = msgspec.structs.replace(stage, before=before or stage.before, after=after or stage.after)
    return msgspec.structs.replace(RIGHT, stages=(stage,))


def test_the_right_specification_makes_the_mask_of_the_own_program(tmp_path: Path):
    lines: list[str] = []
    verdict = judge(package(tmp_path, RIGHT), expectation(), lines.append)
    assert (verdict.failure, verdict.expected.differences) == ("", ())
    assert {name: round(score, 3) for name, score in verdict.expected.dice.items()} == {"grey": 1.0, "white": 1.0}
    assert verdict.expected.minimum_dice == 0.97
    assert lines == ["comparing with the expected mask"]


WRONG = {
    "the axes of nibabel": (changed(before=(Orient(axes="RAS"), *SCALE)), '"axes": "SPL"} (axes in the order 3 2 1, '),
    "no orientation at all": (changed(before=SCALE), '"axes": "SPL"} (axes in the order 3 2 1)'),
    "a missing flip": (changed(before=(Orient(axes="IPL"), *SCALE)), '"axes": "SPL"} (axis 1 flipped)'),
    "another normalisation": (
        changed(before=(Orient(axes="SPL"), ZScore())),
        "normalise by fit_percentile 0.5 and 99.5, then rescale_to_unit",
    ),
    "no normalisation": (
        changed(before=(Orient(axes="SPL"), FitPercentile(name="most", percent=100.0), Clip(upper="most"))),
        "normalise by fit_percentile 0.5 and 99.5, then rescale_to_unit",
    ),
    "exchanged labels": (
        changed(after=(Argmax(values=(0, 2, 1)), Restore(interpolation=Interpolation.NEAREST))),
        "Another numbering fits (Dice 0.99",
    ),
    "axes and labels": (
        changed((Orient(axes="RAS"), *SCALE), (Argmax(values=(0, 2, 1)), Restore(interpolation=Interpolation.NEAREST))),
        "flipped) and write `values` [0, 1, 2] in argmax",
    ),
}


@pytest.mark.parametrize("mistake", WRONG)
def test_a_mistake_is_refused_and_named(mistake: str, tmp_path: Path):
    spec, remedy = WRONG[mistake]
    verdict = judge(package(tmp_path, spec), expectation(), lambda _line: None)
    assert verdict.failure.startswith("the package does not make the expected mask: Dice grey 0.")
    assert remedy in verdict.failure
    assert verdict.failure.endswith(". No package was written")


def nearly_the_same() -> np.ndarray:
    """The right mask, but for a row of voxels in slice 9."""
    labels = own_program(HEAD)
    row = np.argwhere(labels[9] == 2)[:6].T
    labels[9][tuple(row)] = 1
    return labels


def test_a_small_difference_is_refused_where_other_steps_make_the_same_mask(tmp_path: Path):
    """A brain is nearly symmetric: on a real head a missing flip leaves Dice 0.995, which no minimum notices."""
    spec = changed(before=(Orient(axes="SPR"), *SCALE))
    made = package(tmp_path, spec)
    verdict = judge(made, expectation(minimum_dice=0.5), lambda _line: None)
    assert min(verdict.expected.dice.values()) > 0.5
    assert '"axes": "SPL"} (axis 3 flipped). No package was written' in verdict.failure
    stated = judge(made, expectation(minimum_dice=0.5, refuses_named=False), lambda _line: None)
    assert stated.failure == ""
    assert '"axes": "SPL"} (axis 3 flipped)' in stated.expected.differences[-1]


def test_a_minimum_that_a_user_states_decides_alone(tmp_path: Path):
    path = save(tmp_path / "mask.nii.gz", own_program(HEAD))
    assert read(path).refuses_named
    stated = read(path, minimum=0.9)
    assert (stated.minimum_dice, stated.refuses_named) == (0.9, False)


def test_a_mask_that_is_nearly_the_same_is_told_or_refused_with_the_place_of_the_differences(tmp_path: Path):
    verdict = judge(package(tmp_path, RIGHT), expectation(nearly_the_same(), minimum_dice=0.9999), lambda _line: None)
    assert 0.97 < verdict.expected.dice["white"] < 0.999
    for words in (
        "(at least 0.9999). grey: ",
        " ml, expected ",
        " differing voxels touch the border of an expected label",
        ". Half of them lie in 1 of 18 slices along L, slice 9. None of 5",
        " other axes, flips and normalisations fits; check spacing, crops and the steps after. No package was written",
    ):
        assert words in verdict.failure


# which specifications are tried


def test_every_order_and_flip_of_the_axes_is_tried_once():
    tried = [seen_axes(trial.spec.stages[0], "LPS") for trial in trials(RIGHT, "LPS") if "orient" in trial.remedy]
    assert sorted([*tried, "SPL"]) == sorted(ORIENTATIONS)
    assert len(set(ORIENTATIONS)) == len(list(permutations("RAS"))) * len(list(product("+-", repeat=3)))


def test_the_stages_of_a_cascade_turn_together():
    first = msgspec.structs.replace(RIGHT.stages[0], name="first", before=SCALE)
    spec = msgspec.structs.replace(RIGHT, stages=(first, RIGHT.stages[0]))
    for trial in trials(spec, "LPS"):
        one, two = (seen_axes(stage, "LPS") for stage in trial.spec.stages)
        assert axis_moves("LPS", one) == axis_moves("SPL", two)


# masks that show nothing


def save(path: Path, labels: np.ndarray, affine: np.ndarray = AFFINE) -> Path:
    return save_head(path, labels, affine)


def read(path: Path, spec: ModelSpec = RIGHT, minimum: float | None = None) -> Expectation:
    return read_expectation(ExpectedData(mask=path, minimum_dice=minimum), study(), spec)


def test_a_mask_of_the_same_voxels_in_another_order_is_taken(tmp_path: Path):
    image = nibabel.as_closest_canonical(nibabel.Nifti1Image(own_program(HEAD), AFFINE))
    nibabel.save(image, tmp_path / "mask.nii.gz")
    found = read(tmp_path / "mask.nii.gz")
    np.testing.assert_array_equal(found.mask.labels, own_program(HEAD))


def test_a_mask_of_one_value_is_that_of_the_only_label(tmp_path: Path):
    path = save(tmp_path / "mask.nii.gz", (own_program(HEAD) > 0).astype(np.uint8) * 255)
    assert set(np.unique(read(path, SPEC).mask.labels)) == {0, 1}


def test_a_mask_that_can_show_nothing_is_refused(tmp_path: Path):
    labels = own_program(HEAD)
    with pytest.raises(InputError, match=r"other\.nii\.gz: expected a mask on the grid of head .*--expect-head$"):
        read(save(tmp_path / "other.nii.gz", labels[1:]))
    with pytest.raises(InputError, match=r"moved\.nii\.gz: expected a mask on the grid of head"):
        read(save(tmp_path / "moved.nii.gz", labels, make_affine("LPS", (8.0, 8.0, 7.0))))
    with pytest.raises(InputError, match=r"empty\.nii\.gz: expected a mask with labels, got an empty mask"):
        read(save(tmp_path / "empty.nii.gz", 0 * labels))
    with pytest.raises(InputError, match=r"four\.nii\.gz: expected the labels 1, 2 of the specification, got 4"):
        read(save(tmp_path / "four.nii.gz", np.where(labels == 2, 4, labels)))
    with pytest.raises(InputError, match=r"expected a reference mask of whole numbers, got fractions"):
        read(save(tmp_path / "soft.nii.gz", labels.astype(np.float32) / 3))
    with pytest.raises(InputError):
        read(tmp_path / "gone.nii.gz")
    assert issubclass(GeometryError, InputError)


@pytest.mark.parametrize("minimum", [0.0, 1.5, float("nan")])
def test_a_minimum_that_is_no_dice_is_refused(tmp_path: Path, minimum: float):
    with pytest.raises(UsageError, match=r"expected --expect-dice above 0 and at most 1, got"):
        read(save(tmp_path / "mask.nii.gz", own_program(HEAD)), minimum=minimum)


def test_the_record_names_no_file(tmp_path: Path):
    verdict = judge(package(tmp_path, RIGHT), expectation(), lambda _line: None)
    assert b"head" not in msgspec.json.encode(verdict.expected)
