"""Protocols of a network that is ready to run, for `brain_edge.engine`: OpenVINO and PyTorch implement them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

if TYPE_CHECKING:
    from brain_edge.image.volume import FloatArray


class Session(Protocol):
    """A network that is ready to run: OpenVINO's in the runtime, PyTorch's in the parity check.

    The input is (1, C, I, J, K) float32, C-contiguous. The output is (1, D, I, J, K) float32, which the caller may
    change and which is valid until the next call. The same input gives the same output. Networks of slices take
    (N, C, H, W) and return (N, D, H, W); generators take (N, C) (`Execution.open_shape`).

    A session may also have `run_many(batches)`, which computes the next inputs while the caller works on an output. It
    yields the outputs of inputs of one shape, in order, each valid until the next is requested. It takes a few inputs
    ahead, which must not be changed afterwards. A `CopyingSession` also takes `RepeatedPlanes`.
    """

    def __call__(self, batch: Any, /) -> FloatArray:
        """Run the network once."""


@runtime_checkable
class CopyingSession(Protocol):
    """A session that may take a batch before the planes of its volume are copied (`RepeatedPlanes`)."""

    @property
    def copies_planes(self) -> bool:
        """True if the session takes `RepeatedPlanes`, too."""


@runtime_checkable
class ForeseeingSession(Protocol):
    """A session that can be prepared for an input before the input is there."""

    def foresee(self, shape: tuple[int, ...]) -> None:
        """Begin to compile the graph for an input of this shape in the background."""

    def forget(self, shape: tuple[int, ...]) -> None:
        """Give up what `foresee` has begun, because the input will not come."""


@dataclass(frozen=True)
class GraphMemory:
    """Memory of a compiled graph when it runs.

    Attributes:
        intermediate_bytes: bytes of intermediate results of each stream.
        tensor_bytes: bytes of input and output of each request.
        streams: number of windows at a time.
        requests: number of requests with tensors at a time.
    """

    intermediate_bytes: int
    tensor_bytes: int
    streams: int
    requests: int

    @property
    def total_bytes(self) -> int:
        """Total bytes of all streams and requests."""
        return self.streams * self.intermediate_bytes + self.requests * self.tensor_bytes


@runtime_checkable
class MeasuredSession(Protocol):
    """A session that reports and reduces its memory."""

    def memory(self, shape: tuple[int, ...]) -> GraphMemory:
        """Return the memory for an input (1, C, I, J, K); compile the graph for it if needed."""

    def spare(self) -> bool:
        """Use less memory from now on: keep only the running graph, then one window at a time; False if already so."""

    def release(self) -> None:
        """Release the memory that is needed only while the graph runs."""
