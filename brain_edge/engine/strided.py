"""Windows at a fixed stride of which only the core is kept."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from brain_edge.engine.windows import Tiling, finished_blocks, require_output, run_many

if TYPE_CHECKING:
    from collections.abc import Iterator

    from brain_edge.engine.windows import Place, Source
    from brain_edge.image.geometry import Shape
    from brain_edge.image.volume import FloatArray
    from brain_edge.runtime.protocol import Session
    from brain_edge.spec.execution import StridedWindows


def strided_blocks(
    execution: StridedWindows, channels_out: int, session: Session, source: Source
) -> Iterator[tuple[Place, FloatArray]]:
    """The blended output of the windows, block by block: its place (I, J, K), and the numbers (D, i, j, k) there.

    Raises:
        BrainEdgeError: the network gives another shape than its specification says, or NaN.
    """
    tiling = cores(source.sides, execution)
    margin = tuple((side - kept) // 2 for side, kept in zip(execution.shape, execution.core, strict=True))
    outputs = run_many(session, (_window_around(source, place, margin) for place in tiling.places()))
    expected = (1, channels_out, *execution.shape)
    i, j, k = (slice(edge, edge + kept) for edge, kept in zip(margin, execution.core, strict=True))
    middles = (require_output(output, expected)[0, :, i, j, k] for output in outputs)
    yield from finished_blocks(tiling, execution.blending, middles)


def cores(sides: Shape, execution: StridedWindows) -> Tiling:
    """Where the cores lie in a volume."""
    i, j, k = (
        strided_starts(side, kept, step)
        for side, kept, step in zip(sides, execution.core, execution.stride, strict=True)
    )
    return Tiling(sides, execution.core, (i, j, k), (0, 1, 2))


def strided_starts(side: int, window: int, stride: int) -> tuple[int, ...]:
    """First voxels along an axis of `side` voxels: 0, `stride`, ..., and the last one so that it ends at the border."""
    span = side - window
    return (0,) if span <= 0 else (*range(0, span, stride), span)


def _window_around(source: Source, core: Place, margin: tuple[int, ...]) -> FloatArray:
    """The window (1, C, i, j, k) around a core; zeros where it reaches beyond the volume."""
    lows = [span.start - edge for span, edge in zip(core, margin, strict=True)]
    highs = [span.stop + edge for span, edge in zip(core, margin, strict=True)]
    spans = [slice(max(0, low), min(side, high)) for low, high, side in zip(lows, highs, source.sides, strict=True)]
    inside = source.cut((spans[0], spans[1], spans[2]))
    window = np.zeros((1, inside.shape[1], *(high - low for low, high in zip(lows, highs, strict=True))), np.float32)
    here = (slice(span.start - low, span.stop - low) for span, low in zip(spans, lows, strict=True))
    window[(slice(None), slice(None), *here)] = inside
    return window
