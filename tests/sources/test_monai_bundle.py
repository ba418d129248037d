"""A MONAI bundle becomes a package that gives MONAI's own mask; what is not data, or has no equivalent, is refused."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import numpy as np
import openvino
import pytest
import torch
from doc_pages import run_page
from monai_bundle import (
    ARGMAX,
    BACK,
    CHANNEL_FIRST,
    LOAD,
    NETWORK,
    NORMALISE,
    ORIENT,
    SAVE,
    SOFTMAX,
    SPACE,
    WINDOWS,
    fitted,
    make_case,
    mask_of_monai,
    metadata,
    transforms,
    write_bundle,
    write_case,
)
from strategies import rotation

from brain_edge.engine.segmenter import Segmenter
from brain_edge.engine.windows import window_weights
from brain_edge.errors import InputError, UsageError, WeightsError
from brain_edge.image.geometry import Geometry
from brain_edge.image.metrics import least_dice
from brain_edge.image.resample import Interpolation
from brain_edge.image.volume import Study, Volume
from brain_edge.io.nifti import read_volume
from brain_edge.machine.process import peak_rss_bytes
from brain_edge.spec import Blending, SlidingWindow, Starts
from brain_edge.spec.steps import Frame, ResampleBetweenCentres
from brain_edge.spec.windowed import window_starts
from brain_edge_conversion.convert.convert import ConvertOptions, convert
from brain_edge_conversion.convert.parity import TorchSession
from brain_edge_conversion.convert.trace import trace_network
from brain_edge_conversion.folders.monai_config import read_inference
from brain_edge_conversion.sources import Request, kind_of, resolve

if TYPE_CHECKING:
    from pathlib import Path

    from torch import nn

pytest.importorskip("monai", reason="the extra `monai` brings it")
pytestmark = pytest.mark.filterwarnings("ignore")

SIDES = (38, 46, 27)
AFFINE = np.array([[-0.9, 0, 0, 40], [0, 0, 1.7, -30], [0, 1.1, 0, -20], [0, 0, 0, 1.0]])
OBLIQUE = np.eye(4)
OBLIQUE[:3] = np.float32(np.column_stack([rotation((1, 2, 3), 0.3) @ AFFINE[:3, :3], AFFINE[:3, 3]]))
SMALL = 1e-5
LARGEST = {"_target_": "KeepLargestConnectedComponentd", "keys": "pred", "applied_labels": [1, 2]}
SPACED_BY_MONAI = """
import ast, sys, numpy, torch
from monai.data import MetaTensor
from monai.transforms import Spacing
given = numpy.load(sys.argv[1])
answers = []
for number, (before, after) in enumerate(ast.literal_eval(sys.argv[3])):
    affine = torch.diag(torch.tensor([before] * 3 + [1.0], dtype=torch.float64))
    image = MetaTensor(torch.from_numpy(given[f"arr_{number}"]), affine=affine)
    answers.append(numpy.asarray(Spacing(pixdim=(after,) * 3)(image)))
numpy.savez(sys.argv[2], *answers)
"""


@pytest.fixture(scope="module")
def network() -> nn.Module:
    from monai.networks.nets import UNet

    with torch.random.fork_rng(devices=()):
        arguments = {key: value for key, value in NETWORK.items() if key not in ("_target_", "out_channels")}
        torch.manual_seed(0)
        return fitted(UNet(**arguments, out_channels=3))


def mask_of_ours(bundle: Path, image: Path) -> np.ndarray[Any, Any]:
    """By the steps that the bundle is translated to, around MONAI's network in PyTorch."""
    resolved = resolve(Request(source=str(bundle)))
    (graph,) = resolved.model.graphs
    session = TorchSession(graph.build(resolved.weights[graph.graph]))
    study = Study({"image": read_volume(image)}, "image")
    return Segmenter(resolved.model.spec, {graph.graph: session})(study).mask.labels


