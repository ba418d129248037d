"""Log of looks at a test split: every judgement of a model on test images, wherever its package is written.

The log belongs to the user and lies in one folder of the machine (`docs/decisions/0036-looks-are-the-users.md`). It
holds hashes, limits and outcomes; no name, no path. Each line carries a hash over itself and the line before, so a
damaged log is refused instead of being counted as a short one.
"""

from __future__ import annotations

import hashlib
import os
import sys
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Final

import msgspec
from msgspec.structs import replace

from brain_edge.errors import InputError, OutputError
from brain_edge.evaluation.evidence import Look
from brain_edge.jobs.batch.lock import gate
from brain_edge.machine.atomic import atomic_file, remove_leftovers, require_writable_folder
from brain_edge.machine.json import decode_json
from brain_edge.machine.user_folder import user_folder
from brain_edge.package.digest import Sha256, sha256_of
from brain_edge.spec import Value

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from brain_edge.package import ModelPackage

STATE_VARIABLE: Final = "BRAIN_EDGE_STATE"
"""Environment variable with the folder of the log, for a team that shares a test split or for a read-only home."""

STATE_PLACES: Final = {
    "win32": ("LOCALAPPDATA", "AppData/Local"),
    "darwin": ("", "Library/Application Support"),
    "": ("XDG_STATE_HOME", ".local/state"),
}
LOG: Final = "test-looks.jsonl"
GATE: Final = ".brain-edge-gate.lock"
"""Lock of the log; earlier versions of this program take the same one."""
BEGINNING: Final = "0" * 64
"""Hash that stands for the line before the first one."""


class LoggedLook(Value, frozen=True, kw_only=True):
    """One line of the log.

    Attributes:
        weights: hashes of the judged model's weights (`weights_of`).
        images: hashes of the test images (`image_sha256`), sorted.
        look: candidate, limits and outcome.
    """

    weights: tuple[Sha256, ...]
    images: tuple[Sha256, ...]
    look: Look


def weights_of(baseline: ModelPackage) -> tuple[str, ...]:
    """Return the identity of a model: the SHA-256 of its weights, sorted.

    Packages that share weights are one model: a model converted again, quantised, run with other steps, or reduced to
    some members of its ensemble.
    """
    return tuple(sorted({record.sha256 for record in baseline.manifest.weights}))


def candidate_of(candidate: ModelPackage) -> str:
    """Return the SHA-256 over the graph files of a candidate; the files carry its specification too."""
    graphs = (candidate.graph_file(graph) for graph in candidate.spec.graphs)
    hashes = (sha256_of(file.with_suffix(suffix)) for file in graphs for suffix in (".xml", ".bin"))
    return hashlib.sha256("\n".join(hashes).encode()).hexdigest()


def state_folder() -> Path:
    """Return the folder of this user's log; it need not exist yet.

    Raises:
        UsageError: the variable is not set and the account has no home folder.
    """
    if chosen := os.environ.get(STATE_VARIABLE):
        return Path(chosen).expanduser().absolute()
    return user_folder(sys.platform, os.environ, STATE_PLACES, STATE_VARIABLE) / "brain-edge"


def require_log() -> None:
    """Refuse a damaged or read-only log before hours are spent on a judgement that must be logged.

    Raises:
        InputError: the log is damaged.
        OutputError: the folder of the log cannot be written to.
    """
    with _opened():
        pass


def log_look(draft: LoggedLook, is_met: Callable[[tuple[Look, ...]], bool]) -> tuple[Look, ...]:
    """Log that a candidate was judged, and return the earlier looks of this model at any of these images.

    One process works on the log at a time. The same judgement repeated, such as after an interruption, tells nothing
    new: it is not logged again, and the earlier looks are those of its first entry.

    Args:
        draft: line to write, without an outcome.
        is_met: function from the earlier looks to the outcome, which may depend on them.

    Raises:
        InputError: the log is damaged.
        OutputError: the log cannot be written.
    """
    with _opened() as (path, known):
        related = [each for each in known if _is_related(each, draft)]
        looks = tuple(each.look for each in related)
        same = (_with_outcome(draft, met=met) for met in (True, False))
        first = min((related.index(each) for each in same if each in related), default=len(related))
        before = looks[:first]
        if _with_outcome(draft, met=is_met(before)) not in known:
            before = looks
            _write(path, [*known, _with_outcome(draft, met=is_met(before))])
    return before


def _is_related(first: LoggedLook, second: LoggedLook) -> bool:
    """Return True if two lines share at least one weights file and at least one image."""
    pairs = ((first.weights, second.weights), (first.images, second.images))
    return not any(set(own).isdisjoint(others) for own, others in pairs)


def _with_outcome(line: LoggedLook, *, met: bool) -> LoggedLook:
    return replace(line, look=replace(line.look, met=met))


@contextmanager
def _opened() -> Iterator[tuple[Path, list[LoggedLook]]]:
    """Lock the log for this process; yield its path and its lines."""
    folder = state_folder()
    try:
        folder.mkdir(parents=True, exist_ok=True)
        require_writable_folder(folder)
    except (OSError, OutputError) as error:
        raise OutputError(
            f"{folder}: the log of looks at test images cannot be written here ({error}); set {STATE_VARIABLE} to a "
            "folder that is kept"
        ) from error
    with gate(folder, GATE):
        yield folder / LOG, _read(folder / LOG)


def _write(path: Path, looks: Sequence[LoggedLook]) -> None:
    """Write the whole log at once: a killed process leaves the previous log."""
    previous, lines = BEGINNING, []
    for look in looks:
        text = msgspec.json.encode(look)
        previous = _chained(previous, text)
        lines.append(f"{previous} ".encode() + text + b"\n")
    remove_leftovers([path], alone=True)
    with atomic_file(path) as partial:
        partial.write_bytes(b"".join(lines))


def _read(path: Path) -> list[LoggedLook]:
    if not path.is_file():
        return []
    *lines, rest = path.read_bytes().split(b"\n")
    previous, looks = BEGINNING, []
    for number, line in enumerate([*lines, *([rest] if rest else [])], start=1):
        text = line[len(BEGINNING) + 1 :]
        previous = _chained(previous, text)
        look = _look(text)
        if number > len(lines) or line != f"{previous} ".encode() + text or look is None:
            raise InputError(
                f"{path}: the log of looks at test images is damaged: line {number} has changed, so the number of "
                "looks at a test split is unknown. Restore the file from a backup. Without one, move the file away, "
                "and state for packages made afterwards that earlier looks were not counted"
            )
        looks.append(look)
    return looks


def _look(text: bytes) -> LoggedLook | None:
    try:
        return decode_json(text, LoggedLook)
    except msgspec.DecodeError:
        return None


def _chained(previous: str, text: bytes) -> str:
    return hashlib.sha256(previous.encode() + text).hexdigest()
