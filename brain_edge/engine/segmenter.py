"""Segmenter, which turns a study into a label map on the study's own grid through every step of a spec."""

from __future__ import annotations

import time
from contextlib import nullcontext
from dataclasses import dataclass, field, replace
from functools import cache, partial
from typing import TYPE_CHECKING

import numpy as np

from brain_edge.engine.agreement import MemberLabels
from brain_edge.engine.assembly import assemble
from brain_edge.engine.execution import execute, plan_stage
from brain_edge.engine.foresight import compiling
from brain_edge.engine.in_blocks import applied
from brain_edge.engine.memory import Ahead, MemoryLimit
from brain_edge.engine.stage_zero import BrainMasker, SkullStripper, find_stage_zero
from brain_edge.errors import InputError, UsageError
from brain_edge.image.resample import Interpolation
from brain_edge.image.volume import FloatArray, Mask, Study, Volume
from brain_edge.machine.cpu import default_threads
from brain_edge.machine.options import RuntimeOptions
from brain_edge.machine.process import return_free_memory
from brain_edge.package import ModelPackage, open_package
from brain_edge.runtime.protocol import MeasuredSession
from brain_edge.runtime.session import open_sessions
from brain_edge.spec.plan import fixed_sides, without_activation
from brain_edge.spec.plausibility import Flag, check_input, check_mask
from brain_edge.spec.stripped import check_stripped

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from pathlib import Path
    from typing import TypeAlias

    from brain_edge.preparation.prepared import Prepared
    from brain_edge.preparation.preparer import Preparer
    from brain_edge.runtime.protocol import Session
    from brain_edge.runtime.session import GraphSession
    from brain_edge.spec import ModelSpec, Stage
    from brain_edge.spec.steps import Frame

    Wrap: TypeAlias = Callable[[str, GraphSession], Session]
    """Function from a graph's name and session to the session that is called instead, to count or keep its inputs."""


@dataclass(frozen=True, eq=False)
class Segmentation:
    """Result of a model on a study.

    Attributes:
        mask: labels on the grid of the reference of the study.
        flags: implausible findings about the input or the mask; empty for most heads.
        probabilities: probabilities (D, I, J, K) float32 of the last network on the same grid, if requested.
        elapsed_ms: time per stage and step group in milliseconds.
        member_agreement: lowest Dice of a pass of the last network (ensemble member or mirroring) with the mean of all
            passes on the network's grid, by label name; empty if the network runs once.
        prepared: study as the network saw it, after the preparation of the package; None without a preparation.
        prepared_mask: labels on the grid of the prepared study; None without a preparation.
    """

    mask: Mask
    flags: tuple[Flag, ...] = ()
    probabilities: FloatArray | None = None
    elapsed_ms: Mapping[str, float] = field(default_factory=dict)
    member_agreement: Mapping[str, float] = field(default_factory=dict)
    prepared: Prepared | None = None
    prepared_mask: Mask | None = None

    def mask_on(self, name: str) -> Mask:
        """Return the mask on the grid of a sequence of the study as it was scanned; `atlas` for the prepared grid.

        Raises:
            UsageError: the package has no preparation, or the study has no such sequence.
        """
        if self.prepared is None or self.prepared_mask is None:
            raise UsageError(f"--on {name} has no effect: the package takes images as they are; remove --on")
        return self.prepared.mask_on(self.prepared_mask, name)


@dataclass(frozen=True, eq=False)
class _Found:
    """Result of a stage: the frame for the next stage; for the last stage also the parts of `Segmentation`."""

    frame: Frame
    probabilities: FloatArray | None = None
    member_agreement: Mapping[str, float] = field(default_factory=dict)


