"""Heads that a generator paints: its own image of each label map, marked wherever it goes, noise only on request."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec
import nibabel as nib
import numpy as np
import pytest
from cli_program import brain_edge

from brain_edge.engine.phantom_study import stand_in
from brain_edge.engine.segmenter import Segmenter
from brain_edge.errors import GeometryError, InputError, UsageError
from brain_edge.evaluation.cohort import check_cohort, load_cohort
from brain_edge.evaluation.cohort.check import CheckedCase
from brain_edge.evaluation.cohort.generated import Generator
from brain_edge.evaluation.cohort.reference import read_reference
from brain_edge.evaluation.cohort.synthesize import FULL_SCALE
from brain_edge.evaluation.cohort.synthetic_cohort import SyntheticPlan, create_synthetic_cohort
from brain_edge.evaluation.cohort.typical import LARGEST_DEVIATION, TypicalSlices, atypical
from brain_edge.image.phantom import Phantom
from brain_edge.image.volume import Volume
from brain_edge.machine.options import RuntimeOptions
from brain_edge.package import ModelPackage
from brain_edge_conversion.convert.convert import ConvertOptions, convert
from brain_edge_conversion.convert.parity import TorchSession
from brain_edge_conversion.recipe import ModelSource
from brain_edge_conversion.recipes import pgan, spade, spin
from brain_edge_conversion.recipes._tumour import LICENCE

if TYPE_CHECKING:
    from pathlib import Path

    from brain_edge.spec import ModelSpec

SHAPE = (30, 34, 6)
AFFINE = np.diag([-4.0, 4.0, 5.0, 1.0])
ONE_THREAD = RuntimeOptions(threads=1)


def narrow_spade() -> ModelSource:
    return ModelSource(spade.spec((64, 64)), spade.spade_graphs(2, 4), spade.CARD, LICENCE)


@pytest.fixture(scope="module")
def package(tmp_path_factory: pytest.TempPathFactory) -> ModelPackage:
    """A narrow SPADE with random weights."""
    model = narrow_spade()
    study = stand_in(Phantom(shape=(40, 48, 2), spacing_mm=4.0), model.spec)
    folder = tmp_path_factory.mktemp("spade") / "spade"
    return convert(model, dict.fromkeys(model.spec.graphs), study, folder, ConvertOptions())


def anatomy(number: int) -> np.ndarray:
    """Grey matter around white, a tumour of three classes; a little larger in each person."""
    i, j, k = np.meshgrid(*(np.arange(side) for side in SHAPE), indexing="ij")
    labels = np.zeros(SHAPE, dtype=np.uint8)
    for label, radius in ((5, 11 + number), (4, 8 + number), (2, 5), (3, 3), (1, 2)):
        labels[np.hypot(i - 14, j - 17) < radius] = label
    labels[..., k[0, 0] == 5] = 0
    return labels


def save_maps(folder: Path, maps: list[np.ndarray]) -> list[Path]:
    folder.mkdir()
    paths = [folder / f"MUSTERMANN_{number}.nii.gz" for number in range(len(maps))]
    for path, labels in zip(paths, maps, strict=True):
        nib.save(nib.Nifti1Image(labels, AFFINE), path)
    return paths


def plan(package: ModelPackage, **options) -> SyntheticPlan:
    usual = {"name": "made", "per_anatomy": 1, "allow_untrained": True}
    return SyntheticPlan(generator=Generator.open(package, ONE_THREAD), **{**usual, **options})


def test_a_head_is_what_pytorch_makes_of_its_label_map(package, tmp_path: Path):
    """Stretched to full scale, 0 outside of the map; slices stacked on the grid of the map."""
    (path,) = save_maps(tmp_path / "maps", [anatomy(0)])
    tissues = read_reference(path, {})
    volume, mask = Generator.open(package, ONE_THREAD).head(tissues, merge=False)
    model = narrow_spade()
    sessions = {graph.graph: TorchSession(graph.build(None)) for graph in model.graphs}
    labels = Volume(anatomy(0).astype(np.float32), tissues.geometry)
    (painted,) = Segmenter(model.spec, sessions).synthesize(labels)
    low, high = painted.voxels.min(), painted.voxels.max()
    expected = FULL_SCALE * (painted.voxels - low) / (high - low) * (anatomy(0) > 0)
    np.testing.assert_allclose(volume.voxels, expected, atol=1e-3 * float(FULL_SCALE))
    np.testing.assert_array_equal(mask.labels, anatomy(0))
    assert volume.geometry.same_grid(tissues.geometry)


def test_a_cohort_is_marked_and_noise_is_called_noise(package, tmp_path: Path):
    maps = save_maps(tmp_path / "maps", [anatomy(number) for number in range(3)])
    create_synthetic_cohort(maps, tmp_path / "made", plan(package, merge=True))
    cohort = load_cohort(tmp_path / "made/cohort.toml")
    assert cohort.manifest.synthetic
    assert cohort.manifest.demo  # a package made with it says "demonstration", and is refused as DICOM
    assert cohort.manifest.title.startswith("SYNTHETIC: NOISE OF RANDOM WEIGHTS, 3 heads made of 3 label maps by spade")
    assert cohort.manifest.citation == spade.CARD.citation
    assert all(isinstance(result, CheckedCase) for result in check_cohort(cohort))
    assert "MUSTERMANN" not in (tmp_path / "made/cohort.toml").read_text()
    files = list((tmp_path / "made").rglob("*.nii.gz"))
    assert len(files) == 6
    for path in files:
        assert nib.load(path).header["descrip"].item().startswith(b"SYNTHETIC RESEARCH ONLY UNTRAINED")


def test_random_weights_are_refused_unless_plumbing_is_tested(package, tmp_path: Path):
    maps = save_maps(tmp_path / "maps", [anatomy(number) for number in range(3)])
    done = brain_edge("cohort", "synthesize", *maps, "-o", tmp_path / "made", "--generator", package.folder)
    assert done.code == 3
    assert "the weights of this package are random, its images are noise and useless for calibration" in done.err
    assert not (tmp_path / "made").exists()


def test_the_command_says_that_it_made_noise(package, tmp_path: Path):
    maps = save_maps(tmp_path / "maps", [anatomy(number) for number in range(3)])
    options = ["--generator", package.folder, "--allow-untrained", "--threads", 1, "-q"]
    done = brain_edge("cohort", "synthesize", *maps, "-o", tmp_path / "made", *options)
    assert done.code == 0, done.err
    assert "SYNTHETIC, NOISE OF RANDOM WEIGHTS, 1 calibration, 1 validation, 1 test" in done.out


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--shell-mm", 3, "--generator", "PKG"], "--shell-mm has no effect with --generator; remove it"),
        (["--allow-untrained"], "--allow-untrained has no effect without --generator; remove it"),
        (["--threads", 1], "--threads has no effect without --generator; remove it"),
        (["--like", "real.nii.gz"], "--like needs a generator; name its package with --generator"),
    ],
)
def test_an_option_that_would_do_nothing_is_refused(options: list, words: str, tmp_path: Path):
    done = brain_edge("cohort", "synthesize", "a.nii.gz", "-o", tmp_path / "made", *options)
    assert done.code == 2
    assert words in done.err


def test_a_generator_makes_one_head_of_a_map(package):
    with pytest.raises(
        UsageError, match="expected one head per label map with a generator, which always makes the same head, got 2"
    ):
        plan(package, per_anatomy=2)


@pytest.mark.parametrize(
    ("spec", "words"),
    [
        (pgan.spec(), "expected a generator of one image from one label map, got pgan, which takes grid"),
        (spin.spec(), "--generator needs a model that makes images, and spin makes masks; name a generator package"),
    ],
)
def test_what_paints_no_label_map_is_refused_before_it_is_loaded(spec: ModelSpec, words: str, package: ModelPackage):
    other = ModelPackage(package.folder, msgspec.structs.replace(package.manifest, spec=spec))
    with pytest.raises(UsageError, match=words):
        Generator.open(other)


def test_a_class_that_the_generator_does_not_know_names_the_file(package, tmp_path: Path):
    strange = anatomy(0)
    strange[strange == 1] = 9
    maps = save_maps(tmp_path / "maps", [anatomy(1), strange, anatomy(2)])
    with pytest.raises(InputError, match=r"MUSTERMANN_1\.nii\.gz: expected a label map of the values .*, got also 9"):
        create_synthetic_cohort(maps, tmp_path / "made", plan(package))
    assert not (tmp_path / "made").exists()


def test_an_empty_map_names_the_file(package, tmp_path: Path):
    maps = save_maps(tmp_path / "maps", [anatomy(1), np.zeros(SHAPE, np.uint8), anatomy(2)])
    with pytest.raises(
        InputError, match=r"MUSTERMANN_1\.nii\.gz: expected tissues in the label map, got 0 in every voxel"
    ):
        create_synthetic_cohort(maps, tmp_path / "made", plan(package))


class TestTheFilterOfTheStudy:
    def test_the_z_score_is_that_of_numpy(self):
        random = np.random.default_rng(0)
        real = [random.integers(0, 7, (5, 6, 4)) for _ in range(3)]
        typical = TypicalSlices.of(real)
        pooled = np.concatenate(real)
        expected = np.linalg.norm(((real[0] - pooled.mean(axis=0)) / pooled.std(axis=0)).reshape(5, -1), axis=1)
        assert pooled.std(axis=0).min() > len(pooled) ** -0.5
        np.testing.assert_allclose(typical.deviations(real[0]) * np.sqrt(6 * 4), expected)

    def test_a_norm_of_500_on_the_papers_plane_is_the_limit(self):
        assert pytest.approx(500) == LARGEST_DEVIATION * np.sqrt(256 * 256)
        assert atypical(np.array([0.0, LARGEST_DEVIATION, LARGEST_DEVIATION + 1e-9])) == 1

    def test_slices_without_a_label_say_nothing(self):
        labels = np.zeros((3, 4, 4), dtype=np.uint8)
        labels[1] = 2
        typical = TypicalSlices.of([labels])
        assert typical.slices == 1
        assert len(typical.deviations(labels)) == 1

    def test_what_no_real_slice_holds_counts_as_far_and_not_as_infinitely_far(self):
        real = np.ones((4, 8, 8), dtype=np.uint8)
        other = real.copy()
        other[0, 0, 0] = 2
        np.testing.assert_allclose(TypicalSlices.of([real]).deviations(other), [np.sqrt(4 / 64), 0, 0, 0])

    def test_no_real_label_and_other_planes_are_refused(self):
        with pytest.raises(InputError, match="got no slice with a label"):
            TypicalSlices.of([np.zeros((2, 4, 4))])
        with pytest.raises(GeometryError, match=r"label maps with slices of \(4, 4\) voxels, got \(5, 4\)"):
            TypicalSlices.of([np.ones((2, 4, 4)), np.ones((2, 5, 4))])
        with pytest.raises(GeometryError, match=r"expected slices of \(4, 4\) voxels .*, got \(5, 4\)"):
            TypicalSlices.of([np.ones((2, 4, 4))]).deviations(np.ones((2, 5, 4)))

    def test_a_map_unlike_real_ones_is_left_out_and_said(self, package, tmp_path: Path):
        """As the generator sees them: the real map that is stored in another order is the same map."""
        real = save_maps(tmp_path / "real", [anatomy(number) for number in (0, 1, 2, 3)])
        turned = nib.load(real[0]).as_reoriented(nib.orientations.axcodes2ornt("SAR"))
        nib.save(turned, real[0])
        upside_down = anatomy(1)[::-1, ::-1].copy()
        upside_down[:4] = upside_down[:, :4] = 6  # fluid where no head is
        maps = save_maps(tmp_path / "maps", [anatomy(0), anatomy(1), upside_down, anatomy(2)])
        said: list[str] = []
        cohort = create_synthetic_cohort(maps, tmp_path / "made", plan(package, like=tuple(real)), said.append)
        assert len(cohort.cases()) == 3
        (left_out,) = [line for line in said if "is left out" in line]
        assert "MUSTERMANN_2.nii.gz is left out: 6 of its 6 slices have a z-score norm above" in left_out

    def test_too_few_that_are_left_are_refused(self, package, tmp_path: Path):
        everywhere = np.full(SHAPE, 6, np.uint8)
        everywhere[0, 0, 0] = 0
        real = save_maps(tmp_path / "real", [anatomy(0)])
        maps = save_maps(tmp_path / "maps", [anatomy(0), anatomy(0), everywhere])
        with pytest.raises(InputError, match="found 2: 1 more needed"):
            create_synthetic_cohort(maps, tmp_path / "made", plan(package, like=tuple(real)))
