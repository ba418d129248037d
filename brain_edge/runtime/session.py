"""Sessions: the graphs of a package, compiled by OpenVINO for each input shape."""

from __future__ import annotations

import itertools
from collections import OrderedDict, deque
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from functools import cache
from threading import Lock, RLock, local
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from brain_edge import __version__
from brain_edge.errors import BrainEdgeError, InputError
from brain_edge.image.repeated import RepeatedPlanes
from brain_edge.machine.cpu import default_threads
from brain_edge.machine.isa import cpu_fingerprint, is_x86, isa_limit, limit_allows_bf16, limit_hides_avx512
from brain_edge.machine.options import RuntimeOptions
from brain_edge.machine.process import require_free, return_free_memory
from brain_edge.package import Precision, graph_path
from brain_edge.runtime.cache import GraphKey
from brain_edge.runtime.graph_file import read_graph
from brain_edge.runtime.graph_memory import graph_memory_of
from brain_edge.runtime.kept_graphs import KeptGraphs
from brain_edge.runtime.library import import_openvino, operations
from brain_edge.runtime.reason import runtime_problem
from brain_edge.runtime.rewrites.copied_planes import copy_planes
from brain_edge.runtime.rewrites.f32 import rewrite_for_f32
from brain_edge.runtime.rewrites.norm_sums import write_out_odd_norms
from brain_edge.runtime.rewrites.strided_stem import split_stem
from brain_edge.spec.plan import copying_graphs, known_inputs

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Iterator, Mapping
    from concurrent.futures import Future

    from brain_edge.image.volume import FloatArray
    from brain_edge.package import ModelPackage
    from brain_edge.runtime.protocol import GraphMemory
    from brain_edge.spec import ModelSpec

FLUSH_DENORMALS: Final = {"CPU_DENORMALS_OPTIMIZATION": True}
"""Denormal numbers count as zero: they mean nothing in a network, and take a hundred times as long. OpenVINO also sets
this for the compiling thread, which therefore is never the caller's."""

AHEAD_BYTES: Final = 32 * 2**20
"""Bytes of weights of the graphs that are compiled while the first image is read. Both networks of deepbet have 17 MiB,
one fold of HD-BET has 62 MiB."""

AT_ONCE: Final = 2
"""Largest number of graphs that are compiled at the same time, each on one core; no more than the package's threads."""

LIBRARY_BYTES: Final = 32 * 2**20
"""Memory that OpenVINO takes when it is loaded."""
LIBRARY_ADDRESSES_BYTES: Final = 192 * 2**20
"""Address space that its libraries and pools reserve, most of it without touching it."""
THREAD_ADDRESSES_BYTES: Final = 72 * 2**20
"""Address space of a thread: a stack of 8 MiB, and a heap of 64 MiB of its own (glibc)."""
COMPILER_BYTES: Final = 64 * 2**20
"""Memory that OpenVINO takes to compile a graph without weights."""
COMPILER_COPIES: Final = 4
"""Copies of the weights that it makes on the way: of the file, of the rewritten graph, in the order of its kernels."""
OTHER_SIZE: Final = "use a package whose steps pad to the sizes of its network (pad_to_multiple)"

DEFAULT_STREAMS: Final = 2
"""Number of windows at a time, each on its share of the threads, which then need not wait for each other between
layers; see docs/decisions/0013 and benchmarks/bench_streams.py."""


def open_sessions(
    package: ModelPackage, options: RuntimeOptions | None = None, spec: ModelSpec | None = None
) -> dict[str, GraphSession]:
    """Open a session for each graph that a spec needs from a package, in the precision that the package pins.

    A graph is compiled for one shape, because the CPU plugin optimises static shapes. If the spec fixes the shape, the
    graph is compiled at once in the background, so that it is ready when the image has been read. Otherwise it is
    compiled for the first volume. Of many graphs only the first are compiled at once; see `AHEAD_BYTES`. By default the
    spec is the package's own. A CPU without native bf16 runs a bf16 package in f32.

    Raises:
        UsageError: the variable that limits the instruction set has an unknown value.
        OutputError: the cache folder is not writable.
    """
    isa_limit()
    chosen, steps = options or RuntimeOptions(), spec or package.spec
    compiler = GraphCompiler(package, chosen, streams_by_graph(steps, chosen), copying_graphs(steps))
    pool = SessionPool(compiler, chosen.resident_graphs)
    for graph, shape in compiled_ahead(package, steps):
        pool.expect(graph, shape)
    return {graph: GraphSession(pool, graph) for graph in steps.graphs}


