"""Training of a quantised graph as a whole towards the outputs of its float graph, on crops and without labels.

The float graph is the teacher (Hinton et al., "Distilling the Knowledge in a Neural Network", 2015). The loss is the
divergence of both outputs alone, as in Zhao and Zhao, "Self-Supervised Quantization-Aware Knowledge Distillation",
AISTATS 2024. Held-out inputs decide which state is kept; it is never worse on them than the start.
"""

from __future__ import annotations

import math
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import torch
from torch.nn import functional

from brain_edge_conversion.distilling.crops import Crop, crop_at, crop_shape
from brain_edge_conversion.distilling.progress import Progress, digest_of, load_progress, save_progress
from brain_edge_conversion.distilling.student import Interpreter, Student, interpreter_of
from brain_edge_conversion.mending.targets import Meaning, Target, decided, disagreement
from brain_edge_conversion.mending.watching import port_of, watched

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from pathlib import Path

    from torch import Tensor

    from brain_edge.image.volume import FloatArray
    from brain_edge_conversion.distilling.lesson import Lesson
    from brain_edge_conversion.mending.targets import Decision

RATE: Final = 0.1
"""Rate of the first step; a step changes no weight by more than about this share of its unit."""
BETAS: Final = (0.9, 0.99)
"""Shares that the running means keep at each step."""
TINY: Final = 1e-12
"""Least probability in a logarithm, and least mean square that divides."""


@dataclass(frozen=True)
class Distilled:
    """Result of a training.

    Attributes:
        steps: number of steps after which the kept state was reached; 0 if the graph is as it was.
        before, after: disagreement with the float graph on the held-out inputs.
    """

    steps: int
    before: float
    after: float


def distil(lesson: Lesson, report: Callable[[str], None]) -> Distilled:
    """Train the constants of a quantised graph in place; return the figures on the held-out inputs.

    Args:
        lesson: graphs, inputs and target.
        report: function that receives progress lines.
    """
    with _threads(lesson.threads):
        training = _Training(lesson)
        return training.run(report)


@contextmanager
def _threads(count: int) -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(count or before)
    try:
        yield
    finally:
        torch.set_num_threads(before)


