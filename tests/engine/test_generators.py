"""Models that make images: converted, verified and run through the command line, and refused where a mask is meant."""

from __future__ import annotations

from itertools import pairwise

import nibabel
import numpy as np
import pytest
import torch
from cli_program import brain_edge
from present import present

from brain_edge.engine.phantom_study import outcome, stand_in
from brain_edge.engine.segmenter import Segmenter
from brain_edge.image.phantom import Phantom
from brain_edge.io.nifti import write_image
from brain_edge.jobs.verify import verify
from brain_edge.machine.options import RuntimeOptions
from brain_edge.package import open_package
from brain_edge_conversion.convert.convert import ConvertOptions, convert
from brain_edge_conversion.convert.parity import ParityLimits, TorchSession
from brain_edge_conversion.recipe import ModelSource
from brain_edge_conversion.recipes import pgan, spade, spin
from brain_edge_conversion.recipes._tumour import LICENCE

TIGHT = ParityLimits(relative_error=1e-4)
PHANTOM = Phantom(shape=(40, 48, 5), spacing_mm=4.0)
WIDTHS = (8, 8, 6, 4)

SOURCES = {
    "pgan": lambda: ModelSource(pgan.spec(WIDTHS), pgan.pgan_graphs(WIDTHS), pgan.CARD, LICENCE),
    "spade": lambda: ModelSource(spade.spec((64, 64)), spade.spade_graphs(2, 4), spade.CARD, LICENCE),
    "spin": lambda: ModelSource(spin.spec(), spin.spin_graphs((4, 4, 4, 4, 4), 4), spin.CARD, LICENCE),
}


@pytest.fixture(scope="module")
def packages(tmp_path_factory):
    made = {}

    def get(name: str):
        if name not in made:
            model = SOURCES[name]()
            folder = tmp_path_factory.mktemp(name) / name
            study = stand_in(PHANTOM, model.spec)
            made[name] = convert(model, dict.fromkeys(model.spec.graphs), study, folder, ConvertOptions(limits=TIGHT))
        return made[name]

    return get


@pytest.fixture
def given(tmp_path, packages):
    """The input of a model as a file."""

    def make(name: str):
        study = stand_in(PHANTOM, packages(name).spec)
        path = tmp_path / "input.nii.gz"
        write_image(study.volumes[study.reference], path)
        return path

    return make


@pytest.mark.parametrize("name", ["pgan", pytest.param("spade", marks=pytest.mark.full)])
class TestAGenerator:
    def test_becomes_a_package_that_verifies(self, name, packages):
        package = open_package(packages(name).folder)
        assert verify(package, RuntimeOptions(threads=1)).dice >= 0.98

    def test_makes_the_image_that_pytorch_makes(self, name, packages, given, tmp_path):
        image = tmp_path / "image.nii.gz"
        done = brain_edge("run", packages(name).folder, given(name), "--image", image, "--allow-untrained", "--json")
        assert done.code == 0, done.err
        model = SOURCES[name]()
        sessions = {graph.graph: TorchSession(graph.build(None)) for graph in model.graphs}
        (expected,) = Segmenter(model.spec, sessions).synthesize(stand_in(PHANTOM, model.spec))
        made = nibabel.load(image)
        np.testing.assert_allclose(made.get_fdata(), expected.voxels, atol=1e-4)
        np.testing.assert_allclose(made.affine, expected.geometry.affine)

    def test_says_of_its_image_that_it_is_synthetic(self, name, packages, given, tmp_path):
        image = tmp_path / "image.nii.gz"
        done = brain_edge("run", packages(name).folder, given(name), "--image", image, "--allow-untrained", "--json")
        assert done.json["synthetic"] is True
        assert b"synthetic" in nibabel.load(image).header["descrip"].item()

    def test_is_not_run_with_random_weights_unless_that_is_said(self, name, packages, given, tmp_path):
        image = tmp_path / "image.nii.gz"
        done = brain_edge("run", packages(name).folder, given(name), "--image", image)
        assert done.code == 3
        assert "the weights of this package are random" in done.err
        assert not image.exists()

    def test_is_not_asked_for_a_mask(self, name, packages, given, tmp_path):
        done = brain_edge(
            "run", packages(name).folder, given(name), "-o", tmp_path / "mask.nii.gz", "--allow-untrained"
        )
        assert done.code == 2
        assert "makes images; name the image with --image" in done.err


