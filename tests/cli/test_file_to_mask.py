"""Networks as people have them go from their file to a mask by `convert` and `run`; the library they come from judges.

The head is one window of the network, so that its mask is the largest output of PyTorch, MONAI or onnxruntime.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path  # noqa: TC003 - here, because what follows cannot be sorted
from typing import TYPE_CHECKING, Any

import msgspec
import nibabel
import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="the build side needs the extra `convert`")

from cli_program import refused, save_phantom, succeed  # noqa: E402 - after the check that torch is there
from monai_bundle import NETWORK, WINDOWS, mask_of_monai, transforms, write_bundle, write_case  # noqa: E402
from nnunet_folder import PLAN, make_folder  # noqa: E402
from tiny_package import SPEC  # noqa: E402
from torch import nn  # noqa: E402
from torch.nn import functional  # noqa: E402

from brain_edge.engine.segmenter import Segmenter  # noqa: E402
from brain_edge.image.metrics import least_dice  # noqa: E402
from brain_edge.image.resample import Interpolation  # noqa: E402
from brain_edge.image.volume import Study  # noqa: E402
from brain_edge.io.nifti import read_volume  # noqa: E402
from brain_edge.package import open_package  # noqa: E402
from brain_edge.package.digest import sha256_of  # noqa: E402
from brain_edge.spec import Plausible, SlidingWindow, canonical_json  # noqa: E402
from brain_edge.spec.steps import Argmax, Orient, Restore, ZScore  # noqa: E402
from brain_edge_conversion.convert.parity import TorchSession  # noqa: E402
from brain_edge_conversion.networks.nnunet_unet import NnunetUNet  # noqa: E402

if TYPE_CHECKING:
    from collections.abc import Callable

    from torch import Tensor

pytestmark = pytest.mark.filterwarnings("ignore")
SIDE = 24
SELF = "test_file_to_mask"


class Net(nn.Module):
    """A U-Net of one halving; `up` makes its way back."""

    def __init__(self, up: nn.Module | None = None) -> None:
        super().__init__()
        self.first = nn.Sequential(nn.Conv3d(1, 4, 3, padding=1), nn.InstanceNorm3d(4, affine=True), nn.LeakyReLU())
        self.deep = nn.Sequential(nn.Conv3d(4, 8, 3, padding=1), nn.LeakyReLU())
        self.up = nn.ConvTranspose3d(8, 4, 2, 2) if up is None else up
        self.last = nn.Conv3d(8, 2, 1)

    def forward(self, x: Tensor) -> Tensor:
        shallow = self.first(x)
        return self.last(torch.cat([self.up(self.deep(functional.max_pool3d(shallow, 2))), shallow], 1))


class GuardsEmptyPatches(Net):
    """Normalises what it gets, but not where nothing is: an example of zeros would freeze the wrong branch."""

    def forward(self, x: Tensor) -> Tensor:
        if x.std() > 0:
            x = (x - x.mean()) / x.std()
        return super().forward(3 * x + 1)


class Spectral(Net):
    """A spectral norm over its last layer but one, as in SPADE."""

    def __init__(self) -> None:
        super().__init__()
        self.deep[0] = nn.utils.parametrizations.spectral_norm(self.deep[0])


class NearestExact(Net):
    """Goes back by `nearest-exact`."""

    def __init__(self) -> None:
        super().__init__(nn.Sequential(nn.Conv3d(8, 4, 1), nn.Upsample(scale_factor=2, mode="nearest-exact")))


class HalfInside(nn.Module):
    """Float in, float out, half precision inside, as converters with keep_io_types make it."""

    def __init__(self) -> None:
        super().__init__()
        self.network = seeded(Net).half()

    def forward(self, x: Tensor) -> Tensor:
        return self.network(x.half()).float()


@torch.no_grad()
def seeded(build: Callable[[], nn.Module], seed: int = 3) -> Any:
    """A network of ours whose two labels are about as frequent on noise."""
    with torch.random.fork_rng(devices=()):
        torch.manual_seed(seed)
        network: Any = build().eval()
        output = network(torch.randn(1, 1, SIDE, SIDE, SIDE))
    network.last.bias[1] += (output[:, 0] - output[:, 1]).median()
    return network


@dataclass(frozen=True)
class Desk:
    """A folder with a head, a specification, and what a network is given of the head."""

    folder: Path
    scaled: Tensor


@pytest.fixture
def desk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Desk:
    monkeypatch.chdir(tmp_path)
    noise = np.random.default_rng(0).normal(size=(SIDE,) * 3)
    slow = np.add.outer(np.add.outer(np.arange(SIDE), 2.0 * np.arange(SIDE)), -np.arange(SIDE))
    head = (100 + 5 * slow + 60 * noise).astype(np.float32)
    nibabel.save(nibabel.Nifti1Image(head, np.diag([4.0, 4.0, 4.0, 1.0])), tmp_path / "head.nii.gz")
    (tmp_path / "spec.json").write_bytes(canonical_json(ONE_WINDOW))
    scaled = (head - head.mean(dtype=float)) / head.std(dtype=float)
    return Desk(tmp_path, torch.from_numpy(scaled.astype(np.float32))[None, None])


EXECUTION = SlidingWindow(shape=(SIDE,) * 3, overlap=0.25)
ONE_WINDOW = msgspec.structs.replace(
    SPEC,
    stages=(
        msgspec.structs.replace(
            SPEC.stages[0],
            before=(Orient(axes="RAS"), ZScore()),
            network=msgspec.structs.replace(SPEC.stages[0].network, execution=EXECUTION),
            after=(Argmax(), Restore(interpolation=Interpolation.NEAREST)),
        ),
    ),
    plausible=Plausible(),
)


def mask_of(source: object, *options: object) -> np.ndarray[Any, Any]:
    """Convert and run as a user does."""
    succeed("convert", source, "--parity-data", "head.nii.gz", "-o", "package", *options)
    succeed("run", "package", "head.nii.gz", "-o", "mask.nii.gz")
    return np.asarray(nibabel.load("mask.nii.gz").dataobj)


def by_pytorch(network: nn.Module, desk: Desk) -> np.ndarray[Any, Any]:
    with torch.no_grad():
        return largest(network(desk.scaled).numpy())


def largest(output: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    return output.argmax(1)[0]


def check(got: np.ndarray[Any, Any], wanted: np.ndarray[Any, Any]) -> None:
    """Both are masks, and only ties of rounding may differ."""
    assert 0.02 < (wanted > 0).mean() < 0.98
    assert (got != wanted).sum() <= 2


MODULE = ("--spec", "spec.json", "--trust")


@pytest.mark.parametrize(
    "build", [GuardsEmptyPatches, *(pytest.param(each, marks=pytest.mark.full) for each in (Spectral, NearestExact))]
)
def test_of_a_module(build: Callable[[], nn.Module], desk: Desk):
    network = seeded(build)
    torch.save(network.state_dict(), "weights.pt")
    check(mask_of(f"{SELF}:{build.__name__}", "--weights", "weights.pt", *MODULE), by_pytorch(network, desk))


def prefixed(prefix: str, state: dict[str, Any]) -> dict[str, Any]:
    return {f"{prefix}{name}": tensor for name, tensor in state.items()}


def checkpoint(kind: str, network: nn.Module) -> Any:
    state, later = network.state_dict(), seeded(Net, 8).state_dict()
    optimiser = torch.optim.Adam(network.parameters())
    network(torch.ones(1, 1, 4, 4, 4)).sum().backward()
    optimiser.step()
    state = network.state_dict()
    return {
        "model and optimizer": {"model": state, "optimizer": optimiser.state_dict(), "epoch": 3},
        "Lightning with a weighted loss": {"state_dict": prefixed("net.", state) | {"loss.weight": torch.ones(2)}},
        "averaged weights beside": {"state_dict": prefixed("net.", state) | prefixed("ema.", later)},
        "AveragedModel": torch.optim.swa_utils.AveragedModel(network).state_dict(),
    }[kind]


@pytest.mark.parametrize(
    "kind",
    ["model and optimizer", "Lightning with a weighted loss", pytest.param("AveragedModel", marks=pytest.mark.full)],
)
def test_of_a_checkpoint_of_a_training_program(kind: str, desk: Desk):
    network = seeded(Net)
    torch.save(checkpoint(kind, network), "last.ckpt")
    check(mask_of(f"{SELF}:Net", "--weights", "last.ckpt", *MODULE), by_pytorch(network, desk))


def test_of_one_of_two_sets_of_weights_once_it_is_chosen(desk: Desk):
    """The raw weights and their average both fit: neither is taken without a word, and the sentence names both."""
    network = seeded(Net)
    torch.save(checkpoint("averaged weights beside", network), "last.ckpt")
    command = ("convert", f"{SELF}:Net", "--parity-data", "head.nii.gz", "-o", "package", *MODULE)
    said = refused(3, *command, "--weights", "last.ckpt")
    assert "got 2 different ones (state_dict.net, state_dict.ema); choose one with --weights FILE#KEY" in said
    chosen = mask_of(f"{SELF}:Net", "--weights", "last.ckpt#state_dict.ema", *MODULE)
    check(chosen, by_pytorch(seeded(Net, 8), desk))
    assert (chosen != by_pytorch(network, desk)).sum() > 100


def by_onnxruntime(path: str, desk: Desk) -> np.ndarray[Any, Any]:
    import onnxruntime

    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    return largest(session.run(None, {session.get_inputs()[0].name: desk.scaled.numpy()})[0])


def test_of_onnx_in_half_precision(desk: Desk):
    """Onnxruntime rounds on the way, and the package does not: a voxel in two hundred may differ, and no more."""
    example = (torch.randn(1, 1, SIDE, SIDE, SIDE),)
    torch.onnx.export(HalfInside().eval(), example, "half.onnx", dynamo=False, opset_version=17)
    got = mask_of("half.onnx", "--spec", "spec.json")
    check(got, by_pytorch(seeded(Net).half().float(), desk))
    assert (got != by_onnxruntime("half.onnx", desk)).mean() < 0.005


def test_of_onnx_with_its_weights_beside_it(desk: Desk):
    import onnx

    network = seeded(Net)
    torch.onnx.export(network, (torch.randn(1, 1, SIDE, SIDE, SIDE),), "whole.onnx", dynamo=False, opset_version=18)
    onnx.save(onnx.load("whole.onnx"), "net.onnx", save_as_external_data=True, location="net.onnx.data",
              size_threshold=0)  # fmt: skip
    assert (desk.folder / "net.onnx.data").stat().st_size > 1000
    got = mask_of("net.onnx", "--spec", "spec.json")
    check(got, by_onnxruntime("net.onnx", desk))
    check(got, by_pytorch(network, desk))


def test_of_the_default_export_of_pytorch(desk: Desk):
    pytest.importorskip("onnxscript", reason="torch.onnx.export needs it: pip install onnxscript")
    network = seeded(Net)
    torch.onnx.export(network, (torch.randn(1, 1, SIDE, SIDE, SIDE),), "net.onnx")
    assert (desk.folder / "net.onnx.data").is_file()
    got = mask_of("net.onnx", "--spec", "spec.json")
    check(got, by_onnxruntime("net.onnx", desk))
    check(got, by_pytorch(network, desk))


# MONAI bundles

SIDES = (32, 40, 24)
AFFINE = np.diag([-2.0, 2.0, 2.5, 1.0])


def unet_of_monai(**changes: Any) -> nn.Module:
    from monai.networks.nets import UNet

    arguments = {key: value for key, value in (NETWORK | changes).items() if key != "_target_"}
    with torch.random.fork_rng(devices=()):
        torch.manual_seed(2)
        return UNet(**(arguments | {"out_channels": 3})).eval()


def check_by_monai(bundle: Path, *options: object) -> None:
    """The mask of the package is that of MONAI's own parser, transforms and inferer."""
    write_case(bundle.parent / "head.nii.gz", SIDES, AFFINE)
    got = mask_of(bundle, *options)
    if not (bundle / "models/model.pt").exists():  # a program alone, which is no state dict
        torch.save(torch.jit.load(bundle / "models/model.ts").state_dict(), bundle / "models/model.pt")
    (wanted,) = mask_of_monai(bundle, bundle.parent / "head.nii.gz")
    assert len(np.unique(wanted)) > 1
    assert least_dice(wanted.astype(np.uint8), got) >= 0.999


