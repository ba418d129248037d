from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np
import pytest
from cohorts import SHAPE, SPACING_MM, Identity, head, make_case, save_manifest, threshold_model, threshold_spec
from evidences import evidence
from present import present
from scipy.spatial.distance import dice as scipy_dissimilarity

from brain_edge.engine.segmenter import Segmentation, Segmenter
from brain_edge.errors import ImplausibleError, InputError, UsageError, WeightsError
from brain_edge.evaluation.cohort import CaseEntry, Split, load_case, load_cohort
from brain_edge.evaluation.compare import ComparedCase, compare, compare_masks, compare_packages
from brain_edge.evaluation.evaluate import Evaluation, evaluate, format_table
from brain_edge.evaluation.evidence import spelt
from brain_edge.image.geometry import Geometry
from brain_edge.image.identity import image_sha256
from brain_edge.image.phantom import Phantom
from brain_edge.image.volume import Mask
from brain_edge.machine.options import RuntimeOptions
from brain_edge.package import ModelPackage, graph_path, open_package
from brain_edge.package.manifest import Card, Licence, Manifest, NumberFormat, Precision, SelfTest, WeightsStatus
from brain_edge.spec import Label, Task, canonical_json
from brain_edge.spec.plausibility import FlagKind
from brain_edge.spec.steps import PaintedRegion, PaintRegions
from brain_edge_conversion.sealing.writer import seal

if TYPE_CHECKING:
    from pathlib import Path

    from brain_edge.evaluation.cohort import Cohort
    from brain_edge.evaluation.evidence import Evidence


def _cohort(folder: Path, *cases: CaseEntry, **header: object) -> Cohort:
    return load_cohort(save_manifest(folder, *cases, **header))


def _brain(voxels: np.ndarray, above: float = 300) -> np.ndarray:
    return (voxels > above).astype(np.uint8)


def _mask(*places: tuple[int, int, int], label: int = 1) -> Mask:
    labels = np.zeros((6, 6, 6), np.uint8)
    for place in places:
        labels[place] = label
    return Mask(labels, Geometry((6, 6, 6), np.diag([10.0, 10.0, 10.0, 1.0])))


def test_dice_and_volumes_are_those_of_the_masks_that_the_model_makes(tmp_path: Path):
    voxels = head(3)
    reference = _brain(voxels, 500)
    cohort = _cohort(tmp_path, make_case(tmp_path, "a", voxels=voxels, mask=reference))
    evaluation = evaluate(threshold_model(300), cohort)
    (case,) = evaluation.cases
    (score,) = case.scores
    predicted = voxels > 300
    assert score.dice == pytest.approx(1 - scipy_dissimilarity(predicted.ravel(), reference.ravel() > 0))
    assert case.volume_ml["bright"] == pytest.approx(predicted.sum() * SPACING_MM**3 / 1000)
    (summary,) = evaluation.summaries
    assert summary.mean_dice == score.dice
    assert evaluation.cohort_sha256 == cohort.sha256
    assert case.elapsed_ms > 0


def test_each_label_has_its_own_volume_and_the_time_is_that_of_all_stages(tmp_path: Path):
    class Timed(Segmenter):
        def __call__(self, *args: Any, **options: Any) -> Segmentation:
            found = super().__call__(*args, **options)
            return dataclasses.replace(found, elapsed_ms={"first": 2.0, "second": 3.0})

    voxels, spec = head(3), threshold_spec(300)
    paint = PaintRegions(regions=tuple(PaintedRegion(0, float(above), label) for label, above in ((1, 300), (2, 500))))
    stage = msgspec.structs.replace(spec.stages[0], after=(paint, spec.stages[0].after[1]))
    labels = (*spec.labels, Label(value=2, name="brighter"))
    model = Timed(msgspec.structs.replace(spec, stages=(stage,), labels=labels), {"identity": Identity()})
    (case,) = evaluate(model, _cohort(tmp_path, make_case(tmp_path, "a", voxels=voxels))).without_reference
    counts = {"bright": ((voxels > 300) & (voxels <= 500)).sum(), "brighter": (voxels > 500).sum()}
    assert case.volume_ml == {name: pytest.approx(count * SPACING_MM**3 / 1000) for name, count in counts.items()}
    assert case.elapsed_ms == 5.0


def test_two_visits_of_one_person_are_one_subject(tmp_path: Path):
    cases = []
    for number, visit in enumerate(("before", "after"), start=1):
        voxels = head(number)
        entry = make_case(tmp_path / visit, "Ann", voxels=voxels, mask=_brain(voxels))
        cases.append(_moved(entry, visit))
    evaluation = evaluate(threshold_model(300), _cohort(tmp_path, *cases))
    assert evaluation.limits[0] == "With a reference mask: 2 of 2 cases, 1 subject(s)."


