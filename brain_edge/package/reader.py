"""Open a package: every byte is checked before any file is loaded, and no code in a package is ever executed."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Final

import msgspec

from brain_edge.errors import PackageError
from brain_edge.machine.json import decode_json
from brain_edge.package.digest import sha256_of
from brain_edge.package.manifest import FORMAT_VERSION, Manifest, PackageFile, graph_path
from brain_edge.spec import canonical_json
from brain_edge.spec.problems import Problem, problems_in, refusal

if TYPE_CHECKING:
    from brain_edge.package.manifest import Precision
    from brain_edge.spec import ModelSpec

MANIFEST: Final = "manifest.json"
DIGEST: Final = "DIGEST"
"""File beside the manifest with the SHA-256 of its bytes, as 64 hex digits and a line feed."""
MAXIMUM_MANIFEST_BYTES: Final = 32 * 2**20


@dataclass(frozen=True)
class ModelPackage:
    """Package whose files have been checked against its manifest.

    Attributes:
        folder: folder of the package.
        manifest: manifest of the package.
    """

    folder: Path
    manifest: Manifest

    @property
    def spec(self) -> ModelSpec:
        """Steps, networks and labels of the model."""
        return self.manifest.spec

    @cached_property
    def digest(self) -> str:
        """SHA-256 of the bytes of the manifest."""
        return self.manifest.digest

    def in_precision(self, precision: Precision) -> ModelPackage:
        """Return the package as if it were pinned to another precision."""
        return ModelPackage(self.folder, msgspec.structs.replace(self.manifest, precision=precision))

    def graph_file(self, graph: str) -> Path:
        """Return the path of the `.xml` of a graph."""
        return self.folder / graph_path(graph)

    @property
    def size_bytes(self) -> int:
        """Size of all files on disk."""
        return sum(record.size_bytes for record in self.manifest.files.values())


def open_package(folder: str | Path, expect_digest: str | None = None) -> ModelPackage:
    """Read and check a package.

    The hashes in the manifest, and the hash of the manifest in `DIGEST`, detect damage. Only `expect_digest`, received
    separately from the package, detects that somebody has changed all files together.

    Raises:
        PackageError: the folder is not a package, the format is newer, a field is unknown, a value is out of range, the
            JSON is not canonical, a file is missing or changed, or the digest is not the expected one.
    """
    folder = Path(folder)
    manifest = _read_manifest(folder)
    _require_graphs(folder, manifest)
    if expect_digest is not None and manifest.digest != expect_digest.lower():
        raise PackageError(
            f"{folder}: expected a package with the digest {expect_digest}, got {manifest.digest}; "
            "do not use this package until you know the reason"
        )
    for name, record in sorted(manifest.files.items()):
        check_file(folder, name, record)
    return ModelPackage(folder, manifest)


def digest_of(folder: Path) -> str | None:
    """Return the digest of the package in a folder from its manifest only; None if the folder is not a package."""
    try:
        return _read_manifest(folder).digest
    except PackageError:
        return None


def check_file(folder: Path, name: str, record: PackageFile) -> None:
    """Compare one file with its record.

    Raises:
        PackageError: the file is missing, or has another size or hash.
    """
    path = folder / name
    if not path.is_file():
        raise PackageError(f"{path}: this file of the package is missing; copy the whole package again")
    size_bytes = path.stat().st_size
    if size_bytes != record.size_bytes or sha256_of(path) != record.sha256:
        raise PackageError(
            f"{path}: expected the file of the manifest ({record.size_bytes} bytes, SHA-256 {record.sha256[:12]}...), "
            f"got another one ({size_bytes} bytes); the package is damaged, copy it again"
        )


def _read_manifest(folder: Path) -> Manifest:
    path = folder / MANIFEST
    if not path.is_file():
        raise PackageError(f"{folder}: expected a package, a folder with a {MANIFEST}, found none; check the path")
    if path.stat().st_size > MAXIMUM_MANIFEST_BYTES:
        raise PackageError(f"{path}: manifest of over {MAXIMUM_MANIFEST_BYTES} bytes; copy the package again")
    text = path.read_bytes()
    _require_whole(path, text)
    _require_format(path, text)
    try:
        manifest = decode_json(text, Manifest)
    except msgspec.DecodeError as error:
        problems = problems_in(text, Manifest) or (Problem("", str(error)),)
        raise refusal(PackageError, f"{path}: this version of brain-edge cannot read the manifest", problems) from error
    if canonical_json(manifest) != text:
        raise PackageError(
            f"{path}: expected canonical JSON (each field once, in order, without white space), got another spelling; "
            "the file was changed after conversion, convert the model again"
        )
    return manifest


def _require_whole(path: Path, text: bytes) -> None:
    """Compare the manifest with the hash beside it, before any field is read."""
    beside = path.with_name(DIGEST)
    if not beside.is_file():
        raise PackageError(
            f"{beside}: expected this file with the SHA-256 of {MANIFEST}, found none; copy the package again, or "
            "convert the model again if it is older"
        )
    digest = hashlib.sha256(text).hexdigest()
    with beside.open("rb") as file:
        told = file.read(len(digest) + 2).decode("ascii", "backslashreplace")
    if told != f"{digest}\n":
        raise PackageError(
            f"{beside}: expected {digest}, the SHA-256 of {MANIFEST}, got {told!r}; "
            "one of these two files is damaged, copy the package again"
        )


class _Format(msgspec.Struct):
    format_version: int


def _require_format(path: Path, text: bytes) -> None:
    """Check the format version before any field, so that the error of a newer package names its version."""
    try:
        version = decode_json(text, _Format).format_version
    except msgspec.DecodeError as error:
        raise PackageError(f"{path}: expected the manifest of a package: {error}; copy the package again") from error
    if version != FORMAT_VERSION:
        raise PackageError(
            f"{path}: expected package format {FORMAT_VERSION}, got {version}; "
            + ("install a newer brain-edge" if version > FORMAT_VERSION else "convert the model again")
        )


def _require_graphs(folder: Path, manifest: Manifest) -> None:
    graphs, test = [graph_path(graph) for graph in manifest.spec.graphs], manifest.self_test
    needed = {*graphs, *(xml.removesuffix(".xml") + ".bin" for xml in graphs), test.mask, test.baseline or test.mask}
    unlisted = sorted(needed - set(manifest.files))
    if unlisted:
        raise PackageError(f"{folder}: no hash of {', '.join(unlisted)} in the manifest; copy the package again")
