"""STAPLE: joint estimate of the truth behind several label maps and of the reliability of each map.

Warfield, Zou and Wells, IEEE TMI 23 (2004) 903, for several labels (Rohlfing, Russakoff and Maurer, IPMI 2003). It is
expectation maximisation over the joint histogram of the raters' labels. Voxels with the same combination of labels have
the same posterior, so three raters of four labels need 64 numbers for any size of volume.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence

FloatTable = np.ndarray[tuple[int, ...], np.dtype[np.float64]]

MOST_ITERATIONS: Final = 1000
CONVERGED: Final = 1e-5
"""Largest change of any entry of a confusion matrix at which the estimation ends, as in ITK."""


def staple(maps: Sequence[np.ndarray[Any, Any]], labels: Sequence[int]) -> np.ndarray[Any, np.dtype[np.uint8]]:
    """Return the most probable label of each voxel (any shape, uint8); in a tie, the first of `labels`.

    Args:
        maps: label maps of one shape.
        labels: all values in the maps, in the order that decides a tie.
    """
    codes, combinations, counts = _joint_histogram(maps, labels)
    posterior = _posterior(combinations, counts, len(labels))
    winners = np.array(labels, dtype=np.uint8)[posterior.argmax(axis=1)]
    return np.asarray(winners[codes])


def _joint_histogram(
    maps: Sequence[np.ndarray[Any, Any]], labels: Sequence[int]
) -> tuple[np.ndarray[Any, Any], np.ndarray[Any, Any], FloatTable]:
    """Return each voxel's combination number, the combinations (N, raters) of label positions, and their counts."""
    positions = np.zeros(256, dtype=np.int64)
    positions[list(labels)] = np.arange(len(labels))
    codes = np.zeros(maps[0].shape, dtype=np.int64)
    for one in maps:
        codes = codes * len(labels) + positions[one]
    seen, numbers, counts = np.unique(codes, return_inverse=True, return_counts=True)
    powers = len(labels) ** np.arange(len(maps) - 1, -1, -1)
    return numbers.reshape(codes.shape), seen[:, None] // powers % len(labels), counts.astype(np.float64)


def _posterior(combinations: np.ndarray[Any, Any], counts: FloatTable, labels: int) -> FloatTable:
    """Return the probability of each label given each combination, (N, labels)."""
    votes = np.stack([(combinations == label).sum(axis=1) for label in range(labels)], axis=1)
    prior = (votes * counts[:, None]).sum(axis=0)
    prior /= prior.sum()
    winners = votes == votes.max(axis=1, keepdims=True)
    posterior = winners / winners.sum(axis=1, keepdims=True)
    confusion = _confusion(posterior, combinations, counts)
    for _ in range(MOST_ITERATIONS):
        posterior = _expectation(confusion, prior, combinations)
        updated = _confusion(posterior, combinations, counts)
        change = np.abs(updated - confusion).max()
        confusion = updated
        if change < CONVERGED:
            break
    return _expectation(confusion, prior, combinations)


def _expectation(confusion: FloatTable, prior: FloatTable, combinations: np.ndarray[Any, Any]) -> FloatTable:
    """Return P(truth | labels of the raters), (N, labels); the prior for combinations of estimated probability 0."""
    likelihood = np.prod([table[said] for table, said in zip(confusion, combinations.T, strict=True)], axis=0)
    joint = likelihood * prior
    total = joint.sum(axis=1, keepdims=True)
    return np.where(total > 0, joint / np.where(total > 0, total, 1), prior)


def _confusion(posterior: FloatTable, combinations: np.ndarray[Any, Any], counts: FloatTable) -> FloatTable:
    """Return P(rater says j | truth is i), (raters, j, i)."""
    weights = posterior * counts[:, None]
    labels = posterior.shape[1]
    tables = np.zeros((combinations.shape[1], labels, labels))
    for table, said in zip(tables, combinations.T, strict=True):
        np.add.at(table, said, weights)
    totals = weights.sum(axis=0)
    return np.asarray(tables / np.where(totals > 0, totals, 1))
