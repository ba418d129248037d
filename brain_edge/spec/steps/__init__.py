"""Operations of a model: each is one frozen struct of parameters and one pure function, in one place.

A `ModelSpec` lists them in order, because the order defines the model: HD-BET resamples and then normalises, BrainMaGe
normalises and then resamples. The imports below are the only list of the operations that a package may contain; any
other operation is refused. To add one, write its module and its line here (docs/how-to/add-a-step.md).
"""

from typing import TYPE_CHECKING, TypeAlias, Union

from brain_edge.spec.steps.centres import ResampleBetweenCentres as ResampleBetweenCentres
from brain_edge.spec.steps.channels import AppendForeground as AppendForeground
from brain_edge.spec.steps.channels import AppendStage as AppendStage
from brain_edge.spec.steps.channels import OneHot as OneHot
from brain_edge.spec.steps.combine import AverageStages as AverageStages
from brain_edge.spec.steps.combine import JoinStages as JoinStages
from brain_edge.spec.steps.combine import StapleStages as StapleStages
from brain_edge.spec.steps.combine import VoteStages as VoteStages
from brain_edge.spec.steps.components import ComponentExtent as ComponentExtent
from brain_edge.spec.steps.components import KeepLargest as KeepLargest
from brain_edge.spec.steps.components import MinimumVolume as MinimumVolume
from brain_edge.spec.steps.components import RemoveSmallComponents as RemoveSmallComponents
from brain_edge.spec.steps.crop import CropAroundStage as CropAroundStage
from brain_edge.spec.steps.crop import CropOrPadInPlane as CropOrPadInPlane
from brain_edge.spec.steps.crop import CropToForeground as CropToForeground
from brain_edge.spec.steps.crop import ResizeInPlane as ResizeInPlane
from brain_edge.spec.steps.crop import WhenEmpty as WhenEmpty
from brain_edge.spec.steps.decode import Argmax as Argmax
from brain_edge.spec.steps.decode import FillHoles as FillHoles
from brain_edge.spec.steps.decode import LargestComponent as LargestComponent
from brain_edge.spec.steps.decode import Restore as Restore
from brain_edge.spec.steps.decode import Threshold as Threshold
from brain_edge.spec.steps.frame import Frame as Frame
from brain_edge.spec.steps.grid import CropOrPadTo as CropOrPadTo
from brain_edge.spec.steps.grid import CropToStage as CropToStage
from brain_edge.spec.steps.grid import Orient as Orient
from brain_edge.spec.steps.grid import PadToMultiple as PadToMultiple
from brain_edge.spec.steps.grid import Placement as Placement
from brain_edge.spec.steps.grid import ResampleToSpacing as ResampleToSpacing
from brain_edge.spec.steps.grid import ResizeTo as ResizeTo
from brain_edge.spec.steps.grid import TransposeAxes as TransposeAxes
from brain_edge.spec.steps.intensity import Clip as Clip
from brain_edge.spec.steps.intensity import FitMoment as FitMoment
from brain_edge.spec.steps.intensity import FitPercentile as FitPercentile
from brain_edge.spec.steps.intensity import Linear as Linear
from brain_edge.spec.steps.intensity import Moment as Moment
from brain_edge.spec.steps.intensity import Normalise as Normalise
from brain_edge.spec.steps.intensity import Region as Region
from brain_edge.spec.steps.intensity import RescaleToUnit as RescaleToUnit
from brain_edge.spec.steps.intensity import ZScore as ZScore
from brain_edge.spec.steps.landmarks import Constants as Constants
from brain_edge.spec.steps.landmarks import MatchLandmarks as MatchLandmarks
from brain_edge.spec.steps.normalise_each import ChannelRule as ChannelRule
from brain_edge.spec.steps.normalise_each import NormaliseEach as NormaliseEach
from brain_edge.spec.steps.normalise_each import Scheme as Scheme
from brain_edge.spec.steps.regions import LookUpRegions as LookUpRegions
from brain_edge.spec.steps.regions import OrdinalLevels as OrdinalLevels
from brain_edge.spec.steps.regions import OrdinalRule as OrdinalRule
from brain_edge.spec.steps.regions import PaintedRegion as PaintedRegion
from brain_edge.spec.steps.regions import PaintRegions as PaintRegions
from brain_edge.spec.steps.regions import PrependBackground as PrependBackground
from brain_edge.spec.steps.step import ChannelStep as ChannelStep
from brain_edge.spec.steps.step import CleanStep as CleanStep
from brain_edge.spec.steps.step import CombineStep as CombineStep
from brain_edge.spec.steps.step import DecodeStep as DecodeStep
from brain_edge.spec.steps.step import GridStep as GridStep
from brain_edge.spec.steps.step import IntensityStep as IntensityStep
from brain_edge.spec.steps.step import Step as Step
from brain_edge.spec.steps.thick_slices import ResampleThickSlices as ResampleThickSlices

if TYPE_CHECKING:
    BeforeStep: TypeAlias = GridStep | IntensityStep | ChannelStep
    """Steps that may stand before the network."""
    AfterStep: TypeAlias = DecodeStep | CombineStep | CleanStep
    """Steps that may stand after the network."""
else:

    def _listed(*places: type[Step]) -> object:
        """Return the union, which msgspec reads by `op`, of the imported steps of some places."""
        return Union[tuple(each for each in globals().values() if getattr(each, "__base__", None) in places)]  # noqa: UP007

    BeforeStep, AfterStep = _listed(GridStep, IntensityStep, ChannelStep), _listed(DecodeStep, CombineStep, CleanStep)
