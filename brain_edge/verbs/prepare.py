"""`brain_edge.prepare`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from brain_edge.machine.options import RuntimeOptions
from brain_edge.verbs.given import chosen, named_files, path_or_none

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from brain_edge.jobs.case import NamedInput
    from brain_edge.jobs.preparing.one import PreparedCase
    from brain_edge.verbs.given import FilePath, NamedFiles


@dataclass(frozen=True)
class PrepareResult:
    """What became of the studies.

    Attributes:
        folder: folder of the prepared studies.
        cases: result of each study, in the order in which the studies were named.
    """

    folder: Path
    cases: tuple[PreparedCase, ...]

    @property
    def failed(self) -> tuple[PreparedCase, ...]:
        """Studies without a result, each with its `error`; the next run tries them again."""
        return tuple(case for case in self.cases if case.error is not None)


def prepare(
    inputs: NamedFiles | Iterable[FilePath],
    output: FilePath,
    *,
    like: FilePath | None = None,
    keep_skull: bool = False,
    series: Mapping[str, str] | None = None,
    names: str | None = None,
    picture: bool = True,
    page: bool = False,
    strict: bool = False,
    overwrite: bool = False,
    runtime: RuntimeOptions | None = None,
    progress: Callable[[PreparedCase], None] | None = None,
) -> PrepareResult:
    """Register the sequences of studies, bring them to an atlas and remove the skull.

    The same as `brain-edge prepare`. A study that fails raises nothing: it is in `failed`.

    Args:
        inputs: folders of studies, DICOM or BIDS, or for a single study the file of each sequence by name.
        output: folder of the prepared studies, one folder for each.
        like: folder of the package whose preparation is done; that of the tumour challenges by default.
        keep_skull: images with their skull; not with `like`.
        series: UID or contrast of a DICOM series, by the name of its sequence.
        names: style of the file names, `"brats"` or `"bids"`; `"bids"` for a BIDS dataset by default.
        picture: picture of each study, `.png`.
        page: page of all studies with their pictures, `index.html`; it needs the extra `report`.
        strict: refusal of studies whose registration is doubtful.
        overwrite: repetition of finished studies.
        runtime: threads, stage 0, atlas.
        progress: function that is told the result of each study as it ends.

    Returns:
        The result of every study.

    Raises:
        UsageError: the package has no preparation, or an option has no effect.
        InputError: no study is found, or the atlas is refused.
        PackageError: a package is damaged, or its stage 0 is missing.
        OutputError: the folder cannot be written to.
        BatchError: the disk is full, and the rest was not tried.
        MissingExtraError: SimpleITK is not installed, or matplotlib for pictures.

    Examples:
        >>> import brain_edge
        >>> runtime = brain_edge.RuntimeOptions(atlas=Path("sri24.nii.gz"), stage_zero=Path("deepbet-int8"))
        >>> done = brain_edge.prepare("studies", "prepared", runtime=runtime)
        >>> [case.folder for case in done.cases]
    """
    from brain_edge.jobs.preparing.by_request import PrepareRequest, plan_preparation
    from brain_edge.jobs.preparing.names import Style
    from brain_edge.jobs.preparing.one import PrepareOptions

    request = PrepareRequest(
        inputs=_given(inputs),
        out=Path(output),
        like=path_or_none(like),
        style=None if names is None else chosen(Style, names, "names"),
        keeps_skull=keep_skull,
        series=tuple((series or {}).items()),
        runtime=replace(runtime or RuntimeOptions(), resident_graphs=2),
        options=PrepareOptions(overwrite=overwrite, strict=strict, picture=picture),
    )
    ended = []
    for result in plan_preparation(request).run():
        ended.append(result)
        if progress is not None:
            progress(result)
    if page:
        from brain_edge.jobs.preparing.page import write_prepared_page

        write_prepared_page(ended, Path(output))
    return PrepareResult(Path(output), tuple(ended))


def _given(inputs: NamedFiles | Iterable[FilePath]) -> tuple[NamedInput, ...]:
    if isinstance(inputs, str | Path | Mapping):
        return named_files(inputs)
    return tuple((None, Path(path)) for path in inputs)
