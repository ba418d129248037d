"""Fit of a network to labelled cases, in minutes on two cores, between the same steps as in its recipe."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
import torch
from torch import Tensor, nn

from brain_edge.engine.assembly import assemble
from brain_edge.errors import InputError
from brain_edge.spec.steps.regrid import sampled
from brain_edge_conversion.recipe import same_each_time
from brain_edge_conversion.weights.lesson import Head

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from brain_edge.image.volume import Mask, Study
    from brain_edge.spec import ModelSpec
    from brain_edge_conversion.weights.lesson import Lesson

Array: TypeAlias = np.ndarray[tuple[int, ...], np.dtype[Any]]


@dataclass(frozen=True, eq=False)
class Example:
    """Labelled case in the form that the network sees.

    Attributes:
        image: image after the steps of the recipe, (C, I, J, K) float32.
        targets: target of each channel, (D, I, J, K) float32, 1 inside and 0 outside.
        inside: indices of labelled voxels, (n, 3); two patches in three are centred on one of them.
    """

    image: Tensor
    targets: Tensor
    inside: Array


def example(study: Study, reference: Mask, spec: ModelSpec, lesson: Lesson) -> Example:
    """Run a labelled case through the steps before the first network; the labels are resampled onto the same grid.

    Raises:
        InputError: no voxel of the mask has a label of the lesson.
    """
    frame = assemble(study, spec)
    for step in spec.stages[0].before:
        frame = step.apply(frame)
    frame = frame.complete()
    labels = sampled(reference.labels, reference.geometry, frame.geometry, order=0)
    targets = np.stack([np.isin(labels, wanted) for wanted in lesson.targets])
    inside = np.argwhere(labels > 0)
    if not len(inside):
        raise InputError(f"expected labels to fit {spec.name} to, got none in the region that the network sees")
    image = torch.from_numpy(np.ascontiguousarray(frame.voxels, dtype=np.float32))
    return Example(image, torch.from_numpy(targets.astype(np.float32)), inside)


def fit(
    build: Callable[[], nn.Module], examples: Sequence[Example], lesson: Lesson, report: Callable[[str], None]
) -> nn.Module:
    """Fit a network to examples; the result is the same each time on the same machine.

    Args:
        build: function that builds the network; by `lesson.head` it ends in class probabilities or region logits.
        examples: labelled cases.
        lesson: parameters of the fit.
        report: function that receives the loss, ten times.
    """
    network = same_each_time(build, lesson.seed).train()
    optimiser = torch.optim.AdamW(network.parameters(), lr=lesson.learning_rate)
    falling = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, lesson.steps)
    for number, (image, targets) in enumerate(_patches(examples, lesson), start=1):
        loss = _loss(network(image), targets, lesson.head)
        optimiser.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]  # PyTorch's own gap
        optimiser.step()
        falling.step()
        if number % max(1, lesson.steps // 10) == 0:
            report(f"step {number} of {lesson.steps}: loss {loss.item():.4f}")
    return network.eval()


def _patches(examples: Sequence[Example], lesson: Lesson) -> Iterator[tuple[Tensor, Tensor]]:
    """Yield an image patch (1, C, I, J, K) and its targets (1, D, I, J, K) per step, randomly mirrored and scaled."""
    random = np.random.default_rng(lesson.seed)
    for number in range(lesson.steps):
        chosen = examples[number % len(examples)]
        box = _box(chosen, lesson.patch, random)
        axes = [axis for axis in (1, 2, 3) if random.random() < 1 / 2]
        image = chosen.image[box].flip(axes) * (1 + 0.1 * random.standard_normal()) + 0.1 * random.standard_normal()
        yield image.unsqueeze(0).contiguous(), chosen.targets[box].flip(axes).unsqueeze(0).contiguous()


def _box(chosen: Example, patch: tuple[int, int, int] | None, random: np.random.Generator) -> tuple[slice, ...]:
    """Choose a patch around a labelled voxel in two of three draws, else anywhere."""
    sides = chosen.image.shape[1:]
    if patch is None:
        return (slice(None),) * 4
    centre = (
        chosen.inside[random.integers(len(chosen.inside))] if random.random() < 2 / 3 else random.integers(0, sides)
    )
    starts = [
        int(np.clip(place - want // 2, 0, max(0, have - want)))
        for place, want, have in zip(centre, patch, sides, strict=True)
    ]
    return (slice(None), *(slice(start, start + want) for start, want in zip(starts, patch, strict=True)))


def _loss(output: Tensor, targets: Tensor, head: Head) -> Tensor:
    """Return cross-entropy plus 1 - soft Dice, in equal parts; background has no Dice term."""
    if head is Head.CLASSES:
        entropy = -(targets * output.clamp_min(1e-6).log()).sum(dim=1).mean()
        return entropy + _dice_loss(output[:, 1:], targets[:, 1:])
    entropy = nn.functional.binary_cross_entropy_with_logits(output, targets)
    return entropy + _dice_loss(output.sigmoid(), targets)


def _dice_loss(probabilities: Tensor, targets: Tensor) -> Tensor:
    together = (probabilities * targets).sum(dim=(0, 2, 3, 4))
    sizes = probabilities.sum(dim=(0, 2, 3, 4)) + targets.sum(dim=(0, 2, 3, 4))
    return 1 - ((2 * together + 1) / (sizes + 1)).mean()
