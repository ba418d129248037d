"""What a conversion did and how close it came, for whoever has to answer for it: JSON and a page, no pictures."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import msgspec
import numpy as np

from brain_edge.errors import UsageError
from brain_edge.machine.atomic import atomic_file, remove_leftovers, require_no_file
from brain_edge.package.manifest import GraphParity
from brain_edge.runtime.library import read_model
from brain_edge_conversion.convert.divergence import Divergence, find_divergence
from brain_edge_conversion.convert.draft import stage_of
from brain_edge_conversion.convert.parity import ParityLimits, exceeds, moved_between
from brain_edge_conversion.convert.report_page import page

if TYPE_CHECKING:
    from brain_edge_conversion.convert.draft import Compared

JSON_NAME: Final = "conversion.json"
PAGE_NAME: Final = "conversion.html"
_SEED: Final = 0
_NOT_COUNTED: Final = frozenset({"Constant", "Parameter", "Result"})


class ConversionReport(msgspec.Struct, frozen=True, kw_only=True):
    """One conversion.

    Attributes:
        model: name of the specification.
        passed: whether a package was written.
        failure: why not, in the words of the command; empty where one was.
        allowed: limits of the parity check.
        graphs: how far each graph is from the published network; empty where it was not reached.
        mask_dice: Dice of the final masks through all steps, least label; None where it was not reached, or both are
            empty.
        input_sha256: of the voxels that both ran on; no image is named or shown.
        rewrites: what was rewritten, in words.
        operators: per graph, how many nodes of each type the package holds.
        divergences: where the graphs begin to differ, for those that do.
        made_with: versions of the tools.
    """

    model: str
    passed: bool
    failure: str
    allowed: ParityLimits
    graphs: tuple[GraphParity, ...]
    mask_dice: float | None
    input_sha256: tuple[str, ...]
    rewrites: tuple[str, ...]
    operators: dict[str, dict[str, int]]
    divergences: tuple[Divergence, ...]
    made_with: dict[str, str]


def require_report_place(place: Path) -> None:
    """Refuse a place for a report before anything is computed.

    Raises:
        UsageError: a file that is neither JSON nor HTML, or a file where a folder is to be.
    """
    if not place.is_dir() and place.suffix not in ("", ".json", ".html"):
        raise UsageError(f"{place}: expected --report FOLDER, or a file that ends in .json or .html")
    if place.suffix == "":
        require_no_file(place)


def account_for(draft: Compared) -> None:
    """Write the report of a conversion where one is wanted, whether its comparison passed or not."""
    if draft.options.account is None:
        return
    for path in _write(_report_of(draft), draft.options.account):
        draft.options.report(f"report: {path}")


def _report_of(draft: Compared) -> ConversionReport:
    package, limits, parity = draft.package, draft.options.limits, draft.findings.parity
    models = {graph: read_model(package.graph_file(graph)) for graph in package.spec.graphs}
    wrong = [graph.graph for graph in parity.graphs if exceeds(graph, limits)]
    return ConversionReport(
        model=package.spec.name,
        passed=not draft.findings.failure,
        failure=draft.findings.failure,
        allowed=limits,
        graphs=parity.graphs,
        mask_dice=parity.mask_dice,
        input_sha256=parity.input_sha256,
        rewrites=package.manifest.rewrites,
        operators={graph: _operators(model) for graph, model in models.items()},
        divergences=tuple(_divergence(draft, graph, models[graph]) for graph in wrong),
        made_with=package.manifest.made_with,
    )


def _divergence(draft: Compared, graph: str, model: Any) -> Divergence:
    """Where a graph begins to differ from the published network, on noise."""
    spec = draft.source.spec
    network = stage_of(spec, graph).network
    sides = next(each.example_shape for each in draft.source.graphs if each.graph == graph)
    shape = network.execution.example_input(network.channels_in, sides)
    noise = np.random.default_rng(_SEED).standard_normal(shape, np.float32)
    affine = moved_between(spec, draft.package.spec)[graph].affine
    seen = noise if affine is None else affine.undone(noise)
    allowed = draft.options.limits.relative_error
    return find_divergence(graph, draft.published[graph], model, (noise, seen), allowed)


def _operators(model: Any) -> dict[str, int]:
    """How many nodes of each type an OpenVINO model holds, the most frequent in front."""
    counts = Counter(node.get_type_name() for node in model.get_ordered_ops())
    return {kind: number for kind, number in counts.most_common() if kind not in _NOT_COUNTED}


def _write(report: ConversionReport, place: Path) -> tuple[Path, ...]:
    """Write both forms into a folder, or the one that the suffix of a file says; what was written."""
    as_json = msgspec.json.format(msgspec.json.encode(report), indent=2).decode() + "\n"
    if place.suffix in (".json", ".html") and not place.is_dir():
        return (_written(place, as_json if place.suffix == ".json" else page(report)),)
    place.mkdir(parents=True, exist_ok=True)
    return _written(place / JSON_NAME, as_json), _written(place / PAGE_NAME, page(report))


def _written(path: Path, text: str) -> Path:
    remove_leftovers([path])
    with atomic_file(path) as partial:
        Path(partial).write_text(text, encoding="utf-8")
    return path
