"""Opening a package: every byte is checked before any of it is loaded, and nothing in it is ever executed."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

import msgspec

from brain_edge.errors import PackageError
from brain_edge.machine.json import decode_json
from brain_edge.package.digest import sha256_of
from brain_edge.package.manifest import FORMAT_VERSION, Manifest, PackageFile, graph_path
from brain_edge.spec import canonical_json

if TYPE_CHECKING:
    from brain_edge.package.manifest import Precision
    from brain_edge.spec import ModelSpec

MANIFEST: Final = "manifest.json"
DIGEST: Final = "DIGEST"
"""Beside the manifest: the SHA-256 of its bytes, in 64 hex digits and a line feed."""
MAXIMUM_MANIFEST_BYTES: Final = 32 * 2**20


@dataclass(frozen=True)
class ModelPackage:
    """A package whose files have been checked against its manifest.

    Attributes:
        folder: where it lies.
        manifest: what it says of itself.
    """

    folder: Path
    manifest: Manifest

    @property
    def spec(self) -> ModelSpec:
        """The steps, networks and labels of the model."""
        return self.manifest.spec

    @property
    def digest(self) -> str:
        """SHA-256 of the bytes of the manifest."""
        return self.manifest.digest

    def in_precision(self, precision: Precision) -> ModelPackage:
        """The package as if it were pinned to another precision."""
        return ModelPackage(self.folder, msgspec.structs.replace(self.manifest, precision=precision))

    def graph_file(self, graph: str) -> Path:
        """The `.xml` of a graph."""
        return self.folder / graph_path(graph)

    @property
    def size_bytes(self) -> int:
        """Size of all files on disk."""
        return sum(record.size_bytes for record in self.manifest.files.values())


def open_package(folder: str | Path, expect_digest: str | None = None) -> ModelPackage:
    """Read and check a package.

    The hashes in the manifest, and that of the manifest in `DIGEST`, detect damage; only `expect_digest`, received by
    another way than the package, detects that somebody has changed all of them together.

    Raises:
        PackageError: no package there, a newer format, an unknown field, a value out of its range, another spelling
            than the canonical one, a missing or changed file, or another digest than expected.
    """
    folder = Path(folder)
    manifest = _read_manifest(folder)
    _require_graphs(folder, manifest)
    if expect_digest is not None and manifest.digest != expect_digest.lower():
        raise PackageError(
            f"{folder}: expected a package with the digest {expect_digest}, this one has {manifest.digest}; "
            "do not use it before you know why"
        )
    for name, record in sorted(manifest.files.items()):
        check_file(folder, name, record)
    return ModelPackage(folder, manifest)


def digest_of(folder: Path) -> str | None:
    """The digest of the package in a folder, none of whose files but the manifest is looked at; None where none is."""
    try:
        return _read_manifest(folder).digest
    except PackageError:
        return None


def check_file(folder: Path, name: str, record: PackageFile) -> None:
    """Compare one file with its record.

    Raises:
        PackageError: it is missing, has another size or another hash.
    """
    path = folder / name
    if not path.is_file():
        raise PackageError(f"{path}: this file of the package is missing; copy the whole package again")
    size_bytes = path.stat().st_size
    if size_bytes != record.size_bytes or sha256_of(path) != record.sha256:
        raise PackageError(
            f"{path}: the file is not the one that the manifest describes ({record.size_bytes} bytes, SHA-256 "
            f"{record.sha256[:12]}...; {size_bytes} bytes here); the package is damaged, copy it again"
        )


def _read_manifest(folder: Path) -> Manifest:
    path = folder / MANIFEST
    if not path.is_file():
        raise PackageError(f"{folder}: expected a package, a folder with a {MANIFEST}; there is none")
    if path.stat().st_size > MAXIMUM_MANIFEST_BYTES:
        raise PackageError(f"{path}: a manifest of more than {MAXIMUM_MANIFEST_BYTES} bytes is not one of ours")
    text = path.read_bytes()
    _require_whole(path, text)
    _require_format(path, text)
    try:
        manifest = decode_json(text, Manifest)
    except msgspec.DecodeError as error:
        raise PackageError(f"{path}: not a manifest that this version of brain-edge reads: {error}") from error
    if canonical_json(manifest) != text:
        raise PackageError(
            f"{path}: expected every field once, in the one order and spelling that has no white space, got another "
            "spelling; this file was changed after the package was made, convert the model again"
        )
    return manifest


def _require_whole(path: Path, text: bytes) -> None:
    """Compare the manifest, before anything of it is read, with the hash that lies beside it."""
    beside = path.with_name(DIGEST)
    if not beside.is_file():
        raise PackageError(
            f"{beside}: expected the SHA-256 of {MANIFEST}, there is no such file; copy the whole package again, or "
            "convert the model again where an earlier version made it"
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
    """Say "newer" before any field that only a newer version knows is stumbled over."""
    try:
        version = decode_json(text, _Format).format_version
    except msgspec.DecodeError as error:
        raise PackageError(f"{path}: not a manifest of a package: {error}") from error
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
        raise PackageError(f"{folder}: the manifest needs {', '.join(unlisted)} but does not list it with a hash")
