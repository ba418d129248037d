"""Small graphs to be distilled, with their inputs on disk."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from small_graphs import image

from brain_edge_conversion.distilling.lesson import Lesson, Schedule
from brain_edge_conversion.mending.graphs import Graphs
from brain_edge_conversion.mending.targets import Meaning, Target
from brain_edge_conversion.quantize.ladder import BiasCorrection, Preset, Setting
from brain_edge_conversion.quantize.networks import quantise

if TYPE_CHECKING:
    from pathlib import Path

F32 = {"INFERENCE_PRECISION_HINT": "f32", "INFERENCE_NUM_THREADS": 1}
PLAIN = Setting(preset=Preset.MIXED, bias_correction=BiasCorrection.NONE)
SHORT = Schedule(steps=20, every=5, patience=4)
CLASSES = Target(Meaning.CLASSES)


def files_in(folder: Path, *images: np.ndarray) -> list[Path]:
    """The images as files."""
    files = [folder / f"input-{number}.npy" for number in range(len(images))]
    for path, each in zip(files, images, strict=True):
        np.save(path, each)
    return files


def lesson_of(model: Any, plain: Any, files: list[Path], folder: Path, **given: Any) -> Lesson:
    """A lesson on a copy of the plain INT8 graph; two other images are held out."""
    graphs = Graphs(plain.clone(), model, [image(7), image(8)], F32)
    usual = {"target": CLASSES, "threads": 1, "schedule": SHORT}
    return Lesson(graphs=graphs, files=files, checkpoint=folder / "training.npz", **{**usual, **given})


def plain_int8(model: Any, files: list[Path]) -> Any:
    """The INT8 graph as NNCF makes it."""
    return quantise(model, files, PLAIN)


def constants_of(model: Any) -> list[bytes]:
    """The bytes of all constants, in order."""
    return [node.data.tobytes() for node in model.get_ordered_ops() if node.get_type_name() == "Constant"]
