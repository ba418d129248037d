"""The settings that are tried, from the fastest to the safest: values that are logged, compared and never changed."""

from __future__ import annotations

from enum import StrEnum
from typing import Final

from brain_edge.spec import Value


class Preset(StrEnum):
    """How activations are quantised; weights are symmetric per channel in both."""

    PERFORMANCE = "performance"
    """Symmetric activations: instance norms then run on 8-bit data too, which saves memory more than time. The
    default."""
    MIXED = "mixed"
    """Asymmetric activations: closer to float where they are not centred on zero."""


class Ranges(StrEnum):
    """How the range of an activation is taken from the calibration inputs."""

    EXTREMES = "extremes"
    """Smallest and largest value, averaged over inputs: nothing is cut off."""
    QUANTILES = "quantiles"
    """All but one value in 10,000 on each side: a few extreme voxels no longer take the resolution of the others."""


class Overflow(StrEnum):
    """Where weights use half of their 8 bits, because CPUs without VNNI add two products in 16 bits, which saturate."""

    FIRST_LAYER = "first_layer_only"
    """In the first convolution, whose input uses its whole range."""
    ALL_LAYERS = "enable"
    """Everywhere: one bit of every weight for safety on AVX2 and AVX-512 without VNNI."""


class BiasCorrection(StrEnum):
    """Whether biases are shifted by what quantisation does to the mean of each channel."""

    FAST = "fast"
    """From the statistics of the float network: nearly free, and usually right."""
    NONE = "none"
    """Not at all: where norms remove the mean anyway, the correction may be noise."""


class FloatEnds(StrEnum):
    """Which ends of the network stay in floating point."""

    NONE = "none"
    """Neither: all is quantised."""
    HEAD = "head"
    """The last layers, whose errors no later layer averages out."""
    STEM_AND_HEAD = "stem and head"
    """The first layers too, which see the intensities of the image."""


class Setting(Value, frozen=True):
    """One way to call NNCF."""

    preset: Preset = Preset.PERFORMANCE
    ranges: Ranges = Ranges.EXTREMES
    overflow: Overflow = Overflow.FIRST_LAYER
    bias_correction: BiasCorrection = BiasCorrection.FAST
    float_ends: FloatEnds = FloatEnds.NONE

    @property
    def title(self) -> str:
        """What differs from the fastest setting, in words."""
        words = [f"{self.preset} preset"]
        if self.ranges is Ranges.QUANTILES:
            words.append("ranges by quantiles")
        if self.bias_correction is BiasCorrection.NONE:
            words.append("no bias correction")
        if self.overflow is Overflow.ALL_LAYERS:
            words.append("7-bit weights")
        if self.float_ends is not FloatEnds.NONE:
            words.append(f"{self.float_ends} in float")
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
"""From the fastest to the safest. After the first two all run at about the same speed but for the float ends."""


def ladder_from(preset: Preset) -> tuple[Setting, ...]:
    """The ladder without the settings that are faster than a preset."""
    return LADDER if preset is Preset.PERFORMANCE else tuple(rung for rung in LADDER if rung.preset is preset)
