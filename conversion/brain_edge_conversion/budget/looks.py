"""Looks at a test split: every judgement of a model on test images is logged, wherever its package goes.

The log is the user's, in one folder of the machine (`docs/decisions/0036-looks-are-the-users.md`). Hashes, limits and
outcomes are in it: no name, no path. A line carries the hash of itself and of the line before, so that a damaged log
is refused and not counted as a short one.
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

from brain_edge.deploy.cache_folder import user_folder
from brain_edge.errors import InputError, OutputError
from brain_edge.evaluation.evidence import Look
from brain_edge.jobs.batch.lock import gate
from brain_edge.machine.atomic import atomic_file, remove_leftovers, require_writable_folder
from brain_edge.machine.json import decode_json
from brain_edge.package.digest import Sha256, sha256_of
from brain_edge.spec import Value

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from brain_edge.package import ModelPackage

STATE_VARIABLE: Final = "BRAIN_EDGE_STATE"
"""Environment variable that names the folder of the log: for a team that shares a test split, or a read-only home."""

STATE_PLACES: Final = {
    "win32": ("LOCALAPPDATA", "AppData/Local"),
    "darwin": ("", "Library/Application Support"),
    "": ("XDG_STATE_HOME", ".local/state"),
}
LOG: Final = "test-looks.jsonl"
BEGINNING: Final = "0" * 64
"""What stands for the line before the first one."""


class LoggedLook(Value, frozen=True, kw_only=True):
    """A line of the log.

    Attributes:
        weights: of the model whose test this is (`weights_of`).
        images: the test images, by `image_sha256`, sorted.
        look: candidate, limits and outcome.
    """

    weights: tuple[Sha256, ...]
    images: tuple[Sha256, ...]
    look: Look


def weights_of(baseline: ModelPackage) -> tuple[str, ...]:
    """What names a model: the SHA-256 of its weights, sorted, whatever was made of them since.

    Converted again, quantised or with other steps it is the same one, and so are the members of an ensemble that were
    kept: two that share weights are one model.
    """
    return tuple(sorted({record.sha256 for record in baseline.manifest.weights}))


def candidate_of(candidate: ModelPackage) -> str:
    """SHA-256 over the graphs of a candidate, whose files carry the specification."""
    graphs = (candidate.graph_file(graph) for graph in candidate.spec.graphs)
    hashes = (sha256_of(file.with_suffix(suffix)) for file in graphs for suffix in (".xml", ".bin"))
    return hashlib.sha256("\n".join(hashes).encode()).hexdigest()


def state_folder() -> Path:
    """Where the log of this user lies; it need not exist yet.

    Raises:
        UsageError: neither the variable is set nor does this account have a home folder.
    """
    if chosen := os.environ.get(STATE_VARIABLE):
        return Path(chosen).expanduser().absolute()
    return user_folder(sys.platform, os.environ, STATE_PLACES, STATE_VARIABLE) / "brain-edge"


def require_log() -> None:
    """Refuse a log that could not be trusted or written to, before hours are spent on what is to be logged.

    Raises:
        InputError: the log is damaged.
        OutputError: its folder cannot be written to.
    """
    with _opened():
        pass


def log_look(draft: LoggedLook, is_met: Callable[[tuple[Look, ...]], bool]) -> tuple[Look, ...]:
    """Write down that a candidate was judged; the looks of this model at any of these images that came before.

    One process at a time. The same judgement once more, after an interruption for one, tells nobody anything new: it
    is not written again, and what came before it is what had come before it the first time.

    Args:
        draft: the line, whose outcome is not known yet.
        is_met: told the looks that came before, on which the outcome may depend.

    Raises:
        InputError: the log is damaged.
        OutputError: it cannot be written.
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
    """Whether weights and images are shared, were it one of each."""
    pairs = ((first.weights, second.weights), (first.images, second.images))
    return not any(set(own).isdisjoint(others) for own, others in pairs)


def _with_outcome(line: LoggedLook, *, met: bool) -> LoggedLook:
    return replace(line, look=replace(line.look, met=met))


@contextmanager
def _opened() -> Iterator[tuple[Path, list[LoggedLook]]]:
    """The log and its lines, for this process alone."""
    folder = state_folder()
    try:
        folder.mkdir(parents=True, exist_ok=True)
        require_writable_folder(folder)
    except (OSError, OutputError) as error:
        raise OutputError(
            f"{folder}: looks at test images are logged there, and nothing can be written ({error}); set "
            f"{STATE_VARIABLE} to a folder that lasts"
        ) from error
    with gate(folder):
        yield folder / LOG, _read(folder / LOG)


def _write(path: Path, looks: Sequence[LoggedLook]) -> None:
    """The whole log: a process that is killed leaves the one before."""
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
                f"{path}: expected the log of looks at test images as it was written, line {number} has changed, so "
                "that nobody knows how often a test split was looked at; put the file of a backup in its place, or "
                "move it away and say of packages made afterwards that their looks were not counted"
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
