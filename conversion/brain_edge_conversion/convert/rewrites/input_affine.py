"""Folding of a constant intensity change into the first convolution of a network.

If the last step before a network is x * a + b with constants, and the network begins with a convolution, then

    conv(x a + b) = (W a) * x + (bias + b sum(W))

and the step can go. The scale a is always exact, because a zero of the padding times a is zero. The shift b is exact
only if nothing is padded with zeros after it: not by the convolution, not by a window beyond the volume, not for a
missing sequence. Otherwise the step stays, and `why_not` gives the reason (docs/decisions/0012).
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
        """Invert the change: return the input whose image is `voxels`."""
        return np.asarray((voxels - np.float32(self.add)) / np.float32(self.multiply), dtype=np.float32)


def last_affine(stage: Stage) -> Affine | None:
    """Return the constant intensity change at the end of the steps before a network, if there is one."""
    found = stage.before[-1].affine() if stage.before else None
    return None if found is None or found[0] == 0 else Affine(*found)


def folded_affine(published: Stage, converted: Stage) -> Affine | None:
    """Return the intensity change that the converted graph applies itself; None if both stages have the same steps."""
    return last_affine(published) if converted.before == published.before[:-1] else None


def why_not(spec: ModelSpec, stage: Stage, models: Sequence[Any]) -> str | None:
    """Return the reason why a stage's last intensity change cannot be folded into its graphs; None if it can."""
    affine = last_affine(stage)
    if affine is None or not stage.network.execution.reads_image:
        return "there is none"
    if any(_first_convolution(model) is None for model in models):
        return "the network does not begin with one convolution of constant weights"
    if affine.add == 0:
        return None
    if not stage.network.execution.sees_volume:
        return "windows are filled up with zeros after the step, and a shift would change the zeros"
    if any(sequence.missing is not UNSET for sequence in spec.inputs):
        return "zeros stand for a missing sequence after the step, and a shift would change the zeros"
    if any(_pads(_first_convolution(model)) for model in models):
        return "the first convolution pads with zeros, and a shift would change the zeros"
    return None


def fold_input_affine(stage: Stage, models: Sequence[Any]) -> Stage:
    """Fold the last intensity change into the graphs, in place, and return the stage without the step.

    Requires that `why_not` returns None.
    """
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
    """Fold the last intensity change of every stage where this is exact; return the new spec and the changes in words.

    Args:
        spec: specification of the model.
        models: graphs, changed in place.
        report: function that receives a line for each change that was not folded, with the reason.
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
    """Return the convolution that is the only reader of the graph's input, if there is one."""
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
    """Add one number per channel (C,) to the output of a convolution, to its bias if it has one."""
    axes = len(convolution.get_output_partial_shape(0)) - 2
    last = convolution
    if (bias := added_bias(convolution)) is not None:
        last, numbers = bias
        shift = shift + numbers
    readers = list(last.output(0).get_target_inputs())
    shifted = operations().add(convolution.output(0), per_channel(shift, axes))
    for reader in readers:
        reader.replace_source_output(shifted.output(0))
