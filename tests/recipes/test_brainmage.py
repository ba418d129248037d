"""BrainMaGe without its weights: the steps are those of the published program, and the bare network goes all the way.

The published program (CBICA/BrainMaGe, `tester/test_single_run.py`, `utils/utils_test.py`) is written out below from a
reading of it, around any network.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest
import torch
from present import present
from scipy.ndimage import binary_fill_holes, generate_binary_structure
from scipy.ndimage import label as components
from scipy.special import expit

from brain_edge.engine.segmenter import Segmenter
from brain_edge.errors import WeightsError
from brain_edge.evaluation.cohort import fetch_cohort, load_cohort
from brain_edge.image.metrics import dice
from brain_edge.image.phantom import Phantom, make_study, make_volume
from brain_edge.package import NumberFormat, WeightsStatus
from brain_edge_conversion.convert.convert import ConvertOptions, convert
from brain_edge_conversion.networks.brainmage import BrainMaGe
from brain_edge_conversion.quantize.quantize import QuantizeOptions, quantize
from brain_edge_conversion.recipes.brainmage import SPEC, build
from brain_edge_conversion.sources import Request, resolve

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

PHANTOM = Phantom(shape=(150, 172, 160), spacing_mm=1.25)
"""More voxels than 128 along each axis, as in the heads that the program was made for."""


def lopsided(batch: np.ndarray) -> np.ndarray:
    """A network (1, 1, I, J, K): bright is brain, the sooner the further to one end of each axis."""
    ramps = sum(
        np.linspace(0, weight, side).reshape([-1 if k == axis else 1 for k in range(3)])
        for axis, (side, weight) in enumerate(zip(batch.shape[2:], (0.3, 0.2, 0.1), strict=True))
    )
    return np.asarray(expit(20 * (batch - 0.5 + ramps)), dtype=np.float32)


def published_mask(stored: np.ndarray, network: Callable[[np.ndarray], np.ndarray]) -> np.ndarray:
    """What the program makes of an image (I, J, K) as it is stored, in LPS."""
    from skimage.transform import resize

    image = stored.astype(np.float64)
    head = image[image >= image.mean()]
    low, high = np.percentile(head, (2, 95))
    scaled = (np.minimum(image, high) - low) / high
    seen = resize(scaled, (128, 128, 128), order=3, mode="edge", anti_aliasing=False)
    batch = seen.astype(np.float32)[None, None]
    probability = resize(network(batch)[0, 0], image.shape, order=3, mode="edge", anti_aliasing=False)
    filled = np.stack([binary_fill_holes(plane) for plane in np.moveaxis(probability >= 0.9, 2, 0)], axis=2)
    labels, _ = components(filled, generate_binary_structure(3, 3))
    return np.asarray(labels == np.bincount(labels[labels > 0]).argmax())


@pytest.mark.full  # six seconds; in CI what the network sees is compared
def test_the_steps_are_those_of_the_published_program():
    """On a phantom in RAS; the program takes what is stored, and its data are stored in LPS."""
    volume = make_volume(PHANTOM)
    ours = Segmenter(SPEC, {"brainmage": lopsided})(volume).mask.labels > 0
    expected = published_mask(volume.voxels[::-1, ::-1], lopsided)[::-1, ::-1]
    assert 0.05 < expected.mean() < 0.5
    assert present(dice(ours, expected)) > 0.9995


def test_the_network_sees_what_the_published_program_shows_it():
    """Cubic interpolation overshoots at every edge, and scikit-image cuts that off where it is not told otherwise."""
    seen: list[np.ndarray] = []

    def watched(batch: np.ndarray) -> np.ndarray:
        seen.append(batch)
        return lopsided(batch)

    volume = make_volume(PHANTOM)
    Segmenter(SPEC, {"brainmage": watched})(volume)
    published_mask(volume.voxels[::-1, ::-1], watched)
    np.testing.assert_allclose(seen[0], seen[1], atol=1e-5)


@pytest.mark.full  # a second pass over the same head
def test_the_order_of_the_axes_matters_to_that_comparison():
    volume = make_volume(PHANTOM)
    ours = Segmenter(SPEC, {"brainmage": lopsided})(volume).mask.labels > 0
    assert present(dice(ours, published_mask(volume.voxels, lopsided))) < 0.99


def test_a_checkpoint_of_the_training_program_is_read_as_it_is(tmp_path: Path):
    """`resunet_ma.pt` keeps the weights under `model_state_dict`."""
    torch.manual_seed(3)
    trained = BrainMaGe()
    path = tmp_path / "resunet_ma.pt"
    torch.save({"epoch": 12, "model_state_dict": trained.state_dict(), "val_loss": 0.1}, path)
    loaded = build(path).state_dict()
    assert all(torch.equal(loaded[name], tensor) for name, tensor in trained.state_dict().items())


def test_weights_of_another_width_do_not_fit(tmp_path: Path):
    path = tmp_path / "resunet_ma.pt"
    torch.save({"model_state_dict": BrainMaGe(width=8).state_dict()}, path)
    with pytest.raises(WeightsError, match=r"resunet_ma\.pt: the weights do not fit BrainMaGe: \d+ differently shaped"):
        build(path)


@pytest.mark.full
@pytest.mark.network
def test_the_bare_network_is_converted_and_quantised_and_says_that_nobody_has_trained_it(tmp_path: Path):
    resolved = resolve(Request(source="brainmage", random_weights=True))
    study = make_study(Phantom(), ["image"])
    fp32 = convert(resolved.model, resolved.weights, study, tmp_path / "fp32", ConvertOptions())
    assert fp32.manifest.weights_status is WeightsStatus.RANDOM
    # its norms do use their running statistics, and its sigmoid is interpolated before the threshold: both stay
    assert fp32.manifest.rewrites == ("brainmage: 4 1x1 convolutions moved before the upsampling",)
    assert fp32.manifest.parity is not None
    assert fp32.manifest.parity.graphs[0].relative_error < 1e-3
    cohort = load_cohort("mni152")
    fetch_cohort(cohort)
    int8 = quantize(fp32, cohort, tmp_path / "int8", QuantizeOptions())
    assert int8.manifest.number_format is NumberFormat.INT8
    assert int8.manifest.weights_status is WeightsStatus.RANDOM
    assert int8.manifest.evidence is None
    assert int8.size_bytes < 0.35 * fp32.size_bytes
