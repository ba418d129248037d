"""Networks in files: one network by all its routes is one mask, and what cannot be converted is said in a sentence."""

from __future__ import annotations

import argparse
import warnings
import zipfile
from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np
import openvino
import pytest
import torch
from msgspec import UNSET
from tiny_package import PHANTOM, SPEC
from torch import nn

from brain_edge.engine.segmenter import Segmenter
from brain_edge.errors import BrainEdgeError, UsageError, WeightsError
from brain_edge.image.contrast import Contrast
from brain_edge.image.phantom import make_study
from brain_edge.package.digest import sha256_of
from brain_edge.spec import SlidingWindow, canonical_json
from brain_edge_conversion.convert.convert import ConvertOptions, convert
from brain_edge_conversion.convert.rewrites.parametrised import bake_weights
from brain_edge_conversion.demo.published_network import reference_segmenter
from brain_edge_conversion.folders.reading import stated
from brain_edge_conversion.recipe import same_each_time
from brain_edge_conversion.sources import Request, Resolved, resolve
from brain_edge_conversion.weights.checkpoint import fit_state_dict, load_state_dict
from brain_edge_conversion.weights.exported_program import load_exported
from brain_edge_conversion.weights.onnx_graph import OnnxNetwork, load_onnx, read_onnx, sha256_of_onnx

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from brain_edge.spec import ModelSpec

onnx = pytest.importorskip("onnx", reason="the extra `convert` brings it")
pytest.importorskip("onnxruntime", reason="conversions from ONNX are compared with it")

STUDY = make_study(PHANTOM, ["T1"])
SIDE = 16
WINDOWS = SlidingWindow(shape=(SIDE, SIDE, SIDE), overlap=0.25)


def unet() -> nn.Module:
    """A U-Net by MONAI, which nobody here wrote."""
    from monai.networks.nets import UNet

    return same_each_time(
        lambda: UNet(
            spatial_dims=3, in_channels=1, out_channels=2, channels=(4, 8, 16), strides=(2, 2), num_res_units=1
        ).eval()
    )


def convolutions() -> nn.Module:
    """A network that asks nothing of its sides; those that halve them become expressions that OpenVINO refuses."""
    return same_each_time(
        lambda: nn.Sequential(nn.Conv3d(1, 4, 3, padding=1), nn.InstanceNorm3d(4), nn.ReLU(), nn.Conv3d(4, 2, 1)).eval()
    )


def windows_spec(**changes: Any) -> ModelSpec:
    network = msgspec.structs.replace(SPEC.stages[0].network, execution=WINDOWS, **changes)
    return msgspec.structs.replace(SPEC, stages=(msgspec.structs.replace(SPEC.stages[0], network=network),))


def export_script(network: nn.Module, path: Path) -> None:
    torch.jit.save(torch.jit.trace(network, torch.zeros(1, 1, SIDE, SIDE, SIDE)), path)


def export_program(network: nn.Module, path: Path, *, fixed: bool = True) -> None:
    sides = None if fixed else (dict.fromkeys((2, 3, 4), torch.export.Dim.AUTO),)
    program = torch.export.export(network, (torch.rand(1, 1, SIDE, SIDE, SIDE),), dynamic_shapes=sides)
    torch.export.save(program, path)


@pytest.mark.filterwarnings("ignore")
def export_onnx(network: nn.Module, path: Path, **options: Any) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # this exporter is deprecated, and needs nothing that is not here
        torch.onnx.export(network, (torch.zeros(1, 1, SIDE, SIDE, SIDE),), path, dynamo=False, **options)


def asked(source: Path | str, spec: ModelSpec, folder: Path, **options: Any) -> Resolved:
    path = folder / "spec.json"
    path.write_bytes(canonical_json(spec))
    return resolve(Request(source=str(source), spec_file=path, **{"trust": True, **options}))


def package(source: Path | str, spec: ModelSpec, folder: Path, **options: Any) -> Any:
    resolved = asked(source, spec, folder, **options)
    return convert(resolved.model, resolved.weights, STUDY, folder / "package", ConvertOptions())