@pytest.mark.full  # five seconds; sources/test_monai_bundle reads such a bundle
def test_of_a_bundle_with_a_scripted_program_alone(desk: Desk):
    from monai.networks.utils import convert_to_torchscript

    pytest.importorskip("monai", reason="the extra `monai` brings it")
    bundle = write_bundle(desk.folder / "bundle", None)
    torch.jit.save(convert_to_torchscript(unet_of_monai()), bundle / "models/model.ts")
    check_by_monai(bundle, "--trust")


def test_of_a_bundle_made_from_the_template_of_monai(desk: Desk):
    """Its references, names and options, as `segmentation_template` of the model zoo has them."""
    pytest.importorskip("monai", reason="the extra `monai` brings it")
    network = {"channels": [8, 16, 32, 64], "strides": [2, 2, 2], "num_res_units": 2}
    load = {"_target_": "LoadImaged", "keys": "@image", "image_only": True}
    save = {"_target_": "SaveImaged", "keys": "@pred", "meta_keys": "pred_meta_dict", "output_dir": "@output_dir",
            "dtype": "$None", "output_dtype": "$None", "resample": False}  # fmt: skip
    config = {
        "image": "$monai.utils.CommonKeys.IMAGE",
        "pred": "$monai.utils.CommonKeys.PRED",
        "network_def": NETWORK | network,
        "transforms": [load, {"_target_": "EnsureChannelFirstd", "keys": "@image"},
                       {"_target_": "ScaleIntensityd", "keys": "@image"}],
        "preprocessing": {"_target_": "Compose", "transforms": "$@transforms"},
        "inferer": {"_target_": "SimpleInferer"},
        "postprocessing": transforms({"_target_": "Activationsd", "keys": "@pred", "softmax": True},
                                     {"_target_": "AsDiscreted", "keys": "@pred", "argmax": True}, save),
    }  # fmt: skip
    check_by_monai(write_bundle(desk.folder / "bundle", unet_of_monai(**network), config, suffix="yaml"))


