"""OpenVINO runs the graph in the pinned precision, on the threads it is given, and calls nobody."""

from __future__ import annotations

import itertools
import json
import os
import subprocess
import sys
import time
from collections.abc import Generator
from concurrent.futures import ThreadPoolExecutor
from threading import Event, Lock
from types import SimpleNamespace
from typing import Any

import msgspec
import numpy as np
import pytest
from scipy import ndimage
from scipy.special import expit
from strategies import voxels
from tiny_package import CASCADE, PHANTOM, SPEC, STAGE, make_package, tiny_graph, tiny_weights

from brain_edge.errors import BrainEdgeError, UsageError
from brain_edge.image.phantom import make_volume
from brain_edge.io.nifti import write_image
from brain_edge.machine import isa
from brain_edge.machine.cpu import default_threads
from brain_edge.machine.options import RuntimeOptions
from brain_edge.package import Precision
from brain_edge.runtime.session import (
    GraphCompiler,
    SessionPool,
    compile_properties,
    cpu_capabilities,
    open_sessions,
    precision_here,
    runtime_version,
    streams_by_graph,
)
from brain_edge.spec import SlidingWindow, WholeVolume
from brain_edge_conversion.sealing.writer import seal

SHAPE = (1, 1, 12, 10, 14)
ONE_THREAD = RuntimeOptions(threads=1)


@pytest.fixture(scope="module")
def package(tmp_path_factory):
    return make_package(tmp_path_factory.mktemp("packages") / "tiny")


@pytest.fixture(scope="module")
def batch():
    """An input between 0 and 1, as the steps leave it."""
    return np.clip(voxels(SHAPE, 1) / 200, 0, 1)


def by_scipy(batch: np.ndarray) -> np.ndarray:
    """The tiny graph in float64."""
    weights, bias = tiny_weights()
    logits = ndimage.correlate(batch[0, 0].astype(np.float64), weights[1, 0], mode="constant") + bias[0, 1]
    return np.stack([expit(-logits), expit(logits)])[np.newaxis]


def compiled(package, options=ONE_THREAD):
    """The compiled model of the tiny graph, to ask OpenVINO itself."""
    session = open_sessions(package, options)["tiny"]
    return session._pool.ready("tiny", SHAPE).compiled


class TestPrecision:
    def test_f32_is_what_openvino_says_it_computes_in(self, package):
        assert compiled(package).get_property("INFERENCE_PRECISION_HINT").to_string() == "f32"

    @pytest.mark.skipif("BF16" not in cpu_capabilities(), reason="this CPU has no bf16, so there is nothing to pin")
    def test_without_the_pin_it_would_be_bf16(self):
        import openvino

        default = openvino.Core().compile_model(tiny_graph(), "CPU")
        assert default.get_property("INFERENCE_PRECISION_HINT").to_string() == "bf16"

    def test_f32_is_the_float64_result_to_rounding(self, package, batch):
        output = open_sessions(package, ONE_THREAD)["tiny"](batch)
        assert output.dtype == np.float32
        assert np.isfinite(output).all()
        np.testing.assert_allclose(output, by_scipy(batch), atol=1e-5)

    @pytest.mark.skipif("BF16" not in cpu_capabilities(), reason="this CPU has no bf16")
    def test_bf16_is_pinned_as_well_and_coarser(self, tmp_path, batch):
        coarse = make_package(tmp_path / "bf16", precision=Precision.BF16)
        assert compiled(coarse).get_property("INFERENCE_PRECISION_HINT").to_string() == "bf16"
        error = np.abs(open_sessions(coarse, ONE_THREAD)["tiny"](batch) - by_scipy(batch)).max()
        assert 1e-4 < error < 0.2

    def test_bf16_that_is_not_native_is_f32(self, package, monkeypatch):
        monkeypatch.setattr("brain_edge.runtime.session.cpu_capabilities", lambda: ("FP32", "INT8"))
        coarse = package.in_precision(Precision.BF16)
        assert compiled(coarse).get_property("INFERENCE_PRECISION_HINT").to_string() == "f32"
        assert precision_here(Precision.BF16) is precision_here(Precision.F32) is Precision.F32

    def test_norms_of_a_volume_are_summed_axis_by_axis_in_f32_alone(self, package, monkeypatch):
        """In bf16 the rounding of the numbers is larger than that of the plugin's sums."""
        from openvino import Model, opset13

        def graph(*_arguments):
            image = opset13.parameter([1, 1, -1, -1, -1], np.float32)
            return Model([opset13.mvn(image, np.array([2, 3, 4]), True, 1e-5, "inside_sqrt")], [image])

        monkeypatch.setattr("brain_edge.runtime.session.read_graph", graph)
        monkeypatch.setattr("brain_edge.runtime.session.cpu_capabilities", lambda: ("FP32", "BF16"))
        sums = {}
        for precision in Precision:
            compiler = GraphCompiler(package.in_precision(precision), ONE_THREAD, {"tiny": 1})
            nodes = compiler.model("tiny", (1, 1, 32, 32, 32)).get_ops()
            sums[precision] = sum(node.get_type_name() == "ReduceL2" for node in nodes)
        assert sums == {Precision.F32: 3, Precision.BF16: 0}