def _moved(entry: CaseEntry, folder: str) -> CaseEntry:
    """A visit in a folder of its own, as the manifest beside that folder names its files."""
    image, mask = (
        msgspec.structs.replace(file, source=f"{folder}/{file.source}")
        for file in (entry.inputs["T1"], present(entry.reference))
    )
    return msgspec.structs.replace(entry, visit=folder, inputs={"T1": image}, reference=mask)


def test_a_model_that_makes_the_reference_scores_one(tmp_path: Path):
    voxels = head(3)
    cohort = _cohort(tmp_path, make_case(tmp_path, "a", voxels=voxels, mask=_brain(voxels)))
    (summary,) = evaluate(threshold_model(300), cohort).summaries
    assert (summary.mean_dice, summary.hd95_worst_mm) == (1.0, 0.0)


def test_cases_without_a_reference_are_listed_apart_and_in_no_mean(tmp_path: Path):
    voxels = head(3)
    cohort = _cohort(
        tmp_path, make_case(tmp_path, "a", voxels=voxels, mask=_brain(voxels)), make_case(tmp_path, "unlabelled")
    )
    evaluation = evaluate(threshold_model(300), cohort)
    assert [case.subject for case in evaluation.cases] == ["a"]
    assert [case.subject for case in evaluation.without_reference] == ["unlabelled"]
    assert evaluation.summaries[0].cases == 1
    assert evaluation.limits[0] == "With a reference mask: 1 of 2 cases, 1 subject(s)."


def test_without_any_reference_nothing_is_claimed(tmp_path: Path):
    evaluation = evaluate(threshold_model(300), _cohort(tmp_path, make_case(tmp_path, "a")))
    assert evaluation.summaries == ()
    assert "The accuracy on these images is unknown." in evaluation.limits


def test_a_lesion_free_patient_is_left_out_of_the_mean_and_counted(tmp_path: Path):
    voxels = head(3)
    cohort = _cohort(
        tmp_path,
        make_case(tmp_path, "ill", voxels=voxels, mask=_brain(voxels)),
        make_case(tmp_path, "well", voxels=voxels / 10, mask=np.zeros(SHAPE, np.uint8)),
    )
    (summary,) = evaluate(threshold_model(300, task=Task.LESION), cohort).summaries
    assert (summary.cases, summary.absent, summary.mean_dice) == (1, 1, 1.0)


def test_a_false_alarm_scores_zero_and_its_distance_is_undefined_and_counted(tmp_path: Path):
    cohort = _cohort(tmp_path, make_case(tmp_path, "well", mask=np.zeros(SHAPE, np.uint8)))
    (summary,) = evaluate(threshold_model(300, task=Task.LESION), cohort).summaries
    assert (summary.mean_dice, summary.hd95_mean_mm, summary.hd95_undefined) == (0.0, None, 1)


def test_a_bad_case_is_refused_before_the_network_runs_at_all(tmp_path: Path):
    broken = head()
    broken[1, 1, 1] = np.nan
    cohort = _cohort(tmp_path, make_case(tmp_path, "good"), make_case(tmp_path, "broken", voxels=broken))
    session = Identity()
    with pytest.raises(InputError, match="NaN"):
        evaluate(threshold_model(300, session), cohort)
    assert session.runs == 0


def test_only_the_split_that_is_asked_for_runs(tmp_path: Path):
    cohort = _cohort(tmp_path, make_case(tmp_path, "a", Split.CALIBRATION), make_case(tmp_path, "b", Split.TEST))
    session = Identity()
    told: list[str] = []
    evaluation = evaluate(threshold_model(300, session), cohort, Split.TEST, report=told.append)
    assert [case.subject for case in evaluation.without_reference] == ["b"]
    assert session.runs == 1
    assert [line.partition(":")[0] for line in told] == ["checking case 1 of 1", "running case 1 of 1"]
    with pytest.raises(InputError, match="has no validation case"):
        evaluate(threshold_model(300, session), cohort, Split.VALIDATION)


def test_the_one_head_of_a_demonstration_runs_once_and_is_marked(tmp_path: Path):
    voxels = head(3)
    entry = make_case(tmp_path, "a", voxels=voxels, mask=_brain(voxels))
    again = [msgspec.structs.replace(entry, split=split) for split in Split]
    session = Identity()
    evaluation = evaluate(threshold_model(300, session), _cohort(tmp_path, *again, demo=True, synthetic=True))
    assert session.runs == 1
    assert any(line.startswith("Demonstration: one head") for line in evaluation.limits)
    assert any("synthetic" in line for line in evaluation.limits)


