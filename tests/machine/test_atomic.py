"""Outputs exist whole or not at all."""

from __future__ import annotations

import os
import stat
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import pytest

from brain_edge.errors import InputError, OutputError, UsageError
from brain_edge.machine.atomic import (
    atomic_file,
    partial_name,
    remove_all_leftovers,
    remove_leftovers,
    require_writable_folder,
)
from brain_edge.machine.atomic_folder import atomic_folder


def names(folder: Path) -> list[str]:
    """Everything in a folder, hidden files too."""
    return sorted(path.name for path in folder.iterdir())


def fill(folder: Path, text: str) -> None:
    (folder / "graph").mkdir()
    (folder / "graph" / "weights.bin").write_text(text)


def write_file_until(error: type[BaseException], target: Path) -> None:
    with atomic_file(target) as partial:
        partial.write_bytes(b"new")
        raise error


def write_folder_until(error: type[BaseException], target: Path, *, overwrite: bool) -> None:
    with atomic_folder(target, overwrite=overwrite) as partial:
        fill(partial, "new")
        raise error


def test_a_file_appears_under_its_name_only_when_it_is_whole(tmp_path):
    target = tmp_path / "mask.nii.gz"
    with atomic_file(target) as partial:
        partial.write_bytes(b"half")
        assert not target.exists()
        assert partial.parent == tmp_path
        assert partial.name.startswith(".partial-")
        assert partial.name.endswith("mask.nii.gz")
    assert target.read_bytes() == b"half"
    assert names(tmp_path) == ["mask.nii.gz"]


def test_a_new_file_has_the_permissions_of_any_new_file(tmp_path):
    """Not the 0600 of temporary files: colleagues read the results."""
    (tmp_path / "usual").touch()
    with atomic_file(tmp_path / "mask.nii") as partial:
        partial.write_bytes(b"x")
    assert stat.S_IMODE((tmp_path / "mask.nii").stat().st_mode) == stat.S_IMODE((tmp_path / "usual").stat().st_mode)


@pytest.mark.parametrize("error", [KeyboardInterrupt, SystemExit, RuntimeError, InputError])
def test_an_interrupted_file_leaves_nothing_and_the_old_one_stays(tmp_path, error):
    target = tmp_path / "mask.nii"
    target.write_bytes(b"old")
    with pytest.raises(error):
        write_file_until(error, target)
    assert target.read_bytes() == b"old"
    assert names(tmp_path) == ["mask.nii"]


def test_two_writers_of_one_file_do_not_meet(tmp_path):
    target = tmp_path / "mask.nii"
    with atomic_file(target) as first, atomic_file(target) as second:
        first.write_bytes(b"first")
        second.write_bytes(b"second")
    assert target.read_bytes() == b"first"
    assert names(tmp_path) == ["mask.nii"]


def test_a_symbolic_link_is_followed(tmp_path):
    (tmp_path / "elsewhere").mkdir()
    real = tmp_path / "elsewhere" / "real.nii"
    real.write_bytes(b"old")
    link = tmp_path / "link.nii"
    link.symlink_to(real)
    with atomic_file(link) as partial:
        partial.write_bytes(b"new")
    assert link.is_symlink()
    assert real.read_bytes() == b"new"


def test_a_missing_folder_is_named(tmp_path):
    with (
        pytest.raises(
            OutputError, match=r"m\.nii: could not be written: the folder .*absent does not exist; create it"
        ),
        atomic_file(tmp_path / "absent" / "m.nii"),
    ):
        pytest.fail("nothing can be written there")
    assert names(tmp_path) == []


def test_a_file_cannot_be_a_folder(tmp_path):
    (tmp_path / "file").write_bytes(b"")
    with (
        pytest.raises(OutputError, match=r"file is not a folder; correct the path"),
        atomic_file(tmp_path / "file" / "m.nii"),
    ):
        pytest.fail("nothing can be written there")


def test_a_folder_is_not_replaced_by_a_file(tmp_path):
    (tmp_path / "out").mkdir()
    with (
        pytest.raises(UsageError, match=r"expected the name of a file to write, got a folder"),
        atomic_file(tmp_path / "out"),
    ):
        pytest.fail("nothing can be written there")


