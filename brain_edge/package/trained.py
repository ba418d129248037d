"""Refuse random weights in one place, with one class of error."""

from __future__ import annotations

from typing import TYPE_CHECKING

from brain_edge.errors import WeightsError
from brain_edge.package.manifest import WeightsStatus

if TYPE_CHECKING:
    from brain_edge.package.reader import ModelPackage


def require_trained(package: ModelPackage, consequence: str) -> None:
    """Refuse random weights.

    Args:
        package: opened package whose weights must be trained.
        consequence: end of the error: the effect of random weights, and the remedy.

    Raises:
        WeightsError: the weights are random.
    """
    if package.manifest.weights_status is WeightsStatus.RANDOM:
        raise WeightsError(f"{package.folder}: the weights of this package are random, {consequence}")
