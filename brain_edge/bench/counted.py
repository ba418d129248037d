"""Sessions that count the inputs of the networks while a case runs, by graph and shape."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections import Counter
    from collections.abc import Iterable, Iterator

    from brain_edge.engine.segmenter import Wrap
    from brain_edge.image.repeated import RepeatedPlanes
    from brain_edge.image.volume import FloatArray
    from brain_edge.runtime.protocol import GraphMemory
    from brain_edge.runtime.session import GraphSession


@dataclass(frozen=True)
class Input:
    """Input of a graph: name of the graph and shape (1, C, I, J, K), or the shape of a batch of slices."""

    graph: str
    shape: tuple[int, ...]


def counted(count: Counter[Input]) -> Wrap:
    """Return a wrapper for `Segmenter.open` that counts every input of a network in `count`."""
    return lambda graph, session: CountedSession(session, graph, count)


class CountedSession:
    """OpenVINO session that counts its inputs, has `run_many`, and is a `MeasuredSession`."""

    def __init__(self, session: GraphSession, graph: str, count: Counter[Input]) -> None:
        self._session = session
        self._graph = graph
        self._count = count

    @property
    def copies_planes(self) -> bool:
        """True if the session copies planes."""
        return self._session.copies_planes

    def __call__(self, batch: FloatArray | RepeatedPlanes) -> FloatArray:
        """Run the graph once."""
        self._count[Input(self._graph, batch.shape)] += 1
        return self._session(batch)

    def run_many(self, batches: Iterable[FloatArray]) -> Iterator[FloatArray]:
        """Yield the outputs in the order of their inputs."""
        return self._session.run_many(self._counted(batches))

    def memory(self, shape: tuple[int, ...]) -> GraphMemory:
        """Return the memory that the graph needs for an input of this shape."""
        return self._session.memory(shape)

    def spare(self) -> bool:
        """Use less memory from now on; return False if that is not possible."""
        return self._session.spare()

    def release(self) -> None:
        """Release the memory of intermediate results."""
        self._session.release()

    def _counted(self, batches: Iterable[FloatArray]) -> Iterator[FloatArray]:
        for batch in batches:
            self._count[Input(self._graph, batch.shape)] += 1
            yield batch
