"""Process and memory cells: whole cold processes in turn; and whole processes under a real limit of their memory."""

from __future__ import annotations

import tempfile
from dataclasses import replace as with_fields
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Final

from msgspec.structs import replace

from brain_edge.errors import BrainEdgeError
from brain_edge.io.nifti import read_volume
from brain_edge.package import NumberFormat
from brain_edge.package.digest import sha256_of

from .answers import agreement
from .cell_record import CellEntry, EntryOutcome
from .cell_setting import environment_of, now, run_of
from .contenders import MODEL_CACHE, package_run, published_program, pytorch_reference
from .measure import OutOfMemoryError, run
from .peers import prepare, versions

if TYPE_CHECKING:
    from .cell_record import Cell, CellRun
    from .cell_setting import MatrixSetting
    from .measure import Contender

MINIMUM_DICE: Final = 0.98
"""Of a mask with the first contender's; a published program may be off by a voxel. Below it nothing is timed."""

PUBLISHED: Final = "published program"
PYTORCH: Final = "PyTorch, our steps"
WARM: Final = "package INT8, warm cache"
"""A process that finds the compiled graphs of an earlier one; the run that compares the masks leaves them there."""
PACKAGES: Final = {"package FP32": NumberFormat.FP32, "package INT8": NumberFormat.INT8, WARM: NumberFormat.INT8}


def measure_process(cell: Cell, setting: MatrixSetting) -> CellRun:
    """Run each contender once, compare the masks, then run all in turn until enough rounds count."""
    started = now()
    peer = prepare(cell.subject, setting.report) if PUBLISHED in cell.contenders else None
    with tempfile.TemporaryDirectory() as folder:
        contenders = {name: _contender(cell, name, setting, peer, Path(folder)) for name in cell.contenders}
        entries = {name: _entry(name, contender, cell, setting) for name, contender in contenders.items()}
        for name, contender in contenders.items():
            setting.report(f"{cell.id}: checking {name}")
            entries[name] = _checked(entries[name], contender, contenders[cell.contenders[0]], setting)
        timed = {name: each for name, each in contenders.items() if entries[name].outcome is EntryOutcome.MEASURED}
        if cell.contenders[0] in timed:
            entries = setting.sampled(cell, entries, {name: partial(run, each) for name, each in timed.items()})
    return run_of(
        cell,
        setting,
        started,
        tuple(entries.values()),
        peer_versions=versions(peer) if peer else {},
        image=read_volume(setting.given_head).geometry.shape,
        image_sha256=sha256_of(setting.given_head),
    )


def measure_memory(cell: Cell, setting: MatrixSetting) -> CellRun:
    """Run each contender under each limit, the largest first; under what is smaller than one that failed, too."""
    started = now()
    with tempfile.TemporaryDirectory() as folder:
        contenders = {name: _contender(cell, name, setting, None, Path(folder)) for name in cell.contenders}
        entries = [
            _limited(_entry(name, contender, cell, setting), contender, limit_mib, setting)
            for name, contender in contenders.items()
            for limit_mib in sorted(cell.limits_mib, reverse=True)
        ]
    image = read_volume(setting.given_head).geometry.shape
    return run_of(cell, setting, started, tuple(entries), image=image, image_sha256=sha256_of(setting.given_head))


def _contender(cell: Cell, name: str, setting: MatrixSetting, peer: Path | None, folder: Path) -> Contender:
    mask = folder / f"{len(name)}-{name.replace(' ', '-').replace(',', '')}.nii.gz"
    if name == PUBLISHED:
        assert peer is not None
        made = published_program(peer, cell.subject, setting.given_head, mask, cell.threads)
    elif name == PYTORCH:
        made = pytorch_reference(cell.subject, setting.given_head, mask, cell.threads)
    else:
        made = package_run(setting.package(cell.subject, PACKAGES[name]), setting.given_head, mask, cell.threads)
    kept = {MODEL_CACHE: str(folder / "graphs")} if name == WARM else {}
    return with_fields(made, name=name, environment=environment_of(cell) | kept)


def _entry(name: str, contender: Contender, cell: Cell, setting: MatrixSetting) -> CellEntry:
    folder = setting.package(cell.subject, PACKAGES[name]).folder if name in PACKAGES else None
    size = None if folder is None else sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
    return CellEntry(name=name, precision=contender.precision, package_digest=contender.package_digest, size_bytes=size)


def _checked(entry: CellEntry, contender: Contender, first: Contender, setting: MatrixSetting) -> CellEntry:
    """The entry with the agreement of its mask; failed where it made none, or another one."""
    try:
        run(contender)
    except BrainEdgeError as error:
        return replace(entry, outcome=EntryOutcome.FAILED, why=str(error))
    if not first.mask.exists():
        return replace(entry, outcome=EntryOutcome.FAILED, why=f"{first.name} made no mask to compare with")
    if entry.name == WARM and not any(Path(contender.environment[MODEL_CACHE]).glob("*")):
        return replace(entry, outcome=EntryOutcome.FAILED, why="no compiled graph was kept; a later run would be cold")
    same, right = agreement(contender.mask, first.mask, setting.reference)
    judged = replace(entry, dice_first=same, dice_reference=right)
    if same < MINIMUM_DICE:
        why = f"its mask agrees with that of the {first.name} at Dice {same:.4f}, expected {MINIMUM_DICE}; not timed"
        return replace(judged, outcome=EntryOutcome.FAILED, why=why)
    return judged


def _limited(entry: CellEntry, contender: Contender, limit_mib: int, setting: MatrixSetting) -> CellEntry:
    """The entry under a limit: what it took, or that it did not fit."""
    setting.report(f"{entry.name} in {limit_mib} MiB")
    limited = replace(entry, limit_mib=limit_mib)
    try:
        sample = run(contender, limit_bytes=limit_mib * 2**20)
    except OutOfMemoryError as error:
        return replace(limited, outcome=EntryOutcome.DOES_NOT_FIT, why=str(error))
    except BrainEdgeError as error:
        return replace(limited, outcome=EntryOutcome.FAILED, why=str(error))
    return replace(limited, samples=(sample,))
