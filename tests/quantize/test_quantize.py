"""quantize writes an INT8 package whose masks stay within the budget, or no package at all."""

from __future__ import annotations

import os
import re
from dataclasses import replace
from typing import TYPE_CHECKING

import msgspec
import nibabel as nib
import numpy as np
import pytest
from cohorts import file_entry, save_manifest
from openvino import Core
from outlier_package import phantom_cohort
from present import present
from tiny_package import PHANTOM, SPEC, make_package

from brain_edge.engine.segmenter import Segmenter
from brain_edge.errors import BudgetError, InputError, UsageError, WeightsError
from brain_edge.evaluation.cohort import CaseEntry, Cohort, Split, check_case, load_cohort, resolve
from brain_edge.evaluation.evaluate import evaluate
from brain_edge.evaluation.evidence import evidence_in
from brain_edge.image.phantom import make_study
from brain_edge.jobs.verify import verify
from brain_edge.machine.options import RuntimeOptions
from brain_edge.package import ModelPackage, NumberFormat, WeightsStatus, open_package
from brain_edge_conversion.budget import isa
from brain_edge_conversion.budget.budget import AccuracyBudget
from brain_edge_conversion.quantize.for_speed import quantize_for_speed
from brain_edge_conversion.quantize.ladder import Preset
from brain_edge_conversion.quantize.quantize import QuantizeOptions, quantize

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from brain_edge.image.volume import Study

PATIENT = "Smith^John"
ONE_THREAD = RuntimeOptions(threads=1)
ROOM = 0.05
TIGHT = 1e-5
SPLITS = (Split.CALIBRATION, Split.CALIBRATION, Split.VALIDATION, Split.TEST, Split.TEST)


def head(seed: int) -> Study:
    """A phantom, another noise for another seed."""
    return make_study(msgspec.structs.replace(PHANTOM, seed=seed), ["T1"])


def make_cohort(
    folder: Path,
    package: ModelPackage,
    splits: Sequence[Split] = SPLITS,
    *,
    references: bool = True,
    called: str = "T1",
) -> Cohort:
    """One head per split, its seed the number of the case; the references are the masks of the FP32 package."""
    segment = Segmenter.open(package, ONE_THREAD)
    cases = []
    for number, split in enumerate(splits, start=1):
        volume = head(number).volumes["T1"]
        image = _save(folder / f"{PATIENT}{number}" / f"{called}.nii.gz", volume.voxels, volume.geometry.affine)
        entry = CaseEntry(subject=f"{PATIENT}{number}", split=split, inputs={"T1": file_entry(image, folder)})
        if references:
            mask = _save(image.with_name("mask.nii.gz"), segment(volume).mask.labels, volume.geometry.affine)
            entry = msgspec.structs.replace(entry, reference=file_entry(mask, folder))
        cases.append(entry)
    return load_cohort(save_manifest(folder, *cases))


def _save(path: Path, voxels: np.ndarray, affine: np.ndarray) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    nib.save(nib.Nifti1Image(voxels, affine), path)
    return path


def options(max_dice_drop: float, min_int8_share: float = 0.5) -> QuantizeOptions:
    budget = AccuracyBudget(max_dice_drop=max_dice_drop, min_int8_share=min_int8_share)
    return QuantizeOptions(budget=budget, runtime=ONE_THREAD)


@pytest.fixture(scope="module")
def fp32(tmp_path_factory: pytest.TempPathFactory) -> ModelPackage:
    return make_package(tmp_path_factory.mktemp("fp32") / "package")


@pytest.fixture(scope="module")
def cohort(fp32: ModelPackage, tmp_path_factory: pytest.TempPathFactory) -> Cohort:
    return make_cohort(tmp_path_factory.mktemp("cohort"), fp32)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("int8")


@pytest.fixture(scope="module")
def int8(fp32: ModelPackage, cohort: Cohort, folder: Path) -> ModelPackage:
    return quantize(fp32, cohort, folder / "package", options(ROOM))


