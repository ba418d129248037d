"""Compiled graphs that were kept: the same numbers as without, and damage is never computed with."""

from __future__ import annotations

import os
from pathlib import Path

import msgspec
import numpy as np
import pytest
from cli_program import refused, save_phantom, succeed
from hypothesis import given, settings
from hypothesis import strategies as st
from present import present
from strategies import voxels
from tiny_package import CASCADE, make_package

from brain_edge.errors import InputError, OutputError, UsageError
from brain_edge.machine.isa import KNOWN_ISAS, isa_limit
from brain_edge.machine.options import RuntimeOptions
from brain_edge.package import open_package
from brain_edge.package.digest import sha256_of
from brain_edge.runtime import cache
from brain_edge.runtime.session import open_sessions

KEY = cache.GraphKey(
    package_digest="0" * 64,
    model="tiny",
    graph="g",
    graph_sha256=("1" * 64, "2" * 64),
    shape=(1, 1, 4, 5, 6),
    program="1",
    openvino="2",
    isa="some",
    properties={"NUM_STREAMS": "1"},
)
BATCH = np.clip(voxels((1, 1, 12, 8, 9), 1) / 200, 0, 1).astype(np.float32)


@pytest.fixture(scope="module")
def package(tmp_path_factory):
    return make_package(tmp_path_factory.mktemp("package") / "tiny")


def output(package, folder, **options) -> np.ndarray:
    ready = open_sessions(package, RuntimeOptions(threads=1, cache_folder=folder, **options))
    return ready[package.spec.graphs[0]](BATCH).copy()


@pytest.fixture
def entry(package, tmp_path):
    """The file that one run leaves."""
    output(package, tmp_path)
    (path,) = tmp_path.iterdir()
    return path


class TestAnEntry:
    @pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no pipes with names here")
    def test_that_is_a_pipe_is_none_and_is_not_waited_for(self, tmp_path):
        os.mkfifo(tmp_path / KEY.file_name)
        assert cache.load(tmp_path, KEY) is None
        assert list(cache.entries(tmp_path)) == []

    def test_is_what_was_stored(self, tmp_path):
        cache.store(tmp_path, KEY, b"compiled")
        assert cache.load(tmp_path, KEY) == b"compiled"

    @pytest.mark.parametrize(
        "change",
        [
            {"package_digest": "3" * 64},
            {"graph_sha256": ("1" * 64, "3" * 64)},
            {"shape": (1, 1, 4, 5, 7)},
            {"program": "1.1"},
            {"openvino": "2.1"},
            {"isa": "other"},
            {"properties": {"NUM_STREAMS": "2"}},
        ],
        ids=lambda change: next(iter(change)),
    )
    def test_serves_for_nothing_else(self, tmp_path, change):
        cache.store(tmp_path, KEY, b"compiled")
        other = msgspec.structs.replace(KEY, **change)
        assert cache.load(tmp_path, other) is None
        (tmp_path / KEY.file_name).rename(tmp_path / other.file_name)
        assert cache.load(tmp_path, other) is None, "a name alone is no proof"

    @given(st.data())
    @settings(max_examples=200)
    def test_with_one_changed_byte_is_none(self, tmp_path_factory, data):
        folder = tmp_path_factory.mktemp("cache")
        cache.store(folder, KEY, bytes(range(256)))
        path = folder / KEY.file_name
        content = bytearray(path.read_bytes())
        position = data.draw(st.integers(0, len(content) - 1))
        content[position] ^= data.draw(st.integers(1, 255))
        path.write_bytes(content)
        assert cache.load(folder, KEY) in (None, bytes(range(256)))
        if position >= len(content) - 256:
            assert cache.load(folder, KEY) is None

    def test_that_does_not_fit_leaves_the_one_that_was_there(self, small_disk):
        cache.store(small_disk, KEY, b"compiled")
        with pytest.raises(OutputError):
            cache.store(small_disk, KEY, bytes(2**18))
        assert cache.load(small_disk, KEY) == b"compiled"

    @pytest.mark.parametrize("keep", [0, 5, 100, -1])
    def test_that_was_cut_short_is_none(self, tmp_path, keep):
        cache.store(tmp_path, KEY, b"compiled" * 9)
        path = tmp_path / KEY.file_name
        path.write_bytes(path.read_bytes()[:keep])
        assert cache.load(tmp_path, KEY) is None
        assert [found.key for found in cache.entries(tmp_path)] in ([None], [KEY])


