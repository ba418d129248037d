"""Where the windows of a volume lie, and how their outputs become finished blocks while most are still to come.

Windows run in rows: along the last of three axes first, then along the second, and along the slowest axis last. The
outputs of overlapping windows are summed in cells, the pieces between the borders of all windows. A cell is allocated
when the first window reaches it and leaves, divided by its weights, when the last one has passed. So only the cells
that a later window still changes are in memory: about (window - step) planes of the volume instead of all of them.
"""

from __future__ import annotations

import itertools
from bisect import bisect_left
from collections import deque
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Final, TypeAlias

import numpy as np
from msgspec import UNSET, UnsetType

from brain_edge.errors import BrainEdgeError
from brain_edge.spec import Blending, SlidingWindow, Starts

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from brain_edge.image.geometry import Shape
    from brain_edge.image.volume import FloatArray
    from brain_edge.runtime.protocol import Session

LEAST_WEIGHT: Final = 1e-3
"""Of a voxel in the corner of a window, where the one in the middle counts 1."""

Place: TypeAlias = tuple[slice, slice, slice]
"""A box of voxels (I, J, K)."""


@dataclass(frozen=True, eq=False)
class Source:
    """What the windows are cut from.

    Attributes:
        voxels: (C, I, J, K) float32, in any memory order.
        finish: what is left to be done to intensities, voxel by voxel, once they are cut out (C, i, j, k); None where
            nothing is.
    """

    voxels: FloatArray
    finish: Callable[[FloatArray], FloatArray] | None = None

    @property
    def sides(self) -> Shape:
        """(I, J, K)."""
        return (self.voxels.shape[1], self.voxels.shape[2], self.voxels.shape[3])

    def mirrored(self, axes: tuple[int, ...]) -> Source:
        """The same, mirrored along spatial axes; a view."""
        if not axes:
            return self
        return Source(np.flip(self.voxels, tuple(axis + 1 for axis in axes)), self.finish)

    def whole(self) -> FloatArray:
        """All of it as the input of a network (1, C, I, J, K)."""
        return np.ascontiguousarray(self._finished(self.voxels)[np.newaxis], dtype=np.float32)

    def cut(self, place: Place) -> FloatArray:
        """A window as the input of a network (1, C, i, j, k); zeros where it reaches beyond the end of the volume."""
        inside = self._finished(self.voxels[(slice(None), *place)])
        sides = tuple(span.stop - span.start for span in place)
        if inside.shape[1:] == sides:
            return np.ascontiguousarray(inside[np.newaxis], dtype=np.float32)
        padded = np.zeros((1, inside.shape[0], *sides), dtype=np.float32)
        i, j, k = inside.shape[1:]
        padded[0, :, :i, :j, :k] = inside
        return padded

    def _finished(self, cut: FloatArray) -> FloatArray:
        return cut if self.finish is None else self.finish(cut)


def window_starts(side: int, window: int, overlap: float, starts: Starts | UnsetType = UNSET) -> tuple[int, ...]:
    """First voxels of the windows along one axis of `side` >= `window` voxels.

    Equal steps of at most `window * (1 - overlap)`; the first window starts at 0, the last one ends at `side`. At a
    fixed step the last one overlaps the one before it by more than the others do (MONAI, `_get_scan_interval` and
    `dense_patch_slices`).
    """
    span = side - window
    if span <= 0:
        return (0,)
    if starts is Starts.FIXED_STEP:
        return (*range(0, span, max(1, int(window * (1 - overlap)))), span)
    count = int(np.ceil(span / max(1.0, window * (1.0 - overlap)))) + 1
    return tuple(round(span * index / (count - 1)) for index in range(count))


def window_weights(shape: Shape, blending: Blending) -> FloatArray:
    """How much each voxel (I, J, K) of a window counts; the centre counts 1, no voxel counts nothing.

    Gaussian with a standard deviation of an eighth of the side, as in nnU-Net; its far corners are raised to
    the least weight that float32 sums can still hold apart. With a floor the middle of an even side, which lies
    between two voxels, is what counts 1.
    """
    if blending in (Blending.CONSTANT, Blending.LAST):
        return np.ones(shape, dtype=np.float32)
    if blending is Blending.GAUSSIAN_CUT:
        return _cut_weights(shape)
    axes = [np.exp(-0.5 * ((np.arange(side) - (side - 1) / 2) / (side / 8)) ** 2) for side in shape]
    weights = axes[0][:, None, None] * axes[1][None, :, None] * axes[2][None, None, :]
    greatest = 1.0 if blending is Blending.GAUSSIAN_FLOOR else weights.max()
    return np.asarray(np.maximum(weights / greatest, LEAST_WEIGHT), dtype=np.float32)


