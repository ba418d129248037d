"""A results folder of nnU-Net v2 as its trainer leaves one, made by hand of a tiny network."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from brain_edge_conversion.networks.nnunet_unet import NnunetUNet, UNetPlan

if TYPE_CHECKING:
    from pathlib import Path

RESAMPLING = {"is_seg": False, "order": 3, "order_z": 0, "force_separate_z": None}
ARCHITECTURE: dict[str, Any] = {
    "network_class_name": "dynamic_network_architectures.architectures.unet.PlainConvUNet",
    "arch_kwargs": {
        "n_stages": 2,
        "features_per_stage": [4, 8],
        "conv_op": "torch.nn.modules.conv.Conv3d",
        "kernel_sizes": [[3, 3, 3], [3, 3, 3]],
        "strides": [[1, 1, 1], [2, 2, 2]],
        "n_conv_per_stage": [1, 1],
        "n_conv_per_stage_decoder": [1],
        "conv_bias": True,
        "norm_op": "torch.nn.modules.instancenorm.InstanceNorm3d",
        "norm_op_kwargs": {"eps": 1e-05, "affine": True},
        "dropout_op": None,
        "dropout_op_kwargs": None,
        "nonlin": "torch.nn.LeakyReLU",
        "nonlin_kwargs": {"inplace": True},
    },
    "_kw_requires_import": ["conv_op", "norm_op", "dropout_op", "nonlin"],
}
CONFIGURATION = {
    "preprocessor_name": "DefaultPreprocessor",
    "patch_size": [16, 16, 16],
    "spacing": [1.5, 1.0, 1.0],
    "normalization_schemes": ["ZScoreNormalization", "NoNormalization"],
    "use_mask_for_norm": [True, False],
    "resampling_fn_data": "resample_data_or_seg_to_shape",
    "resampling_fn_data_kwargs": RESAMPLING,
    "resampling_fn_probabilities": "resample_data_or_seg_to_shape",
    "resampling_fn_probabilities_kwargs": RESAMPLING | {"order": 1},
    "architecture": ARCHITECTURE,
}
PLAN = UNetPlan(
    residual=False,
    features=(4, 8),
    kernels=((3, 3, 3),) * 2,
    strides=((1, 1, 1), (2, 2, 2)),
    encoder_blocks=(1, 1),
    decoder_convs=(1,),
)


def make_folder(
    root: Path,
    *,
    configuration: dict[str, Any] | None = None,
    plans: dict[str, Any] | None = None,
    dataset: dict[str, Any] | None = None,
    folds: int = 2,
) -> Path:
    """A results folder by hand, with second names of tensors and logged numbers, as nnU-Net's trainer saves them."""
    folder = root / "Dataset007_Tiny" / "nnUNetTrainer__nnUNetPlans__3d_fullres"
    folder.mkdir(parents=True)
    written = {
        "configurations": {"base": CONFIGURATION, "3d_fullres": {"inherits_from": "base"} | (configuration or {})},
        "transpose_forward": [0, 1, 2],
        "image_reader_writer": "SimpleITKIO",
    }
    (folder / "plans.json").write_text(json.dumps(written | (plans or {})))
    meaning = {
        "channel_names": {"0": "T1", "1": "FLAIR"},
        "labels": {"background": 0, "oedema": 1, "core": 2},
        "file_ending": ".nii.gz",
    }
    (folder / "dataset.json").write_text(json.dumps(meaning | (dataset or {})))
    for fold in range(folds):
        torch.manual_seed(fold)
        state = NnunetUNet(PLAN, 2, 3).state_dict()
        again = {f"decoder.{name}": tensor for name, tensor in state.items() if name.startswith("encoder.")}
        third = {
            name.replace(".conv.", ".all_modules.0."): tensor for name, tensor in state.items() if ".conv." in name
        }
        content = {
            "network_weights": state | again | third,
            "optimizer_state": {},
            "logging": {"mean_fg_dice": [np.float64(0.5), np.float32(0.25)]},
            "init_args": {"configuration": "3d_fullres", "fold": fold, "device": torch.device("cpu")},
            "trainer_name": "nnUNetTrainerMine",
            "inference_allowed_mirroring_axes": (0, 2),
        }
        (folder / f"fold_{fold}").mkdir()
        torch.save(content, folder / f"fold_{fold}" / "checkpoint_final.pth")
    return folder