@pytest.mark.skipif(not Path("/dev/null").exists(), reason="needs a device file")
def test_a_device_is_not_replaced_by_a_file():
    """Else root's `-o /dev/null` would end as a regular file for the whole machine."""
    with (
        pytest.raises(UsageError, match=r"expected a regular file to write, got a device or pipe"),
        atomic_file("/dev/null"),
    ):
        pytest.fail("nothing can be written there")
    assert not Path("/dev/null").is_file()


def test_a_name_that_is_too_long_is_said_so(tmp_path):
    with (
        pytest.raises(OutputError, match=r"the name is too long; choose a shorter one"),
        atomic_file(tmp_path / ("m" * 260)),
    ):
        pytest.fail("nothing can be written there")


def test_a_full_disk_leaves_nothing_half_written(small_disk):
    (small_disk / "old").write_bytes(b"x" * 8192)
    with (
        pytest.raises(OutputError, match=r"m\.nii: could not be written: the disk is full; free some space"),
        atomic_file(small_disk / "m.nii") as partial,
    ):
        partial.write_bytes(b"x" * 200_000)
    assert names(small_disk) == ["old"]


@pytest.mark.skipif(sys.platform == "win32", reason="no such limit")
def test_a_file_beyond_the_limit_of_the_user_leaves_nothing(tmp_path):
    import resource

    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    with pytest.raises(OutputError, match=r"the file exceeds the size limit \(ulimit -f\)"):  # noqa: PT012
        resource.setrlimit(resource.RLIMIT_FSIZE, (4096, hard))
        try:
            with atomic_file(tmp_path / "m.nii") as partial:
                partial.write_bytes(b"x" * 200_000)
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert names(tmp_path) == []


def test_a_folder_without_permission_is_said_so(tmp_path, without_rights):
    locked = tmp_path / "locked"
    locked.mkdir()
    locked.chmod(0o555)
    with (
        without_rights(),
        pytest.raises(OutputError, match=r"there is no permission to write in the folder .*locked; change that"),
        atomic_file(locked / "m.nii"),
    ):
        pytest.fail("nothing can be written there")
    assert names(locked) == []


def test_a_read_only_disk_is_said_so(read_only_disk):
    with (
        pytest.raises(OutputError, match=r"read_only_disk is on a read-only disk; choose another folder"),
        atomic_file(read_only_disk / "m.nii"),
    ):
        pytest.fail("nothing can be written there")


def test_an_error_about_another_file_is_not_blamed_on_the_output(tmp_path):
    """A source that cannot be read while the output is written: the source is what the message names."""
    with (
        pytest.raises(OutputError, match=r"m\.nii: could not be written: .*No such file .*source\.txt"),
        atomic_file(tmp_path / "m.nii"),
    ):
        Path("/nowhere/source.txt").read_bytes()
    assert names(tmp_path) == []


def test_a_package_folder_appears_only_when_it_is_whole(tmp_path):
    target = tmp_path / "package"
    with atomic_folder(target) as partial:
        fill(partial, "new")
        assert not target.exists()
        assert partial.parent == tmp_path
    assert (target / "graph" / "weights.bin").read_text() == "new"
    assert names(tmp_path) == ["package"]


@pytest.mark.parametrize("error", [KeyboardInterrupt, RuntimeError])
@pytest.mark.parametrize("overwrite", [False, True])
def test_an_interrupted_folder_leaves_nothing(tmp_path, error, overwrite):
    with pytest.raises(error):
        write_folder_until(error, tmp_path / "package", overwrite=overwrite)
    assert names(tmp_path) == []


def test_a_folder_that_exists_is_kept_unless_overwriting_was_asked_for(tmp_path):
    (tmp_path / "package").mkdir()
    fill(tmp_path / "package", "old")
    with (
        pytest.raises(UsageError, match=r"package: this folder already exists; remove it, or choose another name"),
        atomic_folder(tmp_path / "package"),
    ):
        pytest.fail("nothing can be written there")
    assert (tmp_path / "package" / "graph" / "weights.bin").read_text() == "old"
    with atomic_folder(tmp_path / "package", overwrite=True) as partial:
        fill(partial, "new")
        (partial / "more").write_text("more")
        assert (tmp_path / "package" / "graph" / "weights.bin").read_text() == "old"
    assert (tmp_path / "package" / "graph" / "weights.bin").read_text() == "new"
    assert names(tmp_path) == ["package"]


