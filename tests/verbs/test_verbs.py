"""The verbs as Python functions do what the commands of the same name do: the same packages, masks and figures."""

from __future__ import annotations

import subprocess
import sys
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from cli_program import WITHOUT_BUILD_SIDE, child_environment, make_package, save_phantom, save_specks, succeed
from cohorts import make_case, save_manifest
from present import present
from tiny_ensemble import make_cohort, make_ensemble
from tiny_package import NETWORK, PHANTOM, SPEC, tiny_weights

import brain_edge
from brain_edge.evaluation.cohort import Split
from brain_edge.evaluation.evidence import evidence_in
from brain_edge.image.phantom import make_volume
from brain_edge.jobs.batch import CaseOutcome
from brain_edge.package import NumberFormat, WeightsStatus
from brain_edge.spec import canonical_json

if TYPE_CHECKING:
    from pathlib import Path

    from brain_edge.package import Manifest

ONE_THREAD = brain_edge.RuntimeOptions(threads=1, resident_graphs=2)

MODULE = "network_of_a_python_user"


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a network, its weights and specification, and a head."""
    torch = pytest.importorskip("torch", reason="the build side needs the extra `convert`")
    folder = tmp_path_factory.mktemp("place")
    (folder / f"{MODULE}.py").write_text(NETWORK)
    (folder / "spec.json").write_bytes(canonical_json(SPEC))
    kernel, bias = tiny_weights()
    state = {"convolution.weight": torch.tensor(kernel), "convolution.bias": torch.tensor(bias.ravel())}
    torch.save(state, folder / "weights.pt")
    save_phantom(folder / "head.nii.gz")
    return folder


@pytest.fixture(scope="module")
def converted(place: Path) -> brain_edge.ModelPackage:
    lines: list[str] = []
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(place)
        package = brain_edge.convert(
            f"{MODULE}:Tiny",
            place / "tiny-fp32",
            weights=place / "weights.pt",
            spec=place / "spec.json",
            parity_data={"T1": place / "head.nii.gz"},
            trust=True,
            progress=lines.append,
        )
    assert "comparing with PyTorch on a real volume" in lines
    return package


@pytest.fixture(scope="module")
def cohort(converted: brain_edge.ModelPackage, place: Path) -> Path:
    """Three heads: one to calibrate on, two with the mask that the FP32 package makes of them."""
    volume = make_volume(PHANTOM)
    mask = brain_edge.Segmenter.open(converted)(volume).mask.labels
    cases = [
        make_case(place / "cohort", f"p{number}", split, voxels=volume.voxels + number, mask=mask if number else None)
        for number, split in enumerate(Split)
    ]
    return save_manifest(place / "cohort", *cases)


@pytest.fixture(scope="module")
def quantised(converted: brain_edge.ModelPackage, cohort: Path) -> brain_edge.ModelPackage:
    limits: dict[str, Any] = {"max_case_drop": 0.4, "max_hd95_increase_mm": 1000.0}
    return brain_edge.quantize(
        converted.folder, max_dice_drop=0.2, calibration=cohort, gain=False, runtime=ONE_THREAD, **limits
    )


# convert


def test_a_network_becomes_the_package_that_the_command_makes(
    converted: brain_edge.ModelPackage, place: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    assert present(converted.manifest.parity).mask_dice == 1.0
    monkeypatch.chdir(place)
    options = ("--spec", "spec.json", "--weights", "weights.pt", "--parity-data", "T1=head.nii.gz", "--trust", "-q")
    succeed("convert", f"{MODULE}:Tiny", "-o", tmp_path / "package", *options)
    by_command = brain_edge.open_package(tmp_path / "package").manifest
    assert (by_command.spec, by_command.parity) == (converted.manifest.spec, converted.manifest.parity)
    # OpenVINO numbers the nodes of a graph through all conversions of a process
    assert weights_and_masks(by_command) == weights_and_masks(converted.manifest)


def weights_and_masks(manifest: Manifest) -> dict[str, str]:
    return {name: file.sha256 for name, file in manifest.files.items() if not name.endswith(".xml")}


@pytest.mark.usefixtures("place")
@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"members": "both"}, r"expected members as a number or 'all', got 'both'"),
        ({"precision": "f16"}, r"expected precision as one of f32, bf16, got 'f16'"),
    ],
)
def test_a_word_that_is_no_choice_is_refused(options: dict[str, Any], said: str):
    with pytest.raises(brain_edge.UsageError, match=said):
        brain_edge.convert("deepbet", **options)


def test_without_the_build_side_the_verb_is_there_and_says_what_to_install(tmp_path: Path):
    code = (
        f"import sys; sys.modules.update(dict.fromkeys({list(WITHOUT_BUILD_SIDE)!r}))\n"
        "import brain_edge\n"
        "for verb, arguments in (('convert', ('deepbet',)), ('quantize', ('package',))):\n"
        "    try:\n"
        "        getattr(brain_edge, verb)(*arguments)\n"
        "    except brain_edge.MissingExtraError as error:\n"
        "        print(error)\n"
    )
    command = [sys.executable, "-c", code]
    done = subprocess.run(command, capture_output=True, text=True, env=child_environment(), cwd=tmp_path, check=True)
    assert done.stdout.splitlines() == [
        "convert needs torch, which is not installed here: pip install 'brain-edge[convert]'",
        "quantize needs nncf, which is not installed here: pip install 'brain-edge[convert]'",
    ]


# quantize


def test_a_package_is_quantised_within_its_limits_beside_the_other(
    quantised: brain_edge.ModelPackage, converted: brain_edge.ModelPackage
):
    assert quantised.folder == converted.folder.with_name("tiny-int8")
    assert quantised.manifest.number_format is NumberFormat.INT8
    evidence = evidence_in(quantised.manifest)
    assert evidence is not None
    assert (evidence.limits.max_dice_drop, evidence.limits.max_case_drop) == (0.2, 0.4)


@pytest.mark.full  # half a minute; in CI tests/cli misses a budget
def test_a_missed_budget_raises_and_leaves_no_package(converted: brain_edge.ModelPackage, cohort: Path, tmp_path: Path):
    with pytest.raises(brain_edge.BudgetError, match="the budget is 1e-09"):
        brain_edge.quantize(
            converted.folder, tmp_path / "int8", max_dice_drop=1e-9, max_case_drop=1e-9, calibration=cohort
        )
    assert not (tmp_path / "int8").exists()


def test_a_budget_must_be_stated_and_binds_nothing_for_speed(converted: brain_edge.ModelPackage, tmp_path: Path):
    with pytest.raises(brain_edge.UsageError, match=r"expected max_dice_drop, got none; state what INT8 may cost"):
        brain_edge.quantize(converted.folder, tmp_path / "int8")
    with pytest.raises(brain_edge.UsageError, match="got max_dice_drop, confidence; omit these parameters"):
        brain_edge.quantize(converted.folder, tmp_path / "int8", for_speed=True, max_dice_drop=0.1, confidence=0.9)


def test_random_weights_are_quantised_for_speed(tmp_path: Path):
    package = make_package(tmp_path / "net-fp32", weights_status=WeightsStatus.RANDOM)
    quantised = brain_edge.quantize(package.folder, for_speed=True)
    assert quantised.folder == tmp_path / "net-int8"
    assert quantised.manifest.evidence is None


# tune


@pytest.mark.full  # as tests/tune, from Python
def test_an_ensemble_is_tuned_and_says_what_it_was_made_from(tmp_path: Path):
    package = make_ensemble(tmp_path / "brain")
    cohort = make_cohort(tmp_path / "heads", package)
    tuned = brain_edge.tune(
        package.folder,
        cohort.path,
        max_dice_drop=0.3,
        max_case_drop=0.9,
        max_hd95_increase_mm=1000.0,
        rounds=1,
        time_limit_min=0.0001,
        runtime=ONE_THREAD,
    )
    assert tuned.folder == tmp_path / "brain-tuned"
    evidence = evidence_in(tuned.manifest)
    assert evidence is not None
    assert evidence.baseline == package.digest
    assert "1 of 2 members" in " ".join(evidence.changes)


# evaluate


def test_an_evaluation_has_the_figures_that_the_command_prints(
    converted: brain_edge.ModelPackage, cohort: Path, tmp_path: Path
):
    found = brain_edge.evaluate(converted.folder, cohort, split="test", report=tmp_path / "scores.json")
    assert isinstance(found, brain_edge.Evaluation)
    assert [case.subject for case in found.cases] == ["p2"]
    printed = succeed("evaluate", converted.folder, cohort, "--split", "test", "--json", "-q").json
    assert [summary.mean_dice for summary in found.summaries] == [each["mean_dice"] for each in printed["summaries"]]
    assert (tmp_path / "scores.json").is_file()


@pytest.mark.full  # four seconds; cli/test_cli_evaluate compares in CI
def test_a_baseline_gives_a_comparison(
    quantised: brain_edge.ModelPackage, converted: brain_edge.ModelPackage, cohort: Path
):
    found = brain_edge.evaluate(quantised.folder, cohort, baseline=converted.folder)
    assert isinstance(found, brain_edge.Comparison)
    assert (found.baseline_digest, found.candidate_digest) == (converted.digest, quantised.digest)


def test_regions_are_judged_lesion_by_lesion(converted: brain_edge.ModelPackage, cohort: Path):
    found = brain_edge.evaluate(converted.folder, cohort, split="test", lesion_wise={"whole": [1]})
    assert [(region.region, region.labels) for region in found.regions] == [("whole", (1,))]


def test_an_unknown_split_is_refused_by_name(converted: brain_edge.ModelPackage, cohort: Path):
    with pytest.raises(brain_edge.UsageError, match="expected split as one of calibration, validation, test, got 'tst"):
        brain_edge.evaluate(converted.folder, cohort, split="tst")


# run_batch


def test_a_batch_has_the_masks_of_the_command_and_a_failing_case_raises_nothing(tmp_path: Path):
    package = make_package(tmp_path / "tiny").folder
    heads = tmp_path / "heads"
    heads.mkdir()
    save_phantom(heads / "b.nii.gz", seed=2)
    save_phantom(heads / "a.nii.gz", seed=1)
    save_specks(heads / "c.nii.gz")
    told: list[brain_edge.CaseResult] = []
    masks = tmp_path / "masks"
    batch = brain_edge.run_batch(package, heads, masks, page=True, runtime=ONE_THREAD, progress=told.append)
    assert [case.case for case in batch.cases] == ["a", "b", "c"]
    assert {case.case for case in told} == {"a", "b", "c"}
    assert [(case.case, type(case.error)) for case in batch.failed] == [("c", brain_edge.ImplausibleError)]
    assert batch.page == masks / "index.html"
    assert batch.page.is_file()
    succeed("run", package, heads / "a.nii.gz", heads / "b.nii.gz", "-o", tmp_path / "again", "--threads", "1")
    for name in ("a_mask.nii.gz", "b_mask.nii.gz"):
        assert (masks / name).read_bytes() == (tmp_path / "again" / name).read_bytes()
    kept = brain_edge.run_batch(package, [heads / "a.nii.gz", heads / "b.nii.gz"], str(masks))
    assert [case.outcome for case in kept.cases] == [CaseOutcome.KEPT, CaseOutcome.KEPT]
    assert kept.page is None


def test_random_weights_are_refused_and_run_on_request(tmp_path: Path):
    package = make_package(tmp_path / "tiny", weights_status=WeightsStatus.RANDOM).folder
    head = save_phantom(tmp_path / "head.nii.gz")
    with pytest.raises(brain_edge.WeightsError, match="so its mask is noise; give allow_untrained=True"):
        brain_edge.run_batch(package, head, tmp_path / "masks")
    assert not brain_edge.run_batch(package, head, tmp_path / "masks", allow_untrained=True).failed


# read


def test_an_image_is_read_whatever_its_format(tmp_path: Path):
    pytest.importorskip("highdicom", reason="needs the extra dicom")
    from dicom_series import Series

    Series().write(tmp_path / "study")
    head = save_phantom(tmp_path / "head.nii.gz")
    np.testing.assert_array_equal(brain_edge.read(head).voxels, make_volume(PHANTOM).voxels)
    only, named = brain_edge.read(tmp_path / "study"), brain_edge.read(str(tmp_path / "study"), series="T1w")
    np.testing.assert_array_equal(only.voxels, named.voxels)
    with pytest.raises(brain_edge.UsageError, match=r"head\.nii\.gz"):
        brain_edge.read(head, series="T1w")
