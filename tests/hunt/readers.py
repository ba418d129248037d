"""Every reader of the program: its valid files, and how the program calls it."""

from __future__ import annotations

import hashlib
import importlib.util
import json
from typing import TYPE_CHECKING, Any, Final

import msgspec

from brain_edge.deploy.wheelhouse.make import INSTALLER
from brain_edge.errors import InputError
from hunt import read_batches, read_studies, seeds_batches, seeds_images, seeds_networks, seeds_state, seeds_studies
from hunt.reader import Case, Reader, TakenError, command, files

if TYPE_CHECKING:
    from collections.abc import Mapping

    from hunt.mutations import Tree


def _images(case: Case) -> None:
    from brain_edge.io.contrast import contrast_of_file
    from brain_edge.io.inputs import input_kind
    from brain_edge.io.nifti import read_geometry, read_volume

    for path in files(case):
        input_kind(path)
        contrast_of_file(path)
        volume = read_volume(path)
        if not volume.geometry.same_grid(read_geometry(path)):
            raise TakenError("the header alone gives another grid")


def _label_maps(case: Case) -> None:
    from brain_edge.evaluation.cohort.reference import read_reference

    for path in files(case):
        read_reference(path, {})


def _sidecars(case: Case) -> None:
    from brain_edge.io.contrast import contrast_of_file

    for path in case.folder.glob("*.nii.gz"):
        str(contrast_of_file(path))


def _dicom(case: Case) -> None:
    from brain_edge.io.dicom import SeriesKind, list_series, read_series
    from brain_edge.io.inputs import InputKind, input_kind

    path = case.folder / "study.zip" if (case.folder / "study.zip").exists() else case.folder
    if input_kind(path) is not InputKind.DICOM:
        return
    listed = list_series(path)
    msgspec.json.encode([info.record() for info in listed])  # what `info` prints
    for info in listed:
        if info.kind is SeriesKind.VOLUME:
            read_series(info)


def _seg(case: Case) -> None:
    from brain_edge.io.dicom import report_sr

    for path in files(case):
        report_sr._read_segmentation(path)  # what `write_report` reads; the rest of it is no reader


def _package(case: Case) -> None:
    from brain_edge.package.reader import MANIFEST

    command("info", case.folder / "package")
    name = f"package/{MANIFEST}"
    if (case.folder / name).read_bytes() != case.valid[name]:
        raise TakenError("another manifest was opened")


def _resealed(case: Case) -> None:
    from brain_edge.jobs.verify import verify
    from brain_edge.machine.options import RuntimeOptions
    from brain_edge.package import open_package

    verify(open_package(case.folder / "package"), RuntimeOptions(threads=1))


def _evidence(case: Case) -> None:
    """What `evaluate` and the next search read of a package, and what its card says of it."""
    from brain_edge.evaluation.evidence import evidence_in
    from brain_edge.package import open_package
    from brain_edge_conversion.sealing.card import model_card

    package = open_package(case.folder / "package")
    evidence_in(package.manifest)
    model_card(package.manifest)


def _sealed_again(tree: Tree) -> Tree:
    """The package with the hashes of what is in it now."""
    sealed, folder = dict(tree), "package/"
    try:
        manifest = json.loads(sealed[f"{folder}manifest.json"])
        for name, record in manifest["files"].items():
            content = sealed[folder + name]
            record.update(size_bytes=len(content), sha256=hashlib.sha256(content).hexdigest())
        text = json.dumps(manifest, separators=(",", ":"), sort_keys=True, ensure_ascii=False).encode()
    except Exception:  # noqa: BLE001 - a manifest that cannot be read has no place for hashes
        text = sealed.get(f"{folder}manifest.json", b"")
    sealed[f"{folder}manifest.json"] = text
    sealed[f"{folder}DIGEST"] = f"{hashlib.sha256(text).hexdigest()}\n".encode()
    return sealed


def _cohort(case: Case) -> None:
    for path in case.folder.glob("*.toml"):
        command("cohort", "check", path, "-q")


def _cohort_folder(case: Case) -> None:
    command("cohort", "create", case.folder / "heads", "-o", case.folder / "made.toml", "-q")


def _specification(case: Case) -> None:
    from brain_edge_conversion.specification import spec_from_json

    for path in files(case):
        spec_from_json(path.read_bytes(), str(path))


def _checked_specification(case: Case) -> None:
    for path in files(case):
        command("spec", "check", path)


def _checkpoint(case: Case) -> None:
    from brain_edge_conversion.weights.checkpoint import fit_state_dict, load_state_dict

    for path in files(case):
        fit_state_dict(seeds_networks.tiny_network(), load_state_dict(path), str(path))


def _foreign_checkpoint(case: Case) -> None:
    from brain_edge_conversion.weights.checkpoint import load_checkpoint

    for path in files(case):
        load_checkpoint(path, foreign_objects=True)


