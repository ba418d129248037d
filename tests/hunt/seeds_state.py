"""Valid packages, datasets, records and logs, as the program itself writes them, each in a folder of its own."""

from __future__ import annotations

import json
import os
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Final

import msgspec
import numpy as np

if TYPE_CHECKING:
    from collections.abc import Iterator
    from contextlib import AbstractContextManager

    from brain_edge.evaluation.cohort.cases import Case
    from brain_edge.runtime.cache import GraphKey
    from brain_edge_conversion.search.journal import Journal

STATE_VARIABLE: Final = "BRAIN_EDGE_STATE"
KEPT: Final = 1
CANDIDATES: Final = ("c1", "c2", "c3")


def make_packages(root: Path) -> None:
    """A package of one graph and one of two."""
    from tiny_package import CASCADE, make_package

    make_package(_folder(root, "tiny") / "package")
    make_package(_folder(root, "cascade") / "package", CASCADE)


def make_one_package(root: Path) -> None:
    """The smallest package."""
    from tiny_package import make_package

    make_package(_folder(root, "tiny") / "package")


def make_cheaper_package(root: Path) -> None:
    """A package that was made cheaper twice, with what that did to its masks."""
    from evidences import accuracy_case, evidence
    from tiny_package import make_package

    from brain_edge.evaluation.evidence import spelt

    case = accuracy_case(dice_baseline=0.9, dice_candidate=0.89, drop=0.01, agreement=0.98)
    known = evidence(cases=(case,), before=evidence(), warnings=("few heads",))
    make_package(_folder(root, "cheaper") / "package", evidence=spelt(known))


def make_datasets(root: Path) -> None:
    """Raw BIDS datasets and, beside one, the description of derivatives of it."""
    import nibabel as nib
    from bids_dataset import describe_dataset
    from tiny_package import SPEC, tiny_manifest

    from brain_edge.jobs.bids.dataset import open_dataset
    from brain_edge.jobs.bids.description import prepare
    from brain_edge.package import ModelPackage
    from hunt.seeds_images import affine, voxels

    for name in ("raw", "begun"):
        dataset = describe_dataset(_folder(root, name) / "raw")
        (dataset / ".bidsignore").write_text("*_scan.nii.gz\nextra/\n!kept\n")
        for subject in ("sub-01/ses-1", "sub-01/ses-2", "sub-02"):
            image = dataset / subject / "anat" / f"{subject.replace('/', '_')}_T1w.nii.gz"
            image.parent.mkdir(parents=True)
            nib.save(nib.Nifti1Image(voxels(), affine()), image)
            image.with_name(image.name.replace(".nii.gz", ".json")).write_text(json.dumps({"EchoTime": 0.003}))
    prepare(open_dataset(root / "begun/raw"), root / "begun/out", ModelPackage(Path("package"), tiny_manifest(SPEC)))


def make_caches(root: Path) -> None:
    """A folder of compiled graphs with an entry."""
    from brain_edge.runtime import cache

    cache.store(_folder(root, "cache"), cache_key(), bytes(range(256)) * 40)


def cache_key() -> GraphKey:
    """Of the entry in that folder."""
    from brain_edge.runtime.cache import GraphKey

    return GraphKey(
        package_digest="a" * 64,
        model="tiny",
        graph="tiny",
        graph_sha256=("b" * 64, "c" * 64),
        shape=(1, 1, 44, 52, 50),
        program="0",
        openvino="2026",
        isa="all",
        properties={"NUM_STREAMS": "1"},
    )


def make_results(root: Path) -> None:
    """A folder of results: one case is done, one has failed."""
    from cli_program import brain_edge, save_phantom, succeed
    from tiny_package import make_package

    with TemporaryDirectory() as place:
        package = make_package(Path(place) / "package").folder
        heads = _folder(Path(place), "heads")
        save_phantom(heads / "good.nii.gz")
        (heads / "bad.nii.gz").write_bytes(b"no image")
        made = _folder(root, "results") / "out"
        assert brain_edge("run", package, heads, "-o", made, "--threads", "1", "-q").code == 6
        (heads / "bad.nii.gz").unlink()
        succeed("run", package, heads, "-o", made, "--threads", "1", "-q")


