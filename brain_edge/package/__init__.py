"""The package: a folder that holds a model, everything needed to run it, and what is known about it."""

from brain_edge.package.manifest import Manifest, NumberFormat, Precision, WeightsStatus, graph_path
from brain_edge.package.reader import ModelPackage, open_package

__all__ = [
    "Manifest",
    "ModelPackage",
    "NumberFormat",
    "Precision",
    "WeightsStatus",
    "graph_path",
    "open_package",
]
