"""What is known of a frame before any image is read: how many channels, and whether they are labels yet."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping, Set


class MisfitError(ValueError):
    """A step cannot stand where it stands; the words continue "stage 'x' ..."."""


@dataclass(frozen=True)
class KnownFrame:
    """What a step leaves, whatever the image.

    Attributes:
        channels: how many.
        labels: the values that a label map can hold, or None where the voxels are numbers (intensities,
            probabilities, logits, or labels blended by an interpolation).
        findings: what earlier stages leave, by stage name.
    """

    channels: int
    labels: frozenset[int] | None = None
    findings: Mapping[str, KnownFrame] = field(default_factory=dict)

    def with_labels(self, labels: Set[int]) -> KnownFrame:
        """One label map of these values; background is always among them."""
        return replace(self, channels=1, labels=frozenset(labels) | {0})

    def with_channels(self, channels: int) -> KnownFrame:
        """Numbers in another number of channels."""
        return replace(self, channels=channels, labels=None)

    def given_one_each(self, given: int, what: str) -> KnownFrame:
        """The same, where a step has one of something for each channel.

        Raises:
            MisfitError: it has more or fewer.
        """
        if given != self.channels:
            raise MisfitError(f"gives {given} {what} to {self.channels} channels")
        return self


def known_labels(outcome: KnownFrame, step: object) -> frozenset[int]:
    """The labels of an outcome.

    Raises:
        MisfitError: there are none yet, or not any more.
    """
    if outcome.labels is None:
        raise MisfitError(f"has the step {type(step).__name__} where there are no labels")
    return outcome.labels


def one_label_map(outcome: KnownFrame, step: object) -> frozenset[int]:
    """The labels of an outcome that is a single label map.

    Raises:
        MisfitError: there are no labels, or several maps.
    """
    labels = known_labels(outcome, step)
    if outcome.channels != 1:
        raise MisfitError(f"has the step {type(step).__name__} where there are {outcome.channels} label maps")
    return labels