def test_an_interrupted_overwriting_keeps_the_old_folder(tmp_path):
    (tmp_path / "package").mkdir()
    fill(tmp_path / "package", "old")
    with pytest.raises(KeyboardInterrupt):
        write_folder_until(KeyboardInterrupt, tmp_path / "package", overwrite=True)
    assert (tmp_path / "package" / "graph" / "weights.bin").read_text() == "old"
    assert names(tmp_path) == ["package"]


def test_the_old_folder_comes_back_when_the_new_one_cannot_take_its_place(tmp_path):
    """The last step fails for real: the finished folder is gone when it is to be moved."""
    (tmp_path / "package").mkdir()
    fill(tmp_path / "package", "old")
    with pytest.raises(OutputError), atomic_folder(tmp_path / "package", overwrite=True) as partial:
        partial.rmdir()
    assert (tmp_path / "package" / "graph" / "weights.bin").read_text() == "old"
    assert names(tmp_path) == ["package"]


def test_a_file_is_not_replaced_by_a_folder(tmp_path):
    (tmp_path / "package").write_text("a file")
    with (
        pytest.raises(UsageError, match=r"expected a folder to write, got a file"),
        atomic_folder(tmp_path / "package", overwrite=True),
    ):
        pytest.fail("nothing can be written there")


def test_a_full_disk_leaves_no_half_package(small_disk):
    with pytest.raises(OutputError, match=r"the disk is full"), atomic_folder(small_disk / "package") as partial:
        fill(partial, "x" * 200_000)
    assert names(small_disk) == []


def test_files_that_may_not_be_changed_can_be_in_a_package(without_rights):
    """A licence copied with its read-only permission."""
    with tempfile.TemporaryDirectory() as name, without_rights(name):
        with atomic_folder(Path(name) / "package") as partial:
            (partial / "LICENSE").write_text("text")
            (partial / "LICENSE").chmod(0o444)
        assert (Path(name) / "package" / "LICENSE").read_text() == "text"


def test_a_writable_folder_is_found_writable_and_left_as_it_was(tmp_path):
    require_writable_folder(tmp_path)
    assert names(tmp_path) == []


def test_an_output_folder_is_judged_before_work_begins(tmp_path, without_rights):
    (tmp_path / "file").touch()
    (tmp_path / "locked").mkdir(mode=0o555)
    with pytest.raises(OutputError, match=r"the folder .*absent does not exist; create it first"):
        require_writable_folder(tmp_path / "absent")
    with pytest.raises(OutputError, match=r"file is not a folder"):
        require_writable_folder(tmp_path / "file")
    with without_rights(), pytest.raises(OutputError, match=r"there is no permission to write in the folder"):
        require_writable_folder(tmp_path / "locked")
    assert OutputError.exit_code == 1


@pytest.mark.parametrize("begin", [atomic_file, atomic_folder], ids=["file", "folder"])
def test_an_interrupt_in_the_instant_after_the_hidden_name_was_made_leaves_nothing(begin, tmp_path, monkeypatch):
    """A signal may arrive between the making of the name and the block that would remove it."""
    for maker in ("touch", "mkdir"):
        make = getattr(Path, maker)

        def interrupted(path: Path, *args: Any, _make: Any = make, **options: Any) -> None:
            _make(path, *args, **options)
            raise KeyboardInterrupt

        monkeypatch.setattr(Path, maker, interrupted)
    with pytest.raises(KeyboardInterrupt), begin(tmp_path / "out.nii.gz"):
        pytest.fail("the block must not begin")
    assert not list(tmp_path.iterdir())


# --- what a killed process has left


def dead_process() -> int:
    """The number of a process that has ended."""
    with subprocess.Popen([sys.executable, "-c", ""]) as process:
        process.wait()
    return process.pid


def hidden_name(process: int, name: str, number: int = 0) -> str:
    return f".partial-{process:06x}{number:02x}-{name}"