def _network(case: Case) -> None:
    """A file or folder that `convert` is given, up to its networks."""
    from brain_edge_conversion.sources import Request, kind_of, resolve

    spec = case.folder / seeds_networks.SPEC
    sources = [path for path in sorted(case.folder.iterdir()) if path != spec]
    for source in sources:
        kind = kind_of(str(source))
        resolved = resolve(
            Request(
                source=str(source),
                spec_file=None if "--spec" in kind.idle else spec,
                trust="--trust" not in kind.idle and source.is_file(),
            )
        )
        for graph in resolved.model.graphs:
            weights = resolved.weights[graph.graph]
            graph.build(weights)
            if graph.read is not None:
                graph.read(weights)


def _dataset(case: Case) -> None:
    from tiny_package import SPEC, tiny_manifest

    from brain_edge.jobs.bids.app import BidsRequest, plan_dataset
    from brain_edge.jobs.bids.dataset import open_dataset
    from brain_edge.jobs.bids.description import prepare
    from brain_edge.package import ModelPackage

    dataset = open_dataset(case.folder / "raw")
    plan_dataset(dataset, case.folder / "out", SPEC, BidsRequest())
    prepare(dataset, case.folder / "out", ModelPackage(case.folder, tiny_manifest(SPEC)))


def _cache(case: Case) -> None:
    from brain_edge.runtime import cache

    key = seeds_state.cache_key()
    command("cache", "list", "--cache", case.folder)
    if cache.load(case.folder, key) not in (None, bytes(range(256)) * 40):
        raise TakenError("another graph was loaded")
    command("cache", "clear", "--cache", case.folder)


def _results(case: Case) -> None:
    from brain_edge.jobs.batch.summary import write_summary
    from brain_edge.jobs.pictures.batch_page import write_batch_page

    write_summary(case.folder / "out")
    write_batch_page(case.folder / "out")


def _journal(case: Case) -> None:
    seeds_state.open_journal(case.folder)


def _kept_mask(case: Case) -> None:
    from brain_edge_conversion.budget import measure

    measure._is_kept(case.folder, seeds_state.kept_case(case.folder))


def _looks(case: Case) -> None:
    from brain_edge_conversion.budget.looks import LOG, require_log

    with seeds_state.state_in(case.folder):
        require_log()
    path = case.folder / LOG
    if path.exists() and not case.valid[LOG].startswith(path.read_bytes()):
        raise TakenError("another log was read")


def _resealed_looks(case: Case) -> None:
    from brain_edge_conversion.budget.looks import require_log

    with seeds_state.state_in(case.folder):
        require_log()


def _chained_again(tree: Tree) -> Tree:
    """The log with the hashes of its lines as they are now."""
    previous, chained = "0" * 64, dict(tree)
    for name, content in tree.items():
        lines = []
        for line in content.split(b"\n")[:-1]:
            previous = hashlib.sha256(previous.encode() + line[65:]).hexdigest()
            lines.append(previous.encode() + b" " + line[65:] + b"\n")
        chained[name] = b"".join(lines)
    return chained


def _bench_record(case: Case) -> None:
    from brain_edge.bench.record import read_record
    from brain_edge.bench.table import compared

    for path in files(case):
        record = read_record(path)
        compared(record, record)


def _archive(case: Case) -> None:
    from brain_edge.deploy.unpack import extract_member, holds_same_bytes

    for path in files(case):
        taken = extract_member(path, "tiny/weights.bin", case.folder / "taken")
        holds_same_bytes(path, "tiny/weights.bin", taken)


def _wheel(case: Case) -> None:
    from brain_edge.deploy.wheelhouse.wheels import read_wheel

    for path in files(case):
        read_wheel(path)


def _installer(case: Case) -> None:
    """What the workstation's own Python reads before anything is installed."""
    found = importlib.util.spec_from_file_location("installer", INSTALLER)
    assert found is not None
    assert found.loader is not None
    module: Any = importlib.util.module_from_spec(found)
    found.loader.exec_module(module)
    module.HERE = case.folder
    try:
        module.require_this_machine(module.made_for())
        module.require_intact()
    except SystemExit as ended:
        if ended.code not in (2, 3):
            raise
        raise InputError(f"{case.folder}: the installer ends with {ended.code}") from ended
    changed = [name for name, content in case.valid.items() if (case.folder / name).read_bytes() != content]
    if changed != [] and changed != ["SHA256SUMS"]:
        raise TakenError(f"installed with another {changed[0]}")


