"""The recipes of slice-wise and recurrent networks: sizes that the papers state, and packages of narrow networks.

The networks here are narrow; steps and names are those of the recipes. At full width the same is done under `full`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import nibabel
import numpy as np
import pytest
import torch
from cli_program import succeed
from phantoms import ORIENTATIONS

from brain_edge.engine.segmenter import Segmenter
from brain_edge.errors import WeightsError
from brain_edge.image.geometry import axis_moves
from brain_edge.image.phantom import Phantom, make_study
from brain_edge.image.volume import Study, Volume
from brain_edge.machine.options import RuntimeOptions
from brain_edge.package import WeightsStatus
from brain_edge.spec.steps.moves import reorder
from brain_edge_conversion.convert.convert import ConvertOptions, convert
from brain_edge_conversion.convert.parity import ParityLimits
from brain_edge_conversion.networks.tcup_gan import ConvLSTM
from brain_edge_conversion.recipe import ModelSource
from brain_edge_conversion.recipes import (
    _synthetic_slices,
    cotrnet,
    load_recipe,
    msfr_net,
    multi_annotator_2d,
    multi_annotator_3d,
    multi_plane_unet_plus_plus,
    spin,
    tcup_gan,
)
from brain_edge_conversion.recipes._tumour import LICENCE
from brain_edge_conversion.sources import Request, resolve

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from brain_edge.spec import ModelSpec

NAMES = (
    "cotrnet",
    "msfr-net",
    "multi-annotator-2d",
    "multi-annotator-3d",
    "multi-plane-unet-plus-plus",
    "spin",
    "tcup-gan",
    "tcup-gan-meningioma",
    "tcup-gan-paediatric",
    "tcup-gan-sub-saharan",
    "unet-2d-2-classes",
    "unet-2d-4-classes",
    "unet-2d-7-classes",
)
TIGHT = ParityLimits(relative_error=1e-4)
FULL = pytest.mark.full
PHANTOM = Phantom(shape=(40, 48, 12), spacing_mm=4.0)


def source(spec: ModelSpec, graphs) -> ModelSource:
    return ModelSource(spec, graphs, spin.CARD, LICENCE)


NARROW: dict[str, Callable[[], ModelSource]] = {
    "tcup-gan": lambda: source(
        tcup_gan.spec("tcup-gan", tcup_gan.MeanAreas(6, 4, 1), (64, 64)),
        tcup_gan.tcup_gan_graphs((4, 6, 8), (64, 64)),
    ),
    "unet-2d": lambda: source(
        _synthetic_slices.unet_spec("unet-2d-7-classes", 7, (64, 64)), _synthetic_slices.unet_graphs(7, 4)
    ),
    "spin": lambda: source(spin.spec(), spin.spin_graphs((4, 6, 8, 8, 8), 8)),
    "multi-plane": lambda: source(
        multi_plane_unet_plus_plus.spec((64, 64)),
        multi_plane_unet_plus_plus.plane_graphs((4, 4, 6, 6, 8, 8, 8, 8), 1, 2),
    ),
    "cotrnet": lambda: source(cotrnet.spec((64, 64)), cotrnet.cotrnet_graphs((4, 8, 8, 8), (8, 8, 4, 4, 4))),
    "msfr-net": lambda: source(msfr_net.spec((48, 48)), msfr_net.msfr_graphs(2)),
    "multi-annotator-2d": lambda: source(
        multi_annotator_2d.spec((64, 64)), multi_annotator_2d.annotator_graphs((4, 6, 8))
    ),
    "multi-annotator-3d": lambda: source(
        multi_annotator_3d.spec((32, 32, 16)), multi_annotator_3d.annotator_graphs((4, 6, 8))
    ),
}


def stand_in(spec: ModelSpec) -> Study:
    return make_study(PHANTOM, [sequence.name for sequence in spec.inputs])


@pytest.fixture(scope="module")
def packages(tmp_path_factory):
    """Each narrow package, converted once."""
    made = {}

    def get(name: str):
        if name not in made:
            model = NARROW[name]()
            options = ConvertOptions(limits=TIGHT)
            folder = tmp_path_factory.mktemp(name) / "package"
            made[name] = convert(model, dict.fromkeys(model.spec.graphs), stand_in(model.spec), folder, options)
        return made[name]

    return get


QUICK = ("tcup-gan", "unet-2d")
"""The others take a minute together."""
SOME_NAMES = [name if name in QUICK else pytest.param(name, marks=FULL) for name in NARROW]
TRYING = [(name, shape) for name in NARROW for shape in ((40, 48, 1), (64, 64, 400), (512, 512, 2), (64, 64, 3))]
"""A volume of one slice, one of 400, slices of 512 and of 64."""
QUICK_TRYING = [
    ("tcup-gan", (40, 48, 1)),
    ("tcup-gan", (512, 512, 2)),
    ("unet-2d", (64, 64, 400)),
    ("unet-2d", (64, 64, 3)),
]


@pytest.mark.parametrize("name", SOME_NAMES)
def test_converts_with_random_weights_and_openvino_agrees(name: str, packages):
    package = packages(name)
    assert package.manifest.weights_status is WeightsStatus.RANDOM
    assert {graph.graph for graph in package.manifest.parity.graphs} == set(package.spec.graphs)


@pytest.mark.parametrize(
    ("name", "shape"), [each if each in QUICK_TRYING else pytest.param(*each, marks=FULL) for each in TRYING]
)
def test_runs_on_one_slice_and_on_400_on_planes_of_512_and_of_64(name: str, shape, packages):
    """Whatever the sides, the mask lies on the grid of the image and holds labels of the table."""
    spec = packages(name).spec
    study = make_study(Phantom(shape=shape, spacing_mm=1.0), [each.name for each in spec.inputs])
    mask = Segmenter.open(packages(name), PREPARED)(study).mask
    assert mask.labels.shape == shape
    assert set(np.unique(mask.labels)) <= {0, *spec.label_names()}


def stored(study: Study, orientation: str) -> Study:
    """The same head in the world, its axes stored in another order."""
    moves = axis_moves("RAS", orientation)
    volumes = {
        name: Volume(
            np.ascontiguousarray(reorder(volume.voxels[np.newaxis], moves)[0]),
            volume.geometry.reoriented(moves),
            volume.name,
        )
        for name, volume in study.volumes.items()
    }
    return Study(volumes, study.reference)


PREPARED = RuntimeOptions(as_they_are=True)
"""For images that are prepared, of which a few slices or a small head cannot tell."""
SOME = ("LPS", "SAR")


@pytest.mark.parametrize(
    "orientation", [each if each in SOME else pytest.param(each, marks=FULL) for each in ORIENTATIONS]
)
@pytest.mark.parametrize("name", SOME_NAMES)
def test_gives_the_same_mask_in_all_ways_to_store_a_head(name: str, orientation: str, packages):
    segmenter = Segmenter.open(packages(name), PREPARED)
    study = stand_in(segmenter.spec)
    expected = segmenter(study).mask.labels
    got = segmenter(stored(study, orientation)).mask.labels
    np.testing.assert_array_equal(got, reorder(expected[np.newaxis], axis_moves("RAS", orientation))[0])


@pytest.mark.data
@pytest.mark.parametrize(
    "orientation", [each if each == "SAR" else pytest.param(each, marks=FULL) for each in ORIENTATIONS]
)
# three planes of every slice of a real head take most of a minute
@pytest.mark.parametrize("name", ["unet-2d", *(pytest.param(each, marks=FULL) for each in ("spin", "multi-plane"))])
def test_a_real_case_file_to_file_lies_on_the_grid_of_its_input(
    name: str, orientation: str, packages, mri: Callable[[str], Path], tmp_path: Path
):
    """Every second voxel of a glioma's head, stored in another order by nibabel, gives the mask in that order."""
    masks = []
    for codes in ("LPS", orientation):
        given = {}
        for sequence in packages(name).spec.inputs:
            head = nibabel.load(
                mri(f"tcga_fg_6692/skull_stripped/OtherEXampleFromTCIA_{FILES[sequence.name]}_bet.nii.gz")
            )
            given[sequence.name] = tmp_path / f"{codes}-{sequence.name}.nii.gz"
            nibabel.save(in_order(head.slicer[::2, ::2, ::2], codes), given[sequence.name])
        mask = tmp_path / f"{codes}-mask.nii.gz"
        named = [f"{sequence}={path}" for sequence, path in given.items()]
        succeed("run", packages(name).folder, *named, "-o", mask, "--allow-untrained", "--as-they-are", "--quiet")
        made = nibabel.load(mask)
        np.testing.assert_allclose(made.affine, nibabel.load(next(iter(given.values()))).affine, atol=1e-4)
        masks.append(made)
    expected = in_order(masks[0], orientation)
    np.testing.assert_array_equal(np.asarray(masks[1].dataobj), np.asarray(expected.dataobj))