@pytest.mark.full  # converts the network once more; the generator that verifies stays
def test_a_segmenter_is_not_asked_for_an_image(packages, given, tmp_path):
    done = brain_edge(
        "run", packages("spin").folder, given("spin"), "--image", tmp_path / "i.nii.gz", "--allow-untrained"
    )
    assert done.code == 2
    assert "makes masks; name the mask with -o" in done.err


def test_what_belongs_to_a_mask_is_refused_beside_an_image(packages, given, tmp_path):
    options = ["--image", tmp_path / "i.nii.gz", "--strict", "--brain", tmp_path / "b.nii.gz"]
    done = brain_edge("run", packages("spade").folder, given("spade"), *options)
    assert done.code == 2
    assert "--brain, --strict have no effect with --image; remove them" in done.err


@pytest.mark.full  # converts one more network for a refusal
def test_neither_mask_nor_image_is_refused(packages, given):
    done = brain_edge("run", packages("spin").folder, given("spin"))
    assert done.code == 2
    assert "expected an output, got none; give -o OUT (a mask) or --image OUT" in done.err


def test_an_image_does_not_overwrite_its_input(packages, given):
    path = given("spade")
    done = brain_edge("run", packages("spade").folder, path, "--image", path, "--allow-untrained")
    assert done.code == 2
    assert "would overwrite an input" in done.err


def test_an_image_that_is_no_label_map_is_refused_with_its_file(packages, given, tmp_path):
    path = given("pgan")
    done = brain_edge("run", packages("spade").folder, path, "--image", tmp_path / "i.nii.gz", "--allow-untrained")
    assert done.code == 3
    assert f"{path}: expected a label map of the values 0, 1, 2, 3, 4, 5, 6" in done.err


def test_the_outcome_of_a_segmenter_is_its_mask_and_of_a_generator_where_its_image_is_bright(packages):
    study = stand_in(PHANTOM, packages("spin").spec)
    segmenter = Segmenter.open(packages("spin"))
    np.testing.assert_array_equal(outcome(segmenter, study), segmenter(study).mask.labels)
    generator = Segmenter.open(packages("spade"))
    labels = stand_in(PHANTOM, packages("spade").spec)
    (image,) = generator.synthesize(labels)
    np.testing.assert_array_equal(outcome(generator, labels), image.voxels > image.voxels.mean(dtype=np.float64))


def test_the_phantom_becomes_a_label_map_where_a_model_takes_one(packages):
    (volume,) = stand_in(Phantom(), packages("spade").spec).volumes.values()
    assert {0, 6} < set(np.unique(volume.voxels)) <= {0, 1, 2, 3, 4, 5, 6}


class TestNetworks:
    def test_a_spade_norm_is_a_norm_scaled_and_shifted_by_the_map(self):
        """Against its definition, in f64: (x - mean) / deviation * (1 + scale) + shift."""
        from brain_edge_conversion.networks.spade import SPADENorm

        norm = SPADENorm(3, 2, 4).double().eval()
        means, variances = present(norm.norm.running_mean), present(norm.norm.running_var)
        means.uniform_()
        variances.uniform_(0.5, 2)
        x, labels = torch.randn(2, 3, 4, 4).double(), torch.rand(2, 2, 8, 8).double()
        seen = torch.relu(norm.shared(labels[:, :, ::2, ::2]))
        mean, variance = (each.view(1, 3, 1, 1) for each in (means, variances))
        expected = (x - mean) / (variance + norm.norm.eps).sqrt() * (1 + norm.scale(seen)) + norm.shift(seen)
        torch.testing.assert_close(norm(x, labels), expected)

    def test_the_generators_have_the_sizes_of_their_papers(self):
        """PGAN: 23.1 million to 1024^2 with 3 channels (Karras et al., table 2); here to 256^2 with one."""
        from brain_edge_conversion.networks.pgan import WIDTHS, PGANGenerator

        def conv(before, after, kernel):
            return before * after * kernel**2 + after

        pairs = pairwise(WIDTHS)
        expected = conv(512, 512, 4) + conv(512, 512, 3) + sum(conv(a, b, 3) + conv(b, b, 3) for a, b in pairs)
        with torch.device("meta"):
            made = sum(each.numel() for each in PGANGenerator().parameters())
        assert made == expected + conv(64, 1, 1)
