"""What networks are given while a case runs: sessions that count their inputs, by graph and shape."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections import Counter
    from collections.abc import Iterable, Iterator

    from brain_edge.engine.segmenter import Wrap
    from brain_edge.image.volume import FloatArray
    from brain_edge.runtime.protocol import GraphMemory
    from brain_edge.runtime.session import GraphSession


@dataclass(frozen=True)
class Input:
    """What a graph was given: its name and the shape (1, C, I, J, K), or that of a batch of slices."""

    graph: str
    shape: tuple[int, ...]


def counted(count: Counter[Input]) -> Wrap:
    """For `Segmenter.open`: tell `count` of every input that a network is given."""
    return lambda graph, session: CountedSession(session, graph, count)


class CountedSession:
    """A session of OpenVINO's that counts its inputs; with `run_many`, and a `MeasuredSession`."""

    def __init__(self, session: GraphSession, graph: str, count: Counter[Input]) -> None:
        self._session = session
        self._graph = graph
        self._count = count

    def __call__(self, batch: FloatArray) -> FloatArray:
        """Run the graph once."""
        self._count[Input(self._graph, batch.shape)] += 1
        return self._session(batch)

    def run_many(self, batches: Iterable[FloatArray]) -> Iterator[FloatArray]:
        """Outputs in the order of their inputs."""
        return self._session.run_many(self._counted(batches))

    def memory(self, shape: tuple[int, ...]) -> GraphMemory:
        """What the graph takes for an input of this shape."""
        return self._session.memory(shape)

    def spare(self) -> bool:
        """Take less from now on."""
        return self._session.spare()

    def release(self) -> None:
        """Give back the memory of intermediate results."""
        self._session.release()

    def _counted(self, batches: Iterable[FloatArray]) -> Iterator[FloatArray]:
        for batch in batches:
            self._count[Input(self._graph, batch.shape)] += 1
            yield batch
