"""Segmenter: from a study to a label map on the study's own grid, through every step of a spec."""

from __future__ import annotations

import time
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

import numpy as np

from brain_edge.errors import InputError
from brain_edge.plan import without_activation
from brain_edge.plausibility import Flag, check_input, check_mask
from brain_edge.resample import Interpolation
from brain_edge.study import assemble
from brain_edge.volume import FloatArray, Mask, Study, Volume
from brain_edge.windows import Session, predict

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

    from brain_edge.package import ModelPackage
    from brain_edge.runtime.options import RuntimeOptions
    from brain_edge.spec import ModelSpec, Stage
    from brain_edge.steps import Frame


@dataclass(frozen=True, eq=False)
class Segmentation:
    """What a model says about a study.

    Attributes:
        mask: labels on the grid of the reference sequence.
        flags: what is not plausible about the input or the mask; empty for most heads.
        probabilities: (D, I, J, K) float32 of the last network on the same grid, where asked for.
        elapsed_ms: time per stage and step group, in milliseconds.
    """

    mask: Mask
    flags: tuple[Flag, ...] = ()
    probabilities: FloatArray | None = None
    elapsed_ms: Mapping[str, float] = field(default_factory=dict)


class Segmenter:
    """A model that is ready to run: call it with a study or a volume.

    Args:
        spec: the steps.
        sessions: a ready network for each graph of the spec. `Segmenter.open` makes OpenVINO's; the parity
            check passes PyTorch's, so that both run between the very same steps.

    >>> segmenter = Segmenter.open("deepbet-int8")  # doctest: +SKIP
    >>> segmenter(read_volume("head.nii.gz")).mask.volume_ml(1)  # doctest: +SKIP
    """

    def __init__(self, spec: ModelSpec, sessions: Mapping[str, Session]) -> None:
        missing = sorted(set(spec.graphs) - set(sessions))
        if missing:
            raise InputError(f"the model {spec.name} needs the graphs {', '.join(missing)}, which were not given")
        self.spec = spec
        self._sessions = sessions

    @classmethod
    def open(cls, package: ModelPackage | Path | str, options: RuntimeOptions | None = None) -> Segmenter:
        """A segmenter of a package (a folder or an opened package), run by OpenVINO on this CPU."""
        from brain_edge.package import ModelPackage, open_package
        from brain_edge.runtime.session import open_sessions

        opened = package if isinstance(package, ModelPackage) else open_package(package)
        return cls(opened.spec, open_sessions(opened, options))

    def __call__(
        self,
        study: Study | Volume,
        *,
        probabilities: bool = False,
        tick: Callable[[], None] | None = None,
    ) -> Segmentation:
        """Segment one study.

        Args:
            study: the sequences by name; a single volume stands for the only sequence of the model.
            probabilities: also return the probabilities of the last network on the study's grid.
            tick: called after each pass of a network, for a progress bar.

        Raises:
            InputError: a sequence is missing, or the images do not lie over each other.
            ImplausibleError: a cascade found nothing to crop to.
        """
        clock = _Clock()
        start = assemble(study, self.spec)
        clock.lap("assemble")
        frame, restored = start, None
        for stage in self.spec.stages:
            last = stage is self.spec.stages[-1]
            frame, restored = self._run_stage(stage, frame, clock, tick, keep=probabilities and last)
        mask = Mask(np.ascontiguousarray(frame.voxels[0]), start.geometry)
        flags = (*check_input(start.geometry, self.spec.plausible), *check_mask(mask, self.spec))
        clock.lap("check")
        return Segmentation(mask, flags, restored, clock.elapsed_ms)

    def _run_stage(
        self, stage: Stage, start: Frame, clock: _Clock, tick: Callable[[], None] | None, *, keep: bool
    ) -> tuple[Frame, FloatArray | None]:
        """The frame for the next stage (the last one: the result), and the probabilities if they are kept."""
        if not keep:
            stage = without_activation(stage)
        frame = start
        for before in stage.before:
            frame = before.apply(frame)
        clock.lap(f"{stage.name}: before")
        frame = frame.with_voxels(predict(stage.network, self._sessions, frame.voxels, tick))
        clock.lap(f"{stage.name}: network")
        # a copy, because without a resampling on the way back it is the array that the session has only lent
        restored = np.array(frame.undone(Interpolation.LINEAR).voxels) if keep else None
        for after in stage.after:
            frame = after.apply(frame)
        clock.lap(f"{stage.name}: after")
        if stage.name == self.spec.stages[-1].name:
            return frame, restored
        findings = {**start.findings, stage.name: frame}
        return replace(start, statistics=frame.statistics, findings=findings), restored


class _Clock:
    """Time between laps, in milliseconds by name."""

    def __init__(self) -> None:
        self.elapsed_ms: dict[str, float] = {}
        self._last = time.perf_counter()

    def lap(self, name: str) -> None:
        now = time.perf_counter()
        self.elapsed_ms[name] = (now - self._last) * 1000.0
        self._last = now
