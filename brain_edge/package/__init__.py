"""Package: a folder with a model, everything needed to run it, and its known accuracy and origin."""

from brain_edge.package.manifest import Manifest as Manifest
from brain_edge.package.manifest import NumberFormat as NumberFormat
from brain_edge.package.manifest import Precision as Precision
from brain_edge.package.manifest import WeightsStatus as WeightsStatus
from brain_edge.package.manifest import graph_path as graph_path
from brain_edge.package.reader import ModelPackage as ModelPackage
from brain_edge.package.reader import open_package as open_package
