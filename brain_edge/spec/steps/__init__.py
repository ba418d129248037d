"""The operations of a model: each is one frozen struct of parameters and one pure function, in one place.

A `ModelSpec` lists them in order, because the order is the model: HD-BET resamples and then normalises,
BrainMaGe normalises and then resamples. The unions below are closed: a package that names any other
operation is refused. To add one, write it in its module and name it in the union it belongs to.
"""

from typing import TypeAlias

from brain_edge.spec.steps.centres import ResampleBetweenCentres
from brain_edge.spec.steps.channels import AppendForeground, AppendStage, OneHot
from brain_edge.spec.steps.combine import AverageStages, JoinStages, StapleStages, VoteStages
from brain_edge.spec.steps.components import ComponentExtent, KeepLargest, MinimumVolume, RemoveSmallComponents
from brain_edge.spec.steps.crop import CropAroundStage, CropOrPadInPlane, CropToForeground, ResizeInPlane, WhenEmpty
from brain_edge.spec.steps.decode import Argmax, FillHoles, LargestComponent, Restore, Threshold
from brain_edge.spec.steps.frame import Frame, Step
from brain_edge.spec.steps.grid import (
    CropOrPadTo,
    CropToStage,
    Orient,
    PadToMultiple,
    Placement,
    ResampleToSpacing,
    ResizeTo,
)
from brain_edge.spec.steps.intensity import (
    Clip,
    FitMoment,
    FitPercentile,
    Linear,
    Moment,
    Normalise,
    Region,
    RescaleToUnit,
    ZScore,
)
from brain_edge.spec.steps.landmarks import Constants, MatchLandmarks
from brain_edge.spec.steps.normalise_each import ChannelRule, NormaliseEach, Scheme
from brain_edge.spec.steps.regions import (
    LookUpRegions,
    OrdinalLevels,
    OrdinalRule,
    PaintedRegion,
    PaintRegions,
    PrependBackground,
)
from brain_edge.spec.steps.storage import TransposeAxes
from brain_edge.spec.steps.thick_slices import ResampleThickSlices

GridStep: TypeAlias = (
    Orient
    | ResampleToSpacing
    | ResizeTo
    | PadToMultiple
    | CropOrPadTo
    | CropToStage
    | CropToForeground
    | CropAroundStage
    | ResizeInPlane
    | CropOrPadInPlane
    | TransposeAxes
    | ResampleThickSlices
    | ResampleBetweenCentres
)
IntensityStep: TypeAlias = (
    FitPercentile
    | FitMoment
    | Clip
    | Normalise
    | RescaleToUnit
    | ZScore
    | Linear
    | Constants
    | MatchLandmarks
    | NormaliseEach
)
ChannelStep: TypeAlias = AppendStage | AppendForeground | OneHot
BeforeStep: TypeAlias = GridStep | IntensityStep | ChannelStep
"""What may stand before the network."""
DecodeStep: TypeAlias = Argmax | Threshold | PaintRegions | LookUpRegions | OrdinalLevels | PrependBackground | Restore
CombineStep: TypeAlias = JoinStages | AverageStages | VoteStages | StapleStages
CleanStep: TypeAlias = (
    LargestComponent | FillHoles | KeepLargest | MinimumVolume | RemoveSmallComponents | ComponentExtent
)
AfterStep: TypeAlias = DecodeStep | CombineStep | CleanStep
"""What may stand after it."""

__all__ = [
    "AfterStep",
    "AppendForeground",
    "AppendStage",
    "Argmax",
    "AverageStages",
    "BeforeStep",
    "ChannelRule",
    "ChannelStep",
    "CleanStep",
    "Clip",
    "CombineStep",
    "ComponentExtent",
    "Constants",
    "CropAroundStage",
    "CropOrPadInPlane",
    "CropOrPadTo",
    "CropToForeground",
    "CropToStage",
    "DecodeStep",
    "FillHoles",
    "FitMoment",
    "FitPercentile",
    "Frame",
    "GridStep",
    "IntensityStep",
    "JoinStages",
    "KeepLargest",
    "LargestComponent",
    "Linear",
    "LookUpRegions",
    "MatchLandmarks",
    "MinimumVolume",
    "Moment",
    "Normalise",
    "NormaliseEach",
    "OneHot",
    "OrdinalLevels",
    "OrdinalRule",
    "Orient",
    "PadToMultiple",
    "PaintRegions",
    "PaintedRegion",
    "Placement",
    "PrependBackground",
    "Region",
    "RemoveSmallComponents",
    "ResampleBetweenCentres",
    "ResampleThickSlices",
    "ResampleToSpacing",
    "RescaleToUnit",
    "ResizeInPlane",
    "ResizeTo",
    "Restore",
    "Scheme",
    "StapleStages",
    "Step",
    "Threshold",
    "TransposeAxes",
    "VoteStages",
    "WhenEmpty",
    "ZScore",
]
