"""What the networks of a package really see: their inputs, caught on the way through `Segmenter`, on disk."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from brain_edge.engine.segmenter import Segmenter, open_masker
from brain_edge.runtime.session import open_sessions

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
    sessions, masker = dict(open_sessions(package, options)), open_masker(package, options)
    for graph in _unread(package.spec):
        sessions[graph] = _OneAnswer(sessions[graph])
    kept: dict[str, list[Path]] = {graph: [] for graph in package.spec.graphs}
    for number, study in enumerate(studies):
        recorders = {graph: _Recorder(session, folder, f"{graph}-{number}") for graph, session in sessions.items()}
        Segmenter(package.spec, recorders, masker=masker)(study)
        for graph, recorder in recorders.items():
            kept[graph].extend(_spread(recorder.files, MAXIMUM_WINDOWS))
    return kept


def load_inputs(files: Iterable[Path]) -> Iterator[FloatArray]:
    """The inputs (1, C, I, J, K) one after the other."""
    for file in files:
        yield np.load(file, allow_pickle=False)


def middle(batch: FloatArray, sides: Sequence[int]) -> FloatArray:
    """The middle of an input (1, C, I, J, K), of at most so many voxels per side."""
    starts = [max(0, (have - wanted) // 2) for have, wanted in zip(batch.shape[2:], sides, strict=True)]
    window = tuple(slice(start, start + side) for start, side in zip(starts, sides, strict=True))
    return np.ascontiguousarray(batch[(slice(None), slice(None), *window)])


def _unread(spec: ModelSpec) -> Iterable[str]:
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
    """A session that keeps what it is given."""

    def __init__(self, session: Session, folder: Path, name: str) -> None:
        self._session = session
        self._folder = folder
        self._name = name
        self.files: list[Path] = []

    def __call__(self, batch: FloatArray) -> FloatArray:
        path = self._folder / f"{self._name}-{len(self.files)}.npy"
        np.save(path, batch, allow_pickle=False)
        self.files.append(path)
        return self._session(batch)


def _spread(files: list[Path], most: int) -> list[Path]:
    """At most `most` of the files, at equal steps; the others are deleted."""
    chosen = {round(index) for index in np.linspace(0, len(files) - 1, num=min(most, len(files)))}
    for index in set(range(len(files))) - chosen:
        files[index].unlink()
    return [files[index] for index in sorted(chosen)]
