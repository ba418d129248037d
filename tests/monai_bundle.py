"""A MONAI bundle on disk, and the mask that MONAI itself makes with it: its parser, its transforms, its inferer.

python monai_bundle.py make FOLDER                          writes a bundle with a network of the usual size
python monai_bundle.py predict FOLDER OUT.nii.gz IMAGE      prints seconds and the peak memory in bytes
"""

from __future__ import annotations

import json
import os
import resource
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import nibabel
import numpy as np
import torch
from torch import nn

if TYPE_CHECKING:
    from collections.abc import Callable

ROI = [24, 24, 24]
NETWORK = {
    "_target_": "UNet",
    "spatial_dims": 3,
    "in_channels": 1,
    "out_channels": "@classes",
    "channels": [8, 16],
    "strides": [2],
    "num_res_units": 1,
}
LOAD = {"_target_": "LoadImaged", "keys": "@image", "image_only": True}
CHANNEL_FIRST = {"_target_": "EnsureChannelFirstd", "keys": "@image"}
ORIENT = {"_target_": "Orientationd", "keys": "@image", "axcodes": "RAS"}
SPACE = {"_target_": "Spacingd", "keys": "@image", "pixdim": [1.6, 1.6, 2.1], "mode": "bilinear"}
NORMALISE = {"_target_": "NormalizeIntensityd", "keys": "@image", "nonzero": True, "channel_wise": True}
SOFTMAX = {"_target_": "Activationsd", "keys": "pred", "softmax": True}
ARGMAX = {"_target_": "AsDiscreted", "keys": "pred", "argmax": True}
BACK = {
    "_target_": "Invertd",
    "keys": "pred",
    "transform": "@preprocessing",
    "orig_keys": "@image",
    "nearest_interp": False,
    "to_tensor": True,
}
SAVE = {"_target_": "SaveImaged", "keys": "pred", "output_dir": "@output_dir"}
WINDOWS = {"_target_": "SlidingWindowInferer", "roi_size": ROI, "sw_batch_size": 2, "overlap": 0.4, "mode": "gaussian"}

USUAL: dict[str, Any] = {
    "imports": ["$import glob"],
    "bundle_root": ".",
    "image": "image",
    "classes": 3,
    "output_dir": "$@bundle_root + '/eval'",
    "device": "$torch.device('cuda:0' if torch.cuda.is_available() else 'cpu')",
    "network_def": NETWORK,
    "network": "$@network_def.to(@device)",
    "preprocessing": {"_target_": "Compose", "transforms": [LOAD, CHANNEL_FIRST, ORIENT, SPACE, NORMALISE]},
    "dataset": {"_target_": "Dataset", "data": "$[{'image': i} for i in []]", "transform": "@preprocessing"},
    "inferer": WINDOWS,
    "postprocessing": {"_target_": "Compose", "transforms": [SOFTMAX, BACK, ARGMAX, SAVE]},
    "run": ["$@evaluator.run()"],
}
"""What is usual in a bundle, Python in the parts that a conversion does not read included."""


def metadata(channels: int = 1, classes: int = 3, names: dict[str, str] | None = None) -> dict[str, Any]:
    labels = names or {"0": "background", "1": "oedema", "2": "core"}
    image = {"type": "image", "modality": "MR", "num_channels": channels, "spatial_shape": ROI}
    result = {"type": "image", "format": "segmentation", "num_channels": classes, "channel_def": labels}
    return {
        "version": "0.1.0",
        "monai_version": "1.6.1",
        "name": "Balls in noise",
        "description": "Finds a ball in a ball.",
        "intended_use": "Tests.",
        "network_data_format": {"inputs": {"image": image}, "outputs": {"pred": result}},
    }


def transforms(*made: dict[str, Any]) -> dict[str, Any]:
    return {"_target_": "Compose", "transforms": list(made)}


def fitted(network: nn.Module, channels: int = 1, steps: int = 60, side: int = 24) -> nn.Module:
    """Fitted for so long that the labels of a voxel are no tie: two balls in noise."""
    torch.manual_seed(0)
    weights = torch.tensor([1.0, 2.0, 6.0])
    optimiser = torch.optim.Adam(network.parameters(), lr=1e-2)
    for step in range(steps):
        image, labels = make_case(step, (side, side, side), channels)
        scaled = torch.from_numpy((image - image.mean()) / image.std())
        loss = nn.functional.cross_entropy(network(scaled[None]), torch.from_numpy(labels[None]).long(), weights)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    return network.eval()