@pytest.mark.full  # tracing the windows of a Swin transformer takes half a minute
def test_of_a_bundle_of_swin_unetr_as_it_is_published(desk: Desk):
    """It carries `img_size`, which MONAI from 1.5 on does not take; the judge's copy of the bundle goes without."""
    pytest.importorskip("monai", reason="the extra `monai` brings it")
    from monai.networks.nets import SwinUNETR

    arguments = {"spatial_dims": 3, "in_channels": 1, "out_channels": 3, "feature_size": 12, "use_checkpoint": False}
    with torch.random.fork_rng(devices=()):
        torch.manual_seed(0)
        network = SwinUNETR(**arguments).eval()
    swin = {"_target_": "SwinUNETR", **arguments}
    config = {"inferer": WINDOWS | {"roi_size": [64, 32, 32], "overlap": 0.25}}
    published = write_bundle(desk.folder / "swin", network, config | {"network_def": swin | {"img_size": [64, 32, 32]}})
    judged = write_bundle(desk.folder / "judged", network, config | {"network_def": swin})
    write_case(desk.folder / "head.nii.gz", SIDES, AFFINE)
    (wanted,) = mask_of_monai(judged, desk.folder / "head.nii.gz")
    assert len(np.unique(wanted)) > 1
    assert least_dice(wanted.astype(np.uint8), mask_of(published)) >= 0.999