class _Blind(Identity):
    def __call__(self, batch: np.ndarray) -> np.ndarray:  # noqa: ARG002 - the signature of a session
        raise ImplausibleError("stage 'crop' found nothing to crop to: no brain was found in this image")


def test_a_model_that_sees_no_brain_scores_zero_instead_of_ending_the_run(tmp_path: Path):
    voxels = head(3)
    cohort = _cohort(tmp_path, make_case(tmp_path, "a", voxels=voxels, mask=_brain(voxels)))
    evaluation = evaluate(threshold_model(300, _Blind()), cohort)
    assert evaluation.summaries[0].mean_dice == 0.0
    (flag,) = evaluation.cases[0].flags
    assert flag.kind is FlagKind.EMPTY
    assert "no brain was found" in flag.message


def test_flags_of_the_plausibility_check_reach_the_report(tmp_path: Path):
    cohort = _cohort(tmp_path, make_case(tmp_path, "a"))
    evaluation = evaluate(threshold_model(1e6), cohort)
    assert [flag.kind for flag in evaluation.without_reference[0].flags] == [FlagKind.EMPTY]


def _package(folder: Path, status: WeightsStatus, record: Evidence | None = None, above: float = 300) -> ModelPackage:
    """A package whose network is `max(x, x)`, made with OpenVINO and opened like any other."""
    import openvino as ov
    from openvino import opset13

    spec, file = threshold_spec(above), folder / "package" / graph_path("identity")
    x = opset13.parameter([1, 1, -1, -1, -1], np.float32)
    model = ov.Model([opset13.maximum(x, x)], [x])
    model.set_rt_info(canonical_json(spec).decode(), ["brain_edge", "spec"])
    file.parent.mkdir(parents=True)
    ov.save_model(model, file, compress_to_fp16=False)
    (folder / "package/self_test.nii.gz").write_bytes(b"not run here")
    manifest = Manifest(
        spec=spec,
        weights_status=status,
        fitted_on=2 if status is WeightsStatus.FIT_FOR_TESTING else msgspec.UNSET,
        number_format=NumberFormat.FP32,
        precision=Precision.F32,
        weights=(),
        rewrites=(),
        made_with={},
        licence=Licence(name="CC0", holder="nobody"),
        card=Card(summary="", citation="", published_figures="", limits=""),
        self_test=SelfTest(phantom=Phantom(), mask="self_test.nii.gz", minimum_dice=0.99),
        evidence=None if record is None else spelt(record),
    )
    seal(folder / "package", manifest)
    return open_package(folder / "package")


def test_a_package_with_random_weights_is_refused_before_any_image_is_read(tmp_path: Path):
    cohort = _cohort(tmp_path, make_case(tmp_path, "a"))
    (tmp_path / "a/T1.nii.gz").unlink()
    with pytest.raises(WeightsError, match="the weights of this package are random, so its Dice says nothing"):
        evaluate(_package(tmp_path, WeightsStatus.RANDOM), cohort)


def test_weights_that_were_fit_for_testing_are_marked(tmp_path: Path):
    package = _package(tmp_path, WeightsStatus.FIT_FOR_TESTING)
    limits = evaluate(package, _cohort(tmp_path, make_case(tmp_path, "a")), options=RuntimeOptions(threads=1)).limits
    assert any(line.startswith("The weights were fit for testing on 2 cases, not for use") for line in limits)


@pytest.mark.parametrize(("split", "said"), [(None, True), (Split.TEST, False)])
def test_a_package_judged_on_what_it_was_made_with_says_so(tmp_path: Path, split: Split | None, said: bool):
    cohort = _cohort(tmp_path, make_case(tmp_path, "a", Split.VALIDATION), make_case(tmp_path, "b", Split.TEST))
    package = _package(tmp_path, WeightsStatus.TRAINED, evidence(cohort_sha256=cohort.sha256))
    evaluation = evaluate(package, cohort, split, options=RuntimeOptions(threads=1))
    assert evaluation.package_digest == package.digest
    assert any("were chosen on cases of this cohort" in line for line in evaluation.limits) is said
    own = evaluate(threshold_model(300), cohort, split)
    assert [case.volume_ml for case in evaluation.without_reference] == [c.volume_ml for c in own.without_reference]