def compiled_ahead(package: ModelPackage, spec: ModelSpec) -> Iterator[tuple[str, tuple[int, ...]]]:
    """Yield graphs of known input that are compiled in advance: the first, and more as long as they are small.

    To compile all in advance would keep all weights of an ensemble in memory, although one network runs at a time.
    """
    ahead = 0
    for number, (graph, shape) in enumerate(known_inputs(spec)):
        ahead += package.graph_file(graph).with_suffix(".bin").stat().st_size
        if number and ahead > AHEAD_BYTES:
            return
        yield graph, shape


def require_start(options: RuntimeOptions, more_threads: int = 0) -> None:
    """Make sure that OpenVINO can be loaded and start its threads, beside threads of the caller.

    Raises:
        InputError: there is not enough memory.
    """
    threads = (options.threads or default_threads()) + more_threads
    require_free(LIBRARY_BYTES, "OpenVINO", LIBRARY_ADDRESSES_BYTES + threads * THREAD_ADDRESSES_BYTES)


def runtime_version() -> str:
    """Return the version of OpenVINO in use."""
    return str(import_openvino().get_version())


def cpu_capabilities() -> tuple[str, ...]:
    """Return the number formats that this CPU computes natively under the user's limit, such as FP32, BF16, INT8."""
    known = import_openvino().Core().get_property("CPU", "OPTIMIZATION_CAPABILITIES")
    return tuple(each for each in known if each != "BF16" or limit_allows_bf16())


def precision_here(pinned: Precision) -> Precision:
    """Return the precision in which a package runs on this CPU: f32 in place of bf16 that is not native."""
    return pinned if pinned is Precision.F32 or "BF16" in cpu_capabilities() else Precision.F32


class GraphSession:
    """Session of one graph: a `brain_edge.runtime.protocol.Session` with `run_many`."""

    def __init__(self, pool: SessionPool, graph: str) -> None:
        self._pool = pool
        self._graph = graph

    @property
    def copies_planes(self) -> bool:
        """True if the graph copies the planes of a volume itself."""
        return self._pool.copies_planes(self._graph)

    def __call__(self, batch: FloatArray | RepeatedPlanes) -> FloatArray:
        """Run the graph once."""
        with self._pool.ready(self._graph, batch.shape).running() as requests:
            with _in_words(self._graph, batch.shape):
                requests[0].start_async(self._inputs(batch), share_inputs=True)
            return self._awaited(requests[0], batch.shape)

    def run_many(self, batches: Iterable[FloatArray]) -> Iterator[FloatArray]:
        """Yield outputs in the order of their inputs; each is valid until the next is requested."""
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

    def foresee(self, shape: tuple[int, ...]) -> None:
        """Begin to compile the graph for an input of this shape in the background."""
        self._pool.foresee(self._graph, shape)

    def forget(self, shape: tuple[int, ...]) -> None:
        """Give up a graph that was begun in the background, because its input will not come."""
        self._pool.forget(self._graph, shape)

    def memory(self, shape: tuple[int, ...]) -> GraphMemory:
        """Return the memory of the graph for an input of this shape."""
        return self._pool.memory(self._graph, shape)

    def spare(self) -> bool:
        """Use less memory from now on; return False if nothing more can be saved."""
        return self._pool.spare()

    def release(self) -> None:
        """Release the memory of intermediate results; the next call allocates it again."""
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
                with _in_words(self._graph, shape):
                    free[0].start_async(self._inputs(batch), share_inputs=True)
                waiting.append(free.popleft())
            while waiting:
                yield self._awaited(waiting[0], shape)
                waiting.popleft()
        finally:
            # requests that the caller no longer needs must not write into memory that it may have released
            for request in waiting:
                request.cancel()
                with suppress(RuntimeError):
                    request.wait()

    def _inputs(self, batch: FloatArray | RepeatedPlanes) -> dict[int, Any]:
        """Return the inputs of the compiled graph; a graph that copies planes takes those that are there already."""
        if isinstance(batch, RepeatedPlanes):
            return {0: batch.voxels, 1: batch.planes}
        return {0: batch, 1: _all_planes(batch.shape[-1])} if self.copies_planes else {0: batch}

    def _awaited(self, request: Any, shape: tuple[int, ...]) -> FloatArray:
        with _in_words(self._graph, shape):
            request.wait()
        return np.asarray(request.get_output_tensor(0).data, dtype=np.float32)


