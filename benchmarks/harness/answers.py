"""The right answers: what PyTorch makes of the same input, to compare with before anything is timed."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from brain_edge.evaluation.cohort.reference import read_reference
from brain_edge.image.metrics import dice

from .contenders import pytorch_reference
from .measure import run
from .networks import pytorch_session

if TYPE_CHECKING:
    from pathlib import Path

    from brain_edge.image.metrics import BoolArray
    from brain_edge.image.volume import FloatArray


class PyTorch:
    """What PyTorch answers, computed once per model and graph: what every other answer is compared with."""

    def __init__(self, folder: Path, head: Path, threads: int) -> None:
        self._folder = folder
        self._head = head
        self._threads = threads
        self._foregrounds: dict[tuple[str, str], BoolArray] = {}

    def brain(self, model: str) -> BoolArray:
        """The mask of the head by the published networks between our steps."""
        mask = self._folder / f"{model}.nii.gz"
        if not mask.exists():
            run(pytorch_reference(model, self._head, mask, self._threads))
        return brain_of(mask)

    def foreground(self, model: str, graph: str, batch: FloatArray) -> BoolArray:
        """Where one published network sees foreground."""
        key = (model, graph)
        if key not in self._foregrounds:
            self._foregrounds[key] = foreground(pytorch_session(model, graph, self._threads)(batch))
        return self._foregrounds[key]


def brain_of(path: Path) -> BoolArray:
    """Where the label map in a file holds anything but background."""
    return np.asarray(read_reference(path, {}).labels > 0)


def agreement(mask: Path, first: Path, reference: Path | None) -> tuple[float, float | None]:
    """Dice of the brain in a file with that in another, and with a reference mask where there is one."""
    brain = brain_of(mask)
    return dice(brain, brain_of(first)) or 0.0, None if reference is None else dice(brain, brain_of(reference))


def foreground(output: FloatArray) -> BoolArray:
    """Where a two-class network (1, D, I, J, K) sees foreground: the greater of two channels, or one logit above 0."""
    margin = output[0, 1] - output[0, 0] if output.shape[1] == 2 else output[0, 0]
    return np.asarray(margin > 0)


def load(path: Path) -> FloatArray:
    """An array (1, C, I, J, K) from an `.npy` file."""
    return np.asarray(np.load(path, allow_pickle=False), dtype=np.float32)
