"""Writer for the IR files of a graph, with the specification of its model."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from brain_edge.runtime.graph_file import RT_INFO
from brain_edge.runtime.library import import_openvino
from brain_edge.spec import canonical_json

if TYPE_CHECKING:
    from pathlib import Path

    from brain_edge.spec import ModelSpec


def save_graph(model: Any, path: Path, spec: ModelSpec) -> None:
    """Write `.xml` and `.bin` in full precision, with the specification and the labels in the model's `rt_info`.

    OpenVINO's Model API reads labels from `model_info`.
    """
    names = spec.label_names()
    model.set_rt_info(canonical_json(spec).decode(), [RT_INFO, "spec"])
    model.set_rt_info("1", [RT_INFO, "format_version"])
    model.set_rt_info(" ".join(names[value] for value in sorted(names)), ["model_info", "labels"])
    path.parent.mkdir(parents=True, exist_ok=True)
    import_openvino().save_model(model, str(path), compress_to_fp16=False)
