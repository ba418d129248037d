"""`brain-edge convert`, `quantize` and `recipes`: what they refuse, what they need, and one network all the way."""

from __future__ import annotations

import hashlib
import os
import pickle
import re
import sys
from pathlib import Path  # noqa: TC003 - here, because what follows cannot be sorted
from typing import TYPE_CHECKING

import nibabel
import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="the build side needs the extra `convert`")

from cli_program import (  # noqa: E402 - after the check that torch is there
    WITHOUT_BUILD_SIDE,
    child,
    make_package,
    refused,
    save_phantom,
    succeed,
)
from cohorts import make_case, save_manifest  # noqa: E402
from present import present  # noqa: E402
from tiny_package import CASCADE, NETWORK, PHANTOM, SPEC, tiny_weights  # noqa: E402

from brain_edge.evaluation.cohort import Split  # noqa: E402
from brain_edge.image.phantom import make_volume  # noqa: E402
from brain_edge.package import open_package  # noqa: E402
from brain_edge.package.manifest import StageZero  # noqa: E402
from brain_edge.spec import canonical_json  # noqa: E402
from brain_edge_conversion.recipes import recipe_names  # noqa: E402

if TYPE_CHECKING:
    from torch import Tensor

MODULE = "network_of_a_user"
SOURCE = f"{MODULE}:Tiny"