def test_the_hidden_name_says_which_process_writes_and_is_another_one_each_time(tmp_path):
    first, second = (partial_name(tmp_path / "mask.nii").name for _ in range(2))
    assert first != second
    assert {first[:15], second[:15]} == {f".partial-{os.getpid():06x}"}


def test_what_a_killed_process_was_writing_is_removed_by_the_next_that_writes_there(tmp_path):
    dead, alive = dead_process(), os.getppid()
    (tmp_path / hidden_name(dead, "mask.nii")).write_bytes(b"voxels of a patient")
    (tmp_path / f".partial-00000000-{hidden_name(dead, 'mask.nii')}").write_bytes(b"hidden twice")
    fill_in(tmp_path / hidden_name(dead, "package"))
    kept = {"mask.nii", hidden_name(alive, "mask.nii"), hidden_name(dead, "other.nii"), ".partial-of-others-mask.nii"}
    for name in kept:
        (tmp_path / name).write_bytes(b"")
    remove_leftovers([tmp_path / "mask.nii", tmp_path / "package"])
    assert set(names(tmp_path)) == kept


def test_what_this_process_seems_to_have_written_before_it_began_is_of_another_one(tmp_path):
    """A container that is started again gives the same number."""
    (tmp_path / hidden_name(os.getpid(), "mask.nii")).write_bytes(b"")
    remove_leftovers([tmp_path / "mask.nii"])
    assert names(tmp_path) == []


def test_who_is_alone_removes_what_a_living_process_has_begun(tmp_path):
    (tmp_path / hidden_name(os.getppid(), "mask.nii")).write_bytes(b"")
    remove_leftovers([tmp_path / "mask.nii"], alone=True)
    assert names(tmp_path) == []


def test_whatever_it_was_to_be_called(tmp_path):
    alive = hidden_name(os.getppid(), "mask.nii")
    for name in (hidden_name(dead_process(), "other.nii"), alive, "mask.nii", ".hidden"):
        (tmp_path / name).write_bytes(b"")
    remove_all_leftovers(tmp_path)
    assert names(tmp_path) == sorted([alive, "mask.nii", ".hidden"])


def test_a_folder_that_was_being_filled_is_removed_by_the_next(tmp_path):
    fill_in(tmp_path / hidden_name(dead_process(), "package"))
    with atomic_folder(tmp_path / "package") as partial:
        assert names(tmp_path) == [partial.name]
        fill(partial, "new")
    assert names(tmp_path) == ["package"]


def test_an_old_folder_that_stepped_aside_stays_until_there_is_a_new_one(tmp_path):
    """Killed between the two moves, a process leaves the old folder under a hidden name only."""
    old = tmp_path / hidden_name(dead_process(), "package")
    fill_in(old)
    write_folder_until_refused(tmp_path / "package")
    assert names(tmp_path) == [old.name]


def fill_in(folder: Path) -> None:
    folder.mkdir()
    fill(folder, "half")


def write_folder_until_refused(target: Path) -> None:
    with pytest.raises(InputError):
        write_folder_until(InputError, target, overwrite=True)


def test_a_folder_is_tried_without_a_name_that_could_be_left(tmp_path, monkeypatch):
    try:
        os.close(os.open(tmp_path, os.O_TMPFILE | os.O_RDWR))
    except (AttributeError, OSError) as error:
        pytest.skip(f"every file has a name on this disk: {error}")
    monkeypatch.setattr(os, "unlink", lambda *_place: pytest.fail("there was a name to remove"))
    require_writable_folder(tmp_path)
    assert names(tmp_path) == []


def test_a_folder_that_may_not_be_listed_keeps_what_is_in_it(tmp_path, without_rights):
    left = tmp_path / "box" / hidden_name(dead_process(), "mask.nii")
    left.parent.mkdir()
    left.touch()
    left.parent.chmod(0o333)
    with without_rights(tmp_path, left.parent):
        remove_leftovers([left.with_name("mask.nii")])
        remove_all_leftovers(tmp_path / "absent")
    left.parent.chmod(0o755)
    assert names(left.parent) == [left.name]