class Segmenter:
    """A model that is ready to run: call it with a study or a volume.

    Args:
        spec: specification of the steps.
        sessions: ready network for each graph of the spec. `Segmenter.open` makes OpenVINO's. The parity check passes
            PyTorch's, so that both run between the same steps.
        memory: memory limit.
        masker: stage 0 that runs before the first step, if the package names one.
        preparer: preparation of a study before the first step, if the package has one; it runs its own stage 0.

    >>> segmenter = Segmenter.open("deepbet-int8")  # doctest: +SKIP
    >>> segmenter(read_volume("head.nii.gz")).mask.volume_ml(1)  # doctest: +SKIP
    """

    def __init__(
        self,
        spec: ModelSpec,
        sessions: Mapping[str, Session],
        memory: MemoryLimit | None = None,
        masker: BrainMasker | None = None,
        preparer: Preparer | None = None,
    ) -> None:
        missing = sorted(set(spec.graphs) - set(sessions))
        if missing:
            raise InputError(
                f"expected a session for each graph of the model {spec.name}, missing: {', '.join(missing)}"
            )
        self.spec = spec
        self._sessions = sessions
        self._memory = memory or MemoryLimit()
        self._masker = masker
        self._preparer = preparer

    @classmethod
    def open(
        cls,
        package: ModelPackage | Path | str,
        options: RuntimeOptions | None = None,
        *,
        alone: bool = False,
        spec: ModelSpec | None = None,
        wrap: Wrap | None = None,
        memory: MemoryLimit | None = None,
    ) -> WarmSegmenter:
        """Open a package, given as its folder or already opened, to run with OpenVINO on this CPU.

        Args:
            package: package to run.
            options: threads, cache, memory limit, stage 0.
            alone: True to run without the stage 0 that the package names, for its self-test.
            spec: specification of the steps around the graphs; the package's own by default.
            wrap: function that replaces each session; see `Wrap`.
            memory: memory limit; that of the options by default.

        Raises:
            PackageError: a package is damaged, or its stage 0 is missing.
            UsageError: the options name a stage 0 for a package without one, or the variable that limits the
                instruction set has an unknown value.
        """
        opened = package if isinstance(package, ModelPackage) else open_package(package)
        given = options or RuntimeOptions()
        limit = memory or MemoryLimit(given.max_memory_bytes)
        return WarmSegmenter(opened, given, limit, alone=alone, spec=spec, wrap=wrap)

    def __call__(
        self,
        study: Study | Volume,
        *,
        probabilities: bool = False,
        tick: Callable[[], None] | None = None,
        on: str | None = None,
    ) -> Segmentation:
        """Segment one study.

        Args:
            study: images by sequence name; a single volume is taken as the only sequence of the model.
            probabilities: True to also return the probabilities of the last network on the study's grid.
            tick: function called after each pass of a network, for a progress bar.
            on: sequence whose grid the mask gets, or `atlas` for the prepared grid; the reference of the study by
                default. Only a package with a preparation has a choice.

        Raises:
            InputError: a sequence is missing, or the images do not overlap enough.
            ImplausibleError: a cascade found nothing to crop to.
            UsageError: the model makes images instead of a mask, or `on` names no sequence of the study.
        """
        if self.spec.makes_images:
            raise UsageError(f"expected a model that segments, got {self.spec.name}, which makes images")
        clock = _Clock()
        given = _as_study(study, self.spec)
        if on is not None:
            self._require_on(given, on)
        seen, prepared, flags = self._seen(given, clock)
        start = assemble(seen, self.spec)
        clock.lap("assemble")
        found = self._run_stages(start, clock, tick, keep=probabilities)
        mask = Mask(np.ascontiguousarray(found.frame.voxels[0]), start.geometry)
        made = Segmentation(mask, (), found.probabilities, clock.elapsed_ms, found.member_agreement)
        if prepared is not None:
            made = _brought_back(made, prepared, on or given.reference, clock)
        flags = (*flags, *check_input(seen, self.spec.plausible), *check_stripped(seen, self.spec))
        made = replace(made, flags=(*flags, *check_mask(mask, self.spec, made.mask)))
        clock.lap("check")
        return made

    def registers(self, study: Study) -> bool:
        """Return True if the preparation of the model registers the sequences of a study, and judges the result."""
        return self._preparer is not None and self._preparer.registers(study)

    def _require_on(self, given: Study, on: str) -> None:
        """Refuse a grid that the mask cannot have, before the network runs."""
        if self._preparer is None:
            raise UsageError(f"--on {on} has no effect: {self.spec.name} takes images as they are; remove --on")
        self._preparer.require_grid(given, on)

    def _seen(self, given: Study, clock: _Clock) -> tuple[Study, Prepared | None, tuple[Flag, ...]]:
        """Return the study as the network sees it: prepared, or without a skull, or as it is; also return flags."""
        if self._preparer is not None:
            prepared = self._preparer(given)
            clock.lap("preparation")
            return prepared.study, prepared, prepared.flags
        if self._masker is None:
            return given, None, ()
        study, flags = self._masker(given)
        clock.lap("stage 0")
        return study, None, flags

    def synthesize(self, study: Study | Volume, *, tick: Callable[[], None] | None = None) -> tuple[Volume, ...]:
        """Return the images that a generator makes of a study, one per channel, on the grid of the study.

        Args:
            study: condition of the generator, such as a label map; it always gives the grid.
            tick: function called after each pass of a network, for a progress bar.

        Raises:
            InputError: a sequence is missing, or a generated image has the same value everywhere.
            UsageError: the model makes a mask instead of images.
        """
        if not self.spec.makes_images:
            raise UsageError(f"expected a generator, got {self.spec.name}, which makes masks; name another model")
        start = assemble(study, self.spec)
        frame = self._run_stages(start, _Clock(), tick, keep=False).frame
        names = [f"{self.spec.name}-{channel}" for channel in range(frame.voxels.shape[0])]
        return tuple(
            Volume(np.array(voxels), start.geometry, name) for voxels, name in zip(frame.voxels, names, strict=True)
        )

    def run(self, study: Study | Volume) -> Segmentation | tuple[Volume, ...]:
        """Return the mask or the images that the model makes; raise what `__call__` or `synthesize` raises."""
        return self.synthesize(study) if self.spec.makes_images else self(study)

    def _run_stages(self, start: Frame, clock: _Clock, tick: Callable[[], None] | None, *, keep: bool) -> _Found:
        """Run all stages and return the result of the last one; release the memory of the others."""
        found = _Found(start)
        try:
            for stage in self.spec.stages:
                last = stage is self.spec.stages[-1]
                found = self._run_stage(stage, found.frame, clock, tick, keep=keep and last)
        finally:
            return_free_memory()
        return found

    def release(self) -> None:
        """Release the memory that is needed only while a network runs; the next study allocates it again."""
        for session in self._sessions.values():
            if isinstance(session, MeasuredSession):
                session.release()

    def _run_stage(
        self, stage: Stage, start: Frame, clock: _Clock, tick: Callable[[], None] | None, *, keep: bool
    ) -> _Found:
        """Run one stage and return its frame, with its probabilities if they are kept."""
        last = stage is self.spec.stages[-1]
        if not keep:
            stage = without_activation(stage)
        plan = plan_stage(stage, keep_probabilities=keep)
        frame = start
        native = start.geometry.shape
        coming = list(self._ahead(Ahead.of(stage, plan, frame), start))
        self._memory.require_steps(coming, native, self._sessions)
        # a graph that is compiled beside the steps needs memory beside theirs
        beside = compiling(coming[0], self._sessions) if self._memory.is_ample(coming, native) else nullcontext()
        with beside:
            frame = applied(plan.whole, frame)
        if frame.absent:
            # a missing sequence is filled with zeros after all steps, so no step can be left to the windows
            plan, frame = plan.all_at_once(frame)
        clock.lap(f"{stage.name}: before")
        ahead = self._ahead(Ahead(stage, plan, plan.sides_after(frame.geometry.shape)), start)
        is_short = self._memory.require(ahead, native, self._sessions)
        members = MemberLabels(frame.geometry.shape) if last and stage.network.passes > 1 else None
        frame = execute(plan, stage, self._sessions, frame, tick, members)
        if is_short:
            self.release()
        clock.lap(f"{stage.name}: network")
        # copied, because without a resampling on the way back this is the session's own array
        restored = np.array(frame.undone(Interpolation.LINEAR).voxels) if keep else None
        for after in plan.after:
            frame = after.apply(frame)
        clock.lap(f"{stage.name}: after")
        if last:
            return _Found(frame, restored, members.agreement(self.spec.label_names()) if members is not None else {})
        # numbers may still be the session's own array
        found = frame if frame.voxels.dtype == np.uint8 else frame.with_voxels(np.array(frame.voxels))
        findings = {**start.findings, stage.name: found}
        return _Found(replace(start, statistics=frame.statistics, findings=findings))

    def _ahead(self, now: Ahead, start: Frame) -> Iterator[Ahead]:
        """Yield this stage and the later stages whose input sides are known, which begin with the native frame."""
        yield now
        position = next(at for at, each in enumerate(self.spec.stages) if each.name == now.stage.name)
        for later in self.spec.stages[position + 1 :]:
            if fixed_sides(later.before) is not None and later.network.execution.sees_volume:
                yield Ahead.of(later, plan_stage(later), start)


