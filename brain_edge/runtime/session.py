"""OpenVINO: the only module of the runtime that imports it."""

from __future__ import annotations

from collections import OrderedDict
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from brain_edge.errors import BrainEdgeError, PackageError
from brain_edge.plan import known_inputs
from brain_edge.runtime.cpu import default_threads
from brain_edge.runtime.options import RuntimeOptions
from brain_edge.runtime.telemetry import forbid_telemetry
from brain_edge.spec import canonical_json

if TYPE_CHECKING:
    from collections.abc import Mapping
    from concurrent.futures import Future
    from pathlib import Path

    from brain_edge.package import ModelPackage, Precision
    from brain_edge.spec import ModelSpec
    from brain_edge.volume import FloatArray
    from brain_edge.windows import Session

RT_INFO: Final = "brain_edge"
"""Section of the IR's `rt_info` that holds the canonical JSON of the spec."""


def open_sessions(package: ModelPackage, options: RuntimeOptions | None = None) -> Mapping[str, Session]:
    """A session for each graph of a package, in the precision that the package pins.

    A graph is compiled for one shape, because static shapes are what the CPU plugin optimises for: in the background
    and at once where the spec fixes the shape, so that it is ready when the image has been read, and otherwise for
    the first volume that it sees.
    """
    pool = _Pool(package, options or RuntimeOptions())
    for graph, shape in known_inputs(package.spec):
        pool.expect(graph, shape)
    return {graph: _GraphSession(pool, graph) for graph in package.spec.graphs}


def runtime_version() -> str:
    """The version of OpenVINO that computes here."""
    return str(_openvino().get_version())


def cpu_capabilities() -> tuple[str, ...]:
    """What OpenVINO's CPU plugin says this CPU computes natively, such as FP32, BF16, INT8."""
    ov = _openvino()
    return tuple(ov.Core().get_property("CPU", "OPTIMIZATION_CAPABILITIES"))


class _GraphSession:
    """One graph; `Session` of `brain_edge.windows`."""

    def __init__(self, pool: _Pool, graph: str) -> None:
        self._pool = pool
        self._graph = graph

    def __call__(self, batch: FloatArray) -> FloatArray:
        request = self._pool.request(self._graph, batch.shape)
        try:
            output = request.infer({0: batch}, share_inputs=True, share_outputs=True)[0]
        except RuntimeError as error:
            raise BrainEdgeError(_runtime_problem(self._graph, batch.shape, error)) from error
        return np.asarray(output, dtype=np.float32)


class _Pool:
    """Compiled graphs, the least recently used given back first."""

    def __init__(self, package: ModelPackage, options: RuntimeOptions) -> None:
        ov = _openvino()
        self._package = package
        self._capacity = options.resident_graphs
        self._core = ov.Core()
        if options.cache_folder is not None:
            self._core.set_property({"CACHE_DIR": str(options.cache_folder)})
        self._properties = compile_properties(package.manifest.precision, options)
        self._requests: OrderedDict[tuple[str, tuple[int, ...]], Any] = OrderedDict()
        self._compiler = ThreadPoolExecutor(max_workers=1, thread_name_prefix="brain-edge-compile")
        self._coming: dict[tuple[str, tuple[int, ...]], Future[Any]] = {}

    def expect(self, graph: str, shape: tuple[int, ...]) -> None:
        """Begin to compile a graph that will be asked for; what goes wrong is said when it is."""
        self._coming[graph, shape] = self._compiler.submit(self._compile, graph, shape)

    def request(self, graph: str, shape: tuple[int, ...]) -> Any:
        key = (graph, shape)
        if key not in self._requests:
            while len(self._requests) >= self._capacity:
                self._requests.popitem(last=False)
            coming = self._coming.pop(key, None)
            self._requests[key] = coming.result() if coming is not None else self._compile(graph, shape)
        self._requests.move_to_end(key)
        return self._requests[key]

    def _compile(self, graph: str, shape: tuple[int, ...]) -> Any:
        try:
            model = read_graph(self._core, self._package.graph_file(graph), self._package.spec)
            model.reshape(list(shape))
            return self._core.compile_model(model, "CPU", self._properties).create_infer_request()
        except RuntimeError as error:
            raise BrainEdgeError(_runtime_problem(graph, shape, error)) from error


def compile_properties(precision: Precision, options: RuntimeOptions) -> dict[str, Any]:
    """OpenVINO's properties for one case at a time, as fast as possible, in exactly the pinned precision.

    `EXECUTION_MODE_HINT` stays at its default, because the precision hint alone decides; threads are ours,
    because OpenVINO does not see a cgroup quota.
    """
    return {
        "INFERENCE_PRECISION_HINT": str(precision),
        "PERFORMANCE_HINT": "LATENCY",
        "INFERENCE_NUM_THREADS": options.threads or default_threads(),
        "ENABLE_HYPER_THREADING": False,
    }


def read_graph(core: Any, path: Path, spec: ModelSpec) -> Any:
    """Read an IR and compare the spec that it carries with the manifest's.

    Raises:
        PackageError: the graph was made for another spec than the manifest states.
    """
    model = core.read_model(str(path))
    key = [RT_INFO, "spec"]
    carried = model.get_rt_info(key).astype(str) if model.has_rt_info(key) else None
    if carried != canonical_json(spec).decode():
        raise PackageError(
            f"{path}: the graph carries another model specification than the manifest; "
            "the parts of this package do not belong together, convert or copy it again"
        )
    return model


def _openvino() -> Any:
    forbid_telemetry()
    import openvino

    return openvino


def _runtime_problem(graph: str, shape: tuple[int, ...], error: RuntimeError) -> str:
    reason = (str(error).strip().splitlines() or ["it does not say why"])[-1]
    return (
        f"OpenVINO could not run the graph {graph} on an input of {' x '.join(map(str, shape))}: {reason}; "
        "if memory is short, close other programs or take a package with smaller windows"
    )
