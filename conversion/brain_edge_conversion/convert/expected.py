"""Comparison of a new package with the mask that the user's own program makes of a head.

The comparison with PyTorch runs both networks between the same steps. It cannot notice a wrong step, such as wrong
axes, another normalisation or exchanged labels. The mask of the user's own program can.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

import msgspec
import numpy as np

from brain_edge.engine.segmenter import Segmenter
from brain_edge.errors import BrainEdgeError, ImplausibleError, InputError, UsageError
from brain_edge.evaluation.cohort.reference import onto_grid, read_reference
from brain_edge.image.identity import image_sha256
from brain_edge.image.volume import Mask, Volume
from brain_edge.package.manifest import ExpectedMask
from brain_edge.spec.steps import Argmax
from brain_edge_conversion.convert.agreement import agree, differences
from brain_edge_conversion.convert.trials import trials

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from brain_edge.image.volume import LabelArray, Study
    from brain_edge.jobs.case import NamedInput
    from brain_edge.package import ModelPackage
    from brain_edge.runtime.protocol import Session
    from brain_edge.spec import ModelSpec
    from brain_edge_conversion.convert.agreement import Agreement
    from brain_edge_conversion.convert.trials import Trial

MINIMUM_DICE: Final = 0.97
"""Smallest Dice of a label by default. HD-BET's own program, which resamples otherwise, reaches 0.99."""
SAME_DICE: Final = 0.999
"""Dice from which two masks count as the same, as in the comparison with PyTorch."""
BETTER: Final = 0.5
"""Share of the disagreement that a named remedy may leave: a brain is nearly symmetric, and a flip changes little."""
TRIAL_SECONDS: Final = 600.0
"""Time after which no further specification is tried."""


@dataclass(frozen=True, kw_only=True)
class ExpectedData:
    """Expected mask as the user names it.

    Attributes:
        mask: file of the mask, on the grid of the head.
        files: image files of the head; the head of the comparison with PyTorch by default.
        minimum_dice: smallest accepted Dice of a label, which alone decides; None for the usual one, with a refusal of
            specifications of which another one makes the same mask.
    """

    mask: Path
    files: tuple[NamedInput, ...] = ()
    minimum_dice: float | None = None


@dataclass(frozen=True, eq=False)
class Expectation:
    """Mask that a package has to make of a head.

    Attributes:
        study: images of the head, behind the stage 0 if there is one.
        mask: expected mask on the grid of the study.
        minimum_dice: smallest accepted Dice of a label.
        refuses_named: True to refuse a package also if a change of its specification makes the same mask.
    """

    study: Study
    mask: Mask
    minimum_dice: float = MINIMUM_DICE
    refuses_named: bool = True


@dataclass(frozen=True)
class Verdict:
    """Result of the comparison.

    Attributes:
        expected: record for the package.
        failure: sentence about the refusal; empty if the masks agree well enough.
    """

    expected: ExpectedMask
    failure: str = ""


def read_expectation(data: ExpectedData, study: Study, spec: ModelSpec) -> Expectation:
    """Read the expected mask of a head and check that a comparison can show something.

    Raises:
        UsageError: the model makes images, or the minimum is no Dice.
        InputError: the mask is on another grid, empty, or has values that are not in the label table.
    """
    if spec.makes_images:
        raise UsageError(f"--expect-mask needs a model that segments, got {spec.name}, which makes images; remove it")
    least = MINIMUM_DICE if data.minimum_dice is None else data.minimum_dice
    if not 0 < least <= 1:
        raise UsageError(f"expected --expect-dice above 0 and at most 1, got {least:g}")
    read = read_reference(data.mask, {})
    mask = onto_grid(read, study.geometry)
    if mask is None:
        raise InputError(
            f"{data.mask}: expected a mask on the grid of {study.volumes[study.reference].name} ({study.geometry}), "
            f"got {read.geometry}; give the mask of this head, or name its head with --expect-head"
        )
    labels = Mask(_labels(mask.labels, spec, data.mask), mask.geometry)
    return Expectation(study, labels, least, refuses_named=data.minimum_dice is None)


def _labels(values: LabelArray, spec: ModelSpec, path: Path) -> LabelArray:
    """Return the label of each value; a mask of one value is that of the only label, such as 255 for the brain."""
    present, table = {int(value) for value in np.unique(values) if value}, set(spec.label_names())
    if not present:
        raise InputError(
            f"{path}: expected a mask with labels, got an empty mask; choose a head with something to find"
        )
    if len(present) == len(table) == 1:
        return np.where(values > 0, np.uint8(table.pop()), np.uint8(0))
    if strange := sorted(present - table):
        raise InputError(
            f"{path}: expected the labels {', '.join(map(str, sorted(table)))} of the specification, got "
            f"{strange[0]}; add the label to `labels` and to the step that writes it"
        )
    return values