class WarmSegmenter(Segmenter):
    """A package that is warm on this machine: the only way to run its cases.

    It is opened once. Each graph is compiled once per shape and kept from study to study. Memory that a study has
    freed returns to the system after the study. Threads may share a segmenter.

    Attributes:
        package: opened package.
        threads: number of threads of its networks.
    """

    def __init__(
        self,
        package: ModelPackage,
        options: RuntimeOptions,
        limit: MemoryLimit,
        *,
        alone: bool,
        spec: ModelSpec | None,
        wrap: Wrap | None,
    ) -> None:
        self.package, self.threads = package, options.threads or default_threads()
        preparer = None if alone or options.as_they_are else _preparer(package, options, self.threads)
        masker = None if alone or preparer is not None else _masker(package, options)
        made = open_sessions(package, options, spec)
        sessions = made if wrap is None else {graph: wrap(graph, session) for graph, session in made.items()}
        super().__init__(spec or package.spec, sessions, limit, masker, preparer)


def _masker(package: ModelPackage, options: RuntimeOptions) -> BrainMasker | None:
    """Open the stage 0 that a package names; None if the package names none."""
    zero = find_stage_zero(package, options.stage_zero)
    if zero is None or not package.manifest.stage_zero:
        return None
    return BrainMasker(Segmenter.open(zero, replace(options, stage_zero=None)), package.manifest.stage_zero.sequence)