def make_journals(root: Path) -> None:
    """A journal of a search with three trials."""
    from brain_edge_conversion.search.journal import Entry

    journal = open_journal(_folder(root, "search"))
    for choice in ((1,), (2,), (3, 4)):
        journal.entries.append(Entry(choice=choice, int8_share=0.5, problem="none", elapsed_s=2.0))


def open_journal(folder: Path) -> Journal[tuple[int, ...]]:
    """The journal of one question in a folder."""
    from brain_edge.evaluation.evidence import Change
    from brain_edge_conversion.quantize.ladder import Setting
    from brain_edge_conversion.search.journal import Entry, Journal, Question

    asked = Question(
        change=Change.QUANTIZED,
        package="p",
        cohort="c",
        space=Setting(),
        versions={"nncf": "3"},
        threads=1,
        machine="m",
    )
    return Journal(folder, asked, Entry[tuple[int, ...]])


def make_kept_masks(root: Path) -> None:
    """The mask of a baseline that a search keeps."""
    np.savez_compressed(
        _folder(root, "mask") / f"baseline-{KEPT}.npz", labels=np.arange(60, dtype=np.uint8).reshape(3, 4, 5)
    )


def kept_case(folder: Path) -> Case:
    """The case whose mask is kept."""
    from brain_edge.evaluation.cohort.cases import Case
    from brain_edge.evaluation.cohort.manifest import CaseEntry, Split

    entry = CaseEntry(subject="a", split=Split.TEST, inputs={})
    return Case(number=KEPT, cohort="c", folder=folder, entry=entry, inputs={}, labels={})


def make_looks(root: Path) -> None:
    """A log of looks at test images."""
    from brain_edge.evaluation.evidence import Look
    from brain_edge_conversion.budget.budget import AccuracyBudget
    from brain_edge_conversion.budget.looks import LoggedLook, log_look

    with state_in(_folder(root, "state")):
        for candidate in CANDIDATES:
            look = Look(candidate=candidate * 32, limits=AccuracyBudget().limits, met=False)
            log_look(LoggedLook(weights=("aa" * 32,), images=("01" * 32,), look=look), lambda _before: True)


def state_in(folder: Path) -> AbstractContextManager[None]:
    """The log of looks lies in this folder."""
    return set_to(STATE_VARIABLE, folder)


@contextmanager
def set_to(variable: str, folder: Path) -> Iterator[None]:
    """A variable of the environment names this folder."""
    before = os.environ.get(variable)
    os.environ[variable] = str(folder)
    try:
        yield
    finally:
        if before is None:
            del os.environ[variable]
        else:
            os.environ[variable] = before


def make_bench_records(root: Path) -> None:
    """A record of `bench --json`."""
    from brain_edge.bench.record import BenchRecord, Configuration, Sample
    from brain_edge.machine.description import this_machine

    sample = Sample(cold_ms=900.0, first_ms=200.0, warm_ms=100.0, peak_rss_bytes=2**28)
    record = BenchRecord(
        model="tiny",
        digest="a" * 64,
        number_format="fp32",
        weights_status="trained",
        images=("b" * 64,),
        shape=(44, 52, 50),
        spacing_mm=(4.0, 4.0, 4.0),
        machine=this_machine(),
        versions={"openvino": "2026"},
        configurations=(Configuration(threads=1, precision="f32", samples=(sample, sample)),),
    )
    for name in ("first", "second"):
        (_folder(root, name) / "bench.json").write_bytes(msgspec.json.encode(record))


def _folder(root: Path, name: str) -> Path:
    folder = root / name
    folder.mkdir(parents=True, exist_ok=True)
    return folder
