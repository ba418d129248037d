"""The how-to of registration: sequences that are refused before it lie over each other after it, and are taken."""

from __future__ import annotations

import re
import runpy
import sys

import numpy as np
import pytest
from cli_program import make_pair_package, refused
from doc_pages import HOW_TO, run_page
from strategies import rotation
from tiny_package import PHANTOM

from brain_edge.image.geometry import Geometry
from brain_edge.image.phantom import make_study
from brain_edge.image.volume import Volume
from brain_edge.io.nifti import read_volume, write_image

pytest.importorskip("SimpleITK", reason="the how-to registers with it")

PAGE = "register-sequences.md"
SCRIPT = re.search(r"```python\n(.*?)```", (HOW_TO / PAGE).read_text(encoding="utf-8"), re.DOTALL)
COMMAND = re.search(r"^python register.py (.*)$", (HOW_TO / PAGE).read_text(encoding="utf-8"), re.MULTILINE)


def test_the_page_brings_two_sequences_together(tmp_path, monkeypatch):
    """One of them turned by six degrees, and so far away that it is refused."""
    monkeypatch.chdir(tmp_path)
    volumes = make_study(PHANTOM, ["T1", "T2"]).volumes
    away = np.eye(4)
    away[:3, :3], away[:3, 3] = rotation((1, 2, 3), np.deg2rad(6)), (110, 4, -7)
    moved = Volume(volumes["T2"].voxels, Geometry(PHANTOM.shape, away @ volumes["T2"].geometry.affine), "T2")
    write_image(volumes["T1"], tmp_path / "head_T1.nii.gz")
    write_image(moved, tmp_path / "head_T2.nii.gz")
    make_pair_package(tmp_path / "tiny-pair")
    words = refused(3, "run", "tiny-pair", "T1=head_T1.nii.gz", "T2=head_T2.nii.gz", "-o", "mask.nii.gz")
    assert re.search(
        r"T2\S* covers \d+% of the field of view of .*register the images first \(docs/how-to/" + PAGE, words
    )

    assert SCRIPT is not None
    assert COMMAND is not None
    (tmp_path / "register.py").write_text(SCRIPT[1])
    monkeypatch.setattr(sys, "argv", ["register.py", *COMMAND[1].split()])
    runpy.run_path("register.py", run_name="__main__")
    registered = read_volume(tmp_path / "registered_T2.nii.gz")
    assert registered.geometry.same_grid(volumes["T2"].geometry)
    assert np.corrcoef(registered.voxels.ravel(), volumes["T2"].voxels.ravel())[0, 1] > 0.97

    run_page(PAGE)
    assert (tmp_path / "mask.nii.gz").is_file()