def test_what_an_earlier_change_of_the_package_has_seen_is_said_too(tmp_path: Path):
    """Tuned on this cohort, then quantised on another one."""
    cohort = _cohort(tmp_path, make_case(tmp_path, "a", Split.VALIDATION))
    package = _package(tmp_path, WeightsStatus.TRAINED, evidence(before=evidence(cohort_sha256=cohort.sha256)))
    limits = evaluate(package, cohort, options=RuntimeOptions(threads=1)).limits
    assert any("were chosen on cases of this cohort" in line for line in limits)


def test_one_image_of_a_case_that_was_seen_before_is_enough_to_say_so(tmp_path: Path):
    """The other sequence of the patient is new: what was chosen on the first one was chosen on this patient."""
    first, second = make_case(tmp_path, "a"), make_case(tmp_path, "a", sequence="T2", voxels=head(9))
    both = msgspec.structs.replace(first, inputs=first.inputs | second.inputs)
    cohort = _cohort(tmp_path, both, make_case(tmp_path, "b"), sequences=("T1", "T2"))
    seen = image_sha256(load_case(cohort.cases()[0])[0].volumes["T2"])
    package = _package(tmp_path, WeightsStatus.TRAINED, evidence(seen_images=(seen,)))
    limits = evaluate(package, cohort, options=RuntimeOptions(threads=1)).limits
    assert any("were chosen on 1 of these images, in another cohort." in line for line in limits)


def test_a_comparison_names_the_worst_drop_and_the_least_agreement(tmp_path: Path):
    heads = [head(3), head(4) * 0.8]
    cases = [make_case(tmp_path, name, voxels=each, mask=_brain(each)) for name, each in zip("ab", heads, strict=True)]
    apart_and_empty = {"c": np.clip(head(5), 310, 400), "d": np.clip(head(6), 0, 250)}
    cohort = _cohort(
        tmp_path, *cases, *(make_case(tmp_path, name, voxels=each) for name, each in apart_and_empty.items())
    )
    one, other = (_package(tmp_path / str(above), WeightsStatus.TRAINED, above=above) for above in (300, 500))
    (summary,) = compare_packages(one, other, cohort, options=RuntimeOptions(threads=1)).summaries
    apart = [scipy_dissimilarity((each > 300).ravel(), (each > 500).ravel()) for each in heads]
    assert apart[0] != pytest.approx(apart[1], abs=1e-3)
    assert (summary.cases, summary.with_reference) == (3, 2)
    assert (summary.mean_drop, summary.worst_drop) == (pytest.approx(np.mean(apart)), pytest.approx(max(apart)))
    assert summary.least_agreement == 0.0
    assert summary.mean_agreement == pytest.approx(1 - (sum(apart) + 1) / 3)


def test_packages_of_random_weights_or_of_other_labels_are_not_compared(tmp_path: Path):
    cohort = _cohort(tmp_path, make_case(tmp_path, "a"))
    trained, random = (_package(tmp_path / each, WeightsStatus(each)) for each in ("trained", "random"))
    for pair in ((trained, random), (random, trained)):
        with pytest.raises(WeightsError, match="the weights of this package are random"):
            compare_packages(*pair, cohort)
    labels = (Label(value=1, name="dark"),)
    spec = msgspec.structs.replace(trained.spec, labels=labels)
    other = ModelPackage(trained.folder, msgspec.structs.replace(trained.manifest, spec=spec))
    with pytest.raises(UsageError, match=r"expected a package with the labels of .*, got bright"):
        compare_packages(trained, other, cohort)


def test_an_evaluation_goes_through_json_unchanged(tmp_path: Path):
    voxels = head(3)
    cohort = _cohort(tmp_path, make_case(tmp_path, "a", voxels=voxels, mask=_brain(voxels)), make_case(tmp_path, "b"))
    evaluation = evaluate(threshold_model(300), cohort)
    assert msgspec.json.decode(msgspec.json.encode(evaluation), type=Evaluation) == evaluation


def test_the_table_names_every_case_and_dashes_what_is_undefined(tmp_path: Path):
    voxels = head(3)
    cohort = _cohort(
        tmp_path,
        make_case(tmp_path, "ill", voxels=voxels, mask=_brain(voxels)),
        make_case(tmp_path, "well|done", mask=np.zeros(SHAPE, np.uint8)),
        make_case(tmp_path, "unlabelled"),
    )
    text = format_table(evaluate(threshold_model(300, task=Task.LESION), cohort))
    lines = {line.split("|")[2].strip(): line for line in text.splitlines() if line.startswith("|")}
    cells = [cell.strip() for cell in text.splitlines()[5].strip("|").split(" | ")]
    assert cells == ["bright", "2", "0", "0.5000", "0.0000", "0.00", "0.00", "1", cells[-1]]
    assert "| 1.0000 | 0.00" in lines["ill"]
    assert "0.0000 | -" in next(line for line in lines.values() if r"well\|done" in line)
    assert text.index("Cases without a reference mask") < text.index("unlabelled")
    widths = {len(line) for line in text.splitlines()[3:6]}
    assert len(widths) == 1