class TestOptions:
    @pytest.mark.skipif(not hasattr(os, "sched_getaffinity"), reason="this system has no affinity mask")
    @pytest.mark.parametrize("threads", [1, 2])
    def test_threads_are_those_asked_for(self, package, threads):
        model = compiled(package, RuntimeOptions(threads=threads))
        assert model.get_property("INFERENCE_NUM_THREADS") == min(threads, len(os.sched_getaffinity(0)))

    def test_windows_share_the_threads_and_a_whole_volume_has_them_all(self):
        def streams(execution, **options):
            stage = msgspec.structs.replace(STAGE, network=msgspec.structs.replace(STAGE.network, execution=execution))
            return streams_by_graph(msgspec.structs.replace(SPEC, stages=(stage,)), RuntimeOptions(**options))["tiny"]

        windows = SlidingWindow(shape=(8, 8, 8))
        assert streams(WholeVolume(), threads=8, streams=4) == 1
        assert (streams(windows, threads=8), streams(windows, threads=8, streams=4), streams(windows, threads=1)) == (
            2,
            4,
            1,
        )

    def test_threads_are_counted_where_none_are_asked_for(self):
        assert compile_properties(Precision.F32, RuntimeOptions())["INFERENCE_NUM_THREADS"] == default_threads()

    @pytest.mark.parametrize(
        ("name", "words"),
        [
            ("threads", "expected at least 1 thread, got 0"),
            ("streams", "expected streams of at least 1, got 0"),
            ("resident_graphs", "expected resident_graphs of at least 1, got 0"),
        ],
    )
    def test_less_than_one_is_refused(self, name, words):
        wrong: dict[str, Any] = {name: 0}
        with pytest.raises(UsageError, match=words):
            RuntimeOptions(**wrong)

    def test_a_cache_folder_keeps_compiled_graphs_and_changes_no_digit(self, package, batch, tmp_path):
        plain = open_sessions(package, ONE_THREAD)["tiny"](batch)
        cached = RuntimeOptions(threads=1, cache_folder=tmp_path)
        for _ in range(2):
            np.testing.assert_array_equal(open_sessions(package, cached)["tiny"](batch), plain)
        assert len(list(tmp_path.iterdir())) == 1


