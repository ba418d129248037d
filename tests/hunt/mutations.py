"""One mutant of a folder of files: which file is damaged and how, decided by a seed alone."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from fnmatch import fnmatch
from random import Random
from typing import TYPE_CHECKING, Final, TypeAlias

from hunt.mutate_archives import GZIP_MAGIC, ZIP_MAGIC, inside_gzip, zip_field, zip_members
from hunt.mutate_bytes import ANY, flip_bits
from hunt.mutate_fields import dicom_element, image_field, onnx_field, safetensors_header
from hunt.mutate_text import ANY_TEXT, JSON, TABLE

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    Mutator = Callable[[bytes, Random, bytes], bytes]

Tree: TypeAlias = Mapping[str, bytes]
"""A folder of files: content by path, with "/" on every system."""

LARGEST_BYTES: Final = 16 * 2**20
"""Of a mutant: what grows beyond is cut."""
_TEXTS: Final = (".json", ".jsonl", ".toml", ".yaml", ".yml", ".xml", ".md", ".txt", ".py")


@dataclass(frozen=True)
class Mutant:
    """A damaged copy of a valid folder.

    Attributes:
        seed: name of the valid folder.
        file: what was damaged in it.
        what: how, in the order of the mutations.
        tree: all files.
    """

    seed: str
    file: str
    what: tuple[str, ...]
    tree: Tree


def make_mutant(trees: Mapping[str, Tree], key: str, patterns: Sequence[str] = ("*",)) -> Mutant:
    """The mutant of a key; the same key and the same valid folders give the same one.

    Args:
        trees: valid folders by name.
        key: what decides everything.
        patterns: names of the files that may be damaged.
    """
    random = Random(key)  # noqa: S311 - no secret
    seed = random.choice(sorted(trees))
    tree = dict(trees[seed])
    file = random.choice(sorted(name for name in tree if any(fnmatch(name, pattern) for pattern in patterns)))
    if len(tree) > 1 and random.random() < 0.05:
        return Mutant(seed, file, (_exchange(tree, file, random),), tree)
    others = [content for other in trees.values() for name, content in other.items() if _suffix(name) == _suffix(file)]
    what = []
    for _ in range(random.choice((1, 1, 1, 2, 4))):
        tree[file], how = _mutated(file, tree[file], random, random.choice(others))
        what.append(how)
    while tree[file] == trees[seed][file]:  # one bit flipped twice is none
        tree[file] = flip_bits(tree[file] or b"\0", random, b"")
        what.append("flip bits")
    return Mutant(seed, file, tuple(what), tree)


def _exchange(tree: dict[str, bytes], file: str, random: Random) -> str:
    """A file is missing, empty, or the one that another one should be."""
    other = random.choice(sorted(set(tree) - {file}))
    how = random.choice(("missing", "empty", "exchanged"))
    if how == "missing":
        del tree[file]
    elif how == "empty":
        tree[file] = b""
    else:
        tree[file], tree[other] = tree[other], tree[file]
    return how


def _mutated(name: str, content: bytes, random: Random, other: bytes) -> tuple[bytes, str]:
    """One mutation of one file: half of the time one that knows its format."""
    if random.random() < 0.6:
        if content[:2] == GZIP_MAGIC:
            return inside_gzip(content, random, _inner)[:LARGEST_BYTES], "inside gzip"
        if content[:4] == ZIP_MAGIC:
            known = zip_field if random.random() < 0.3 else lambda data, given: zip_members(data, given, _inner)
            return known(content, random)[:LARGEST_BYTES], "zip field" if known is zip_field else "zip member"
        mutator = random.choice(_known(name, content) or ANY)
    else:
        mutator = random.choice(ANY)
    return mutator(content, random, other)[:LARGEST_BYTES], mutator.__name__.replace("_", " ")


def _inner(name: str, content: bytes, random: Random, other: bytes) -> bytes:
    """A mutation of what lies in an archive."""
    return _mutated(name, content, random, other)[0]


def _known(name: str, content: bytes) -> tuple[Mutator, ...]:
    """The mutators that know this format, by its content or else its name."""
    if content[344:348] in (b"n+1\0", b"ni1\0") or content[4:7] == b"n+2" or content[:4] == b"\0\0\0\1":
        return (image_field,)
    if content[128:132] == b"DICM" or name.endswith(".dcm"):
        return (dicom_element,)
    if name.endswith(".onnx"):
        return (onnx_field,)
    if content[8:9] == b"{":
        return (safetensors_header,)
    if content[:1] in (b"{", b"["):
        return JSON
    if name.endswith(".tsv"):
        return TABLE
    return ANY_TEXT if name.endswith(_TEXTS) else ()


def _suffix(name: str) -> str:
    return name.rpartition("/")[2].rpartition(".")[2]
