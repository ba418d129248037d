"""The operations of a model: each is one frozen struct of parameters and one pure function, in one place.

A `ModelSpec` lists them in order, because the order is the model: HD-BET resamples and then normalises,
BrainMaGe normalises and then resamples. The unions below are closed: a package that names any other
operation is refused. To add one, write it in its module and name it in the union it belongs to.
"""

from typing import TypeAlias

from brain_edge.steps.decode import Argmax, FillHoles, LargestComponent, Restore, Threshold
from brain_edge.steps.frame import Frame, Step
from brain_edge.steps.grid import (
    CropOrPadTo,
    CropToStage,
    Orient,
    PadToMultiple,
    Placement,
    ResampleToSpacing,
    ResizeTo,
)
from brain_edge.steps.intensity import Clip, FitPercentile, Linear, Normalise, Region, RescaleToUnit, ZScore

GridStep: TypeAlias = Orient | ResampleToSpacing | ResizeTo | PadToMultiple | CropOrPadTo | CropToStage
IntensityStep: TypeAlias = FitPercentile | Clip | Normalise | RescaleToUnit | ZScore | Linear
BeforeStep: TypeAlias = GridStep | IntensityStep
"""What may stand before the network."""
AfterStep: TypeAlias = Argmax | Threshold | Restore | LargestComponent | FillHoles
"""What may stand after it."""

__all__ = [
    "AfterStep",
    "Argmax",
    "BeforeStep",
    "Clip",
    "CropOrPadTo",
    "CropToStage",
    "FillHoles",
    "FitPercentile",
    "Frame",
    "GridStep",
    "IntensityStep",
    "LargestComponent",
    "Linear",
    "Normalise",
    "Orient",
    "PadToMultiple",
    "Placement",
    "Region",
    "ResampleToSpacing",
    "RescaleToUnit",
    "ResizeTo",
    "Restore",
    "Step",
    "Threshold",
    "ZScore",
]
