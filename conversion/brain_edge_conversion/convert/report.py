"""What a conversion did and how close it came, for whoever has to answer for it: JSON and a page, no pictures."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import msgspec

from brain_edge.errors import UsageError
from brain_edge.machine.atomic import atomic_file, require_no_file
from brain_edge.package.manifest import GraphParity
from brain_edge_conversion.convert.divergence import Divergence
from brain_edge_conversion.convert.report_page import page

if TYPE_CHECKING:
    from collections.abc import Mapping

JSON_NAME: Final = "conversion.json"
PAGE_NAME: Final = "conversion.html"
_NOT_COUNTED: Final = frozenset({"Constant", "Parameter", "Result"})


class Allowed(msgspec.Struct, frozen=True):
    """The limits that the parity was judged by; see `brain_edge_conversion.convert.parity.ParityLimits`."""

    relative_error: float
    same_label_share: float
    mask_dice: float


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
    allowed: Allowed
    graphs: tuple[GraphParity, ...]
    mask_dice: float | None
    input_sha256: tuple[str, ...]
    rewrites: tuple[str, ...]
    operators: dict[str, dict[str, int]]
    divergences: tuple[Divergence, ...]
    made_with: dict[str, str]


def operators_of(models: Mapping[str, Any]) -> dict[str, dict[str, int]]:
    """How many nodes of each type OpenVINO models hold, the most frequent in front."""
    counts = {
        graph: Counter(node.get_type_name() for node in model.get_ordered_ops()) for graph, model in models.items()
    }
    return {
        graph: {kind: number for kind, number in count.most_common() if kind not in _NOT_COUNTED}
        for graph, count in counts.items()
    }


def require_report_place(place: Path) -> None:
    """Refuse a place for a report before anything is computed.

    Raises:
        UsageError: a file that is neither JSON nor HTML, or a file where a folder is to be.
    """
    if not place.is_dir() and place.suffix not in ("", ".json", ".html"):
        raise UsageError(f"{place}: expected --report FOLDER, or a file that ends in .json or .html")
    if place.suffix == "":
        require_no_file(place)


def write_conversion_report(report: ConversionReport, place: Path) -> tuple[Path, ...]:
    """Write both forms into a folder, or the one that the suffix of a file says; what was written."""
    as_json = msgspec.json.format(msgspec.json.encode(report), indent=2).decode() + "\n"
    if place.suffix in (".json", ".html") and not place.is_dir():
        return (_written(place, as_json if place.suffix == ".json" else page(report)),)
    place.mkdir(parents=True, exist_ok=True)
    return _written(place / JSON_NAME, as_json), _written(place / PAGE_NAME, page(report))


def _written(path: Path, text: str) -> Path:
    with atomic_file(path) as partial:
        Path(partial).write_text(text, encoding="utf-8")
    return path
