"""Description of a derivative dataset: `dataset_description.json`, `README.md`, and a check of an existing one."""

from __future__ import annotations

import os
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import msgspec

from brain_edge import __version__
from brain_edge.errors import InputError, UsageError
from brain_edge.jobs.bids.dataset import DESCRIPTION
from brain_edge.jobs.bids.derivative import RAW
from brain_edge.machine.atomic import atomic_file, make_folder, remove_leftovers
from brain_edge.machine.json import decode_json
from brain_edge.machine.paths import read_small

if TYPE_CHECKING:
    from brain_edge.jobs.bids.dataset import RawDataset
    from brain_edge.package import ModelPackage

BIDS_VERSION: Final = "1.11.1"
"""Version of the BIDS rules that names and metadata follow."""

PIPELINE: Final = "brain-edge"
DERIVATIVES: Final = "derivatives"
INSIDE_ALLOWED: Final = ("sourcedata", "rawbids")
"""Folders of a derivative dataset in which its raw dataset may lie."""


def require_place(raw: Path, out: Path) -> None:
    """Refuse an output folder that would change the raw dataset or mix with it.

    BIDS keeps derivatives apart, or in `derivatives/NAME` of the dataset ("Storage of derived datasets").

    Raises:
        UsageError: the output is the dataset, lies elsewhere in the dataset, or contains the dataset.
    """
    dataset, place = raw.resolve(), out.resolve()
    if place == dataset:
        raise UsageError(f"{out}: the output folder is the raw dataset, which is only read; choose another folder")
    if dataset in place.parents:
        parts = place.relative_to(dataset).parts
        if parts[0] != DERIVATIVES or len(parts) == 1:
            raise UsageError(
                f"{out}: the output folder lies in the raw dataset, which is only read; choose a folder outside the "
                f"dataset, or {raw / DERIVATIVES / PIPELINE}, where BIDS puts derivatives"
            )
    if place in dataset.parents and dataset.relative_to(place).parts[0] not in INSIDE_ALLOWED:
        raise UsageError(f"{out}: the output folder contains the raw dataset; choose another folder")


def dataset_description(dataset: RawDataset, out: Path, package: ModelPackage) -> dict[str, Any]:
    """Return the description of the derivatives of a dataset.

    The licence is the licence of the raw dataset, if it names one, because its terms also hold for derivatives.
    """
    raw = dataset.description
    link = link_to(dataset.folder, out)
    source = {"URL": link} | {key: raw[field] for key, field in (("DOI", "DatasetDOI"),) if raw.get(field)}
    return {
        "Name": f"{package.spec.name} on {dataset.name}",
        "BIDSVersion": BIDS_VERSION,
        "DatasetType": "derivative",
        **({"License": raw["License"]} if raw.get("License") else {}),
        "GeneratedBy": [
            {
                "Name": PIPELINE,
                "Version": __version__,
                "Description": f"Runs the model {package.spec.name} ({package.spec.task}) on CPU. "
                f"{package.manifest.intended_use}",
            },
            {
                "Name": package.spec.name,
                "Version": f"sha256:{package.digest}",
                "Description": f"Model package, named by its digest. {package.manifest.card.summary}",
            },
        ],
        "SourceDatasets": [source],
        "DatasetLinks": {RAW: link},
    }


def prepare(dataset: RawDataset, out: Path, package: ModelPackage) -> None:
    """Make the derivative dataset, or check that an existing one belongs to this package and this dataset.

    Raises:
        OutputError: the folder cannot be written to.
        UsageError: the folder holds other files, or derivatives of another package or dataset; see `require_place`.
    """
    require_place(dataset.folder, out)
    wanted = dataset_description(dataset, out, package)
    path = out / DESCRIPTION
    if path.exists():
        _require_same(read_description(path), wanted, out)
    elif out.is_dir() and any(not entry.name.startswith(".") for entry in out.iterdir()):
        raise UsageError(
            f"{out}: expected an empty folder, or derivatives of the same model and dataset, got other files; "
            "choose another folder"
        )
    # BIDS-Apps create their output folder; this one also creates the folder `derivatives`, but no folder above
    make_folder(out, parents=dataset.folder.resolve() in out.resolve().parents)
    write_if_changed(path, as_json(wanted))  # first, so that a folder left by a killed run is recognized as ours
    write_if_changed(out / "README.md", readme(dataset, package))


def readme(dataset: RawDataset, package: ModelPackage) -> str:
    """Return the README of a derivative dataset."""
    text = files("brain_edge.jobs.bids").joinpath("derivatives.md").read_text(encoding="utf-8")
    return text.format(dataset=dataset, package=package, manifest=package.manifest, version=__version__)


def as_json(value: Any) -> str:
    """Return a value as indented JSON."""
    return msgspec.json.format(msgspec.json.encode(value), indent=2).decode() + "\n"


def write_if_changed(path: Path, text: str) -> None:
    """Write a small text file atomically, unless it already has this content.

    Raises:
        OutputError: the file cannot be written.
    """
    content = text.encode()
    if path.is_file() and path.read_bytes() == content:
        return
    remove_leftovers([path])
    with atomic_file(path) as partial:
        partial.write_bytes(content)


def link_to(raw: Path, out: Path) -> str:
    """Return the link to the raw dataset: relative to the derivatives if possible, so that both can move together."""
    try:
        return Path(os.path.relpath(raw.resolve(), out.resolve())).as_posix()
    except ValueError:  # another drive of Windows
        return raw.resolve().as_uri()


def read_description(path: Path) -> Any:
    """Read the description of an output folder that exists already.

    Raises:
        UsageError: the file cannot be read, or is no JSON.
    """
    try:
        return decode_json(read_small(path), object)
    except (OSError, InputError, msgspec.DecodeError) as error:
        raise UsageError(f"{path}: expected JSON, could not read it ({error}); choose another output folder") from error


def _require_same(found: Any, wanted: dict[str, Any], out: Path) -> None:
    """Refuse a folder with masks of another package or dataset, where nobody could tell the masks apart."""
    makers, links = ([], {}) if not isinstance(found, dict) else (found.get("GeneratedBy"), found.get("DatasetLinks"))
    model = wanted["GeneratedBy"][1]
    versions = [(maker.get("Name"), maker.get("Version")) for maker in makers or [] if isinstance(maker, dict)]
    if (model["Name"], model["Version"]) not in versions:
        names = ", ".join(f"{name} {version}" for name, version in versions) or "nobody"
        raise UsageError(
            f"{out}: expected derivatives of {model['Name']} {model['Version']}, got derivatives of {names}; "
            "choose another folder for another package"
        )
    if links != wanted["DatasetLinks"]:
        raise UsageError(
            f"{out}: expected derivatives of the dataset {wanted['DatasetLinks'][RAW]}, got derivatives of "
            f"{(links or {}).get(RAW, 'another one')}; choose another folder for another dataset"
        )
