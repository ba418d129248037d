"""Error of a layer: its outputs themselves, or for the layer that decides, what its outputs decide. Pure functions.

Arrays of outputs and errors are (groups, positions, outputs).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Protocol

import numpy as np

from brain_edge_conversion.mending.targets import Meaning

if TYPE_CHECKING:
    from brain_edge.image.volume import FloatArray

ROUNDS: Final = 12
"""Steps of Newton's method in which a shift settles."""
LARGEST_STEP: Final = 2.0
"""Largest change of a shift in one step, logits: far from the solution, the curvature says little."""
FLAT: Final = 1e-6
"""Curvature that is added: a common shift of all classes changes no probability."""
TINY: Final = float(np.finfo(np.float32).tiny)
"""Least spread that divides."""


class Yardstick(Protocol):
    """Error of one layer."""

    @property
    def weighs(self) -> bool:
        """True if positions count differently in a fit."""

    def loss(self, got: FloatArray, wanted: FloatArray) -> float:
        """Return the error of outputs whose bias is still free."""

    def error(self, got: FloatArray, wanted: FloatArray) -> float:
        """Return the error of outputs."""

    def shift(self, got: FloatArray, wanted: FloatArray) -> FloatArray:
        """Return what is to be added to each output, (groups, 1, outputs)."""

    def weights(self, got: FloatArray, wanted: FloatArray) -> FloatArray:
        """Return how much each position counts in a fit, (groups, positions, 1)."""


@dataclass(frozen=True)
class OutputYardstick:
    """Squared error of the outputs."""

    weighs: bool = False

    def loss(self, got: FloatArray, wanted: FloatArray) -> float:
        """Return the variance of the error, summed over the outputs."""
        return float((wanted - got).var(axis=1).sum())

    def error(self, got: FloatArray, wanted: FloatArray) -> float:
        """Return the root mean square of the error as a share of that of the outputs about their means."""
        spread = max(float(np.sqrt(wanted.var(axis=1).mean())), TINY)
        return float(np.sqrt(np.mean((wanted - got) ** 2))) / spread

    def shift(self, got: FloatArray, wanted: FloatArray) -> FloatArray:
        """Return the mean error of each output."""
        return np.asarray((wanted - got).mean(axis=1, keepdims=True))

    def weights(self, _got: FloatArray, wanted: FloatArray) -> FloatArray:
        """Return the same weight for every position."""
        return np.ones((*wanted.shape[:2], 1), wanted.dtype)


@dataclass(frozen=True)
class DecisionYardstick:
    """Change of the probabilities: a logit that is 200 instead of 400 changes no label.

    Squares of logits would give the range of the input to the few largest values, and leave none of its levels to the
    voxels where two labels are close. Positions count by Cauchy's weight 1 / (1 + e^2): an error of one logit counts
    half, and one that no weight can mend hardly at all.

    Attributes:
        meaning: meaning of the outputs, classes or regions.
    """

    meaning: Meaning
    weighs: bool = True

    def loss(self, got: FloatArray, wanted: FloatArray) -> float:
        """Return the mean change of the probabilities behind the best shift."""
        return self.error(got + self.shift(got, wanted), wanted)

    def error(self, got: FloatArray, wanted: FloatArray) -> float:
        """Return the mean change of the probabilities."""
        return float(np.abs(self._probabilities(got) - self._probabilities(wanted)).mean())

    def shift(self, got: FloatArray, wanted: FloatArray) -> FloatArray:
        """Return the shift of least Kullback-Leibler divergence: the sum of each probability is then the wanted one."""
        aim, shift = self._probabilities(wanted), np.median(wanted - got, axis=1, keepdims=True)
        for _ in range(ROUNDS):
            found = self._probabilities(got + shift)
            slope = (found - aim).mean(axis=1)[..., np.newaxis]
            step = np.linalg.solve(self._curvature(found), slope)[:, np.newaxis, :, 0]
            shift = shift - np.clip(step, -LARGEST_STEP, LARGEST_STEP)
        return np.asarray(shift, got.dtype)

    def weights(self, got: FloatArray, wanted: FloatArray) -> FloatArray:
        """Return the weight of the largest error of each position behind the shift."""
        errors = wanted - got - self.shift(got, wanted)
        return np.asarray(1 / (1 + np.square(errors).max(axis=2, keepdims=True)))

    def _curvature(self, found: FloatArray) -> FloatArray:
        """Return the second derivatives of the divergence by the shift, (groups, outputs, outputs)."""
        outputs = found.shape[2]
        if self.meaning is Meaning.REGIONS:
            spread = (found * (1 - found)).mean(axis=1)[..., np.newaxis] * np.eye(outputs)
        else:
            joint = np.swapaxes(found, 1, 2) @ found / found.shape[1]
            spread = found.mean(axis=1)[..., np.newaxis] * np.eye(outputs) - joint
        return np.asarray(spread + FLAT * np.eye(outputs))

    def _probabilities(self, logits: FloatArray) -> FloatArray:
        if self.meaning is Meaning.REGIONS:
            return np.asarray(1 / (1 + np.exp(-np.clip(logits, -80, 80))))
        powers = np.exp(logits - logits.max(axis=2, keepdims=True))
        return np.asarray(powers / powers.sum(axis=2, keepdims=True))
