"""What the networks of a package really see: their inputs, caught on the way through `Segmenter`, on disk."""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING

import numpy as np

from brain_edge.engine.segmenter import Segmenter

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence
    from pathlib import Path

    from brain_edge.image.volume import FloatArray, Study, Volume
    from brain_edge.machine.options import RuntimeOptions
    from brain_edge.package import ModelPackage
    from brain_edge.runtime.protocol import Session
    from brain_edge.spec import ModelSpec

MAXIMUM_WINDOWS = 8
"""Inputs that are kept of one study and graph: a sliding window has dozens, alike; taken at equal steps."""


def capture_inputs(
    package: ModelPackage, studies: Iterable[Study | Volume], folder: Path, options: RuntimeOptions | None = None
) -> Mapping[str, list[Path]]:
    """Run the package on every study and keep the inputs of each graph as `.npy` files in `folder`.

    They go through the disk, because a cohort of whole volumes does not fit into the memory of a workstation. What
    the last stage answers changes no input, so its networks are run for one input of each shape and not for all.
    """
    recorders: dict[str, _Recorder] = {}
    unread = _unread(package.spec)

    def recording(graph: str, session: Session) -> Session:
        recorders[graph] = _Recorder(_OneAnswer(session) if graph in unread else session, folder, graph)
        return recorders[graph]

    segmenter = Segmenter.open(package, options, wrap=recording)
    for study in studies:
        segmenter(study)
        for recorder in recorders.values():
            recorder.thin_out()
    return {graph: recorder.kept for graph, recorder in recorders.items()}


def load_inputs(files: Iterable[Path]) -> Iterator[FloatArray]:
    """The inputs (1, C, I, J, K) one after the other."""
    for file in files:
        yield np.load(file, allow_pickle=False)


def middle(batch: FloatArray, sides: Sequence[int]) -> FloatArray:
    """The middle of an input (1, C, I, J, K), of at most so many voxels per side."""
    starts = [max(0, (have - wanted) // 2) for have, wanted in zip(batch.shape[2:], sides, strict=True)]
    window = tuple(slice(start, start + side) for start, side in zip(starts, sides, strict=True))
    return np.ascontiguousarray(batch[(slice(None), slice(None), *window)])


def _unread(spec: ModelSpec) -> set[str]:
    """Graphs whose answers no network sees: those of the last stage that no earlier one has."""
    *earlier, last = spec.stages
    return set(last.network.graphs).difference(*(stage.network.graphs for stage in earlier))


class _OneAnswer:
    """A session that computes once for each shape of an input, and answers all others of the shape the same."""

    def __init__(self, session: Session) -> None:
        self._session = session
        self._answers: dict[tuple[int, ...], FloatArray] = {}

    def __call__(self, batch: FloatArray) -> FloatArray:
        if batch.shape not in self._answers:
            self._answers[batch.shape] = self._session(batch).copy()
        return self._answers[batch.shape].copy()


class _Recorder:
    """A session that keeps what it is given; a few inputs of each study in the end."""

    def __init__(self, session: Session, folder: Path, graph: str) -> None:
        self._session = session
        self._paths = (folder / f"{graph}-{number}.npy" for number in itertools.count())
        self._files: list[Path] = []
        self.kept: list[Path] = []

    def __call__(self, batch: FloatArray) -> FloatArray:
        self._files.append(next(self._paths))
        np.save(self._files[-1], batch, allow_pickle=False)
        return self._session(batch)

    def thin_out(self) -> None:
        """Keep at most `MAXIMUM_WINDOWS` of the files since the last time, at equal steps; delete the others."""
        count = len(self._files)
        chosen = {round(index) for index in np.linspace(0, count - 1, num=min(MAXIMUM_WINDOWS, count))}
        for index, file in enumerate(self._files):
            if index in chosen:
                self.kept.append(file)
            else:
                file.unlink()
        self._files.clear()
