"""The default folder of compiled graphs: used where it works, and never the reason for a missing mask."""

from __future__ import annotations

import logging
import os
import subprocess
import sys
from typing import TYPE_CHECKING

import msgspec
import numpy as np
import pytest
from cli_program import save_phantom, succeed
from conftest import NOBODY
from strategies import voxels
from tiny_package import AFTER, FIT, SCALE, SPEC, make_package, one_graph

from brain_edge.image.resample import Interpolation
from brain_edge.machine.options import RuntimeOptions
from brain_edge.runtime import cache, kept_graphs
from brain_edge.runtime.session import open_sessions
from brain_edge.spec import Stage
from brain_edge.spec.steps import Orient, ResizeTo

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

SIDES = (12, 8, 9)
FIXED = msgspec.structs.replace(
    SPEC,
    stages=(
        Stage(
            name="brain",
            before=(Orient(axes="RAS"), ResizeTo(shape=SIDES, interpolation=Interpolation.NEAREST), *FIT, SCALE),
            network=one_graph("tiny"),
            after=AFTER,
        ),
    ),
)
"""A network that sees every image on one grid."""
BATCH = np.clip(voxels((1, 1, *SIDES), 1) / 200, 0, 1).astype(np.float32)
KEY = cache.GraphKey(
    package_digest="0" * 64,
    model="tiny",
    graph="g",
    graph_sha256=("1" * 64, "2" * 64),
    shape=(1, 1, 4, 5, 6),
    program="1",
    openvino="2",
    isa="some",
    properties={},
)
WRITER = """
import sys
from pathlib import Path
import msgspec
from brain_edge.runtime import cache
folder, key = Path(sys.argv[1]), msgspec.json.decode(sys.argv[2], type=cache.GraphKey)
for _ in range(15):
    cache.store(folder, key, bytes(2**16))
    found = cache.load(folder, key)
    assert found == bytes(2**16), "an entry that is being replaced is whole"
"""


@pytest.fixture(scope="module")
def package(tmp_path_factory):
    return make_package(tmp_path_factory.mktemp("package") / "tiny", FIXED)


@pytest.fixture
def said(monkeypatch) -> Iterator[list[str]]:
    """The warnings of a process that has just begun."""
    sentences: list[str] = []
    kept_graphs._told.clear()
    # not caplog: a library that configures logging may have switched off the loggers that it found
    logger = logging.getLogger("brain_edge.runtime.kept_graphs")
    monkeypatch.setattr(logger, "warning", lambda words, *values: sentences.append(words % values))
    yield sentences
    kept_graphs._told.clear()


def output(package, folder: Path | None, *, is_default: bool = True) -> np.ndarray:
    options = RuntimeOptions(threads=1, cache_folder=folder, cache_is_default=is_default)
    return open_sessions(package, options)["tiny"](BATCH).copy()


def entries(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.glob("*"))