class TestSession:
    def test_outputs_are_the_callers_to_change(self, package, batch):
        """Until the next call: the array is lent, because a copy of 256^3 voxels costs as much as a step."""
        session = open_sessions(package, ONE_THREAD)["tiny"]
        expected = session(batch).copy()
        output = session(batch)
        output += 1
        np.testing.assert_array_equal(session(batch), expected)

    def test_inputs_are_not_changed(self, package, batch):
        read_only = batch.copy()
        read_only.setflags(write=False)
        open_sessions(package, ONE_THREAD)["tiny"](read_only)
        np.testing.assert_array_equal(read_only, batch)

    def test_the_same_input_gives_the_same_output_bit_for_bit(self, package, batch):
        session = open_sessions(package, ONE_THREAD)["tiny"]
        np.testing.assert_array_equal(session(batch), session(batch))
        np.testing.assert_array_equal(session(batch), open_sessions(package, ONE_THREAD)["tiny"](batch))

    def test_threads_share_a_graph_and_get_the_numbers_of_one_thread(self, package, batch):
        session = open_sessions(package, ONE_THREAD)["tiny"]
        inputs = [np.clip(batch + shift / 10, 0, 1) for shift in range(4)]
        expected = [session(each).copy() for each in inputs]

        def outputs_of(each):
            return [session(each).copy() for _ in range(20)]

        with ThreadPoolExecutor(max_workers=len(inputs)) as threads:
            found = list(threads.map(outputs_of, inputs))
        for outputs, wanted in zip(found, expected, strict=True):
            for output in outputs:
                np.testing.assert_array_equal(output, wanted)
        assert len(session._pool._ready) == 1

    @pytest.mark.parametrize("use", ["pass", "memory"])
    def test_memory_is_given_back_only_while_no_thread_needs_it(self, package, use):
        """OpenVINO refuses to release a graph that runs, or whose layers are being listed for its memory.

        Who would release it then has nothing to do.
        """
        batch = np.clip(voxels((1, 1, 96, 96, 96), 1) / 200, 0, 1).astype(np.float32)
        session = open_sessions(package, ONE_THREAD)["tiny"]
        expected = session(batch).copy()
        over = Event()

        def release():
            count = 0
            while not over.is_set():
                session.release()
                count += 1
            return count

        with ThreadPoolExecutor(max_workers=1) as other:
            released = other.submit(release)
            try:
                for _ in range(5 if use == "pass" else 0):
                    np.testing.assert_array_equal(session(batch), expected)
                for _ in range(80 if use == "memory" else 0):
                    assert session.memory(batch.shape).requests == 1
            finally:
                over.set()
            assert released.result() > 0

    def test_any_shape_of_volume_is_run(self, package):
        session = open_sessions(package, ONE_THREAD)["tiny"]
        for shape in ((1, 1, 5, 6, 7), (1, 1, 3, 3, 3), (1, 1, 16, 8, 4)):
            array = np.clip(voxels(shape, 2) / 200, 0, 1).astype(np.float32)
            np.testing.assert_allclose(session(array), by_scipy(array), atol=1e-5)

    def test_what_openvino_cannot_run_is_said_in_a_sentence(self, package):
        session = open_sessions(package, ONE_THREAD)["tiny"]
        with pytest.raises(BrainEdgeError, match=r"run the graph tiny on an input of 1 x 2 x 4 x 4 x 4: .*;"):
            session(np.zeros((1, 2, 4, 4, 4), dtype=np.float32))

    def test_a_graph_that_is_none_is_said_in_a_sentence(self, tmp_path, batch):
        package = make_package(tmp_path / "tiny")
        package.graph_file("tiny").write_text("<net>")
        resealed = seal(package.folder, package.manifest)
        with pytest.raises(BrainEdgeError, match=r"tiny\.xml: expected a graph of one input and one output"):
            open_sessions(resealed, ONE_THREAD)["tiny"](batch)


class TestManyWindows:
    """Several requests at a time."""

    @staticmethod
    def session(folder, threads):
        stage = msgspec.structs.replace(
            STAGE, network=msgspec.structs.replace(STAGE.network, execution=SlidingWindow(shape=(8, 8, 8)))
        )
        package = make_package(folder, msgspec.structs.replace(SPEC, stages=(stage,)))
        return open_sessions(package, RuntimeOptions(threads=threads))["tiny"]

    @pytest.mark.parametrize("threads", [1, 2])
    def test_come_in_their_order_and_are_what_one_call_gives(self, tmp_path, threads):
        session = self.session(tmp_path / "p", threads)
        batches = [np.clip(voxels((1, 1, 8, 8, 8), seed) / 200, 0, 1) for seed in range(9)]
        outputs = [output.copy() for output in session.run_many(batches)]
        for output, batch in zip(outputs, batches, strict=True):
            np.testing.assert_allclose(output, session(batch), atol=1e-6)

    def test_have_a_request_for_each_stream_and_one_that_waits(self, tmp_path):
        pool = self.session(tmp_path / "p", 2)._pool
        assert len(pool.ready("tiny", (1, 1, 8, 8, 8)).requests()) == 3
        pool.spare()
        pool.spare()
        assert len(pool.ready("tiny", (1, 1, 8, 8, 8)).requests()) == 1

    def test_none_are_none(self, tmp_path):
        assert list(self.session(tmp_path / "p", 2).run_many([])) == []

    def test_may_be_left_in_the_middle(self, tmp_path):
        session = self.session(tmp_path / "p", 2)
        batches = [np.clip(voxels((1, 1, 8, 8, 8), seed) / 200, 0, 1) for seed in range(9)]
        outputs = session.run_many(batches)
        next(outputs)
        outputs.close()
        np.testing.assert_allclose(next(session.run_many(batches)), session(batches[0]), atol=1e-6)

    def test_those_that_nobody_waits_for_any_more_are_cancelled(self, package):
        """They would write into memory that the caller may have given back; requests that only take notes stand in."""

        class Request:
            def __init__(self):
                self.heard, self.data = [], np.zeros(1)

            def start_async(self, _inputs, share_inputs):
                self.heard.append(f"start, {share_inputs}")

            def wait(self):
                self.heard.append("wait")

            def cancel(self):
                self.heard.append("cancel")

            def get_output_tensor(self, _number):
                return self

        requests = [Request() for _ in range(3)]
        session = open_sessions(package, ONE_THREAD)["tiny"]
        outputs = session._overlapped(requests, itertools.repeat(np.zeros(1, np.float32)), SHAPE)
        assert isinstance(outputs, Generator)
        next(outputs)
        outputs.close()
        assert [request.heard[-2:] for request in requests] == [["cancel", "wait"]] * 3

    def test_what_openvino_cannot_run_is_said_in_a_sentence(self, tmp_path):
        session = self.session(tmp_path / "p", 2)
        with pytest.raises(BrainEdgeError, match="OpenVINO could not run the graph tiny on an input of 1 x 2 x 4"):
            list(session.run_many([np.zeros((1, 2, 4, 4, 4), np.float32)] * 3))


