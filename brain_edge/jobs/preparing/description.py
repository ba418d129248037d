"""Description of prepared studies as the derivatives of a BIDS dataset, and the places where they may lie."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from brain_edge import __version__
from brain_edge.errors import UsageError
from brain_edge.jobs.bids.dataset import DESCRIPTION, IGNORE, open_dataset
from brain_edge.jobs.bids.derivative import RAW
from brain_edge.jobs.bids.description import (
    BIDS_VERSION,
    as_json,
    link_to,
    read_description,
    require_place,
    write_if_changed,
)
from brain_edge.preparation.parts import is_stripped

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from brain_edge.jobs.bids.dataset import RawDataset
    from brain_edge.jobs.preparing.names import CaseNames
    from brain_edge.preparation.prepared import Prepared

MAKER: Final = "brain-edge prepare"
NO_BIDS: Final = "*_xfm.txt\n*_preparation.json\n*_preparation.png\nindex.html\n"
"""Patterns of the files for which BIDS has no names yet."""


def open_datasets(folders: Sequence[Path], out: Path) -> tuple[RawDataset, ...]:
    """Open the raw datasets of prepared studies; nothing is written.

    Raises:
        UsageError: the output lies in a dataset elsewhere than below its `derivatives`, contains one, or holds the
            derivatives of others.
        InputError: a dataset cannot be read, or is itself a derivative.
    """
    for folder in folders:
        require_place(folder, out)
    datasets = tuple(map(open_dataset, folders))
    if datasets and (out / DESCRIPTION).exists():
        _require_ours(read_description(out / DESCRIPTION), described(datasets, out), out)
    return datasets


def described(datasets: Sequence[RawDataset], out: Path) -> dict[str, Any]:
    """Return the description of the derivatives; the licence is that of the raw datasets, if they have one."""
    licences = {dataset.description.get("License") for dataset in datasets}
    licence = licences.pop() if len(licences) == 1 else None
    links = [link_to(dataset.folder, out) for dataset in datasets]
    sources = [
        {"URL": link} | ({"DOI": dataset.description["DatasetDOI"]} if dataset.description.get("DatasetDOI") else {})
        for link, dataset in zip(links, datasets, strict=True)
    ]
    return {
        "Name": f"Prepared images of {', '.join(dataset.name for dataset in datasets)}",
        "BIDSVersion": BIDS_VERSION,
        "DatasetType": "derivative",
        **({"License": licence} if licence else {}),
        "GeneratedBy": [
            {
                "Name": MAKER,
                "Version": __version__,
                "Description": "Registers the sequences of a session, brings them to one grid and removes the skull.",
            }
        ],
        "SourceDatasets": sources,
        "DatasetLinks": {RAW if len(links) == 1 else f"{RAW}{number}": link for number, link in enumerate(links, 1)},
    }


def describe(datasets: Sequence[RawDataset], out: Path) -> None:
    """Write the description into the folder of the derivatives, which exists.

    Raises:
        OutputError: a file cannot be written.
    """
    write_if_changed(out / DESCRIPTION, as_json(described(datasets, out)))
    write_if_changed(out / IGNORE, NO_BIDS)


def write_sidecars(names: CaseNames, prepared: Prepared, place: Path) -> None:
    """Write what BIDS requires beside each prepared image and the brain mask of a study.

    Args:
        names: BIDS names of the study.
        prepared: images, which all lie on the grid of their reference.
        place: folder of the study.
    """
    reference = names.image(prepared.study.reference)
    on_grid = {"SpatialReference": f"bids::{names.folder / reference}"}
    is_brain = prepared.brain is not None or is_stripped(prepared.study)
    for sequence in prepared.study.volumes:
        words = f"{sequence}, interpolated once onto the grid of {reference}."
        _write_beside(place / names.image(sequence), {"Description": words, "SkullStripped": is_brain, **on_grid})
    if prepared.brain is not None:
        words = f"Brain mask on the grid of {reference}."
        mask = {"Description": words, "Type": "Brain", "Sources": [on_grid["SpatialReference"]], **on_grid}
        _write_beside(place / names.brain(prepared.study.reference), mask)


def _write_beside(image: Path, content: dict[str, Any]) -> None:
    image.with_name(f"{image.name.removesuffix('.nii.gz')}.json").write_text(as_json(content), encoding="utf-8")


def _require_ours(found: Any, wanted: dict[str, Any], out: Path) -> None:
    """Refuse a folder that holds a raw dataset, or the derivatives of another program or dataset."""
    found = found if isinstance(found, dict) else {}
    makers = [maker.get("Name") for maker in found.get("GeneratedBy") or () if isinstance(maker, dict)]
    if MAKER not in makers:
        others = ", ".join(map(str, makers)) or "another dataset"
        raise UsageError(f"{out}: expected a new folder or prepared images, got {others}; choose another folder")
    if found.get("DatasetLinks") != wanted["DatasetLinks"]:
        raise UsageError(
            f"{out}: expected prepared images of {', '.join(wanted['DatasetLinks'].values())}, got those of another "
            "dataset; choose another folder"
        )
