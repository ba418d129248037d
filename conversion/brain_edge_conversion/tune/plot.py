"""Plot of a tuning: latency and memory of each setting against its Dice drop. The only module here with matplotlib."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from brain_edge.jobs.pictures.sheet import require_matplotlib, save
from brain_edge.machine.atomic import atomic_file
from brain_edge_conversion.tune.front import pareto_front

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from matplotlib.axes import Axes

    from brain_edge_conversion.tune.report import SettingReport, TuningReport

PNG: Final = "front.png"
SVG: Final = "front.svg"
INK, GREY, BLUE, RED, GREEN = "#222222", "#9a9a9a", "#0072B2", "#D55E00", "#009E73"
LEAST_AREA_PT2: Final = 30.0
MOST_AREA_PT2: Final = 400.0
LINE_INCH: Final = 0.16
"""Height of a line of the legend, inches; each line names one setting."""
FAR: Final = 2.0
"""Multiple of the budget from which drops are drawn on a logarithmic scale."""


def draw(report: TuningReport, folder: Path) -> tuple[Path, Path]:
    """Draw latency, memory (area of the marks) and worst mean drop of every setting; return the PNG and SVG paths.

    The numbers are those of the table; settings that could not run or were not timed are left out.

    Raises:
        MissingExtraError: matplotlib is not installed.
    """
    require_matplotlib()
    from matplotlib.backends.backend_svg import FigureCanvasSVG
    from matplotlib.figure import Figure

    timed = {number: setting for number, setting in enumerate(report.settings, start=1) if setting.samples}
    figure = Figure(figsize=(9.0, 4.6 + LINE_INCH * len(timed)), dpi=120, facecolor="white", layout="constrained")
    axes = figure.add_subplot()
    _draw_axes(axes, report)
    _draw_front(axes, list(timed.values()))
    _draw_budget(axes, report.max_dice_drop)
    _draw_settings(axes, timed, report)
    figure.legend(
        handles=[_legend_line(f"{number}  {_short(setting, report)}") for number, setting in timed.items()],
        loc="outside lower center",
        fontsize=7,
        frameon=False,
        handlelength=0,
    )
    save(figure, folder / PNG)
    with atomic_file(folder / SVG) as partial:
        FigureCanvasSVG(figure).print_svg(partial, metadata={"Date": None, "Creator": "brain_edge"})
    return folder / PNG, folder / SVG


def _draw_settings(axes: Axes, timed: Mapping[int, SettingReport], report: TuningReport) -> None:
    largest = max((setting.peak_rss_bytes or 0 for setting in timed.values()), default=0) or 1
    for number, setting in timed.items():
        colour, face = _colours(setting, report)
        area = LEAST_AREA_PT2 + (MOST_AREA_PT2 - LEAST_AREA_PT2) * (setting.peak_rss_bytes or 0) / largest
        place = _place(setting)
        axes.scatter(*place, s=area, edgecolors=colour, facecolors=face, linewidths=1.5, alpha=0.85, zorder=3)
        axes.annotate(str(number), place, ha="center", va="center", fontsize=7, color=INK, zorder=4)


def _draw_front(axes: Axes, timed: Sequence[SettingReport]) -> None:
    """Draw the front of the two plotted figures (lower left edge); the front of all four figures is no line in 2D."""
    places = [_place(setting) for setting in timed]
    edge = sorted(places[number] for number in pareto_front(places))
    axes.step([x for x, _ in edge], [y for _, y in edge], where="post", color=GREY, zorder=1)


def _draw_budget(axes: Axes, drop: float) -> None:
    axes.axhline(drop, color=RED, linestyle="--", linewidth=1)
    axes.text(
        1.0, drop, "budget ", transform=axes.get_yaxis_transform(), ha="right", va="bottom", fontsize=8, color=RED
    )


def _draw_axes(axes: Axes, report: TuningReport) -> None:
    """Format both axes in plain numbers; compress drops far beyond the budget, so that those within it stay visible."""
    from matplotlib.ticker import LogLocator, MaxNLocator, NullFormatter, StrMethodFormatter

    axes.set_xscale("log")
    axes.xaxis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0)))
    axes.xaxis.set_minor_locator(MaxNLocator(4))
    axes.xaxis.set_major_formatter(StrMethodFormatter("{x:g}"))
    axes.xaxis.set_minor_formatter(NullFormatter())
    drops = [setting.mean_drop or 0.0 for setting in report.settings]
    if max(drops) > FAR * report.max_dice_drop:
        axes.set_yscale("symlog", linthresh=FAR * report.max_dice_drop)
    axes.yaxis.set_major_formatter(StrMethodFormatter("{x:g}"))
    axes.set_xlabel("latency of a whole cold process (s)", color=INK)
    axes.set_ylabel(f"worst mean Dice drop of a label, {report.searched_on}", color=INK)
    axes.set_title(f"{report.model}: settings within and beyond the budget; area: peak memory", fontsize=10, color=INK)
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(visible=True, color="#eeeeee", zorder=0)


def _colours(setting: SettingReport, report: TuningReport) -> tuple[str, str]:
    """Return edge and face colour of a mark: the choice is filled, a setting that misses the budget is red."""
    if setting.title == report.chosen:
        return GREEN, "#9FE0C8"
    if not setting.changes or setting.met:
        return BLUE, "white"
    return RED, "white"


def _short(setting: SettingReport, report: TuningReport) -> str:
    return f"{setting.title} (chosen)" if setting.title == report.chosen else setting.title


def _place(setting: SettingReport) -> tuple[float, float]:
    return (setting.latency_ms or 0.0) / 1000.0, setting.mean_drop or 0.0


def _legend_line(text: str) -> object:
    from matplotlib.lines import Line2D

    return Line2D([], [], linestyle="none", label=text)