def test_denormals_are_flushed_in_the_network_and_nowhere_else(package, batch):
    """OpenVINO sets the mode of the thread that compiles; numpy in the caller's must stay as IEEE 754 has it."""
    assert compiled(package).get_property("CPU_DENORMALS_OPTIMIZATION")
    open_sessions(package, ONE_THREAD)["tiny"](batch)
    assert (np.full(4, 1e-40, np.float32) * np.float32(1)).all()


class TestPool:
    SMALL, LARGE = (1, 1, 4, 4, 4), (1, 1, 6, 6, 6)

    @staticmethod
    def pool(folder, resident_graphs):
        package = make_package(folder, CASCADE)
        return open_sessions(package, RuntimeOptions(threads=1, resident_graphs=resident_graphs))["first"]._pool

    def test_one_resident_graph_gives_the_other_back(self, tmp_path):
        pool = self.pool(tmp_path / "p", 1)
        first = pool.ready("first", self.SMALL)
        assert pool.ready("first", self.SMALL) is first
        pool.ready("second", self.SMALL)
        assert pool.ready("first", self.SMALL) is not first

    def test_a_graph_that_failed_is_tried_again(self, tmp_path, monkeypatch):
        """Memory may be short for one patient, and not for the next."""
        pool = self.pool(tmp_path / "p", 1)

        def fails(*_arguments):
            raise RuntimeError("not enough memory")

        with monkeypatch.context() as patch:
            patch.setattr("brain_edge.runtime.session.read_graph", fails)
            with pytest.raises(BrainEdgeError, match="not enough memory"):
                pool.ready("first", self.SMALL)
        assert pool.ready("first", self.SMALL).streams == 1

    def test_two_stay(self, tmp_path):
        pool = self.pool(tmp_path / "p", 2)
        first, second = pool.ready("first", self.SMALL), pool.ready("second", self.SMALL)
        assert pool.ready("first", self.SMALL) is first
        assert pool.ready("second", self.SMALL) is second

    def test_the_least_recently_used_goes_first_and_a_shape_is_a_graph_of_its_own(self, tmp_path):
        pool = self.pool(tmp_path / "p", 2)
        first = pool.ready("first", self.SMALL)
        second = pool.ready("second", self.SMALL)
        pool.ready("first", self.SMALL)
        pool.ready("first", self.LARGE)
        assert pool.ready("first", self.SMALL) is first
        assert pool.ready("second", self.SMALL) is not second


def test_version_and_capabilities_are_openvinos():
    import openvino

    assert runtime_version() == openvino.get_version()
    assert "FP32" in cpu_capabilities()


@pytest.mark.parametrize(
    ("limit", "has_bf16"),
    [(None, True), ("DEFAULT", True), ("AVX512_CORE_AMX", True), ("AVX512_CORE", False), ("AVX2", False)],
)
def test_a_limit_without_bf16_takes_bf16_away(monkeypatch: pytest.MonkeyPatch, limit: str | None, has_bf16: bool):
    """OpenVINO asks the CPU alone, and then has no kernel: "object is not initialized"."""

    class Core:
        def get_property(self, _device: str, _name: str) -> list[str]:
            return ["BF16", "FP32"]

    monkeypatch.setattr("brain_edge.runtime.session.import_openvino", lambda: SimpleNamespace(Core=Core))
    monkeypatch.delenv("ONEDNN_MAX_CPU_ISA", raising=False)
    if limit is not None:
        monkeypatch.setenv("ONEDNN_MAX_CPU_ISA", limit)
    assert ("BF16" in cpu_capabilities()) is has_bf16


