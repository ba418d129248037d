"""Ladder of quantisation settings, from the fastest to the safest; values are logged, compared and never changed."""

from __future__ import annotations

from enum import StrEnum
from typing import Final

from brain_edge.spec import Value


class Preset(StrEnum):
    """Quantisation of activations; weights are symmetric per channel in both presets."""

    PERFORMANCE = "performance"
    """Symmetric activations (default). Instance norms then run on 8-bit data too, which saves memory more than time."""
    MIXED = "mixed"
    """Asymmetric activations: closer to float for activations that are not centred on zero."""


class Ranges(StrEnum):
    """Range of an activation, taken from the calibration inputs."""

    EXTREMES = "extremes"
    """Smallest and largest value, averaged over inputs: nothing is clipped."""
    QUANTILES = "quantiles"
    """All but one value in 10,000 on each side: a few extreme voxels no longer cost the others resolution."""


class Overflow(StrEnum):
    """Layers with 7-bit weights, because CPUs without VNNI add two products in 16 bits, which saturate."""

    FIRST_LAYER = "first_layer_only"
    """The first convolution, whose input uses its whole range."""
    ALL_LAYERS = "enable"
    """All layers: one bit of every weight buys safety on AVX2 and on AVX-512 without VNNI."""


class BiasCorrection(StrEnum):
    """Correction of biases for the shift that quantisation causes in each channel's mean."""

    FAST = "fast"
    """Correction from the statistics of the float network: nearly free, and usually right."""
    NONE = "none"
    """No correction: if norms remove the mean anyway, the correction may be noise."""


class FloatEnds(StrEnum):
    """Ends of the network that stay in floating point."""

    NONE = "none"
    """Neither end: all layers are quantised."""
    HEAD = "head"
    """The last layers, whose errors no later layer averages out."""
    STEM_AND_HEAD = "stem and head"
    """The last layers and the first layers, which see the intensities of the image."""


class Weights(StrEnum):
    """Change of the weights, from the inputs of the calibration cases alone; no label is used."""

    AS_TRAINED = "as trained"
    """No change: each weight is rounded for itself."""
    FITTED = "fitted"
    """Weights, biases and ranges of each layer are fitted to the outputs of the float layer."""
    EQUALISED = "equalised"
    """Scales move between neighbouring convolutions, which is exact in float; then the layers are fitted."""


class Setting(Value, frozen=True):
    """Parameters of one NNCF call, and of the change of the weights after it.

    Attributes:
        preset, ranges, overflow, bias_correction, float_ends: parameters of NNCF.
        weights: change of the weights, layer by layer.
        distilled: True to train all changed constants together after that (docs/decisions/0050).
    """

    preset: Preset = Preset.PERFORMANCE
    ranges: Ranges = Ranges.EXTREMES
    overflow: Overflow = Overflow.FIRST_LAYER
    bias_correction: BiasCorrection = BiasCorrection.FAST
    float_ends: FloatEnds = FloatEnds.NONE
    weights: Weights = Weights.AS_TRAINED
    distilled: bool = False

    @property
    def title(self) -> str:
        """Preset and differences from the fastest setting, in words."""
        words = [f"{self.preset} preset"]
        if self.ranges is Ranges.QUANTILES:
            words.append("ranges by quantiles")
        if self.bias_correction is BiasCorrection.NONE:
            words.append("no bias correction")
        if self.overflow is Overflow.ALL_LAYERS:
            words.append("7-bit weights")
        if self.float_ends is not FloatEnds.NONE:
            words.append(f"{self.float_ends} in float")
        if self.weights is Weights.EQUALISED:
            words.append("scales moved between neighbouring convolutions")
        if self.weights is not Weights.AS_TRAINED:
            words.append("weights, biases and ranges fitted to the outputs of the float layers on calibration cases")
        if self.distilled:
            words.append("then all of them trained together towards the outputs of the float network (distillation)")
        return ", ".join(words)


LADDER: Final = (
    Setting(),
    Setting(preset=Preset.MIXED),
    Setting(preset=Preset.MIXED, ranges=Ranges.QUANTILES),
    Setting(preset=Preset.MIXED, bias_correction=BiasCorrection.NONE),
    Setting(preset=Preset.MIXED, overflow=Overflow.ALL_LAYERS),
    Setting(preset=Preset.MIXED, float_ends=FloatEnds.HEAD),
    Setting(preset=Preset.MIXED, ranges=Ranges.QUANTILES, float_ends=FloatEnds.STEM_AND_HEAD),
)
"""Settings from the fastest to the safest; after the first two, all run at about the same speed except for float
ends."""


def ladder_from(preset: Preset) -> tuple[Setting, ...]:
    """Return the ladder without the settings that are faster than a preset."""
    return LADDER if preset is Preset.PERFORMANCE else tuple(rung for rung in LADDER if rung.preset is preset)


MENDED: Final = tuple(
    Setting(preset=Preset.MIXED, bias_correction=BiasCorrection.NONE, weights=weights)
    for weights in (Weights.FITTED, Weights.EQUALISED)
)
"""Settings with changed weights, tried when no setting of the ladder meets the budget. The fit sets the biases and
narrows the ranges. The weights have 8 bits but for the first layer: a fit with 7 bits loses more than saturation does
(docs/decisions/0047)."""
