"""What a model is, as one value that serialises: inputs, steps, networks, labels, plausible ranges."""

from brain_edge.spec.base import Value
from brain_edge.spec.execution import Activation, Edge, NoiseSlices, SlicesAlong, WholeStack, WholeVolume
from brain_edge.spec.model import (
    Code,
    Label,
    Missing,
    ModelSpec,
    Name,
    Network,
    Plausible,
    PlausibleInput,
    PlausibleLabel,
    Range,
    Sequence,
    Stage,
    Task,
    canonical_json,
    json_schema,
    spec_from_json,
)
from brain_edge.spec.windowed import Blending, SlidingWindow, Starts, StridedWindows

__all__ = [
    "Activation",
    "Blending",
    "Code",
    "Edge",
    "Label",
    "Missing",
    "ModelSpec",
    "Name",
    "Network",
    "NoiseSlices",
    "Plausible",
    "PlausibleInput",
    "PlausibleLabel",
    "Range",
    "Sequence",
    "SlicesAlong",
    "SlidingWindow",
    "Stage",
    "Starts",
    "StridedWindows",
    "Task",
    "Value",
    "WholeStack",
    "WholeVolume",
    "canonical_json",
    "json_schema",
    "spec_from_json",
]