def make_case(seed: int, sides: tuple[int, int, int], channels: int = 1) -> tuple[np.ndarray, np.ndarray]:
    """(C, I, J, K) intensities and (I, J, K) labels 0 to 2, not alike along any axis."""
    rng = np.random.default_rng(seed)
    i, j, k = np.meshgrid(*(np.linspace(-1, 1, side) for side in sides), indexing="ij")
    middle = rng.uniform(-0.3, 0.3, 3)
    away = np.sqrt((i - middle[0]) ** 2 + (j - middle[1]) ** 2 + 1.4 * (k - middle[2]) ** 2)
    labels = np.where(away < 0.25, 2, np.where(away < 0.6, 1, 0)).astype(np.uint8)
    clean = 40 + 15 * i + 10 * j * k + 60 * (labels == 1) + 130 * (labels == 2)
    return np.stack([clean + rng.normal(0, 6, sides) for _ in range(channels)]).astype(np.float32), labels


def write_case(path: Path, sides: tuple[int, int, int], affine: np.ndarray, seed: int = 99) -> Path:
    nibabel.save(nibabel.Nifti1Image(make_case(seed, sides)[0][0], affine), path)
    return path


def write_bundle(
    folder: Path,
    network: nn.Module | None,
    config: dict[str, Any] | None = None,
    described: dict[str, Any] | None = None,
    suffix: str = "json",
) -> Path:
    (folder / "configs").mkdir(parents=True)
    (folder / "models").mkdir()
    content = USUAL | (config or {})
    if suffix == "json":
        text = json.dumps(content)
    else:
        import yaml

        text = yaml.safe_dump(content)
    (folder / f"configs/inference.{suffix}").write_text(text)
    (folder / "configs/metadata.json").write_text(json.dumps(described or metadata()))
    if network is not None:
        torch.save(network.state_dict(), folder / "models/model.pt")
    return folder


def mask_of_monai(folder: Path, image: Path) -> np.ndarray:
    """(C, I, J, K) of what MONAI would save: its parser builds all parts from the configuration."""
    predict = predictor_of_monai(folder)
    return predict(image)


def predictor_of_monai(folder: Path) -> Callable[[Path], np.ndarray]:
    """The same for any image, with everything loaded."""
    from monai.bundle import ConfigParser

    parser = ConfigParser()
    (config,) = folder.glob("configs/inference.*")
    parser.read_config(config)
    parser["postprocessing"]["transforms"] = [
        each for each in parser["postprocessing"]["transforms"] if each["_target_"] != "SaveImaged"
    ]
    network = parser.get_parsed_content("network_def").eval()
    network.load_state_dict(torch.load(folder / "models/model.pt", weights_only=True))
    before, inferer, after = map(parser.get_parsed_content, ("preprocessing", "inferer", "postprocessing"))

    def predict(image: Path) -> np.ndarray:
        data = before({"image": str(image)})
        with torch.inference_mode():
            data["pred"] = inferer(inputs=data["image"][None], network=network)[0]
        return np.asarray(after(data)["pred"])

    return predict


def make_usual(folder: Path) -> None:
    """The size of `spleen_ct_segmentation`, whose windows are these; fitted for a few steps."""
    from monai.networks.nets import UNet

    described = NETWORK | {"channels": [16, 32, 64, 128, 256], "strides": [2, 2, 2, 2], "num_res_units": 2}
    windows = WINDOWS | {"roi_size": [96, 96, 96], "overlap": 0.5}
    arguments = {key: value for key, value in described.items() if key not in ("_target_", "out_channels")}
    torch.manual_seed(0)
    network = fitted(UNet(**arguments, out_channels=3, norm="batch"), side=32)
    write_bundle(folder, network, {"network_def": described | {"norm": "batch"}, "inferer": windows})


def measured(folder: Path, target: Path, image: Path) -> dict[str, float]:
    """Seconds of one case, start-up left out, and the peak memory of this process."""
    torch.set_num_threads(int(os.environ.get("THREADS", "2")))
    predict = predictor_of_monai(folder)
    start = time.perf_counter()
    (labels,) = predict(image)
    nibabel.save(nibabel.Nifti1Image(labels.astype(np.uint8), nibabel.load(image).affine), target)
    seconds = time.perf_counter() - start
    return {"seconds": seconds, "peak_rss_bytes": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024}


if __name__ == "__main__":
    command, *given = map(Path, sys.argv[1:])
    if command.name == "make":
        make_usual(*given)
    else:
        sys.stdout.write(f"RESULT {json.dumps(measured(*given))}\n")