@dataclass(frozen=True, eq=False)
class _Runs:
    """Masks that a package makes of one head with several specifications; its graphs are compiled once."""

    package: ModelPackage
    study: Study
    sessions: dict[str, Session] = field(default_factory=dict)

    def __call__(self, spec: ModelSpec) -> LabelArray:
        """Return the mask (I, J, K); an empty one where a cascade finds nothing to crop to."""
        segmenter = Segmenter.open(self.package, alone=True, spec=spec, wrap=self.sessions.setdefault)
        try:
            return segmenter(self.study).mask.labels
        except ImplausibleError:
            return np.zeros(self.study.geometry.shape, dtype=np.uint8)


def judge(package: ModelPackage, expectation: Expectation, report: Callable[[str], None]) -> Verdict:
    """Run a package as `run` does, compare its mask with the expected one, and look for the cause of a difference.

    Args:
        package: package in the making, in its deployed precision.
        expectation: head, mask and limit.
        report: function that receives progress lines.
    """
    report("comparing with the expected mask")
    runs, spec = _Runs(package, expectation.study), package.spec
    found = runs(spec)
    agreement = agree(found, expectation.mask.labels)
    record = _record(agreement, expectation, spec)
    if agreement.least >= max(SAME_DICE, expectation.minimum_dice):
        return Verdict(record)
    report(f"the masks differ, {record.in_words}: trying other axes, flips and normalisations")
    cause = _cause(spec, agreement, expectation, runs)
    told = (*differences(found, expectation.mask, spec.label_names()), cause.words)
    is_wrong = expectation.refuses_named and cause.dice >= SAME_DICE
    if agreement.least >= expectation.minimum_dice and not is_wrong:
        return Verdict(msgspec.structs.replace(record, differences=told))
    told = (f"the package does not make the expected mask: {record.in_words}", *told, "No package was written")
    return Verdict(record, ". ".join(told))


def _record(agreement: Agreement, expectation: Expectation, spec: ModelSpec) -> ExpectedMask:
    labels, names = expectation.mask.labels, spec.label_names()
    return ExpectedMask(
        input_sha256=tuple(map(image_sha256, expectation.study.volumes.values())),
        mask_sha256=image_sha256(Volume(labels.astype(np.float32), expectation.mask.geometry)),
        minimum_dice=expectation.minimum_dice,
        dice={names.get(label, str(label)): score for label, score in agreement.dice.items()},
    )


@dataclass(frozen=True)
class _Cause:
    """Change that explains the disagreement, in words, and the Dice with it; 0 if none was found."""

    words: str
    dice: float = 0.0


def _cause(spec: ModelSpec, agreement: Agreement, expectation: Expectation, runs: _Runs) -> _Cause:
    """Return the change that explains the disagreement; tried are other labels, then other steps."""
    if _explains(agreement.least_as_partners, agreement, expectation):
        dice = agreement.least_as_partners
        return _Cause(f"Another numbering fits (Dice {dice:.4f}): {_exchange(agreement, spec)}", dice)
    best, count = _best(spec, agreement, expectation, runs)
    if best is None:
        words = f"None of {count} other axes, flips and normalisations fits; check spacing, crops and the steps after"
        return _Cause(words)
    trial, reached = best
    also = f" and {_exchange(reached, spec)}" if reached.exchanged else ""
    dice = max(reached.least, reached.least_as_partners)
    return _Cause(f"This change of the specification fits (Dice {dice:.4f}): {trial.remedy}{also}", dice)


def _best(
    spec: ModelSpec, agreement: Agreement, expectation: Expectation, runs: _Runs
) -> tuple[tuple[Trial, Agreement] | None, int]:
    """Return the trial that explains the disagreement best, if any, and the number of trials."""
    best, highest, count = None, 0.0, 0
    for trial, reached in _tried(spec, expectation, runs):
        count += 1
        dice = max(reached.least, reached.least_as_partners)
        if dice > highest and _explains(dice, agreement, expectation):
            best, highest = (trial, reached), dice
        if highest >= SAME_DICE:
            break
    return best, count


def _tried(spec: ModelSpec, expectation: Expectation, runs: _Runs) -> Iterator[tuple[Trial, Agreement]]:
    """Yield each trial with its agreement, until the time is over."""
    end = time.monotonic() + TRIAL_SECONDS
    for trial in trials(spec, expectation.study.geometry.orientation):
        if time.monotonic() > end:
            return
        try:
            found = runs(trial.spec)
        except BrainEdgeError:  # a network that does not take these steps is an answer: they are not its own
            continue
        yield trial, agree(found, expectation.mask.labels)


def _explains(dice: float, agreement: Agreement, expectation: Expectation) -> bool:
    """Return True if a change reaches the minimum and leaves at most half of the disagreement."""
    return dice >= expectation.minimum_dice and 1 - dice <= BETTER * (1 - agreement.least)


def _exchange(agreement: Agreement, spec: ModelSpec) -> str:
    """Return the labels to exchange, in words."""
    exchanged, network = agreement.exchanged, spec.stages[-1].network
    for step in spec.stages[-1].after:
        if isinstance(step, Argmax):
            values = [exchanged.get(value, value) for value in step.values or range(network.channels_out)]
            return f"write `values` {values} in argmax"
    pairs = ", ".join(f"{mine} as {theirs}" for mine, theirs in exchanged.items())
    return f"number the labels differently: {pairs}"
