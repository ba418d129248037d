"""Inputs that a layer's weights multiply, at sampled positions of its output: a layer as a product of two matrices.

A group of a layer is a matrix of weights (outputs, terms). A term is one input channel at one place of the kernel. A
convolution and its transpose differ only in the input position that belongs to an output position.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from numpy.typing import NDArray

    from brain_edge.image.volume import FloatArray

    Positions = NDArray[np.int64]
    """Flat positions in the batch and the spatial axes of an output."""


@dataclass(frozen=True)
class Layout:
    """Geometry of one layer with weights.

    Attributes:
        kind: operation type of the layer.
        weights: shape of the weights as the layer reads them.
        strides, pads, dilations: values per spatial axis; empty for a matrix product.
        transposed: True if a matrix product reads its weights as (outputs, terms).
    """

    kind: str
    weights: tuple[int, ...]
    strides: tuple[int, ...] = ()
    pads: tuple[int, ...] = ()
    dilations: tuple[int, ...] = ()
    transposed: bool = False

    @property
    def is_product(self) -> bool:
        """True for a matrix product."""
        return self.kind == "MatMul"

    @property
    def is_grouped(self) -> bool:
        """True if the weights have an axis of groups."""
        return self.kind.startswith("Group")

    @property
    def groups(self) -> int:
        """Number of groups."""
        return self.weights[0] if self.is_grouped else 1

    @property
    def kernel(self) -> tuple[int, ...]:
        """Sides of the kernel."""
        return self.weights[len(self.weights) - len(self.strides) :]

    @property
    def outputs_last(self) -> bool:
        """True if the weights have the outputs behind the inputs."""
        return self.kind.endswith("BackpropData") or (self.is_product and not self.transposed)


def layout_of(node: Any) -> Layout | None:
    """Return the layout of a layer of a model with static shapes; None if no fit of its weights is known."""
    kind, attributes = node.get_type_name(), node.get_attributes()
    weights = tuple(int(side) for side in node.input_value(1).get_shape())
    if kind == "MatMul":
        if attributes["transpose_a"] or len(weights) != 2:
            return None
        return Layout(kind, weights, transposed=bool(attributes["transpose_b"]))
    return Layout(
        kind,
        weights,
        tuple(attributes["strides"]),
        tuple(attributes["pads_begin"]),
        tuple(attributes["dilations"]),
    )


def as_rows(weights: FloatArray, layout: Layout) -> FloatArray:
    """Return the weights of a layer as (groups, outputs, terms)."""
    grouped = weights if layout.is_grouped else weights[np.newaxis]
    if layout.outputs_last:
        grouped = np.swapaxes(grouped, 1, 2)
    return grouped.reshape(*grouped.shape[:2], -1)


def from_rows(rows: FloatArray, layout: Layout) -> FloatArray:
    """Return the weights of a layer from (groups, outputs, terms): the inverse of `as_rows`."""
    groups, outputs, terms = rows.shape
    kernel = layout.kernel
    grouped = rows.reshape(groups, outputs, terms // math.prod(kernel), *kernel)
    if layout.outputs_last:
        grouped = np.swapaxes(grouped, 1, 2)
    return np.ascontiguousarray(grouped.reshape(layout.weights))


def places(shape: Sequence[int], layout: Layout) -> tuple[int, ...]:
    """Return the sides in which positions count: batch and spatial axes of a shape, or all axes but the last."""
    return tuple(shape[:-1]) if layout.is_product else (shape[0], *shape[2:])


def in_groups(rows: FloatArray, layout: Layout) -> FloatArray:
    """Return the outputs (groups, positions, outputs) of a layer from the channels (positions, channels)."""
    return np.moveaxis(rows.reshape(len(rows), layout.groups, -1), 1, 0)


@dataclass(frozen=True)
class Patches:
    """Input of a layer at the places that some windows read, which are few in a large input.

    Attributes:
        places: flat places in the batch and the spatial axes, sorted, (n,).
        values: values there, (n, channels).
        extent: spatial sides of the whole input; empty for a matrix product.
    """

    places: Positions
    values: FloatArray
    extent: tuple[int, ...]

    def at(self, places: Positions) -> FloatArray:
        """Return the values (places, channels) at some of the places."""
        return self.values[np.searchsorted(self.places, places)]


def places_read(positions: Positions, sides: Sequence[int], extent: Sequence[int], layout: Layout) -> Positions:
    """Return the places in the input of a layer that the windows of some positions read, sorted.

    Args:
        positions: flat positions in the output.
        sides: shape in which the positions count (`places`).
        extent: spatial sides of the input.
        layout: geometry of the layer.
    """
    if layout.is_product:
        return np.unique(positions)
    return np.unique(np.concatenate([read for read, _ in _sources(positions, sides, extent, layout)]))


def windows_at(patches: Patches, sides: Sequence[int], layout: Layout, positions: Positions) -> FloatArray:
    """Return the inputs (groups, positions, terms) that the weights multiply at some positions of the output.

    Args:
        patches: input of the layer at the places that the windows read.
        sides: shape in which the positions count (`places`).
        layout: geometry of the layer.
        positions: flat positions.
    """
    if layout.is_product:
        return np.ascontiguousarray(patches.at(positions))[np.newaxis]
    found = np.empty((len(positions), patches.values.shape[1], math.prod(layout.kernel)), np.float32)
    for number, (read, inside) in enumerate(_sources(positions, sides, patches.extent, layout)):
        found[:, :, number] = np.where(inside[:, np.newaxis], patches.at(read), 0.0)
    grouped = found.reshape(len(positions), layout.groups, -1)
    return np.ascontiguousarray(np.moveaxis(grouped, 1, 0))


def _sources(
    positions: Positions, sides: Sequence[int], extent: Sequence[int], layout: Layout
) -> Iterator[tuple[Positions, NDArray[np.bool_]]]:
    """Yield for each place of the kernel the flat places in the input, and whether they lie inside of it."""
    index = np.unravel_index(positions, tuple(sides))
    for offset in np.ndindex(*layout.kernel):
        place, inside = _source(index[1:], offset, extent, layout)
        yield index[0] * math.prod(extent) + place, inside


def _source(
    index: Sequence[Positions], offset: Sequence[int], extent: Sequence[int], layout: Layout
) -> tuple[Positions, NDArray[np.bool_]]:
    """Return the flat input position of one place of the kernel, and whether it lies inside of the input."""
    flat = np.zeros_like(index[0])
    inside = np.ones(flat.shape, bool)
    for axis, side in enumerate(extent):
        stride, pad, reach = layout.strides[axis], layout.pads[axis], offset[axis] * layout.dilations[axis]
        if layout.kind.endswith("BackpropData"):
            at, rest = np.divmod(index[axis] + pad - reach, stride)
            inside &= rest == 0
        else:
            at = index[axis] * stride - pad + reach
        inside &= (at >= 0) & (at < side)
        flat = flat * side + np.clip(at, 0, side - 1)
    return flat, inside
