"""A model folder of GaNDLF as its trainer leaves one, made by hand of a tiny network; with objects that are programs.

GaNDLF's pins (torch 2.5, its own OpenVINO) conflict with ours, so folders are made here as `save_model` of GaNDLF 0.1.5
writes them, with objects that only the training program could load.
"""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
import yaml

from brain_edge_conversion.networks.gandlf_unet import GandlfPlan, GandlfUNet, Norm, OutputActivation

if TYPE_CHECKING:
    from collections.abc import Mapping

MODEL = {
    "architecture": "resunet",
    "dimension": 3,
    "base_filters": 4,
    "class_list": [0, 1, 2],
    "final_layer": "softmax",
    "norm_type": "instance",
    "type": "torch",
    "amp": False,
}
CONFIGURATION: Mapping[str, Any] = {
    "version": {"minimum": "0.1.5", "maximum": "0.1.5"},
    "modality": "rad",
    "problem_type": "segmentation",
    "patch_size": [16, 16, 16],
    "model": MODEL,
    "data_preprocessing": {"to_canonical": None, "clip": {"min": 0, "max": 900}, "normalize_nonZero": None},
    "data_postprocessing": {},
    "inference_mechanism": {"grid_aggregator_overlap": "crop", "patch_overlap": 0},
    "loss_function": "dc",
}


class Table:
    """A class that whoever converts does not have: a table of the data set, with the names of patients."""

    def __init__(self) -> None:
        self.paths = np.array(["patient_1.nii.gz"], dtype=object)


def touch(path: str) -> None:
    """What a pickle could run."""
    Path(path).touch()


class Command:
    """What would make a file if it were unpickled as pickles are."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> Any:
        return touch, (str(self.path),)


def plan_of(model: Mapping[str, Any], channels_in: int) -> GandlfPlan:
    return GandlfPlan(
        residual=model["architecture"] == "resunet",
        norm=Norm(model["norm_type"]),
        width=model["base_filters"],
        channels_in=channels_in,
        channels_out=len(model["class_list"]),
        final=OutputActivation(model["final_layer"]),
    )


def make_folder(root: Path, *, channels_in: int = 1, kept: bool = True, beside: object = None, **changes: Any) -> Path:
    """A model folder. `kept`: the parameters are in the checkpoint; otherwise in config.yaml."""
    folder = root / "experiment_0"
    folder.mkdir(parents=True)
    configuration = {**CONFIGURATION, **changes}
    torch.manual_seed(0)
    network = GandlfUNet(plan_of(MODEL, channels_in))
    for name, buffer in network.named_buffers():
        if "running" in name:  # as after training: not those of the image that is seen
            buffer.copy_(torch.rand_like(buffer) / 2 + (0.5 if name.endswith("var") else -0.25))
    assert network.out.conv0.bias is not None
    with torch.no_grad():  # both sides of one half, and far from it
        network.out.conv0.bias.zero_()
        network.out.conv0.weight.mul_(20)
    content = {
        "epoch": 3,
        "model_state_dict": network.state_dict(),
        "optimizer_state_dict": {"state": {}, "param_groups": [{"lr": 0.001}]},
        "loss": np.float64(0.25),
        "timestamp": "20260101_000000",
        "version": "0.1.5",
    }
    if kept:
        content["parameters"] = {**configuration, "training_data": Table(), "device": "cpu", "more": beside}
    else:
        (folder / "config.yaml").write_text(yaml.safe_dump(configuration, sort_keys=False))
    torch.save(content, folder / f"{MODEL['architecture']}_best.pth.tar")
    (folder / "parameters.pkl").write_bytes(pickle.dumps(Command(folder / "parameters.pkl was opened")))
    return folder
