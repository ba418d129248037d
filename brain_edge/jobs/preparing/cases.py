"""The studies that a user names: files, a folder of cases, a tree of DICOM, or a BIDS dataset."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from itertools import chain, groupby
from typing import TYPE_CHECKING, Final

from brain_edge.errors import BrainEdgeError, InputError, UsageError
from brain_edge.image.contrast import takes
from brain_edge.image.volume import Study
from brain_edge.io.contrast_words import named
from brain_edge.io.inputs import InputKind, folders_in, image_name, images_in, input_kind, series_of
from brain_edge.jobs.batch.grouping import group
from brain_edge.jobs.case import assign_inputs
from brain_edge.jobs.preparing.names import CaseNames, Style, bids_names, brats_names

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from pathlib import Path

    from brain_edge.image.volume import Volume
    from brain_edge.io.dicom import SeriesInfo
    from brain_edge.jobs.batch.grouping import ImageGroup
    from brain_edge.jobs.bids.dataset import BidsImage
    from brain_edge.jobs.case import NamedInput
    from brain_edge.jobs.preparing.wanted import Wanted

UNNAMED: Final = "case"
"""Name that a group of images has whose files are called by their sequence alone."""
DESCRIPTION: Final = "dataset_description.json"


@dataclass(frozen=True)
class RawCase:
    """A study to prepare.

    Attributes:
        names: names of its files.
        inputs: path of each sequence.
        series: DICOM series of each sequence that is DICOM.
        error: reason why the study cannot be prepared; None if it can.
        listed: UIDs of the DICOM series among which the user may choose.
    """

    names: CaseNames
    inputs: Mapping[str, Path] = field(default_factory=dict)
    series: Mapping[str, SeriesInfo] = field(default_factory=dict)
    error: BrainEdgeError | None = None
    listed: tuple[str, ...] = ()

    def read(self) -> dict[str, Volume]:
        """Read the images that are not DICOM.

        Raises:
            InputError, GeometryError: an image is refused.
        """
        from brain_edge.io.nifti import read_volume

        return {name: read_volume(path) for name, path in self.inputs.items() if name not in self.series}

    def read_dicom(self) -> dict[str, Volume]:
        """Read the DICOM series.

        Raises:
            InputError, GeometryError: a series is refused.
        """
        if not self.series:
            return {}
        from brain_edge.io.dicom import read_series

        return {name: read_series(info) for name, info in self.series.items()}

    def study(self) -> Study:
        """Read all images.

        Raises:
            InputError, GeometryError: an image is refused.
        """
        return Study({**self.read(), **self.read_dicom()}, next(iter(self.inputs)))


def find_cases(given: Sequence[NamedInput], wanted: Wanted, style: Style | None = None) -> tuple[RawCase, ...]:
    """Return the studies among the inputs, in their order; studies of a folder are sorted by name.

    Args:
        given: files with the names of their sequences (together one study), folders, zips.
        wanted: sequences to look for.
        style: style of the names; None for BIDS in a BIDS dataset, else that of the tumour challenges.

    Raises:
        InputError: an input holds no study, or a file is for an unknown sequence.
        UsageError: two studies have one name, the style does not fit, or no study has a series that the user chose.
    """
    if lost := next((path for name, path in given if name is None and not path.exists()), None):
        raise InputError(f"{lost}: expected a folder of studies or a file, found none; check the path")
    files = [pair for pair in given if pair[0] is not None or input_kind(pair[1]) is InputKind.IMAGE]
    places = [path for pair in given if pair not in files for path in [pair[1]]]
    found = [*_named(files, wanted), *(case for place in places for case in _in_place(place, wanted, style))]
    if style is Style.BIDS and any(not case.names.raw for case in found):
        raise UsageError("expected a BIDS dataset for --names bids, got other images; remove --names")
    _require_found(found, wanted)
    taken = [case.names.folder for case in found]
    if doubled := next((folder for folder in taken if taken.count(folder) > 1), None):
        raise UsageError(f"expected studies of different names, got {doubled} twice; rename one folder")
    return tuple(found)


def _require_found(cases: Sequence[RawCase], wanted: Wanted) -> None:
    """Refuse a UID that no study has, also where another study has failed."""
    uids = {uid for case in cases for uid in case.listed}
    lost = [name for name, text in wanted.series.items() if not named(text) and text not in uids]
    if lost:
        raise UsageError(
            f"--series {lost[0]}={wanted.series[lost[0]]}: expected the UID of a series in the studies, found none "
            "with it; brain-edge info lists the series"
        )


def _named(files: Sequence[NamedInput], wanted: Wanted) -> Iterator[RawCase]:
    if not files:
        return
    inputs = assign_inputs(files, wanted)
    # not resolved, because an image may be a link to a file whose name is its hash
    first, *others = (path.absolute() for path in inputs.values())
    together = others and all(path.parent == first.parent for path in others)
    found = _case(first.parent.name if together else image_name(first), wanted, inputs)
    series = series_of(inputs, wanted.series, wanted.contrasts, registers=True)
    yield replace(found, series=series, listed=tuple(info.uid for info in series.values()))


def _in_place(place: Path, wanted: Wanted, style: Style | None) -> list[RawCase]:
    if (place / DESCRIPTION).is_file():
        return list(_in_dataset(place, wanted, style))
    if input_kind(place) is InputKind.DICOM:
        return list(_in_dicom(place, wanted))
    groups = _groups(place, wanted)
    if not groups:
        raise InputError(
            f"{place}: expected images whose names end in {', '.join(f'_{name}' for name in wanted.contrasts)}, in it "
            "or in one folder per study, or DICOM, found neither; rename the images, or name each: T1=FILE"
        )
    return [_of_group(each, wanted) for each in groups]


def _groups(folder: Path, wanted: Wanted) -> list[ImageGroup]:
    # `T1.nii.gz` alone in the folder of a study has the name of the folder
    own = group(_images(folder), wanted.contrasts)
    _require_one_name(folder, own)
    found = [replace(each, case=folder.resolve().name) if each.case == UNNAMED else each for each in own]
    for below in folders_in(folder):
        found += group(_images(below), wanted.contrasts, below.name)
    return found


def _require_one_name(folder: Path, groups: Sequence[ImageGroup]) -> None:
    """Refuse images of a single study that have different names before the sequence, as converters write them."""
    images = [path for each in groups for paths in each.files.values() for path in paths]
    sequences = [name for each in groups for name, paths in each.files.items() if paths]
    if len(groups) > 1 and len(images) == len(groups) == len(set(sequences)):
        first, second = sorted(path.name for path in images)[:2]
        raise InputError(
            f"{folder}: expected one name before the sequence in the images of a study, got {first} and {second}; "
            "rename the images, or name each: T1=FILE"
        )


def left_out(given: Sequence[NamedInput], wanted: Wanted) -> tuple[Path, ...]:
    """Return the images in folders of images whose names end in no sequence; masks and label maps do not count."""
    folders = [path for name, path in given if name is None and path.is_dir() and not (path / DESCRIPTION).is_file()]
    places = [place for folder in folders for place in (folder, *folders_in(folder))]
    return tuple(path for place in places for path in _images(place) if not group([path], wanted.contrasts))


def _images(folder: Path) -> tuple[Path, ...]:
    try:
        return images_in(folder)
    except InputError:
        return ()


def _of_group(found: ImageGroup, wanted: Wanted) -> RawCase:
    doubled = next((name for name, paths in found.files.items() if len(paths) > 1), None)
    if doubled is not None:
        both = " and ".join(str(path) for path in sorted(found.files[doubled])[:2])
        words = f"{found.case}: expected one image of {doubled}, got {both}; remove or rename one"
        return _case(found.case, wanted, {}, InputError(words))
    return _case(found.case, wanted, {name: paths[0] for name, paths in found.files.items() if paths})


def _case(case: str, wanted: Wanted, inputs: Mapping[str, Path], error: BrainEdgeError | None = None) -> RawCase:
    """Return a study; one that lacks a sequence that it needs cannot be prepared."""
    names = brats_names(case, wanted.preparation.space, wanted.contrasts)
    missing = [name for name in wanted.contrasts if name not in inputs and name not in wanted.optional]
    missing = missing or ([] if inputs else list(wanted.contrasts)[:1])
    if error is None and missing:
        error = InputError(f"{case}: expected one image of each of {', '.join(missing)}, found none; add it")
    return RawCase(names, dict(inputs), error=error)


def _in_dicom(place: Path, wanted: Wanted) -> Iterator[RawCase]:
    """Yield a study for each examination in a tree of DICOM."""
    from brain_edge.io.dicom import list_series

    listed = list_series(place)
    studies = dict.fromkeys(info.study_uid for info in listed)
    for number, uid in enumerate(studies, start=1):
        case = place.resolve().name.removesuffix(".zip") + (f"_study-{number}" if len(studies) > 1 else "")
        yield _of_series(case, place, [info for info in listed if info.study_uid == uid], wanted)


def _of_series(case: str, place: Path, series: Sequence[SeriesInfo], wanted: Wanted) -> RawCase:
    from brain_edge.io.dicom import choose_series, require_one_visit

    names = brats_names(case, wanted.preparation.space, wanted.contrasts)
    listed = tuple(info.uid for info in series)
    try:
        chosen = _chosen(series, wanted)
        require_one_visit(list(chosen.values()), registers=True)
        if not chosen:  # the refusal lists what is there
            choose_series(series, contrasts=tuple(chain.from_iterable(wanted.contrasts.values())))
    except InputError as error:
        return RawCase(names, {}, error=error, listed=listed)
    return RawCase(names, dict.fromkeys(chosen, place), chosen, listed=listed)


def _chosen(series: Sequence[SeriesInfo], wanted: Wanted) -> dict[str, SeriesInfo]:
    """Return the series of each sequence: the one that the user chose, or the only one of its contrast.

    Raises:
        InputError: several series fit, none fits a sequence that may not be missing, or one cannot be read.
    """
    from brain_edge.io.dicom import SeriesKind, choose_series

    chosen = {}
    volumes = [info for info in series if info.kind is SeriesKind.VOLUME]
    for name, stated in wanted.contrasts.items():
        choice = wanted.series.get(name, "")
        contrast = named(choice)
        contrasts = (contrast,) if contrast else stated
        uid = choice if any(info.uid == choice for info in series) else None
        if uid or name not in wanted.optional or any(takes(contrasts, info.finding.contrast) for info in volumes):
            chosen[name] = choose_series(series, uid=uid, contrasts=contrasts)
    return chosen


def _in_dataset(folder: Path, wanted: Wanted, style: Style | None) -> Iterator[RawCase]:
    """Yield a study for each visit of a BIDS dataset."""
    from brain_edge.jobs.bids.choose import visit_of
    from brain_edge.jobs.bids.dataset import find_images, open_dataset

    images = find_images(open_dataset(folder), (), ())
    for visit, found in groupby(images, key=visit_of):
        yield _of_visit(visit, list(found), wanted, style)


def _of_visit(visit: str, images: Sequence[BidsImage], wanted: Wanted, style: Style | None) -> RawCase:
    from brain_edge.jobs.bids.choose import BidsCase, contrast_of
    from brain_edge.jobs.bids.derivative import case_folder

    case = visit.replace("/", "_")
    fitting = {
        name: [image for image in images if takes(stated, contrast_of(image))]
        for name, stated in wanted.contrasts.items()
    }
    doubled = next((name for name, found in fitting.items() if len(found) > 1), None)
    if doubled is not None:
        listed = ", ".join(image.path.name for image in fitting[doubled])
        words = f"{visit}: expected one image for the sequence {doubled}, got {listed}; remove one"
        return _case(case, wanted, {}, InputError(words))
    chosen = {name: found[0] for name, found in fitting.items() if found}
    found = _case(case, wanted, {name: image.path for name, image in chosen.items()})
    if style is Style.BRATS or not chosen:
        return found
    raw = {name: image.name for name, image in chosen.items()}
    names = bids_names(case, wanted.preparation.space, case_folder(BidsCase(chosen)), raw)
    return RawCase(names, found.inputs, error=found.error)
