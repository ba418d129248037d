"""A quantised graph is fitted to its float graph: nearer, with the same operations, and the same bytes each time."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np
import pytest
from small_graphs import chain, decided_by_far_values, image, mixture, operations_of

from brain_edge_conversion.mending import goals
from brain_edge_conversion.mending.blame import blame
from brain_edge_conversion.mending.graphs import Graphs
from brain_edge_conversion.mending.layers import Int8Layer, Quantiser, int8_layers
from brain_edge_conversion.mending.reconstruct import reconstruct
from brain_edge_conversion.mending.relative import relative
from brain_edge_conversion.mending.targets import IMAGE, Meaning, Target, decided
from brain_edge_conversion.mending.watching import port_of, watched
from brain_edge_conversion.mending.yardsticks import OutputYardstick
from brain_edge_conversion.quantize.ladder import MENDED, BiasCorrection, Overflow, Setting, Weights
from brain_edge_conversion.quantize.networks import quantise

if TYPE_CHECKING:
    from pathlib import Path

# nncf reads its configuration with a deprecated corner of a library of its own
pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")

F32 = {"INFERENCE_PRECISION_HINT": "f32", "INFERENCE_NUM_THREADS": 1}
FIT_ON = [image(0), image(3)]
FITTED = msgspec.structs.replace(MENDED[0], overflow=Overflow.ALL_LAYERS)


def quantised(model: Any, folder: Path, setting: Setting = FITTED) -> Any:
    path = folder / "image.npy"
    np.save(path, image(0))
    return quantise(model, [path], setting)


def outputs(model: Any, *batches: np.ndarray) -> list[np.ndarray]:
    port = port_of(model.get_results()[0].input_value(0))
    return [found for (found,) in watched(model, [port], batches, F32)]


def constants_of(model: Any) -> list[bytes]:
    return [node.data.tobytes() for node in model.get_ordered_ops() if node.get_type_name() == "Constant"]


@pytest.fixture(scope="module", params=[chain, mixture], ids=["chain", "mixture"])
def both(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[Any, Any, Any, list[Any]]:
    """Float graph, plain INT8 graph, fitted INT8 graph, and the records of the fit."""
    model = request.param()
    plain = quantised(model, tmp_path_factory.mktemp("inputs"))
    mended = plain.clone()
    records = reconstruct(Graphs(mended, model, FIT_ON, F32), 0, lambda _line: None)
    return model, plain, mended, list(records)


def test_the_outputs_for_other_images_are_nearer_to_the_float_outputs(both: tuple[Any, Any, Any, list[Any]]):
    model, plain, mended, records = both
    others = [image(seed) for seed in (7, 8, 9)]
    wanted = outputs(model, *others)
    before, after = (relative(outputs(each, *others), wanted) for each in (plain, mended))
    assert after < before
    assert all(record.after <= record.before for record in records)


def test_the_fitted_graph_has_the_operations_of_the_plain_one(both: tuple[Any, Any, Any, list[Any]]):
    """In name, shape and number format: so it runs as fast."""
    _, plain, mended, records = both
    assert operations_of(mended) == operations_of(plain)
    assert records
    assert constants_of(mended) != constants_of(plain)


def test_the_same_seed_gives_the_same_bytes(both: tuple[Any, Any, Any, list[Any]]):
    model, plain, mended, _ = both
    again = plain.clone()
    reconstruct(Graphs(again, model, FIT_ON, F32), 0, lambda _line: None)
    assert constants_of(again) == constants_of(mended)


def test_integers_stay_within_the_bits_of_the_plain_graph(both: tuple[Any, Any, Any, list[Any]]):
    """Where NNCF leaves out a bit, so that the sum of two products with a byte stays within sixteen, it stays out."""
    _, plain, mended, _ = both
    before, after = ([layer.most for layer in int8_layers(model)] for model in (plain, mended))
    assert all(now <= was for was, now in zip(before, after, strict=True))
    assert before[0] * 255 * 2 <= 2**15


def test_every_layer_that_can_be_fitted_is_fitted(both: tuple[Any, Any, Any, list[Any]]):
    _, plain, _, records = both
    assert [record.layer for record in records] == [layer.name for layer in int8_layers(plain)]


def test_a_fit_that_is_no_nearer_at_other_positions_is_dropped(
    both: tuple[Any, Any, Any, list[Any]], monkeypatch: pytest.MonkeyPatch
):
    """Two positions say nothing about a layer: what follows them is worse elsewhere."""
    model, plain, _, _ = both
    monkeypatch.setattr(goals, "COUNTS", goals.COUNTS | {goals.Stream.FIT: 2})
    monkeypatch.setattr(goals, "POSITIONS_PER_TERM", 0)
    again = plain.clone()
    records = reconstruct(Graphs(again, model, [image(0)], F32), 0, lambda _line: None)
    dropped = {record.layer for record in records if record.after == record.before}
    assert dropped
    weights = [{layer.name: layer.state()[0][0].tobytes() for layer in int8_layers(each)} for each in (plain, again)]
    assert {name for name in weights[0] if weights[0][name] == weights[1][name]} >= dropped


@pytest.mark.parametrize("meaning", [Meaning.CLASSES, Meaning.REGIONS])
def test_the_layer_that_decides_keeps_its_levels_for_close_labels(meaning: Meaning, tmp_path: Path):
    """A channel of the head's input is in the hundreds where the image is bright, and the label certain."""
    model = decided_by_far_values()
    plain = quantised(model, tmp_path)
    target = Target(meaning)
    others = [image(seed) for seed in (7, 8, 9)]
    wanted = [decided(each, target) for each in outputs(model, *others)]
    apart = {}
    for name, given in {"plain": None, "by outputs": IMAGE, "by decisions": target}.items():
        mended = plain.clone()
        if given is not None:
            reconstruct(Graphs(mended, model, FIT_ON, F32, given), 0, lambda _line: None)
        found = [decided(each, target) for each in outputs(mended, *others)]
        apart[name] = float(np.mean([np.mean(got != want) for got, want in zip(found, wanted, strict=True)]))
    assert apart["by decisions"] < apart["by outputs"] / 2
    assert apart["by decisions"] < apart["plain"] / 2


