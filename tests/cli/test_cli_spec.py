"""`brain-edge spec`, and a conversion that must make the mask of the user's own program."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import msgspec
import nibabel
import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="the build side needs the extra `convert`")

from cli_program import WITHOUT_BUILD_SIDE, child, refused, save_phantom, succeed  # noqa: E402
from tiny_package import FIT, NETWORK, RESTORE, SCALE, SPEC, STAGE, STEEPNESS  # noqa: E402

from brain_edge.package import open_package  # noqa: E402
from brain_edge.spec import ModelSpec, canonical_json  # noqa: E402
from brain_edge.spec.steps import Argmax, Orient  # noqa: E402
from brain_edge_conversion.specification import json_schema, spec_from_json  # noqa: E402

MODULE = "network_with_a_starter"
SOURCE = f"{MODULE}:Tiny"


@pytest.fixture
def here(tmp_path, monkeypatch) -> Path:
    """A current folder with a network, its weights, a head and a specification."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delitem(sys.modules, MODULE, raising=False)
    (tmp_path / f"{MODULE}.py").write_text(NETWORK)
    (tmp_path / "spec.json").write_bytes(canonical_json(steps("RAS")))
    torch.save(state(), tmp_path / "weights.pt")
    save_phantom(tmp_path / "head.nii.gz")
    return tmp_path


def steps(axes: str) -> ModelSpec:
    """The steps of the program below; nothing is cleaned up."""
    stage = msgspec.structs.replace(STAGE, before=(Orient(axes=axes), *FIT, SCALE), after=(Argmax(), RESTORE))
    return msgspec.structs.replace(SPEC, stages=(stage,))


def state() -> dict[str, Any]:
    """Weights that look to the right and downwards."""
    kernel = torch.zeros(2, 1, 3, 3, 3)
    kernel[1, 0, 2, 1, 1], kernel[1, 0, 1, 1, 0] = 0.6 * STEEPNESS, 0.4 * STEEPNESS
    return {"convolution.weight": kernel, "convolution.bias": torch.tensor([0.0, -0.5 * STEEPNESS])}


def save_mask(path: Path) -> Path:
    """The mask of a program of the user's own, in numpy and PyTorch; the phantom is stored along R, A, S."""
    head = nibabel.load("head.nii.gz")
    voxels = head.get_fdata(dtype=np.float32)
    low, high = np.percentile(voxels, (0.5, 99.5))
    scaled = torch.tensor(np.clip((voxels - low) / (high - low), 0, 1), dtype=torch.float32)[None, None]
    with torch.no_grad():
        logits = torch.nn.functional.conv3d(scaled, *state().values(), padding=1)
    labels = logits.argmax(1)[0].numpy().astype(np.uint8)
    nibabel.save(nibabel.Nifti1Image(labels, head.affine), path)
    return path


def convert(*options: object) -> tuple[object, ...]:
    given = ("--weights", "weights.pt", "--parity-data", "head.nii.gz", "--trust", "-o", "package")
    return ("convert", SOURCE, "--spec", "spec.json", *given, *options)


# spec


def test_a_starter_is_written_checked_and_converted(here):
    done = succeed("spec", "new", SOURCE, "--trust", "-o", "mine.json")
    assert done.out == f"mine.json: a starter; correct it, then run brain-edge spec check mine.json {SOURCE}\n"
    assert "found: the network ends in a softmax" in done.err
    spec = spec_from_json((here / "mine.json").read_bytes(), "mine.json")
    assert (spec.name, spec.stages[0].network.activation) == ("tiny", "none")
    done = succeed("spec", "check", "mine.json", SOURCE, "--trust")
    assert done.out == f"mine.json: a specification that fits {SOURCE}\n"
    assert json.loads(succeed("spec", "new", SOURCE, "--trust", "--like", "hd-bet").out)["name"] == "tiny"


def test_code_that_is_not_trusted_does_not_run(here):
    said = refused(2, "spec", "new", SOURCE)
    assert "is code that would run here; use --trust if you know where it comes from" in said
    assert "use --trust" in refused(2, "spec", "check", "spec.json", SOURCE)
    assert MODULE not in sys.modules
    torch.jit.save(torch.jit.script(torch.nn.Conv3d(1, 2, 1)), here / "net.pt")
    assert "a TorchScript file is code that would run here" in refused(2, "spec", "new", "net.pt")
    assert "input and" in succeed("spec", "new", "net.pt", "--trust").err


@pytest.mark.usefixtures("here")
def test_what_a_user_has_written_is_not_overwritten():
    said = refused(2, "spec", "new", SOURCE, "--trust", "-o", "spec.json")
    assert "spec.json: this file already exists; choose another name, or remove the file" in said


@pytest.mark.usefixtures("here")
@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (["deepbet"], 2, "deepbet states its steps itself and needs no specification; convert it with brain-edge"),
        (["gone.onnx"], 3, "gone.onnx: there is no such file; check the path"),
        (["weights.pt"], 3, "got a state dict"),
        ([SOURCE, "--like", "fsl"], 2, "'fsl' is not one of 'plain', 'nnunet', 'monai', 'hd-bet'"),
    ],
)
def test_wrong_usage_of_new(arguments, code, words):
    assert words in refused(code, "spec", "new", "--trust", *arguments)