class CompiledGraph:
    """A graph that is compiled for one shape, usable by any thread.

    Args:
        compiled: compiled model of OpenVINO.
        streams: number of passes that run at the same time.
        graph: name of the graph, for messages.
        shape: shape of the network's input.
    """

    def __init__(self, compiled: Any, streams: int, graph: str, shape: tuple[int, ...]) -> None:
        self.compiled = compiled
        self.streams = streams
        self._graph = graph
        self._shape = shape
        self._own = local()
        self._lock = Lock()
        self._running = 0

    @contextmanager
    def running(self) -> Iterator[list[Any]]:
        """Provide the requests of the calling thread, and mark them as in use."""
        with self._lock:
            self._running += 1
        try:
            yield self.requests()
        finally:
            with self._lock:
                self._running -= 1

    def release(self) -> None:
        """Release intermediate results and the requests of all threads, unless a thread is using them.

        An output that is still in use keeps its memory. Without this, each thread of a batch would keep its requests.
        """
        with self._lock:
            if not self._running:
                self._own = local()
                self.compiled.release_memory()

    def requests(self) -> list[Any]:
        """Return the requests of the calling thread: one, or one per stream and one that waits.

        Raises:
            BrainEdgeError: OpenVINO cannot make them, usually for want of memory.
        """
        if not hasattr(self._own, "requests"):
            count = 1 if self.streams == 1 else self.streams + 1
            with _in_words(self._graph, self._shape):
                self._own.requests = [self.compiled.create_infer_request() for _ in range(count)]
        requests: list[Any] = self._own.requests
        return requests


class SessionPool:
    """Pool of compiled graphs, from which the least recently used is released first.

    Threads share the graphs, and each thread has its own requests. While the network of one case runs on all cores, the
    next case waits instead of competing for them.
    """

    def __init__(self, compiler: GraphCompiler, resident_graphs: int) -> None:
        self._compiler = compiler
        self._capacity = resident_graphs
        self._ready: OrderedDict[tuple[str, tuple[int, ...]], CompiledGraph] = OrderedDict()
        self._worker = ThreadPoolExecutor(min(compiler.threads, AT_ONCE), thread_name_prefix="brain-edge-compile")
        self._coming: dict[tuple[str, tuple[int, ...]], Future[CompiledGraph]] = {}
        self._lock = RLock()

    def expect(self, graph: str, shape: tuple[int, ...]) -> Future[CompiledGraph]:
        """Begin to compile a graph that will be needed; errors are raised when it is requested."""
        with self._lock:
            if (graph, shape) not in self._coming:
                # never in the caller's thread, in which OpenVINO would then flush denormal numbers to zero
                self._coming[graph, shape] = self._worker.submit(self._compiler.compile, graph, shape)
            return self._coming[graph, shape]

    def foresee(self, graph: str, shape: tuple[int, ...]) -> None:
        """Begin to compile a graph that is expected for one case, unless it is compiled already."""
        with self._lock:
            if (graph, shape) not in self._ready:
                self.expect(graph, shape)

    def forget(self, graph: str, shape: tuple[int, ...]) -> None:
        """Release a graph that was expected for one case, which failed before its network.

        The compilation goes on, because the thread of another case may wait for it.
        """
        with self._lock:
            self._coming.pop((graph, shape), None)

    def ready(self, graph: str, shape: tuple[int, ...]) -> CompiledGraph:
        """Return a compiled graph; compile it if needed."""
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

    def copies_planes(self, graph: str) -> bool:
        """Return True if a graph copies the planes of its input itself."""
        return self._compiler.copies_planes(graph)

    def memory(self, graph: str, shape: tuple[int, ...]) -> GraphMemory:
        """Return the memory of a running graph, from its execution graph; other compiled graphs stay in the pool."""
        coming = self._coming.get((graph, shape))
        found = coming.result() if coming is not None else self.ready(graph, shape)
        with found.running() as requests:  # OpenVINO refuses to release a graph whose layers are being listed
            return graph_memory_of(requests, shape)

    def spare(self) -> bool:
        """Keep only the running graph; if already so, compute one window at a time; return False if already so."""
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
        """Release the memory of intermediate results of all compiled graphs."""
        with self._lock:
            ready = list(self._ready.values())
        for graph in ready:
            graph.release()
        return_free_memory()

    def _make_room(self) -> None:
        """Release graphs until there is room for one more."""
        while len(self._ready) >= self._capacity:
            self._ready.popitem(last=False)
            return_free_memory()