# results folders of nnU-Net; nnU-Net itself judges in tests/sources/test_nnunet_folder.py


@pytest.mark.full  # six seconds; tests/sources converts such folders
def test_of_an_nnunet_folder_with_one_unfinished_fold_that_is_not_the_first(desk: Desk):
    """The weights are those of the best checkpoint of fold 1, whatever other fold there could have been."""
    plan = {"patch_size": [48, 48, 48], "spacing": [4.0, 4.0, 4.0]}
    folder = make_folder(desk.folder, configuration=plan)
    (folder / "fold_0/checkpoint_final.pth").unlink()
    best = (folder / "fold_1/checkpoint_final.pth").rename(folder / "fold_1/checkpoint_best.pth")
    heads = [f"{name}={save_phantom(desk.folder / f'{name}.nii.gz', seed=n)}" for n, name in enumerate(("T1", "FLAIR"))]
    parity = [option for head in heads for option in ("--parity-data", head)]
    done = succeed("convert", folder, *parity, "-o", "package")
    assert "No fold has checkpoint_final.pth" in done.err
    succeed("run", "package", *heads, "-o", "mask.nii.gz")
    network = NnunetUNet(PLAN, 2, 3)
    state = torch.load(best, weights_only=False)["network_weights"]
    network.load_state_dict({name: state[name] for name in network.state_dict()})
    study = Study({head.partition("=")[0]: read_volume(head.partition("=")[2]) for head in heads}, "T1")
    manifest = open_package("package").manifest
    assert [record.sha256 for record in manifest.weights] == [sha256_of(best)]
    wanted = Segmenter(manifest.spec, {"fold_1": TorchSession(network.eval())})(study).mask.labels
    assert len(np.unique(wanted)) > 1
    assert (np.asarray(nibabel.load("mask.nii.gz").dataobj) != wanted).sum() <= 2
