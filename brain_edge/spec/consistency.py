"""Consistency of a specification, checked before any image or weight is read.

All misfits of a specification are found together, each with its place; of the stages only the first that does not fit,
because the later ones may follow from it.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final, NamedTuple

import numpy as np
from msgspec import UNSET

from brain_edge.image.contrast import NAMES, Contrast
from brain_edge.image.geometry import MOST_VOXELS, Geometry
from brain_edge.spec.steps.known_frame import KnownFrame, MisfitError

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from brain_edge.spec.model import ModelSpec, Stage
    from brain_edge.spec.steps import Step

ONE_VOXEL: Final = Geometry((1, 1, 1), np.eye(4))
"""Smallest image: what a step makes of it, it makes of every image."""


class Misfit(NamedTuple):
    """One misfit: its place in the specification, such as `stages[0]`, and words."""

    path: str
    words: str


class InconsistentError(ValueError):
    """Parts of a specification do not fit together."""

    def __init__(self, misfits: Sequence[Misfit]) -> None:
        super().__init__("; ".join(misfit.words for misfit in misfits))
        self.misfits = tuple(misfits)


@dataclass
class _Known:
    """Known facts on the way through the stages.

    Attributes:
        sequences: number of images that the model takes.
        findings: known result of each stage so far, by stage name.
        fitted: number of channels of each fitted statistic, by name.
    """

    sequences: int
    findings: dict[str, KnownFrame] = field(default_factory=dict)
    fitted: dict[str, int] = field(default_factory=dict)


def require_consistent(spec: ModelSpec) -> None:
    """Check a specification by following the known facts of a frame through its stages.

    Raises:
        InconsistentError: parts of the specification do not fit together.
    """
    misfits = [*_misfits_of_names(spec), *_misfits_of_stages(spec)]
    if misfits:
        raise InconsistentError(misfits)


def _misfits_of_names(spec: ModelSpec) -> Iterator[Misfit]:
    yield from _repeated("inputs", "sequence", [sequence.name for sequence in spec.inputs])
    yield from _repeated("stages", "stage", [stage.name for stage in spec.stages])
    yield from _repeated("labels", "label", [str(label.value) for label in spec.labels])
    for number, sequence in enumerate(spec.inputs):
        place = f"inputs[{number}].contrasts"
        yield from _repeated(place, f"in the sequence {sequence.name!r}, contrast", list(map(str, sequence.stated)))
        if Contrast.OTHER in sequence.stated or (Contrast.ANY in sequence.stated and len(sequence.stated) > 1):
            stated = ", ".join(sequence.stated)
            yield Misfit(place, f"sequence {sequence.name!r} takes {stated}; expected {NAMES}, or any alone")
    if spec.inputs[0].missing is not UNSET:
        words = f"sequence {spec.inputs[0].name!r} may not be missing, because it gives the grid"
        yield Misfit("inputs[0].missing", words)
    yield from _misfits_of_preparation(spec)


def _misfits_of_preparation(spec: ModelSpec) -> Iterator[Misfit]:
    names = {sequence.name for sequence in spec.inputs}
    if not spec.preparation:
        return
    if spec.makes_images:
        yield Misfit("preparation", f"a model of the task {spec.task} has no mask to bring back; remove preparation")
    if unknown := [name for name in spec.preparation.references if name not in names]:
        words = f"`references` names {', '.join(unknown)}, and the sequences are {', '.join(sorted(names))}"
        yield Misfit("preparation.references", words)
    if all(name in spec.optional for name in spec.preparation.references):
        words = "each of `references` may be missing; add one that is always given"
        yield Misfit("preparation.references", words)


def _repeated(place: str, what: str, names: list[str]) -> Iterator[Misfit]:
    for name in sorted({name for name in names if names.count(name) > 1}):
        yield Misfit(place, f"{what} {name!r} occurs twice")


def _misfits_of_stages(spec: ModelSpec) -> Iterator[Misfit]:
    known = _Known(len(spec.inputs))
    for number, stage in enumerate(spec.stages):
        try:
            known.findings[stage.name] = _outcome(stage, known)
        except MisfitError as error:
            yield Misfit(f"stages[{number}]", f"stage {stage.name!r} {error}")
            return
        except ValueError as error:
            yield Misfit(f"stages[{number}]", str(error))
            return
    yield from _misfits_of_end(spec, known.findings[spec.stages[-1].name])


def _outcome(stage: Stage, known: _Known) -> KnownFrame:
    """Return the known result of a stage.

    Raises:
        MisfitError: the stage is inconsistent; the message continues "stage 'x' ...".
    """
    _require_sides(stage)
    start = KnownFrame(known.sequences, findings=dict(known.findings))
    _require_channels(stage, _through(stage, stage.before, start, known), known)
    return _through(stage, stage.after, start.with_channels(stage.network.channels_out), known)


def _require_sides(stage: Stage) -> None:
    """Make sure that the steps and the windows of a stage do not need more than `MOST_VOXELS` voxels of any image."""
    grids, grid = [stage.network.execution.seen((1, 1, 1)) or (1, 1, 1)], ONE_VOXEL
    for step in stage.before:
        grid = step.grid_after(grid)
        grids.append(grid.shape)
    largest = max(grids, key=math.prod)
    if math.prod(largest) > MOST_VOXELS:
        raise MisfitError(f"needs {' x '.join(map(str, largest))} voxels of any image, expected at most {MOST_VOXELS}")


def _through(stage: Stage, steps: Sequence[Step], start: KnownFrame, known: _Known) -> KnownFrame:
    outcome = start
    for step in steps:
        _require_stages(stage, step, known)
        _require_statistics(step, outcome, known)
        outcome = step.outcome(outcome)
    return outcome


def _require_stages(stage: Stage, step: Step, known: _Known) -> None:
    """Make sure that the findings of earlier stages that a step uses exist, and are labels if it needs labels."""
    for name in step.stages_used():
        if name not in known.findings:
            raise MisfitError(f"{step.stage_verb} stage {name!r}, which does not run earlier; name an earlier stage")
        if step.takes_labels and known.findings[name].labels is None:
            raise ValueError(f"{_without_labels(name)}; stage {stage.name!r} {step.stage_verb} it")


def _require_statistics(step: Step, outcome: KnownFrame, known: _Known) -> None:
    """Make sure that the statistics of a step were fitted on as many channels, and record those that it fits."""
    for name in step.statistics_used():
        if name not in known.fitted:
            raise MisfitError(
                f"uses the statistic {name!r}, which no earlier step has fitted; put the step that fits it first"
            )
        if known.fitted[name] != outcome.channels:
            raise MisfitError(
                f"uses the statistic {name!r} of {known.fitted[name]} channels for {outcome.channels} channels; "
                "put the step before the steps that add channels"
            )
    known.fitted.update(dict.fromkeys(step.statistics_fitted(), outcome.channels))


def _require_channels(stage: Stage, seen: KnownFrame, known: _Known) -> None:
    """Make sure that a network takes the channels of its steps, and that all or none of its graphs have a weight."""
    network = stage.network
    weights = network.member_weights
    if weights is not UNSET and len(weights) != len(network.graphs):
        raise MisfitError(f"has {len(weights)} member_weights for {len(network.graphs)} graphs; give one for each")
    given = network.execution.channels_seen(seen.channels)
    if network.channels_in == given or not network.execution.reads_image:
        return
    if given == seen.channels == known.sequences:
        raise MisfitError(f"has {network.channels_in} channels_in, but the model has {known.sequences} sequences")
    raise MisfitError(f"has {network.channels_in} channels_in, but its steps give {given} channels")


def _misfits_of_end(spec: ModelSpec, end: KnownFrame) -> Iterator[Misfit]:
    """Yield what keeps the last stage from leaving the model's kind of result, on the caller's grid."""
    last, place = spec.stages[-1], f"stages[{len(spec.stages) - 1}].after"
    if spec.makes_images and (spec.labels or spec.plausible.labels):
        words = f"a model of the task {spec.task} makes images; remove its label table and label ranges"
        yield Misfit("labels", words)
    if not spec.makes_images and end.labels is None:
        yield Misfit(place, _without_labels(last.name))
    if sum(step.way_back() is not None for step in last.after) != 1:
        yield Misfit(place, f"stage {last.name!r} must restore its result to the caller's grid exactly once")
    if end.labels is not None and not spec.makes_images:
        yield from _misfits_of_table(spec, end.channels, end.labels)


def _misfits_of_table(spec: ModelSpec, maps: int, written: frozenset[int]) -> Iterator[Misfit]:
    last, place = spec.stages[-1].name, f"stages[{len(spec.stages) - 1}].after"
    if maps != 1:
        yield Misfit(place, f"stage {last!r} ends with {maps} label maps, expected one")
    table = set(spec.label_names())
    if unnamed := written - {0} - table:
        words = f"stage {last!r} writes labels that are not in the label table: {sorted(unnamed)}"
        yield Misfit("labels", words)
    if unknown := {plausible.label for plausible in spec.plausible.labels} - table:
        yield Misfit("plausible", f"plausible ranges name labels that are not in the label table: {sorted(unknown)}")


def _without_labels(stage: str) -> str:
    return f"stage {stage!r} does not end with labels: decide with Argmax or Threshold, restore with nearest"