class GraphCompiler:
    """Compiler of a package's graphs for given shapes, which loads them from the cache or stores them there.

    Attributes:
        threads: number of threads of the networks.
    """

    def __init__(
        self,
        package: ModelPackage,
        options: RuntimeOptions,
        streams: Mapping[str, int],
        copying: Collection[str] = (),
    ) -> None:
        self._package = package
        self._options = options
        self._copying = frozenset(copying)
        require_start(options)
        self._core = import_openvino().Core()
        self._precision = precision_here(package.manifest.precision)
        self.threads = options.threads or default_threads()
        self._streams = dict(streams)
        self._kept = KeptGraphs.of(options)

    def compile(self, graph: str, shape: tuple[int, ...]) -> CompiledGraph:
        """Compile a graph for inputs of one shape.

        Raises:
            BrainEdgeError: OpenVINO cannot compile the graph.
            PackageError: see `read_graph`.
        """
        streams = self._streams[graph]
        weights = self._package.graph_file(graph).with_suffix(".bin").stat().st_size
        require_free(COMPILER_BYTES + COMPILER_COPIES * weights, f"the graph {graph}")
        with _in_words(graph, shape):
            return CompiledGraph(self._compiled(graph, shape, self.properties(graph)), streams, graph, shape)

    def copies_planes(self, graph: str) -> bool:
        """Return True if a graph is compiled to copy the planes of its input itself."""
        return graph in self._copying

    def use_one_stream(self) -> bool:
        """Compute one window at a time from now on; return False if already so."""
        changed = any(streams > 1 for streams in self._streams.values())
        self._streams = dict.fromkeys(self._streams, 1)
        return changed

    def properties(self, graph: str) -> dict[str, Any]:
        """Return the properties with which a graph is compiled."""
        properties = compile_properties(self._precision, self._options, self._streams[graph])
        return {**properties, **FLUSH_DENORMALS}

    def model(self, graph: str, shape: tuple[int, ...]) -> Any:
        """Return the `openvino.Model` of a graph as it is compiled for an input of this shape.

        Raises:
            InputError: the graph takes inputs of other shapes.
        """
        model = read_graph(self._package.graph_file(graph), self._package.spec)
        try:
            model.reshape(list(shape))
        except RuntimeError as error:
            raise InputError(runtime_problem(graph, shape, error, OTHER_SIZE)) from error
        rewrite(model, self._precision)
        if self.copies_planes(graph):
            copy_planes(model, operations())
        return model

    def _compiled(self, graph: str, shape: tuple[int, ...], properties: dict[str, Any]) -> Any:
        kept, key = self._kept, self._key(graph, shape, properties)
        if kept is None or key is None or not self._is_worth_keeping(graph, shape):
            return self._core.compile_model(self.model(graph, shape), "CPU", properties)
        blob = kept.load(key)
        if blob is not None:
            with suppress(RuntimeError):  # intact, but not accepted by this OpenVINO: it is compiled again
                return self._core.import_model(blob, "CPU", properties)
        compiled = self._core.compile_model(self.model(graph, shape), "CPU", properties)
        kept.store(key, compiled.export_model().getvalue())
        return compiled

    def _is_worth_keeping(self, graph: str, shape: tuple[int, ...]) -> bool:
        """Return False for a shape that the image decides: by default such graphs would fill the disk of the user."""
        return not self._options.cache_is_default or (graph, shape) in set(known_inputs(self._package.spec))

    def _form(self, graph: str) -> dict[str, str]:
        return {"input": "planes to copy"} if self.copies_planes(graph) else {}

    def _key(self, graph: str, shape: tuple[int, ...], properties: dict[str, Any]) -> GraphKey | None:
        """Return the key of a compiled graph; None for a package in the making, whose files have no hashes yet."""
        manifest = self._package.manifest
        xml = graph_path(graph)
        files = [manifest.files.get(xml), manifest.files.get(xml.removesuffix(".xml") + ".bin")]
        hashes = [record.sha256 for record in files if record is not None]
        if len(hashes) != len(files):
            return None
        device = self._core.get_property("CPU", "FULL_DEVICE_NAME")
        return GraphKey(
            package_digest=self._package.digest,
            model=self._package.spec.name,
            graph=graph,
            graph_sha256=(hashes[0], hashes[1]),
            shape=shape,
            program=__version__,
            openvino=runtime_version(),
            isa=f"{device}, flags {cpu_fingerprint()}, at most {isa_limit() or 'all'}",
            properties={name: str(value) for name, value in properties.items()} | self._form(graph),
        )