class TestMask:
    @pytest.mark.parametrize(
        ("config", "sides"),
        [
            pytest.param({}, SIDES, id="linear way back of probabilities"),
            pytest.param({}, SIDES, id="oblique image"),
            pytest.param({"inferer": WINDOWS | {"mode": "constant", "overlap": 0.25}}, SIDES, id="constant weights"),
            pytest.param({"inferer": WINDOWS | {"roi_size": [32, 32, 32]}}, (20, 31, 12), id="smaller than a window"),
            pytest.param({"inferer": {"_target_": "SimpleInferer"}, "preprocessing": transforms(
                LOAD, CHANNEL_FIRST, ORIENT, NORMALISE,
                {"_target_": "DivisiblePadd", "keys": "@image", "k": 8},
            )}, SIDES, id="whole volume"),
            pytest.param({"postprocessing": transforms(SOFTMAX, ARGMAX, BACK | {"nearest_interp": True}, SAVE)},
                         SIDES, id="nearest way back of labels"),
            pytest.param({"preprocessing": transforms(
                LOAD, CHANNEL_FIRST, ORIENT,
                {"_target_": "ThresholdIntensityd", "keys": "@image", "threshold": 30.0, "cval": 30.0},
                {"_target_": "ScaleIntensityRanged", "keys": "@image", "a_min": 30, "a_max": 200, "b_min": 0.0,
                 "b_max": 1.0, "clip": True},
                {"_target_": "CropForegroundd", "keys": "@image", "source_key": "@image", "allow_smaller": True,
                 "margin": 1},
                SPACE | {"pixdim": [1.25, 1.5, 1.0], "align_corners": True},
                {"_target_": "SpatialPadd", "keys": "@image", "spatial_size": [40, 40, 40]},
                NORMALISE | {"nonzero": False},
            )}, SIDES, id="crop, range and padding"),
            pytest.param({
                "preprocessing": transforms(LOAD, CHANNEL_FIRST, {"_target_": "ScaleIntensityd", "keys": ["image"]},
                                            {"_target_": "NormalizeIntensityD", "keys": "image"}),
                "postprocessing": transforms(ARGMAX, {"_target_": "KeepLargestConnectedComponentd", "keys": "pred",
                                                      "applied_labels": [1, 2]}),
            }, SIDES, id="axes as they are stored, largest components"),
            pytest.param({
                "preprocessing": transforms(LOAD, CHANNEL_FIRST, NORMALISE | {"nonzero": False}),
                "inferer": WINDOWS | {"roi_size": [32, 32, 32]},
                "postprocessing": transforms(SOFTMAX, ARGMAX, LARGEST, SAVE),
            }, (40, 36, 10), id="largest components, smaller than a window"),
            pytest.param({
                "preprocessing": transforms(LOAD, CHANNEL_FIRST, NORMALISE | {"nonzero": False}),
                "inferer": WINDOWS | {"roi_size": [32, 32, 32]},
                "postprocessing": transforms(SOFTMAX, ARGMAX, LARGEST, BACK | {"nearest_interp": True}, SAVE),
            }, (40, 36, 10), id="largest components before the way back of a grid that was kept"),
        ],
    )  # fmt: skip
    def test_is_that_of_monai(self, config, sides, network, tmp_path, request):
        bundle = write_bundle(tmp_path / "bundle", network, config)
        affine = OBLIQUE if "oblique" in request.node.name else AFFINE
        image = write_case(tmp_path / "head.nii.gz", sides, affine)
        (wanted,) = mask_of_monai(bundle, image)
        assert set(np.unique(wanted)) == {0, 1, 2}
        assert least_dice(wanted.astype(np.uint8), mask_of_ours(bundle, image)) >= 0.999

    def test_of_regions_that_overlap_has_a_label_for_each_combination(self, network, tmp_path):
        config = {"postprocessing": transforms(
            {"_target_": "Activationsd", "keys": "pred", "sigmoid": True}, BACK,
            {"_target_": "AsDiscreted", "keys": "pred", "threshold": 0.4}, SAVE)}  # fmt: skip
        names = {"0": "Tumor core", "1": "Whole tumor", "2": "Enhancing"}
        bundle = write_bundle(tmp_path / "bundle", network, config, metadata(names=names))
        image = write_case(tmp_path / "head.nii.gz", SIDES, AFFINE)
        wanted = mask_of_monai(bundle, image).astype(np.uint8)
        assert least_dice(wanted[0] + 2 * wanted[1] + 4 * wanted[2], mask_of_ours(bundle, image)) >= 0.999
        names_of_labels = resolve(Request(source=str(bundle))).model.spec.label_names()
        assert (names_of_labels[3], names_of_labels[4]) == ("Tumor_core+Whole_tumor", "Enhancing")

    def test_of_regions_that_the_bundle_merges_is_that_of_monai(self, network, tmp_path):
        """In the words of brats_mri_segmentation, whose Python is recognised and not run."""
        merge = "$lambda x: torch.where(x[[2]] > 0, 4, torch.where(x[[0]] > 0, 1, torch.where(x[[1]] > 0, 2, 0)))"
        config = {"imports": ["$import torch"], "postprocessing": transforms(
            {"_target_": "Activationsd", "keys": "pred", "sigmoid": True}, BACK,
            {"_target_": "AsDiscreted", "keys": "pred", "threshold": 0.4},
            {"_target_": "Lambdad", "keys": "pred", "func": merge}, SAVE)}  # fmt: skip
        names = {"0": "Tumor core", "1": "Whole tumor", "2": "Enhancing"}
        bundle = write_bundle(tmp_path / "bundle", network, config, metadata(names=names))
        image = write_case(tmp_path / "head.nii.gz", SIDES, AFFINE)
        (wanted,) = mask_of_monai(bundle, image)
        assert set(np.unique(wanted)) == {1, 2, 4}
        assert least_dice(wanted.astype(np.uint8), mask_of_ours(bundle, image)) >= 0.999
        spec = resolve(Request(source=str(bundle))).model.spec
        assert spec.label_names() == {4: "Enhancing", 1: "Tumor_core", 2: "Whole_tumor"}

    def test_of_the_package_is_that_of_monai(self, network, tmp_path):
        """From YAML, through OpenVINO."""
        bundle = write_bundle(tmp_path / "bundle", network, suffix="yaml")
        assert kind_of(str(bundle)).name == "MONAI bundle"
        image = write_case(tmp_path / "head.nii.gz", SIDES, AFFINE)
        resolved = resolve(Request(source=str(bundle)))
        study = Study({"image": read_volume(image)}, "image")
        package = convert(resolved.model, resolved.weights, study, tmp_path / "package", ConvertOptions())
        got = Segmenter.open(package)(study).mask.labels
        assert least_dice(mask_of_monai(bundle, image)[0].astype(np.uint8), got) >= 0.999
        assert package.manifest.card.summary == "Finds a ball in a ball."