# --- a budget that is met


def test_the_package_is_int8_and_says_what_it_was_made_from(int8: ModelPackage, fp32: ModelPackage):
    manifest = open_package(int8.folder).manifest
    assert manifest.number_format is NumberFormat.INT8
    assert manifest.converted_from == fp32.digest
    assert (manifest.spec, manifest.weights, manifest.card) == (fp32.spec, fp32.manifest.weights, fp32.manifest.card)
    assert verify(int8, ONE_THREAD).dice > 0.999


@pytest.mark.full  # four seconds; cli/test_cli_contrasts warns in CI
def test_images_of_another_contrast_are_told_before_and_stand_in_the_evidence(fp32: ModelPackage, tmp_path: Path):
    """By the numbers of their cases: no name of a file or person is in a package."""
    lines: list[str] = []
    cohort = make_cohort(tmp_path / "heads", fp32, called="FLAIR")
    made = quantize(fp32, cohort, tmp_path / "int8", replace(options(ROOM), report=lines.append))
    evidence = evidence_in(made.manifest)
    assert evidence is not None
    numbers = ", ".join(str(case.number) for case in cohort.cases())
    words = f"tiny was made for T1w as T1, but case(s) {numbers} have FLAIR: their figures do not hold for images"
    assert evidence.warnings[0].startswith(words)
    assert any(line.startswith(f"warning: {words}") for line in lines)
    assert evidence.warnings[0] in (made.folder / "README.md").read_text(encoding="utf-8")


def test_its_self_test_compares_with_the_mask_of_the_package_that_it_was_made_of(
    int8: ModelPackage, fp32: ModelPackage
):
    """The budget allows a disagreement of three times the drop, on top of what there is where it is built."""
    test = int8.manifest.self_test
    shipped, baseline, original = (
        np.asarray(nib.load(path).dataobj)
        for path in (int8.folder / test.mask, int8.folder / "selftest/baseline.nii.gz", fp32.folder / test.mask)
    )
    assert (baseline == original).all()
    agreed = 2 * np.count_nonzero(shipped & baseline) / (shipped.sum() + baseline.sum())
    assert (test.baseline, test.baseline_dice) == ("selftest/baseline.nii.gz", pytest.approx(agreed))
    assert test.minimum_baseline_dice == pytest.approx(agreed - 3 * ROOM)
    checked = verify(int8, ONE_THREAD)
    assert checked.baseline_dice == pytest.approx(agreed, abs=0.02)
    assert (checked.built_baseline_dice, checked.minimum_baseline_dice) == (
        test.baseline_dice,
        test.minimum_baseline_dice,
    )
    assert verify(fp32, ONE_THREAD).baseline_dice is None


def test_nothing_but_the_package_is_left(int8: ModelPackage, folder: Path):
    assert [path.name for path in folder.iterdir() if path.is_dir()] == [int8.folder.name]


