"""`brain-edge run`: images in; masks, and whatever else was asked for, out. All of it or nothing."""

from __future__ import annotations

import os
import re
import subprocess
import tempfile
from pathlib import Path

import msgspec
import nibabel
import numpy as np
import pytest
from cli_program import (
    brain_edge,
    child,
    child_command,
    child_environment,
    make_package,
    make_pair_package,
    refused,
    save_phantom,
    save_specks,
    succeed,
)
from scipy.ndimage import binary_dilation
from tiny_package import CASCADE, SPEC

from brain_edge.package import WeightsStatus, open_package
from brain_edge.spec import Label


@pytest.fixture(scope="module")
def package(tmp_path_factory) -> Path:
    return make_package(tmp_path_factory.mktemp("tiny")).folder


@pytest.fixture(scope="module")
def pair(tmp_path_factory) -> Path:
    return make_pair_package(tmp_path_factory.mktemp("pair")).folder


@pytest.fixture
def here(tmp_path, monkeypatch) -> Path:
    """An empty current folder with one head, `head.nii.gz`."""
    monkeypatch.chdir(tmp_path)
    return save_phantom(tmp_path / "head.nii.gz").parent


def voxels(path: Path) -> np.ndarray:
    return np.asarray(nibabel.load(path).dataobj)


def names(folder: Path) -> list[str]:
    """Everything in a folder, hidden files too."""
    return sorted(path.name for path in folder.iterdir())


# one case


@pytest.mark.usefixtures("here")
def test_a_mask_on_the_grid_of_the_head_and_one_line_on_stdout(package):
    done = succeed("run", package, "head.nii.gz", "-o", "mask.nii.gz")
    mask, head = nibabel.load("mask.nii.gz"), nibabel.load("head.nii.gz")
    assert mask.shape == head.shape
    np.testing.assert_array_equal(mask.affine, head.affine)
    millilitres = np.count_nonzero(mask.dataobj) * 4.0**3 / 1000
    assert done.out.startswith(f"mask.nii.gz: brain {millilitres:.1f} ml (")
    assert done.out.count("\n") == 1
    assert done.err == ""


def test_an_input_may_be_an_option_or_have_its_sequence_name(package, here):
    for number, how in enumerate(
        (["head.nii.gz"], ["-i", "head.nii.gz"], ["T1=head.nii.gz"], ["-i", "T1=head.nii.gz"])
    ):
        succeed("run", package, *how, "-o", f"{number}.nii")
    assert len({(here / f"{number}.nii").read_bytes() for number in range(4)}) == 1


def test_a_file_whose_name_looks_like_a_named_sequence_is_a_file(package, here):
    (here / "head.nii.gz").rename(here / "T2=head.nii.gz")
    succeed("run", package, "T2=head.nii.gz", "-o", "mask.nii.gz")


def test_two_sequences_are_given_by_name(pair, here):
    save_phantom(here / "t2.nii.gz", seed=5)
    done = succeed("run", pair, "T2=t2.nii.gz", "T1=head.nii.gz", "-o", "mask.nii.gz", "--json")
    assert done.json["inputs"] == {"T1": "head.nii.gz", "T2": "t2.nii.gz"}


def test_json_says_what_was_made_of_what(package, here):
    record = succeed("run", package, "head.nii.gz", "-o", "mask.nii.gz", "--threads", 1, "--json").json
    assert record["digest"] == open_package(package).digest
    assert (record["model"], record["weights_status"], record["number_format"]) == ("tiny", "trained", "fp32")
    assert (record["inputs"], record["mask"]) == ({"T1": "head.nii.gz"}, "mask.nii.gz")
    assert (record["threads"], record["border_mm"], record["flags"]) == (1, 0.0, [])
    assert record["volumes_ml"]["brain"] == pytest.approx(np.count_nonzero(voxels(here / "mask.nii.gz")) * 0.064)
    assert {"read", "write", "total"} <= set(record["elapsed_ms"])
    assert "Not a medical device" in record["intended_use"]


@pytest.mark.usefixtures("here")
def test_quiet_is_silent_and_does_not_silence_what_was_asked_for(package):
    """As with HD-BET's and SynthStrip's own: nothing is said where nothing is wrong."""
    done = succeed("run", package, "head.nii.gz", "-o", "mask.nii.gz", "--quiet")
    assert (done.out, done.err) == ("", "")
    assert succeed("run", package, "head.nii.gz", "-o", "mask.nii.gz", "--quiet", "--json").json["model"] == "tiny"


