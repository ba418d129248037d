"""Scatter plot as SVG text, which needs no library, stays sharp, and shows values under the pointer."""

from __future__ import annotations

from html import escape
from math import ceil, floor, log10
from typing import TYPE_CHECKING, Final, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

WIDTH, HEIGHT, EDGE = 720, 320, 70
COLOURS: Final = ("#a40000", "#d39e00")


class Point(NamedTuple):
    """A point with its name."""

    x: float
    y: float
    name: str


class _Scale(NamedTuple):
    """Scale from values to pixels."""

    low: float
    high: float
    start_px: float
    end_px: float

    def __call__(self, value: float) -> float:
        share = (value - self.low) / (self.high - self.low)
        return self.start_px + share * (self.end_px - self.start_px)


def scatter_svg(points: Sequence[Point], lines: Mapping[str, float], axes: tuple[str, str]) -> str:
    """Draw the plot as an `<svg>` element.

    Args:
        points: points to draw; without points, a sentence is returned. If all x are whole numbers, so are the ticks.
        lines: values of horizontal lines, by name.
        axes: titles of x and y.
    """
    if not points:
        return "<p>No case has a figure to show.</p>"
    x = _scale([point.x for point in points], EDGE, WIDTH - EDGE)
    y = _scale([0.0, *lines.values(), *(point.y for point in points)], HEIGHT - EDGE, EDGE / 2)
    parts = [
        *_frame(x, y, axes, least_x=1.0 if all(float(point.x).is_integer() for point in points) else 0.0),
        *_lines(lines, y),
        *(
            f'<circle cx="{x(point.x):.1f}" cy="{y(point.y):.1f}" r="4" fill="#0072B2" fill-opacity="0.7">'
            f"<title>{escape(point.name)}: {point.y:.5f}</title></circle>"
            for point in points
        ),
    ]
    return f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" width="{WIDTH}" font-size="12">{"".join(parts)}</svg>'


def _scale(values: Sequence[float], start_px: float, end_px: float) -> _Scale:
    """Return a scale with a margin on both sides, also for equal values."""
    margin = 0.06 * (max(values) - min(values)) or 0.01
    return _Scale(min(values) - margin, max(values) + margin, start_px, end_px)


def _frame(x: _Scale, y: _Scale, axes: tuple[str, str], least_x: float) -> list[str]:
    bottom, left = HEIGHT - EDGE, EDGE
    return [
        f'<path d="M{left} {EDGE / 2}V{bottom}H{WIDTH - EDGE}" fill="none" stroke="#555"/>',
        *(f'<text x="{x(at):.1f}" y="{bottom + 16}" text-anchor="middle">{at:g}</text>' for at in _ticks(x, least_x)),
        *(f'<text x="{left - 6}" y="{y(at) + 4:.1f}" text-anchor="end">{at:g}</text>' for at in _ticks(y)),
        f'<text x="{WIDTH / 2}" y="{HEIGHT - 20}" text-anchor="middle">{escape(axes[0])}</text>',
        f'<text x="12" y="{HEIGHT / 2}" text-anchor="middle" transform="rotate(-90 12 {HEIGHT / 2})">'
        f"{escape(axes[1])}</text>",
    ]


def _ticks(scale: _Scale, least: float = 0.0) -> list[float]:
    """Return at most eight round numbers between the ends of a scale, at least `least` apart."""
    finest = max((scale.high - scale.low) / 8, least)
    power = 10.0 ** floor(log10(finest))
    step = next(power * factor for factor in (1, 2, 5, 10) if power * factor >= finest * (1 - 1e-9))
    return [round(k * step, 12) for k in range(ceil(scale.low / step), floor(scale.high / step) + 1)]


def _lines(lines: Mapping[str, float], y: _Scale) -> list[str]:
    return [
        f'<path d="M{EDGE} {y(value):.1f}H{WIDTH - EDGE}" stroke="{COLOURS[k % len(COLOURS)]}" stroke-dasharray="6 4"/>'
        f'<text x="{WIDTH - EDGE}" y="{y(value) - 4:.1f}" text-anchor="end">{escape(name)}</text>'
        for k, (name, value) in enumerate(lines.items())
    ]
