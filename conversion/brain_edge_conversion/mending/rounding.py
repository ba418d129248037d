"""Weights as integers that lose least of a layer's output, from the second moments of its inputs. Pure functions.

The output of a layer is linear in its weights, so a fit needs no gradients. The weights are first the least-squares
solution for the float outputs, given the inputs of the quantised graph (Li et al., "GPTAQ", 2025). Each weight is then
rounded in turn, and the weights that are not rounded yet take over its error (Frantar et al., "GPTQ", ICLR 2023;
Hassibi and Stork, "Optimal Brain Surgeon", 1993). Last, single integers change as long as the error falls.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from numpy.typing import NDArray

    Floats = NDArray[np.floating[Any]]
    Matrix = NDArray[np.float64]

RIDGE: Final = 1e-3
"""Weight of the trained weights in the fit, as a share of the mean second moment of an input."""
SHRINKS: Final = (1.0, 0.95, 0.9, 0.85, 0.8, 0.75, 0.7, 0.65, 0.6, 0.5)
"""Steps of the integers that are tried, as shares of the step at which no weight is clipped."""
SWEEPS: Final = 4
"""Number of times that each integer may change after rounding."""
LEAST: Final = 1e-12
"""Step of weights that are all zero."""


class Part(NamedTuple):
    """Values of one layer at some positions."""

    inputs: Floats
    """Inputs of the weights, (groups, positions, terms)."""
    outputs: Floats
    """Wanted outputs, (groups, positions, outputs)."""
    weights: Floats
    """How much each position counts, (groups, positions, 1)."""


@dataclass(frozen=True)
class Moments:
    """Second moments of the inputs and outputs of one group of a layer over sampled positions.

    Attributes:
        inputs: mean product of two inputs, (terms, terms).
        cross: mean product of an output and an input, (outputs, terms).
        mean_inputs, mean_outputs: means that were subtracted; zero for a layer without a bias.
    """

    inputs: Matrix
    cross: Matrix
    mean_inputs: Matrix
    mean_outputs: Matrix


@dataclass(frozen=True)
class Rounded:
    """Integer weights of one group of a layer.

    Attributes:
        integers: weights as integers, (outputs, terms).
        steps: value of 1 for each output, (outputs,).
        biases: bias of each output, (outputs,).
    """

    integers: Matrix
    steps: Matrix
    biases: Matrix


def moments(parts: Iterable[Part], *, has_bias: bool) -> list[Moments]:
    """Return the moments of each group over parts of the positions."""
    count: Matrix | float = 0.0
    sums: list[Matrix] = []
    for part in parts:
        roots = np.sqrt(part.weights.astype(np.float64))
        # one array times itself is half the work of a product of two
        x, y = part.inputs.astype(np.float64) * roots, part.outputs.astype(np.float64) * roots
        new = [np.swapaxes(x, 1, 2) @ x, np.swapaxes(y, 1, 2) @ x, (x * roots).sum(axis=1), (y * roots).sum(axis=1)]
        # in place, for a matrix of many terms is large
        sums = [np.add(total, each, out=total) for total, each in zip(sums, new, strict=True)] if sums else new
        count = count + part.weights.sum(axis=1)
    means = [each / np.reshape(count, (-1, *[1] * (each.ndim - 1))) for each in sums]
    return [_centred(*group, has_bias=has_bias) for group in zip(*means, strict=True)]


def _centred(inputs: Matrix, cross: Matrix, mean_inputs: Matrix, mean_outputs: Matrix, *, has_bias: bool) -> Moments:
    if not has_bias:
        return Moments(inputs, cross, np.zeros_like(mean_inputs), np.zeros_like(mean_outputs))
    return Moments(
        inputs - np.outer(mean_inputs, mean_inputs),
        cross - np.outer(mean_outputs, mean_inputs),
        mean_inputs,
        mean_outputs,
    )


def fitted(trained: Matrix, found: Moments) -> Matrix:
    """Return the float weights (outputs, terms) of least squared error, drawn to the trained ones by `RIDGE`."""
    inputs = _damped(found.inputs, RIDGE)
    return trained + np.linalg.solve(inputs, (found.cross - trained @ found.inputs).T).T


def rounded(wanted: Matrix, found: Moments, most: int) -> Rounded:
    """Return integers of at most `most` for float weights, with the steps and biases that fit them best."""
    steps = _steps(wanted, found.inputs, most)
    integers = _in_turn(wanted, steps, found.inputs, most)
    integers = _polished(integers, wanted, steps, found.inputs, most)
    # the ridge and the clipping may leave an output behind what rounding each weight for itself gives
    integers = _best((integers, _nearest(wanted, steps, most)), wanted, steps, found.inputs)
    products = integers @ found.inputs
    power = np.einsum("op,op->o", products, integers)
    match = np.einsum("op,op->o", found.cross, integers)
    steps = np.where((power > 0) & (match > 0), match / np.where(power > 0, power, 1.0), steps)
    return Rounded(integers, steps, found.mean_outputs - steps * (integers @ found.mean_inputs))


def _steps(wanted: Matrix, inputs: Matrix, most: int) -> Matrix:
    """Return for each output the step that loses least when every weight is rounded for itself."""
    largest = np.maximum(np.abs(wanted).max(axis=1), LEAST) / most
    steps = np.array([largest * share for share in SHRINKS])
    errors = [_loss(_nearest(wanted, step, most) * step[:, np.newaxis] - wanted, inputs) for step in steps]
    return np.asarray(steps[np.argmin(errors, axis=0), np.arange(len(largest))])


def _nearest(wanted: Matrix, steps: Matrix, most: int) -> Matrix:
    return np.clip(np.rint(wanted / steps[:, np.newaxis]), -most, most)


def _loss(errors: Matrix, inputs: Matrix) -> Matrix:
    return np.asarray(np.einsum("op,op->o", errors @ inputs, errors))


def _best(found: Sequence[Matrix], wanted: Matrix, steps: Matrix, inputs: Matrix) -> Matrix:
    """Return for each output the integers that lose least."""
    errors = [_loss(integers * steps[:, np.newaxis] - wanted, inputs) for integers in found]
    return np.asarray(np.stack(found)[np.argmin(errors, axis=0), np.arange(len(wanted))])


def _in_turn(wanted: Matrix, steps: Matrix, inputs: Matrix, most: int) -> Matrix:
    """Round one term after the other, largest inputs first; the terms that are left take over the error."""
    order = np.argsort(-np.diag(inputs), kind="stable")
    damped = _damped(inputs, RIDGE)[np.ix_(order, order)]
    carry = np.linalg.cholesky(np.linalg.inv(damped)).T
    left, integers = wanted[:, order].copy(), np.empty_like(wanted)
    for place, term in enumerate(order):
        integers[:, term] = np.clip(np.rint(left[:, place] / steps), -most, most)
        error = (left[:, place] - integers[:, term] * steps) / carry[place, place]
        left[:, place + 1 :] -= np.outer(error, carry[place, place + 1 :])
    return integers


def _polished(integers: Matrix, wanted: Matrix, steps: Matrix, inputs: Matrix, most: int) -> Matrix:
    """Change single integers while that lowers the error; all outputs at once, term by term."""
    found = integers.copy()
    damped = _damped(inputs, RIDGE)
    slope = (found * steps[:, np.newaxis] - wanted) @ damped
    for _ in range(SWEEPS):
        before = found.copy()
        for term in range(found.shape[1]):
            best = found[:, term] - slope[:, term] / (damped[term, term] * steps)
            new = np.clip(np.rint(best), -most, most)
            slope += np.outer((new - found[:, term]) * steps, damped[term])
            found[:, term] = new
        if np.array_equal(found, before):
            break
    return found


def _damped(inputs: Matrix, share: float) -> Matrix:
    """Return the moments with a share of their mean on the diagonal, so that inputs that never vary have a solution."""
    mean = float(np.mean(np.diag(inputs)))
    return inputs + (share * mean if mean > 0 else 1.0) * np.eye(len(inputs))
