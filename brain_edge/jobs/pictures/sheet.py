"""Black sheet for text, lines and pictures, placed in pixels from the upper left corner.

No other module uses matplotlib figures. The Agg canvas needs no display, and `pyplot`, whose state a whole process
shares, is never imported.
"""

from __future__ import annotations

import os
import textwrap
from contextlib import contextmanager
from tempfile import TemporaryDirectory
from threading import Lock
from typing import TYPE_CHECKING, Any, Final, NamedTuple, TypeAlias

from brain_edge.errors import extra_needed
from brain_edge.machine.atomic import atomic_file

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence
    from pathlib import Path

    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from numpy import float64
    from numpy.typing import NDArray

    from brain_edge.image.volume import FloatArray

    Places: TypeAlias = NDArray[float64]

BACKGROUND: Final = "black"
PALE: Final = "#E8E8E8"
FAINT: Final = "#A8A8A8"
ALERT: Final = "#F0E442"

DPI: Final = 100
COMPRESS_LEVEL: Final = 3
"""Level of zlib, 0 to 9: with pillow's default of 6, a picture takes twice as long to encode and is no smaller."""
WIDTH_PX: Final = 1800
EDGE_PX: Final = 28
GAP_PX: Final = 8
LINE_PX: Final = 24
"""Height of one line of text."""
FAMILY: Final = "DejaVu Sans"
"""Font that comes with matplotlib, so that a picture looks the same on every machine."""
MATPLOTLIB_FOLDER: Final = "MPLCONFIGDIR"
"""Environment variable that names matplotlib's folder for settings and font list, by default in the home folder."""
_IMPORTING: Final = Lock()
"""Lock of the environment, which all threads share: cases of a batch draw their pictures at once."""
PLAIN_TEXT: Final = {"family": FAMILY, "parse_math": False, "usetex": False}
"""Text style in which a dollar sign or an underscore in a file name is not mathematics, whatever matplotlibrc says."""


def require_matplotlib() -> None:
    """Check that pictures can be drawn, before any computation.

    Raises:
        MissingExtraError: matplotlib is not installed.
    """
    with extra_needed("a picture of a mask", "matplotlib", "report"), _IMPORTING, _home_left_alone():
        import matplotlib.figure
        import matplotlib.font_manager  # noqa: F401 - reads every font of the system, and keeps a list of the fonts


@contextmanager
def _home_left_alone() -> Iterator[None]:
    """Give matplotlib a temporary folder for its settings and caches, unless the user has named one."""
    if MATPLOTLIB_FOLDER in os.environ:
        yield
        return
    with TemporaryDirectory() as folder:
        os.environ[MATPLOTLIB_FOLDER] = folder
        try:
            yield
        finally:
            del os.environ[MATPLOTLIB_FOLDER]


Extent: TypeAlias = tuple[float, float, float, float]
"""Left, right, bottom and top of a panel."""


class Font(NamedTuple):
    """Style of text."""

    size_pt: float = 11
    colour: str = PALE
    weight: str = "normal"

    def width_px(self, text: str) -> float:
        """Return the width of one line as drawn; hinting makes it not proportional to the font size."""
        from matplotlib.backends.backend_agg import RendererAgg
        from matplotlib.font_manager import FontProperties

        properties = FontProperties(family=FAMILY, weight=self.weight, size=self.size_pt)
        width_px, _, _ = RendererAgg(1, 1, DPI).get_text_width_height_descent(text, properties, ismath=False)
        return float(width_px)

    def wrapped(self, sentences: Iterable[str], width_px: float) -> list[str]:
        """Wrap sentences into lines that fit a width, each sentence on its own lines; a long word is broken."""
        wrapped = []
        for sentence in sentences:
            characters = max(len(sentence), 1)
            lines = textwrap.wrap(sentence, characters)
            while characters > 1 and any(self.width_px(line) > width_px for line in lines):
                characters = int(characters * 0.95)
                lines = textwrap.wrap(sentence, characters)
            wrapped += lines
        return wrapped


class Line(NamedTuple):
    """Style of a contour; `dashes` is empty for an unbroken line."""

    colour: str
    dashes: tuple[float, ...]
    width_pt: float

    def style(self) -> Any:
        """Return the line style for matplotlib."""
        return (0, self.dashes) if self.dashes else "solid"


