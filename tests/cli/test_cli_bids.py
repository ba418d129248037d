"""`brain-edge bids`: from a raw dataset to derivatives that the official validator accepts."""

from __future__ import annotations

import json
import shutil
import subprocess

import msgspec
import nibabel as nib
import numpy as np
import pytest
from bids_dataset import contents, head_dataset, phantom_dataset, validate
from cli_program import brain_edge, make_pair_package, refused, save_specks, succeed
from tiny_package import SPEC, make_package

from brain_edge.cli.bids import spread
from brain_edge.image.contrast import Contrast
from brain_edge.spec import Label, Plausible, Sequence, Task

ONLY_WARNING = {"TOO_FEW_AUTHORS"}
"""Who the authors of somebody's derivatives are is not for a program to say."""

IMAGES = ("sub-01_ses-1_T1w", "sub-01_ses-2_acq-hi_run-2_T1w", "sub-02_ses-1_T1w", "sub-02_ses-1_FLAIR")
MASK = "sub-01/ses-1/anat/sub-01_ses-1_space-orig_desc-brain_mask"


@pytest.fixture(scope="module")
def work(tmp_path_factory):
    """A dataset of phantoms, a skull-stripper for T1, and its derivatives."""
    folder = tmp_path_factory.mktemp("bids")
    phantom_dataset(folder / "raw", IMAGES)
    (folder / "tiny").mkdir()
    make_package(folder / "tiny")
    return folder


@pytest.fixture(scope="module")
def done(work):
    before = contents(work / "raw")
    run = succeed("bids", work / "raw", work / "out", "participant", "--package", work / "tiny", "--brain")
    assert contents(work / "raw") == before
    return run


@pytest.fixture
def raw(work, tmp_path):
    """The dataset, to be changed."""
    return shutil.copytree(work / "raw", tmp_path / "raw")


def test_what_only_a_preparation_takes_is_refused_before_anything_is_written(work, tmp_path):
    dataset = ("bids", work / "raw", tmp_path / "out", "participant", "--package", work / "tiny")
    words = refused(2, *dataset, "--atlas", work / "atlas.nii.gz", "--prepared", tmp_path / "kept")
    assert "--atlas, --prepared have no effect with tiny, which has no preparation; remove them" in words
    assert not (tmp_path / "out").exists()


def test_the_validator_passes_raw_dataset_and_derivatives(work, done):  # noqa: ARG001
    assert validate(work / "raw")["error"] == set()
    assert validate(work / "out") == {"error": set(), "warning": ONLY_WARNING}


def test_there_is_a_mask_with_its_explanation_for_each_image_of_the_type(work, done):
    masks = sorted(path.name for path in (work / "out").rglob("*_mask.nii.gz"))
    assert masks == [
        "sub-01_ses-1_space-orig_desc-brain_mask.nii.gz",
        "sub-01_ses-2_acq-hi_run-2_space-orig_desc-brain_mask.nii.gz",
        "sub-02_ses-1_space-orig_desc-brain_mask.nii.gz",
    ]
    for path in (work / "out").rglob("sub-*.nii.gz"):
        assert path.with_name(path.name.replace(".nii.gz", ".json")).is_file()
    assert (
        "note: images left out, because the model does not take their contrast: sub-02_ses-1_FLAIR.nii.gz" in done.err
    )


def test_a_mask_lies_on_the_grid_of_its_source(work, done):  # noqa: ARG001
    out = work / "out"
    said = json.loads((out / f"{MASK}.json").read_text())
    linked = json.loads((out / "dataset_description.json").read_text())["DatasetLinks"]["raw"]
    source = out / linked / said["Sources"][0].removeprefix("bids:raw:")
    assert said["SpatialReference"] == said["Sources"][0]
    image, mask = nib.load(source), nib.load(out / f"{MASK}.nii.gz")
    assert mask.shape == image.shape
    np.testing.assert_array_equal(mask.affine, image.affine)
    volume_ml = np.count_nonzero(mask.get_fdata()) * np.prod(mask.header.get_zooms()) / 1000
    assert said["BrainEdge"]["VolumesMl"] == {"brain": pytest.approx(volume_ml, abs=0.001)}
    assert said["BrainEdge"]["PackageDigest"] in (out / "README.md").read_text()


