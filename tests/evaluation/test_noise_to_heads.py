"""The pipeline of the study of synthetic slices, from noise to heads: PGAN, the filter by z-score, SPADE, volumes."""

from __future__ import annotations

from typing import TYPE_CHECKING

import nibabel as nib
import numpy as np
import pytest
from cli_program import brain_edge

from brain_edge.engine.phantom_study import stand_in
from brain_edge.evaluation.cohort import load_cohort
from brain_edge.image.phantom import Phantom
from brain_edge_conversion.convert.convert import ConvertOptions, convert
from brain_edge_conversion.convert.parity import TorchSession
from brain_edge_conversion.recipe import ModelSource
from brain_edge_conversion.recipes import pgan, spade
from brain_edge_conversion.recipes._tumour import LICENCE

if TYPE_CHECKING:
    from pathlib import Path

    from brain_edge.package import ModelPackage

WIDTHS = (8, 8, 6, 4)
SHAPE = (30, 28, 4)
AFFINE = np.diag([-4.0, 4.0, 5.0, 1.0])
SOURCES = {
    "pgan": lambda: ModelSource(pgan.spec(WIDTHS), pgan.pgan_graphs(WIDTHS), pgan.CARD, LICENCE),
    "spade": lambda: ModelSource(spade.spec((32, 32)), spade.spade_graphs(2, 4), spade.CARD, LICENCE),
}


@pytest.fixture(scope="module")
def packages(tmp_path_factory: pytest.TempPathFactory) -> dict[str, ModelPackage]:
    """Narrow generators with random weights."""
    made = {}
    for name, source in SOURCES.items():
        model = source()
        study = stand_in(Phantom(shape=(30, 28, 3), spacing_mm=5.0), model.spec)
        folder = tmp_path_factory.mktemp(name) / name
        made[name] = convert(model, dict.fromkeys(model.spec.graphs), study, folder, ConvertOptions())
    return made


@pytest.fixture
def grid(tmp_path: Path) -> Path:
    """An image of which only the grid is used."""
    path = tmp_path / "grid.nii.gz"
    nib.save(nib.Nifti1Image(np.arange(np.prod(SHAPE), dtype=np.float32).reshape(SHAPE), AFFINE), path)
    return path


def drawn(package: ModelPackage, grid: Path, image: Path, *options: object) -> np.ndarray:
    done = brain_edge("run", package.folder, grid, "--image", image, "--allow-untrained", *options)
    assert done.code == 0, done.err
    made = nib.load(image)
    np.testing.assert_allclose(made.affine, AFFINE)
    return np.asarray(made.dataobj)


def test_maps_hold_the_classes_that_the_values_of_the_network_are_nearest_to(packages, grid, tmp_path: Path):
    """By NumPy from what PyTorch makes of the same noise: -1 is 0, 1 is 6, in between the nearest."""
    labels = drawn(packages["pgan"], grid, tmp_path / "map.nii.gz", "--seed", 5)
    (graph,) = pgan.pgan_graphs(WIDTHS)
    noise = np.random.default_rng(5).standard_normal((SHAPE[2], WIDTHS[0]), dtype=np.float32)
    values = TorchSession(graph.build(None))(noise)[:, 0]
    expected = np.rint((np.clip(values, -1, 1) + 1) * 3)
    assert set(np.unique(labels)) <= set(range(7))
    assert len(np.unique(labels)) > 2
    # planes of 32 x 32 from the neck up, rows from front to back, columns to the left; the grid is stored as LAS
    shown = expected[:, 2:30, 1:31].transpose(2, 1, 0)[:, ::-1]
    assert (shown == labels).mean() > 0.999


def test_a_seed_makes_the_same_maps_and_another_seed_others(packages, grid, tmp_path: Path):
    once, again, other = (
        drawn(packages["pgan"], grid, tmp_path / f"{name}.nii.gz", "--seed", seed)
        for name, seed in (("once", 7), ("again", 7), ("other", 8))
    )
    np.testing.assert_array_equal(once, again)
    assert (once != other).mean() > 0.1


def test_without_a_seed_the_one_of_the_package_counts_and_the_record_says_which(packages, grid, tmp_path: Path):
    options = ["--image", tmp_path / "map.nii.gz", "--allow-untrained", "--json"]
    assert brain_edge("run", packages["pgan"].folder, grid, *options).json["seed"] == pgan.SEED
    assert brain_edge("run", packages["pgan"].folder, grid, *options, "--seed", 9).json["seed"] == 9


def test_from_noise_to_heads(packages, grid, tmp_path: Path):
    """As in the how-to on synthetic heads. Random weights are refused until noise is asked for, and called noise."""
    maps: list[Path] = []
    real: list[Path] = []
    for seed in range(6):
        path = tmp_path / f"{seed}.nii.gz"
        drawn(packages["pgan"], grid, path, "--seed", seed)
        (maps if seed < 3 else real).append(path)
    far = tmp_path / "far.nii.gz"
    nib.save(nib.Nifti1Image(np.where(np.indices(SHAPE)[0] % 2, 6, 0).astype(np.uint8), AFFINE), far)
    command = ["cohort", "synthesize", *maps, far, "--generator", packages["spade"].folder, "-o", tmp_path / "made"]
    command += [part for path in real for part in ("--like", path)]
    assert brain_edge(*command).code == 3
    done = brain_edge(*command, "--allow-untrained")
    assert done.code == 0, done.err
    assert "far.nii.gz is left out" in done.err
    assert "NOISE OF RANDOM WEIGHTS" in done.out
    cohort = load_cohort(tmp_path / "made/cohort.toml")
    assert len(cohort.cases()) == 3
    images = sorted((tmp_path / "made").rglob("*_synthetic.nii.gz"))
    assert [nib.load(path).shape for path in images] == [SHAPE] * 3
    assert not np.array_equal(nib.load(images[0]).get_fdata(), nib.load(images[1]).get_fdata())


@pytest.mark.parametrize(
    ("name", "options", "words"),
    [
        ("spade", ["--image", "i.nii.gz"], "spade makes images without noise, so --seed has no effect; remove it"),
        ("pgan", ["-o", "mask.nii.gz"], "--seed has no effect on a mask; remove it, or write an image"),
    ],
)
def test_a_seed_that_would_do_nothing_is_refused(name: str, options: list[str], words: str, packages, grid):
    done = brain_edge("run", packages[name].folder, grid, *options, "--seed", 1, "--allow-untrained")
    assert done.code == 2
    assert words in done.err


@pytest.mark.parametrize("seed", [-1, 2**63, "x"])
def test_a_seed_that_is_none_is_refused(seed: object, packages, grid):
    done = brain_edge("run", packages["pgan"].folder, grid, "--image", "i.nii.gz", "--seed", seed)
    assert done.code == 2
    assert "--seed" in done.err
