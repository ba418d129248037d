"""Heads of the phantom, the tiny package, and what a serial run makes of them: the judge of every cluster."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from cli_program import child, child_command, child_environment, make_package, save_phantom

from brain_edge.jobs.record import CaseStatus, read_case_record

if TYPE_CHECKING:
    from pathlib import Path

HEADS: Final = int(os.environ.get("BRAIN_EDGE_HEADS", "5"))
"""Heads of a batch: few in CI, 60 with `make scale`."""


@dataclass(frozen=True)
class Heads:
    """A batch and its answer.

    Attributes:
        folder: place of all.
        package: the tiny package.
        table: table of the cases.
        masks: bytes of each mask of the serial run, by the name of its case.
    """

    folder: Path
    package: Path
    table: Path
    masks: dict[str, bytes]

    def run(self, out: Path, *options: object) -> list[str]:
        """The command line of a batch with one thread, whose masks are those of the serial run."""
        return child_command("run", self.package, "--cases", self.table, "-o", out, "--threads", 1, *options)


def make_heads(folder: Path) -> Heads:
    """Make the heads in three sizes, and run them one after the other."""
    package = make_package(folder / "package").folder
    (folder / "heads").mkdir()
    rows = ["case\timage"]
    for number in range(HEADS):
        shape = [(44, 52, 50), (56, 64, 60), (64, 72, 68)][number % 3]
        head = save_phantom(folder / "heads" / f"sub-{number:02}_T1w.nii.gz", seed=number, shape=shape)
        rows.append(f"sub-{number:02}\theads/{head.name}")
    (folder / "list.tsv").write_text("\n".join(rows) + "\n", encoding="utf-8")
    listed, out = folder / "list.tsv", folder / "serial"
    done = child("run", package, "--cases", listed, "-o", out, "--threads", 1, "--quiet")
    assert done.code == 0, done.err
    return Heads(folder, package, listed, masks_in(out))


def masks_in(out: Path) -> dict[str, bytes]:
    """The bytes of every mask below a folder of results, by the name of its case."""
    return {path.name.removesuffix("_mask.nii.gz"): path.read_bytes() for path in _results(out, "*_mask.nii.gz")}


def finished(out: Path) -> dict[str, int]:
    """The number of the file (inode) of each mask whose record is done: another number is another run of its case."""
    records = {path: read_case_record(path) for path in _results(out, "*_record.json")}
    return {
        record.case: (path.parent / record.outputs["mask"].path).stat().st_ino
        for path, record in records.items()
        if record is not None and record.status is CaseStatus.DONE
    }


def _results(out: Path, pattern: str) -> list[Path]:
    """The results whose name fits, without those that are being written in the batch's own folder."""
    return sorted(path for path in out.rglob(pattern) if ".brain-edge" not in path.parts)


def require_whole(out: Path, heads: Heads) -> None:
    """Fail if a mask differs from the serial run, or if a file of a result is only half written."""
    wrong = [case for case, mask in masks_in(out).items() if mask != heads.masks[case]]
    assert wrong == []
    partial = [path for path in out.rglob(".partial-*") if ".brain-edge" not in path.parts]
    assert partial == []


__all__ = ["HEADS", "Heads", "child_environment", "finished", "make_heads", "masks_in", "require_whole"]
