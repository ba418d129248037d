"""Run by an interpreter that has nnU-Net v2: makes a results folder with it, and predicts with it.

    python nnunet_peer.py train ROOT {labels|regions} {plain|residual}    prints the results folder
    python nnunet_peer.py predict FOLDER OUT.nii.gz CASE_0000.nii.gz ...  prints seconds and the peak memory in bytes
    python nnunet_peer.py predict-in-single ...                           the same with its windows summed in float32

The folder is nnU-Net's own: its fingerprint, plans, network, trainer and checkpoints; only the images are made up.
"""

import json
import os
import sys
import time
from pathlib import Path

import nibabel
import numpy as np

CASES = 6
SIDES = (44, 52, 40)
SPACING_MM = (1.1, 0.9, 1.5)


def make_case(seed: int) -> tuple[list[np.ndarray], np.ndarray]:
    """Two sequences of a skull-stripped ball, not alike along any axis, with a lesion in it and a core in that."""
    rng = np.random.default_rng(seed)
    i, j, k = np.meshgrid(*(np.linspace(-1, 1, side) for side in SIDES), indexing="ij")
    brain = (i / 0.8) ** 2 + (j / 0.9) ** 2 + (k / 0.75) ** 2 < 1
    centre = rng.uniform(-0.3, 0.3, 3)
    away = np.sqrt((i - centre[0]) ** 2 + (j - centre[1]) ** 2 + (k - centre[2]) ** 2)
    labels = np.where(away < 0.18, 2, np.where(away < 0.38, 1, 0)) * brain
    first = 200 + 60 * i + 40 * np.sin(5 * j) + 90 * (labels == 1) + rng.normal(0, 12, SIDES)
    second = 90 + 30 * k + 15 * np.cos(4 * i) + 70 * (labels == 2) + rng.normal(0, 9, SIDES)
    return [(image * brain).astype(np.float32) for image in (first, second)], labels.astype(np.uint8)


def save(path: Path, voxels: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    image = nibabel.Nifti1Image(voxels, np.diag([*SPACING_MM, 1.0]))
    image.header.set_xyzt_units("mm")
    nibabel.save(image, path)


def write_dataset(raw: Path, kind: str) -> None:
    for number in range(CASES):
        images, labels = make_case(number)
        for channel, voxels in enumerate(images):
            save(raw / "imagesTr" / f"case_{number}_{channel:04d}.nii.gz", voxels)
        save(raw / "labelsTr" / f"case_{number}.nii.gz", labels)
    meaning = {"background": 0, "whole lesion": [1, 2], "core": 2}
    dataset: dict[str, object] = {
        "channel_names": {"0": "T1 contrast", "1": "FLAIR"},
        "labels": meaning if kind == "regions" else {"background": 0, "oedema": 1, "core": 2},
        "numTraining": CASES,
        "file_ending": ".nii.gz",
    }
    if kind == "regions":
        dataset["regions_class_order"] = [1, 2]
    (raw / "dataset.json").write_text(json.dumps(dataset))


def train(root: Path, kind: str, network: str) -> Path:
    for name in ("raw", "preprocessed", "results"):
        (root / name).mkdir(parents=True)
        os.environ[f"nnUNet_{name}"] = str(root / name)
    os.environ |= {"nnUNet_n_proc_DA": "1", "nnUNet_compile": "f", "nnUNet_def_n_proc": "1"}
    import torch
    from nnunetv2.experiment_planning.plan_and_preprocess_api import extract_fingerprints, plan_experiments, preprocess
    from nnunetv2.training.nnUNetTrainer.nnUNetTrainer import nnUNetTrainer

    write_dataset(root / "raw" / "Dataset001_Balls", kind)
    extract_fingerprints([1], num_processes=1, check_dataset_integrity=True, verbose=False)
    planner = "nnUNetPlannerResEncM" if network == "residual" else "ExperimentPlanner"
    plans_name = plan_experiments([1], planner, gpu_memory_target_in_gb=None)
    prepared = root / "preprocessed" / "Dataset001_Balls"
    plans_file = prepared / f"{plans_name or 'nnUNetPlans'}.json"
    plans = json.loads(plans_file.read_text())
    # as planned, but for its size: sixteen times fewer channels, and a patch that does not hold a whole image
    configuration = plans["configurations"]["3d_fullres"]
    configuration["patch_size"] = [32, 32, 32]
    configuration["batch_size"] = 2
    arguments = configuration["architecture"]["arch_kwargs"]
    stages = 4
    for key in ("kernel_sizes", "strides", "n_conv_per_stage", "n_blocks_per_stage", "features_per_stage"):
        if key in arguments:
            arguments[key] = arguments[key][:stages]
    arguments["n_conv_per_stage_decoder"] = arguments["n_conv_per_stage_decoder"][: stages - 1]
    arguments["n_stages"] = stages
    arguments["features_per_stage"] = [max(4, features // 4) for features in arguments["features_per_stage"]]
    if "n_blocks_per_stage" in arguments:
        arguments["n_blocks_per_stage"] = [1, 2, 2, 2]
    plans_file.write_text(json.dumps(plans))
    preprocess([1], plans_file.stem, ["3d_fullres"], [1], False)
    dataset = json.loads((prepared / "dataset.json").read_text())
    os.environ |= {"nnUNet_n_proc_DA": "0"}  # no processes that load data; planning cannot do without one
    for fold in (0, 1):
        torch.manual_seed(fold)
        given = json.loads(plans_file.read_text()) | {"continue_training": False}
        trainer = nnUNetTrainer(given, "3d_fullres", fold, dataset, torch.device("cpu"))
        trainer.num_epochs, trainer.num_iterations_per_epoch, trainer.num_val_iterations_per_epoch = 4, 25, 1
        trainer.perform_actual_validation = lambda *_, **__: None
        trainer.run_training()
    return Path(trainer.output_folder_base)


def predict(folder: Path, target: Path, images: list[str], *, single: bool) -> dict[str, float]:
    import resource

    import torch

    if single:
        # nnU-Net sums its windows in half precision: a voxel whose labels are at a tie to three digits falls either way
        torch.half = torch.float16 = torch.float32
    from nnunetv2.inference.predict_from_raw_data import nnUNetPredictor

    torch.set_num_threads(int(os.environ.get("THREADS", "2")))
    predictor = nnUNetPredictor(use_mirroring=False, device=torch.device("cpu"), allow_tqdm=False)
    final = "checkpoint_final.pth"
    checkpoint = final if any(folder.glob(f"fold_*/{final}")) else "checkpoint_best.pth"
    predictor.initialize_from_trained_model_folder(str(folder), None, checkpoint)
    start = time.perf_counter()
    predictor.predict_from_files_sequential([images], [str(target).removesuffix(".nii.gz")])
    seconds = time.perf_counter() - start
    return {"seconds": seconds, "peak_rss_bytes": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024}


if __name__ == "__main__":
    command, *given = sys.argv[1:]
    if command == "train":
        sys.stdout.write(f"RESULT {train(Path(given[0]), given[1], given[2])}\n")
    else:
        predicted = predict(Path(given[0]), Path(given[1]), given[2:], single=command == "predict-in-single")
        sys.stdout.write(f"RESULT {json.dumps(predicted)}\n")
