"""Inference over the windows of a volume: outputs become finished blocks while most windows are still to come.

Windows run in rows: along the last of three axes first, then along the second, and along the slowest axis last. The
outputs of overlapping windows are summed in cells, the pieces between the borders of all windows. A cell is allocated
when the first window reaches it. It is divided by its weights and yielded when the last window has passed. So memory
holds only the cells that a later window still changes: about (window - step) planes of the volume.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np

from brain_edge.errors import BrainEdgeError
from brain_edge.image.repeated import RepeatedPlanes
from brain_edge.runtime.protocol import CopyingSession
from brain_edge.spec import Blending

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from brain_edge.image.geometry import Shape
    from brain_edge.image.volume import FloatArray
    from brain_edge.runtime.protocol import Session
    from brain_edge.spec import SlidingWindow, StridedWindows
    from brain_edge.spec.tiling import Place, Tiling

LEAST_WEIGHT: Final = 1e-3
"""Weight of a voxel in the corner of a window, relative to 1 in the middle."""


@dataclass(frozen=True, eq=False)
class Source:
    """Volume from which the windows are cut.

    Attributes:
        voxels: voxels (C, I, J, K) float32, in any memory order.
        finish: voxel-wise function that is applied to the intensities (C, i, j, k) of each window after cutting.
        planes: for each plane of the volume along K, the index of the plane of `voxels` that it copies; None if they
            are the same. Such a volume is neither cut nor mirrored, and has nothing to finish.
    """

    voxels: FloatArray
    finish: Callable[[FloatArray], FloatArray] = np.asarray
    planes: np.ndarray[tuple[int], np.dtype[np.intp]] | None = None

    @property
    def sides(self) -> Shape:
        """Sides (I, J, K) in voxels."""
        i, j, k = self.voxels.shape[1:]
        return (i, j, k if self.planes is None else len(self.planes))

    def mirrored(self, axes: tuple[int, ...]) -> Source:
        """Return the source mirrored along spatial axes, as a view."""
        if not axes:
            return self
        return Source(np.flip(self.voxels, tuple(axis + 1 for axis in axes)), self.finish)

    def whole_of(self, session: Session) -> FloatArray | RepeatedPlanes:
        """Return the whole volume as the input of a session, which may copy planes itself."""
        if self.planes is None:
            return self.whole()
        batch = RepeatedPlanes(self.voxels[np.newaxis], self.planes.astype(np.int32))
        return batch if isinstance(session, CopyingSession) and session.copies_planes else np.asarray(batch)

    def whole(self) -> FloatArray:
        """Return the whole volume as the input of a network (1, C, I, J, K)."""
        return np.ascontiguousarray(self.finish(self.voxels)[np.newaxis], dtype=np.float32)

    def cut(self, place: Place) -> FloatArray:
        """Return a window as the input of a network (1, C, i, j, k), with zeros beyond the volume."""
        parts = [slice(max(0, span.start), min(side, span.stop)) for span, side in zip(place, self.sides, strict=True)]
        inside = self.finish(self.voxels[:, parts[0], parts[1], parts[2]])
        sides = tuple(span.stop - span.start for span in place)
        if inside.shape[1:] == sides:
            return np.ascontiguousarray(inside[np.newaxis], dtype=np.float32)
        padded = np.zeros((1, inside.shape[0], *sides), dtype=np.float32)
        i, j, k = (
            slice(part.start - span.start, part.stop - span.start) for part, span in zip(parts, place, strict=True)
        )
        padded[0, :, i, j, k] = inside
        return padded


def window_weights(shape: Shape, blending: Blending) -> FloatArray:
    """Return the weight of each voxel (I, J, K) of a window: 1 at the centre, above 0 everywhere.

    The weights are a Gaussian with a standard deviation of an eighth of the side, as in nnU-Net. Its far corners are
    raised to the smallest weight that float32 sums still resolve. With `GAUSSIAN_FLOOR`, the point of weight 1 on an
    even side lies between two voxels.
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
    """Return nnU-Net's weights (`compute_gaussian`) up to 10; zeros of half precision become its smallest weight."""
    from scipy.ndimage import gaussian_filter1d

    axes = [gaussian_filter1d(np.eye(side)[side // 2], side / 8, mode="constant") for side in shape]
    weights = axes[0][:, None, None] * axes[1][None, :, None] * axes[2][None, None, :]
    held = (10 * weights / weights.max()).astype(np.float16)
    return np.asarray(np.where(held == 0, held[held > 0].min(), held), dtype=np.float32)


class _Cell:
    """Weighted sums of the outputs of all windows that overlap one piece of the volume."""

    def __init__(self, place: Place, channels: int, visits: int) -> None:
        sides = [span.stop - span.start for span in place]
        self.place = place
        self.total = np.zeros((channels, *sides), dtype=np.float32)
        self.counts = np.zeros(sides, dtype=np.float32)
        self.visits_left = visits

    def add(self, window: Place, output: FloatArray, weights: FloatArray) -> None:
        """Add the part of a window's output (D, i, j, k) and weights (i, j, k) that lies in this cell."""
        here, there = self._shared(window, window)
        weight = weights[there]
        self.total[(slice(None), *here)] += output[(slice(None), *there)] * weight
        self.counts[here] += weight
        self.visits_left -= 1

    def put(self, window: Place, counted: Place, output: FloatArray) -> None:
        """Replace this cell's voxels with the counted part of a window's output (D, i, j, k)."""
        here, there = self._shared(window, counted)
        self.total[(slice(None), *here)] = output[(slice(None), *there)]
        self.counts[here] = 1
        self.visits_left -= 1

    def _shared(self, window: Place, counted: Place) -> tuple[Place, Place]:
        """Return the voxels shared with a part of a window: their places in the cell and in the window."""
        here, there = [], []
        for mine, its, part in zip(self.place, window, counted, strict=True):
            low = max(mine.start, part.start)
            high = max(low, min(mine.stop, part.stop))
            here.append(slice(low - mine.start, high - mine.start))
            there.append(slice(low - its.start, high - its.start))
        return (here[0], here[1], here[2]), (there[0], there[1], there[2])


def window_blocks(
    execution: SlidingWindow | StridedWindows, channels_out: int, session: Session, source: Source
) -> Iterator[tuple[Place, FloatArray]]:
    """Yield the blended output of the windows block by block: its place (I, J, K), and the numbers (D, i, j, k) there.

    Raises:
        BrainEdgeError: the network returns another shape than its specification says, or NaN.
    """
    tiling, margin = execution.tiling(source.sides), execution.margin

    def widened(place: Place) -> Place:
        i, j, k = (slice(span.start - edge, span.stop + edge) for span, edge in zip(place, margin, strict=True))
        return i, j, k

    outputs = run_many(session, (source.cut(widened(place)) for place in tiling.places()))
    expected = (1, channels_out, *execution.shape)
    i, j, k = (slice(edge, side - edge) for edge, side in zip(margin, execution.shape, strict=True))
    kept = (require_output(output, expected)[0, :, i, j, k] for output in outputs)
    yield from finished_blocks(tiling, execution.blending, kept)


def finished_blocks(
    tiling: Tiling, blending: Blending, outputs: Iterable[FloatArray]
) -> Iterator[tuple[Place, FloatArray]]:
    """Yield the weighted mean of the windows' outputs, cell by cell as each is finished: its place, (D, i, j, k).

    Without blending, the output of the last window counts.

    Args:
        tiling: windows of the volume.
        blending: weighting of the windows.
        outputs: output of each window (D, *window) in the order of the tiling; read before the next is requested.
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
    """Yield the outputs of a session for many inputs of one shape, in order; read each output before the next.

    An input with one value per channel (air that was set to zero) gives the same output each time, so the network runs
    once for it. This applies to the first such value, which is the background of the image.
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


def require_output(output: FloatArray, expected: tuple[int, ...]) -> FloatArray:
    """Return the output of a network if its shape matches the specification and it contains no NaN.

    Raises:
        BrainEdgeError: the output has another shape, or contains NaN.
    """
    if output.shape != expected:
        wanted, given = (" x ".join(map(str, shape)) for shape in (expected, output.shape))
        raise BrainEdgeError(
            f"expected {wanted} numbers from the network, got {given}; correct the channels in the specification, or "
            "pad the input to a multiple that the network keeps"
        )
    if np.isnan(output.max()):
        raise BrainEdgeError("the network computed NaN (not a number); no mask can be made")
    return output


def constant_value(batch: FloatArray) -> bytes | None:
    """Return the channel values, as bytes, of an input (1, C, i, j, k) with one value per channel; else None."""
    channels = np.ascontiguousarray(batch).reshape(batch.shape[1], -1).view(np.uint32)
    first = channels[:, :1]
    # in most windows the corners already differ
    if not (channels[:, -1:] == first).all() or not (channels == first).all():
        return None
    return first.tobytes()
