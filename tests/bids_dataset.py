"""Raw BIDS datasets for tests, of phantoms or of real heads, and the judge of datasets: the official validator."""

from __future__ import annotations

import hashlib
import json
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from cli_program import save_phantom

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

SUFFIXES = {"T1W": "T1w", "T2W": "T2w", "FLAIR": "FLAIR"}

README = """# Heads of a test

Phantoms, or heads with multiple sclerosis published by Lesjak et al. (CC-BY), laid out as a raw BIDS dataset by a test
of brain_edge. Each subject has one or two sessions, which are the visits, and not every session has every sequence.
"""


def describe_dataset(folder: Path, **changes: object) -> Path:
    """The files at the root of a raw dataset."""
    folder.mkdir(parents=True, exist_ok=True)
    description = {"Name": "Heads", "BIDSVersion": "1.11.1", "DatasetType": "raw", "License": "CC-BY-4.0"}
    authors = {"Authors": ["A. First", "B. Second"]}
    (folder / "dataset_description.json").write_text(json.dumps({**description, **authors, **changes}))
    (folder / "README.md").write_text(README)
    return folder


def phantom_dataset(folder: Path, names: Iterable[str]) -> Path:
    """A raw dataset in which every named image is the phantom: `sub-01_ses-1_T1w` goes where it belongs."""
    describe_dataset(folder)
    for seed, name in enumerate(names):
        path = folder / place(name) / f"{name}.nii.gz"
        path.parent.mkdir(parents=True, exist_ok=True)
        save_phantom(path, seed=seed)
    return folder


def place(name: str) -> str:
    """The folder of an anatomical image: `sub-01/ses-1/anat`."""
    parts = [part for part in name.split("_") if part.startswith(("sub-", "ses-"))]
    return "/".join((*parts, "anat"))


def head_dataset(folder: Path, mri: Callable[[str], Path], patients: Iterable[str] = ("01", "03", "04", "09")) -> Path:
    """A raw dataset of the real heads: subjects with one or two visits, T1w, T2w and FLAIR."""
    describe_dataset(folder, Name="Lesjak et al., longitudinal")
    for patient in patients:
        for source in sorted(mri(f"ms_longitudinal/patient{patient}").glob("study*.nii.gz")):
            found = re.fullmatch(r"study(\d)_(T1W|T2W|FLAIR)\.nii\.gz", source.name)
            if found:
                name = f"sub-{patient}_ses-{found[1]}_{SUFFIXES[found[2]]}"
                target = folder / place(name) / f"{name}.nii.gz"
                target.parent.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(source, target)
    return folder


def contents(folder: Path) -> dict[str, str]:
    """SHA-256 of every file below a folder, by its path."""
    files = [path for path in folder.rglob("*") if path.is_file()]
    return {path.relative_to(folder).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


def validate(folder: Path) -> dict[str, set[str]]:
    """What the official validator finds: codes of its errors and of its warnings.

    A code is followed by the field of a sidecar that it is about: `SIDECAR_KEY_RECOMMENDED Description`.
    """
    beside = Path(sys.executable).with_name("bids-validator-deno")
    program = beside if beside.exists() else shutil.which("bids-validator-deno")
    if program is None:
        pytest.skip("needs the official BIDS validator: pip install bids-validator-deno")
    done = subprocess.run([program, "--format", "json", folder], capture_output=True, text=True, check=False)
    issues = json.loads(done.stdout)["issues"]["issues"]
    found: dict[str, set[str]] = {"error": set(), "warning": set()}
    for issue in issues:
        found[issue["severity"]].add(" ".join(filter(None, (issue["code"], issue.get("subCode")))))
    assert bool(found["error"]) == (done.returncode != 0), done.stderr
    return found
