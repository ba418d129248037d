"""What the users of the README bring: a small 3D U-Net in plain PyTorch, its description and weights, and heads."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, Final

import msgspec

from brain_edge.image.phantom import Phantom, make_volume
from brain_edge.image.volume import Mask
from brain_edge.io.nifti import write_image, write_mask

if TYPE_CHECKING:
    from pathlib import Path

HEAD: Final = Phantom(shape=(44, 52, 48), spacing_mm=4.0)
PEOPLE: Final = 3
BRIGHT: Final = 400.0
"""Intensity of a phantom above which a voxel counts as brain in its reference mask."""

MODULE: Final = '''"""A 3D U-Net of two levels in plain PyTorch, as somebody has it beside the weights."""

import torch
from torch import nn


class MyNetwork(nn.Module):
    """One sequence in, logits of background and brain out."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Sequential(nn.Conv3d(1, 8, 3, padding=1), nn.ReLU())
        self.down = nn.Sequential(nn.Conv3d(8, 16, 3, stride=2, padding=1), nn.ReLU())
        self.up = nn.ConvTranspose3d(16, 8, 2, stride=2)
        self.last = nn.Sequential(nn.Conv3d(16, 8, 3, padding=1), nn.ReLU(), nn.Conv3d(8, 2, 1))

    def forward(self, image):
        fine = self.first(image)
        return self.last(torch.cat([fine, self.up(self.down(fine))], dim=1))
'''

SPEC: Final[dict[str, Any]] = {
    "name": "mynet",
    "task": "skull-stripping",
    "inputs": [{"name": "T1", "contrasts": ["T1w"]}],
    "stages": [
        {
            "name": "brain",
            "before": [
                {"op": "orient", "axes": "RAS"},
                {"op": "fit_percentile", "name": "low", "percent": 0.5},
                {"op": "fit_percentile", "name": "high", "percent": 99.5},
                {"op": "rescale_to_unit", "lower": "low", "upper": "high"},
                {"op": "pad_to_multiple", "multiple_of": 2},
            ],
            "network": {"graphs": ["mynet"], "channels_in": 1, "channels_out": 2, "activation": "softmax"},
            "after": [{"op": "argmax"}, {"op": "restore", "interpolation": "nearest"}, {"op": "largest_component"}],
        }
    ],
    "labels": [{"value": 1, "name": "brain"}],
}


def save_engineer(folder: Path) -> None:
    """Write `mynet.py`, `mynet.json` and `mynet.pt`; the weights decide by the intensity, as a trained network might.

    The network is a U-Net with random weights whose first channel hands the image on to the last layer.
    """
    import torch

    (folder / "mynet.py").write_text(MODULE, encoding="utf-8")
    (folder / "mynet.json").write_text(json.dumps(SPEC, indent=2), encoding="utf-8")
    namespace: dict[str, Any] = {"__name__": "mynet"}
    exec(MODULE, namespace)  # noqa: S102 - the text above
    with torch.random.fork_rng(devices=()), torch.no_grad():
        torch.manual_seed(0)
        network = namespace["MyNetwork"]()
        for convolution in (network.first[0], network.last[0]):
            convolution.weight[0] *= 0.02
            convolution.weight[0, 0, 1, 1, 1] = 1.0
            convolution.bias[0] = 0.0
        network.last[2].weight *= 0.02
        network.last[2].weight[:, 0] = torch.tensor([-20.0, 20.0]).reshape(2, 1, 1, 1)
        network.last[2].bias.copy_(torch.tensor([8.0, -8.0]))
        torch.save(network.state_dict(), folder / "mynet.pt")


def save_people(folder: Path) -> None:
    """Write heads of three people with masks, one folder for each; ellipsoids, each with a contrast of its own."""
    for number in range(1, PEOPLE + 1):
        place = folder / f"p{number:02}"
        place.mkdir(parents=True)
        volume = make_volume(msgspec.structs.replace(HEAD, seed=number), 0.8 + 0.2 * number)
        write_image(volume, place / "T1.nii.gz")
        mask = Mask((volume.voxels > BRIGHT).astype("uint8"), volume.geometry)
        write_mask(mask, volume, place / "T1_brainmask.nii.gz", "a phantom")


def save_head(path: Path) -> None:
    """Write a phantom as the head to segment."""
    write_image(make_volume(HEAD), path)