class TestHowTo:
    @pytest.mark.full  # four seconds; cli/test_file_to_mask runs such commands in CI
    def test_its_commands_convert_and_run_the_bundle(self, network, tmp_path, monkeypatch):
        monkeypatch.chdir(tmp_path)
        write_bundle(tmp_path / "balls", network)
        write_case(tmp_path / "head.nii.gz", SIDES, AFFINE)
        run_page("convert-a-monai-bundle.md")
        assert (tmp_path / "mask.nii.gz").is_file()


def test_components_are_not_looked_for_in_the_padding_of_a_window(network, tmp_path):
    """0 after a z-score is tissue to a network: what it finds in the padding would be the largest component."""
    bundle = write_bundle(tmp_path / "bundle", network, {
        "preprocessing": transforms(LOAD, CHANNEL_FIRST, NORMALISE | {"nonzero": False}),
        "inferer": WINDOWS | {"roi_size": [32, 32, 32]},
        "postprocessing": transforms(SOFTMAX, ARGMAX, LARGEST, SAVE),
    })  # fmt: skip
    spec = resolve(Request(source=str(bundle))).model.spec
    voxels = np.random.default_rng(0).normal(100, 5, (40, 36, 10)).astype(np.float32)
    voxels[10:16, 10:16, 3:7] = 300

    def bright_or_padding(batch: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
        found = ((batch > 2) | (batch == 0)).astype(np.float32)
        return np.concatenate([1 - found, 2 * found, np.zeros_like(found)], axis=1)

    volume = Volume(voxels, Geometry(voxels.shape, np.diag([1, 1, 4, 1.0])))
    mask = Segmenter(spec, {spec.graphs[0]: bright_or_padding})(volume).mask
    np.testing.assert_array_equal(mask.labels == 1, voxels == 300)


FLIP = {"_target_": "Flipd", "keys": "@image", "spatial_axis": 0}


def test_references_and_names_written_as_python_are_data(network, tmp_path):
    """As MONAI's own template of a segmentation bundle writes them; MONAI's parser judges what they mean."""
    written = {
        "image": "$monai.utils.CommonKeys.IMAGE",
        "pred": "$monai.utils.CommonKeys.PRED",
        "transforms": [LOAD, CHANNEL_FIRST, ORIENT, SPACE, NORMALISE],
        "preprocessing": {"_target_": "Compose", "transforms": "$@transforms"},
    }
    config = read_inference(write_bundle(tmp_path / "template", network, written))
    from monai.bundle import ConfigParser

    parser = ConfigParser({name: written[name] for name in ("image", "pred")})
    assert [config.value(name) for name in ("image", "pred")] == [
        str(parser.get_parsed_content(name)) for name in ("image", "pred")
    ]
    plain = resolve(Request(source=str(write_bundle(tmp_path / "plain", network))))
    assert resolve(Request(source=str(tmp_path / "template"))).model.spec == plain.model.spec


def test_names_that_older_versions_of_monai_had_mean_what_they_meant(network, tmp_path):
    """`AddChanneld` (removed in MONAI 1.3) adds the only channel; `dimensions` (removed in 1.0) is `spatial_dims`."""
    add = {"_target_": "AddChanneld", "keys": "@image"}
    old = {("dimensions" if name == "spatial_dims" else name): value for name, value in NETWORK.items()}
    config = {"network_def": old, "preprocessing": transforms(LOAD, add, ORIENT, SPACE, NORMALISE)}
    found = resolve(Request(source=str(write_bundle(tmp_path / "old", network, config))))
    usual = resolve(Request(source=str(write_bundle(tmp_path / "usual", network))))
    assert found.model.spec == usual.model.spec
    (graph,) = found.model.graphs
    x = torch.randn(1, 1, 24, 24, 24, generator=torch.Generator().manual_seed(3))
    with torch.no_grad():
        torch.testing.assert_close(graph.build(found.weights[graph.graph])(x), network(x))


@pytest.mark.full  # half a minute for one network
def test_swin_unetr_of_an_older_bundle_is_the_network_of_monai(tmp_path):
    """Published bundles carry `img_size`, which MONAI from 1.5 on does not take; windows fix the sides of the graph."""
    from monai.networks.nets import SwinUNETR

    arguments = {"spatial_dims": 3, "in_channels": 1, "out_channels": 3, "feature_size": 12}
    torch.manual_seed(0)
    judge = SwinUNETR(**arguments).eval()
    config = {
        "network_def": {"_target_": "SwinUNETR", "img_size": [64, 64, 64], **arguments},
        "inferer": WINDOWS | {"roi_size": [64, 64, 64]},
    }
    resolved = resolve(Request(source=str(write_bundle(tmp_path / "swin", judge, config))))
    (graph,) = resolved.model.graphs
    assert graph.has_fixed_sides
    module = graph.build(resolved.weights[graph.graph])
    x = torch.randn(1, 1, 64, 64, 64, generator=torch.Generator().manual_seed(3))
    with torch.no_grad():
        expected = judge(x).numpy()
        assert torch.equal(module(x), torch.from_numpy(expected))
    traced = trace_network(module, resolved.model.spec.stages[0].network, graph.example_shape, has_fixed_sides=True)
    found = openvino.compile_model(traced, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})(x.numpy())[0]
    np.testing.assert_allclose(found, expected, atol=1e-4 * np.abs(expected).max())