EXPORTS: dict[str, Callable[[nn.Module, Path], None]] = {
    "net.ts": export_script,
    "net.pt2": export_program,
    "net.onnx": export_onnx,
}


@pytest.fixture(scope="module")
def expected() -> np.ndarray[Any, Any]:
    """The mask of the module itself, in PyTorch."""
    from brain_edge_conversion.convert.parity import TorchSession

    return Segmenter(windows_spec(), {"tiny": TorchSession(unet())})(STUDY).mask.labels


@pytest.mark.parametrize("name", EXPORTS)
@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::torch.jit.TracerWarning")
def test_every_file_gives_the_mask_of_the_module(name: str, expected: np.ndarray[Any, Any], tmp_path: Path):
    EXPORTS[name](unet(), tmp_path / name)
    made = package(tmp_path / name, windows_spec(), tmp_path)
    assert 0.01 < expected.mean() < 0.99
    got = Segmenter.open(made.folder)(STUDY).mask.labels
    assert np.mean(got == expected) > 0.999
    assert [record.sha256 for record in made.manifest.weights] == [sha256_of(tmp_path / name)]


@pytest.mark.parametrize("safetensors", [pytest.param(False, marks=pytest.mark.full), True])
def test_a_state_dict_gives_the_mask_of_the_module(
    safetensors: bool, expected: np.ndarray[Any, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "unet_of_monai.py").write_text(
        "from monai.networks.nets import UNet\n\n\ndef build():\n    return UNet(spatial_dims=3, in_channels=1, "
        "out_channels=2, channels=(4, 8, 16), strides=(2, 2), num_res_units=1)\n"
    )
    weights = tmp_path / "weights.any"
    if safetensors:
        from safetensors.torch import save_file

        save_file(unet().state_dict(), weights)
    else:
        torch.save(nn.DataParallel(unet()).state_dict(), weights)
    made = package("unet_of_monai:build", windows_spec(), tmp_path, weights={"": weights})
    assert np.mean(Segmenter.open(made.folder)(STUDY).mask.labels == expected) > 0.999


@pytest.mark.parametrize("name", [pytest.param("net.pt2", marks=pytest.mark.full), "net.onnx"])
@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::torch.jit.TracerWarning")
def test_open_sides_of_a_file_stay_open(name: str, tmp_path: Path):
    """The whole volume, which has another size than the example that the file was exported with."""
    if name == "net.pt2":
        export_program(convolutions(), tmp_path / name, fixed=False)
    else:
        export_onnx(unet(), tmp_path / name, input_names=["x"], dynamic_axes={"x": [2, 3, 4]})
    resolved = asked(tmp_path / name, SPEC, tmp_path)
    made = convert(resolved.model, resolved.weights, STUDY, tmp_path / "package", ConvertOptions())
    wanted = reference_segmenter(resolved)(STUDY).mask.labels
    assert np.mean(Segmenter.open(made.folder)(STUDY).mask.labels == wanted) > 0.999


# --- checkpoints as training programs write them


class AttributeDict(dict):
    """What Lightning calls the class of its hyper-parameters."""


def test_a_checkpoint_with_logged_numpy_numbers_is_read(tmp_path: Path):
    """The kinds of objects that an nnU-Net trainer logs after an epoch, beside network_weights."""
    logging = {"mean_fg_dice": [np.float64(0.5)], "dice_per_class_or_region": [[np.float32(0.4)]], "lrs": [0.01]}
    content = {
        "network_weights": unet().state_dict(),
        "logging": logging,
        "_best_ema": np.float64(0.5),
        "init_args": {"plans": {"a": [1, 2]}, "fold": 0},
        "inference_allowed_mirroring_axes": (0, 1, 2),
        "grad_scaler_state": None,
    }
    torch.save(content, tmp_path / "checkpoint_final.pth")
    fit_state_dict(unet(), load_state_dict(tmp_path / "checkpoint_final.pth"), "checkpoint")


def test_lightning_with_plain_hyper_parameters_is_read(tmp_path: Path):
    state = {f"net.{key}": value for key, value in unet().state_dict().items()}
    content = {"state_dict": state, "hyper_parameters": {"lr": 0.1}, "pytorch-lightning_version": "2.5", "epoch": 3}
    torch.save(content, tmp_path / "last.ckpt")
    fit_state_dict(unet(), load_state_dict(tmp_path / "last.ckpt"), "checkpoint")


@pytest.mark.parametrize(
    ("parameters", "name"),
    [(argparse.Namespace(lr=1), r"argparse\.Namespace"), (AttributeDict(lr=1), r"test_source_files\.AttributeDict")],
)
def test_hyper_parameters_of_a_class_are_refused_by_its_name(parameters: object, name: str, tmp_path: Path):
    torch.save({"state_dict": unet().state_dict(), "hyper_parameters": parameters}, tmp_path / "last.ckpt")
    with pytest.raises(WeightsError, match=rf"last\.ckpt: .*asks for {name}, .*torch\.save\(model\.state_dict\(\)"):
        load_state_dict(tmp_path / "last.ckpt")


def test_safetensors_with_other_keys_are_refused_with_the_keys(tmp_path: Path):
    from safetensors.torch import save_file

    save_file({"encoder.weight": torch.zeros(3)}, tmp_path / "other.safetensors")
    words = r"do not fit UNet: \d+ missing \(model\.0.*1 unexpected \(encoder\.weight\)"
    with pytest.raises(WeightsError, match=words):
        fit_state_dict(unet(), load_state_dict(tmp_path / "other.safetensors"), "other.safetensors")


# --- trust


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::torch.jit.TracerWarning")
def test_programs_are_code_and_onnx_is_data(tmp_path: Path):
    export_program(unet(), tmp_path / "net.pt2")
    words = rf"net\.pt2 \(SHA-256 {sha256_of(tmp_path / 'net.pt2')}\), a torch\.export program is code that would run"
    with pytest.raises(UsageError, match=words):
        asked(tmp_path / "net.pt2", windows_spec(), tmp_path, trust=False)
    export_onnx(unet(), tmp_path / "net.onnx")
    assert asked(tmp_path / "net.onnx", windows_spec(), tmp_path, trust=False).recipe is None


def test_a_program_that_is_exchanged_after_it_was_trusted_is_refused(tmp_path: Path):
    export_program(unet(), tmp_path / "net.pt2")
    resolved = asked(tmp_path / "net.pt2", windows_spec(), tmp_path)
    export_program(nn.Conv3d(1, 2, 1).eval(), tmp_path / "net.pt2")
    with pytest.raises(WeightsError, match=r"net\.pt2: expected the SHA-256"):
        resolved.model.graphs[0].build(None)


# --- files that are not what they should be


@pytest.mark.parametrize("name", EXPORTS)
@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::torch.jit.TracerWarning")
def test_a_truncated_file_is_refused(name: str, tmp_path: Path):
    EXPORTS[name](unet(), tmp_path / name)
    whole = (tmp_path / name).read_bytes()
    (tmp_path / name).write_bytes(whole[: len(whole) // 2])
    with pytest.raises(WeightsError, match=rf"{name}: .*(truncated|damaged)"):
        package(tmp_path / name, windows_spec(), tmp_path)
    assert not (tmp_path / "package").exists()


def test_a_program_that_is_damaged_inside_is_refused_and_pytorch_says_nothing_of_its_own(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
):
    export_program(unet(), tmp_path / "whole.pt2")
    with zipfile.ZipFile(tmp_path / "whole.pt2") as whole, zipfile.ZipFile(tmp_path / "net.pt2", "w") as damaged:
        for name in whole.namelist():
            damaged.writestr(name, b"{" if name.endswith("model.json") else whole.read(name))
    capfd.readouterr()
    with pytest.raises(WeightsError, match=r"net\.pt2: PyTorch .* does not load this torch\.export program"):
        load_exported(tmp_path / "net.pt2", sha256_of(tmp_path / "net.pt2"))
    assert capfd.readouterr() == ("", "")


def test_onnx_that_onnxruntime_does_not_load_prints_nothing(tmp_path: Path, capfd: pytest.CaptureFixture[str]):
    node = onnx.helper.make_node("FancyNorm", ["x"], ["y"], domain="com.acme")
    content = onnx_model(tmp_path / "net.onnx", [node], shape=OPEN).read_bytes()
    capfd.readouterr()
    with pytest.raises(WeightsError, match=r"net\.onnx: onnxruntime, .*, does not load this model"):
        OnnxNetwork(content, "net.onnx")
    assert capfd.readouterr() == ("", "")


def test_a_whole_module_pickled_is_refused_by_what_it_would_import(tmp_path: Path):
    torch.save(unet(), tmp_path / "net.pt")
    words = r"net\.pt: loading this file would run code: it asks for monai\.networks\.nets\.\w+"
    with pytest.raises(WeightsError, match=words):
        asked(tmp_path / "net.pt", windows_spec(), tmp_path)


class Noisy(nn.Module):
    """Dropout that no evaluation mode switches off, because it is a function and not a layer."""

    def __init__(self) -> None:
        super().__init__()
        self.convolution = nn.Conv3d(1, 2, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.nn.functional.dropout(self.convolution(x), 0.5, training=True)


@pytest.mark.filterwarnings("ignore::torch.jit.TracerWarning")
def test_random_behaviour_in_evaluation_mode_is_found(tmp_path: Path):
    torch.jit.save(torch.jit.script(Noisy().eval()), tmp_path / "net.ts")
    with pytest.raises(WeightsError, match=r"tiny: the network is random in evaluation mode: .* cannot be compared"):
        package(tmp_path / "net.ts", windows_spec(), tmp_path)


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::torch.jit.TracerWarning")
@pytest.mark.parametrize("name", EXPORTS)
def test_a_wrong_number_of_channels_is_refused(name: str, tmp_path: Path):
    EXPORTS[name](unet(), tmp_path / name)
    network = msgspec.structs.replace(SPEC.stages[0].network, execution=WINDOWS, channels_in=2)
    sequences = (*SPEC.inputs, msgspec.structs.replace(SPEC.inputs[0], name="T2"))
    stage = msgspec.structs.replace(SPEC.stages[0], network=network)
    two = msgspec.structs.replace(SPEC, inputs=sequences, stages=(stage,))
    resolved = asked(tmp_path / name, two, tmp_path)
    study = make_study(PHANTOM, ["T1", "T2"])
    with pytest.raises(WeightsError, match=r"tiny: the network does not take an input of \(1, 2, 16, 16, 16\), the"):
        convert(resolved.model, resolved.weights, study, tmp_path / "package", ConvertOptions())


@pytest.mark.filterwarnings("ignore::torch.jit.TracerWarning")
def test_another_number_of_classes_is_refused(tmp_path: Path):
    export_script(nn.Conv3d(1, 3, 1).eval(), tmp_path / "net.ts")
    words = r"tiny: expected 2 output channels by the specification, the network returns 3; correct"
    with pytest.raises(WeightsError, match=words):
        package(tmp_path / "net.ts", windows_spec(), tmp_path)


@pytest.mark.parametrize("name", ["net.pt2", "net.onnx"])
@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::torch.jit.TracerWarning")
def test_a_file_of_fixed_sides_is_refused_where_the_steps_give_others(name: str, tmp_path: Path):
    EXPORTS[name](unet(), tmp_path / name)
    words = r"give a shape that depends on the image|does not take an input of \(1, 1, 64"
    with pytest.raises(BrainEdgeError, match=words):
        package(tmp_path / name, SPEC, tmp_path)


# --- one output, whatever it comes in


class Wrapped(nn.Module):
    """A network that returns one tensor in something else."""

    def __init__(self, form: str) -> None:
        super().__init__()
        self.network, self.form = unet(), form

    def forward(self, x: torch.Tensor) -> Any:
        y = self.network(x)
        return {"list": [y], "tuple": (y, None), "dict": {"out": y}}[self.form]


@pytest.mark.parametrize(
    ("form", "name"),
    [  # torch.export takes long
        pytest.param("list", "net.pt2", marks=pytest.mark.full),
        ("tuple", "net.pt2"),
        ("dict", "net.ts"),
        pytest.param("list", "module", marks=pytest.mark.full),
    ],
)
@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::torch.jit.TracerWarning")
def test_one_output_is_taken_out_of_what_it_comes_in(
    form: str, name: str, expected: np.ndarray[Any, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    if name == "module":
        (tmp_path / "wrapped_net.py").write_text(
            "from test_source_files import Wrapped\n\n\ndef build():\n    return Wrapped('list').eval()\n"
        )
        monkeypatch.syspath_prepend(str(tmp_path))
        made = package("wrapped_net:build", windows_spec(), tmp_path, random_weights=True)
    elif name == "net.ts":
        example = torch.zeros(1, 1, SIDE, SIDE, SIDE)
        torch.jit.save(torch.jit.trace(Wrapped(form).eval(), example, strict=False), tmp_path / name)
        made = package(tmp_path / name, windows_spec(), tmp_path)
    else:
        EXPORTS[name](Wrapped(form).eval(), tmp_path / name)
        made = package(tmp_path / name, windows_spec(), tmp_path)
    assert np.mean(Segmenter.open(made.folder)(STUDY).mask.labels == expected) > 0.999


# --- weights that are computed from others


class Normed(nn.Module):
    """Weights by all kinds of norms, one of them in a head that only training runs."""

    def __init__(self) -> None:
        super().__init__()
        norms = nn.utils.parametrizations
        self.first = norms.weight_norm(nn.Conv3d(1, 4, 3, padding=1))
        self.second = norms.spectral_norm(nn.Conv3d(4, 4, 1))
        self.third = nn.utils.spectral_norm(nn.Conv3d(4, 4, 1))
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # the old kind is deprecated, and in use
            self.idle = nn.utils.weight_norm(nn.Conv3d(4, 2, 1))
            self.last = nn.utils.weight_norm(nn.Conv3d(4, 2, 1))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.last(self.third(self.second(self.first(x))))


@pytest.mark.filterwarnings("ignore::torch.jit.TracerWarning", "ignore::FutureWarning")
def test_weights_under_a_norm_are_kept_as_they_are_computed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    wanted = same_each_time(lambda: Normed().eval())
    with torch.no_grad():
        expected = wanted(torch.ones(1, 1, 4, 4, 4))
    bake_weights(wanted)
    with torch.no_grad():
        torch.testing.assert_close(wanted(torch.ones(1, 1, 4, 4, 4)), expected, rtol=0, atol=0)
    (tmp_path / "normed_net.py").write_text(
        "from test_source_files import Normed\n\n\ndef build():\n    return Normed().eval()\n"
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    assert package("normed_net:build", windows_spec(), tmp_path, random_weights=True).manifest.parity is not None


# --- ONNX


def onnx_model(path: Path, nodes: list[Any], *, shape: list[Any] | None, kind: int = onnx.TensorProto.FLOAT) -> Path:
    helper = onnx.helper
    ports = [helper.make_tensor_value_info("x", kind, shape)], [helper.make_tensor_value_info("y", kind, None)]
    opsets = [helper.make_opsetid("", 17), helper.make_opsetid("com.acme", 1)]
    model = helper.make_model(helper.make_graph(nodes, "graph", *ports), opset_imports=opsets, ir_version=10)
    path.write_bytes(model.SerializeToString())
    return path


AXIS = {"Concat": {"axis": 1}}
OPEN = [1, 1, "i", "j", "k"]


@pytest.mark.parametrize(
    ("nodes", "shape", "words"),
    [
        (
            [("Relu", ["x"], ["a"], "first", ""), ("FancyNorm", ["a"], ["y"], "encoder/norm_3", "com.acme")],
            OPEN,
            r"net\.onnx: OpenVINO has no equivalent of the operator com\.acme\.FancyNorm \(node encoder/norm_3\); rewr",
        ),
        (
            [("Det", ["x"], ["y"], "", "")],
            OPEN,
            r"no equivalent of the operator Det-17 \(node unnamed, gives y\)",
        ),
        (
            [("Concat", ["x", "x"], ["y"], "", "")],
            None,
            r"the rank of the input is left open \(dynamic rank\), .* export the network with an example input",
        ),
        (
            [("Conv", ["x", "x"], ["y"], "", "")],  # OpenVINO does not even read it without a rank
            None,
            r"net\.onnx: the rank of the input is left open \(dynamic rank\)",
        ),
        (
            [("Concat", ["x", "x"], ["y"], "", "")],
            [1, 1, "i", "j"],
            r"does not take an input of \(1, 1, 64, 64, 64\)|expected an input of 5 dimensions",
        ),
    ],
)
def test_onnx_that_cannot_be_converted_is_refused(
    nodes: list[Any], shape: list[Any] | None, words: str, tmp_path: Path
):
    made = [
        onnx.helper.make_node(kind, inputs, outputs, name=name, domain=domain, **AXIS.get(kind, {}))
        for kind, inputs, outputs, name, domain in nodes
    ]
    with pytest.raises(WeightsError, match=words):
        package(onnx_model(tmp_path / "net.onnx", made, shape=shape), SPEC, tmp_path)
    assert not (tmp_path / "package").exists()


def test_onnx_with_weights_beside_it_is_the_network_and_one_hash_covers_both(tmp_path: Path):
    """The default of PyTorch's exporter; onnx itself joins the files as a judge."""
    export_onnx(unet(), tmp_path / "whole.onnx")
    model = onnx.load(tmp_path / "whole.onnx")
    onnx.save(model, tmp_path / "net.onnx", save_as_external_data=True, location="net.data", size_threshold=0)
    sha256 = sha256_of_onnx(tmp_path / "net.onnx")
    joined = onnx.load_model_from_string(load_onnx(tmp_path / "net.onnx", sha256))
    judge = onnx.load(tmp_path / "net.onnx")
    for mine, theirs in zip(joined.graph.initializer, judge.graph.initializer, strict=True):
        np.testing.assert_array_equal(onnx.numpy_helper.to_array(mine), onnx.numpy_helper.to_array(theirs))
    resolved = asked(tmp_path / "net.onnx", windows_spec(), tmp_path)
    assert resolved.model.graphs[0].sha256 == sha256
    content = (tmp_path / "net.data").read_bytes()
    (tmp_path / "net.data").write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    assert sha256_of_onnx(tmp_path / "net.onnx") != sha256
    with pytest.raises(WeightsError, match=f"expected the SHA-256 {sha256}, got"):
        load_onnx(tmp_path / "net.onnx", sha256)
    (tmp_path / "net.data").write_bytes(content[:-4])
    with pytest.raises(WeightsError, match=r"net\.data is truncated or of another model; copy both files again"):
        load_onnx(tmp_path / "net.onnx", sha256_of_onnx(tmp_path / "net.onnx"))


@pytest.mark.parametrize("location", ["nowhere.data", "../net.data", "/etc/hostname", "", ".."])
def test_weights_that_are_not_beside_the_onnx_file_are_refused(location: str, tmp_path: Path):
    (tmp_path / "net.data").write_bytes(bytes(4))
    (tmp_path / "inside").mkdir()
    tensor = outside("w")
    tensor.external_data[0].value = location
    nodes = [
        onnx.helper.make_node("Constant", [], ["w"], value=tensor),
        onnx.helper.make_node("Add", ["x", "w"], ["y"]),
    ]
    path = onnx_model(tmp_path / "inside/net.onnx", nodes, shape=OPEN)
    with pytest.raises(WeightsError, match=r"expected the weights in the file or in a file beside it, got w in"):
        asked(path, SPEC, tmp_path)


class HalfInside(nn.Module):
    """Float in, float out, half precision inside, as converters with keep_io_types make it."""

    def __init__(self) -> None:
        super().__init__()
        self.network = unet().half()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.network(x.half()).float()


def test_half_precision_of_onnx_is_widened_exactly(tmp_path: Path):
    export_onnx(HalfInside().eval(), tmp_path / "half.onnx", opset_version=17)
    content = load_onnx(tmp_path / "half.onnx", sha256_of_onnx(tmp_path / "half.onnx"))
    onnx.checker.check_model(onnx.load_model_from_string(content))
    x = torch.randn(1, 1, SIDE, SIDE, SIDE, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        expected = unet().half().float()(x)
    torch.testing.assert_close(OnnxNetwork(content, "half.onnx")(x), expected, rtol=1e-4, atol=1e-5)
    in_f32 = {"INFERENCE_PRECISION_HINT": "f32"}  # the default of a CPU with bf16 is bf16
    by_openvino = openvino.compile_model(read_onnx(content, "half.onnx"), "CPU", in_f32)(x.numpy())[0]
    np.testing.assert_allclose(by_openvino, expected, rtol=1e-3, atol=1e-4)


def test_an_onnx_input_in_half_precision_is_named(tmp_path: Path):
    path = onnx_model(tmp_path / "net.onnx", [onnx.helper.make_node("Relu", ["x"], ["y"], name="relu")], shape=OPEN)
    model = onnx.load(path)
    model.graph.input[0].type.tensor_type.elem_type = onnx.TensorProto.FLOAT16
    onnx.save(model, path)
    with pytest.raises(WeightsError, match=r"expected an input in float32, got x in half precision \(float16\)"):
        load_onnx(path, sha256_of_onnx(path))


def outside(name: str) -> Any:
    """A tensor of one number in a file beside the model."""
    tensor = onnx.helper.make_tensor(name, onnx.TensorProto.FLOAT, [1], [1.0])
    tensor.ClearField("float_data")
    tensor.data_location = onnx.TensorProto.EXTERNAL
    tensor.external_data.add(key="location", value="net.data")
    return tensor


def nodes_with_weights_outside(place: str) -> list[Any]:
    helper = onnx.helper
    given = helper.make_node("Constant", [], ["w"], value=outside("w"))
    if place == "constant":
        return [given, helper.make_node("Add", ["x", "w"], ["y"])]
    port = helper.make_tensor_value_info("z", onnx.TensorProto.FLOAT, None)
    body = [helper.make_node("Add", ["x", "w"], ["z"])]
    if place == "constant of a branch":
        branch = helper.make_graph([given, *body], "branch", [], [port])
    else:
        branch = helper.make_graph(body, "branch", [], [port], initializer=[outside("w")])
    always = helper.make_tensor("always", onnx.TensorProto.BOOL, [], [True])
    condition = helper.make_node("Constant", [], ["always"], value=always)
    return [condition, helper.make_node("If", ["always"], ["y"], then_branch=branch, else_branch=branch)]


@pytest.mark.parametrize("place", ["constant", "constant of a branch", "initializer of a branch"])
def test_onnx_with_weights_beside_it_has_another_hash_for_other_weights_wherever_it_names_them(
    place: str, tmp_path: Path
):
    """Two files of one hash, and of one record, could hold two networks."""
    path = onnx_model(tmp_path / "net.onnx", nodes_with_weights_outside(place), shape=OPEN)
    hashes = []
    for value in (1, 2):
        np.full(1, value, np.float32).tofile(tmp_path / "net.data")
        hashes.append(sha256_of_onnx(path))
        content = load_onnx(path, hashes[-1])
        assert b"net.data" not in content
        x = torch.zeros(1, 1, 4, 4, 4)
        assert OnnxNetwork(content, "net.onnx")(x).unique().tolist() == [value]
    assert hashes[0] != hashes[1]


QUANTISED = {"qdq": "FakeQuantize", "operators": "FakeQuantize", "dynamic": "Convolution"}
"""Ways in which onnxruntime quantises -> what OpenVINO makes of the first node that is."""


def quantise_onnx(source: Path, path: Path, way: str) -> None:
    from onnxruntime import quantization as by_onnxruntime

    class Reader(by_onnxruntime.CalibrationDataReader):
        def __init__(self) -> None:
            self.left = [{"x": np.random.default_rng(0).random((1, 1, SIDE, SIDE, SIDE), dtype=np.float32)}]

        def get_next(self) -> Any:
            return self.left.pop() if self.left else None

    if way == "dynamic":
        by_onnxruntime.quantize_dynamic(source, path, weight_type=by_onnxruntime.QuantType.QUInt8)
        return
    kind = by_onnxruntime.QuantFormat.QDQ if way == "qdq" else by_onnxruntime.QuantFormat.QOperator
    unsigned = by_onnxruntime.QuantType.QUInt8
    by_onnxruntime.quantize_static(source, path, Reader(), quant_format=kind, activation_type=unsigned)


@pytest.mark.parametrize("way", QUANTISED)
def test_onnx_that_is_quantised_already_is_refused_by_its_node(way: str, tmp_path: Path):
    plain = nn.Sequential(nn.Conv3d(1, 4, 3, padding=1), nn.ReLU(), nn.Conv3d(4, 2, 1)).eval()
    export_onnx(plain, tmp_path / "float.onnx", input_names=["x"], opset_version=17)
    quantise_onnx(tmp_path / "float.onnx", tmp_path / "net.onnx", way)
    words = rf"tiny: expected a network in floating point, got a quantised one \({QUANTISED[way]} .*\)\. Give"
    with pytest.raises(WeightsError, match=words):
        package(tmp_path / "net.onnx", windows_spec(), tmp_path)
    assert not (tmp_path / "package").exists()


@pytest.mark.parametrize(
    ("text", "contrasts"),
    [
        ("T1ce", (Contrast.T1C,)),
        ("T2-weighted", (Contrast.T2W,)),
        *((text, UNSET) for text in ("MR", "DWI", "noise", "")),
    ],
)
def test_a_channel_states_the_contrast_that_it_is_called_by(text, contrasts):
    assert stated(text) == contrasts


@pytest.mark.parametrize("version", [2**31 - 1, 1001, 0, -1])
def test_operators_of_a_version_that_there_is_not_are_refused(version, tmp_path):
    """OpenVINO would look for the first one by counting down."""
    model = onnx.helper.make_model(
        onnx.helper.make_graph([onnx.helper.make_node("Relu", ["x"], ["y"])], "g", [], []),
        opset_imports=[onnx.helper.make_opsetid("", version)],
    )
    path = tmp_path / "net.onnx"
    path.write_bytes(model.SerializeToString())
    with pytest.raises(WeightsError, match=rf"net\.onnx: expected a version of its operators .*, got {version}"):
        load_onnx(path, sha256_of(path))


def test_a_node_without_its_inputs_is_refused(tmp_path):
    """OpenVINO would end the process."""
    sides = onnx.helper.make_tensor_value_info("x", onnx.TensorProto.FLOAT, [1, 1, 8, 8, 8])
    outputs = onnx.helper.make_tensor_value_info("y", onnx.TensorProto.FLOAT, [1, 1, 8, 8, 8])
    graph = onnx.helper.make_graph([onnx.helper.make_node("Conv", [], ["y"])], "g", [sides], [outputs])
    path = tmp_path / "net.onnx"
    path.write_bytes(onnx.helper.make_model(graph).SerializeToString())
    with pytest.raises(WeightsError, match=r"net\.onnx: ONNX refuses this model \(.*input size 0"):
        load_onnx(path, sha256_of(path))
