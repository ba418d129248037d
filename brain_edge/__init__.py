"""brain_edge: a trained brain-MRI network on a hospital CPU, INT8 within a Dice budget, without PyTorch.

>>> from brain_edge import Segmenter, read_volume  # doctest: +SKIP
>>> Segmenter.open("deepbet-int8")(read_volume("head.nii.gz")).mask  # doctest: +SKIP
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from brain_edge.engine.segmenter import Segmentation, Segmenter
    from brain_edge.errors import BrainEdgeError
    from brain_edge.image.volume import Mask, Study, Volume
    from brain_edge.io.nifti import read_volume, write_mask
    from brain_edge.machine.options import RuntimeOptions
    from brain_edge.package import ModelPackage, open_package
    from brain_edge.spec import ModelSpec

__version__ = "0.1.0"

# Names are resolved on first use, so that `brain-edge --help` does not wait for numpy and openvino.
_HOMES = {
    "BrainEdgeError": "errors",
    "Mask": "image.volume",
    "ModelPackage": "package",
    "ModelSpec": "spec",
    "RuntimeOptions": "machine.options",
    "Segmentation": "engine.segmenter",
    "Segmenter": "engine.segmenter",
    "Study": "image.volume",
    "Volume": "image.volume",
    "open_package": "package",
    "read_volume": "io.nifti",
    "write_mask": "io.nifti",
}

__all__ = [
    "BrainEdgeError",
    "Mask",
    "ModelPackage",
    "ModelSpec",
    "RuntimeOptions",
    "Segmentation",
    "Segmenter",
    "Study",
    "Volume",
    "open_package",
    "read_volume",
    "write_mask",
]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'brain_edge' has no attribute {name!r}")
    return getattr(import_module(f"brain_edge.{_HOMES[name]}"), name)