class TestRefusals:
    @pytest.mark.parametrize(
        ("config", "words"),
        [
            ({"preprocessing": transforms(LOAD, FLIP)}, r"preprocessing::transforms::1, got Flipd, which has no equiv"),
            ({"preprocessing": transforms(LOAD, SPACE | {"mode": "nearest"})}, r"Spacingd with mode 'nearest'"),
            ({"postprocessing": transforms(SOFTMAX, ARGMAX, LARGEST, BACK | {"nearest_interp": True})},
             r"expected a clean-up \(KeepLargest\) after Invertd, got it before"),
            ({"preprocessing": transforms(LOAD, SPACE | {"diagonal": True})}, r"Spacingd with diagonal True"),
            ({"preprocessing": transforms(LOAD, NORMALISE | {"keys": ["image", "label"]})}, r"expected one"),
            ({"preprocessing": transforms(LOAD, {"_target_": "scripts.mine.Clean", "keys": "image"})}, "scripts.mine"),
            ({"preprocessing": transforms(LOAD, {"_target_": "Lambdad", "keys": "image", "func": "$lambda x: x"})},
             "got Lambdad"),
            ({"preprocessing": {"_target_": "Compose", "transforms": "$@a + @b"}}, r"got Python \(\$@a \+ @b\), which"),
            ({"preprocessing": {"_target_": "Compose", "transforms": [], "lazy": True}}, "Compose with lazy True"),
            ({"preprocessing": "@preprocessing"}, "form a circle"),
            ({"preprocessing": "%../train.json::preprocessing"}, "a macro or a relative reference"),
            ({"preprocessing": "@nowhere"}, r"expected a value at nowhere, to which preprocessing refers"),
            ({"inferer": WINDOWS | {"sigma_scale": 0.2}}, "SlidingWindowInferer with sigma_scale 0.2"),
            ({"inferer": WINDOWS | {"roi_size": [96, 96, -1]}}, r"roi_size \[96, 96, -1\]"),
            ({"inferer": {"_target_": "SliceInferer"}}, "got SliceInferer"),
            ({"postprocessing": transforms(SOFTMAX, ARGMAX)}, r"returns to the grid of the image \(Invertd\)"),
            ({"postprocessing": transforms(SOFTMAX, BACK)}, r"makes labels \(AsDiscreted"),
            ({"postprocessing": transforms(ARGMAX, BACK)}, "nearest_interp False, which blends labels"),
            ({"postprocessing": transforms(BACK | {"transform": "@other"}, ARGMAX), "other": {}}, "@preprocessing is"),
            ({"postprocessing": transforms(ARGMAX, {"_target_": "Lambdad", "keys": "pred", "func": "$lambda x: x"})},
             r"Lambdad with func '\$lambda x: x', which has no equivalent"),
            ({"inferer": WINDOWS | {"mode": ["gaussian"]}}, r"SlidingWindowInferer with mode \['gaussian'\]"),
            ({"inferer": WINDOWS | {"overlap": [[0.5], [0.5], [0.5]]}}, "one fraction of the window for all axes"),
            ({"postprocessing": transforms(SOFTMAX, BACK, ARGMAX, LARGEST | {"connectivity": 7})}, "connectivity 7"),
            ({"postprocessing": transforms(SOFTMAX, BACK, ARGMAX, LARGEST | {"connectivity": [1]})}, "connectivity"),
            ({"postprocessing": transforms(SOFTMAX, BACK, ARGMAX, LARGEST | {"applied_labels": [[1]]})}, "are known"),
            ({"preprocessing": transforms(LOAD, SPACE | {"pixdim": [1e-320, 1, 1]})},
             r"Spacingd with pixdim .* \(expected a spacing of 0\.1 to 20 mm, got 1e-320 x 1 x 1 mm\), which has no"),
            ({"preprocessing": transforms(LOAD, SPACE | {"pixdim": [1, 1, 30]})}, "got 1 x 1 x 30 mm"),
            ({"inferer": WINDOWS | {"roi_size": [2048, 2048, 2048]}},
             r"do not fit together \(stage 'bundle' needs 2048 x 2048 x 2048 voxels of any image"),
            ({"deep": json.loads("[" * 300 + "]" * 300)}, "64 levels"),
            ({"network_def": NETWORK | {"_target_": "scripts.net.Net"}}, "got scripts.net.Net"),
            ({"network_def": NETWORK | {"_target_": "torch.hub.load"}}, "got torch.hub.load"),
            ({"network_def": NETWORK | {"_requires_": "$import os"}}, "got _requires_, which would run something else"),
            ({"network_def": NETWORK | {"act": {"_target_": "torch.nn.ReLU"}}}, "got torch.nn.ReLU, which would"),
            ({"network_def": NETWORK | {"channels": "$[8] * 2"}}, r"got Python \(\$\[8\] \* 2\)"),
        ],
    )  # fmt: skip
    def test_name_what_is_there_and_run_nothing(self, config, words, network, tmp_path):
        with pytest.raises(InputError, match=words):
            resolve(Request(source=str(write_bundle(tmp_path / "bundle", network, config))))

    def test_weights_of_another_network_are_listed(self, network, tmp_path):
        wider = {"network_def": NETWORK | {"channels": [8, 32]}}
        resolved = resolve(Request(source=str(write_bundle(tmp_path / "bundle", network, wider))))
        with pytest.raises(WeightsError, match=r"model.pt: the weights do not fit UNet: .*differently shaped"):
            resolved.model.graphs[0].build(None)

    @pytest.mark.parametrize("channels", [2**31, 10**6])
    def test_more_channels_than_anybody_has_are_refused(self, channels, network, tmp_path):
        bundle = write_bundle(tmp_path / "bundle", network, described=metadata(classes=channels))
        with pytest.raises(
            InputError, match=r"metadata.json: expected a file in the format of a MONAI bundle.*num_channels"
        ):
            resolve(Request(source=str(bundle)))

    def test_a_network_far_wider_than_its_weights_takes_no_memory(self, network, tmp_path):
        wide = {"network_def": NETWORK | {"channels": [8, 2**20]}}
        resolved = resolve(Request(source=str(write_bundle(tmp_path / "bundle", network, wide))))
        before = peak_rss_bytes()
        with pytest.raises(WeightsError, match=r"do not fit UNet: .*differently shaped"):
            resolved.model.graphs[0].build(None)
        assert peak_rss_bytes() - before < 2**29

    @pytest.mark.parametrize("text", ["a: 0x" + "f" * 5000, "network_def: {_target_: UNet, 3: 4}"], ids=["huge", "key"])
    def test_yaml_of_what_no_bundle_holds_is_refused(self, text, network, tmp_path):
        bundle = write_bundle(tmp_path / "bundle", network, suffix="yaml")
        path = bundle / "configs/inference.yaml"
        kept = "" if text.startswith("a") else re.sub(r"(?ms)^network_def:.*?(?=^\w)", "", path.read_text())
        path.write_text(f"{kept}\n{text}\n")
        with pytest.raises(InputError, match=r"expected (a file in the format of a MONAI|a component)"):
            resolve(Request(source=str(bundle)))

    def test_arguments_that_the_class_does_not_take_are_said(self, network, tmp_path):
        other = {"network_def": NETWORK | {"rank": 3}}
        resolved = resolve(Request(source=str(write_bundle(tmp_path / "bundle", network, other))))
        with pytest.raises(InputError, match=r"MONAI does not build UNet with these arguments\. .*rank"):
            resolved.model.graphs[0].build(None)

    def test_a_bundle_of_torchscript_alone_must_be_trusted(self, network, tmp_path):
        bundle = write_bundle(tmp_path / "bundle", None)
        with pytest.raises(WeightsError, match=r"model.pt: there is no such file, and no model.ts"):
            resolve(Request(source=str(bundle)))
        torch.jit.save(torch.jit.trace(network, torch.zeros(1, 1, 24, 24, 24)), bundle / "models/model.ts")
        with pytest.raises(UsageError, match=r"model.ts \(SHA-256 [0-9a-f]{64}\), a TorchScript file is code"):
            resolve(Request(source=str(bundle)))
        (graph,) = resolve(Request(source=str(bundle), trust=True)).model.graphs
        assert graph.build(None)(torch.zeros(1, 1, 24, 24, 24)).shape == (1, 3, 24, 24, 24)

    def test_yaml_that_would_build_objects_is_refused(self, network, tmp_path):
        bundle = write_bundle(tmp_path / "bundle", network, suffix="yaml")
        (bundle / "configs/inference.yaml").write_text("a: !!python/object/apply:os.getcwd []")
        with pytest.raises(
            InputError, match=r"inference.yaml: expected a file in the format of a MONAI bundle.*python/object/apply"
        ):
            resolve(Request(source=str(bundle)))

    @pytest.mark.parametrize(
        ("text", "words"),
        [
            ("x: 2001-99-99", "got another"),
            ("x: !!int abc", "got another"),
            ("x: !!timestamp abc", "got another"),
            ("x: !!bool abc", "got another"),
            ("a: &a [1]\nb: [" * 3000, "got another"),
            ("".join(f"a{n}: &a{n} [{', '.join([f'*a{n - 1}' if n else '1'] * 10)}]\n" for n in range(40)), "100000"),
            ("a: &a [1, *a]", r"at most 100000 values, got more \(YAML aliases"),
        ],
    )
    def test_yaml_that_its_parser_chokes_on_is_refused(self, text, words, network, tmp_path):
        bundle = write_bundle(tmp_path / "bundle", network, suffix="yaml")
        (bundle / "configs/inference.yaml").write_text(text)
        with pytest.raises(InputError, match=rf"inference.yaml: .*{words}"):
            resolve(Request(source=str(bundle)))

    @pytest.mark.parametrize(
        ("size", "words"),
        [("@b0", "at most 100000 values at inferer::roi_size"), ([10**400] * 3, "too large for a float")],
    )
    def test_values_that_never_end_are_refused(self, size, words, network, tmp_path):
        """40 lists that each refer ten times to the next one, and a number of 400 digits."""
        growing = {f"b{number}": [f"@b{number + 1}"] * 10 for number in range(40)} | {"b40": 1}
        config = growing | {"inferer": WINDOWS | {"roi_size": size}}
        bundle = write_bundle(tmp_path / "bundle", network, config, suffix="yaml")
        with pytest.raises(InputError, match=words):
            resolve(Request(source=str(bundle)))

    @pytest.mark.parametrize("name", ["configs/metadata.json", "configs/inference.json"])
    def test_a_missing_file_is_named(self, name, network, tmp_path):
        bundle = write_bundle(tmp_path / "bundle", network)
        (bundle / name).unlink()
        with pytest.raises(InputError, match=f"{name}: there is no such file"):
            resolve(Request(source=str(bundle)))

    def test_several_images_in_are_refused(self, network, tmp_path):
        described = metadata()
        ports = described["network_data_format"]["inputs"]
        ports["again"] = ports["image"]
        bundle = write_bundle(tmp_path / "bundle", network, described=described)
        with pytest.raises(InputError, match="expected one image in inputs, got image, again"):
            resolve(Request(source=str(bundle)))

    def test_statistics_of_all_channels_together_are_refused(self, network, tmp_path):
        config = {"preprocessing": transforms(LOAD, NORMALISE | {"channel_wise": False})}
        bundle = write_bundle(tmp_path / "bundle", network, config, metadata(channels=2))
        with pytest.raises(InputError, match="statistics of all 2 channels together"):
            resolve(Request(source=str(bundle)))


