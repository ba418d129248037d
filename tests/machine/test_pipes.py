"""A pipe where a file should be is refused, or counts as none; nothing waits for whoever might write into it."""

from __future__ import annotations

import importlib.util
import os
import signal
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from tiny_package import make_package

from brain_edge.bench.record import read_record
from brain_edge.cli.main import main  # noqa: F401 - what it imports on the way is no part of the time
from brain_edge.deploy.unpack import extract_member
from brain_edge.deploy.wheelhouse.wheels import read_wheel
from brain_edge.errors import BrainEdgeError
from brain_edge.evaluation.cohort.manifest import read_manifest
from brain_edge.evaluation.report.accuracy_report import read_report
from brain_edge.io.contrast import contrast_of_file
from brain_edge.io.dicom import holds_dicom, list_series
from brain_edge.io.inputs import input_kind
from brain_edge.io.nifti import read_geometry, read_numbers, read_volume
from brain_edge.jobs.bids.dataset import open_dataset
from brain_edge.jobs.record import input_record, read_case_record
from brain_edge.package import open_package
from brain_edge.package.digest import sha256_of
from brain_edge_conversion.folders.reading import read_json, read_yaml
from brain_edge_conversion.starter.check import faults_in
from brain_edge_conversion.weights.checkpoint import load_checkpoint, load_state_dict, load_torchscript, weights_format
from brain_edge_conversion.weights.exported_program import load_exported
from brain_edge_conversion.weights.onnx_graph import load_onnx, sha256_of_onnx

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

pytestmark = pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no pipes with names here")
LONGEST_S = 5.0
NO_HASH = "0" * 64


class WaitsError(Exception):
    """The reader waits."""


@contextmanager
def no_longer_than(seconds: float) -> Iterator[None]:
    def end(_number: int, _frame: Any) -> None:
        raise WaitsError

    previous = signal.signal(signal.SIGALRM, end)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, previous)


def pipe(path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    os.mkfifo(path)
    return path


REFUSED: dict[str, tuple[str, Callable[[Path], object]]] = {
    "an image": ("head.nii.gz", read_volume),
    "a label map": ("mask.nii", read_numbers),
    "the header of an image": ("head.mgz", read_geometry),
    "a DICOM file": ("slice.dcm", list_series),
    "a record of bench": ("bench.json", read_record),
    "a cohort": ("cohort.toml", read_manifest),
    "an accuracy report": ("accuracy.json", read_report),
    "a dataset": ("dataset_description.json", lambda path: open_dataset(path.parent)),
    "a manifest": ("manifest.json", lambda path: open_package(path.parent)),
    "what is hashed": ("file", sha256_of),
    "an archive": ("a.tar.gz", lambda path: extract_member(path, "member", path.with_name("out"))),
    "a wheel": ("a.whl", read_wheel),
    "a checkpoint": ("net.pt", load_state_dict),
    "a checkpoint of a folder": ("net.pth", load_checkpoint),
    "weights": ("net.safetensors", weights_format),
    "TorchScript": ("net.ts", lambda path: load_torchscript(path, NO_HASH)),
    "a torch.export program": ("net.pt2", lambda path: load_exported(path, NO_HASH)),
    "an ONNX model": ("net.onnx", lambda path: load_onnx(path, NO_HASH)),
    "the hash of an ONNX model": ("net.onnx", sha256_of_onnx),
    "a specification to check": ("spec.json", lambda path: faults_in(path, None)),
    "JSON of a folder": ("plans.json", lambda path: read_json(path, dict, "a program")),
    "YAML of a folder": ("config.yaml", lambda path: read_yaml(path, "a program")),
}
PASSED_OVER: dict[str, tuple[str, Callable[[Path], object]]] = {
    "a record of a case": ("head_record.json", read_case_record),
    "a sidecar": ("head.json", lambda path: contrast_of_file(path.with_name("head.nii.gz")).contrast),
    "an input of a record": ("head.nii.gz", lambda path: input_record(path).sha256),
    "a DICOM folder": ("slice.dcm", lambda path: holds_dicom(path.parent)),
}


@pytest.mark.parametrize("what", REFUSED)
def test_is_refused(what: str, tmp_path: Path):
    name, read = REFUSED[what]
    path = pipe(tmp_path / "in" / name)
    with no_longer_than(LONGEST_S), pytest.raises(BrainEdgeError) as caught:
        read(path)
    assert str(path.parent) in str(caught.value)


@pytest.mark.parametrize("what", PASSED_OVER)
def test_counts_as_none(what: str, tmp_path: Path):
    name, read = PASSED_OVER[what]
    path = pipe(tmp_path / "in" / name)
    with no_longer_than(LONGEST_S):
        assert not read(path)


def test_is_an_input_of_the_reader_which_refuses_it(tmp_path: Path):
    path = pipe(tmp_path / "head.nii.gz")
    with no_longer_than(LONGEST_S):
        assert input_kind(path).value == "image"


@pytest.mark.parametrize("name", ["graphs/tiny.xml", "graphs/tiny.bin", "DIGEST"])
def test_in_a_package_is_damage(tmp_path: Path, name: str):
    folder = make_package(tmp_path / "package").folder
    (folder / name).unlink()
    pipe(folder / name)
    with no_longer_than(LONGEST_S), pytest.raises(BrainEdgeError, match=r"missing|expected this file") as caught:
        open_package(folder)
    assert caught.value.exit_code == 5


@pytest.mark.parametrize("name", ["wheelhouse.json", "SHA256SUMS"])
def test_in_a_wheelhouse_is_damage(tmp_path: Path, name: str, capsys: pytest.CaptureFixture[str]):
    """The installer runs alone, without this package."""
    import brain_edge.deploy.wheelhouse

    script = Path(brain_edge.deploy.wheelhouse.__file__).with_name("install.py")
    (tmp_path / "install.py").write_text(script.read_text(encoding="utf-8"), encoding="utf-8")
    pipe(tmp_path / name)
    found = importlib.util.spec_from_file_location("installer", tmp_path / "install.py")
    assert found is not None
    assert found.loader is not None
    installer = importlib.util.module_from_spec(found)
    found.loader.exec_module(installer)
    with no_longer_than(LONGEST_S), pytest.raises(SystemExit) as ended:
        installer.made_for() if name == "wheelhouse.json" else installer.listed()
    assert ended.value.code == 3
    assert "the file is missing or damaged" in capsys.readouterr().err


@pytest.mark.skipif(not Path("/dev/zero").exists(), reason="needs a device that never ends")
def test_a_device_is_no_file_either(tmp_path: Path):
    endless = tmp_path / "endless.json"
    endless.symlink_to("/dev/zero")
    with no_longer_than(LONGEST_S), pytest.raises(BrainEdgeError, match="expected a file, got a pipe or a device"):
        read_record(endless)
    assert read_case_record(endless) is None