@pytest.mark.parametrize(
    ("limit", "flags", "hidden"),
    [
        ("AVX2", "avx2 avx512f", True),
        ("avx2_vnni", "avx2 avx512f", True),
        ("AVX2", "avx2", False),
        ("AVX512_CORE", "avx2 avx512f", False),
        (None, "avx2 avx512f", False),
    ],
)
def test_a_limit_hides_avx512_from_a_cpu_that_has_it(
    monkeypatch: pytest.MonkeyPatch, limit: str | None, flags: str, hidden: bool
):
    monkeypatch.setattr(isa, "_line_of_flags", lambda: f"flags : {flags}")
    monkeypatch.delenv("ONEDNN_MAX_CPU_ISA", raising=False)
    if limit is not None:
        monkeypatch.setenv("ONEDNN_MAX_CPU_ISA", limit)
    assert isa.limit_hides_avx512() is hidden


AUDITED = """
import json, os, sys
package, image, mask, report = sys.argv[1:]
heard = []
package_folder = os.path.abspath(package)
FORBIDDEN = {"pickle.find_class", "subprocess.Popen", "os.system", "socket.connect", "socket.getaddrinfo"}
def listen(event, arguments):
    if event in FORBIDDEN:
        heard.append(event)
    if event == "import" and str(arguments[1]).startswith(package_folder):
        heard.append(event)
sys.addaudithook(listen)
sys.path.insert(0, os.getcwd())
from brain_edge import Segmenter, open_package, read, write_mask
volume = read(image)
write_mask(Segmenter.open(open_package(package))(volume).mask, volume, mask)
loaded = [name for name, module in sys.modules.items() if module is not None and "telemetry" in name]
with open(report, "w") as file:
    json.dump({"heard": heard, "telemetry": loaded}, file)
"""


@pytest.fixture(scope="module")
def audited(package, tmp_path_factory):
    """A run in a process of its own, without CI=true (which would silence telemetry), in a home that is empty."""
    place = tmp_path_factory.mktemp("audited")
    home = place / "home"
    home.mkdir()
    for name in ("evil.py", "sitecustomize.py", "graphs/evil.py"):
        (package.folder / name).write_text("raise SystemExit('executed')\n")
    write_image(make_volume(PHANTOM), place / "head.nii.gz")
    silent = ("CI", "XDG_CACHE_HOME", "XDG_CONFIG_HOME", "XDG_DATA_HOME")
    environment = {name: value for name, value in os.environ.items() if name not in silent}
    environment |= {"HOME": str(home), "USERPROFILE": str(home), "PYTHONDONTWRITEBYTECODE": "1"}
    report = place / "report.json"
    files = [package.folder, place / "head.nii.gz", place / "mask.nii.gz", report]
    subprocess.run(
        [sys.executable, "-W", "error", "-c", AUDITED, *map(str, files)],
        check=True,
        env=environment,
        cwd=package.folder,
        timeout=120,
    )
    assert (place / "mask.nii.gz").is_file()
    return {**json.loads(report.read_text()), "home": sorted(home.rglob("*"))}


class TestAnAuditedRun:
    def test_executes_unpickles_and_calls_nothing(self, audited):
        assert audited["heard"] == []

    def test_loads_no_telemetry(self, audited):
        """`openvino_telemetry` is installed here, and OpenVINO would import it; its own stub is what is left."""
        import importlib.util

        assert importlib.util.find_spec("openvino_telemetry") is not None or "openvino_telemetry" in sys.modules
        assert not [name for name in audited["telemetry"] if name.startswith("openvino_telemetry")]

    def test_leaves_the_home_folder_empty(self, audited):
        assert audited["home"] == []


@pytest.mark.parametrize(("threads", "at_once"), [(1, 1), (2, 2), (8, 2)])
def test_two_graphs_are_compiled_at_a_time_and_no_more_than_there_are_threads(package, monkeypatch, threads, at_once):
    running, most, lock = 0, 0, Lock()

    def compile_slowly(*_arguments):
        nonlocal running, most
        with lock:
            running += 1
            most = max(most, running)
        time.sleep(0.2)
        with lock:
            running -= 1

    monkeypatch.setattr(GraphCompiler, "compile", compile_slowly)
    pool = SessionPool(GraphCompiler(package, RuntimeOptions(threads=threads), {"tiny": 1}), 4)
    for coming in [pool.expect("tiny", (1, 1, side, 8, 8)) for side in (8, 9, 10)]:
        coming.result()
    assert most == at_once
