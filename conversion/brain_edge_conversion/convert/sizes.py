"""Comparison of a graph and its network at several sizes: only other sizes than the traced one show frozen decisions.

A network for whole volumes gets the size of each head. Python code that asks for the size (padding, a resize) decided
once, when it was traced. The error of a sum over a volume also grows with the volume.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from brain_edge.errors import BrainEdgeError
from brain_edge.runtime.library import read_model
from brain_edge.runtime.rewrites.norm_sums import REDUCTIONS
from brain_edge.spec.plan import known_inputs
from brain_edge.spec.steps import Orient, PadToMultiple
from brain_edge.spec.steps.step import GridStep
from brain_edge_conversion.convert.draft import stage_of
from brain_edge_conversion.convert.parity import as_published, moved_between
from brain_edge_conversion.convert.rewrites.outputs import with_one_output
from brain_edge_conversion.convert.taken import MULTIPLES, output_on, size_in_words

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from torch import nn

    from brain_edge.image.geometry import Shape
    from brain_edge.image.volume import FloatArray
    from brain_edge.runtime.protocol import Session
    from brain_edge.spec import Stage
    from brain_edge_conversion.convert.draft import Saved
    from brain_edge_conversion.convert.parity import Moved, Side

SMALL: Final[tuple[Shape, ...]] = ((37, 41, 35), (38, 46, 34), (36, 44, 52), (40, 56, 72), (48, 32, 80), (64, 32, 96))
"""Small test sizes: odd sides, and odd multiples of 2, 4, 8, 16 and 32; all together take seconds."""
LARGE: Final[Shape] = (128, 112, 96)
"""Large test size for graphs that sum over volumes: from 96^3 on, a sum in one float32 exceeds the parity limits. The
size is less than a fifth of a head at 1 mm, and a conversion compares a head anyway."""
OWN_TIMES: Final = 20
"""Allowed error, in movements of PyTorch's own output when the last digits of its input move. A network rounds in each
of its layers, not at its input alone: folds of HD-BET v1 are off by up to 7, sums that drift by hundreds
(docs/decisions/0052)."""
OWN_MOST: Final = 10
"""Largest allowed error, in limits, however much the output of PyTorch moves."""
SUMS: Final = frozenset({"MVN", "GroupNormalization", *REDUCTIONS})


@dataclass(frozen=True)
class Seen:
    """Relative error at one size: largest difference / largest output.

    Attributes:
        shape: shape of the input (N, C, ...).
        error: difference between OpenVINO and PyTorch; infinite if OpenVINO fails.
        own: difference between PyTorch and itself, when the last digit of its input moves; 0 if it was not needed.
    """

    shape: tuple[int, ...]
    error: float
    own: float = 0.0

    def is_right(self, allowed: float) -> bool:
        """Return True within the limit, or within what rounding alone does to this network; NaN is wrong."""
        return self.error <= max(allowed, min(OWN_TIMES * self.own, OWN_MOST * allowed))


@dataclass(frozen=True)
class Frozen:
    """Finding about a graph that computes another function at another size.

    Attributes:
        words: description of the fault; empty if there is none.
        elsewhere_right: True if the graph agrees with PyTorch at the traced size; False if the conversion is wrong
            altogether.
    """

    words: str = ""
    elsewhere_right: bool = False


def find_frozen(draft: Saved, converted: Side) -> Frozen:
    """Compare each graph that takes any size, on noise of sizes that PyTorch takes; return the first fault.

    Args:
        draft: draft of the conversion, with its PyTorch networks.
        converted: OpenVINO side.
    """
    spec = draft.source.spec
    known, moved = dict(known_inputs(spec)), moved_between(spec, converted.spec)
    for source in draft.source.graphs:
        graph, stage = source.graph, stage_of(spec, source.graph)
        if graph in known or not stage.network.execution.sees_volume:
            continue
        large = sums_volumes(read_model(draft.package.graph_file(graph)))
        network, execution = stage.network, stage.network.execution
        sides = (source.example_shape, *sizes_of(stage, large=large))
        shapes = dict.fromkeys(execution.example_input(network.channels_in, each) for each in sides)
        module = with_one_output(draft.published[graph], source.output)
        allowed = draft.options.limits.relative_error
        tried = (_seen(shape, module, converted.sessions[graph], moved[graph], allowed) for shape in shapes)
        seen = [each for each in tried if each is not None]
        if words := judged(seen, allowed):
            return Frozen(f"{graph}: {words}; no package was written", seen[0].is_right(allowed))
    return Frozen()


def sizes_of(stage: Stage, *, large: bool) -> list[Shape]:
    """Return sizes (I, J, K) that the steps before a network may give: the small ones, and the large one if `large`."""
    multiple, minimum = 1, (1, 1, 1)
    for step in stage.before:
        if isinstance(step, PadToMultiple):
            multiple, minimum = step.multiple_of, step.minimum
        elif isinstance(step, GridStep) and not isinstance(step, Orient):
            multiple, minimum = 1, (1, 1, 1)

    def padded(sides: Shape) -> Shape:
        i, j, k = (-(-max(pair) // multiple) * multiple for pair in zip(sides, minimum, strict=True))
        return i, j, k

    return list(dict.fromkeys(map(padded, (*SMALL, LARGE) if large else SMALL)))


def sums_volumes(model: Any) -> bool:
    """Return True if a graph has a norm or mean that may run over whole volumes."""
    return any(node.get_type_name() in SUMS for node in model.get_ordered_ops())


def _seen(shape: tuple[int, ...], module: nn.Module, converted: Session, moved: Moved, allowed: float) -> Seen | None:
    """Return how far both are on noise of one shape (N, C, ...), or None where PyTorch does not take the shape."""
    noise = noise_of(shape)
    wanted = output_on(module, noise)
    if wanted is None:
        return None
    try:
        got = as_published(
            converted(noise if moved.affine is None else moved.affine.undone(noise)), moved, wanted.shape[1]
        )
    except BrainEdgeError:  # PyTorch takes this size: that OpenVINO does not is the finding
        return Seen(shape, np.inf)
    error = relative_distance(wanted, got)
    return Seen(shape, error) if error <= allowed else Seen(shape, error, _own_movement(module, noise, wanted))


def _own_movement(module: nn.Module, noise: FloatArray, wanted: FloatArray) -> float:
    """Return how far PyTorch's output moves when the last digits of its input move."""
    moved = (output_on(module, each) for each in last_digit_moved(noise))
    return max(0.0 if each is None else relative_distance(wanted, each) for each in moved)


