"""Readers of what a batch finds: its list of cases, the results of an earlier run, parts of a summary, a sharing."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from brain_edge.machine.options import RuntimeOptions
from hunt import seeds_batches
from hunt.reader import TakenError, command, files
from hunt.seeds_state import set_to

if TYPE_CHECKING:
    from collections.abc import Iterable

    from brain_edge.jobs.batch import CaseResult
    from hunt.reader import Case


def case_list(case: Case) -> None:
    """The list of `run --cases`, of which each shard plans its own cases, and `summarize --cases` the names of all."""
    from brain_edge.jobs.batch import Batch, Shard, plan_batch
    from brain_edge.jobs.batch.case_list import listed_names
    from brain_edge.jobs.outputs import Outputs

    out = case.folder / "out"
    for path in files(case):
        names, spec = listed_names(path), seeds_batches.spec_of(path.stem)
        parts = [Batch(records=out, shard=Shard(number, 2), is_divided=True) for number in (1, 2)]
        planned = [job.case for part in parts for job in plan_batch(path, spec, Outputs(mask=out), part)]
        if sorted(planned) != sorted(names):
            raise TakenError(f"the shards have the cases {planned}, the list has {names}")


def summary_parts(case: Case) -> None:
    """The parts of a summary, each with the stamps that the records have on this disk."""
    from brain_edge.machine.stamp import stamp_of

    for path in case.folder.rglob("*.jsonl"):
        content = path.read_bytes()
        for number, record in enumerate(seeds_batches.RECORDS):
            found = case.folder / "out" / record
            if found.exists():
                content = content.replace(seeds_batches.stamp_text(number), b"[%d,%d,%d]" % stamp_of(found))
        path.write_bytes(content)
    forms = [each for form in ("tsv", "json", "parquet") for each in ("--format", form)]
    command("summarize", case.folder / "out", "--json", *forms)


def earlier_batch(case: Case) -> None:
    """A batch that goes on: its list, layout, records, parts, and masks that the records know by their hash."""
    from brain_edge.verbs.run_batch import run_batch

    out, options = case.folder / "out", RuntimeOptions(threads=1)
    done = run_batch(case.folder / "package", None, out, cases=case.folder / "list.tsv", layout="flat", runtime=options)
    _require_refused(done.cases)
    for mask in (name for name in case.valid if name.endswith("_mask.nii.gz")):
        is_kept = any(each.outcome == "kept" and mask == f"out/{each.case}_mask.nii.gz" for each in done.cases)
        if is_kept and (case.folder / mask).read_bytes() != case.valid[mask]:
            raise TakenError(f"{mask} was kept")


def stored_batch(case: Case) -> None:
    """A batch that goes on in an object store, where the record of each case is read."""
    import fsspec

    from brain_edge.cluster.store import found_in_stores, run_with_stores
    from brain_edge.jobs.batch import Batch, plan_batch
    from brain_edge.jobs.outputs import Outputs
    from brain_edge.package import open_package

    store, package = fsspec.filesystem("memory"), open_package(case.folder / "package")
    store.store.clear()
    for path in sorted(files(case), key=lambda path: path.name.endswith("_record.json")):  # the record is the newest
        store.pipe_file(f"/{path.relative_to(case.folder).as_posix()}", path.read_bytes())
    given, batch = found_in_stores([(None, Path("memory://heads"))]), Batch(records=Path("memory://out"))
    jobs = plan_batch(given, package.spec, Outputs(mask=batch.records), batch)
    _require_refused(run_with_stores(package, jobs, batch, RuntimeOptions(threads=1)))


def _require_refused(results: Iterable[CaseResult]) -> None:
    """Raise what has failed a case; a batch itself goes on, whatever it is."""
    for result in list(results):
        if result.error is not None:
            raise result.error


def sharing(case: Case) -> None:
    """The sharing that `--at-once auto` remembers, which is one that it would have measured."""
    from brain_edge.cluster.auto import remembered, sharings

    with set_to("BRAIN_EDGE_CACHE", case.folder):
        known = remembered(seeds_batches.unsealed(case.folder), RuntimeOptions(threads=seeds_batches.CORES))
    if known is not None and known.best not in sharings(seeds_batches.CORES):
        raise TakenError(f"nobody shares {seeds_batches.CORES} cores so: {known.best}")
