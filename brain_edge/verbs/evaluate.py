"""`brain_edge.evaluate`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, overload

from brain_edge.machine.options import RuntimeOptions
from brain_edge.verbs.given import chosen, path_or_none

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from brain_edge.evaluation.compare import Comparison
    from brain_edge.evaluation.evaluate import Evaluation
    from brain_edge.verbs.given import FilePath


@overload
def evaluate(
    package: FilePath,
    cohort: FilePath,
    *,
    split: str | None = None,
    baseline: None = None,
    lesion_wise: Mapping[str, Sequence[int]] | None = None,
    report: FilePath | None = None,
    runtime: RuntimeOptions | None = None,
    progress: Callable[[str], None] | None = None,
) -> Evaluation: ...


@overload
def evaluate(
    package: FilePath,
    cohort: FilePath,
    *,
    split: str | None = None,
    baseline: FilePath,
    lesion_wise: None = None,
    report: FilePath | None = None,
    runtime: RuntimeOptions | None = None,
    progress: Callable[[str], None] | None = None,
) -> Comparison: ...


def evaluate(
    package: FilePath,
    cohort: FilePath,
    *,
    split: str | None = None,
    baseline: FilePath | None = None,
    lesion_wise: Mapping[str, Sequence[int]] | None = None,
    report: FilePath | None = None,
    runtime: RuntimeOptions | None = None,
    progress: Callable[[str], None] | None = None,
) -> Evaluation | Comparison:
    """Measure Dice, HD95 and volumes of a package on the cases of a cohort.

    The same as `brain-edge evaluate`. Nothing is downloaded. The result of an evaluation names subjects: it is for its
    reader, not for a package.

    Args:
        package: folder of the package.
        cohort: name of a shipped cohort, or path of a `.toml` file.
        split: `"calibration"`, `"validation"` or `"test"`; all cases by default.
        baseline: folder of a package to compare with.
        lesion_wise: label values of each region that is also judged lesion by lesion, such as `{"WT": (1, 2, 4)}`.
        report: `.json` file for the result.
        runtime: threads, cache, memory limit, stage 0.
        progress: function that is told each case, in one line.

    Returns:
        The evaluation: scores of each case and label, volumes in ml, HD95 in mm. With a baseline the comparison: drop
        of Dice and agreement of both masks, under case numbers.

    Raises:
        UsageError: no such cohort or split, a region of unknown labels, or packages of different labels.
        InputError: the split has no case, or a case cannot be used.
        WeightsError: the weights are random.
        PackageError: a package is damaged or none.
        OutputError: the report cannot be written.

    Examples:
        >>> import brain_edge
        >>> evaluation = brain_edge.evaluate("deepbet-int8", "my-cohort.toml", split="test")
        >>> [summary.mean_dice for summary in evaluation.summaries]
        >>> brain_edge.evaluate("deepbet-int8", "my-cohort.toml", baseline="deepbet-fp32").summaries
    """
    from brain_edge.evaluation.by_request import EvaluationRequest, compare_request, evaluate_request
    from brain_edge.evaluation.cohort import Split

    request = EvaluationRequest(
        split=None if split is None else chosen(Split, split, "split"),
        regions={name: tuple(labels) for name, labels in (lesion_wise or {}).items()},
        file=path_or_none(report),
        runtime=runtime or RuntimeOptions(resident_graphs=2),
        report=progress,
    )
    if baseline is None:
        return evaluate_request(Path(package), cohort, request)
    return compare_request(Path(package), Path(baseline), cohort, request)