def test_the_image_inside_the_mask_says_that_it_is_stripped(work, done):  # noqa: ARG001
    name = MASK.replace("_mask", "_T1w")
    assert json.loads((work / "out" / f"{name}.json").read_text())["SkullStripped"] is True
    brain, mask = (nib.load(work / "out" / f"{path}.nii.gz").get_fdata() for path in (name, MASK))
    assert not brain[mask == 0].any()
    assert brain[mask == 1].any()


def test_records_and_summary_lie_where_validators_do_not_look(work, done):  # noqa: ARG001
    logs = work / "out" / "logs"
    assert {"summary.tsv", "summary.json", "sub-01_ses-1_T1w_record.json"} <= {path.name for path in logs.iterdir()}


def test_a_second_run_keeps_everything(work, done):  # noqa: ARG001
    before = contents(work / "out")
    again = succeed("bids", work / "raw", work / "out", "participant", "-p", work / "tiny", "--brain")
    after = contents(work / "out")
    assert {path for path in before.keys() | after.keys() if before.get(path) != after.get(path)} <= {
        "logs/summary.tsv",
        "logs/summary.json",
    }
    assert "kept" in again.out


def test_an_explanation_that_was_lost_is_written_again_from_the_record(work, done):  # noqa: ARG001
    path = work / "out" / f"{MASK}.json"
    text = path.read_text()
    path.unlink()
    succeed("bids", work / "raw", work / "out", "participant", "-p", work / "tiny", "--brain")
    assert path.read_text() == text


def test_derivatives_may_lie_in_the_folder_that_bids_has_for_them(work, raw):
    before = contents(raw)
    out = raw / "derivatives" / "brain-edge"
    succeed("bids", raw, out, "participant", "-p", work / "tiny", "--participant-label", "02")
    assert {path: digest for path, digest in contents(raw).items() if not path.startswith("derivatives/")} == before
    assert validate(raw)["error"] == set()
    assert validate(out) == {"error": set(), "warning": ONLY_WARNING}


def test_a_dataset_that_cannot_be_written_to_is_enough(work, read_only_disk, tmp_path):
    """The input of a study is often mounted read-only."""
    subprocess.run(["mount", "--bind", work / "raw", read_only_disk], check=True)
    try:
        subprocess.run(["mount", "-o", "remount,bind,ro", read_only_disk], check=True)
        succeed("bids", read_only_disk, tmp_path / "out", "participant", "-p", work / "tiny", "--session-id", "2")
        assert len(list((tmp_path / "out").rglob("*_mask.nii.gz"))) == 1
    finally:
        subprocess.run(["umount", read_only_disk], check=True)


@pytest.mark.parametrize("labels", [["01", "02"], ["sub-01", "sub-02"], ["01,02"], ["01 02"]])
def test_lists_of_labels_are_taken_as_bids_apps_take_them(work, tmp_path, labels):
    call = ("participant", "--participant-label", *labels, "--session-id", "1", "-p", work / "tiny", "--shard", "1/1")
    succeed("bids", work / "raw", tmp_path / "out", *call)
    assert {path.name[:12] for path in (tmp_path / "out").rglob("*_mask.nii.gz")} == {"sub-01_ses-1", "sub-02_ses-1"}


def test_a_list_before_the_analysis_level_takes_one_label():
    before = ["--participant-label", "01", "raw", "out", "participant"]
    assert spread(before) == before
    assert spread([*before[2:], "--participant_label", "01", "02", "-q", "--session-id", "1", "2"]) == [
        *before[2:],
        *("--participant_label", "01", "--participant_label", "02", "-q"),
        *("--session-id", "1", "--session-id", "2"),
    ]


LABELS = msgspec.structs.replace(
    SPEC,
    name="tiny-tissue",
    task=Task.TISSUE,
    inputs=(Sequence(name="image", contrasts=(Contrast.T1W, Contrast.FLAIR)),),
    labels=(Label(value=1, name="grey-matter"), Label(value=2, name="white-matter")),
    plausible=Plausible(),
)


def test_a_label_map_has_a_table_and_the_type_of_its_image(work, tmp_path):
    (tmp_path / "tissue").mkdir()
    make_package(tmp_path / "tissue", LABELS)
    out = tmp_path / "out"
    succeed("bids", work / "raw", out, "participant", "-p", tmp_path / "tissue", "--participant-label", "02")
    assert validate(out) == {"error": set(), "warning": ONLY_WARNING}
    folder = out / "sub-02/ses-1/anat"
    stems = [f"sub-02_ses-1_space-orig_desc-{suffix}_dseg" for suffix in ("FLAIR", "T1w")]
    assert sorted(path.name for path in folder.iterdir()) == [
        f"{stem}{extension}" for stem in stems for extension in (".json", ".nii.gz", ".tsv")
    ]
    rows = (folder / f"{stems[0]}.tsv").read_text().splitlines()
    assert rows[1:] == ["0\tbackground\tBG\t0", "1\tgrey-matter\tGM\t1", "2\twhite-matter\tWM\t2"]
    assert not (out / "dataset_description.json").read_text().count("mask")