def _cut_weights(shape: Shape) -> FloatArray:
    """nnU-Net's (`compute_gaussian`): ten times as large, where half precision does not hold it the least it holds."""
    from scipy.ndimage import gaussian_filter1d

    axes = [gaussian_filter1d(np.eye(side)[side // 2], side / 8, mode="constant") for side in shape]
    weights = axes[0][:, None, None] * axes[1][None, :, None] * axes[2][None, None, :]
    held = (10 * weights / weights.max()).astype(np.float16)
    return np.asarray(np.where(held == 0, held[held > 0].min(), held), dtype=np.float32)


@dataclass(frozen=True)
class Tiling:
    """The windows of a volume, the order in which they run, and the cells that they share.

    Attributes:
        sides: of the volume (I, J, K).
        window: of a window; may be longer than the volume, which is padded then.
        starts: first voxels of the windows along each axis.
        order: the axes, slowest first.
        margins: voxels at each inner side of a window that do not count, where windows are not blended.
    """

    sides: Shape
    window: Shape
    starts: tuple[tuple[int, ...], tuple[int, ...], tuple[int, ...]]
    order: tuple[int, int, int]
    margins: Shape = (0, 0, 0)

    @classmethod
    def of(cls, sides: Shape, execution: SlidingWindow) -> Tiling:
        """The windows of a volume, slowest along the axis that keeps the fewest unfinished voxels."""
        i, j, k = (
            window_starts(side, window, execution.overlap, execution.starts)
            for side, window in zip(sides, execution.shape, strict=True)
        )
        starts = (i, j, k)

        def unfinished(axis: int) -> int:
            steps = [after - before for before, after in itertools.pairwise(starts[axis])]
            kept = execution.shape[axis] - min(steps, default=execution.shape[axis])
            return kept * int(np.prod([side for other, side in enumerate(sides) if other != axis]))

        # the last axis stays the last where possible: along it voxels lie beside each other
        slow = min(range(3), key=lambda axis: (unfinished(axis), axis))
        second, last = (axis for axis in range(3) if axis != slow)
        return cls(sides, execution.shape, starts, (slow, second, last), _margins(execution))

    def places(self) -> Iterator[Place]:
        """The windows in their order; they may reach beyond the end of a volume that is shorter than a window."""
        for at in itertools.product(*(self.starts[axis] for axis in self.order)):
            start = [0, 0, 0]
            for axis, first in zip(self.order, at, strict=True):
                start[axis] = first
            spans = [slice(first, first + side) for first, side in zip(start, self.window, strict=True)]
            yield spans[0], spans[1], spans[2]

    @cached_property
    def cuts(self) -> tuple[tuple[int, ...], ...]:
        """Along each axis, the borders of the cells: every first voxel of a window and every end; 0 and the side.

        Cells are not cut along the fastest axis, where nothing is gained by it.
        """
        cuts = []
        for axis, starts in enumerate(self.starts):
            ends = {min(first + self.window[axis], self.sides[axis]) for first in starts}
            cuts.append((0, self.sides[axis]) if axis == self.order[2] else tuple(sorted({*starts, *ends})))
        return tuple(cuts)

    def cells(self, place: Place) -> Iterator[tuple[int, int, int]]:
        """The cells that a window reaches, each as its number along each axis."""
        ranges = []
        for cuts, span, side in zip(self.cuts, place, self.sides, strict=True):
            whole = len(cuts) == 2
            low, high = (0, 1) if whole else (bisect_left(cuts, span.start), bisect_left(cuts, min(span.stop, side)))
            ranges.append(range(low, high))
        i, j, k = ranges
        yield from itertools.product(i, j, k)

    def counted(self, place: Place) -> Place:
        """What of a window counts: all of it but the margins at those sides where another window follows."""
        spans = [
            slice(span.start + (margin if span.start > 0 else 0), span.stop - (margin if span.stop < side else 0))
            for span, margin, side in zip(place, self.margins, self.sides, strict=True)
        ]
        return spans[0], spans[1], spans[2]

    def cell_place(self, cell: tuple[int, int, int]) -> Place:
        """The voxels of a cell."""
        spans = [slice(cuts[number], cuts[number + 1]) for cuts, number in zip(self.cuts, cell, strict=True)]
        return spans[0], spans[1], spans[2]

    @cached_property
    def visits(self) -> dict[tuple[int, int, int], int]:
        """How many windows reach each cell."""
        counted: dict[tuple[int, int, int], int] = {}
        for place in self.places():
            for cell in self.cells(place):
                counted[cell] = counted.get(cell, 0) + 1
        return counted

    def peak_cell_voxels(self) -> int:
        """Voxels of all cells that are in memory at the same time, at most."""
        left, live, peak = dict(self.visits), 0, 0
        for place in self.places():
            for cell in self.cells(place):
                voxels = int(np.prod([span.stop - span.start for span in self.cell_place(cell)]))
                live += voxels if left[cell] == self.visits[cell] else 0
                peak = max(peak, live)
                left[cell] -= 1
                live -= voxels if left[cell] == 0 else 0
        return peak


def _margins(execution: SlidingWindow) -> Shape:
    """Half of the overlap of two windows along each axis, where they are not blended."""
    if execution.blending is not Blending.LAST:
        return 0, 0, 0
    i, j, k = ((side - step) // 2 for side, step in zip(execution.shape, execution.fixed_steps, strict=True))
    return i, j, k


class _Cell:
    """Weighted sums of the outputs of the windows that reach a piece of the volume."""

    def __init__(self, place: Place, channels: int, visits: int) -> None:
        sides = [span.stop - span.start for span in place]
        self.place = place
        self.total = np.zeros((channels, *sides), dtype=np.float32)
        self.counts = np.zeros(sides, dtype=np.float32)
        self.visits_left = visits

    def add(self, window: Place, output: FloatArray, weights: FloatArray) -> None:
        """Add what an output (D, i, j, k) of a window and its weights (i, j, k) have in this cell."""
        here, there = self._shared(window, window)
        weight = weights[there]
        self.total[(slice(None), *here)] += output[(slice(None), *there)] * weight
        self.counts[here] += weight
        self.visits_left -= 1

    def put(self, window: Place, counted: Place, output: FloatArray) -> None:
        """Put what counts of the output (D, i, j, k) of a window in the place of what there was in this cell."""
        here, there = self._shared(window, counted)
        self.total[(slice(None), *here)] = output[(slice(None), *there)]
        self.counts[here] = 1
        self.visits_left -= 1

    def _shared(self, window: Place, counted: Place) -> tuple[Place, Place]:
        """The voxels of this cell that are in a part of a window: their places in the cell and in the window."""
        here, there = [], []
        for mine, its, part in zip(self.place, window, counted, strict=True):
            low = max(mine.start, part.start)
            high = max(low, min(mine.stop, part.stop))
            here.append(slice(low - mine.start, high - mine.start))
            there.append(slice(low - its.start, high - its.start))
        return (here[0], here[1], here[2]), (there[0], there[1], there[2])


def finished_blocks(
    tiling: Tiling, blending: Blending, outputs: Iterable[FloatArray]
) -> Iterator[tuple[Place, FloatArray]]:
    """The weighted mean of the outputs of the windows, cell by cell as each is finished: its place, (D, i, j, k).

    Where windows are not blended it is the output of the last one.

    Args:
        tiling: the windows.
        blending: how they count.
        outputs: of each window (D, *window), in the order of the tiling; each is read before the next is asked for.
    """
    weights = window_weights(tiling.window, blending)
    cells: dict[tuple[int, int, int], _Cell] = {}
    for window, output in zip(tiling.places(), outputs, strict=True):
        for number in tiling.cells(window):
            if number not in cells:
                cells[number] = _Cell(tiling.cell_place(number), output.shape[0], tiling.visits[number])
            cell = cells[number]
            if blending is Blending.LAST:
                cell.put(window, tiling.counted(window), output)
            else:
                cell.add(window, output, weights)
            if cell.visits_left == 0:
                del cells[number]
                yield cell.place, np.divide(cell.total, cell.counts, out=cell.total)


def run_many(session: Session, batches: Iterable[FloatArray]) -> Iterator[FloatArray]:
    """The outputs of a session for many inputs of one shape, in their order; each is to be read before the next.

    An input that holds one value per channel (air that was set to zero) gives the same output each time, so the
    network runs once for it: for the first such value that comes, since that is the background of the image.
    """
    many: Callable[[Iterable[FloatArray]], Iterator[FloatArray]]
    many = getattr(session, "run_many", None) or (lambda inputs: map(session, inputs))
    background: bytes | None = None
    expected: deque[bytes | None] = deque()
    kept: FloatArray | None = None

    def to_run() -> Iterator[FloatArray]:
        nonlocal background
        for batch in batches:
            value = constant_value(batch)
            is_repeated = value is not None and value == background
            background = background or value
            expected.append(value if value == background else None)
            if not is_repeated:
                yield batch

    for output in many(to_run()):
        while kept is not None and expected[0] == background:
            expected.popleft()
            yield kept
        if expected.popleft() is not None:
            kept = output.copy()
        yield output
    while expected and kept is not None:
        expected.popleft()
        yield kept


def constant_value(batch: FloatArray) -> bytes | None:
    """The value of each channel, where an input (1, C, i, j, k) holds nothing else, to the bit; None elsewhere."""
    channels = np.ascontiguousarray(batch).reshape(batch.shape[1], -1).view(np.uint32)
    first = channels[:, :1]
    # most windows differ in a corner already
    if not (channels[:, -1:] == first).all() or not (channels == first).all():
        return None
    return first.tobytes()


def require_output(output: FloatArray, expected: tuple[int, ...]) -> FloatArray:
    """The output of a network, where it has the shape that its specification promises and holds numbers.

    Raises:
        BrainEdgeError: another shape, or NaN.
    """
    if output.shape != expected:
        wanted, got = (" x ".join(map(str, shape)) for shape in (expected, output.shape))
        raise BrainEdgeError(
            f"expected {wanted} numbers from the network, got {got}: it does not give back the sides it is given (the "
            "steps must pad to a multiple) or has other channels than its specification"
        )
    if np.isnan(output.max()):
        raise BrainEdgeError("the network computed NaN (not a number); no mask can be made of that")
    return output
