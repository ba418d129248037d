"""What is refused, with which exit code and in which words: the whole program, from the arguments to the code.

Exit codes: 0 done, 1 failed, 2 wrong usage, 3 input or weights refused, 4 budget not met, 5 package refused,
6 some of a batch failed, 130 interrupted.
"""

from __future__ import annotations

import gzip
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
import nibabel
import numpy as np
import pytest
from bids_dataset import contents, phantom_dataset
from cli_program import (
    brain_edge,
    child,
    child_command,
    child_environment,
    make_package,
    make_pair_package,
    refused,
    save_phantom,
)
from cohorts import save_manifest
from phantoms import make_affine, make_head, make_nifti, save_head, save_with_fields
from test_cli_quantize import three_heads
from tiny_ensemble import make_ensemble
from tiny_package import edit_manifest, write_manifest

from brain_edge import errors
from brain_edge.cli.failure import exit_code, words
from brain_edge.cli.main import program
from brain_edge.engine.phantom_study import stand_in
from brain_edge.image.phantom import Phantom
from brain_edge.package import WeightsStatus
from brain_edge_conversion.convert.convert import ConvertOptions, convert
from brain_edge_conversion.recipe import ModelSource
from brain_edge_conversion.recipes import spade
from brain_edge_conversion.recipes._tumour import LICENCE

if TYPE_CHECKING:
    from collections.abc import Callable

    from brain_edge.errors import BrainEdgeError


@pytest.fixture(scope="module")
def package(tmp_path_factory) -> Path:
    return make_package(tmp_path_factory.mktemp("tiny")).folder