def test_mod_is_no_entity_of_a_mask(work, done, tmp_path):  # noqa: ARG001
    """Why `desc-` says the type of the image: the validator takes `mod-` for an error."""
    out = shutil.copytree(work / "out", tmp_path / "out")
    (out / f"{MASK}.nii.gz").rename(out / f"{MASK.replace('_space', '_mod-T1w_space')}.nii.gz")
    assert "ALL_FILENAME_RULES_HAVE_ISSUES" in validate(out)["error"]


def test_a_model_of_two_sequences_does_the_complete_sessions_and_names_what_others_lack(tmp_path):
    raw = phantom_dataset(tmp_path / "raw", ["sub-01_T1w", "sub-01_T2w", "sub-02_T1w", "sub-03_T2w", "sub-03_T1w"])
    (tmp_path / "pair").mkdir()
    make_pair_package(tmp_path / "pair")
    ended = brain_edge("bids", raw, tmp_path / "out", "participant", "-p", tmp_path / "pair")
    assert ended.code == 6
    assert "sub-02: expected an image for the sequence T2 (T2w), got none" in ended.err
    assert "1 of 3 cases failed" in ended.err
    said = json.loads((tmp_path / "out/sub-01/anat/sub-01_space-orig_desc-brain_mask.json").read_text())
    assert said["Sources"] == ["bids:raw:sub-01/anat/sub-01_T1w.nii.gz", "bids:raw:sub-01/anat/sub-01_T2w.nii.gz"]
    assert validate(tmp_path / "out") == {"error": set(), "warning": ONLY_WARNING}


def test_images_of_types_that_a_model_does_not_declare_get_masks_of_their_own(work, tmp_path):
    """It declares T1w and is told FLAIR, too: both images of a session would have one name for their masks."""
    raw = phantom_dataset(tmp_path / "raw", ["sub-01_T1w", "sub-01_FLAIR"])
    call = (
        "bids",
        raw,
        tmp_path / "out",
        "participant",
        "-p",
        work / "tiny",
        "--sequence",
        "T1w",
        "--sequence",
        "FLAIR",
    )
    succeed(*call)
    masks = {path.name: path for path in (tmp_path / "out").rglob("*_mask.json")}
    assert {name: json.loads(path.read_text())["Sources"] for name, path in masks.items()} == {
        "sub-01_space-orig_desc-brain_mask.json": ["bids:raw:sub-01/anat/sub-01_T1w.nii.gz"],
        "sub-01_space-orig_desc-brainFLAIR_mask.json": ["bids:raw:sub-01/anat/sub-01_FLAIR.nii.gz"],
    }
    assert "2 of 2 cases were already finished and are kept" in succeed(*call).out
    assert validate(tmp_path / "out") == {"error": set(), "warning": ONLY_WARNING}


def test_a_broken_image_fails_alone_and_leaves_valid_derivatives(work, raw, tmp_path):
    (raw / "sub-02/ses-1/anat/sub-02_ses-1_T1w.nii.gz").write_bytes(b"no image")
    save_specks(raw / "sub-01/ses-1/anat/sub-01_ses-1_T1w.nii.gz")
    ended = brain_edge("bids", raw, tmp_path / "out", "participant", "-p", work / "tiny")
    assert ended.code == 6
    assert "2 of 3 cases failed" in ended.err
    assert len(list((tmp_path / "out").rglob("*_mask.nii.gz"))) == 1
    assert validate(tmp_path / "out") == {"error": set(), "warning": ONLY_WARNING}


def test_the_page_is_with_the_records(work, tmp_path):
    pytest.importorskip("matplotlib", reason="pictures need matplotlib")
    call = ("participant", "-p", work / "tiny", "--page", "--participant-label", "02")
    succeed("bids", work / "raw", tmp_path / "out", *call)
    logs = tmp_path / "out" / "logs"
    assert {"index.html", "sub-02_ses-1_T1w_picture.png"} <= {path.name for path in logs.iterdir()}
    assert validate(tmp_path / "out")["error"] == set()


