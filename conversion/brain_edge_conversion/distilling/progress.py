"""State of a training on disk, written whole at each examination: a killed training goes on with the same bytes."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any
from zipfile import BadZipFile

import numpy as np

from brain_edge.machine.atomic import atomic_file

if TYPE_CHECKING:
    from pathlib import Path

    from brain_edge.image.volume import FloatArray

    Arrays = list[FloatArray]


@dataclass(frozen=True)
class Progress:
    """State after a number of steps.

    Attributes:
        step: number of steps done.
        changes: present values of what is trained.
        means, squares: running means of the gradients and of their squares.
        best: values with the least disagreement; empty if the start has it.
        figures: disagreement at the start and at each examination.
    """

    step: int
    changes: Arrays
    means: Arrays
    squares: Arrays
    best: Arrays = field(default_factory=list)
    figures: tuple[float, ...] = ()


ARRAYS = ("changes", "means", "squares", "best")


def save_progress(progress: Progress, path: Path, start: str) -> None:
    """Write the state of a training.

    Args:
        progress: state.
        path: file (`.npz`); it is replaced in one step.
        start: digest of what the training began with (`digest_of`).
    """
    arrays = {f"{name}-{number}": each for name in ARRAYS for number, each in enumerate(getattr(progress, name))}
    with atomic_file(path) as partial, partial.open("wb") as file:
        np.savez(file, step=progress.step, figures=np.array(progress.figures), start=np.array(start), **arrays)


def load_progress(path: Path, start: str) -> Progress | None:
    """Return the state of a training with this start; None if there is none, or the file is damaged."""
    if not path.is_file():
        return None
    try:
        with path.open("rb") as file, np.load(file, allow_pickle=False) as found:
            return _progress({name: found[name] for name in found.files}, start)
    except (OSError, ValueError, KeyError, EOFError, BadZipFile):
        return None


def _progress(found: dict[str, Any], start: str) -> Progress | None:
    if str(found["start"]) != start:
        return None
    lists = {
        name: [found[f"{name}-{number}"] for number in range(sum(key.startswith(f"{name}-") for key in found))]
        for name in ARRAYS
    }
    return Progress(int(found["step"]), **lists, figures=tuple(float(each) for each in found["figures"]))


def digest_of(model: Any, *settings: object) -> str:
    """Return the SHA-256 of the constants of a model and of everything else that a training depends on."""
    found = hashlib.sha256(repr(settings).encode())
    for node in model.get_ordered_ops():
        if node.get_type_name() == "Constant":
            found.update(node.get_friendly_name().encode())
            found.update(np.ascontiguousarray(node.data).tobytes())
    return found.hexdigest()