def _preparer(package: ModelPackage, options: RuntimeOptions, threads: int) -> Preparer | None:
    """Return the preparation of a package, with the stage 0 that the package names or the options give."""
    spec, named = package.spec, package.manifest.stage_zero
    if not spec.preparation:
        return None
    from brain_edge.preparation.preparer import Preparer

    zero = find_stage_zero(package, options.stage_zero) if spec.removes_skull else None
    return Preparer(
        spec.preparation,
        spec.contrasts,
        threads,
        stripper=None if zero is None else skull_stripper(zero, replace(options, stage_zero=None)),
        shown=named.sequence if named else None,
        atlas=options.atlas,
        kept=options.prepared,
    )


def skull_stripper(package: ModelPackage, options: RuntimeOptions) -> SkullStripper:
    """Return a stage 0 for a preparation, which is compiled for the first image that it sees."""
    return SkullStripper(package, cache(partial(Segmenter.open, package, options)))


def _brought_back(made: Segmentation, prepared: Prepared, name: str, clock: _Clock) -> Segmentation:
    """Return a result of the prepared grid on the grid of the image `name` as it was scanned."""
    mask = prepared.mask_on(made.mask, name)
    numbers = made.probabilities
    if numbers is not None:
        numbers = prepared.numbers_on(numbers, name)
    clock.lap("way back")
    return replace(made, mask=mask, probabilities=numbers, prepared=prepared, prepared_mask=made.mask)


def _as_study(study: Study | Volume, spec: ModelSpec) -> Study:
    if isinstance(study, Study):
        return study
    name = spec.inputs[0].name
    return Study({name: study}, name)


class _Clock:
    """Stopwatch: time between laps in milliseconds, by lap name."""

    def __init__(self) -> None:
        self.elapsed_ms: dict[str, float] = {}
        self._last = time.perf_counter()

    def lap(self, name: str) -> None:
        now = time.perf_counter()
        self.elapsed_ms[name] = (now - self._last) * 1000.0
        self._last = now