def test_comparing_a_model_with_itself_shows_no_difference(tmp_path: Path):
    voxels = head(3)
    cohort = _cohort(tmp_path, make_case(tmp_path, "a", voxels=voxels, mask=_brain(voxels, 500)))
    (case,) = compare(threshold_model(300), threshold_model(300), cohort.cases())
    (label,) = case.labels
    assert (label.drop, label.agreement, label.hd95_increase_mm) == (0.0, 1.0, 0.0)


def test_a_drop_is_signed_and_positive_where_the_candidate_is_worse(tmp_path: Path):
    voxels = head(3)
    cohort = _cohort(tmp_path, make_case(tmp_path, "a", voxels=voxels, mask=_brain(voxels, 300)))
    good, bad = threshold_model(300), threshold_model(500)
    (worse,), (better,) = (list(compare(*pair, cohort.cases())) for pair in ((good, bad), (bad, good)))
    expected = scipy_dissimilarity((voxels > 300).ravel(), (voxels > 500).ravel())
    assert worse.labels[0].drop == pytest.approx(expected)
    assert better.labels[0].drop == pytest.approx(-expected)
    assert worse.labels[0].agreement == pytest.approx(1 - expected)


def test_opposite_errors_hide_in_a_drop_of_zero_and_show_in_the_agreement():
    reference = _mask((1, 1, 1), (2, 2, 2))
    (label,) = compare_masks(_mask((1, 1, 1)), _mask((2, 2, 2)), reference, (1,))
    assert (label.drop, label.agreement) == (0.0, 0.0)


def test_without_a_reference_only_agreement_is_measured(tmp_path: Path):
    cohort = _cohort(tmp_path, make_case(tmp_path, "a"))
    (case,) = compare(threshold_model(300), threshold_model(500), cohort.cases())
    (label,) = case.labels
    assert not case.has_reference
    assert (label.drop, label.dice_baseline, label.dice_candidate, label.hd95_increase_mm) == (None,) * 4
    assert label.reference_volume_ml is None
    assert label.agreement is not None
    assert 0 < label.agreement < 1


def test_a_lesion_that_only_the_candidate_invents_is_a_drop_of_one():
    (label,) = compare_masks(_mask(), _mask((1, 1, 1)), _mask(), (1,))
    assert (label.dice_baseline, label.dice_candidate, label.drop, label.agreement) == (None, 0.0, 1.0, 0.0)
    assert label.volume_candidate_ml == pytest.approx(1.0)
    assert label.hd95_increase_mm is None


def test_a_lesion_that_only_the_baseline_invents_is_no_gain():
    """A gain of 1 would pay, in a mean, for losses in dozens of other cases."""
    (label,) = compare_masks(_mask((1, 1, 1)), _mask(), _mask(), (1,))
    assert (label.dice_baseline, label.dice_candidate, label.drop, label.agreement) == (0.0, None, 0.0, 0.0)
    (both,) = compare_masks(_mask((1, 1, 1)), _mask((2, 2, 2)), _mask(), (1,))
    assert both.drop == 0.0


def test_a_label_that_is_in_none_of_the_three_masks_has_no_drop():
    (label,) = compare_masks(_mask(), _mask(), _mask(), (1,))
    assert (label.drop, label.agreement) == (None, None)


def test_a_comparison_names_no_patient(tmp_path: Path):
    cohort = _cohort(tmp_path, make_case(tmp_path, "Smith"))
    cases = list(compare(threshold_model(300), threshold_model(500), cohort.cases()))
    text = msgspec.json.encode(cases)
    assert b"Smith" not in text
    assert b"T1" not in text
    assert msgspec.json.decode(text, type=list[ComparedCase]) == cases


def test_models_with_other_labels_are_not_compared(tmp_path: Path):
    cohort = _cohort(tmp_path, make_case(tmp_path, "a"))
    spec = threshold_spec(300)
    other = msgspec.structs.replace(spec, labels=(msgspec.structs.replace(spec.labels[0], name="dark"),))
    with pytest.raises(ValueError, match="expected two models with the labels"):
        next(compare(threshold_model(300), Segmenter(other, {"identity": Identity()}), cohort.cases()))
