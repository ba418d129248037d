"""`brain_edge.run_batch`."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from brain_edge.errors import UsageError
from brain_edge.machine.options import RuntimeOptions
from brain_edge.verbs.given import chosen, named_files, path_or_none

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from brain_edge.jobs.batch import CaseResult
    from brain_edge.jobs.case import NamedInput
    from brain_edge.jobs.outputs import Outputs
    from brain_edge.package import ModelPackage
    from brain_edge.verbs.given import FilePath, NamedFiles


@dataclass(frozen=True)
class BatchResult:
    """What became of the cases of a batch.

    Attributes:
        folder: folder of the masks, records and `summary.tsv`.
        cases: result of each case, in the order in which the images were named.
        page: page to look through all, where one was asked for.
    """

    folder: Path
    cases: tuple[CaseResult, ...]
    page: Path | None = None

    @property
    def failed(self) -> tuple[CaseResult, ...]:
        """Cases without a result, each with its `error`; the next run tries them again."""
        return tuple(case for case in self.cases if case.error is not None)


def run_batch(
    package: FilePath,
    inputs: NamedFiles | Iterable[FilePath] | None,
    output: FilePath,
    *,
    cases: FilePath | None = None,
    brain: FilePath | None = None,
    probabilities: FilePath | None = None,
    picture: FilePath | None = None,
    report: FilePath | None = None,
    border_mm: float = 0.0,
    strict: bool = False,
    on: Iterable[str] = (),
    expect_digest: str | None = None,
    allow_untrained: bool = False,
    shard: str | None = None,
    overwrite: bool = False,
    wait: bool = False,
    at_once: int | Literal["auto"] | None = None,
    engine: str | None = None,
    scheduler: str | None = None,
    workers: int | None = None,
    page: bool = False,
    layout: str | None = None,
    check: bool = False,
    runtime: RuntimeOptions | None = None,
    progress: Callable[[CaseResult], None] | None = None,
) -> BatchResult:
    """Segment many heads into a folder; finished cases are kept, and a failing one does not stop the others.

    The same as `brain-edge run` with a folder as its output. A case that fails raises nothing: it is in `failed`.

    Args:
        package: folder of the package.
        inputs: images, folders of images, or for a single case of several sequences the file of each by name; None
            with `cases`.
        output: folder of the masks, `NAME_mask.nii.gz` each, of the records and of `summary.tsv`.
        cases: table of the cases (`.tsv`), in place of `inputs`.
        brain: folder for the images inside their masks.
        probabilities: folder for probabilities, float32 (I, J, K, D).
        picture: folder for pictures, `.png`.
        report: folder for pictures as reports, `.png`.
        border_mm: width that the mask of a single label is widened by, in mm.
        strict: refusal of implausible masks, and of images of another contrast.
        on: sequences whose grid the masks get, or `"atlas"`; the reference of the preparation by default.
        expect_digest: digest that the package must have, 64 hex digits.
        allow_untrained: permission to run random weights, whose masks are noise.
        shard: part of the batch, such as `"1/4"`.
        overwrite: repetition of finished cases.
        wait: patience while another batch works in the same folder, instead of an error.
        at_once: number of cases in progress at once, each with the memory of a head, or "auto"; 3 by default.
        engine: what runs the cases: threads of this process, "processes" or "dask".
        scheduler: address of a scheduler of Dask.
        workers: number of processes of an engine on this machine.
        page: page to look through all, with a picture of each case; for a shard, the pictures only.
        layout: place of the results, `"flat"` or `"folders"`; `"folders"` for `cases`, else `"flat"` by default.
        check: comparison of the hashes of finished cases, also if size, time and inode are equal.
        runtime: threads, cache, memory limit, stage 0.
        progress: function that is told the result of each case as it ends.

    Returns:
        The result of every case of the shard.

    Raises:
        UsageError: outputs that would meet each other or an input, DICOM among the inputs, no such shard or layout,
            or not exactly one of `inputs` and `cases`.
        InputError: a folder without images, or a fault of the table of cases.
        PackageError: the package is damaged, or another one than expected.
        WeightsError: the weights are random, and `allow_untrained` is not set.
        OutputError: the folder cannot be written to, or another process works in it.
        BatchError: the disk is full, and the rest was not tried.
        MissingExtraError: pictures are asked for, and matplotlib is not installed.

    Examples:
        >>> import brain_edge
        >>> batch = brain_edge.run_batch("deepbet-int8", "heads", "masks", page=True)
        >>> for case in batch.failed:
        ...     print(case.case, case.error)
    """
    from brain_edge.jobs.batch import Batch, Shard, in_order, prepare_batch, run_batch
    from brain_edge.jobs.batch.engines import EngineChoice
    from brain_edge.jobs.batch.shard import parse_shard
    from brain_edge.jobs.layout import Layout
    from brain_edge.jobs.needs import require_stage_zero
    from brain_edge.jobs.outputs import Outputs
    from brain_edge.jobs.pictures.batch_page import write_batch_page
    from brain_edge.package import open_package

    grids = tuple(dict.fromkeys(on))
    folders = Outputs(
        mask=Path(output),
        brain=path_or_none(brain),
        probabilities=path_or_none(probabilities),
        picture=path_or_none(picture),
        report=path_or_none(report),
        border_mm=border_mm,
        strict=strict,
        on=next(iter(grids), None),
        also=tuple((name, Path(output)) for name in grids[1:]),
    )
    listed = path_or_none(cases)
    batch = Batch(
        records=folders.mask,
        shard=Shard() if shard is None else parse_shard(shard),
        overwrite=overwrite,
        wait=wait,
        at_once=None if at_once == "auto" else at_once,
        engine=EngineChoice(engine, scheduler, workers, is_auto=at_once == "auto").engine(lambda _line: None),
        layout=chosen(Layout, layout or (Layout.FLAT if listed is None else Layout.FOLDERS), "layout"),
        is_divided=listed is not None,
        check=check,
    )
    given = _given(inputs, listed)
    options = replace(runtime or RuntimeOptions(), resident_graphs=2)
    opened = open_package(package, expect_digest)
    _require_runnable(opened, folders, options, allow_untrained=allow_untrained)
    planned = prepare_batch(given, opened.spec, folders, batch, page=page)
    require_stage_zero(opened, planned, options)
    ended = []
    with closing(run_batch(opened, planned, batch, options)) as results:
        for result in results:
            ended.append(result)
            if progress is not None:
                progress(result)
    looked = write_batch_page(batch.records) if page and batch.is_whole else None
    return BatchResult(batch.records, in_order(ended, planned), looked)


def _given(inputs: NamedFiles | Iterable[FilePath] | None, cases: Path | None) -> list[NamedInput] | Path:
    if inputs is None and cases is not None:
        return cases
    if inputs is None or cases is not None:
        raise UsageError("expected inputs or cases, got both or neither; give one of the two, and None for inputs")
    if isinstance(inputs, str | Path | Mapping):
        return list(named_files(inputs))
    return [(None, Path(path)) for path in inputs]


def _require_runnable(
    package: ModelPackage, folders: Outputs, options: RuntimeOptions, *, allow_untrained: bool
) -> None:
    """Refuse before the first case what would fail at every case."""
    from brain_edge.engine.prepares import require_preparation
    from brain_edge.engine.stage_zero import find_stage_zero
    from brain_edge.jobs.generate import require_segmenter
    from brain_edge.jobs.outputs import require_apart
    from brain_edge.package.trained import require_trained

    require_segmenter(package)
    if not allow_untrained:
        require_trained(package, "so its mask is noise; give allow_untrained=True to run it")
    for path in folders.paths():
        require_apart(path, package.folder)
    require_preparation(package.spec, options)
    find_stage_zero(package, options.stage_zero)
