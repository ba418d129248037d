"""Writer for a package: the manifest is sealed last, over the hashes of everything else."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import msgspec

from brain_edge.machine.json import decode_json
from brain_edge.package.digest import sha256_of
from brain_edge.package.manifest import Manifest, PackageFile
from brain_edge.package.reader import DIGEST, MANIFEST, ModelPackage
from brain_edge.spec import canonical_json
from brain_edge_conversion.sealing.card import model_card
from brain_edge_conversion.sealing.licence import licence_text

if TYPE_CHECKING:
    from pathlib import Path

CARD: Final = "README.md"
LICENCE: Final = "LICENSE.txt"


def seal(folder: Path, manifest: Manifest) -> ModelPackage:
    """Write model card, licence, the manifest with the hash of every file, and the manifest's own hash.

    The caller fills a folder that is not yet in place (`brain_edge.machine.atomic_folder`), so a package without a
    manifest is never visible.

    Returns:
        The package as it will be read back (a limit of 1 as 1.0), because the digest is that of the written text.

    Raises:
        msgspec.ValidationError: no reader would accept a value; the evidence is checked with the model card.
    """
    (folder / CARD).write_text(model_card(manifest), encoding="utf-8", newline="\n")
    (folder / LICENCE).write_text(licence_text(manifest.licence), encoding="utf-8", newline="\n")
    files = {
        path.relative_to(folder).as_posix(): PackageFile(sha256=sha256_of(path), size_bytes=path.stat().st_size)
        for path in sorted(folder.rglob("*"))
        if path.is_file() and path.relative_to(folder).as_posix() not in (MANIFEST, DIGEST)
    }
    text = canonical_json(msgspec.structs.replace(manifest, files=files))
    sealed = decode_json(text, Manifest)
    (folder / MANIFEST).write_bytes(canonical_json(sealed))
    (folder / DIGEST).write_bytes(f"{sealed.digest}\n".encode())
    return ModelPackage(folder, sealed)
