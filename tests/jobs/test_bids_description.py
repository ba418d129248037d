"""Where derivatives may lie, and what they say of themselves."""

from __future__ import annotations

import json

import pytest
from bids_dataset import contents, describe_dataset
from tiny_package import make_package

from brain_edge.errors import OutputError, UsageError
from brain_edge.jobs.bids.dataset import open_dataset
from brain_edge.jobs.bids.description import dataset_description, prepare, require_place


@pytest.fixture(scope="module")
def package(tmp_path_factory):
    folder = tmp_path_factory.mktemp("package") / "tiny"
    folder.mkdir()
    return make_package(folder)


@pytest.fixture
def raw(tmp_path):
    return open_dataset(describe_dataset(tmp_path / "raw"))


@pytest.mark.parametrize(
    "place",
    ["out", "raw/derivatives/brain-edge", "raw/derivatives/a/derivatives/b", "raw-out", "raw/derivatives/../../o"],
)
def test_derivatives_lie_outside_of_the_dataset_or_below_its_derivatives(tmp_path, place):
    require_place(tmp_path / "raw", tmp_path / place)


@pytest.mark.parametrize(
    ("place", "reason"),
    [
        ("raw", "the output folder is the raw dataset, which is only read"),
        ("raw/../raw/", "the output folder is the raw dataset"),
        ("raw/derivatives", r"lies in the raw dataset, which is only read; .* or .*raw/derivatives/brain-edge"),
        ("raw/sub-01", "the output folder lies in the raw dataset"),
        ("raw/sourcedata/out", "the output folder lies in the raw dataset"),
        (".", "the output folder contains the raw dataset"),
    ],
)
def test_no_other_place_in_or_around_the_dataset_is_taken(tmp_path, place, reason):
    (tmp_path / "raw").mkdir()
    with pytest.raises(UsageError, match=reason):
        require_place(tmp_path / "raw", tmp_path / place)


def test_a_link_into_the_dataset_is_seen_through(tmp_path):
    (tmp_path / "raw/sub-01").mkdir(parents=True)
    (tmp_path / "link").symlink_to(tmp_path / "raw/sub-01", target_is_directory=True)
    with pytest.raises(UsageError, match="the output folder lies in the raw dataset"):
        require_place(tmp_path / "raw", tmp_path / "link")


def test_the_raw_dataset_may_be_the_source_data_of_its_derivatives(tmp_path):
    require_place(tmp_path / "out/sourcedata/raw", tmp_path / "out")


def test_the_description_names_maker_model_and_source(tmp_path, raw, package):
    said = dataset_description(raw, tmp_path / "raw/derivatives/brain-edge", package)
    program, model = said["GeneratedBy"]
    assert (said["DatasetType"], said["License"], program["Name"]) == ("derivative", "CC-BY-4.0", "brain-edge")
    assert (model["Name"], model["Version"]) == ("tiny", f"sha256:{package.digest}")
    assert said["SourceDatasets"] == [{"URL": "../.."}]
    assert said["DatasetLinks"] == {"raw": "../.."}


def test_the_description_repeats_the_doi_of_the_source_and_invents_no_licence(tmp_path, package):
    raw = open_dataset(describe_dataset(tmp_path / "raw", License="", DatasetDOI="doi:10.1/x"))
    said = dataset_description(raw, tmp_path / "out", package)
    assert "License" not in said
    assert said["SourceDatasets"] == [{"URL": "../raw", "DOI": "doi:10.1/x"}]


def test_preparing_twice_changes_nothing(tmp_path, raw, package):
    prepare(raw, tmp_path / "out", package)
    before = contents(tmp_path / "out")
    prepare(raw, tmp_path / "out", package)
    assert contents(tmp_path / "out") == before
    assert set(before) == {"dataset_description.json", "README.md"}
    assert package.digest in (tmp_path / "out/README.md").read_text()


def test_the_folder_derivatives_is_made_where_there_is_none(tmp_path, raw, package):
    prepare(raw, tmp_path / "raw/derivatives/brain-edge", package)
    assert (tmp_path / "raw/derivatives/brain-edge/dataset_description.json").is_file()


def test_no_other_folder_above_is_made(tmp_path, raw, package):
    with pytest.raises(OutputError, match=r"the folder .*missing does not exist; create it first"):
        prepare(raw, tmp_path / "missing/out", package)


def test_derivatives_of_another_package_or_dataset_are_not_mixed_in(tmp_path, raw, package):
    out = tmp_path / "out"
    prepare(raw, out, package)
    path = out / "dataset_description.json"
    mine = json.loads(path.read_text())
    other_model = {**mine, "GeneratedBy": [{"Name": "brain-edge", "Version": "0"}]}
    path.write_text(json.dumps(other_model))
    with pytest.raises(
        UsageError, match=r"expected derivatives of tiny sha256:.*, got derivatives of brain-edge 0; choose an"
    ):
        prepare(raw, out, package)
    path.write_text(json.dumps({**mine, "DatasetLinks": {"raw": "../other"}}))
    with pytest.raises(UsageError, match=r"expected derivatives of the dataset \.\./raw, got .* of \.\./other"):
        prepare(raw, out, package)
    path.write_text("[")
    with pytest.raises(UsageError, match="expected JSON, could not read it"):
        prepare(raw, out, package)
    path.write_text("[]")
    with pytest.raises(UsageError, match="got derivatives of nobody"):
        prepare(raw, out, package)


def test_a_folder_with_something_else_in_it_is_refused_and_stays(tmp_path, raw, package):
    (tmp_path / "out").mkdir()
    (tmp_path / "out/letter.txt").write_text("dear")
    with pytest.raises(UsageError, match="expected an empty folder, or derivatives of the same model and dataset"):
        prepare(raw, tmp_path / "out", package)
    assert set(contents(tmp_path / "out")) == {"letter.txt"}


def test_a_folder_that_cannot_be_written_to_is_told(read_only_disk, raw, package):
    with pytest.raises(OutputError, match="is on a read-only disk; choose another folder"):
        prepare(raw, read_only_disk / "out", package)
