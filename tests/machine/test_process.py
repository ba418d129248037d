"""What is left to a process: of the machine, of each cgroup around it, and of its own limits."""

from __future__ import annotations

import json
import subprocess
import sys
from types import SimpleNamespace
from typing import TYPE_CHECKING

import pytest
from cli_program import child_environment

from brain_edge.errors import InputError
from brain_edge.machine import cgroup, process
from brain_edge.machine.process import (
    HEAPS_BYTES,
    MIB,
    Remedy,
    Room,
    available,
    free_memory,
    require_free,
    rss_bytes,
)

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

GIB = 2**30
UNLIMITED_V1 = 9223372036854771712
"""What version 1 writes where there is no limit."""


@pytest.fixture
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A machine with 64 GiB free; its cgroups are in the folder."""
    monkeypatch.setattr(cgroup, "CGROUP", tmp_path / "cgroup")
    monkeypatch.setattr(cgroup, "MEMBERSHIP", tmp_path / "self")
    monkeypatch.setattr(process.psutil, "virtual_memory", lambda: SimpleNamespace(available=64 * GIB))
    monkeypatch.setattr(process, "_below_limits", lambda: iter(()))
    (tmp_path / "cgroup").mkdir()
    return tmp_path


def group(root: Path, path: str, files: Mapping[str, object]) -> None:
    folder = root / "cgroup" / path
    folder.mkdir(parents=True, exist_ok=True)
    for name, content in files.items():
        (folder / name).write_text(f"{content}\n")


def left() -> tuple[int, Remedy]:
    found = free_memory()
    assert found is not None
    return found.size_bytes, found.remedy


class TestVersion2:
    """`/proc/self/cgroup` has one line, `0::PATH`."""

    @pytest.fixture(autouse=True)
    def _in_a_job(self, machine: Path) -> None:
        (machine / "self").write_text("0::/slice/job\n")

    def test_leaves_the_limit_without_what_is_used(self, machine: Path):
        group(machine, "slice/job", {"memory.max": 4 * GIB, "memory.current": GIB})
        assert left() == (3 * GIB, Remedy.CGROUP)

    def test_without_a_limit_leaves_what_the_machine_has(self, machine: Path):
        group(machine, "slice/job", {"memory.max": "max", "memory.high": "max", "memory.current": GIB})
        assert left() == (64 * GIB, Remedy.MACHINE)

    def test_the_group_around_it_counts_where_it_is_tighter(self, machine: Path):
        """4 GiB for the job, of which it uses 1; 6 GiB for the slice, of which its jobs use 5."""
        group(machine, "slice/job", {"memory.max": 4 * GIB, "memory.current": GIB})
        group(machine, "slice", {"memory.max": 6 * GIB, "memory.current": 5 * GIB})
        assert left() == (GIB, Remedy.CGROUP)

    def test_a_high_mark_binds_like_a_limit(self, machine: Path):
        """Above it the system slows a process down instead of killing it, which is no better."""
        group(machine, "slice/job", {"memory.max": 4 * GIB, "memory.high": 2 * GIB, "memory.current": GIB})
        assert left() == (GIB, Remedy.CGROUP)

    def test_files_that_no_process_maps_can_be_dropped(self, machine: Path):
        stat = f"anon {GIB}\ninactive_file {2 * GIB}\nactive_file {GIB}\nfile_mapped {GIB // 2}\nshmem 5"
        files = {"memory.max": 4 * GIB, "memory.current": 4 * GIB, "memory.stat": stat}
        group(machine, "slice/job", files)
        assert left() == (2 * GIB + GIB // 2, Remedy.CGROUP)

    def test_more_used_than_allowed_leaves_nothing(self, machine: Path):
        group(machine, "slice/job", {"memory.max": GIB, "memory.current": 2 * GIB})
        assert left() == (0, Remedy.CGROUP)

    def test_beside_version_1_lies_in_a_folder_of_its_own(self, machine: Path):
        (machine / "self").write_text("4:cpu:/\n0::/slice/job\n")
        group(machine, "unified/slice/job", {"memory.max": 4 * GIB, "memory.current": GIB})
        assert left() == (3 * GIB, Remedy.CGROUP)

    def test_files_that_are_damaged_or_gone_say_nothing(self, machine: Path):
        group(machine, "slice/job", {"memory.max": "much", "memory.current": GIB})
        group(machine, "slice", {"memory.max": GIB})
        assert left() == (64 * GIB, Remedy.MACHINE)


class TestVersion1:
    """A line per controller; the numbers of a group include those of the groups inside under names of their own."""

    @pytest.fixture(autouse=True)
    def _in_a_container(self, machine: Path) -> None:
        (machine / "self").write_text("9:name=systemd:/\n4:memory:/docker/x\n2:cpu,cpuacct:/\n")

    def test_leaves_the_limit_without_what_is_used(self, machine: Path):
        files = {"memory.limit_in_bytes": 4 * GIB, "memory.usage_in_bytes": GIB}
        group(machine, "memory/docker/x", files)
        assert left() == (3 * GIB, Remedy.CGROUP)

    def test_its_greatest_number_is_no_limit(self, machine: Path):
        files = {"memory.limit_in_bytes": UNLIMITED_V1, "memory.usage_in_bytes": GIB}
        group(machine, "memory/docker/x", files)
        assert left() == (64 * GIB, Remedy.MACHINE)

    def test_files_of_the_groups_inside_can_be_dropped_too(self, machine: Path):
        stat = (
            "cache 5\ninactive_file 0\nactive_file 0\nmapped_file 0\n"
            f"total_inactive_file {GIB}\ntotal_active_file {GIB}\ntotal_mapped_file {GIB // 4}"
        )
        files = {"memory.limit_in_bytes": 4 * GIB, "memory.usage_in_bytes": 4 * GIB, "memory.stat": stat}
        group(machine, "memory/docker", files)
        assert left() == (2 * GIB - GIB // 4, Remedy.CGROUP)

    def test_a_container_that_sees_its_own_group_as_the_root(self, machine: Path):
        files = {"memory.limit_in_bytes": 2 * GIB, "memory.usage_in_bytes": GIB}
        group(machine, "memory", files)
        assert left() == (GIB, Remedy.CGROUP)


class TestAdvice:
    def test_is_enough_where_it_is_followed(self, machine: Path):
        """A group of 1 GiB, half of it used, and 700 MiB wanted: with what is said, they are there."""
        (machine / "self").write_text("0::/job\n")
        group(machine, "job", {"memory.max": GIB, "memory.current": GIB // 2})
        with pytest.raises(
            InputError, match=r"needs 700 MiB of memory, and 512 MiB are free; raise .* by 190 MiB or more$"
        ):
            require_free(700 * MIB, "head.nii")
        group(machine, "job", {"memory.max": GIB + 190 * MIB})
        require_free(700 * MIB, "head.nii")

    @pytest.mark.parametrize("remedy", [each for each in Remedy if each is not Remedy.MACHINE])
    @pytest.mark.parametrize("missing", [1, 10 * MIB, 10 * MIB + 1, 345 * MIB])
    def test_names_at_least_what_is_missing(self, remedy: Remedy, missing: int):
        said = Room(GIB, remedy).advice(GIB + missing)
        more = int(said.rpartition(" by ")[2].removesuffix(" MiB or more")) * MIB
        beside = HEAPS_BYTES if remedy is not Remedy.CGROUP else 0
        assert missing + beside <= more < missing + beside + 10 * MIB

    def test_of_the_machine_has_no_number(self, machine: Path):  # noqa: ARG002 - its memory
        with pytest.raises(InputError, match=r"65536 MiB are free; close other programs, or use a machine with more"):
            require_free(64 * GIB + 1, "head.nii")


LIMITED = """
import json, resource, sys
from brain_edge.errors import InputError
from brain_edge.machine.process import free_memory, require_free
import psutil
name, size = getattr(resource, sys.argv[1]), int(sys.argv[2])
resource.setrlimit(name, (size, size))
free = free_memory()
try:
    require_free(size, "an image")
    said = ""
except InputError as error:
    said = str(error)
block = None
try:
    block = bytearray(free.size_bytes + 2**24)
except MemoryError:
    pass
print(json.dumps({"free": free.size_bytes, "remedy": free.remedy.name, "said": said, "given": block is not None}))
"""


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux keeps these limits")
@pytest.mark.parametrize(("limit", "remedy"), [("RLIMIT_AS", "ADDRESSES"), ("RLIMIT_DATA", "DATA")])
def test_a_limit_of_the_process_is_counted_as_the_system_counts_it(limit: str, remedy: str):
    """More than what is said to be free is not given: as on a cluster with `ulimit -v`."""
    done = subprocess.run(
        [sys.executable, "-c", LIMITED, limit, str(GIB)],
        capture_output=True, text=True, env=child_environment(), check=True, timeout=60,
    )  # fmt: skip
    found = json.loads(done.stdout)
    assert found["remedy"] == remedy
    assert GIB / 4 < found["free"] < GIB
    assert found["said"].startswith("an image needs 1024 MiB of memory, and ")
    assert not found["given"]


def test_what_the_process_holds_and_what_is_free_is_available():
    held, there = rss_bytes(), available()
    assert held is not None
    assert there is not None
    assert held < there.size_bytes < 2**50