class Sheet:
    """Black figure of the width `WIDTH_PX` on which blocks are drawn."""

    def __init__(self, height_px: float) -> None:
        from matplotlib.figure import Figure

        self.height_px = height_px
        self.figure: Figure = Figure(figsize=(WIDTH_PX / DPI, height_px / DPI), dpi=DPI, facecolor=BACKGROUND)

    def text(self, x_px: float, y_px: float, text: str, font: Font, *, ha: str = "left", va: str = "top") -> None:
        """Write one line with its upper left corner at a place, unless the alignments differ."""
        style: dict[str, Any] = {"color": font.colour, "fontsize": font.size_pt, "weight": font.weight, **PLAIN_TEXT}
        self.figure.text(x_px / WIDTH_PX, 1 - y_px / self.height_px, text, ha=ha, va=va, **style)

    def rule(self, x_px: float, y_px: float, length_px: float, line: Line) -> None:
        """Draw a horizontal line."""
        from matplotlib.lines import Line2D

        y = 1 - y_px / self.height_px
        ends = (x_px / WIDTH_PX, (x_px + length_px) / WIDTH_PX)
        style = {"color": line.colour, "linestyle": line.style(), "linewidth": line.width_pt}
        self.figure.add_artist(Line2D(ends, (y, y), **style))

    def panel(self, x_px: float, y_px: float, size_px: tuple[float, float], extent_mm: Extent) -> Panel:
        """Return a panel in mm without frame or ticks."""
        width, height = size_px
        place = (x_px / WIDTH_PX, 1 - (y_px + height) / self.height_px, width / WIDTH_PX, height / self.height_px)
        axes = self.figure.add_axes(place, xlim=extent_mm[:2], ylim=extent_mm[2:])
        axes.set_axis_off()
        return Panel(axes, extent_mm)


class Panel(NamedTuple):
    """Part of a sheet for one slice, with sides in mm."""

    axes: Axes
    extent_mm: Extent

    def picture(self, pixels: FloatArray, window: tuple[float, float]) -> None:
        """Show grey values (rows, columns) from black to white in a window, with the first row at y = 0."""
        self.axes.imshow(
            pixels,
            cmap="gray",
            vmin=window[0],
            vmax=window[1],
            origin="lower" if self.extent_mm[2] == 0 else "upper",
            extent=self.extent_mm,
            aspect="auto",  # the panel has the shape of the slice in mm
            interpolation="bilinear",
        )

    def contour(self, x_mm: Places, y_mm: Places, values: FloatArray, line: Line) -> None:
        """Draw the line on which values (rows, columns) at these places cross 0.5."""
        style = {"colors": [line.colour], "linewidths": line.width_pt, "linestyles": [line.style()]}
        self.axes.contour(x_mm, y_mm, values, levels=[0.5], **style)

    def letters(self, x: float, y: float, text: str, ha: str, va: str) -> None:
        """Write text with a halo on the picture; (0, 0) is the lower left corner and (1, 1) the upper right."""
        from matplotlib.patheffects import withStroke

        halo = [withStroke(linewidth=2.0, foreground=BACKGROUND)]
        style: dict[str, Any] = {"color": PALE, "fontsize": 9, "ha": ha, "va": va, "path_effects": halo, **PLAIN_TEXT}
        self.axes.text(x, y, text, transform=self.axes.transAxes, **style)


class Block(NamedTuple):
    """Strip of the picture: its height, and a function that draws it on a sheet at a distance from the top."""

    height_px: float
    draw: Callable[[Sheet, float], None]


def assembled(blocks: Sequence[Block]) -> Sheet:
    """Return a sheet with the blocks one below the other."""
    sheet = Sheet(2 * EDGE_PX + sum(block.height_px for block in blocks))
    top = float(EDGE_PX)
    for block in blocks:
        block.draw(sheet, top)
        top += block.height_px
    return sheet


def save(figure: Figure, path: Path | str) -> None:
    """Write the figure as PNG in one step; the same picture gives the same bytes."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg

    with atomic_file(path) as partial:
        # not savefig, which the user's matplotlibrc can change; the metadata keep matplotlib's version out of the file
        FigureCanvasAgg(figure).print_png(
            partial, metadata={"Software": "brain_edge"}, pil_kwargs={"compress_level": COMPRESS_LEVEL}
        )