class TestSpacing:
    @pytest.mark.parametrize("affine", [AFFINE, OBLIQUE], ids=["straight", "oblique"])
    @pytest.mark.parametrize("target", [(2.0, 2.0, 2.0), (1.5, 1.5, 2.0), (0.7, 3.0, 1.1), (0.9, 1.7, 1.1)])
    def test_there_and_back_is_that_of_monai(self, target, affine):
        """An oblique image keeps another point, once its affine has been in the float32 of a header."""
        from monai.data import MetaTensor
        from monai.transforms import Spacing

        voxels = make_case(5, SIDES)[0]
        spacing = Spacing(pixdim=target)
        theirs = spacing(MetaTensor(torch.from_numpy(voxels), affine=torch.from_numpy(affine)))
        ours = ResampleBetweenCentres(spacing_mm=target).apply(Frame(voxels, Geometry(SIDES, affine)))
        assert ours.voxels.shape == theirs.shape
        assert np.abs(ours.voxels - np.asarray(theirs)).max() < SMALL * np.abs(voxels).max()
        assert np.allclose(ours.geometry.affine, theirs.affine.numpy())
        back = spacing.inverse(theirs.clone())
        assert np.abs(ours.undone(Interpolation.LINEAR).voxels - np.asarray(back)).max() < SMALL * np.abs(voxels).max()

    @pytest.mark.full  # ten seconds in a process of its own; the spacings before it stay
    def test_what_is_zero_in_monai_is_zero_here(self, tmp_path):
        """All of them, also where 1e-16 of a neighbour decides: as torch computes with AVX2, on any CPU that has it."""
        spacings_mm = [(spacing, target) for spacing in (0.9, 1.0) for target in (0.7, 1.4, 1.5, 1.6, 1.8, 2.0, 2.1)]
        rng = np.random.default_rng(7)
        heads = []
        for spacing_mm, _ in spacings_mm:
            voxels = rng.uniform(0, 1000, (1, *rng.integers(20, 150, 3))).astype(np.float32)
            voxels[:, 1::3, :, ::4] = voxels[:, :, 2::3] = 0
            heads.append(Frame(voxels, Geometry(voxels.shape[1:], np.diag([spacing_mm] * 3 + [1.0]))))
        given, answered = tmp_path / "given.npz", tmp_path / "answered.npz"
        np.savez(given, *[head.voxels for head in heads])
        command = [sys.executable, "-c", SPACED_BY_MONAI, given, answered, repr(spacings_mm)]
        subprocess.run(command, check=True, env=os.environ | {"ATEN_CPU_CAPABILITY": "avx2"})
        wanted = np.load(answered)
        for number, (head, (_, target)) in enumerate(zip(heads, spacings_mm, strict=True)):
            got = ResampleBetweenCentres(spacing_mm=(target,) * 3).apply(head).voxels
            theirs = wanted[f"arr_{number}"]
            assert ((got == 0) == (theirs == 0)).all()
            assert np.abs(got - theirs).max() < SMALL * 1000

    def test_a_sheared_image_is_refused(self):
        affine = AFFINE.copy()
        affine[0, 1] = 0.2
        frame = Frame(make_case(5, SIDES)[0], Geometry(SIDES, affine))
        with pytest.raises(InputError, match=r"axes at right angles, got a shear of \d"):
            ResampleBetweenCentres(spacing_mm=(2.0, 2.0, 2.0)).apply(frame)


