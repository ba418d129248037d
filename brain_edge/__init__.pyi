"""The public names, for type checkers; `__init__.py` resolves them when they are used."""

from brain_edge.engine.segmenter import Segmentation, Segmenter
from brain_edge.errors import (
    BatchError,
    BrainEdgeError,
    BudgetError,
    GeometryError,
    ImplausibleError,
    InputError,
    MemoryShortError,
    MissingExtraError,
    OutputError,
    PackageError,
    ParityError,
    UsageError,
    WeightsError,
)
from brain_edge.evaluation.compare import Comparison
from brain_edge.evaluation.evaluate import Evaluation
from brain_edge.image.geometry import Geometry
from brain_edge.image.volume import Mask, Study, Volume
from brain_edge.io.dicom import algorithm_of, write_seg
from brain_edge.io.nifti import write_mask
from brain_edge.io.read import read
from brain_edge.jobs.batch import CaseResult
from brain_edge.jobs.pictures.mosaic import write_mosaic
from brain_edge.machine.options import RuntimeOptions
from brain_edge.package import ModelPackage, open_package
from brain_edge.spec import ModelSpec
from brain_edge.verbs.convert import convert
from brain_edge.verbs.evaluate import evaluate
from brain_edge.verbs.prepare import PrepareResult, prepare
from brain_edge.verbs.quantize import quantize
from brain_edge.verbs.run_batch import BatchResult, run_batch
from brain_edge.verbs.tune import tune

__version__: str

__all__ = [
    "BatchError",
    "BatchResult",
    "BrainEdgeError",
    "BudgetError",
    "CaseResult",
    "Comparison",
    "Evaluation",
    "Geometry",
    "GeometryError",
    "ImplausibleError",
    "InputError",
    "Mask",
    "MemoryShortError",
    "MissingExtraError",
    "ModelPackage",
    "ModelSpec",
    "OutputError",
    "PackageError",
    "ParityError",
    "PrepareResult",
    "RuntimeOptions",
    "Segmentation",
    "Segmenter",
    "Study",
    "UsageError",
    "Volume",
    "WeightsError",
    "__version__",
    "algorithm_of",
    "convert",
    "evaluate",
    "open_package",
    "prepare",
    "quantize",
    "read",
    "run_batch",
    "tune",
    "write_mask",
    "write_mosaic",
    "write_seg",
]
