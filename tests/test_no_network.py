"""Nothing is fetched, nothing is sent, nothing is left in the home folder: listened to from outside the process.

Every command runs where there is no route to anywhere, with its network calls recorded by strace, and with `CI`
unset, since `CI=true` silences the telemetry of OpenVINO and NNCF and would prove nothing.
"""

from __future__ import annotations

import sys
import warnings

import msgspec
import nibabel
import numpy as np
import pytest
from cli_program import child_command, save_phantom
from cohorts import make_case, save_manifest
from sealed import listen
from tiny_package import NETWORK, PHANTOM, SPEC, make_package, tiny_weights

from brain_edge.evaluation.cohort import Split
from brain_edge.image.phantom import make_volume
from brain_edge.package import open_package
from brain_edge.spec import canonical_json


@pytest.fixture(scope="module")
def package(tmp_path_factory):
    return make_package(tmp_path_factory.mktemp("sealed") / "tiny")


@pytest.fixture(scope="module")
def digest(package):
    return open_package(package.folder).digest


def test_the_ears_work_openvino_alone_calls_out_and_writes_in_the_home_folder(tmp_path):
    """Without this, silence would mean nothing: the telemetry that is forbidden elsewhere is heard here."""
    heard = listen([sys.executable, "-c", "import openvino"], tmp_path)
    assert heard.code == 0
    assert any("connect(" in call or "sendto(" in call for call in heard.internet)
    assert heard.home


def test_run_makes_no_network_call_and_leaves_the_home_folder_empty(package, digest, tmp_path):
    head, mask = save_phantom(tmp_path / "head.nii.gz"), tmp_path / "mask.nii.gz"
    report = tmp_path / "record.json"
    command = child_command(
        "run", package.folder, head, "-o", mask, "--expect-digest", digest, "--report", report, "--threads", "1"
    )
    heard = listen(command, tmp_path)
    assert (heard.code, heard.internet, heard.home) == (0, (), ()), heard.err
    expected = nibabel.load(package.folder / package.manifest.self_test.mask)
    np.testing.assert_array_equal(nibabel.load(mask).get_fdata(), expected.get_fdata())


def test_a_batch_makes_no_network_call_and_leaves_the_home_folder_empty(package, tmp_path):
    heads, masks = tmp_path / "heads", tmp_path / "masks"
    heads.mkdir()
    masks.mkdir()
    for seed in (1, 2):
        save_phantom(heads / f"head-{seed}.nii.gz", seed=seed)
    heard = listen(child_command("run", package.folder, heads, "-o", masks, "--threads", "1"), tmp_path)
    assert (heard.code, heard.internet, heard.home) == (0, (), ()), heard.err
    assert len(list(masks.glob("*_mask.nii.gz"))) == 2


@pytest.mark.parametrize("command", ["verify", "info"])
def test_looking_at_a_package_makes_no_network_call_and_leaves_the_home_folder_empty(package, command, tmp_path):
    heard = listen(child_command(command, package.folder), tmp_path)
    assert (heard.code, heard.internet, heard.home) == (0, (), ()), heard.err
    assert "digest" in heard.out


@pytest.mark.full  # drawing imports matplotlib once more
def test_a_picture_makes_no_network_call_and_leaves_the_home_folder_empty(package, tmp_path):
    """A list of fonts is what matplotlib would keep there: below `.cache`."""
    head, mask, picture = save_phantom(tmp_path / "head.nii.gz"), tmp_path / "mask.nii.gz", tmp_path / "qc.png"
    command = child_command("run", package.folder, head, "-o", mask, "--picture", picture, "--threads", "1")
    heard = listen(command, tmp_path)
    assert (heard.code, heard.internet) == (0, ()), heard.err
    assert picture.is_file()
    assert heard.home == ()


@pytest.fixture
def network(tmp_path, package):
    """A folder with a network of a user's own, its weights, a head, and a cohort judged by the mask of `package`."""
    torch = pytest.importorskip("torch", reason="the build side needs the extra `convert`")
    kernel, bias = tiny_weights()
    torch.save(
        {"convolution.weight": torch.tensor(kernel), "convolution.bias": torch.tensor(bias.ravel())},
        tmp_path / "weights.pt",
    )
    (tmp_path / "sealed_network.py").write_text(NETWORK, encoding="utf-8")
    (tmp_path / "spec.json").write_bytes(canonical_json(SPEC))
    save_phantom(tmp_path / "head.nii.gz")
    mask = np.asarray(nibabel.load(package.folder / package.manifest.self_test.mask).dataobj)
    splits = {"one": Split.CALIBRATION, "two": Split.VALIDATION, "three": Split.TEST}
    cases = [
        make_case(
            tmp_path, name, split, voxels=make_volume(msgspec.structs.replace(PHANTOM, seed=seed)).voxels, mask=mask
        )
        for seed, (name, split) in enumerate(splits.items())
    ]
    save_manifest(tmp_path, *cases)
    return tmp_path


@pytest.mark.full  # as what it belongs to
def test_the_ears_hear_onnxruntime_write_in_the_home_folder_unless_it_is_told_not_to(tmp_path):
    pytest.importorskip("brain_edge_conversion.weights.onnx_graph", reason="the build side needs the extra `convert`")
    for name, command, silent in (
        ("alone", "import onnxruntime", False),
        ("ours", "from brain_edge_conversion.weights.onnx_graph import import_onnxruntime as i; i()", True),
    ):
        (tmp_path / name).mkdir()
        heard = listen([sys.executable, "-c", command], tmp_path / name)
        assert heard.code == 0
        assert ((heard.internet, heard.home) == ((), ())) is silent, heard


@pytest.mark.full
def test_the_build_side_makes_no_network_call_and_leaves_the_home_folder_empty(network, monkeypatch):
    """NNCF reports usage too, and each conversion is an event of its own."""
    monkeypatch.chdir(network)
    source = ("sealed_network:Tiny", "--spec", "spec.json", "--weights", "weights.pt", "--trust")
    # weights of its own, in a file of its own: nothing of this is in PyTorch any more
    torch = pytest.importorskip("torch")
    kernel, bias = (torch.tensor(values) for values in tiny_weights())
    plain = torch.nn.Sequential(torch.nn.Conv3d(1, 2, 3, padding=1), torch.nn.Softmax(1)).eval()
    plain[0].load_state_dict({"weight": kernel, "bias": bias.ravel()})
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # this exporter is deprecated, and needs nothing that is not here
        sides = {"x": [2, 3, 4]}
        example = (torch.zeros(1, 1, 8, 8, 8),)
        torch.onnx.export(plain, example, "net.onnx", dynamo=False, input_names=["x"], dynamic_axes=sides)
    commands = {
        "onnx": ("convert", "net.onnx", "--spec", "spec.json", "--parity-data", "head.nii.gz", "-o", "from-onnx"),
        "convert": ("convert", *source, "--parity-data", "head.nii.gz", "-o", "fp32"),
        "quantize": (
            "quantize",
            "fp32",
            "--calibration",
            "tiny.toml",
            "--max-dice-drop",
            "0.2",
            "-o",
            "int8",
            "--no-gain",
        ),
    }
    for name, command in commands.items():
        (network / name).mkdir()
        heard = listen(child_command(*command, "--quiet"), network / name)
        assert (heard.code, heard.internet, heard.home) == (0, (), ()), heard.err
    assert open_package("int8").manifest.number_format == "int8"