FILES = {"T1": "t1", "T1C": "t1c", "T2": "t2", "FLAIR": "fla"}


def in_order(image: nibabel.Nifti1Image, codes: str) -> nibabel.Nifti1Image:
    """An image whose axes are stored in another order, by nibabel."""
    have, want = nibabel.io_orientation(image.affine), nibabel.orientations.axcodes2ornt(codes)
    return image.as_reoriented(nibabel.orientations.ornt_transform(have, want))


@pytest.mark.parametrize("name", NAMES)
def test_every_recipe_has_a_stand_in_for_random_weights_of_the_grid_that_its_data_have(name: str):
    assert load_recipe(name).parity_phantom == Phantom(shape=(240, 240, 155), spacing_mm=1.0)


@FULL
@pytest.mark.parametrize("name", NAMES)
def test_converts_at_full_width(name: str, tmp_path: Path):
    resolved = resolve(Request(source=name, random_weights=True))
    study = make_study(Phantom(shape=(240, 240, 8)), [each.name for each in resolved.model.spec.inputs])
    package = convert(resolved.model, resolved.weights, study, tmp_path / "package", ConvertOptions(limits=TIGHT))
    assert package.manifest.weights_status is WeightsStatus.RANDOM


class TestSizes:
    """Counted from the papers' words; the first three are numbers that the papers state."""

    def test_tcup_gan_has_2_3_million_parameters(self):
        assert round(parameters("tcup-gan") / 1e6, 1) == 2.3

    def test_spin_has_the_16_and_11_thousand_of_its_guidance_and_its_downsampler(self):
        from brain_edge_conversion.networks.spin import SPiN

        module = SPiN()
        assert [sum(each.numel() for each in part.parameters()) // 1000 for part in (module.embed, module.vote)] == [
            16,
            11,
        ]

    def test_spin_has_5_3_million_with_the_projections_that_the_published_one_keeps_idle(self):
        """One of 1 x 1 in each block whose shape does not change: in the encoder 64, 128, 196, 196, 16 twice."""
        idle = sum(width**2 for width in (64, 128, 196, 196, 16, 16))
        assert round((parameters("spin") + idle) / 1e6, 1) == 5.3

    @pytest.mark.parametrize("classes", [2, 4, 7])
    def test_of_the_2d_unet(self, classes):
        """Two convolutions and norms a level, one in the bridge, one transposed convolution and norm between levels."""

        def conv(before, after, kernel=3):
            return before * after * kernel**2 + after

        widths = [64, 128, 256, 512, 1024]
        levels = zip([1, *widths], widths[:-1], strict=False)
        down = sum(conv(a, b) + conv(b, b) + 4 * b for a, b in levels) + conv(512, 1024) + 2 * 1024
        up = sum(conv(2 * b, b) + 2 * b + conv(2 * b, b) + conv(b, b) + 4 * b for b in widths[:-1])
        assert parameters(f"unet-2d-{classes}-classes") == down + up + conv(64, classes, 1)


