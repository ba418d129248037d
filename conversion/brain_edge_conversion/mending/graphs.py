"""Both forms of one network, with inputs for them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from brain_edge_conversion.mending.targets import IMAGE, Target

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from brain_edge.image.volume import FloatArray


@dataclass(frozen=True)
class Graphs:
    """Both forms of one network, and inputs for them.

    Attributes:
        quantised: model with integer weights; a fit changes its constants.
        original: float model with the same names of layers.
        batches: inputs of the model.
        properties: properties of the compilation.
        target: meaning of the output.
    """

    quantised: Any
    original: Any
    batches: Sequence[FloatArray]
    properties: Mapping[str, Any]
    target: Target = IMAGE
