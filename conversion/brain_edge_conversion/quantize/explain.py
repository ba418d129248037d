"""quantize --explain: where the error of INT8 arises in a package, as a table and one picture; nothing is judged."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final

import msgspec

from brain_edge.evaluation.cohort import Split, load_case, require_cases, study_for
from brain_edge.jobs.pictures.sheet import require_matplotlib
from brain_edge.machine.atomic import atomic_file, require_no_file
from brain_edge_conversion.budget.capture import capture_inputs
from brain_edge_conversion.budget.work_folder import scratch_folder
from brain_edge_conversion.mending.blame import GraphBlame, blame
from brain_edge_conversion.quantize.explain_plot import PNG, draw
from brain_edge_conversion.quantize.graphs import Cut, GraphMaker
from brain_edge_conversion.quantize.ladder import BiasCorrection, Preset, Setting
from brain_edge_conversion.quantize.space import require_float

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from brain_edge.evaluation.cohort import Cohort
    from brain_edge.machine.options import RuntimeOptions
    from brain_edge.package import ModelPackage
    from brain_edge_conversion.mending.blame import Blame

JSON: Final = "int8-layers.json"
TABLE: Final = "int8-layers.md"
CUT: Final = Cut(2, 16 * 2**20)
"""Part of the inputs on which errors are measured; the graph runs several times for each layer."""
HEADER: Final = (
    *("layer", "input range", "narrowest channel", "clipped", "weights alone", "input alone", "both"),
    *("labels changed", "error so far"),
)


@dataclass(frozen=True, kw_only=True)
class ExplainOptions:
    """Options of an explanation.

    Attributes:
        preset: NNCF preset.
        runtime: threads.
        report: function that receives progress lines.
    """

    preset: Preset
    runtime: RuntimeOptions
    report: Callable[[str], None]


def explain(package: ModelPackage, cohort: Cohort, folder: Path, options: ExplainOptions) -> tuple[str, ...]:
    """Write table, figures and picture of the errors of a plain INT8 package; return the lines of the table.

    Args:
        package: FP32 package.
        cohort: cohort whose calibration split sets the ranges and is measured.
        folder: folder of the table (`int8-layers.md`), the figures (`.json`) and the picture (`.png`).
        options: preset, threads and progress.

    Raises:
        UsageError: the package is INT8 already, or the folder is a file.
        InputError: the cohort has no calibration case, or one of its files is refused.
        CrashError: NNCF cannot quantise a graph.
    """
    require_float(package)
    require_no_file(folder)
    require_matplotlib()
    cases = cohort.cases(Split.CALIBRATION)
    require_cases(cases, package.spec, options.report)
    folder.mkdir(parents=True, exist_ok=True)
    with scratch_folder(folder.resolve()) as scratch:
        options.report(f"collecting network inputs from {len(cases)} calibration case(s)")
        studies = (study_for(load_case(case)[0], package.spec) for case in cases)
        inputs = capture_inputs(package, studies, scratch, replace(options.runtime, as_they_are=True))
        found = tuple(_blamed(package, graph, inputs[graph], options) for graph in package.spec.graphs)
    with atomic_file(folder / JSON) as partial:
        partial.write_bytes(msgspec.json.format(msgspec.json.encode(found)) + b"\n")
    draw(found, package.spec.name, folder / PNG)
    lines = tuple(line for each in found for line in _table(each))
    with atomic_file(folder / TABLE) as partial:
        partial.write_text("\n".join((*lines, "", f"![errors by layer]({PNG})", "")), encoding="utf-8")
    return (*lines, f"written: {folder / TABLE}, {folder / JSON}, {folder / PNG}")


def _blamed(package: ModelPackage, graph: str, inputs: list[Path], options: ExplainOptions) -> GraphBlame:
    setting = Setting(preset=options.preset, bias_correction=BiasCorrection.NONE)
    options.report(f"quantising {graph}, then each of its layers alone")
    maker = GraphMaker(package, graph, inputs, options.runtime)
    return blame(graph, maker.both(setting, options.report, CUT))


def _table(found: GraphBlame) -> Iterator[str]:
    """Yield the lines of a graph's table in Markdown, the largest error first to be seen by its number."""
    changed = "" if found.changed is None else f", {found.changed:.2%} of the voxels change their label"
    yield f"{found.graph}: all layers in INT8: relative error of the output {found.error:.3f}{changed}"
    yield ""
    yield f"| {' | '.join(HEADER)} |"
    yield f"|{'---|' * len(HEADER)}"
    for layer in found.layers:
        yield f"| {' | '.join(_cells(layer))} |"


def _cells(layer: Blame) -> tuple[str, ...]:
    return (
        layer.layer,
        "per channel" if layer.low is None or layer.high is None else f"{layer.low:.3g} .. {layer.high:.3g}",
        f"{layer.narrowest_channel:.3f}",
        "-" if layer.clipped_share is None else f"{layer.clipped_share:.2%}",
        f"{layer.weights_alone:.3f}",
        f"{layer.input_alone:.3f}",
        f"{layer.alone:.3f}",
        "-" if layer.changed_alone is None else f"{layer.changed_alone:.2%}",
        f"{layer.so_far:.3f}",
    )