class _Training:
    """One training, from its start or from the state that a killed one has left."""

    def __init__(self, lesson: Lesson) -> None:
        self._lesson, self._schedule, self._graphs = lesson, lesson.schedule, lesson.graphs
        self._wanted = list(self._decisions(lesson.graphs.original))
        self._files = [path for path in lesson.files if _has_contrast(path)]
        settings = (lesson.schedule, lesson.seed, lesson.threads, RATE, BETAS)
        self._start = digest_of(lesson.graphs.quantised, *settings)
        self._student = Student(lesson.graphs.quantised)
        self._untrained = [each.layer.state() for each in self._student.layers]
        self._interpreters: dict[tuple[int, ...], Interpreter] = {}

    def run(self, report: Callable[[str], None]) -> Distilled:
        """Train until the last step, or until the held-out inputs show no gain; keep the best state."""
        progress = load_progress(self._lesson.checkpoint, self._start) or self._at_start()
        optimiser = self._optimiser(progress)
        if not self._files:
            report("distillation needs calibration inputs with contrast, got none; the graph stays as it was")
            return self._kept(progress)
        for step, loss in self._losses(progress):
            if not bool(torch.isfinite(loss)):
                words = "the loss is not a number; the best state before it is kept"
                report(f"distillation ends at step {step + 1}: {words}")
                break
            optimiser.param_groups[0]["lr"] = RATE * (1 + math.cos(math.pi * step / self._schedule.steps)) / 2
            optimiser.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]  # PyTorch has no types here
            optimiser.step()
            if (step + 1) % self._schedule.every == 0:
                progress = self._examined(step + 1, optimiser, progress)
                save_progress(progress, self._lesson.checkpoint, self._start)
                report(_line(progress, self._schedule.steps))
                if not self._goes_on(progress):
                    break
        return self._kept(progress)

    def _at_start(self) -> Progress:
        zeros = [np.zeros(each.shape, np.float32) for each in self._student.changes]
        return Progress(0, zeros, zeros, zeros, figures=(self._figure(),))

    def _goes_on(self, progress: Progress) -> bool:
        figures = progress.figures
        waited = len(figures) - 1 - int(np.argmin(figures))
        return progress.step < self._schedule.steps and min(figures) > 0 and waited < self._schedule.patience

    def _optimiser(self, progress: Progress) -> torch.optim.Adam:
        """Return the optimiser in the state of `progress`, and put its values into the student."""
        self._take(progress.changes)
        found = torch.optim.Adam(self._student.changes, lr=RATE, betas=BETAS, eps=TINY)
        for change, mean, square in zip(self._student.changes, progress.means, progress.squares, strict=True):
            found.state[change] = {
                "step": torch.tensor(float(progress.step)),
                "exp_avg": torch.from_numpy(mean.copy()),
                "exp_avg_sq": torch.from_numpy(square.copy()),
            }
        return found

    def _losses(self, progress: Progress) -> Iterator[tuple[int, Tensor]]:
        """Yield the loss of each step that is left; the float graph runs on one crop at a time."""
        if not self._goes_on(progress):
            return
        crop: list[Crop] = []

        def images() -> Iterator[FloatArray]:
            for step in range(progress.step, self._schedule.steps):
                crop[:] = [self._crop(step)]
                yield crop[0].image

        taught = watched(self._graphs.original, [self._port], images(), self._graphs.properties)
        for step, (wanted,) in enumerate(taught, start=progress.step):
            yield step, self._loss(crop[0], wanted)

    def _crop(self, step: int) -> Crop:
        file = self._files[step % len(self._files)]
        shape = crop_shape(self._graphs.original, np.load(file, mmap_mode="r", allow_pickle=False).shape)
        return crop_at(step, file, shape, self._lesson.seed)

    def _loss(self, crop: Crop, wanted: FloatArray) -> Tensor:
        shape = crop.image.shape
        if shape not in self._interpreters:
            self._interpreters[shape] = interpreter_of(self._graphs.quantised, shape)
        found = self._student.outputs(self._interpreters[shape], torch.from_numpy(crop.image))
        window = crop.compared if found.shape[2:] == shape[2:] else (slice(None),)
        return loss_of(found[window], torch.from_numpy(wanted)[window], self._lesson.target)

    def _examined(self, step: int, optimiser: torch.optim.Adam, progress: Progress) -> Progress:
        changes = [each.detach().numpy().copy() for each in self._student.changes]
        self._student.write()
        figure = self._figure()
        states = [optimiser.state[each] for each in self._student.changes]
        return Progress(
            step,
            changes,
            [state["exp_avg"].numpy().copy() for state in states],
            [state["exp_avg_sq"].numpy().copy() for state in states],
            changes if figure < min(progress.figures) else progress.best,
            (*progress.figures, figure),
        )

    def _kept(self, progress: Progress) -> Distilled:
        """Put the best state into the model; the start is put back as it was."""
        place = int(np.argmin(progress.figures))
        if place:
            self._take(progress.best)
            self._student.write()
        else:
            for each, state in zip(self._student.layers, self._untrained, strict=True):
                each.layer.restore(state)
        return Distilled(place * self._schedule.every, progress.figures[0], progress.figures[place])

    def _take(self, values: Sequence[FloatArray]) -> None:
        with torch.no_grad():
            for change, value in zip(self._student.changes, values, strict=True):
                change.copy_(torch.from_numpy(value))

    @property
    def _port(self) -> tuple[str, int]:
        return port_of(self._graphs.original.get_results()[0].input_value(0))

    def _decisions(self, model: Any) -> Iterator[Decision]:
        """Yield the decisions of a graph for the held-out inputs, in the arithmetic of this CPU."""
        port = port_of(model.get_results()[0].input_value(0))
        for (found,) in watched(model, [port], self._graphs.batches, self._graphs.properties):
            yield decided(found, self._lesson.target)

    def _figure(self) -> float:
        """Return the disagreement on the held-out inputs."""
        return disagreement(self._decisions(self._graphs.quantised), self._wanted, self._lesson.target)


def loss_of(found: Tensor, wanted: Tensor, target: Target) -> Tensor:
    """Return the divergence of two outputs: of probabilities, or of values as a share of the wanted variance."""
    if target.meaning is Meaning.VALUES:
        return functional.mse_loss(found, wanted) / wanted.var().clamp(min=TINY)
    if target.meaning is Meaning.CLASSES:
        logs = [torch.log(each.clamp(min=TINY)) if target.is_probability else each for each in (found, wanted)]
        got, want = (torch.log_softmax(each, 1) for each in logs)
        return functional.kl_div(got, want, reduction="none", log_target=True).sum(1).mean()
    if target.is_probability:
        return functional.binary_cross_entropy(found, wanted) - functional.binary_cross_entropy(wanted, wanted)
    return functional.binary_cross_entropy_with_logits(found, torch.sigmoid(wanted))


def _line(progress: Progress, steps: int) -> str:
    return (
        f"distillation, step {progress.step} of {steps}: disagreement with the float graph on held-out images "
        f"{progress.figures[-1]:.5f}, {progress.figures[0]:.5f} before"
    )


def _has_contrast(path: Path) -> bool:
    values = np.load(path, mmap_mode="r", allow_pickle=False)
    return bool(values.min() < values.max())
