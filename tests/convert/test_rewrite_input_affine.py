"""A constant change of intensity goes into the first convolution where that is exact, and stays a step elsewhere."""

from __future__ import annotations

from typing import Any

import numpy as np
import openvino as ov
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from openvino import opset13 as ops
from torch.nn import functional

from brain_edge.image.geometry import Geometry
from brain_edge.image.resample import Interpolation
from brain_edge.spec import Label, Missing, ModelSpec, Network, Sequence, SlidingWindow, Stage, Task
from brain_edge.spec.steps import Argmax, Clip, Frame, Linear, Normalise, Restore, ZScore
from brain_edge_conversion.convert.rewrites.input_affine import (
    Affine,
    fold_input_affine,
    folded_affine,
    last_affine,
    why_not,
)

ROUNDING = 1e-5
"""Of float32, relative to the largest product that is summed."""


def stage(*before: Any, **network: Any) -> Stage:
    fields: dict[str, Any] = {"graphs": ("one",), "channels_in": 2, "channels_out": 3}
    after = (Argmax(), Restore(interpolation=Interpolation.NEAREST))
    return Stage(name="only", before=before, network=Network(**(fields | network)), after=after)


def spec(of: Stage, **second: Any) -> ModelSpec:
    return ModelSpec(
        name="affine",
        task=Task.TISSUE,
        inputs=(Sequence(name="T1"), Sequence(name="T2", **second)),
        stages=(of,),
        labels=(Label(value=1, name="one"), Label(value=2, name="two")),
    )


def graph(kernel: np.ndarray, bias: np.ndarray | None = None, pad: int = 0) -> Any:
    image = ops.parameter([1, 2, -1, -1, -1], np.float32)
    convolution = ops.convolution(image, kernel, [1] * 3, [pad] * 3, [pad] * 3, [1] * 3)
    last = convolution if bias is None else ops.add(convolution, bias.reshape(1, -1, 1, 1, 1))
    return ov.Model([last], [image])


def random(*shape: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


STEPS = st.one_of(
    st.builds(Linear, multiply=st.floats(0.01, 100.0), add=st.floats(-50.0, 50.0, allow_subnormal=False)),
    st.builds(Normalise, subtract=st.floats(-100.0, 100.0, allow_subnormal=False), divide=st.floats(0.1, 100.0)),
)


@settings(max_examples=40, deadline=None)
@given(step=STEPS, scale_only=st.booleans(), bias=st.booleans(), pad=st.integers(0, 2), seed=st.integers(0, 2**31))
def test_the_folded_graph_makes_of_the_image_what_pytorch_makes_after_the_step(step, scale_only, bias, pad, seed):
    if scale_only:
        step = Linear(multiply=getattr(step, "multiply", 3.0))
    else:
        pad = 0
    published = stage(Clip(), step)
    kernel, offsets = random(3, 2, 3, 3, 3, seed=seed), random(3, seed=seed + 1) if bias else None
    model, image = graph(kernel, offsets, pad), random(1, 2, 5, 6, 4, seed=seed + 2)
    stepped = step.apply(Frame(image[0], Geometry(image.shape[2:], np.eye(4)))).voxels[np.newaxis]
    expected = functional.conv3d(
        torch.from_numpy(stepped),
        torch.from_numpy(kernel),
        None if offsets is None else torch.from_numpy(offsets),
        1,
        pad,
    ).numpy()
    assert why_not(spec(published), published, [model]) is None
    folded = fold_input_affine(published, [model])
    assert folded.before == (Clip(),)
    got = ov.Core().compile_model(model, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})(image)[0]
    affine = last_affine(published)
    assert affine is not None
    largest = 27 * 2 * 4.0 * (abs(affine.multiply) * 4.0 + abs(affine.add)) + 4.0
    np.testing.assert_allclose(got, expected, rtol=0, atol=ROUNDING * largest)


SHIFT, SCALE = Linear(multiply=2.0, add=1.0), Linear(multiply=2.0)


def relu_first() -> Any:
    image = ops.parameter([1, 2, -1, -1, -1], np.float32)
    return ov.Model(
        [ops.convolution(ops.relu(image), random(3, 2, 1, 1, 1), [1] * 3, [0] * 3, [0] * 3, [1] * 3)], [image]
    )


def residual() -> Any:
    image = ops.parameter([1, 2, -1, -1, -1], np.float32)
    convolution = ops.convolution(image, random(2, 2, 1, 1, 1), [1] * 3, [0] * 3, [0] * 3, [1] * 3)
    return ov.Model([ops.add(convolution, image)], [image])


WINDOWS = {"execution": SlidingWindow(shape=(4, 4, 4))}


@pytest.mark.parametrize(
    ("published", "model", "words"),
    [
        (stage(ZScore()), graph(random(3, 2, 1, 1, 1)), "there is none"),
        (stage(), graph(random(3, 2, 1, 1, 1)), "there is none"),
        (stage(SHIFT, Clip()), graph(random(3, 2, 1, 1, 1)), "there is none"),
        (stage(Linear(multiply=0.0)), graph(random(3, 2, 1, 1, 1)), "there is none"),
        (stage(SCALE), relu_first(), "does not begin with one convolution"),
        (stage(SCALE), residual(), "does not begin with one convolution"),
        (stage(SHIFT), graph(random(3, 2, 3, 3, 3), pad=1), "the first convolution pads with zeros"),
        (stage(SHIFT, **WINDOWS), graph(random(3, 2, 1, 1, 1)), "windows are filled up with zeros"),
    ],
)
def test_the_step_stays_where_folding_would_not_be_exact(published: Stage, model: Any, words: str):
    assert words in (why_not(spec(published), published, [model]) or "")


def test_zeros_for_a_missing_sequence_would_be_shifted_but_not_scaled():
    model = graph(random(3, 2, 1, 1, 1))
    assert "missing sequence" in (why_not(spec(stage(SHIFT), missing=Missing.ZERO), stage(SHIFT), [model]) or "")
    assert why_not(spec(stage(SCALE), missing=Missing.ZERO), stage(SCALE), [model]) is None


def test_what_was_folded_is_known_from_both_specifications_and_can_be_undone():
    published = stage(Clip(), Normalise(subtract=3.0, divide=4.0))
    assert folded_affine(published, stage(Clip())) == Affine(0.25, -0.75)
    assert folded_affine(published, published) is None
    voxels = random(2, 3, 4)
    np.testing.assert_allclose(
        Affine(0.25, -0.75).undone(((voxels - 3) / 4).astype(np.float32)), voxels, rtol=1e-5, atol=1e-6
    )
