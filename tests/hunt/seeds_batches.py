"""Valid lists of cases, results of batches, parts of a summary and sharings, as the program itself writes them."""

from __future__ import annotations

from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Final

import msgspec

from hunt.seeds_state import set_to

if TYPE_CHECKING:
    from brain_edge.package import ModelPackage
    from brain_edge.spec import ModelSpec

CORES: Final = 4
PAIR: Final = "pair"
RECORDS: Final = ("a_record.json", "b_record.json")
LISTS: Final = {
    "one": "case\timage\na\theads/a.nii.gz\nb\t/data/b.mgz\nsub-01_ses-2\ts3://bucket/c.nii.gz\n",
    "divided": "case\tshard\tT1\na\t1/2\theads/a.nii.gz\nb\t2/2\theads/b.nii.gz\nc\t1/2\t\n",
    PAIR: "\ufeffcase\tT2\tT1\r\na\tt2.nii\tt1.nii\r\nb\t../t2.nii\tt1.nii.gz\r\n",
}


def make_lists(root: Path) -> None:
    """Lists of one sequence and of two, with the shard of each case and without it."""
    for name, text in LISTS.items():
        (_folder(root, name) / f"{name}.tsv").write_bytes(text.encode())


def spec_of(name: str) -> ModelSpec:
    """The model that a list of this name is for."""
    from tiny_package import SPEC, STAGE

    from brain_edge.spec import Sequence

    if name != PAIR:
        return SPEC
    two = msgspec.structs.replace(STAGE, network=msgspec.structs.replace(STAGE.network, channels_in=2))
    return msgspec.structs.replace(SPEC, inputs=(Sequence(name="T1"), Sequence(name="T2")), stages=(two,))


def make_batches(root: Path) -> None:
    """A batch of a list that has ended, its package beside it."""
    from cli_program import succeed

    folder = _package_and_heads(root)
    (folder / "list.tsv").write_text("case\timage\na\theads/a.nii.gz\nb\theads/b.nii.gz\n")
    options = ("--cases", folder / "list.tsv", "--layout", "flat", "--threads", "1", "-q")
    succeed("run", folder / "package", "-o", folder / "out", *options)


def make_stored(root: Path) -> None:
    """The same batch as a store holds it."""
    from cli_program import succeed

    folder = _package_and_heads(root)
    succeed("run", folder / "package", folder / "heads", "-o", folder / "out", "--threads", "1", "-q")


def make_parts(root: Path) -> None:
    """Parts of a summary with a row or two each; the stamps are put in where they are read."""
    from brain_edge.jobs.batch.books import Books
    from brain_edge.jobs.batch.parts import PartRow, write_part
    from brain_edge.jobs.batch.row import row_of
    from brain_edge.jobs.batch.shard import Shard
    from brain_edge.jobs.record import read_case_record
    from brain_edge.machine.stamp import Stamp

    with TemporaryDirectory() as place:
        make_stored(Path(place))
        records = {name: (Path(place) / "batch" / "out" / name).read_bytes() for name in RECORDS}
    for name, shards in (("one", (Shard(),)), ("two", (Shard(1, 2), Shard(2, 2)))):
        out = _folder(root, name) / "out"
        books = Books(out)
        books.open()
        for record, content in records.items():
            (out / record).write_bytes(content)
        rows = []
        for number, record in enumerate(RECORDS):
            found = read_case_record(out / record)
            assert found is not None
            rows.append(PartRow(record=record, stamp=Stamp(0, number, 0), row=row_of(found)))
        for number, shard in enumerate(shards):
            write_part(books.part(shard), rows[number :: len(shards)], books.partial)


def stamp_text(number: int) -> bytes:
    """What stands in place of the stamp of a record in a part."""
    return b"[0,%d,0]" % number


def make_sharings(root: Path) -> None:
    """A measurement of the ways to share the cores of this machine."""
    from brain_edge.cluster.auto import Measured, keep, machine_of, sharings

    ways = list(sharings(CORES))
    folder = _folder(root, "cache")
    rates = [1.0 + number / 7 for number in range(len(ways))]
    with set_to("BRAIN_EDGE_CACHE", folder):
        digest = unsealed(folder).digest
        keep(Measured(machine=machine_of(CORES), digest=digest, sharings=ways, cases_per_s=rates))


def unsealed(folder: Path) -> ModelPackage:
    """The package that a sharing is for, as far as anybody asks."""
    from tiny_package import SPEC, tiny_manifest

    from brain_edge.package import ModelPackage

    return ModelPackage(folder, tiny_manifest(SPEC))


def _package_and_heads(root: Path) -> Path:
    from cli_program import save_phantom
    from tiny_package import make_package

    folder = _folder(root, "batch")
    make_package(folder / "package")
    for seed, case in enumerate("ab"):
        save_phantom(_folder(folder, "heads") / f"{case}.nii.gz", seed=seed)
    return folder


def _folder(root: Path, name: str) -> Path:
    folder = root / name
    folder.mkdir(parents=True, exist_ok=True)
    return folder