def test_every_other_output(package, here):
    outputs = ("--brain", "brain.nii.gz", "--probabilities", "p.nii", "--report", "record.json")
    done = succeed("run", package, "head.nii.gz", "-o", "mask.nii.gz", *outputs, "--json")
    mask, head = voxels(here / "mask.nii.gz"), voxels(here / "head.nii.gz")
    np.testing.assert_array_equal(voxels(here / "brain.nii.gz"), np.where(mask, head, 0))
    probabilities = voxels(here / "p.nii")
    assert probabilities.shape == (*head.shape, 2)
    assert probabilities.dtype == np.float32
    np.testing.assert_allclose(probabilities.sum(-1), 1, atol=1e-5)
    assert (here / "record.json").read_text().strip() == done.out.strip()
    assert names(here) == ["brain.nii.gz", "head.nii.gz", "mask.nii.gz", "p.nii", "record.json"]


def test_a_picture_as_the_report(package, here):
    succeed("run", package, "head.nii.gz", "-o", "mask.nii.gz", "--report", "qc.png")
    assert (here / "qc.png").read_bytes().startswith(b"\x89PNG")


def test_a_border_is_in_millimetres(package, here):
    succeed("run", package, "head.nii.gz", "-o", "plain.nii.gz")
    done = succeed("run", package, "head.nii.gz", "-o", "wide.nii.gz", "--border", "4", "--json")
    grown = binary_dilation(voxels(here / "plain.nii.gz"))  # 6 neighbours are within 4 mm at 4 mm a voxel
    np.testing.assert_array_equal(voxels(here / "wide.nii.gz") > 0, grown)
    assert done.json["border_mm"] == 4.0


@pytest.mark.usefixtures("here")
def test_the_digest_that_was_received_by_another_way_is_compared(package):
    digest = open_package(package).digest
    succeed("run", package, "head.nii.gz", "-o", "mask.nii.gz", "--expect-digest", digest.upper())
    other = "0" * 64
    said = refused(5, "run", package, "head.nii.gz", "-o", "no.nii", "--expect-digest", other)
    assert f"expected a package with the digest {other}, got {digest}" in said
    said = refused(2, "run", package, "head.nii.gz", "-o", "no.nii", "--expect-digest", digest[:16])
    assert "expected a digest of 64 hex digits" in said


def test_random_weights_run_only_where_that_is_asked_for_and_are_marked(tmp_path, here):
    untrained = make_package(tmp_path / "untrained", weights_status=WeightsStatus.RANDOM).folder
    said = refused(3, "run", untrained, "head.nii.gz", "-o", "mask.nii.gz")
    assert "random, so its mask is noise; give --allow-untrained" in said
    assert not (here / "mask.nii.gz").exists()
    done = succeed("run", untrained, "head.nii.gz", "-o", "mask.nii.gz", "--allow-untrained", "--json")
    assert done.json["weights_status"] == "random"
    assert "are random; the mask is noise" in done.err
    assert "UNTRAINED" in nibabel.load(here / "mask.nii.gz").header["descrip"].item().decode()


# a mask that is absurd


def test_an_implausible_input_is_flagged_on_stderr_and_in_json(package, here):
    save_phantom(here / "coarse.nii.gz", shape=(26, 30, 28), spacing_mm=7.0)
    done = succeed("run", package, "coarse.nii.gz", "-o", "mask.nii.gz", "--quiet", "--json")
    assert "warning: coarse.nii.gz: spacing of 7 mm, expected 0.5 to 6 mm" in done.err
    (flag,) = [flag for flag in done.json["flags"] if flag["kind"] == "spacing"]
    assert (flag["value"], flag["low"], flag["high"]) == (7.0, 0.5, 6.0)


def test_strict_writes_nothing_where_anything_is_implausible(package, here):
    save_phantom(here / "coarse.nii.gz", shape=(26, 30, 28), spacing_mm=7.0)
    said = refused(1, "run", package, "coarse.nii.gz", "-o", "mask.nii.gz", "--strict", "--report", "r.json")
    assert "error: coarse.nii.gz: spacing of 7 mm, expected 0.5 to 6 mm" in said
    assert "nothing was written" in said
    assert names(here) == ["coarse.nii.gz", "head.nii.gz"]


@pytest.mark.usefixtures("here")
def test_a_mask_taken_for_a_head_is_told_and_strict_refuses_it(package):
    """What `run` has just written, given to it as an image."""
    succeed("run", package, "head.nii.gz", "-o", "mask.nii.gz")
    words = "T1 looks like a label map or mask, not an image"
    assert words in brain_edge("run", package, "mask.nii.gz", "-o", "again.nii.gz").err
    assert words in refused(1, "run", package, "mask.nii.gz", "-o", "strict.nii.gz", "--strict")
    assert not Path("strict.nii.gz").exists()


@pytest.mark.usefixtures("here")
def test_strict_lets_a_plausible_mask_pass(package):
    succeed("run", package, "head.nii.gz", "-o", "mask.nii.gz", "--strict")