class TestTheDefaultFolder:
    def test_is_made_for_its_user_alone_and_serves_the_next_process(self, package, tmp_path, said, monkeypatch):
        folder = tmp_path / "cache" / "graphs"
        expected = output(package, folder)
        assert len(entries(folder)) == 1
        if os.name == "posix":
            assert folder.stat().st_mode & 0o777 == 0o700
        monkeypatch.setattr("brain_edge.runtime.session.read_graph", None)  # nothing is compiled again
        np.testing.assert_array_equal(output(package, folder), expected)
        assert said == []

    def test_keeps_no_graph_of_a_shape_that_the_image_decides(self, tmp_path_factory, tmp_path):
        free = make_package(tmp_path_factory.mktemp("package") / "tiny")
        output(free, tmp_path)
        assert entries(tmp_path) == []
        output(free, tmp_path, is_default=False)
        assert len(entries(tmp_path)) == 1, "a user who names a folder wants them all"

    @pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() != 0, reason="only root gives a folder away")
    def test_of_another_user_is_not_used(self, package, tmp_path, said):
        expected = output(package, tmp_path / "graphs")
        before = entries(tmp_path / "graphs")
        os.chown(tmp_path / "graphs", NOBODY, -1)
        np.testing.assert_array_equal(output(package, tmp_path / "graphs"), expected)
        assert len(said) == 1
        assert "the folder belongs to another user" in said[0]
        assert entries(tmp_path / "graphs") == before

    @pytest.mark.skipif(os.name != "posix", reason="permissions of another system")
    def test_that_others_may_write_to_is_not_used(self, package, tmp_path, said):
        tmp_path.chmod(0o777)
        np.testing.assert_array_equal(output(package, tmp_path), output(package, None))
        assert len(said) == 1
        assert "other users may write to the folder" in said[0]
        assert entries(tmp_path) == []

    def test_of_a_read_only_home_is_not_used(self, package, read_only_disk, said):
        np.testing.assert_array_equal(output(package, read_only_disk / "graphs"), output(package, None))
        assert len(said) == 1
        assert "Read-only file system" in said[0]

    def test_below_a_file_is_not_used(self, package, tmp_path, said):
        (tmp_path / "home").write_text("")
        np.testing.assert_array_equal(output(package, tmp_path / "home" / "graphs"), output(package, None))
        assert len(said) == 1
        assert "Not a directory" in said[0]

    def test_on_a_disk_with_little_room_stays_empty(self, package, small_disk, said):
        folder = small_disk / "graphs"
        np.testing.assert_array_equal(output(package, folder), output(package, None))
        np.testing.assert_array_equal(output(package, folder), output(package, None))
        assert len(said) == 1, "once in a process"
        assert "less than 1 GiB of free space" in said[0]
        assert entries(folder) == []

    def test_with_a_damaged_entry_gives_the_same_numbers(self, package, tmp_path, said):
        expected = output(package, tmp_path / "graphs")
        (path,) = (tmp_path / "graphs").iterdir()
        content = bytearray(path.read_bytes())
        content[-len(content) // 3] ^= 0x5A
        path.write_bytes(content)
        np.testing.assert_array_equal(output(package, tmp_path / "graphs"), expected)
        assert path.read_bytes() != content, "it was built again"
        assert said == []


class TestAFullDisk:
    def test_while_an_entry_is_written_costs_a_sentence_and_not_the_mask(self, package, small_disk, said):
        (small_disk / "filler").write_bytes(bytes(60 * 1024))
        np.testing.assert_array_equal(output(package, small_disk, is_default=False), output(package, None))
        assert len(said) == 1
        assert "the disk is full" in said[0]
        assert entries(small_disk) == ["filler"], "no partial file is left"

    def test_costs_one_sentence_also_if_several_graphs_do_not_fit(self, small_disk, said):
        kept = kept_graphs.KeptGraphs(small_disk, is_default=False)
        for name in "ab":
            kept.store(msgspec.structs.replace(KEY, graph=name), bytes(2**20))
        assert len(said) == 1
        assert "the disk is full" in said[0]
        assert entries(small_disk) == []


class TestTheSize:
    def test_is_bounded_and_the_entry_that_was_not_used_for_longest_goes(self, tmp_path):
        keys = [msgspec.structs.replace(KEY, graph=name) for name in "abcd"]
        for key in keys[:3]:
            cache.store(tmp_path, key, bytes(1000))
        assert cache.load(tmp_path, keys[0]) is not None
        cache.store(tmp_path, keys[3], bytes(1000))
        size = (tmp_path / keys[3].file_name).stat().st_size
        cache.remove_oldest(tmp_path, 2 * size, keys[3])
        assert [key.graph for key in keys if cache.load(tmp_path, key)] == ["a", "c", "d"]

    def test_counts_only_entries(self, tmp_path):
        (tmp_path / "note.txt").write_bytes(bytes(5000))
        cache.store(tmp_path, KEY, bytes(1000))
        cache.remove_oldest(tmp_path, 0, KEY)
        assert entries(tmp_path) == sorted([KEY.file_name, "note.txt"]), "the newest entry stays whatever its size"


def test_two_processes_that_write_one_entry_leave_a_whole_one(tmp_path):
    arguments = [sys.executable, "-c", WRITER, str(tmp_path), msgspec.json.encode(KEY).decode()]
    both = [subprocess.Popen(arguments, stderr=subprocess.PIPE, text=True) for _ in range(2)]
    for process in both:
        assert process.wait(timeout=120) == 0, process.communicate()[1]
        process.communicate()
    assert cache.load(tmp_path, KEY) == bytes(2**16)
    assert entries(tmp_path) == [KEY.file_name], "no partial file is left"


class TestTheProgram:
    def test_keeps_graphs_for_its_user_and_none_if_told_so(self, package, tmp_path, monkeypatch):
        monkeypatch.delenv("BRAIN_EDGE_MODEL_CACHE")
        monkeypatch.setenv("BRAIN_EDGE_CACHE", str(tmp_path / "home"))
        head, mask = save_phantom(tmp_path / "head.nii.gz"), tmp_path / "mask.nii.gz"
        run = ("run", package.folder, head, "-o", mask, "--threads", 1)
        succeed(*run, "--cache", "none")
        without = mask.read_bytes()
        assert not (tmp_path / "home").exists()
        succeed(*run)
        succeed(*run)
        assert mask.read_bytes() == without
        (found,) = succeed("cache", "list", "--json").json
        assert found["graph"] == "tiny"
        assert succeed("cache", "path").out == f"{tmp_path / 'home' / 'graphs'}\n"
        assert succeed("cache", "clear").out.startswith("removed 1 compiled graph")

    def test_a_folder_that_no_run_has_made_is_empty_and_stays_unmade(self, tmp_path, monkeypatch):
        file = tmp_path / "file"
        file.touch()
        for home in (tmp_path / "home", file / "home"):  # below a file, no folder can be made
            monkeypatch.setenv("BRAIN_EDGE_CACHE", str(home))
            monkeypatch.delenv("BRAIN_EDGE_MODEL_CACHE", raising=False)
            assert succeed("cache", "list", "--json").json == []
            assert succeed("cache", "clear").out.startswith("removed 0 compiled graph(s)")
        assert [path.name for path in tmp_path.iterdir()] == ["file"]