def test_all_faults_are_told_at_once_with_their_lines(here):
    plain = json.loads(canonical_json(SPEC))
    plain["task"] = "skull_stripping"
    plain["stages"][0]["before"][0]["op"] = "oriant"
    plain["$schema"] = "spec-schema.json"
    text = json.dumps(plain, indent=2)
    (here / "mine.json").write_text(text)
    said = refused(5, "spec", "check", "mine.json").splitlines()
    lines = {word: 1 + text[: text.index(word)].count("\n") for word in ("skull_stripping", "oriant")}
    assert said[0].startswith(f"mine.json:{lines['oriant']}: stages[0].before[0].op: ")
    assert said[0].endswith("did you mean orient?")
    assert said[1].startswith(f"mine.json:{lines['skull_stripping']}: task: expected one of ")
    assert said[2] == "error: mine.json: expected a specification, got 2 fault(s); correct the lines above"


@pytest.mark.usefixtures("here")
def test_a_network_that_a_specification_does_not_describe_is_told():
    plain = json.loads(canonical_json(SPEC))
    network = plain["stages"][0]["network"]
    network.update(channels_in=2, channels_out=3, activation="softmax")
    plain["inputs"].append({"name": "T2"})
    plain["labels"].append({"value": 2, "name": "other"})
    Path("mine.json").write_text(json.dumps(plain))
    said = refused(5, "spec", "check", "mine.json", SOURCE, "--trust")
    assert "stages[0].network.channels_in: expected 1, the channels that the network takes, got 2" in said
    assert "stages[0].network.channels_out: expected 2, the channels that the network returns, got 3" in said
    assert "stages[0].network.activation: expected none, because the network ends in a softmax itself" in said


@pytest.mark.parametrize(("content", "words"), [(b"{", "expected JSON"), (b"\xff", "expected a JSON file in UTF-8")])
def test_what_is_no_json_is_refused(here, content, words):
    (here / "mine.json").write_bytes(content)
    assert words in refused(5 if words == "expected JSON" else 3, "spec", "check", "mine.json")


def test_schema_and_check_need_no_torch(here):
    done = child("spec", "check", "spec.json", without=WITHOUT_BUILD_SIDE, cwd=here)
    assert (done.code, done.out) == (0, "spec.json: a specification\n")
    assert json.loads(succeed("spec", "schema").out) == json.loads(json.dumps(json_schema()))


# a mask of the user's own program


def test_the_comparison_is_printed_and_recorded(here):
    save_mask(here / "mask.nii.gz")
    done = succeed(*convert("--expect-mask", "mask.nii.gz"))
    package = open_package("package")
    graph, masks, expected, digest = done.out.splitlines()
    assert graph.startswith("tiny: OpenVINO differs from PyTorch by ")
    assert graph.endswith(" of the largest output, same label in 100.0000% of the voxels")
    assert masks == "masks of PyTorch and OpenVINO: Dice 1.00000"
    assert expected == "expected mask: Dice brain 1.0000 (at least 0.97)"
    assert digest == f"package: digest {package.digest}"
    assert package.manifest.expected
    assert package.manifest.expected.dice["brain"] > 0.9995
    shown = succeed("info", "package").out
    assert "expected     mask of another program: Dice brain 1.0000 (at least 0.97)" in shown


def test_another_mask_is_refused_and_nothing_is_written(here):
    save_mask(here / "mask.nii.gz")
    (here / "spec.json").write_bytes(canonical_json(steps("LAS")))
    said = refused(
        1, *convert("--expect-mask", "mask.nii.gz", "--expect-head", "head.nii.gz", "--report", "told", "-q")
    )
    assert said.startswith("error: the package does not make the expected mask: Dice brain 0.")
    assert 'fits (Dice 1.0000): write {"op": "orient", "axes": "RAS"} (axis 1 flipped). No package' in said
    assert not (here / "package").exists()
    report = json.loads((here / "told/conversion.json").read_bytes())
    assert report["passed"] is False
    assert report["expected"]["dice"]["brain"] < 0.97
    assert "the package does not make the expected mask" in (here / "told/conversion.html").read_text()
    assert "mask.nii.gz" not in (here / "told/conversion.json").read_text()
    told = succeed(*convert("--expect-mask", "mask.nii.gz", "--expect-dice", "0.2", "-q"))
    assert '  This change of the specification fits (Dice 1.0000): write {"op": "orient", "axes": "RAS"}' in told.out


@pytest.mark.usefixtures("here")
@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--expect-head", "head.nii.gz"], "--expect-head has no effect without --expect-mask; remove it"),
        (["--expect-dice", "0.9"], "--expect-dice has no effect without --expect-mask; remove it"),
        (
            ["--expect-mask", "head.nii.gz", "--expect-dice", "97"],
            "expected --expect-dice above 0 and at most 1, got 97",
        ),
    ],
)
def test_wrong_usage_of_an_expected_mask(options, words):
    assert words in refused(2, *convert(*options))


@pytest.mark.usefixtures("here")
def test_random_weights_make_no_expected_mask():
    given = ("convert", SOURCE, "--spec", "spec.json", "--random-weights", "--parity-data", "head.nii.gz", "--trust")
    said = refused(2, *given, "--expect-mask", "head.nii.gz")
    assert "--expect-mask has no effect with --random-weights; remove one of them" in said