def rewrite(model: Any, precision: Precision) -> None:
    """Rewrite an `openvino.Model` of static shape in place, as it is compiled in a precision on this CPU."""
    if precision is Precision.F32:
        rewrite_for_f32(model, operations())
    if is_x86():
        split_stem(model, operations())
    if limit_hides_avx512():
        write_out_odd_norms(model, operations())


def compile_properties(precision: Precision, options: RuntimeOptions, streams: int = 1) -> dict[str, Any]:
    """Return OpenVINO's properties for one case at a time, as fast as possible, in exactly the pinned precision.

    `EXECUTION_MODE_HINT` stays at its default, because only the precision hint decides. The number of threads is set
    here, because OpenVINO ignores a cgroup quota.
    """
    return {
        "INFERENCE_PRECISION_HINT": str(precision),
        "PERFORMANCE_HINT": "LATENCY",
        "NUM_STREAMS": streams,
        "INFERENCE_NUM_THREADS": options.threads or default_threads(),
        "ENABLE_HYPER_THREADING": False,
        # a thread that is pinned to a core waits for other cases and programs on that core
        "ENABLE_CPU_PINNING": False,
    }


def streams_by_graph(spec: ModelSpec, options: RuntimeOptions) -> dict[str, int]:
    """Return the number of windows of each graph that are computed at the same time; 1 for whole volumes."""
    threads = options.threads or default_threads()
    streams = min(options.streams or DEFAULT_STREAMS, threads)
    windowed = {graph for stage in spec.stages if stage.network.execution.is_streamed for graph in stage.network.graphs}
    return {graph: streams if graph in windowed else 1 for graph in spec.graphs}


@cache
def _all_planes(depth: int) -> np.ndarray[tuple[int], np.dtype[np.int32]]:
    """Return the indices of planes that copy themselves; kept, because a request reads them while it runs."""
    return np.arange(depth, dtype=np.int32)


@contextmanager
def _in_words(graph: str, shape: Iterable[int]) -> Iterator[None]:
    """Turn an error of OpenVINO into one that names the graph and its input."""
    try:
        yield
    except RuntimeError as error:
        raise BrainEdgeError(runtime_problem(graph, tuple(shape), error)) from error
