"""Calibration inputs: those without contrast are refused in one sentence, and a fit to one person is warned of."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec
import numpy as np
import pytest
from cohorts import file_entry, save, save_manifest
from outlier_package import phantom_cohort
from tiny_package import PHANTOM, make_package
from trial_setup import made_up, prepared

from brain_edge.errors import InputError
from brain_edge.evaluation.cohort import Cohort, Split, load_cohort
from brain_edge.machine.options import RuntimeOptions
from brain_edge_conversion.budget.budget import AccuracyBudget
from brain_edge_conversion.quantize.calibration_inputs import require_contrast
from brain_edge_conversion.quantize.ladder import LADDER, MENDED, Setting
from brain_edge_conversion.quantize.policy import Trial
from brain_edge_conversion.quantize.quantize import QuantizeOptions, quantize
from brain_edge_conversion.quantize.space import Int8Space

if TYPE_CHECKING:
    from pathlib import Path

    from brain_edge.package import ModelPackage

OPTIONS = QuantizeOptions(budget=AccuracyBudget(max_dice_drop=0.02), runtime=RuntimeOptions(threads=1))
ONE_PERSON = (Split.CALIBRATION, Split.VALIDATION, Split.TEST)
TWO_PEOPLE = (Split.CALIBRATION, *ONE_PERSON)


@pytest.fixture(scope="module")
def fp32(tmp_path_factory: pytest.TempPathFactory) -> ModelPackage:
    return make_package(tmp_path_factory.mktemp("fp32") / "package")


def cohort_with(folder: Path, voxels: np.ndarray) -> Cohort:
    """Three phantoms, the calibration image replaced."""
    calibration, *others = (case.entry for case in phantom_cohort(folder, ONE_PERSON).cases())
    image = save(folder / "odd" / "T1.nii.gz", voxels, PHANTOM.spacing_mm)
    odd = msgspec.structs.replace(calibration, inputs={"T1": file_entry(image, folder)}, reference=None)
    return load_cohort(save_manifest(folder, odd, *others))


@pytest.mark.parametrize("bright", [0, 3], ids=["no bright voxel", "a few bright voxels"])
def test_a_calibration_image_without_contrast_is_refused_and_nothing_is_left(
    bright: int, fp32: ModelPackage, tmp_path: Path
):
    """The second image has two values, and both percentiles of the preparation are the same."""
    (tmp_path / "data").mkdir()
    (tmp_path / "out").mkdir()
    voxels = np.full(PHANTOM.shape, 7.0, np.float32)
    voxels.flat[:bright] = 900.0
    with pytest.raises(InputError, match="expected an image") as refused:
        quantize(fp32, cohort_with(tmp_path / "data", voxels), tmp_path / "out/int8", OPTIONS)
    assert refused.value.exit_code == 3
    assert "\n" not in str(refused.value)
    assert list((tmp_path / "out").iterdir()) == []


def test_network_inputs_of_one_value_are_refused_by_their_graph(tmp_path: Path):
    """Where the preparation lets them pass; one input with contrast is enough, as windows of air have none."""
    flat, uneven = tmp_path / "flat.npy", tmp_path / "uneven.npy"
    np.save(flat, np.full((1, 1, 4, 4, 4), 2.0, np.float32))
    np.save(uneven, np.arange(64, dtype=np.float32).reshape(1, 1, 4, 4, 4))
    require_contrast({"first": [flat, uneven], "second": [uneven]})
    words = r"got one value in all voxels of each of the 2 input\(s\) of the graph second; check the images"
    with pytest.raises(InputError, match=words):
        require_contrast({"first": [uneven], "second": [flat, flat]})


def test_a_search_ends_before_its_first_trial_where_no_network_input_has_contrast(
    fp32: ModelPackage, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    """The inputs are replaced: the preparation of this package lets no image without contrast pass."""
    flat = tmp_path / "flat.npy"
    np.save(flat, np.full((1, 1, 4, 4, 4), 2.0, np.float32))
    monkeypatch.setattr("brain_edge_conversion.quantize.space.capture_inputs", lambda *_: {"tiny": [flat]})
    (tmp_path / "data").mkdir()
    (tmp_path / "out").mkdir()
    with pytest.raises(InputError, match="got one value in all voxels"):
        quantize(fp32, phantom_cohort(tmp_path / "data", ONE_PERSON), tmp_path / "out/int8", OPTIONS)
    assert list((tmp_path / "out").iterdir()) == []


# --- one person


def warnings_of(setting: Setting, package: ModelPackage, cohort: Cohort, folder: Path) -> tuple[str, ...]:
    """Warnings that the evidence of a package would carry after two plain settings and this one."""
    space = Int8Space(package, (*LADDER[:2], setting))
    losses = zip((*LADDER[:2], setting), (0.3, 0.2, 0.015), strict=True)
    trials = [made_up(Trial(setting=each), drop) for each, drop in losses]
    prepared(space, cohort, folder, OPTIONS, trials)
    return space.facts(trials[-1]).warnings


def test_weights_that_were_fitted_to_one_person_are_warned_of_with_the_validation_figures(
    fp32: ModelPackage, tmp_path: Path
):
    found = warnings_of(MENDED[0], fp32, phantom_cohort(tmp_path, ONE_PERSON), tmp_path)
    assert found == (
        "The weights were fitted to the images of one person, and may suit other people less. On the validation images "
        "the mean drop is 0.01500, and 0.20000 at the best setting with weights as trained.",
    )


def test_the_warning_says_that_the_validation_images_decided_when_a_training_ended(fp32: ModelPackage, tmp_path: Path):
    distilled = msgspec.structs.replace(MENDED[0], distilled=True)
    (words,) = warnings_of(distilled, fp32, phantom_cohort(tmp_path, ONE_PERSON), tmp_path)
    assert "On the validation images the mean drop is 0.01500" in words
    assert words.endswith("The validation images also decided when the training ended.")


def test_without_a_validation_split_no_figure_speaks_for_the_fit(fp32: ModelPackage, tmp_path: Path):
    cohort = phantom_cohort(tmp_path, (Split.CALIBRATION, Split.TEST), demo=True)
    (words,) = warnings_of(MENDED[0], fp32, cohort, tmp_path)
    assert words.endswith("No other images show by how much, because there is no validation split.")


def test_two_people_and_weights_as_trained_need_no_warning(fp32: ModelPackage, tmp_path: Path):
    for name, splits, setting in (("two", TWO_PEOPLE, MENDED[0]), ("as trained", ONE_PERSON, LADDER[0])):
        (tmp_path / name).mkdir()
        cohort = phantom_cohort(tmp_path / name, splits)
        assert warnings_of(setting, fp32, cohort, tmp_path / name) == ()