class TestWindows:
    @pytest.mark.parametrize(
        ("side", "window", "overlap"), [(100, 24, 0.5), (61, 20, 0.25), (25, 24, 0.9), (24, 24, 0.1)]
    )
    def test_begin_where_those_of_monai_begin(self, side, window, overlap):
        from monai.data.utils import dense_patch_slices
        from monai.inferers.utils import _get_scan_interval

        sizes = (side,) * 3, (window,) * 3
        interval = _get_scan_interval(*sizes, 3, (overlap,) * 3)
        wanted = sorted({place[0].start for place in dense_patch_slices(*sizes, interval)})
        assert list(window_starts(side, window, overlap, Starts.FIXED_STEP)) == wanted
        execution = SlidingWindow((window,) * 3, overlap, Blending.CONSTANT, Starts.FIXED_STEP)
        assert execution.tiling((side,) * 3).starts == (tuple(wanted),) * 3

    @pytest.mark.parametrize("shape", [(16, 16, 16), (9, 20, 13), (96, 96, 64)])
    def test_weigh_what_those_of_monai_weigh(self, shape):
        from monai.data.utils import compute_importance_map

        wanted = compute_importance_map(shape, mode="gaussian", sigma_scale=0.125).numpy()
        assert np.abs(window_weights(shape, Blending.GAUSSIAN_FLOOR) - wanted).max() < SMALL


