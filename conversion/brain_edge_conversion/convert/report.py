"""Conversion report for the person responsible: rewrites and differences from PyTorch, JSON and HTML, no pictures."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import msgspec
import numpy as np

from brain_edge.errors import UsageError
from brain_edge.machine.atomic import atomic_file, remove_leftovers, require_no_file
from brain_edge.package.manifest import ExpectedMask, GraphParity
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
    """Report of one conversion.

    Attributes:
        model: name of the specification.
        passed: True if a package was written.
        failure: error message of the command; empty if a package was written.
        allowed: limits of the parity check.
        graphs: difference of each graph from the published network; empty if the comparison was not reached.
        mask_dice: Dice of the final masks through all steps, minimum over labels; None if not reached or both masks are
            empty.
        input_sha256: SHA-256 of the compared voxels; no image is named or shown.
        rewrites: applied rewrites, in words.
        operators: graph -> number of nodes of each type in the package.
        divergences: first differing layer of each graph that differs.
        expected: agreement with an expected mask; None if none was given or the comparison was not reached.
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
    expected: ExpectedMask | None = None


def require_report_place(place: Path) -> None:
    """Refuse an unusable report path before anything is computed.

    Raises:
        UsageError: the path is a file that is neither JSON nor HTML, or a file where a folder is expected.
    """
    if not place.is_dir() and place.suffix not in ("", ".json", ".html"):
        raise UsageError(f"{place}: expected a folder for --report, or a file that ends in .json or .html")
    if place.suffix == "":
        require_no_file(place)


def account_for(draft: Compared) -> None:
    """Write the report of a conversion, if requested, whether the comparison passed or not."""
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
        expected=draft.findings.expected,
    )


def _divergence(draft: Compared, graph: str, model: Any) -> Divergence:
    """Find the first layer at which a graph differs from the published network, on noise."""
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
    """Count the nodes of each type in an OpenVINO model, most frequent first."""
    counts = Counter(node.get_type_name() for node in model.get_ordered_ops())
    return {kind: number for kind, number in counts.most_common() if kind not in _NOT_COUNTED}


def _write(report: ConversionReport, place: Path) -> tuple[Path, ...]:
    """Write both forms into a folder, or one form to a file by its suffix; return the written paths."""
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
