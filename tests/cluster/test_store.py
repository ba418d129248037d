"""Images and results in an object store: a local server that speaks S3 (moto)."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import pytest
from cli_program import make_package, refused, save_phantom, succeed

from brain_edge.cluster.store import address
from brain_edge.machine.paths import in_store

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from cli_program import Ended

BUCKET = "heads"


@pytest.fixture(scope="module")
def package(tmp_path_factory) -> Path:
    return make_package(tmp_path_factory.mktemp("tiny")).folder


@pytest.fixture(scope="module")
def head(tmp_path_factory) -> Path:
    return save_phantom(tmp_path_factory.mktemp("head") / "head.nii.gz")


@pytest.fixture(scope="module")
def mask(package: Path, head: Path) -> bytes:
    """The mask of a local run."""
    out = head.parent / "local.nii.gz"
    succeed("run", package, head, "-o", out, "--threads", 1)
    return out.read_bytes()


@pytest.fixture(scope="module")
def endpoint() -> Iterator[str]:
    moto_server = pytest.importorskip("moto.server", reason="needs a local store: pip install 'moto[server]'")
    pytest.importorskip("s3fs", reason="needs fsspec for S3: pip install 'brain-edge[store]'")
    server = moto_server.ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    yield f"http://{host}:{port}"
    server.stop()


@pytest.fixture
def bucket(endpoint: str, monkeypatch: pytest.MonkeyPatch):
    """An empty bucket, as s3fs sees it with the variables that a user sets."""
    import s3fs

    for name, value in (
        ("AWS_ACCESS_KEY_ID", "nobody"),
        ("AWS_SECRET_ACCESS_KEY", "none"),
        ("AWS_DEFAULT_REGION", "us-east-1"),
        ("AWS_ENDPOINT_URL", endpoint),
    ):
        monkeypatch.setenv(name, value)
    files = s3fs.S3FileSystem(use_listings_cache=False)
    files.mkdir(BUCKET)
    yield files
    files.rm(BUCKET, recursive=True)


def run(package: Path, *options: object) -> Ended:
    return succeed("run", package, f"s3://{BUCKET}/in", "-o", f"s3://{BUCKET}/out", "--threads", 1, *options)


def test_a_folder_of_a_bucket_is_a_batch_and_its_masks_are_those_of_a_local_run(bucket, package, head, mask):
    for name in ("a", "b", "b_mask"):
        bucket.put_file(str(head), f"{BUCKET}/in/{name}.nii.gz")
    assert len(run(package).out.splitlines()) == 2
    names = {name.rpartition("/")[2] for name in bucket.ls(f"{BUCKET}/out", detail=False)}
    results = {f"{case}_{end}" for case in "ab" for end in ("mask.nii.gz", "record.json")}
    assert names == {*results, "summary.tsv", "summary.json"}
    assert {bucket.cat_file(f"{BUCKET}/out/{case}_mask.nii.gz") for case in "ab"} == {mask}
    table = bucket.cat_file(f"{BUCKET}/out/summary.tsv").decode().splitlines()
    assert [line.split("\t")[:2] for line in table[1:]] == [["a", "done"], ["b", "done"]]


def test_a_finished_case_is_kept_until_its_image_or_its_mask_changes(bucket, package, head):
    bucket.put_file(str(head), f"{BUCKET}/in/a.nii.gz")
    run(package)
    before = bucket.info(f"{BUCKET}/out/a_mask.nii.gz")["LastModified"]
    assert "1 of 1 cases were already finished" in run(package).out
    assert bucket.info(f"{BUCKET}/out/a_mask.nii.gz")["LastModified"] == before
    wait_for_the_clock_of_the_store()
    bucket.put_file(str(head), f"{BUCKET}/in/a.nii.gz")  # the store cannot tell whether it is the same image
    assert "already finished" not in run(package).out
    wait_for_the_clock_of_the_store()
    bucket.pipe_file(f"{BUCKET}/out/a_mask.nii.gz", b"edited by hand")
    words = refused(6, "run", package, f"s3://{BUCKET}/in", "-o", f"s3://{BUCKET}/out", "--threads", 1, "--quiet")
    assert "this output is newer than its record" in words
    assert bucket.cat_file(f"{BUCKET}/out/a_mask.nii.gz") == b"edited by hand"


def wait_for_the_clock_of_the_store() -> None:
    """S3 tells times in whole seconds."""
    import time

    time.sleep(1.1)


def test_an_image_that_is_not_there_fails_its_case_alone(bucket, package, head, tmp_path):
    bucket.put_file(str(head), f"{BUCKET}/in/a.nii.gz")
    listed = tmp_path / "list.tsv"
    listed.write_text(f"case\timage\na\ts3://{BUCKET}/in/a.nii.gz\nb\ts3://{BUCKET}/in/b.nii.gz\n", encoding="utf-8")
    words = refused_but_for_one("run", package, "--cases", listed, "-o", tmp_path / "out", "--threads", 1)
    assert f"s3://{BUCKET}/in/b.nii.gz: cannot be read" in words
    assert len([*(tmp_path / "out").rglob("*_mask.nii.gz")]) == 1
    assert len([*(tmp_path / "out").rglob("*_record.json")]) == 2


def refused_but_for_one(*arguments: object) -> str:
    from cli_program import brain_edge

    done = brain_edge(*arguments)
    assert (done.code, len(done.out.splitlines())) == (6, 1), done.err
    return done.err


def test_a_store_without_its_library_names_the_extra(package, tmp_path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setitem(sys.modules, "fsspec", None)
    words = refused(1, "run", package, f"s3://{BUCKET}/in", "-o", tmp_path / "out")
    assert "s3:// needs fsspec with the library of this protocol" in words
    assert "pip install 'brain-edge[store]'" in words


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("s3://b/head.nii.gz", "-o", "mask.nii.gz"), "expected a folder as OUT for an address of a store"),
        (("s3://b/head.nii.gz", "-o", "s3://b/out", "--page"), "--page has no effect with an address of a store"),
        (("s3://b/head.nii.gz", "-o", "s3://b/out", "--engine", "processes"), "expected local folders for --engine"),
    ],
)
def test_what_a_store_cannot_do_is_refused(package, arguments, words):
    assert words in refused(2, "run", package, *arguments)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("s3://bucket/a/head.nii.gz", "s3://bucket/a/head.nii.gz"),
        ("gs://bucket/x", "gs://bucket/x"),
        ("heads/s3/x.nii.gz", None),
        ("C:/heads/x.nii.gz", None),
    ],
)
def test_a_path_keeps_the_address_of_an_object(text: str, expected: str | None):
    from pathlib import Path

    assert address(Path(text)) == expected
    assert in_store(Path(text)) == (expected is not None)
