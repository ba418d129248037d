"""IR file of a graph, which contains the specification of its model."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from brain_edge.errors import PackageError
from brain_edge.runtime.library import read_model
from brain_edge.spec import canonical_json

if TYPE_CHECKING:
    from pathlib import Path

    from brain_edge.spec import ModelSpec

RT_INFO: Final = "brain_edge"
"""Section of the IR's `rt_info` that holds the canonical JSON of the spec."""


def read_graph(path: Path, spec: ModelSpec) -> Any:
    """Read an IR and compare its spec with that of the manifest.

    Raises:
        PackageError: OpenVINO cannot read the file, the graph does not have one input and one output, or its spec
            differs from that of the manifest.
    """
    try:
        model = read_model(path)
        whole = (len(model.inputs), len(model.outputs)) == (1, 1)
    except RuntimeError as error:
        if "alloc" in str(error):  # a problem of memory, not of the file
            raise
        whole = False
    if not whole:
        raise PackageError(f"{path}: expected a graph of one input and one output; convert or copy the package again")
    if _carried(model) != canonical_json(spec).decode():
        raise PackageError(
            f"{path}: expected a graph with the model specification of the manifest, got another specification; "
            "convert or copy the package again"
        )
    return model


def _carried(model: Any) -> str | None:
    """The specification that a graph carries; None where there is none, or no text."""
    key = [RT_INFO, "spec"]
    try:
        return str(model.get_rt_info(key).astype(str)) if model.has_rt_info(key) else None
    except UnicodeDecodeError:
        return None