READERS: Final[Mapping[str, Reader]] = {
    "images": Reader(make=seeds_images.make_images, read=_images, in_ci=100),
    "label-maps": Reader(make=seeds_images.make_label_maps, read=_label_maps, in_ci=50),
    "sidecars": Reader(make=seeds_images.make_sidecars, read=_sidecars, in_ci=100, patterns=("*.json",)),
    "dicom": Reader(make=seeds_images.make_dicom, read=_dicom, in_ci=8),
    "dicom-seg": Reader(make=seeds_images.make_segs, read=_seg, in_ci=8),
    "packages": Reader(make=seeds_state.make_packages, read=_package, in_ci=25),
    "packages-resealed": Reader(
        make=seeds_state.make_one_package,
        read=_resealed,
        in_ci=8,
        patterns=("*.json", "*.xml", "*.bin", "*.nii.gz"),
        mend=_sealed_again,
    ),
    "evidence": Reader(
        make=seeds_state.make_cheaper_package,
        read=_evidence,
        in_ci=15,
        patterns=("*/manifest.json",),
        mend=_sealed_again,
    ),
    "cohorts": Reader(make=seeds_images.make_cohorts, read=_cohort, in_ci=12),
    "cohort-folders": Reader(make=seeds_images.make_cohort_folders, read=_cohort_folder, in_ci=8),
    "specifications": Reader(make=seeds_networks.make_specs, read=_specification, in_ci=150),
    "specifications-checked": Reader(make=seeds_networks.make_specs, read=_checked_specification, in_ci=25),
    "checkpoints": Reader(make=seeds_networks.make_checkpoints, read=_checkpoint, in_ci=8),
    "checkpoints-foreign": Reader(make=seeds_networks.make_zip_checkpoints, read=_foreign_checkpoint, in_ci=10),
    "torchscript": Reader(make=seeds_networks.make_torchscript, read=_network, in_ci=8, patterns=("net.*",)),
    "torch-export": Reader(make=seeds_networks.make_exported, read=_network, in_ci=0, patterns=("net.*",)),
    "onnx": Reader(make=seeds_networks.make_onnx, read=_network, in_ci=8, patterns=("net.*",)),
    "monai-bundles": Reader(make=seeds_networks.make_bundles, read=_network, in_ci=0),
    "nnunet-folders": Reader(make=seeds_networks.make_nnunet, read=_network, in_ci=8),
    "gandlf-folders": Reader(make=seeds_networks.make_gandlf, read=_network, in_ci=3),
    "bids-datasets": Reader(make=seeds_state.make_datasets, read=_dataset, in_ci=10, patterns=("*.json", "*ignore")),
    "caches": Reader(make=seeds_state.make_caches, read=_cache, in_ci=75),
    "results": Reader(make=seeds_state.make_results, read=_results, in_ci=8, patterns=("*.json", "*.tsv")),
    "journals": Reader(make=seeds_state.make_journals, read=_journal, in_ci=75),
    "kept-masks": Reader(make=seeds_state.make_kept_masks, read=_kept_mask, in_ci=50),
    "looks": Reader(make=seeds_state.make_looks, read=_looks, in_ci=50),
    "looks-resealed": Reader(make=seeds_state.make_looks, read=_resealed_looks, in_ci=50, mend=_chained_again),
    "bench-records": Reader(make=seeds_state.make_bench_records, read=_bench_record, in_ci=75),
    "case-lists": Reader(make=seeds_batches.make_lists, read=read_batches.case_list, in_ci=50),
    "summary-parts": Reader(
        make=seeds_batches.make_parts, read=read_batches.summary_parts, in_ci=15, patterns=("*.jsonl",)
    ),
    "batches-resumed": Reader(
        make=seeds_batches.make_batches,
        read=read_batches.earlier_batch,
        in_ci=0,
        patterns=("list.tsv", "*_record.json", "*.jsonl", "*/layout", "*_mask.nii.gz"),
    ),
    "batches-stored": Reader(
        make=seeds_batches.make_stored, read=read_batches.stored_batch, in_ci=0, patterns=("*_record.json",)
    ),
    "sharings": Reader(make=seeds_batches.make_sharings, read=read_batches.sharing, in_ci=50),
    "atlases": Reader(make=seeds_studies.make_atlases, read=read_studies.atlas, in_ci=4),
    "transforms": Reader(make=seeds_studies.make_transforms, read=read_studies.transform, in_ci=75),
    "studies-kept": Reader(make=seeds_studies.make_kept, read=read_studies.kept_study, in_ci=0, patterns=("kept/*",)),
    "studies-kept-resealed": Reader(
        make=seeds_studies.make_kept,
        read=read_studies.resealed_kept_study,
        in_ci=0,
        patterns=("kept/*.json", "kept/*.nii.gz"),
        mend=seeds_studies.digest_again,
    ),
    "studies-prepared": Reader(
        make=seeds_studies.make_prepared, read=read_studies.prepared_study, in_ci=0, patterns=("out/*",)
    ),
    "expected-masks": Reader(make=seeds_studies.make_expected_masks, read=read_studies.expected_mask, in_ci=40),
    "archives": Reader(make=seeds_networks.make_archives, read=_archive, in_ci=75),
    "wheelhouses": Reader(make=seeds_networks.make_wheelhouse, read=_installer, in_ci=25),
    "wheels": Reader(make=seeds_networks.make_wheels, read=_wheel, in_ci=25),
}
"""By the name that `READER=` takes."""
