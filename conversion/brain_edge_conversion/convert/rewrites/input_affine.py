"""A constant change of intensity right before a network becomes part of its first convolution.

Where the last step before a network is x * a + b with constants, and the network begins with a convolution,

    conv(x a + b) = (W a) * x + (bias + b sum(W))

and the step is gone. The scale a is exact in any case, since a times a zero of the padding is zero. The shift b is
exact only where nothing is padded with zeros after it: not by the convolution, not by a window beyond the volume, not
for a sequence that is missing. Everywhere else the step stays, and `why_not` says why (docs/decisions/0012).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np
from msgspec import UNSET

from brain_edge.runtime.library import operations
from brain_edge_conversion.convert.rewrites.nodes import added_bias, kind, only_consumer, per_channel, producer, weights

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    import numpy.typing as npt

    from brain_edge.image.volume import FloatArray
    from brain_edge.spec import ModelSpec, Stage


@dataclass(frozen=True)
class Affine:
    """x * multiply + add, for every channel."""

    multiply: float
    add: float

    def undone(self, voxels: FloatArray) -> FloatArray:
        """What became `voxels`."""
        return np.asarray((voxels - np.float32(self.add)) / np.float32(self.multiply), dtype=np.float32)


def last_affine(stage: Stage) -> Affine | None:
    """The constant change of intensity with which the steps before a network end."""
    found = stage.before[-1].affine() if stage.before else None
    return None if found is None or found[0] == 0 else Affine(*found)


def folded_affine(published: Stage, converted: Stage) -> Affine | None:
    """What the converted graph does itself of the published steps; None where both have the same."""
    return last_affine(published) if converted.before == published.before[:-1] else None


def why_not(spec: ModelSpec, stage: Stage, models: Sequence[Any]) -> str | None:
    """Why the last change of intensity of a stage cannot go into its graphs; None where it can."""
    affine = last_affine(stage)
    if affine is None or not stage.network.execution.reads_image:
        return "there is none"
    if any(_first_convolution(model) is None for model in models):
        return "the network does not begin with one convolution of constant weights"
    if affine.add == 0:
        return None
    if not stage.network.execution.sees_volume:
        return "windows are filled up with zeros after it, which a shift would change"
    if any(sequence.missing is not UNSET for sequence in spec.inputs):
        return "zeros stand for a missing sequence after it, which a shift would change"
    if any(_pads(_first_convolution(model)) for model in models):
        return "the first convolution pads with zeros, which a shift would change"
    return None


def fold_input_affine(stage: Stage, models: Sequence[Any]) -> Stage:
    """Change the graphs in place; the stage without the step. Only where `why_not` has nothing to say."""
    affine = last_affine(stage)
    if affine is None:
        return stage
    for model in models:
        _fold(_first_convolution(model), affine)
        model.validate_nodes_and_infer_types()
    return msgspec.structs.replace(stage, before=stage.before[:-1])


def fold_input_affines(
    spec: ModelSpec, models: Mapping[str, Any], report: Callable[[str], None]
) -> tuple[ModelSpec, list[str]]:
    """Fold the last change of intensity of every stage where that is exact; the spec of that, and what was done.

    Args:
        spec: of the model.
        models: the graphs, changed in place.
        report: told what was folded, and why the rest was not.
    """
    stages, lines = list(spec.stages), []
    for number, stage in enumerate(spec.stages):
        of_stage = [models[graph] for graph in stage.network.graphs]
        if (step := last_affine(stage)) is None:
            continue
        what = f"{stage.name}: last change of intensity, x * {step.multiply:g} + {step.add:g},"
        if reason := why_not(spec, stage, of_stage):
            report(f"not rewritten: {what} stays a step: {reason}")
            continue
        stages[number] = fold_input_affine(stage, of_stage)
        lines.append(f"{what} folded into the first convolution")
        report(f"rewritten: {lines[-1]}")
    return msgspec.structs.replace(spec, stages=tuple(stages)), lines


def _first_convolution(model: Any) -> Any | None:
    """The convolution that alone reads the input of a graph."""
    first = only_consumer(model.get_parameters()[0])
    if first is None or kind(first) != "Convolution" or kind(producer(first, 0)) != "Parameter":
        return None
    return first if weights(first) is not None else None


def _pads(convolution: Any) -> bool:
    attributes = convolution.get_attributes()
    explicit = attributes["auto_pad"] in ("explicit", "notset", "valid")
    return not explicit or any((*attributes["pads_begin"], *attributes["pads_end"]))


def _fold(convolution: Any, affine: Affine) -> None:
    kernel = weights(convolution)
    if kernel is None:
        raise AssertionError("`why_not` has looked at the weights")
    scaled = np.asarray(kernel * np.float64(affine.multiply), dtype=np.float32)
    convolution.input(1).replace_source_output(operations().constant(scaled).output(0))
    if affine.add == 0:
        return
    shift = affine.add * kernel.sum(axis=tuple(range(1, kernel.ndim)), dtype=np.float64)
    _add(convolution, np.asarray(shift, dtype=np.float32))


def _add(convolution: Any, shift: npt.NDArray[np.float32]) -> None:
    """Add numbers (C,) to what a convolution gives, to its bias if it has one."""
    axes = len(convolution.get_output_partial_shape(0)) - 2
    last = convolution
    if (bias := added_bias(convolution)) is not None:
        last, numbers = bias
        shift = shift + numbers
    readers = list(last.output(0).get_target_inputs())
    shifted = operations().add(convolution.output(0), per_channel(shift, axes))
    for reader in readers:
        reader.replace_source_output(shifted.output(0))
