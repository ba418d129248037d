"""Normalisation of intensities with a separate rule for every sequence."""

from __future__ import annotations

from enum import StrEnum
from typing import TYPE_CHECKING, Annotated

import msgspec
import numpy as np

from brain_edge.errors import InputError
from brain_edge.image.components import without_holes
from brain_edge.spec.base import Value
from brain_edge.spec.steps.step import IntensityStep

if TYPE_CHECKING:
    from brain_edge.spec.steps.frame import Array, Frame
    from brain_edge.spec.steps.known_frame import KnownFrame


class Scheme(StrEnum):
    """Normalisation of a channel."""

    NONE = "none"
    """No normalisation."""
    Z_SCORE = "z_score"
    """Mean and standard deviation of all voxels."""
    Z_SCORE_FOREGROUND = "z_score_foreground"
    """Mean and standard deviation of the voxels where any channel is not 0, holes filled; other voxels are kept."""
    MIN_MAX = "min_max"
    """The smallest value becomes 0, the largest 1."""
    FIXED = "fixed"
    """Clipping to constants, then (x - subtract) / divide."""


class ChannelRule(Value, frozen=True):
    """Rule of one channel; the constants belong to `fixed`, and None leaves that side open."""

    scheme: Scheme
    lower: float | None = None
    upper: float | None = None
    subtract: float = 0.0
    divide: Annotated[float, msgspec.Meta(gt=0.0)] = 1.0


class NormaliseEach(IntensityStep, frozen=True):
    """Normalise each channel by its own rule (nnU-Net v2, `normalization_schemes` and `use_mask_for_norm`).

    Raises:
        InputError: a channel has no contrast.
    """

    channels: Annotated[tuple[ChannelRule, ...], msgspec.Meta(min_length=1)]

    def apply(self, frame: Frame) -> Frame:
        """Normalise every channel."""
        rules = frame.present(self.channels)
        needs_mask = any(rule.scheme is Scheme.Z_SCORE_FOREGROUND for rule in rules)
        foreground = without_holes((frame.voxels != 0).any(axis=0)) if needs_mask else None
        normalised = [_normalised(channel, rule, foreground) for channel, rule in zip(frame.voxels, rules, strict=True)]
        return frame.with_voxels(np.stack(normalised))

    def outcome(self, before: KnownFrame) -> KnownFrame:
        """Return the same channels."""
        return before.given_one_each(len(self.channels), "rules")


def _normalised(channel: Array, rule: ChannelRule, foreground: Array | None) -> Array:
    values = channel.astype(np.float32, copy=False)
    if rule.scheme is Scheme.NONE:
        return values
    if rule.scheme is Scheme.FIXED:
        return (np.clip(values, rule.lower, rule.upper) - np.float32(rule.subtract)) / np.float32(rule.divide)
    if rule.scheme is Scheme.MIN_MAX:
        return _scaled(values, float(values.min()), float(values.max()) - float(values.min()))
    inside = values if rule.scheme is Scheme.Z_SCORE or foreground is None else values[foreground]
    if inside.size == 0:
        raise InputError("expected voxels for normalisation, got 0 in every voxel of every sequence; check the images")
    mean, deviation = float(inside.mean(dtype=np.float64)), float(inside.std(dtype=np.float64))
    scaled = _scaled(values, mean, deviation)
    return scaled if inside is values or foreground is None else np.where(foreground, scaled, values)


def _scaled(values: Array, subtract: float, divide: float) -> Array:
    if divide == 0:
        raise InputError(
            "expected an image with contrast, got one value in all voxels of the step NormaliseEach; "
            "check that the file is the right sequence"
        )
    return (values - np.float32(subtract)) / np.float32(divide)
