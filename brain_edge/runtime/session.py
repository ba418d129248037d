"""Sessions: the graphs of a package, compiled by OpenVINO for the shapes that come."""

from __future__ import annotations

import itertools
import logging
from collections import OrderedDict, deque
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from threading import Lock, RLock, local
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from brain_edge import __version__
from brain_edge.errors import BrainEdgeError, InputError
from brain_edge.machine.cpu import default_threads
from brain_edge.machine.isa import cpu_fingerprint, isa_limit
from brain_edge.machine.options import RuntimeOptions
from brain_edge.machine.process import return_free_memory
from brain_edge.package import Precision, graph_path
from brain_edge.runtime import cache
from brain_edge.runtime.cache import require_cache_folder
from brain_edge.runtime.graph_file import read_graph
from brain_edge.runtime.graph_memory import graph_memory_of
from brain_edge.runtime.library import import_openvino, operations
from brain_edge.runtime.rewrites.f32 import rewrite_for_f32
from brain_edge.spec.plan import known_inputs

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping
    from concurrent.futures import Future

    from brain_edge.image.volume import FloatArray
    from brain_edge.package import ModelPackage
    from brain_edge.runtime.protocol import GraphMemory
    from brain_edge.spec import ModelSpec

FLUSH_DENORMALS: Final = {"CPU_DENORMALS_OPTIMIZATION": True}
"""Numbers too small for the exponent of a float count as zero: they mean nothing in a network, and cost a hundred times
the time of others. OpenVINO sets this for the thread that compiles, too, which therefore is never the caller's."""

AHEAD_BYTES: Final = 32 * 2**20
"""Weights of the graphs that are compiled while the first image is read. Both networks of deepbet are 17 MiB, one
fold of HD-BET is 62."""

LITTLE_MEMORY: Final = "if memory is short, close other programs or take a package with smaller windows"
OTHER_SIZE: Final = "the network is made for other sizes; take a package whose steps pad to those (pad_to_multiple)"

DEFAULT_STREAMS: Final = 2
"""Windows at a time, each on its share of the threads, which then need not wait for each other between layers; see
docs/decisions/0013 and benchmarks/bench_streams.py."""


def open_sessions(
    package: ModelPackage, options: RuntimeOptions | None = None, spec: ModelSpec | None = None
) -> dict[str, GraphSession]:
    """A session for each graph that a spec needs of a package, in the precision that the package pins.

    A graph is compiled for one shape, because static shapes are what the CPU plugin optimises for: in the background
    and at once where the spec fixes the shape, so that it is ready when the image has been read, and otherwise for
    the first volume that it sees. Of many graphs only the first ones are compiled at once, see `AHEAD_BYTES`. The spec
    is the package's own unless given.

    Raises:
        UsageError: the variable that limits the instruction set names none.
        OutputError: the cache folder cannot be written to.
    """
    isa_limit()
    chosen, steps = options or RuntimeOptions(), spec or package.spec
    pool = SessionPool(GraphCompiler(package, chosen, streams_by_graph(steps, chosen)), chosen.resident_graphs)
    for graph, shape in compiled_ahead(package, steps):
        pool.expect(graph, shape)
    return {graph: GraphSession(pool, graph) for graph in steps.graphs}


def compiled_ahead(package: ModelPackage, spec: ModelSpec) -> Iterator[tuple[str, tuple[int, ...]]]:
    """Graphs of known input that are compiled before they are asked for: the first, and more while they are small.

    All of them at once would hold an ensemble's weights for the whole case, of which one network runs at a time.
    """
    ahead = 0
    for number, (graph, shape) in enumerate(known_inputs(spec)):
        ahead += package.graph_file(graph).with_suffix(".bin").stat().st_size
        if number and ahead > AHEAD_BYTES:
            return
        yield graph, shape


def runtime_version() -> str:
    """The version of OpenVINO that computes here."""
    return str(import_openvino().get_version())