@pytest.fixture
def here(tmp_path, monkeypatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


# images


def not_a_nifti(path: Path) -> None:
    path.write_bytes(b"<html>404</html>")


def truncated_gzip(path: Path) -> None:
    whole = gzip.compress(make_nifti().to_bytes())
    path.write_bytes(whole[: len(whole) // 2])


def truncated_voxels(path: Path) -> None:
    path.write_bytes(gzip.compress(make_nifti().to_bytes()[:-100]))


def empty_file(path: Path) -> None:
    path.touch()


def constant(path: Path) -> None:
    save_head(path, np.full_like(make_head(), 7))


def with_value(value: float) -> Callable[[Path], None]:
    def write(path: Path) -> None:
        voxels = make_head(dtype=np.float32)
        voxels[3, 4, 5] = value
        save_head(path, voxels)

    return write


def several_volumes(path: Path) -> None:
    nibabel.save(nibabel.Nifti1Image(np.stack([make_head()] * 3, axis=-1), make_affine()), path)


def with_fields(**fields: Any) -> Callable[[Path], None]:
    def write(path: Path) -> None:
        save_with_fields(path, **fields)  # the content decides what a file is, not its name

    return write


def nothing(_path: Path) -> None:
    pass


BAD_IMAGES = [
    (nothing, "head.nii.gz: there is no such file; check the path"),
    (not_a_nifti, "head.nii.gz: expected a NIfTI (.nii, .nii.gz) or FreeSurfer (.mgz, .mgh) image, got a file that"),
    (empty_file, "head.nii.gz: expected an image, got an empty file (0 bytes); copy or export it again"),
    (truncated_gzip, "head.nii.gz: the file is truncated"),
    (truncated_voxels, "head.nii.gz: the file is truncated: its header promises 14 x 17 x 11 voxels"),
    (constant, "head.nii.gz: expected an image, got 7 in every voxel (an empty volume)"),
    (with_value(np.nan), "head.nii.gz: expected finite intensities, got NaN or infinity"),
    (with_value(np.inf), "head.nii.gz: expected finite intensities, got NaN or infinity"),
    (several_volumes, "head.nii.gz: expected one volume, got 3 in one file"),
    (
        with_fields(srow_x=(slice(0, 3), [1, 0, 3]), srow_z=(slice(0, 3), [0, 0, 0]), qform_code=0),
        "head.nii.gz: expected an invertible affine, got a singular affine",
    ),
    (
        with_fields(sform_code=0, pixdim=(2, 0.0)),
        "head.nii.gz: expected a positive spacing along each axis, got 1 x 0 x 3 mm",
    ),
]


BAD_IMAGE_NAMES = [
    *("missing", "not a NIfTI", "empty file", "truncated gzip", "truncated voxels", "constant", "NaN", "infinity"),
    *("several volumes", "singular affine", "zero spacing"),
]


@pytest.mark.parametrize(("write", "said"), BAD_IMAGES, ids=BAD_IMAGE_NAMES)
def test_a_bad_image_is_refused_with_3_and_nothing_is_written(package, here, write, said):
    write(here / "head.nii.gz")
    told = refused(3, "run", package, "head.nii.gz", "-o", "mask.nii.gz")
    assert told.startswith(f"error: {said}")
    assert not (here / "mask.nii.gz").exists()


def test_a_missing_sequence_is_refused(tmp_path, here):
    pair = make_pair_package(tmp_path / "pair").folder
    save_head(here / "head.nii.gz")
    said = refused(3, "run", pair, "T1=head.nii.gz", "-o", "mask.nii.gz")
    assert "tiny-pair takes T1, T2; missing: T2, not wanted: none" in said
    said = refused(3, "run", pair, "T1=head.nii.gz", "FLAIR=head.nii.gz", "-o", "mask.nii.gz")
    assert "missing: T2, not wanted: FLAIR" in said
    said = refused(2, "run", pair, "head.nii.gz", "head.nii.gz", "-o", "mask.nii.gz")
    assert "tiny-pair takes T1, T2; name each file, such as T1=head.nii.gz" in said
    said = refused(2, "run", pair, "T1=head.nii.gz", "T1=head.nii.gz", "-o", "mask.nii.gz")
    assert "expected one file for the sequence T1, got head.nii.gz and head.nii.gz" in said


def test_sequences_that_do_not_lie_over_each_other_are_refused(tmp_path, here):
    pair = make_pair_package(tmp_path / "pair").folder
    save_head(here / "t1.nii.gz")
    elsewhere = make_affine()
    elsewhere[:3, 3] += 500
    save_head(here / "t2.nii.gz", affine=elsewhere)
    said = refused(3, "run", pair, "T1=t1.nii.gz", "T2=t2.nii.gz", "-o", "mask.nii.gz")
    assert "t2.nii.gz covers 0% of the field of view of t1.nii.gz, expected at least 50%" in said
    assert not (here / "mask.nii.gz").exists()


# packages


def one_byte(folder: Path) -> None:
    weights = folder / "graphs/tiny.bin"
    content = bytearray(weights.read_bytes())
    content[100] ^= 1
    weights.write_bytes(content)


def newer_format(folder: Path) -> None:
    edit_manifest(folder, lambda manifest: manifest.update(format_version=3, spec="whatever that will be"))


def unknown_field(folder: Path) -> None:
    edit_manifest(folder, lambda manifest: manifest.update(hint="run me"))


def unknown_field_of_a_step(folder: Path) -> None:
    edit_manifest(folder, lambda manifest: manifest["spec"]["stages"][0]["before"][0].update(speed=1))


def missing_file(folder: Path) -> None:
    (folder / "graphs/tiny.bin").unlink()


def no_package(folder: Path) -> None:
    (folder / "manifest.json").unlink()


def no_json(folder: Path) -> None:
    write_manifest(folder, b"{")


def no_digest(folder: Path) -> None:
    (folder / "DIGEST").unlink()


def relabelled(folder: Path) -> None:
    manifest = folder / "manifest.json"
    manifest.write_bytes(manifest.read_bytes().replace(b'"trained"', b'"random"'))


BAD_PACKAGES = [
    (one_byte, "graphs/tiny.bin: expected the file of the manifest"),
    (newer_format, "manifest.json: expected package format 2, got 3; install a newer brain-edge"),
    (unknown_field, "manifest.json: this version of brain-edge cannot read the manifest: hint: unknown field, exp"),
    (unknown_field_of_a_step, "manifest: spec.stages[0].before[0].speed: unknown field"),
    (missing_file, "graphs/tiny.bin: this file of the package is missing; copy the whole package again"),
    (no_package, "expected a package, a folder with a manifest.json, found none"),
    (no_json, "manifest.json: expected the manifest of a package"),
    (
        no_digest,
        "DIGEST: expected this file with the SHA-256 of manifest.json, found none; copy the package again, or",
    ),
    (relabelled, "the SHA-256 of manifest.json, got"),
]


@pytest.mark.parametrize(("spoil", "said"), BAD_PACKAGES)
def test_a_spoilt_package_is_refused_with_5_by_every_command(package, here, spoil, said):
    save_head(here / "head.nii.gz")
    shutil.copytree(package, here / "spoilt")
    spoil(here / "spoilt")
    for arguments in (["run", "spoilt", "head.nii.gz", "-o", "mask.nii.gz"], ["info", "spoilt"], ["verify", "spoilt"]):
        assert said in refused(5, *arguments)
    assert not (here / "mask.nii.gz").exists()


# every command: random weights, and outputs whose place is taken

UNTRAINED = {
    "run package": "run {untrained} {head} -o {new}.nii.gz",
    "batch-script package": "batch-script {untrained} {images} -o {new} --slurm --tasks 1",
    "bids package": "bids {raw} {new} participant --package {untrained}",
    "evaluate package": "evaluate {untrained} {cohort}",
    "evaluate baseline": "evaluate {package} {cohort} --baseline {untrained}",
    "convert stage_zero": "convert {model} --random-weights --parity-data {head} --stage-zero {untrained} -o {new}",
    "quantize package": "quantize {untrained} --calibration {cohort} --max-dice-drop 0.1 -o {new}",
    "tune package": "tune {untrained} --calibration {cohort} --max-dice-drop 0.1 -o {new}",
    "cohort synthesize generator": "cohort synthesize {head} {head} {head} -o {new} --generator {generator}",
}
"""A call for each parameter that names a package whose masks or images are going to be trusted."""

TAKEN = {
    "run mask": "run {package} {images} -o {file}",
    "run image": "run {generator} {head} --image {folder}.nii.gz --allow-untrained",
    "run brain": "run {package} {head} -o {new}.nii.gz --brain {folder}.nii.gz",
    "run probabilities": "run {package} {head} -o {new}.nii.gz --probabilities {folder}.nii.gz",
    "run report": "run {package} {head} -o {new}.nii.gz --report {folder}.json",
    "run picture": "run {package} {head} -o {new}.nii.gz --picture {folder}.png",
    "run cache": "run {package} {head} -o {new}.nii.gz --cache {file}",
    "batch-script out": "batch-script {package} {images} -o {file} --slurm --tasks 1",
    "prepare out": "prepare T1C={head} -o {file} --keep-skull",
    "bids out": "bids {raw} {folder} participant --package {package}",
    "evaluate report": "evaluate {package} {cohort} --report {folder}.json",
    "convert output": "convert {model} --random-weights --parity-data {head} -o {folder}",
    "convert account": "convert {model} --random-weights --parity-data {head} -o {new} --report {file}",
    "quantize output": "quantize {package} --calibration {cohort} --max-dice-drop 0.1 -o {folder}",
    "quantize report_folder": "quantize {package} --calibration {cohort} --max-dice-drop 0.1 -o {new} --report {file}",
    "quantize explain": "quantize {package} --calibration {cohort} --explain {file}",
    "spec new output": "spec new {model} -o {file}",
    "tune output": "tune {ensemble} --calibration {cohort} --max-dice-drop 0.1 -o {folder}",
    "tune report_folder": "tune {ensemble} --calibration {cohort} --max-dice-drop 0.1 -o {new} --report {file}",
    "cohort create output": "cohort create {images} -o {folder}.toml",
    "cohort synthesize output": "cohort synthesize {head} {head} {head} -o {folder}",
    "wheelhouse output": "wheelhouse {folder}",
    "demo output": "demo -o {file}",
}
"""A call for each parameter that names an output: a folder is there, or a file where a folder is to be."""

READ = {
    *(
        "run inputs",
        "run more_inputs",
        "bids bids_dir",
        "bids level",
        "evaluate cohort",
        "convert source",
        "convert spec_file",
        "convert expect_mask",
    ),
    *("run cases", "batch-script inputs", "batch-script cases", "summarize out", "summarize cases"),
    # a preparation, and what it keeps for the next run
    *("prepare inputs", "prepare like", "prepare atlas", "prepare stage_zero", "batch-script stage_zero"),
    *(f"{command} atlas" for command in ("run", "bids", "evaluate", "quantize", "tune")),
    *(f"{command} prepared" for command in ("run", "bids", "evaluate", "quantize", "tune")),
    *(
        "spec new source",
        "spec new weights",
        "spec check file",
        "spec check source",
        "spec check weights",
        "spec schema",
    ),
    *("bench compare", "cohort check cohort", "cohort create folder"),
    *("cohort fetch cohort", "cohort synthesize maps", "cohort synthesize like", "wheelhouse wheel", "recipes"),
    *("cache clear cache", "cache list cache", "cache path cache"),
    # random weights do not matter: what a package is, whether it is whole, how fast it is
    *("info place", "verify package", "bench package", "wheelhouse packages"),
    # for the contrasts that it states
    *("cohort create model", "cohort check model"),
    # bound by a digest, to what was trained
    *(f"{command} stage_zero" for command in ("run", "bids", "evaluate", "quantize", "tune", "bench")),
    "tune int8",
}
"""What is read alone, and not refused for random weights."""


def names(command: click.Command, path: str, context: click.Context) -> set[str]:
    """All that a user names: command and parameter, of each argument, path and package; a command without any, too."""
    if isinstance(command, click.Group):
        below = {name: command.get_command(context, name) for name in command.list_commands(context)}
        return set().union(*(names(each, f"{path} {name}", context) for name, each in below.items() if each))
    found = {
        f"{path} {each.name}".strip()
        for each in command.params
        if isinstance(each, click.Argument)
        or isinstance(each.type, click.Path)
        or "PKG" in (each.metavar or "")
        or each.name == "package"
    }
    return found or {path.strip()}


def test_the_tables_hold_whatever_a_command_can_be_given():
    assert names(program, "", click.Context(program)) == {*UNTRAINED, *TAKEN, *READ}
    assert len({*UNTRAINED, *TAKEN, *READ}) == len(UNTRAINED) + len(TAKEN) + len(READ)


@pytest.fixture(scope="module")
def given(tmp_path_factory, package) -> dict[str, Path | str]:
    """What the calls of the tables name, but for their outputs."""
    home = tmp_path_factory.mktemp("given")
    model = ModelSource(spade.spec((64, 64)), spade.spade_graphs(2, 4), spade.CARD, LICENCE)
    study = stand_in(Phantom(shape=(40, 48, 2), spacing_mm=4.0), model.spec)
    convert(model, dict.fromkeys(model.spec.graphs), study, home / "generator", ConvertOptions())
    phantom_dataset(home / "raw", ["sub-01_ses-1_T1w"])
    (home / "images").mkdir()
    return {
        "package": package,
        "untrained": make_package(home / "untrained", weights_status=WeightsStatus.RANDOM).folder,
        "ensemble": make_ensemble(home / "ensemble").folder,
        "generator": home / "generator",
        "model": "meshnet-tissue",
        "head": save_phantom(home / "head.nii.gz"),
        "raw": home / "raw",
        "images": save_phantom(home / "images/head.nii.gz").parent,
        "cohort": save_manifest(home, *three_heads(home)),
        "results": Path(__file__).parents[2] / "benchmarks/results",
    }


@pytest.mark.parametrize("call", UNTRAINED.values(), ids=UNTRAINED)
def test_random_weights_are_refused_with_3(given, here, call):
    done = brain_edge(*call.format(**given, new=here / "new").split())
    assert done.code == 3, done.err
    assert "the weights of this package are random, " in done.err
    assert list(here.iterdir()) == []


@pytest.mark.parametrize("call", TAKEN.values(), ids=TAKEN)
def test_an_output_whose_place_is_taken_is_refused_with_2_and_kept(given, here, call):
    for suffix in ("", ".nii.gz", ".json", ".png", ".toml"):
        (here / f"folder{suffix}").mkdir()
        (here / f"folder{suffix}/thesis.txt").write_text("mine")
    (here / "file").write_text("mine")
    before = contents(here)
    done = brain_edge(*call.format(**given, **{name: here / name for name in ("folder", "file", "new")}).split())
    assert done.code == 2, done.err
    assert re.search(rf"^error: {here}/(folder|file).*(already exists|expected)", done.err, re.MULTILINE)
    assert contents(here) == before


# the one place


def test_every_error_has_the_exit_code_of_its_class():
    codes = {name: kind("x", "y", "z") if kind is errors.MissingExtraError else kind("x") for name, kind in tree()}
    assert {name: exit_code(error) for name, error in codes.items()} == {
        "BatchError": 6,
        "BrainEdgeError": 1,
        "BudgetError": 4,
        "GeometryError": 3,
        "ImplausibleError": 1,
        "InputError": 3,
        "MissingExtraError": 1,
        "OutputError": 1,
        "PackageError": 5,
        "ParityError": 1,
        "UsageError": 2,
        "MemoryShortError": 3,
        "WeightsError": 3,
    }


def tree() -> list[tuple[str, type[BrainEdgeError]]]:
    kinds = {name: kind for name, kind in vars(errors).items() if isinstance(kind, type)}
    return sorted((name, kind) for name, kind in kinds.items() if issubclass(kind, errors.BrainEdgeError))


@pytest.mark.parametrize(
    ("error", "code", "said"),
    [
        (errors.InputError("a.nii: no"), 3, "error: a.nii: no"),
        (errors.BrainEdgeError("no"), 1, "error: a.nii: no"),
        (RuntimeError("can't start new thread"), 1, "error: a.nii: the system allows no further thread (ulimit -u);"),
        (MemoryError("8 GiB"), 1, "error: a.nii: there is not enough memory (8 GiB); close other programs"),
        (PermissionError(13, "Permission denied", "/x"), 1, "error: a.nii: the system refused: [Errno 13] Permission"),
        (ValueError("no"), 1, "internal error, a bug of brain-edge: a.nii: ValueError: no; run the command again with"),
        (KeyboardInterrupt(), 130, "interrupted; nothing half-written was left"),
        (click.Abort(), 130, "interrupted; nothing half-written was left"),
    ],
)
def test_every_exception_becomes_a_code_and_a_sentence_that_names_its_case_once(error, code, said):
    assert exit_code(error) == code
    assert words(error, about="a.nii").startswith(said)


@pytest.mark.usefixtures("here")
def test_a_traceback_is_for_those_who_ask_for_it_on_either_side_of_the_command(package):
    arguments = ("run", package, "no.nii", "-o", "mask.nii")
    assert "Traceback" not in refused(3, *arguments)
    for call in (("--debug", *arguments), (*arguments, "--debug")):
        done = brain_edge(*call)
        assert done.code == 3
        assert done.err.startswith("Traceback (most recent call last):")
        assert done.err.splitlines()[-1] == "error: no.nii: there is no such file; check the path"


def test_wrong_usage_never_has_a_traceback():
    assert "No such command 'segment'" in refused(2, "segment")
    assert "No such option" in refused(2, "run", "--fast")
    done = brain_edge("--debug", "run")
    assert (done.code, "Traceback" in done.err) == (2, False)


# children: what only a real process shows


@pytest.mark.usefixtures("here")
def test_the_exit_code_is_that_of_the_process():
    done = child("info", "nowhere")
    assert (done.code, done.out) == (5, "")
    assert done.err.startswith("error: nowhere: expected a package, a folder with a manifest.json, found none here or ")
    assert done.err.count("\n") == 1
    assert child("run").code == 2


def test_the_installed_script_is_the_same_program():
    script = shutil.which("brain-edge", path=os.path.dirname(sys.executable))  # noqa: PTH120 - not resolved: a venv's
    assert script is not None, "brain-edge is not installed beside this Python"
    done = subprocess.run([script, "info", "nowhere"], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (5, "")


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="needs a device that is always full")  # noqa: PTH110
def test_a_result_that_could_not_be_printed_is_a_failure(package):
    with open("/dev/full", "w") as full:  # noqa: PTH123 - a device
        done = subprocess.run(
            child_command("info", package),
            stdout=full,
            stderr=subprocess.PIPE,
            text=True,
            env=child_environment(),
            check=False,
        )
    assert done.returncode == 1
    assert "No space left on device" in done.stderr
    assert "Traceback" not in done.stderr
