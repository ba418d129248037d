"""What a setting asks for is what NNCF has done: read off the quantisers of the graph that comes out."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from openvino import Core, Model
from openvino import opset13 as ops
from outlier_package import BLAMED, outlier_graph

from brain_edge_conversion.quantize.ladder import BiasCorrection, FloatEnds, Overflow, Preset, Ranges, Setting
from brain_edge_conversion.quantize.networks import (
    _advanced,
    _ends,
    as_much_as_fits,
    groups,
    quantise,
    weighted_layers,
    with_float_layers,
)

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

# nncf reads its configuration with a deprecated corner of a library of its own
pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")

SHAPE = (1, 1, 24, 24, 24)


def batch(high: float = 1.0, low: float = 0.0, seed: int = 0) -> np.ndarray:
    """Numbers between two ends, both of which occur."""
    values = np.random.default_rng(seed).uniform(low, high, SHAPE).astype(np.float32)
    values[0, 0, 0, 0, :2] = low, high
    return values


def saved(folder: Path, *batches: np.ndarray) -> list[Path]:
    paths = [folder / f"{number}.npy" for number in range(len(batches))]
    for path, each in zip(paths, batches, strict=True):
        np.save(path, each)
    return paths


def layer(model: Any, name: str) -> Any:
    return next(node for node in model.get_ops() if node.get_friendly_name() == name)


def span(node: Any, port: int) -> tuple[float, float] | None:
    """The least and the greatest number that a layer reads at a port; None where no quantiser stands before it."""
    quantiser = node.input_value(port).get_node()
    if quantiser.get_type_name() != "FakeQuantize":
        return None
    low, high = (quantiser.input_value(number).get_node().data for number in (1, 2))
    return float(low.min()), float(high.max())


def computed(model: Any, image: np.ndarray) -> np.ndarray:
    return Core().compile_model(model, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})(image)[0].copy()


def test_ranges_are_averaged_over_all_inputs_or_leave_a_single_voxel_out(tmp_path: Path):
    files = saved(tmp_path, batch(1.0), batch(3.0))
    found = span(layer(quantise(outlier_graph(), files, Setting()), "stem"), 0)
    assert found == pytest.approx((0, 2), abs=0.02)
    spoilt = batch(1.0)
    spoilt[0, 0, 5, 5, 5] = 500.0
    files = saved(tmp_path, spoilt)
    extremes, quantiles = (
        span(layer(quantise(outlier_graph(), files, Setting(ranges=ranges)), "stem"), 0) for ranges in Ranges
    )
    assert extremes == pytest.approx((0, 500), rel=0.02)
    assert quantiles == pytest.approx((0, 1), abs=0.02)


def test_a_preset_is_symmetric_or_as_the_numbers_lie(tmp_path: Path):
    files = saved(tmp_path, batch(1.0, low=-0.2))
    found = {
        preset: span(layer(quantise(outlier_graph(), files, Setting(preset=preset)), "stem"), 0) for preset in Preset
    }
    assert found[Preset.PERFORMANCE] == pytest.approx((-1, 1), abs=0.02)
    assert found[Preset.MIXED] == pytest.approx((-0.2, 1), abs=0.02)


@pytest.mark.parametrize(("overflow", "greatest"), [(Overflow.FIRST_LAYER, 127), (Overflow.ALL_LAYERS, 63)])
def test_seven_bit_weights_are_everywhere_or_in_the_first_layer(tmp_path: Path, overflow: Overflow, greatest: int):
    quantised = quantise(outlier_graph(), saved(tmp_path, batch()), Setting(overflow=overflow))
    found = {}
    for name in ("stem", "mean"):
        node = layer(quantised, name).input_value(1).get_node()
        while node.get_type_name() != "Constant":
            node = node.input_value(0).get_node()
        assert node.data.dtype == np.int8
        found[name] = int(np.abs(node.data.astype(int)).max())
    assert found == {"stem": 63, "mean": greatest}


@pytest.mark.parametrize(("correction", "off"), [(BiasCorrection.FAST, False), (BiasCorrection.NONE, True)])
def test_biases_are_left_alone_where_that_is_asked_for(correction: BiasCorrection, off: bool):
    """Asked of what NNCF is given: on a network of four layers its correction changes nothing."""
    assert _advanced(Setting(bias_correction=correction)).disable_bias_correction is off


def test_what_is_to_stay_in_float_does_and_names_do_not_count_on(tmp_path: Path):
    files, model = saved(tmp_path, batch()), outlier_graph()
    first, second = (quantise(model, files, Setting(float_ends=FloatEnds.HEAD), [BLAMED]) for _ in range(2))
    assert [span(layer(first, name), 0) is None for name in ("stem", BLAMED, "mean", "head")] == [
        *(False, True, False, True)
    ]
    assert [node.get_friendly_name() for node in first.get_ordered_ops()] == [
        node.get_friendly_name() for node in second.get_ordered_ops()
    ]


@pytest.mark.parametrize(
    ("ends", "names"),
    [(FloatEnds.NONE, set()), (FloatEnds.HEAD, {"head"}), (FloatEnds.STEM_AND_HEAD, {"stem", "head"})],
)
def test_the_ends_of_a_network_are_what_nothing_with_weights_precedes_or_follows(ends: FloatEnds, names: set[str]):
    assert _ends(outlier_graph(), ends) == names


def test_of_an_input_that_does_not_fit_the_middle_is_taken():
    """Eight channels of 64^3 float32 are 8 MiB; an eighth of that is half of every side."""
    image = np.arange(64**3, dtype=np.float32).reshape(1, 1, 64, 64, 64)
    assert as_much_as_fits(image, outlier_graph(), 8 * 2**20) is image
    cut = as_much_as_fits(image, outlier_graph(), 2**20)
    np.testing.assert_array_equal(cut, image[:, :, 16:48, 16:48, 16:48])


def joined_graph() -> Any:
    """Two convolutions side by side, and one that reads both through a concatenation."""
    rng = np.random.default_rng(5)

    def convolved(node: Any, shape: Sequence[int], name: str) -> Any:
        weights = ops.constant(rng.normal(size=shape).astype(np.float32))
        made = ops.convolution(node, weights, [1, 1, 1], [1, 1, 1], [1, 1, 1], [1, 1, 1])
        made.set_friendly_name(name)
        return made

    image = ops.parameter([1, 1, -1, -1, -1], np.float32)
    parts = [ops.sigmoid(convolved(image, (3, 1, 3, 3, 3), name)) for name in ("left", "right")]
    return Model([convolved(ops.concat(parts, axis=1), (2, 6, 3, 3, 3), "last")], [image], "joined")


def test_a_network_all_of_whose_layers_went_back_to_float_is_the_original(tmp_path: Path):
    original, image = joined_graph(), batch()
    quantised = quantise(original, saved(tmp_path, image), Setting())
    names = [node.get_friendly_name() for node in weighted_layers(original)]
    assert sorted(name for group in groups(quantised, "g") for name in group.layers) == sorted(names)
    wanted = computed(original, image)
    assert np.abs(computed(quantised, image) - wanted).max() > 1e-3 * np.abs(wanted).max()
    back = with_float_layers(quantised, original, names)
    np.testing.assert_allclose(computed(back, image), wanted, atol=1e-5 * np.abs(wanted).max())