def cpu_capabilities() -> tuple[str, ...]:
    """What OpenVINO's CPU plugin says this CPU computes natively, such as FP32, BF16, INT8."""
    ov = import_openvino()
    return tuple(ov.Core().get_property("CPU", "OPTIMIZATION_CAPABILITIES"))


class GraphSession:
    """One graph; a `brain_edge.runtime.protocol.Session` with `run_many`."""

    def __init__(self, pool: SessionPool, graph: str) -> None:
        self._pool = pool
        self._graph = graph

    def __call__(self, batch: FloatArray) -> FloatArray:
        """Run the graph once."""
        with self._pool.ready(self._graph, batch.shape).running() as requests:
            try:
                requests[0].start_async({0: batch}, share_inputs=True)
            except RuntimeError as error:
                raise BrainEdgeError(_runtime_problem(self._graph, batch.shape, error)) from error
            return self._awaited(requests[0], batch.shape)

    def run_many(self, batches: Iterable[FloatArray]) -> Iterator[FloatArray]:
        """Outputs in the order of their inputs; each is valid until the next is asked for."""
        inputs = iter(batches)
        first = next(inputs, None)
        if first is None:
            return
        ready = self._pool.ready(self._graph, first.shape)
        if ready.streams == 1:
            yield from map(self, itertools.chain([first], inputs))
            return
        with ready.running() as requests:
            yield from self._overlapped(requests, itertools.chain([first], inputs), first.shape)

    def memory(self, shape: tuple[int, ...]) -> GraphMemory:
        """What the graph takes for an input of this shape."""
        return self._pool.memory(self._graph, shape)

    def spare(self) -> bool:
        """Take less from now on; False where nothing is left to be spared."""
        return self._pool.spare()

    def release(self) -> None:
        """Give back the memory of intermediate results; the next call takes it again."""
        self._pool.release()

    def _overlapped(
        self, requests: list[Any], batches: Iterable[FloatArray], shape: tuple[int, ...]
    ) -> Iterator[FloatArray]:
        free, waiting = deque(requests), deque[Any]()
        try:
            for batch in batches:
                if not free:
                    yield self._awaited(waiting[0], shape)
                    free.append(waiting.popleft())
                free[0].start_async({0: batch}, share_inputs=True)
                waiting.append(free.popleft())
            while waiting:
                yield self._awaited(waiting[0], shape)
                waiting.popleft()
        finally:
            # what the caller does not want any more must not write into memory that it may have given back
            for request in waiting:
                request.cancel()
                with suppress(RuntimeError):
                    request.wait()

    def _awaited(self, request: Any, shape: tuple[int, ...]) -> FloatArray:
        try:
            request.wait()
        except RuntimeError as error:
            raise BrainEdgeError(_runtime_problem(self._graph, shape, error)) from error
        return np.asarray(request.get_output_tensor(0).data, dtype=np.float32)


class CompiledGraph:
    """A graph that is ready for one shape, for any thread.

    Args:
        compiled: OpenVINO's model.
        streams: passes of it that run at the same time.
    """

    def __init__(self, compiled: Any, streams: int) -> None:
        self.compiled = compiled
        self.streams = streams
        self._own = local()
        self._lock = Lock()
        self._running = 0

    @contextmanager
    def running(self) -> Iterator[list[Any]]:
        """The requests of the calling thread, while they are in use."""
        with self._lock:
            self._running += 1
        try:
            yield self.requests()
        finally:
            with self._lock:
                self._running -= 1

    def release(self) -> None:
        """Give back the memory of intermediate results, unless another thread is about to need it."""
        with self._lock:
            if not self._running:
                self.compiled.release_memory()

    def requests(self) -> list[Any]:
        """Those of the calling thread: one, or one for each stream and one that waits."""
        if not hasattr(self._own, "requests"):
            count = 1 if self.streams == 1 else self.streams + 1
            self._own.requests = [self.compiled.create_infer_request() for _ in range(count)]
        requests: list[Any] = self._own.requests
        return requests


