"""The IR file of a graph, which carries the specification of the model that it belongs to."""

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
    """Read an IR and compare the spec that it carries with the manifest's.

    Raises:
        PackageError: OpenVINO cannot read it, it has not one input and one output, or it was made for another spec
            than the manifest states.
    """
    try:
        model = read_model(path)
        whole = (len(model.inputs), len(model.outputs)) == (1, 1)
    except RuntimeError as error:
        if "alloc" in str(error):  # that is about memory, and not about the file
            raise
        whole = False
    if not whole:
        raise PackageError(f"{path}: expected a graph of one input and one output; convert or copy the package again")
    key = [RT_INFO, "spec"]
    carried = model.get_rt_info(key).astype(str) if model.has_rt_info(key) else None
    if carried != canonical_json(spec).decode():
        raise PackageError(
            f"{path}: the graph carries another model specification than the manifest; "
            "the parts of this package do not belong together, convert or copy it again"
        )
    return model