@pytest.mark.parametrize("spec", [SPEC, CASCADE], ids=["at the end", "in the first stage"])
def test_an_empty_mask_is_always_a_failure(tmp_path, here, spec):
    folder = make_package(tmp_path / "package", spec).folder
    save_specks(here / "specks.nii.gz")
    said = refused(1, "run", folder, "specks.nii.gz", "-o", "mask.nii.gz")
    assert "error: specks.nii.gz: " in said
    assert "nothing was written" in said
    assert not (here / "mask.nii.gz").exists()


# what is refused before the work


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["head.nii.gz", "-o", "mask.mgz"], "mask.mgz: expected a mask file that ends in .nii or .nii.gz"),
        (["head.nii.gz", "-o", "m.nii", "--brain", "b.img"], "b.img: expected a brain file that ends in .nii"),
        (["head.nii.gz", "-o", "m.nii", "--probabilities", "p.npy"], "p.npy: expected a probabilities file"),
        (["head.nii.gz", "-o", "m.nii", "--report", "r.html"], "r.html: expected a report file that ends in .json or"),
        (
            ["head.nii.gz", "-o", "m.nii", "--brain", "m.nii"],
            "two outputs have the same name, choose others: m.nii, m.nii",
        ),
        (["head.nii.gz", "-o", "head.nii.gz"], "head.nii.gz: this output would overwrite an input"),
        (
            ["head.nii.gz", "-o", "m.nii", "--brain", "link.nii.gz"],
            r"link.nii.gz: this output would overwrite an input",
        ),
        (["head.nii.gz", "-o", "m.nii", "--threads", "0"], "0 is not in the range x>=1"),
        (["head.nii.gz", "-o", "m.nii", "--threads", "two"], "'two' is not a valid integer"),
        (["head.nii.gz", "-o", "m.nii", "--border", "nan"], "expected a border in mm, got nan"),
        (["head.nii.gz", "-o", "m.nii", "--border", "-1000"], "a border of -1000 mm removes the whole mask"),
        (["head.nii.gz"], "expected an output, got none; give -o OUT (a mask) or --image OUT"),
        (["-o", "m.nii"], "expected at least one input image, got none"),
        (["head.nii.gz", "head.nii.gz", "-o", "m.nii"], "2 images, but m.nii is one file; name a folder"),
        ([".", "-o", "m.nii"], ". is a folder of images, and m.nii is one file; name a folder"),
        ([".", "-o", "."], ".: results would lie among the images"),
        ([".", "-o", "inside"], "inside: results would lie among the images of ."),
        (["head.nii.gz", "link.nii.gz", "head.nii.gz", "-o", "."], "would both write head_mask.nii.gz"),
        (["head.nii.gz", "-o", "m.nii", "--shard", "1/2"], "--shard needs a batch, but m.nii is one file"),
        (["head.nii.gz", "-o", "m.nii", "--at-once", "2"], "--at-once needs a batch"),
        (["head.nii.gz", "-o", "out", "--shard", "3/2"], "expected a shard from 1/2 to 2/2, got 3/2"),
        (["head.nii.gz", "-o", "out", "--shard", "1"], "expected a shard such as 1/4 (the first of four), got '1'"),
        (["head.nii.gz", "-o", "out", "--at-once", "0"], "0 is not in the range x>=1"),
    ],
)
def test_wrong_usage_is_said_before_anything_is_written(package, here, arguments, words):
    (here / "link.nii.gz").symlink_to("head.nii.gz")
    assert words in refused(2, "run", package, *arguments)
    assert names(here) == ["head.nii.gz", "link.nii.gz"]


@pytest.mark.usefixtures("here")
def test_a_border_is_for_a_model_of_one_label(tmp_path):
    spec = msgspec.structs.replace(SPEC, labels=(*SPEC.labels, Label(value=2, name="other")))
    folder = make_package(tmp_path / "package", spec).folder
    said = refused(2, "run", folder, "head.nii.gz", "-o", "mask.nii.gz", "--border", "1")
    assert "--border needs a mask of one label; tiny has 2 labels: brain, other" in said


@pytest.mark.parametrize("option", [["-o", "no/mask.nii"], ["-o", "m.nii", "--report", "no/r.json"], ["-o", "no/out"]])
def test_a_missing_output_folder_is_not_made_up(package, here, option):
    """But the folder of a batch itself, where the one that it lies in is there."""
    said = refused(1, "run", package, "head.nii.gz", *option)
    assert "create it first" in said
    assert names(here) == ["head.nii.gz"]