class SessionPool:
    """Compiled graphs, the least recently used given back first.

    Threads share the graphs, and each has requests of its own: while the network of one case runs on all cores, the
    next case waits for it and does not fight for them.
    """

    def __init__(self, compiler: GraphCompiler, resident_graphs: int) -> None:
        self._compiler = compiler
        self._capacity = resident_graphs
        self._ready: OrderedDict[tuple[str, tuple[int, ...]], CompiledGraph] = OrderedDict()
        self._worker = ThreadPoolExecutor(max_workers=1, thread_name_prefix="brain-edge-compile")
        self._coming: dict[tuple[str, tuple[int, ...]], Future[CompiledGraph]] = {}
        self._lock = RLock()

    def expect(self, graph: str, shape: tuple[int, ...]) -> Future[CompiledGraph]:
        """Begin to compile a graph that will be asked for; what goes wrong is said when it is."""
        with self._lock:
            if (graph, shape) not in self._coming:
                # never in the caller's thread, whose small numbers OpenVINO would flush to zero from then on
                self._coming[graph, shape] = self._worker.submit(self._compiler.compile, graph, shape)
            return self._coming[graph, shape]

    def ready(self, graph: str, shape: tuple[int, ...]) -> CompiledGraph:
        """A graph, compiled if it was not."""
        key = (graph, shape)
        with self._lock:
            if key not in self._ready:
                self._make_room()
                coming = self.expect(graph, shape)
            else:
                self._ready.move_to_end(key)
                return self._ready[key]
        try:
            found = coming.result()
        finally:
            with self._lock:
                self._coming.pop(key, None)
        with self._lock:
            if key not in self._ready:
                self._make_room()
                self._ready[key] = found
            return self._ready[key]

    def memory(self, graph: str, shape: tuple[int, ...]) -> GraphMemory:
        """What a graph takes when it runs, from its execution graph; another one that is ready stays."""
        coming = self._coming.get((graph, shape))
        found = coming.result() if coming is not None else self.ready(graph, shape)
        return graph_memory_of(found.requests())

    def spare(self) -> bool:
        """Keep no graph but the one that runs; if that was so, compute one window at a time; False if that was so."""
        with self._lock:
            if self._capacity > 1:
                self._capacity = 1
                while len(self._ready) > 1:
                    self._ready.popitem(last=False)
                return True
            if not self._compiler.use_one_stream():
                return False
            self._ready.clear()
            self._coming.clear()
            return True

    def release(self) -> None:
        """Give back the memory of intermediate results of all graphs that are ready."""
        with self._lock:
            ready = list(self._ready.values())
        for graph in ready:
            graph.release()
        return_free_memory()

    def _make_room(self) -> None:
        """Give back graphs until one more may be ready."""
        while len(self._ready) >= self._capacity:
            self._ready.popitem(last=False)
            return_free_memory()


