"""What a killed process has left is removed by others, and never what a living process writes, here or elsewhere."""

from __future__ import annotations

import os
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from brain_edge.machine.atomic import partial_name
from brain_edge.machine.owned import owned, remove_unowned

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

WRITER = """
import sys
from pathlib import Path
from brain_edge.machine.owned import owned
place = Path(sys.argv[1])
with owned(place):
    place.mkdir()
    print("ready", flush=True)
    sys.stdin.read()
"""


@pytest.fixture
def elsewhere(tmp_path) -> Iterator[tuple[Path, subprocess.Popen[str]]]:
    """A partial folder of a living process that has another number here, as on another machine."""
    place = tmp_path / f".partial-{dead_process():06x}00-entry"
    command = [sys.executable, "-c", WRITER, str(place)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as writer:
        assert writer.stdout is not None
        assert writer.stdout.readline() == "ready\n"
        yield place, writer
        writer.kill()


def dead_process() -> int:
    """The number of a process that runs no more."""
    process = subprocess.Popen([sys.executable, "-c", ""])
    process.wait()
    return process.pid


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_what_a_living_process_writes_stays_until_the_process_is_killed(tmp_path, elsewhere):
    place, writer = elsewhere
    remove_unowned(tmp_path)
    assert names(tmp_path) == [place.name, f"{place.name}.lock"]
    writer.kill()
    writer.wait()
    remove_unowned(tmp_path)
    assert names(tmp_path) == []


def test_what_this_process_writes_stays(tmp_path):
    place = partial_name(tmp_path / "entry")
    with owned(place):
        place.mkdir()
        remove_unowned(tmp_path)
        assert place.is_dir()
    assert names(tmp_path) == [place.name]


def test_a_folder_without_a_lock_is_removed_if_its_process_does_not_run(tmp_path):
    for number in (dead_process(), os.getppid()):
        (tmp_path / f".partial-{number:06x}00-entry").mkdir()
    (tmp_path / "entry").mkdir()
    remove_unowned(tmp_path)
    assert names(tmp_path) == sorted(["entry", f".partial-{os.getppid():06x}00-entry"])


def test_a_disk_without_locks_is_no_obstacle(tmp_path, monkeypatch):
    def refuse(*_given: object) -> None:
        raise OSError(37, "No locks available")

    monkeypatch.setattr("fcntl.flock", refuse)
    with owned(tmp_path / ".partial-00000000-entry"):
        (tmp_path / ".partial-00000000-entry").mkdir()
    assert (tmp_path / ".partial-00000000-entry").is_dir()