@pytest.fixture
def here(tmp_path, monkeypatch) -> Path:
    """A current folder with everything that a user's own network needs."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delitem(sys.modules, MODULE, raising=False)
    (tmp_path / f"{MODULE}.py").write_text(NETWORK)
    (tmp_path / "spec.json").write_bytes(canonical_json(SPEC))
    torch.save(state(), tmp_path / "weights.pt")
    save_phantom(tmp_path / "head.nii.gz")
    return tmp_path


def state() -> dict[str, Tensor]:
    kernel, bias = tiny_weights()
    return {"convolution.weight": torch.tensor(kernel), "convolution.bias": torch.tensor(bias.ravel())}


def convert(*options: object) -> tuple[object, ...]:
    return ("convert", SOURCE, "--spec", "spec.json", "--parity-data", "head.nii.gz", "-o", "package", *options)


class Evil:
    """Unpickled by `pickle.load`, this would create a folder."""

    def __reduce__(self):
        return os.mkdir, ("evil",)


def labels(path: str) -> np.ndarray:
    return np.asarray(nibabel.load(path).dataobj)


def save_cohort(folder: Path) -> Path:
    """Three heads: one to calibrate on, two with the mask that the FP32 package makes of them."""
    voxels = make_volume(PHANTOM).voxels[::2, ::2, ::2]
    cases = [make_case(folder, "one", Split.CALIBRATION, voxels=voxels, mask=None)]
    succeed("run", "package", folder / "one/T1.nii.gz", "-o", folder / "mask.nii.gz", "-q")
    mask = labels(str(folder / "mask.nii.gz"))
    cases.append(make_case(folder, "two", Split.VALIDATION, voxels=voxels + 2, mask=mask))
    cases.append(make_case(folder, "three", Split.TEST, voxels=voxels + 1, mask=mask))
    return save_manifest(folder, *cases)


# all the way


@pytest.mark.usefixtures("here")
def test_a_users_network_becomes_a_package_that_segments(tmp_path):
    done = succeed(*convert("--weights", "weights.pt", "--trust"))
    package = open_package("package")
    assert done.out.endswith(f"package: digest {package.digest}\n")
    assert "comparing with PyTorch on a real volume" in done.err
    assert present(package.manifest.parity).mask_dice == 1.0
    succeed("run", "package", "head.nii.gz", "-o", "mask.nii.gz")
    by_hand = make_package(tmp_path / "by-hand").folder
    succeed("run", by_hand, "head.nii.gz", "-o", "expected.nii.gz")
    np.testing.assert_array_equal(labels("mask.nii.gz"), labels("expected.nii.gz"))


QUANTISE = ("quantize", "package", "-o", "int8", "--no-gain", "--calibration")


@pytest.mark.full  # tests/verbs quantizes by the same function; the miss below stays
def test_quantisation_within_its_budget(here):
    succeed(*convert("--weights", "weights.pt", "--trust", "--quiet"))
    done = succeed(*QUANTISE, save_cohort(here / "cohort"), "--max-dice-drop", "0.2")
    assert done.out.splitlines()[-1] == f"int8: digest {open_package('int8').digest}"
    assert "of the multiply-accumulates run in INT8" in done.out


@pytest.mark.parametrize(
    ("options", "words"),
    [
        pytest.param(
            ("--time-limit", "0.001"), "the time limit of 0.001 minutes was over after 1 trial", marks=pytest.mark.full
        ),
        pytest.param((), "the budget is 1e-09", marks=pytest.mark.full),  # all settings, and layers one by one
    ],
)
def test_a_missed_budget_ends_with_4_and_leaves_no_package(here, options, words):
    succeed(*convert("--weights", "weights.pt", "--trust", "--quiet"))
    cohort = save_cohort(here / "cohort")
    said = refused(4, *QUANTISE, cohort, "--max-dice-drop", "1e-9", "--max-case-drop", "1e-9", *options)
    assert words in said
    assert not (here / "int8").exists()


def test_a_stage_zero_is_named_and_the_network_is_compared_on_what_it_leaves(here):
    zero = make_package(here / "zero")
    succeed(*convert("--weights", "weights.pt", "--trust", "--quiet", "--stage-zero", "zero"))
    manifest = open_package("package").manifest
    assert isinstance(manifest.stage_zero, StageZero)
    assert (manifest.stage_zero.digest, manifest.stage_zero.sequence) == (zero.digest, "T1")
    succeed("run", "zero", "head.nii.gz", "-o", "mask.nii.gz", "--quiet")
    head = np.asarray(nibabel.load("head.nii.gz").dataobj, dtype=np.float32)
    inside = np.where(labels("mask.nii.gz") > 0, head, np.float32(0))
    assert 0 < np.count_nonzero(inside) < np.count_nonzero(head)
    canonical = nibabel.as_closest_canonical(nibabel.Nifti1Image(inside, nibabel.load("head.nii.gz").affine))
    voxels = np.ascontiguousarray(canonical.dataobj)
    name = hashlib.sha256(repr(voxels.shape).encode() + voxels.tobytes()).hexdigest()
    assert present(manifest.parity).input_sha256 == (name,)


# weights


@pytest.mark.usefixtures("here")
def test_weights_of_a_recipe_are_known_by_their_hash():
    said = refused(3, "convert", "meshnet-tissue", "--weights", "weights.pt", "-o", "package")
    assert "weights.pt: expected the weights with SHA-256 8b83b35b" in said
    assert "The file is damaged or of another version; fetch it again" in said
    said = refused(3, "convert", "meshnet-tissue", "--weights", "no.pt", "-o", "package")
    assert "no.pt: there is no such weights file" in said
    said = refused(3, "convert", "meshnet-tissue", "-o", "package")
    assert "cannot be fetched: give the file with --weights FILE; model5_gw_ae/model.pth" in said


@pytest.mark.parametrize("protocol", [2, 4])
def test_a_pickle_that_wants_to_run_code_is_refused_and_does_not(here, protocol):
    (here / "weights.pt").write_bytes(pickle.dumps(Evil(), protocol))
    said = refused(3, *convert("--weights", "weights.pt", "--trust"))
    assert f"weights.pt: loading this file would run code: it asks for {os.mkdir.__module__}.mkdir" in said
    assert not (here / "evil").exists()
    assert not (here / "package").exists()


def test_a_state_dict_that_does_not_fit_is_refused_by_its_keys(here):
    torch.save({"convolution.weight": state()["convolution.weight"], "head.bias": torch.zeros(2)}, here / "weights.pt")
    said = refused(3, *convert("--weights", "weights.pt", "--trust"))
    assert "weights.pt: the weights do not fit Tiny: " in said
    assert "convolution.bias" in said
    assert "head.bias" in said
    assert not (here / "package").exists()


def test_a_truncated_checkpoint_is_refused(here):
    whole = (here / "weights.pt").read_bytes()
    (here / "weights.pt").write_bytes(whole[: len(whole) // 2])
    assert "truncated or damaged" in refused(3, *convert("--weights", "weights.pt", "--trust"))


# usage


@pytest.mark.usefixtures("here")
def test_code_runs_only_when_it_is_trusted():
    said = refused(2, *convert("--weights", "weights.pt"))
    assert "is code that would run here; use --trust if you know where it comes from" in said
    assert MODULE not in sys.modules
    torch.jit.save(torch.jit.script(torch.nn.Conv3d(1, 2, 1)), "net.pt")
    said = refused(2, "convert", "net.pt", "--spec", "spec.json")
    assert "a TorchScript file is code that would run here" in said


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ([], "Missing argument 'SOURCE'"),
        (["deepbeet"], f"'deepbeet' is no recipe ({', '.join(recipe_names())})"),
        (["deepbet", "--members", "3"], "deepbet has 1 member(s), got --members 3"),
        (["deepbet", "--members", "some"], "expected --members as a number or `all`, got 'some'"),
        (["deepbet", "--flips"], "does not mirror its input; leave out --flips"),
        (["deepbet", "--sequences", "T1"], "deepbet has one set of sequences, got --sequences T1; leave it out"),
        (
            ["unet-baseline-m1", "--sequences", "T1,T2"],
            "expected --sequences to be one of T1; FLAIR; T2; T1C; T1,T1C,T2,FLAIR; got T1,T2",
        ),
        ([SOURCE, "--sequences", "T1"], f"--sequences has no effect: {SOURCE} is no recipe; remove the option"),
        (["deepbet", "--spec", "spec.json"], "--spec has no effect: deepbet is a recipe and has its own"),
        (["deepbet", "--weights", "weights.pt"], "got a file without a name; name each file"),
        (["meshnet-tissue", "--weights", "a", "--weights", "b"], "expected one --weights file per graph, got a, b"),
        (
            ["meshnet-tissue", "--weights", "a", "--random-weights"],
            "--weights has no effect with --random-weights",
        ),
        (
            ["meshnet-tissue", "--random-weights"],
            "the comparison with PyTorch needs a real head; give --parity-data FILE",
        ),
        ([SOURCE, "--members", "2"], f"--members has no effect: {SOURCE} is no recipe; remove the option"),
        ([SOURCE, "--members", "all"], f"--members has no effect: {SOURCE} is no recipe; remove the option"),
        ([SOURCE, "--trust"], f"{SOURCE} is no recipe: describe its steps with --spec FILE"),
        (
            [SOURCE, "--spec", "spec.json", "--trust"],
            "expected weights, got none; give --weights FILE or --random-weights",
        ),
        (["no_such:Net", "--spec", "spec.json", "--trust"], "no_such:Net: "),
        (["net.pt", "--weights", "weights.pt", "--trust"], "--weights has no effect: net.pt holds its weights"),
        ([SOURCE, "--precision", "fp8"], "'fp8' is not one of 'f32', 'bf16'"),
    ],
)
@pytest.mark.usefixtures("here")
def test_wrong_usage_of_convert(arguments, words):
    assert words in refused(2, "convert", *arguments)


def test_a_cascade_cannot_come_from_one_network(here):
    (here / "spec.json").write_bytes(canonical_json(CASCADE))
    said = refused(2, *convert("--weights", "weights.pt", "--trust"))
    assert "expected a specification of one network, got one of 2" in said


def test_a_package_that_is_there_is_not_overwritten(here):
    (here / "package").mkdir()
    (here / "package/thesis.txt").write_text("mine")
    said = refused(2, *convert("--weights", "weights.pt", "--trust"))
    assert "this folder already exists; give --overwrite" in said
    said = refused(2, *convert("--weights", "weights.pt", "--trust", "--overwrite"))
    assert "expected a package to overwrite, got another folder" in said
    assert (here / "package/thesis.txt").read_text() == "mine"


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ([], "Missing option '--max-dice-drop'"),
        (["--max-dice-drop", "1"], "expected --max-dice-drop between 0 and 1"),
        (["--max-dice-drop", "0.01", "--min-int8-share", "2"], "expected --min-int8-share between 0 and 1, got 2"),
        (["--max-dice-drop", "0.01", "--threads", "0"], "0 is not in the range x>=1"),
        (["--max-dice-drop", "0.01"], "expected --calibration COHORT, got none, and tiny has no default cohort"),
        (["--max-dice-drop", "0.01", "--calibration", "nobody"], "there is no cohort 'nobody'"),
        (["--max-dice-drop", "0.01", "--preset", "fast"], "'fast' is not one of"),
    ],
)
def test_wrong_usage_of_quantize(tmp_path, arguments, words):
    package = make_package(tmp_path / "package").folder
    assert words in refused(2, "quantize", package, *arguments)


# what is there, and what is missing


def test_recipes_are_listed_with_their_weights():
    done = succeed("recipes")
    groups = re.findall(r"^(\w+)[^\n]*\n((?:  .*\n)+)", done.out, re.MULTILINE)
    assert [name for name, _ in groups] == ["ready", "bring", "papers"]
    by_group = {name: re.findall(r"^  ([a-z][\w-]*) ", lines, re.MULTILINE) for name, lines in groups}
    assert set(by_group["ready"]) == {"deepbet", "hd-bet-v1", "fit-nnunet", "fit-vox2vox"}
    assert "brainmage" in by_group["bring"]
    assert "vox2vox" in by_group["papers"]
    listed = {recipe["name"]: recipe for recipe in succeed("recipes", "--json").json}
    assert {"brainmage", "deepbet", "hd-bet-v1", "meshnet-subcortical", "meshnet-tissue"} <= listed.keys()
    assert listed["hd-bet-v1"]["members"] == 5
    assert listed["hd-bet-v1"]["availability"] == "ready"


def test_a_demo_of_no_threads_is_refused():
    assert "0 is not in the range x>=1" in refused(2, "demo", "--threads", "0")


@pytest.mark.parametrize(
    "arguments",
    [("torch", "convert", "deepbet"), ("nncf", "quantize", "package", "--max-dice-drop", "0.01"), ("torch", "demo")],
    ids=lambda arguments: arguments[1],
)
def test_a_missing_library_is_named_with_the_extra_that_brings_it(tmp_path, arguments):
    library, *arguments = arguments
    done = child(*arguments, without=WITHOUT_BUILD_SIDE, cwd=tmp_path)
    assert (done.code, done.out) == (1, "")
    wanted = f"error: {arguments[0]} needs {library}, which is not installed here: pip install 'brain-edge[convert]'\n"
    assert done.err == wanted
    assert list(tmp_path.iterdir()) == []


def test_what_a_workstation_needs_works_without_the_build_side(tmp_path):
    make_package(tmp_path / "package")
    save_phantom(tmp_path / "head.nii.gz")
    for arguments in (["run", "package", "head.nii.gz", "-o", "mask.nii.gz"], ["verify", "package"], ["recipes"]):
        done = child(*arguments, without=WITHOUT_BUILD_SIDE, cwd=tmp_path)
        assert done.code == 0, done.err
