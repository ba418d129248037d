"""Prepared studies that are kept on disk, so that no study is registered twice.

The name of an entry is a hash of the images, their grids, the preparation and everything that takes part in it. An
entry appears whole or not at all.
"""

from __future__ import annotations

import hashlib
from dataclasses import replace
from typing import TYPE_CHECKING, Final

import msgspec
import numpy as np

from brain_edge.errors import InputError, UsageError
from brain_edge.image.volume import Mask, Study
from brain_edge.io.nifti import read_numbers, read_volume, write_image, write_mask
from brain_edge.machine.atomic import partial_name
from brain_edge.machine.atomic_folder import atomic_folder
from brain_edge.machine.json import decode_json
from brain_edge.machine.owned import owned, remove_unowned
from brain_edge.package.digest import sha256_of
from brain_edge.preparation.parts import Part
from brain_edge.preparation.prepared import Prepared
from brain_edge.preparation.record import PreparationRecord, record_of
from brain_edge.registration.rigid import Rigid

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from brain_edge.spec.preparation import Preparation

FORMAT: Final = "4"
"""Version of the entries; another version is another name."""
RECORD: Final = "preparation.json"
BRAIN: Final = "brain.nii.gz"
DIGEST: Final = "digest"
"""File with the hash of all other files of an entry."""


def entry_of(folder: Path, study: Study, preparation: Preparation, made_by: Mapping[str, str]) -> Path:
    """Return the place of a prepared study.

    Args:
        folder: folder of all entries.
        study: images as they were scanned.
        preparation: preparation of the model.
        made_by: names, versions and hashes of everything that takes part.
    """
    digest = hashlib.sha256(msgspec.json.encode([FORMAT, sorted(made_by.items())]) + preparation.canonical)
    for name, volume in sorted(study.volumes.items()):
        digest.update(msgspec.json.encode([name, volume.geometry.shape, volume.geometry.affine.tolist()]))
        digest.update(np.ascontiguousarray(volume.voxels).data)
    return folder / digest.hexdigest()[:32]


def keep(prepared: Prepared, preparation: Preparation, entry: Path) -> Prepared:
    """Write a prepared study to its place in a folder that exists; return it as the next run will read it.

    What killed processes have left in the folder is removed first, and nothing that a living process writes.

    Raises:
        OutputError: the folder cannot be written to, or the disk is full; no part of the entry is left.
    """
    remove_unowned(entry.parent)
    draft = partial_name(entry.resolve())
    with owned(draft), atomic_folder(entry, overwrite=True, draft=draft) as folder:
        for name, volume in prepared.study.volumes.items():
            write_image(volume, folder / f"{name}.nii.gz")
        if prepared.brain is not None:
            write_mask(prepared.brain, prepared.study.volumes[prepared.study.reference], folder / BRAIN)
        record = msgspec.json.encode(record_of(prepared, preparation))
        (folder / RECORD).write_bytes(msgspec.json.format(record, indent=2))
        (folder / DIGEST).write_text(_digest(folder), "ascii")
    found = kept(entry, prepared.scanned)
    return prepared if found is None else replace(found, elapsed_ms=prepared.elapsed_ms)


def kept(entry: Path, study: Study) -> Prepared | None:
    """Return a prepared study from its place; None if it is not there or is damaged.

    Args:
        entry: place of the prepared study.
        study: images as they were scanned.
    """
    try:
        return _read(entry, study) if (entry / DIGEST).read_text("ascii") == _digest(entry) else None
    except (OSError, ValueError, KeyError, InputError, UsageError, msgspec.DecodeError):
        return None


def _digest(entry: Path) -> str:
    """Return the hash of the names and the content of all files of an entry, except that of the digest itself."""
    hashes = sorted((path.name, sha256_of(path)) for path in entry.iterdir() if path.name != DIGEST)
    return hashlib.sha256(msgspec.json.encode(hashes)).hexdigest()


def _read(entry: Path, study: Study) -> Prepared:
    """Return a prepared study from its place.

    Raises:
        OSError, ValueError, KeyError, InputError, UsageError, msgspec.DecodeError: a file is missing, or of another
            version.
    """
    record = decode_json((entry / RECORD).read_bytes(), PreparationRecord)
    parts = tuple(Part(part) for part in record.parts)
    moves = study.volumes if record.transforms else ()
    return Prepared(
        Study({name: read_volume(entry / f"{name}.nii.gz") for name in study.volumes}, record.reference),
        study,
        {name: Rigid(np.array(record.transforms[name])) for name in moves},
        _brain(entry) if Part.SKULL in parts else None,
        parts,
        record.flags,
        record.judgements,
        record.made_by,
        not_compared=record.not_compared,
    )


def _brain(entry: Path) -> Mask:
    labels, geometry = read_numbers(entry / BRAIN)
    return Mask(labels.astype(np.uint8), geometry)
