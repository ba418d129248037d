"""Capture of network inputs: each input is saved to disk on its way through `Segmenter`."""

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
"""Inputs kept per study and graph, at equal steps; a sliding window gives dozens that resemble each other."""


def capture_inputs(
    package: ModelPackage, studies: Iterable[Study | Volume], folder: Path, options: RuntimeOptions | None = None
) -> Mapping[str, list[Path]]:
    """Run the package on every study and keep the inputs of each graph as `.npy` files in `folder`.

    Inputs are stored on disk, because a cohort of whole volumes does not fit into a workstation's memory. Outputs of
    the last stage change no input, so its networks run on one input of each shape only.
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
    """Yield the saved inputs (1, C, I, J, K), one at a time."""
    for file in files:
        yield np.load(file, allow_pickle=False)


def middle(batch: FloatArray, sides: Sequence[int]) -> FloatArray:
    """Return the central part of an input (1, C, I, J, K), at most `sides` voxels along (I, J, K)."""
    starts = [max(0, (have - wanted) // 2) for have, wanted in zip(batch.shape[2:], sides, strict=True)]
    window = tuple(slice(start, start + side) for start, side in zip(starts, sides, strict=True))
    return np.ascontiguousarray(batch[(slice(None), slice(None), *window)])


def _unread(spec: ModelSpec) -> set[str]:
    """Return the graphs whose outputs no network reads: graphs of the last stage that no earlier stage uses."""
    *earlier, last = spec.stages
    return set(last.network.graphs).difference(*(stage.network.graphs for stage in earlier))


class _OneAnswer:
    """Session that computes one output per input shape and returns it for every input of that shape."""

    def __init__(self, session: Session) -> None:
        self._session = session
        self._answers: dict[tuple[int, ...], FloatArray] = {}

    def __call__(self, batch: FloatArray) -> FloatArray:
        if batch.shape not in self._answers:
            self._answers[batch.shape] = self._session(batch).copy()
        return self._answers[batch.shape].copy()


class _Recorder:
    """Session that saves its inputs; `thin_out` leaves a few of each study."""

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
        """Keep at most `MAXIMUM_WINDOWS` of the files saved since the last call, at equal steps; delete the others."""
        count = len(self._files)
        chosen = {round(index) for index in np.linspace(0, count - 1, num=min(MAXIMUM_WINDOWS, count))}
        for index, file in enumerate(self._files):
            if index in chosen:
                self.kept.append(file)
            else:
                file.unlink()
        self._files.clear()