def test_weights_without_the_constants_of_their_training_set_are_refused(tmp_path: Path):
    """They are part of the weights of the 2D U-Net, so that nobody divides by another number."""
    graph = _synthetic_slices.unet_graphs(2, 2)[0]
    state = graph.build(None).state_dict()
    file = tmp_path / "weights.pt"
    torch.save({name: tensor for name, tensor in state.items() if name != "training_maximum"}, file)
    with pytest.raises(WeightsError, match="training_maximum"):
        graph.build(file)


def test_the_recurrent_network_gives_the_same_whether_inputs_are_convolved_at_once_or_one_by_one():
    torch.manual_seed(0)
    lstm = ConvLSTM(3, 4, batched=True)
    x, cell = torch.randn(6, 3, 8, 8), torch.randn(1, 4, 8, 8)
    with torch.no_grad():
        at_once = lstm(x, cell)
        lstm.batched = False
        torch.testing.assert_close(lstm(x, cell), at_once)


def test_an_lstm_is_its_equations_slice_by_slice():
    """i, f, o, g of a convolution over slice and hidden state; c = f c + i g; h = o tanh c."""
    torch.manual_seed(0)
    lstm = ConvLSTM(3, 4, batched=True)
    x = torch.randn(5, 3, 8, 8)
    hidden = cell = torch.zeros(1, 4, 8, 8)
    expected = []
    with torch.no_grad():
        for one in x:
            i, f, o, g = lstm.conv(torch.cat((one[None], hidden), dim=1)).chunk(4, dim=1)
            cell = f.sigmoid() * cell + i.sigmoid() * g.tanh()
            hidden = o.sigmoid() * cell.tanh()
            expected.append(torch.nn.functional.max_pool2d(hidden, 2))
        got, last = lstm.pooled(x)
    torch.testing.assert_close(got, torch.cat(expected))
    torch.testing.assert_close(last, cell)


def parameters(name: str) -> int:
    with torch.device("meta"):
        return sum(
            each.numel()
            for graph in resolve(Request(source=name, random_weights=True)).model.graphs
            for each in graph.build(None).parameters()
        )