class TestACompiledGraph:
    def test_from_the_cache_gives_the_same_numbers_to_the_bit(self, package, entry):
        before = entry.stat().st_mtime_ns
        np.testing.assert_array_equal(output(package, entry.parent), output(package, None))
        assert entry.stat().st_mtime_ns == before, "it was taken, not made again"

    def test_is_kept_under_the_hashes_of_both_files_of_its_graph(self, package, entry):
        (found,) = cache.entries(entry.parent)
        graph = package.graph_file("tiny")
        assert present(found.key).graph_sha256 == (sha256_of(graph), sha256_of(graph.with_suffix(".bin")))

    def test_is_really_taken_from_there(self, package, entry, monkeypatch):
        monkeypatch.setattr("brain_edge.runtime.session.read_graph", None)
        output(package, entry.parent)

    @pytest.mark.parametrize("damage", ["flipped", "cut", "empty"])
    def test_that_is_damaged_is_built_again(self, package, entry, damage):
        """OpenVINO's own cache would load the first of them and compute other numbers."""
        whole = entry.read_bytes()
        flipped = bytearray(whole)
        flipped[-len(whole) // 3] ^= 0x5A
        entry.write_bytes({"flipped": bytes(flipped), "cut": whole[:-9], "empty": b""}[damage])
        np.testing.assert_array_equal(output(package, entry.parent), output(package, None))
        key = present(next(cache.entries(entry.parent)).key)
        assert cache.load(entry.parent, key) is not None

    def test_that_openvino_does_not_take_is_built_again(self, package, entry):
        """Whole by our hash, and not a compiled graph: written by a program that went wrong."""
        key = present(next(cache.entries(entry.parent)).key)
        cache.store(entry.parent, key, b"not a compiled graph")
        np.testing.assert_array_equal(output(package, entry.parent), output(package, None))
        assert cache.load(entry.parent, key) != b"not a compiled graph"

    def test_threads_shape_and_package_each_have_their_own(self, package, entry, tmp_path_factory):
        other = make_package(tmp_path_factory.mktemp("other") / "cascade", CASCADE)
        output(other, entry.parent)
        open_sessions(package, RuntimeOptions(threads=2, cache_folder=entry.parent))["tiny"](BATCH)
        open_sessions(package, RuntimeOptions(threads=1, cache_folder=entry.parent))["tiny"](BATCH[:, :, 1:])
        assert len(list(entry.parent.iterdir())) == 4

    def test_each_instruction_set_and_each_cpu_has_its_own(self, package, entry, monkeypatch):
        """Clouds call all their CPUs by one name; oneDNN has chosen other kernels for each."""
        usual = isa_limit()
        monkeypatch.setenv("ONEDNN_MAX_CPU_ISA", "AVX512_CORE" if usual == "AVX2" else "AVX2")
        output(package, entry.parent)
        assert len(list(entry.parent.iterdir())) == 2
        monkeypatch.delenv("ONEDNN_MAX_CPU_ISA")
        if usual is not None:
            monkeypatch.setenv("ONEDNN_MAX_CPU_ISA", usual)
        monkeypatch.setattr("brain_edge.runtime.session.cpu_fingerprint", lambda: "another")
        output(package, entry.parent)
        assert len(list(entry.parent.iterdir())) == 3
        monkeypatch.setattr("brain_edge.runtime.session.runtime_version", lambda: "another")
        output(package, entry.parent)
        assert len(list(entry.parent.iterdir())) == 4

    def test_of_a_package_that_is_only_being_made_is_not_kept(self, package, tmp_path):
        unsealed = msgspec.structs.replace(package.manifest, files={})
        output(type(package)(package.folder, unsealed), tmp_path)
        assert not list(tmp_path.iterdir())


class TestTheFolder:
    def test_is_made(self, package, tmp_path):
        output(package, tmp_path / "some" / "where")
        assert len(list((tmp_path / "some" / "where").iterdir())) == 1

    def test_that_is_a_file_is_refused(self, package, tmp_path):
        (tmp_path / "file").write_text("")
        with pytest.raises(UsageError, match=r"file: expected a folder to write, got a file; choose another name"):
            output(package, tmp_path / "file")
        with pytest.raises(OutputError, match=r"cache: compiled graphs cannot be stored in this folder"):
            output(package, tmp_path / "file/cache")

    def test_that_is_not_there_cannot_be_listed(self, tmp_path):
        with pytest.raises(InputError, match="expected a folder of compiled graphs, found no such folder"):
            list(cache.entries(tmp_path / "none"))


class TestTheCommand:
    def test_lists_and_clears_what_a_run_has_kept(self, package, tmp_path):
        head, folder = save_phantom(tmp_path / "head.nii.gz"), tmp_path / "cache"
        run = ("run", package.folder, head, "-o", tmp_path / "mask.nii.gz", "--threads", 1, "--cache", folder)
        succeed(*run)
        (found,) = succeed("cache", "list", "--cache", folder, "--json").json
        assert (found["model"], found["graph"]) == ("tiny", "tiny")
        assert found["package_digest"] == open_package(package.folder).digest
        assert "tiny" in succeed("cache", "list", "--cache", folder).out
        (folder / "note.txt").write_text("mine")
        assert succeed("cache", "clear", "--cache", folder).out.startswith("removed 1 compiled graph")
        assert [path.name for path in folder.iterdir()] == ["note.txt"]

    def test_says_which_folder(self, tmp_path, monkeypatch):
        monkeypatch.setenv("BRAIN_EDGE_MODEL_CACHE", str(tmp_path))
        assert succeed("cache", "path").out == f"{tmp_path}\n"
        monkeypatch.setenv("BRAIN_EDGE_MODEL_CACHE", "none")
        assert "expected a folder of compiled graphs, got none" in refused(2, "cache", "path")

    def test_a_folder_that_cannot_be_written_is_refused(self, package, tmp_path):
        head, mask = save_phantom(tmp_path / "head.nii.gz"), tmp_path / "mask.nii.gz"
        (tmp_path / "file").write_text("")
        words = refused(1, "run", package.folder, head, "-o", mask, "--cache", tmp_path / "file/cache")
        assert "compiled graphs cannot be stored in this folder" in words
        assert not mask.exists()


class TestInstructionSets:
    def test_those_of_onednn_are_known_in_any_case(self):
        assert isa_limit({"ONEDNN_MAX_CPU_ISA": "avx2"}) == "AVX2"
        assert isa_limit({"DNNL_MAX_CPU_ISA": "AVX512_CORE_VNNI"}) == "AVX512_CORE_VNNI"
        assert isa_limit({}) is None

    def test_an_unknown_one_is_refused_with_the_list(self, package, monkeypatch):
        monkeypatch.setitem(os.environ, "ONEDNN_MAX_CPU_ISA", "AVX1024")
        with pytest.raises(
            UsageError, match=r"an instruction set that oneDNN knows, got 'AVX1024'; set one of SSE41, .*"
        ):
            open_sessions(package)

    def test_each_name_is_one_that_the_library_holds(self):
        import openvino

        (plugin,) = Path(next(iter(openvino.__path__)), "libs").glob("*intel_cpu_plugin*")
        content = plugin.read_bytes()
        missing = [name for name in KNOWN_ISAS if name.lower().encode() not in content]
        assert missing == []