def test_its_convolution_is_computed_in_bytes(int8: ModelPackage):
    """Asked of OpenVINO, not of us."""
    model = Core().read_model(str(int8.graph_file("tiny")))
    model.reshape([1, 1, 44, 52, 52])
    compiled = Core().compile_model(model, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
    nodes = [node.get_rt_info() for node in compiled.get_runtime_model().get_ordered_ops()]
    precisions = {node["layerType"].astype(str): node["runtimePrecision"].astype(str) for node in nodes}
    assert precisions["Convolution"] in ("u8", "i8")


def test_the_record_is_of_the_masks_that_the_packages_make_of_the_test_cases(
    int8: ModelPackage, fp32: ModelPackage, cohort: Cohort
):
    """Measured once more here, with numpy; neither calibration nor validation cases are among them."""
    accuracy = evidence_in(int8.manifest)
    assert accuracy is not None
    assert (accuracy.cohort_sha256, accuracy.int8_share, accuracy.demonstration) == (cohort.sha256, 1.0, False)
    assert [(record.case, record.split, record.label) for record in accuracy.cases] == [(4, "test", 1), (5, "test", 1)]
    for record in accuracy.cases:
        study = head(record.case)
        a, b = (Segmenter.open(each, ONE_THREAD)(study).mask.labels > 0 for each in (fp32, int8))
        agreement = 2 * np.sum(a & b) / (a.sum() + b.sum())
        assert record.agreement == pytest.approx(agreement)
        assert (record.dice_baseline, record.dice_candidate) == (1.0, pytest.approx(agreement))
        assert record.drop == pytest.approx(1 - agreement)
    assert accuracy.worst_mean_drop == pytest.approx(np.mean([record.drop for record in accuracy.cases]))
    assert 0 < accuracy.worst_mean_drop <= accuracy.limits.max_dice_drop


def test_no_patient_is_in_the_package(int8: ModelPackage, cohort: Cohort):
    for path in (path for path in int8.folder.rglob("*") if path.is_file()):
        content = path.read_bytes()
        for name in (PATIENT, "Smith", str(cohort.path.parent), cohort.manifest.title):
            assert name.encode() not in content, (path, name)
    images = list(int8.folder.rglob("*.nii*"))
    assert {image.name for image in images} == {"mask.nii.gz", "baseline.nii.gz"}
    for image in images:
        assert set(np.unique(nib.load(image).get_fdata())) == {0, 1}


@pytest.mark.full  # a quantisation; the command line is looked at in tests/cli
def test_nothing_is_written_to_stdout(
    fp32: ModelPackage, tmp_path: Path, cohort: Cohort, capfd: pytest.CaptureFixture[str]
):
    """NNCF draws its progress there, where the results of the command belong."""
    quantize(fp32, cohort, tmp_path / "package", options(ROOM))
    assert capfd.readouterr().out == ""


# --- a budget that is missed


@pytest.mark.full  # half a minute; in CI tests/cli misses a budget
def test_a_missed_budget_leaves_no_package_and_names_one_that_is_met(fp32: ModelPackage, tmp_path: Path):
    """Without a test split, so that the second run is judged on the very cases that the first one names."""
    cohort = make_cohort(tmp_path / "cohort", fp32, (Split.CALIBRATION, Split.VALIDATION))
    # all of it must be integer: reverting layers to float is no way out
    words = r"mean drop of label 1 is 0\.\d{5}, the budget is 1e-05"
    with pytest.raises(BudgetError, match=words) as missed:
        quantize(fp32, cohort, tmp_path / "package", options(TIGHT, min_int8_share=1.0))
    assert missed.value.exit_code == 4
    assert not (tmp_path / "package").exists()
    named = re.search(r"smallest --max-dice-drop that these cases meet: ([\d.]+\d)", str(missed.value))
    assert named is not None
    package = quantize(fp32, cohort, tmp_path / "package", options(float(named[1]), min_int8_share=1.0))
    assert open_package(package.folder).manifest.number_format is NumberFormat.INT8


def test_without_references_the_disagreement_is_what_is_bounded(fp32: ModelPackage, tmp_path: Path):
    cohort = make_cohort(tmp_path / "cohort", fp32, references=False)
    package = quantize(fp32, cohort, tmp_path / "package", options(ROOM))
    accuracy = evidence_in(package.manifest)
    assert accuracy is not None
    assert all(record.dice_baseline is None and record.drop is None for record in accuracy.cases)
    disagreements = [1 - record.agreement for record in accuracy.cases if record.agreement is not None]
    assert accuracy.worst_mean_drop == pytest.approx(np.mean(disagreements))
    assert len(disagreements) == 2


# --- what is refused


def test_a_label_that_is_unbound_must_be_one_of_the_model(fp32: ModelPackage, cohort: Cohort, tmp_path: Path):
    budget = AccuracyBudget(max_dice_drop=ROOM, unbound=(7,))
    with pytest.raises(UsageError, match=r"expected --unbound to name a label of tiny \(1\), got 7"):
        quantize(fp32, cohort, tmp_path / "package", QuantizeOptions(budget=budget, runtime=ONE_THREAD))


def test_limits_that_would_bind_nothing_are_refused_before_anything_is_computed(fp32: ModelPackage, tmp_path: Path):
    cohort = phantom_cohort(tmp_path, (Split.CALIBRATION, Split.VALIDATION, Split.TEST), references=False)
    lines: list[str] = []
    for limit, words in (
        ({"unbound": (1,)}, "--unbound names every label of tiny, so the budget has no effect"),
        ({"max_hd95_increase_mm": 2.0}, "--max-hd95-increase-mm needs reference masks, and no judged case"),
    ):
        asked = QuantizeOptions(
            budget=AccuracyBudget(max_dice_drop=ROOM, **limit), runtime=ONE_THREAD, report=lines.append
        )
        with pytest.raises(UsageError, match=words):
            quantize(fp32, cohort, tmp_path / "package", asked)
    assert lines == []


def test_nothing_in_int8_is_no_quantisation():
    with pytest.raises(UsageError, match="expected --min-int8-share above 0"):
        QuantizeOptions(budget=AccuracyBudget(max_dice_drop=ROOM, min_int8_share=0.0))


def test_an_empty_reference_of_a_brain_is_refused_before_anything_is_computed(fp32: ModelPackage, tmp_path: Path):
    cohort = make_cohort(tmp_path, fp32, (Split.CALIBRATION, Split.VALIDATION, Split.TEST))
    *others, test = (case.entry for case in cohort.cases())
    path = tmp_path / present(test.reference).source
    nib.save(nib.Nifti1Image(np.zeros(nib.load(path).shape, np.uint8), nib.load(path).affine), path)
    emptied = load_cohort(
        save_manifest(tmp_path, *others, msgspec.structs.replace(test, reference=file_entry(path, tmp_path)))
    )
    with pytest.raises(InputError, match="expected a reference mask that is not empty for tiny, got an empty mask"):
        quantize(fp32, emptied, tmp_path / "package", options(ROOM))
    assert not (tmp_path / "package").exists()


def test_every_limit_stands_in_the_evidence_and_in_the_card(int8: ModelPackage):
    words = present(int8.manifest.found).bounds
    for limit in (
        "mean drop of a label at most",
        "of a single case",
        "mean disagreement",
        "HD95 grows by at most",
        "INT8",
    ):
        assert limit in words
    assert f"Within: {words}." in (int8.folder / "README.md").read_text(encoding="utf-8")


def test_the_images_that_settings_were_chosen_on_are_known_in_another_cohort(
    int8: ModelPackage, cohort: Cohort, tmp_path: Path
):
    accuracy = evidence_in(int8.manifest)
    assert accuracy is not None
    named = {split: frozenset().union(*(check_case(case).hashes for case in cohort.cases(split))) for split in Split}
    assert set(accuracy.seen_images) == named[Split.CALIBRATION] | named[Split.VALIDATION]
    entries = []
    for number, case in enumerate(cohort.cases(Split.VALIDATION)):
        image = nib.load(resolve(case).inputs["T1"])
        path = _save(tmp_path / f"stored again {number}" / "T1.nii", image.get_fdata(dtype=np.float32), image.affine)
        entries.append(CaseEntry(subject=f"{number}", split=Split.TEST, inputs={"T1": file_entry(path, tmp_path)}))
    moved = load_cohort(save_manifest(tmp_path, *entries))
    limits = evaluate(int8, moved, Split.TEST, options=ONE_THREAD).limits
    assert f"The settings of the package were chosen on {len(entries)} of these images, in another cohort." in limits


def test_random_weights_have_no_accuracy_that_a_budget_could_bind(cohort: Cohort, tmp_path: Path):
    package = make_package(tmp_path / "fp32", SPEC, weights_status=WeightsStatus.RANDOM)
    with pytest.raises(WeightsError, match=r"are random, so that no budget can be judged; use --for-speed"):
        quantize(package, cohort, tmp_path / "int8", options(ROOM))
    assert not (tmp_path / "int8").exists()


def test_an_int8_package_is_not_quantised_again(int8: ModelPackage, cohort: Cohort, tmp_path: Path):
    with pytest.raises(UsageError, match=r"expected an FP32 package, got one that is quantised already \(int8\)"):
        quantize(int8, cohort, tmp_path / "package", options(ROOM))
    assert list(tmp_path.iterdir()) == []


def test_the_graph_is_asked_too_whether_it_is_quantised(int8: ModelPackage, cohort: Cohort, tmp_path: Path):
    """A manifest can say fp32 of any graph; quantising this one twice has killed the interpreter."""
    said = msgspec.structs.replace(int8.manifest, number_format=NumberFormat.FP32)
    words = r"expected an FP32 package, got one that is quantised already \(FakeQuantize .+\)"
    with pytest.raises(UsageError, match=words):
        quantize(ModelPackage(int8.folder, said), cohort, tmp_path / "package", options(ROOM))
    random = msgspec.structs.replace(said, weights_status=WeightsStatus.RANDOM)
    with pytest.raises(UsageError, match=words):
        quantize_for_speed(ModelPackage(int8.folder, random), [], tmp_path / "package", Preset.PERFORMANCE, ONE_THREAD)


CRASHING = """
import os, pathlib, runpy
left = pathlib.Path(__file__).with_suffix(".left")
count = int(left.read_text())
left.write_text(str(count - 1))
if count > 0:
    os.abort()
runpy.run_module({module!r}, run_name="__main__", alter_sys=True)
"""
"""A child that crashes as often as a file says, and then does what it was asked to."""


def crash_first(times: int, folder: Path, patch: pytest.MonkeyPatch) -> None:
    (folder / "crashing.py").write_text(CRASHING.format(module=isa.MODULE))
    (folder / "crashing.left").write_text(str(times))
    patch.setenv("PYTHONPATH", os.pathsep.join([str(folder), *filter(None, [os.environ.get("PYTHONPATH")])]))
    patch.setattr(isa, "MODULE", "crashing")


def test_a_setting_that_crashes_the_compiler_is_a_finding_and_the_next_one_is_tried(
    fp32: ModelPackage, cohort: Cohort, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    crash_first(1, tmp_path, monkeypatch)
    made = quantize(fp32, cohort, tmp_path / "package", options(ROOM))
    evidence = evidence_in(made.manifest)
    assert evidence is not None
    first, second = evidence.trials
    assert (first.met, first.int8_share) == (False, None)
    assert first.problem.startswith("the measurement failed (exit -6)")
    assert (second.met, second.problem) == (True, "")


@pytest.mark.full  # a second search; in CI one setting crashes
def test_where_every_setting_crashes_the_compiler_the_refusal_says_so(
    fp32: ModelPackage, cohort: Cohort, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    crash_first(100, tmp_path, monkeypatch)
    words = r"no setting quantises enough of the network; the measurement failed \(exit -6\).*no package was written"
    with pytest.raises(BudgetError, match=words):
        quantize(fp32, cohort, tmp_path / "package", options(ROOM))


@pytest.mark.parametrize(
    ("splits", "missing"),
    [
        ((Split.VALIDATION, Split.TEST), "calibration"),
        ((Split.CALIBRATION, Split.TEST), "validation"),
    ],
)
def test_a_cohort_without_cases_for_a_purpose_is_refused(
    splits: tuple[Split, ...], missing: str, fp32: ModelPackage, tmp_path: Path
):
    cohort = make_cohort(tmp_path, fp32, splits)
    with pytest.raises(InputError, match=rf"the cohort .*tiny\.toml has no {missing} case"):
        quantize(fp32, cohort, tmp_path / "package", options(ROOM))
    assert not (tmp_path / "package").exists()