class GraphCompiler:
    """Graphs of a package for given shapes: from the cache where it has them, compiled and kept there otherwise."""

    def __init__(self, package: ModelPackage, options: RuntimeOptions, streams: Mapping[str, int]) -> None:
        self._package = package
        self._options = options
        self._core = import_openvino().Core()
        self._streams = dict(streams)
        if options.cache_folder is not None:
            require_cache_folder(options.cache_folder)

    def compile(self, graph: str, shape: tuple[int, ...]) -> CompiledGraph:
        """A graph, ready for inputs of one shape.

        Raises:
            BrainEdgeError: OpenVINO cannot compile it.
            PackageError: see `read_graph`.
        """
        streams = self._streams[graph]
        try:
            return CompiledGraph(self._compiled(graph, shape, self.properties(graph)), streams)
        except RuntimeError as error:
            raise BrainEdgeError(_runtime_problem(graph, shape, error)) from error

    def use_one_stream(self) -> bool:
        """One window at a time from now on; False where it was so."""
        changed = any(streams > 1 for streams in self._streams.values())
        self._streams = dict.fromkeys(self._streams, 1)
        return changed

    def properties(self, graph: str) -> dict[str, Any]:
        """What a graph is compiled with."""
        properties = compile_properties(self._package.manifest.precision, self._options, self._streams[graph])
        return {**properties, **FLUSH_DENORMALS}

    def model(self, graph: str, shape: tuple[int, ...]) -> Any:
        """The `openvino.Model` of a graph as it is compiled for an input of this shape.

        Raises:
            InputError: the graph takes inputs of other shapes.
        """
        model = read_graph(self._package.graph_file(graph), self._package.spec)
        try:
            model.reshape(list(shape))
        except RuntimeError as error:
            raise InputError(_runtime_problem(graph, shape, error, OTHER_SIZE)) from error
        if self._package.manifest.precision is Precision.F32:
            rewrite_for_f32(model, operations())
        return model

    def _compiled(self, graph: str, shape: tuple[int, ...], properties: dict[str, Any]) -> Any:
        folder, key = self._options.cache_folder, self._key(graph, shape, properties)
        if folder is None or key is None:
            return self._core.compile_model(self.model(graph, shape), "CPU", properties)
        blob = cache.load(folder, key)
        if blob is not None:
            with suppress(RuntimeError):  # whole, and still not what this OpenVINO takes: it is built again
                return self._core.import_model(blob, "CPU", properties)
        compiled = self._core.compile_model(self.model(graph, shape), "CPU", properties)
        try:
            cache.store(folder, key, compiled.export_model().getvalue())
        except BrainEdgeError as error:
            # a full disk costs the next process half a second, not this patient the mask
            logging.getLogger(__name__).warning("the compiled graph %s was not kept: %s", graph, error)
        return compiled

    def _key(self, graph: str, shape: tuple[int, ...], properties: dict[str, Any]) -> cache.GraphKey | None:
        """None for a package that is only being made: its files have no hashes yet."""
        manifest = self._package.manifest
        xml = graph_path(graph)
        files = [manifest.files.get(xml), manifest.files.get(xml.removesuffix(".xml") + ".bin")]
        hashes = [record.sha256 for record in files if record is not None]
        if len(hashes) != len(files):
            return None
        device = self._core.get_property("CPU", "FULL_DEVICE_NAME")
        return cache.GraphKey(
            package_digest=self._package.digest,
            model=self._package.spec.name,
            graph=graph,
            graph_sha256=(hashes[0], hashes[1]),
            shape=shape,
            program=__version__,
            openvino=runtime_version(),
            isa=f"{device}, flags {cpu_fingerprint()}, at most {isa_limit() or 'all'}",
            properties={name: str(value) for name, value in properties.items()},
        )


def compile_properties(precision: Precision, options: RuntimeOptions, streams: int = 1) -> dict[str, Any]:
    """OpenVINO's properties for one case at a time, as fast as possible, in exactly the pinned precision.

    `EXECUTION_MODE_HINT` stays at its default, because the precision hint alone decides; threads are ours,
    because OpenVINO does not see a cgroup quota.
    """
    return {
        "INFERENCE_PRECISION_HINT": str(precision),
        "PERFORMANCE_HINT": "LATENCY",
        "NUM_STREAMS": streams,
        "INFERENCE_NUM_THREADS": options.threads or default_threads(),
        "ENABLE_HYPER_THREADING": False,
        # a thread that is tied to a core waits for what another case, or another program, does there
        "ENABLE_CPU_PINNING": False,
    }


def streams_by_graph(spec: ModelSpec, options: RuntimeOptions) -> dict[str, int]:
    """How many windows of each graph are computed at the same time; 1 where it sees the volume as a whole."""
    threads = options.threads or default_threads()
    streams = min(options.streams or DEFAULT_STREAMS, threads)
    windowed = {graph for stage in spec.stages if stage.network.execution.is_streamed for graph in stage.network.graphs}
    return {graph: streams if graph in windowed else 1 for graph in spec.graphs}


def _runtime_problem(graph: str, shape: tuple[int, ...], error: RuntimeError, remedy: str = LITTLE_MEMORY) -> str:
    reason = (str(error).strip().splitlines() or ["it does not say why"])[-1]
    return f"OpenVINO could not run the graph {graph} on an input of {' x '.join(map(str, shape))}: {reason}; {remedy}"