@pytest.mark.full
@pytest.mark.data
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("head", ["ms_longitudinal/patient01/study1_T1W.nii.gz", "ms_cross/patient07/T1.nii.gz"])
def test_the_mask_of_a_real_head_is_that_of_monai(head, mri, tmp_path):
    """A clinical head with thick slices, a stripped one of 1 mm; a network of usual size, fitted to nothing real."""
    from monai.networks.nets import UNet

    described = NETWORK | {"channels": [16, 32, 64], "strides": [2, 2], "out_channels": 3}
    with torch.random.fork_rng(devices=()):
        torch.manual_seed(0)
        network = fitted(UNet(**{key: value for key, value in described.items() if key != "_target_"}))
    config = {"network_def": described, "inferer": WINDOWS | {"roi_size": [96, 96, 96], "overlap": 0.5},
              "preprocessing": transforms(LOAD, CHANNEL_FIRST, ORIENT, SPACE | {"pixdim": [1.5, 1.5, 2.0]},
                                          NORMALISE)}  # fmt: skip
    bundle = write_bundle(tmp_path / "bundle", network, config)
    image = mri(head)
    resolved = resolve(Request(source=str(bundle)))
    study = Study({"image": read_volume(image)}, "image")
    package = convert(resolved.model, resolved.weights, study, tmp_path / "package", ConvertOptions())
    wanted = mask_of_monai(bundle, image)[0].astype(np.uint8)
    got = Segmenter.open(package)(study).mask.labels
    shares = [float((wanted == label).mean()) for label in (1, 2)]
    assert min(shares) > 1e-4
    assert least_dice(wanted, got) >= 0.999
