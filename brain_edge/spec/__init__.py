"""Specification of a model as one value that serialises: inputs, steps, networks, labels, plausible ranges."""

from brain_edge.spec.base import Value as Value
from brain_edge.spec.execution import Activation as Activation
from brain_edge.spec.execution import Edge as Edge
from brain_edge.spec.execution import NoiseSlices as NoiseSlices
from brain_edge.spec.execution import SlicesAlong as SlicesAlong
from brain_edge.spec.execution import WholeStack as WholeStack
from brain_edge.spec.execution import WholeVolume as WholeVolume
from brain_edge.spec.model import Code as Code
from brain_edge.spec.model import Label as Label
from brain_edge.spec.model import Missing as Missing
from brain_edge.spec.model import ModelSpec as ModelSpec
from brain_edge.spec.model import Name as Name
from brain_edge.spec.model import Network as Network
from brain_edge.spec.model import Plausible as Plausible
from brain_edge.spec.model import PlausibleInput as PlausibleInput
from brain_edge.spec.model import PlausibleLabel as PlausibleLabel
from brain_edge.spec.model import Range as Range
from brain_edge.spec.model import Sequence as Sequence
from brain_edge.spec.model import Stage as Stage
from brain_edge.spec.model import Task as Task
from brain_edge.spec.model import canonical_json as canonical_json
from brain_edge.spec.windowed import Blending as Blending
from brain_edge.spec.windowed import SlidingWindow as SlidingWindow
from brain_edge.spec.windowed import Starts as Starts
from brain_edge.spec.windowed import StridedWindows as StridedWindows
