"""The packages that are measured: made by the commands that a user would type, kept until our code changes."""

from __future__ import annotations

import hashlib
import shutil
import sys
from typing import TYPE_CHECKING, Final

from benchmarks import BENCHMARKS
from brain_edge.package import NumberFormat, open_package

from .measure import output_of

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from brain_edge.package import ModelPackage

FOLDER: Final = BENCHMARKS / ".packages"
SOURCES: Final = (BENCHMARKS.parent / "brain_edge", BENCHMARKS.parent / "conversion")
MAX_DICE_DROP: Final = 0.01
"""Budget of the INT8 packages."""


def make_package(
    model: str, numbers: NumberFormat, report: Callable[[str], None], calibration: str | None = None
) -> ModelPackage:
    """The package of a recipe, converted or quantised now unless the same code has already made it.

    Args:
        model: name of the recipe.
        numbers: FP32 or INT8.
        report: told before anything that takes minutes.
        calibration: cohort for INT8; the recipe's own by default.

    Raises:
        BrainEdgeError: the command failed.
    """
    target = FOLDER / f"{model}-{numbers}"
    stamp = target.with_suffix(".made-by")
    recipe = f"{digest_of_code(*SOURCES)} {calibration if numbers is NumberFormat.INT8 else None}"
    if not (target.exists() and stamp.exists() and stamp.read_text(encoding="utf-8") == recipe):
        _make(model, numbers, target, report, calibration)
        stamp.write_text(recipe, encoding="utf-8")
    return open_package(target)


def _make(
    model: str, numbers: NumberFormat, target: Path, report: Callable[[str], None], calibration: str | None
) -> None:
    shutil.rmtree(target, ignore_errors=True)
    target.parent.mkdir(exist_ok=True)
    if numbers is NumberFormat.FP32:
        report(f"converting {model}")
        _brain_edge("convert", model, "-o", str(target))
        return
    source = make_package(model, NumberFormat.FP32, report)
    report(f"quantising {model}")
    cohort = ["--calibration", calibration] if calibration else []
    budget = ["--max-dice-drop", str(MAX_DICE_DROP)]
    _brain_edge("quantize", str(source.folder), "-o", str(target), *budget, *cohort)


def _brain_edge(*arguments: str) -> None:
    command = [sys.executable, "-m", "brain_edge", *arguments, "--quiet"]
    output_of(command, f"brain-edge {' '.join(arguments)} failed:\n")


def digest_of_code(*places: Path) -> str:
    """SHA-256 of Python files and of those in folders: what other code has made is another thing."""
    digest = hashlib.sha256()
    for path in sorted(path for place in places for path in (place.rglob("*.py") if place.is_dir() else (place,))):
        digest.update(path.read_bytes())
    return digest.hexdigest()
