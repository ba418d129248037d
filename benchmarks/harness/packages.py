"""The packages that are measured: made by the commands that a user would type, kept until our code changes."""

from __future__ import annotations

import hashlib
import shutil
import subprocess
import sys
from typing import TYPE_CHECKING, Final

from benchmarks import BENCHMARKS
from brain_edge.errors import BrainEdgeError
from brain_edge.package import NumberFormat, open_package

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
    recipe = f"{_code()} {calibration if numbers is NumberFormat.INT8 else None}"
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
        _brain_edge("convert", model, "-o", str(target), "--quiet")
        return
    source = make_package(model, NumberFormat.FP32, report)
    report(f"quantising {model}")
    cohort = ["--calibration", calibration] if calibration else []
    budget = ["--max-dice-drop", str(MAX_DICE_DROP)]
    _brain_edge("quantize", str(source.folder), "-o", str(target), *budget, *cohort, "--quiet")


def _brain_edge(*arguments: str) -> None:
    done = subprocess.run([sys.executable, "-m", "brain_edge", *arguments], capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise BrainEdgeError(f"brain-edge {' '.join(arguments)} failed:\n{done.stderr.strip()}")


def _code() -> str:
    """SHA-256 of all our Python files: a package made by other code is another package."""
    digest = hashlib.sha256()
    for path in sorted(path for folder in SOURCES for path in folder.rglob("*.py")):
        digest.update(path.read_bytes())
    return digest.hexdigest()
