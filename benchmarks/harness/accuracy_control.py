"""NNCF's own accuracy control, for comparison: it sees graphs and their inputs, not masks."""

from __future__ import annotations

import contextlib
import logging
import sys
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from brain_edge.bench.child import CrashError
from brain_edge_conversion.budget.capture import load_inputs
from brain_edge_conversion.mending.targets import decided, disagreement
from brain_edge_conversion.quantize.networks import import_nncf

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from pathlib import Path

    from brain_edge_conversion.mending.targets import Target
    from brain_edge_conversion.quantize.ladder import Preset


class HeldOut(NamedTuple):
    """Inputs on which NNCF's accuracy control measures a graph.

    Attributes:
        files: `.npy` files of validation inputs.
        target: meaning of the output.
    """

    files: Sequence[Path]
    target: Target


class Control(NamedTuple):
    """Parameters of the accuracy control.

    Attributes:
        preset: NNCF preset.
        iterations: largest number of groups of layers that are set back to float.
        max_drop: limit of the drop of the metric.
    """

    preset: Preset
    iterations: int
    max_drop: float


def controlled(model: Any, inputs: Sequence[Path], held_out: HeldOut, control: Control) -> Any:
    """Return a graph that NNCF's own accuracy control has quantised.

    Its metric is 1 - the disagreement with the float graph on validation inputs: the Dice of the worst label.

    Args:
        model: float graph.
        inputs: `.npy` files of calibration inputs.
        held_out: validation inputs.
        control: preset and limits.

    Raises:
        CrashError: NNCF cannot quantise the graph.
    """
    nncf = import_nncf()
    nncf.set_log_level(logging.ERROR)
    open_shape, model = model.inputs[0].partial_shape, model.clone()
    shapes = {batch.shape for batch in load_inputs([*inputs, *held_out.files])}
    if len(shapes) == 1:
        # with open sides, OpenVINO keeps every intermediate result
        model.reshape(list(*shapes))
    wanted: dict[Path, Any] = {}

    def validate(compiled: Any, files: Iterable[Path]) -> tuple[float, list[float]]:
        found = []
        for file in files:
            decision = decided(np.array(compiled(next(load_inputs([file])))[0]), held_out.target)
            # NNCF validates the float graph first
            found.append(1 - disagreement([decision], [wanted.setdefault(file, decision)], held_out.target))
        return float(np.mean(found)), found

    # NNCF draws its progress on stdout, which belongs to the results
    with contextlib.redirect_stdout(sys.stderr):
        try:
            made = nncf.quantize_with_accuracy_control(
                model,
                nncf.Dataset(list(inputs), lambda path: next(load_inputs([path]))),
                nncf.Dataset(list(held_out.files)),
                validate,
                max_drop=control.max_drop,
                preset=nncf.QuantizationPreset(control.preset.value),
                subset_size=len(inputs),
                advanced_accuracy_restorer_parameters=nncf.AdvancedAccuracyRestorerParameters(
                    max_num_iterations=control.iterations, num_ranking_workers=1
                ),
            )
        except Exception as error:  # of NNCF, of OpenVINO within it
            raise CrashError(f"NNCF's accuracy control failed: {type(error).__name__}: {error}") from error
    made.reshape(open_shape)
    return made
