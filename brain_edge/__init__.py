"""brain_edge: a trained brain-MRI network on a hospital CPU, INT8 within a Dice budget, without PyTorch.

>>> from brain_edge import Segmenter, read  # doctest: +SKIP
>>> Segmenter.open("deepbet-int8")(read("head.nii.gz")).mask  # doctest: +SKIP

`__init__.pyi` states the same names for type checkers.
"""

from __future__ import annotations

from importlib import import_module
from typing import Any

__version__ = "0.1.0"

# Names are resolved on first use, so that `brain-edge --help` does not wait for numpy and openvino.
_HOMES = {
    "BatchError": "errors",
    "BatchResult": "verbs.run_batch",
    "BrainEdgeError": "errors",
    "BudgetError": "errors",
    "CaseResult": "jobs.batch",
    "Comparison": "evaluation.compare",
    "Evaluation": "evaluation.evaluate",
    "Geometry": "image.geometry",
    "GeometryError": "errors",
    "ImplausibleError": "errors",
    "InputError": "errors",
    "Mask": "image.volume",
    "MemoryShortError": "errors",
    "MissingExtraError": "errors",
    "ModelPackage": "package",
    "ModelSpec": "spec",
    "OutputError": "errors",
    "PackageError": "errors",
    "ParityError": "errors",
    "PrepareResult": "verbs.prepare",
    "RuntimeOptions": "machine.options",
    "Segmentation": "engine.segmenter",
    "Segmenter": "engine.segmenter",
    "Study": "image.volume",
    "UsageError": "errors",
    "Volume": "image.volume",
    "WeightsError": "errors",
    "algorithm_of": "io.dicom",
    "convert": "verbs.convert",
    "evaluate": "verbs.evaluate",
    "open_package": "package",
    "prepare": "verbs.prepare",
    "quantize": "verbs.quantize",
    "read": "io.read",
    "run_batch": "verbs.run_batch",
    "tune": "verbs.tune",
    "write_mask": "io.nifti",
    "write_mosaic": "jobs.pictures.mosaic",
    "write_seg": "io.dicom",
}

__all__ = ["__version__", *_HOMES]  # noqa: PLE0604 - all are texts


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'brain_edge' has no attribute {name!r}")
    return getattr(import_module(f"brain_edge.{_HOMES[name]}"), name)


def __dir__() -> list[str]:
    return sorted(__all__)