def test_an_output_folder_without_write_permission(without_rights):
    with tempfile.TemporaryDirectory() as name:  # other users cannot look into pytest's folders
        place = Path(name)
        place.chmod(0o755)
        folder = make_package(place / "tiny").folder
        save_phantom(place / "head.nii.gz")
        (place / "closed").mkdir(mode=0o500)
        with without_rights(place / "closed"):
            said = refused(1, "run", folder, place / "head.nii.gz", "-o", place / "closed/mask.nii.gz")
        assert names(place / "closed") == []
    assert "there is no permission to write in the folder" in said


@pytest.mark.usefixtures("here")
def test_an_output_folder_on_a_read_only_disk(package, read_only_disk):
    said = refused(1, "run", package, "head.nii.gz", "-o", read_only_disk / "mask.nii.gz")
    assert "is on a read-only disk; choose another folder" in said


@pytest.mark.parametrize(
    "outputs",
    [["-o", "mask.nii"], ["-o", "mask.nii.gz", "--probabilities", "p.nii"], ["-o", "mask.nii.gz", "--brain", "b.nii"]],
    ids=["mask", "probabilities", "brain"],
)
@pytest.mark.usefixtures("here")
def test_a_full_disk_leaves_neither_halves_nor_some_of_the_outputs(package, small_disk, outputs):
    outputs = [word if word.startswith("-") else small_disk / word for word in outputs]
    said = refused(1, "run", package, "head.nii.gz", *outputs)
    assert f"{outputs[-1]}: could not be written: the disk is full" in said
    assert ".partial" not in said
    assert names(small_disk) == []


@pytest.mark.usefixtures("here")
def test_an_older_result_survives_a_run_that_fails(package, small_disk):
    (small_disk / "mask.nii.gz").write_bytes(b"older")
    outputs = ("-o", small_disk / "mask.nii.gz", "--probabilities", small_disk / "p.nii")
    refused(1, "run", package, "head.nii.gz", *outputs)
    assert (small_disk / "mask.nii.gz").read_bytes() == b"older"


def test_a_picture_without_matplotlib_is_refused_before_the_work(package, here):
    done = child("run", package, "head.nii.gz", "-o", "mask.nii.gz", "--report", "qc.png", without=["matplotlib"])
    assert done.code == 1
    assert "needs matplotlib, which is not installed here: pip install 'brain-edge[report]'" in done.err
    assert names(here) == ["head.nii.gz"]


# two streams


def on_a_terminal(*arguments: object) -> tuple[str, str]:
    """What a child writes to stdout (a pipe) and to stderr (a terminal of 80 columns)."""
    pty = pytest.importorskip("pty", reason="a terminal of its own is a POSIX thing")
    leader, follower = pty.openpty()
    command = child_command(*arguments)
    environment = {**child_environment(), "COLUMNS": "80", "TERM": "xterm"}
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=follower, env=environment) as process:
        os.close(follower)
        shown = read_terminal(leader)
        out, _ = process.communicate(timeout=60)
    assert process.returncode == 0, shown
    return out.decode(), shown


def read_terminal(leader: int) -> str:
    blocks = []
    try:
        while block := os.read(leader, 65536):
            blocks.append(block)
    except OSError:  # Linux says EIO where the other end is closed
        pass
    finally:
        os.close(leader)
    return b"".join(blocks).decode()


def test_on_a_terminal_there_is_a_progress_bar_on_stderr_and_only_results_on_stdout(package, here):
    (here / "out").mkdir()
    out, shown = on_a_terminal("run", package, "head.nii.gz", "-o", "mask.nii.gz")
    assert out.startswith("mask.nii.gz: brain ")
    assert "tiny" in shown
    assert "100%" in shown
    assert "brain 1" not in shown


@pytest.mark.full  # four seconds of a bar
def test_the_bar_of_a_batch_says_how_much_time_is_left(package, here):
    (here / "in").mkdir()
    for case in range(60):
        (here / f"in/{case:03}.nii.gz").symlink_to(here / "head.nii.gz")
    out, shown = on_a_terminal("run", package, "in", "-o", "out")
    assert out.count("_mask.nii.gz: brain ") == 60
    assert re.search(r"\d\d%  00:00:\d\d", shown)
    assert "100%" in shown


@pytest.mark.full  # two processes; in CI the bar and its absence away from a terminal
@pytest.mark.usefixtures("here")
def test_quiet_has_no_bar_even_on_a_terminal(package):
    assert on_a_terminal("run", package, "head.nii.gz", "-o", "mask.nii.gz", "-q") == ("", "")


@pytest.mark.usefixtures("here")
def test_away_from_a_terminal_there_is_no_bar(package):
    done = child("run", package, "head.nii.gz", "-o", "mask.nii.gz")
    assert (done.code, done.err) == (0, "")
    assert done.out.startswith("mask.nii.gz: brain ")