def test_the_group_level_is_refused_with_the_reason(work, tmp_path):
    words = refused(2, "bids", work / "raw", tmp_path / "out", "group", "-p", work / "tiny")
    assert "expected the analysis level participant, got 'group': each mask is made from one participant" in words
    assert "got 'qc'\n" in refused(2, "bids", work / "raw", tmp_path / "out", "qc", "-p", work / "tiny")


BAD = {
    "no such subject": (3, ("--participant-label", "07"), "there is no subject 07; the dataset has 01, 02"),
    "no such session": (3, ("--session-id", "ses-9"), "there is no session 9; the dataset has 1, 2"),
    "no image of the type": (3, ("--sequence", "T2w"), "expected images of the contrast T2w"),
    "no such type": (2, ("--sequence", "bold"), "expected a contrast (T1w"),
    "no such package": (5, ("-p", "missing"), "expected a package"),
}


@pytest.mark.parametrize(("code", "call", "reason"), BAD.values(), ids=BAD)
def test_what_is_wrong_is_said_in_a_sentence_and_nothing_is_written(work, tmp_path, code, call, reason):
    words = refused(code, "bids", work / "raw", tmp_path / "out", "participant", "-p", work / "tiny", *call)
    assert reason in words
    assert words.count("\n") == 1
    assert not (tmp_path / "out").exists()


def test_invalid_names_are_refused_and_named(work, raw, tmp_path):
    anat = raw / "sub-01/ses-1/anat"
    shutil.copy(anat / "sub-01_ses-1_T1w.nii.gz", anat / "sub-01_ses-1_T1.nii.gz")
    words = refused(3, "bids", raw, tmp_path / "out", "participant", "-p", work / "tiny")
    assert "sub-01/ses-1/anat/sub-01_ses-1_T1.nii.gz: 'T1' is not a suffix" in words
    assert not (tmp_path / "out").exists()


def test_an_output_in_the_dataset_is_refused(work, raw):
    before = contents(raw)
    assert "lies in the raw dataset" in refused(2, "bids", raw, raw / "out", "participant", "-p", work / "tiny")
    assert contents(raw) == before


def test_a_brain_needs_a_skull_stripper(work, tmp_path):
    (tmp_path / "tissue").mkdir()
    make_package(tmp_path / "tissue", LABELS)
    call = ("participant", "-p", tmp_path / "tissue", "--brain")
    assert "--brain needs a brain mask, and" in refused(2, "bids", work / "raw", tmp_path / "out", *call)


@pytest.mark.data
@pytest.mark.network
@pytest.mark.full  # more than a minute: deepbet on real heads; the validator sees tiny packages above
def test_the_validator_passes_deepbet_on_real_heads(tmp_path, mri):
    """Four subjects with one or two visits, T1w, T2w and FLAIR; deepbet takes the T1w of three of them."""
    succeed("convert", "deepbet", "-o", tmp_path / "deepbet", "--quiet")
    raw = head_dataset(tmp_path / "raw", mri)
    before = contents(raw)
    succeed("bids", raw, tmp_path / "out", "participant", "-p", tmp_path / "deepbet")
    assert contents(raw) == before
    assert validate(raw)["error"] == set()
    assert validate(tmp_path / "out") == {"error": set(), "warning": ONLY_WARNING}
    assert len(list((tmp_path / "out").rglob("*_mask.nii.gz"))) == 4


@pytest.mark.data
@pytest.mark.full
def test_the_validator_passes_hd_bet_on_real_heads_of_every_type(tmp_path, mri):
    """Three images of a session give three masks, and their names tell which is whose."""
    succeed("convert", "hd-bet-v1", "-o", tmp_path / "hd-bet", "--quiet")
    raw = head_dataset(tmp_path / "raw", mri, ["01", "09"])
    succeed("bids", raw, tmp_path / "out", "participant", "-p", tmp_path / "hd-bet")
    assert validate(tmp_path / "out") == {"error": set(), "warning": ONLY_WARNING}
    names = {path.name for path in (tmp_path / "out/sub-01/ses-1/anat").glob("*.nii.gz")}
    assert names == {f"sub-01_ses-1_space-orig_desc-brain{kind}_mask.nii.gz" for kind in ("T1w", "T2w", "FLAIR")}
    assert len(list((tmp_path / "out").rglob("*_mask.nii.gz"))) == 7
