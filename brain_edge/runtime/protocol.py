"""A network that is ready to run, whatever computes it: what `brain_edge.engine` asks of OpenVINO's and PyTorch's."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol, runtime_checkable

if TYPE_CHECKING:
    from brain_edge.image.volume import FloatArray


class Session(Protocol):
    """A network that is ready to run: OpenVINO's in the runtime, PyTorch's in the parity check.

    The contract: input (1, C, I, J, K) float32, C-contiguous; output (1, D, I, J, K) float32 that the caller
    may change, valid until the next call; the same input gives the same output. Networks that see slices take
    (N, C, H, W) and give (N, D, H, W), generators take (N, C) (`Execution.open_shape`).

    A session may also have `run_many(batches)`, which computes the next inputs while the caller works on an output: the
    outputs of inputs of one shape, in their order, each valid until the next is asked for. Inputs are taken a few ahead
    and are not to be changed afterwards.
    """

    def __call__(self, batch: FloatArray) -> FloatArray:
        """Run the network once."""


@dataclass(frozen=True)
class GraphMemory:
    """What a compiled graph takes when it runs.

    Attributes:
        intermediate_bytes: of each stream.
        tensor_bytes: input and output of each request.
        streams: windows at a time.
        requests: tensors at a time.
    """

    intermediate_bytes: int
    tensor_bytes: int
    streams: int
    requests: int

    @property
    def total_bytes(self) -> int:
        """All of it."""
        return self.streams * self.intermediate_bytes + self.requests * self.tensor_bytes


@runtime_checkable
class MeasuredSession(Protocol):
    """A session that knows what it takes."""

    def memory(self, shape: tuple[int, ...]) -> GraphMemory:
        """For an input (1, C, I, J, K); compiles the graph for it if that has not been done."""

    def spare(self) -> bool:
        """Take less from now on: one window at a time, no graph but the one that runs; False if nothing is left."""

    def release(self) -> None:
        """Give back what is only needed while it runs."""
