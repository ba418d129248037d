"""Scales moved between layers: the same function in float, and channels of one range."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from openvino import Core
from openvino import opset13 as ops
from small_graphs import chain, image, mixture

from brain_edge_conversion.mending.equalise import Channels, best_scales, equalised, least_costly, pairs_of

F32 = {"INFERENCE_PRECISION_HINT": "f32", "INFERENCE_NUM_THREADS": 1}


def leaky(node: Any) -> Any:
    return ops.prelu(node, ops.constant(np.array([0.1], np.float32)))


def elu(node: Any) -> Any:
    return ops.elu(node, 1.0)


def computed(model: Any, values: np.ndarray) -> np.ndarray:
    return Core().compile_model(model, "CPU", F32)(values)[0].copy()


@pytest.mark.parametrize("activation", [ops.relu, leaky])
def test_the_function_is_the_same_and_so_are_the_operations(activation: Any):
    model = chain(activation)
    before = computed(model, image(5))
    changed = equalised(model, [image(0), image(1)], F32)
    assert computed(changed, image(5)) == pytest.approx(before, rel=1e-4, abs=1e-4)
    assert computed(model, image(5)) == pytest.approx(before, abs=0)
    kinds = [[(node.get_type_name(), node.get_friendly_name()) for node in each.get_ops()] for each in (model, changed)]
    assert sorted(kinds[0]) == sorted(kinds[1])


def test_scales_even_out_what_costs_more():
    """Ranges that differ by a hundred before alike weights: scales follow the ranges; alike ranges: no scale moves."""
    weights = np.ones((3, 4, 3, 3, 3), np.float32)
    uneven = np.array([1, 1, 1, 100], np.float32)
    scales = best_scales(Channels(uneven, (uneven**2 / 12).astype(np.float32)), weights)
    assert scales[3] / scales[0] > 5
    assert scales.max() == 1
    even = np.ones(4, np.float32)
    assert best_scales(Channels(even, even), weights) == pytest.approx(1.0)


def test_a_range_leaves_out_a_single_outlier_and_nothing_else():
    values = np.random.default_rng(0).uniform(0, 1, (2, 10**6)).astype(np.float32)
    values[1, 7] = 2.0
    assert least_costly(values, values.max(axis=1)) == pytest.approx([1.0, 1.0], abs=0.25)


@pytest.mark.parametrize("model", [chain(elu), mixture()], ids=["ELU keeps no scale", "a norm is between"])
def test_no_scale_moves_where_that_would_change_the_function(model: Any):
    assert list(pairs_of(model)) == []


def test_channels_that_are_never_active_and_empty_images_change_nothing():
    model, empty = chain(), np.zeros((1, 1, 8, 8, 8), np.float32)
    changed = equalised(model, [empty], F32)
    assert computed(changed, image(1)) == pytest.approx(computed(model, image(1)), rel=1e-3, abs=1e-3)