def noise_of(shape: tuple[int, ...]) -> FloatArray:
    """Return noise of one shape (N, C, ...): skewed and far from zero, as intensities are, so that sums are large."""
    return np.random.default_rng(0).gamma(2.0, 1.0, shape).astype(np.float32)


def last_digit_moved(values: FloatArray) -> Iterator[FloatArray]:
    """Return positive numbers, each moved up or down to the next float32, drawn twice."""
    generator = np.random.default_rng(1)
    for _ in range(2):
        away = np.where(generator.random(values.shape) < 0.5, np.float32(0), np.float32(np.inf))
        yield np.nextafter(values, away)


def relative_distance(wanted: FloatArray, got: FloatArray) -> float:
    """Return the largest difference / the largest output; infinite if the shapes differ."""
    if wanted.shape != got.shape:
        return np.inf
    return float(np.abs(wanted - got).max()) / max(float(np.abs(wanted).max()), 1e-12)


def judged(seen: Sequence[Seen], allowed: float) -> str:
    """Describe the fault of a graph that was compared at several sizes; empty if there is none."""
    wrong = [each for each in seen if not each.is_right(allowed)]
    right = [each for each in seen if each.is_right(allowed)]
    if not wrong:
        return ""
    where = " and on ".join(
        f"{size_in_words(each.shape)} ({f'relative error {each.error:.3g}' if np.isfinite(each.error) else 'it fails'})"
        for each in wrong
    )
    agreed = f", and agrees on {' and on '.join(size_in_words(each.shape) for each in right)}" if right else ""
    return (
        f"OpenVINO differs from PyTorch on {where}{agreed}. The graph has frozen a decision that the network makes by "
        f"the size of its input, or sums over volumes in a form that drifts; {_remedy(wrong, right)}"
    )


def _remedy(wrong: Sequence[Seen], right: Sequence[Seen]) -> str:
    """Return the advice for a faulty graph: a padding step if it leaves only sizes that agreed, else windows."""

    def is_multiple(each: Seen, number: int) -> bool:
        return all(side % number == 0 for side in each.shape[2:])

    for number in MULTIPLES:
        if any(is_multiple(each, number) for each in right) and not any(is_multiple(each, number) for each in wrong):
            return f"add pad_to_multiple (right here: {number}) as the last step before the network, or use windows"
    return "use windows, or steps that fix the size of the network's input"
