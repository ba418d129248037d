"""Tiling of a volume: its windows, the order in which they run, and the pieces of the volume that they share."""

from __future__ import annotations

import itertools
from bisect import bisect_left
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, TypeAlias

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Iterator

    from brain_edge.image.geometry import Shape

Place: TypeAlias = tuple[slice, slice, slice]
"""A box of voxels (I, J, K)."""


@dataclass(frozen=True)
class Tiling:
    """The windows of a volume, the order in which they run, and the cells that they share.

    Attributes:
        sides: sides of the volume (I, J, K) in voxels.
        window: sides of a window (I, J, K) in voxels; a shorter volume is padded.
        starts: first voxels of the windows along each axis.
        order: axes, slowest first.
        margins: voxels at each inner side of a window that do not count if windows are not blended.
    """

    sides: Shape
    window: Shape
    starts: tuple[tuple[int, ...], tuple[int, ...], tuple[int, ...]]
    order: tuple[int, int, int]
    margins: Shape = (0, 0, 0)

    def places(self) -> Iterator[Place]:
        """Yield the windows in order; a window may extend beyond the end of a shorter volume."""
        for at in itertools.product(*(self.starts[axis] for axis in self.order)):
            start = [0, 0, 0]
            for axis, first in zip(self.order, at, strict=True):
                start[axis] = first
            spans = [slice(first, first + side) for first, side in zip(start, self.window, strict=True)]
            yield spans[0], spans[1], spans[2]

    @cached_property
    def cuts(self) -> tuple[tuple[int, ...], ...]:
        """Borders of the cells along each axis: every first voxel of a window and every end; 0 and the side.

        Cells are not cut along the fastest axis, because that would gain nothing.
        """
        cuts = []
        for axis, starts in enumerate(self.starts):
            ends = {min(first + self.window[axis], self.sides[axis]) for first in starts}
            cuts.append((0, self.sides[axis]) if axis == self.order[2] else tuple(sorted({*starts, *ends})))
        return tuple(cuts)

    def cells(self, place: Place) -> Iterator[tuple[int, int, int]]:
        """Yield the cells that a window overlaps, each as its numbers along the axes."""
        ranges = []
        for cuts, span, side in zip(self.cuts, place, self.sides, strict=True):
            whole = len(cuts) == 2
            low, high = (0, 1) if whole else (bisect_left(cuts, span.start), bisect_left(cuts, min(span.stop, side)))
            ranges.append(range(low, high))
        i, j, k = ranges
        yield from itertools.product(i, j, k)

    def counted(self, place: Place) -> Place:
        """Return the part of a window that counts: without the margins at sides where another window follows."""
        spans = [
            slice(span.start + (margin if span.start > 0 else 0), span.stop - (margin if span.stop < side else 0))
            for span, margin, side in zip(place, self.margins, self.sides, strict=True)
        ]
        return spans[0], spans[1], spans[2]

    def cell_place(self, cell: tuple[int, int, int]) -> Place:
        """Return the voxels of a cell."""
        spans = [slice(cuts[number], cuts[number + 1]) for cuts, number in zip(self.cuts, cell, strict=True)]
        return spans[0], spans[1], spans[2]

    @cached_property
    def visits(self) -> dict[tuple[int, int, int], int]:
        """Number of windows that overlap each cell."""
        counted: dict[tuple[int, int, int], int] = {}
        for place in self.places():
            for cell in self.cells(place):
                counted[cell] = counted.get(cell, 0) + 1
        return counted

    def peak_cell_voxels(self) -> int:
        """Largest number of voxels of all cells that are in memory at the same time."""
        left, live, peak = dict(self.visits), 0, 0
        for place in self.places():
            for cell in self.cells(place):
                voxels = int(np.prod([span.stop - span.start for span in self.cell_place(cell)]))
                live += voxels if left[cell] == self.visits[cell] else 0
                peak = max(peak, live)
                left[cell] -= 1
                live -= voxels if left[cell] == 0 else 0
        return peak