def test_a_fit_whose_error_is_no_number_is_dropped(
    both: tuple[Any, Any, Any, list[Any]], monkeypatch: pytest.MonkeyPatch
):
    model, plain, _, _ = both
    again = plain.clone()
    monkeypatch.setattr(OutputYardstick, "error", lambda _self, _got, _wanted: float("nan"))
    reconstruct(Graphs(again, model, [image(0)], F32), 0, lambda _line: None)
    assert constants_of(again) == constants_of(plain)


def test_images_without_contrast_leave_a_graph_that_can_be_run(tmp_path: Path):
    model, empty = chain(), np.zeros((1, 1, 8, 8, 8), np.float32)
    mended = quantised(model, tmp_path)
    reconstruct(Graphs(mended, model, [empty], F32), 0, lambda _line: None)
    (found,) = outputs(mended, image(1))
    assert np.isfinite(found).all()
    (wanted,) = outputs(model, empty)
    assert outputs(mended, empty)[0] == pytest.approx(wanted, abs=0.05)


def test_a_state_that_is_put_back_is_the_state_that_was_there(both: tuple[Any, Any, Any, list[Any]]):
    _, plain, _, _ = both
    model = plain.clone()
    before = constants_of(model)
    for layer in int8_layers(model):
        state = layer.state()
        _spoil(layer)
        assert constants_of(model) != before
        layer.restore(state)
    assert constants_of(model) == before


def _spoil(layer: Int8Layer) -> None:
    shape = layer.node.input_value(1).get_shape()
    layer.set_weights(np.ones(shape, np.float32), np.ones(shape, np.float32))
    if layer.biases is not None:
        layer.set_biases(np.full_like(layer.biases, 9.0))
    if layer.quantiser is not None:
        layer.set_quantiser(Quantiser(0.0, 1.0, 256))


def test_a_narrowed_range_keeps_zero_and_the_number_of_values():
    wide = Quantiser(-0.5, 2.05, 256)
    for share in (1.0, 0.8, 0.3):
        narrow = wide.narrowed(share)
        assert narrow.step == pytest.approx(share * wide.step)
        assert narrow(np.zeros(1, np.float32)) == pytest.approx(0.0, abs=1e-6)
        assert narrow.clipped_share(np.array([narrow.low, narrow.high], np.float32)) == 0.0
    assert Quantiser(0.0, 1.0, 256).clipped_share(np.array([-1.0, 0.5, 0.5, 2.0], np.float32)) == 0.5


# --- where the error arises


def test_a_layer_is_blamed_for_the_range_that_its_channels_share(tmp_path: Path):
    """The third layer reads channels whose ranges differ by thirty; the others read alike ones."""
    model = chain(spread=30.0)
    plain = quantised(model, tmp_path, Setting(bias_correction=BiasCorrection.NONE))
    found = blame("chain", Graphs(plain, model, [image(0)], F32))
    by_name = {layer.layer: layer for layer in found.layers}
    assert list(by_name) == ["first", "second", "third", "head"]
    assert max(found.layers, key=lambda layer: layer.input_alone).layer == "third"
    assert by_name["third"].narrowest_channel < 0.2
    assert found.layers[-1].so_far == pytest.approx(found.error)
    for layer in found.layers:
        assert 0 < layer.alone < 1
        assert layer.clipped_share == pytest.approx(0.0, abs=0.01)


def test_the_changes_of_weights_are_named_in_the_title():
    assert [setting.weights for setting in MENDED] == [Weights.FITTED, Weights.EQUALISED]
    assert "weights, biases and ranges fitted to the outputs of the float layers" in MENDED[0].title
    assert "scales moved between neighbouring convolutions" in MENDED[1].title
    assert "fitted" not in Setting().title
