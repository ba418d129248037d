"""Known facts about a frame before any image is read: the number of channels, and their labels if any."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping, Set


class MisfitError(ValueError):
    """Error for a step that cannot stand at its place; the message continues "stage 'x' ..."."""


@dataclass(frozen=True)
class KnownFrame:
    """Known result of a step for any image.

    Attributes:
        channels: number of channels.
        labels: values that a label map can have, or None if the voxels are numbers (intensities, probabilities, logits,
            or labels blended by an interpolation).
        findings: known results of earlier stages, by stage name.
    """

    channels: int
    labels: frozenset[int] | None = None
    findings: Mapping[str, KnownFrame] = field(default_factory=dict)

    def with_labels(self, labels: Set[int]) -> KnownFrame:
        """Return the facts of one label map with these values; background is always among them."""
        return replace(self, channels=1, labels=frozenset(labels) | {0})

    def with_channels(self, channels: int) -> KnownFrame:
        """Return the facts of numbers with another number of channels."""
        return replace(self, channels=channels, labels=None)

    def given_one_each(self, given: int, what: str) -> KnownFrame:
        """Return the same facts if a step has one of something (`what`) for each channel.

        Raises:
            MisfitError: the step has more or fewer.
        """
        if given != self.channels:
            raise MisfitError(f"has {given} {what} for {self.channels} channels; give one for each")
        return self


def known_labels(outcome: KnownFrame, step: object) -> frozenset[int]:
    """Return the labels of an outcome.

    Raises:
        MisfitError: the outcome has no labels, or no longer has any.
    """
    if outcome.labels is None:
        raise MisfitError(f"needs labels for the step {type(step).__name__}, got none; decide with Argmax first")
    return outcome.labels


def one_label_map(outcome: KnownFrame, step: object) -> frozenset[int]:
    """Return the labels of an outcome that is a single label map.

    Raises:
        MisfitError: the outcome has no labels, or several label maps.
    """
    labels = known_labels(outcome, step)
    if outcome.channels != 1:
        raise MisfitError(f"needs one label map for the step {type(step).__name__}, got {outcome.channels}")
    return labels
