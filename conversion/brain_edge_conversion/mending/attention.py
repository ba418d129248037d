"""Positions of an output at which a layer is looked at: half of them anywhere, half where the decision is in doubt.

A head is mostly air and the inside of large structures, where no error of a layer changes a label. Where labels meet,
a small one does. Weighting the error of a layer by its consequence is the idea of Li et al., "BRECQ", ICLR 2021, whose
weight is a gradient; the doubt of the float network needs none.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from brain_edge.runtime.library import operations
from brain_edge_conversion.mending.targets import Meaning
from brain_edge_conversion.mending.watching import port_of, watched

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from brain_edge.image.volume import FloatArray
    from brain_edge_conversion.mending.rounding import Matrix
    from brain_edge_conversion.mending.targets import Target
    from brain_edge_conversion.mending.windows import Positions

ANYWHERE: Final = 0.5
"""Share of the positions that are drawn anywhere."""

DOUBT: Final = "brain_edge/doubt"
"""Name of the node of the doubt; no network has a node of this name."""


@dataclass(frozen=True)
class Attention:
    """Doubt of the float network over its output.

    Attributes:
        sides: batch and spatial axes of the output.
        sums: running sum of the doubt over the flat positions.
    """

    sides: tuple[int, ...]
    sums: Matrix

    def drawn(self, sides: Sequence[int], count: int, random: np.random.Generator) -> Positions:
        """Return positions in the output of a layer, drawn in proportion to the doubt at the same part of the image.

        Args:
            sides: batch and spatial axes of the output of the layer.
            count: number of positions.
            random: source of the positions.
        """
        found = np.searchsorted(self.sums, random.random(count) * self.sums[-1], side="right")
        index = np.unravel_index(np.minimum(found, len(self.sums) - 1), self.sides)
        # a voxel of one output spans several of a finer one, and a part of a coarser one
        scales = [side / have for side, have in zip(sides, self.sides, strict=True)]
        spread = [(each + random.random(count)) * scale for each, scale in zip(index, scales, strict=True)]
        inside = [np.minimum(each.astype(np.int64), side - 1) for each, side in zip(spread, sides, strict=True)]
        return np.asarray(np.ravel_multi_index(inside, tuple(sides)), np.int64)


def positions_of(
    sides: Sequence[int], count: int, random: np.random.Generator, attention: Attention | None
) -> Positions:
    """Return flat positions in the output of a layer, sorted.

    Args:
        sides: shape in which positions count.
        count: number of positions.
        random: source of the positions.
        attention: doubt of the network; None to draw all positions anywhere.
    """
    most = int(np.prod(sides))
    known = attention is not None and len(attention.sides) == len(sides) and attention.sides[0] == sides[0]
    anywhere = int(np.ceil(count * ANYWHERE)) if known else count
    found = random.integers(0, most, anywhere)
    if attention is not None and known:
        found = np.concatenate([found, attention.drawn(sides, count - anywhere, random)])
    return np.sort(found)


def attentions(
    model: Any, batches: Sequence[FloatArray], target: Target, properties: Mapping[str, Any]
) -> Iterator[Attention | None]:
    """Yield the doubt of a float model for each input; None where no label is decided, or nothing is in doubt.

    Args:
        model: float model with one output.
        batches: inputs of the model.
        target: meaning of the output.
        properties: properties of the compilation.
    """
    if target.meaning is Meaning.VALUES:
        yield from (None for _ in batches)
        return
    copy = model.clone()
    port = port_of(_add_doubt(copy, target))
    for (doubt,) in watched(copy, [port], batches, properties):
        sums = np.cumsum(doubt.reshape(-1), dtype=np.float64)
        yield Attention((doubt.shape[0], *doubt.shape[2:]), sums) if sums[-1] > 0 else None


def _add_doubt(model: Any, target: Target) -> Any:
    """Add an output to a model: the chance that two draws from its probabilities differ, (N, 1, ...)."""
    opset = operations()
    found = model.get_results()[0].input_value(0)
    if target.meaning is Meaning.CLASSES:
        probabilities = found if target.is_probability else opset.softmax(found, 1).output(0)
        same = opset.reduce_sum(opset.multiply(probabilities, probabilities), [1], keep_dims=True)
        doubt = opset.subtract(opset.constant(np.float32(1)), same)
    else:
        probabilities = found if target.is_probability else opset.sigmoid(found).output(0)
        against = opset.subtract(opset.constant(np.float32(1)), probabilities)
        doubt = opset.reduce_sum(opset.multiply(probabilities, against), [1], keep_dims=True)
    certain = opset.maximum(doubt, opset.constant(np.float32(0)))
    certain.set_friendly_name(DOUBT)
    model.add_results([opset.result(certain)])
    return certain.output(0)
