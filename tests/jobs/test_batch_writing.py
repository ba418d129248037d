"""A case is open on disk before its outputs take their names: a killed run leaves nothing that looks foreign."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from cli_program import save_phantom
from tiny_package import SPEC, make_package

from brain_edge.jobs.batch import Batch, plan_batch, run_batch
from brain_edge.jobs.batch import case as module
from brain_edge.jobs.outputs import Outputs
from brain_edge.jobs.record import CaseRecord, CaseStatus, write_case_record
from brain_edge.machine.options import RuntimeOptions

if TYPE_CHECKING:
    from pathlib import Path

    import pytest


def test_the_record_says_so_before_the_mask_has_its_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    batch = Batch(records=tmp_path / "out")
    head = save_phantom(tmp_path / "head.nii.gz")
    (job,) = plan_batch([(None, head)], SPEC, Outputs(mask=batch.records), batch)
    seen: list[tuple[CaseStatus, list[str]]] = []

    def watched(record: CaseRecord, *arguments: Any) -> None:
        seen.append((record.status, sorted(path.name for path in batch.records.glob("*mask*"))))
        write_case_record(record, *arguments)

    monkeypatch.setattr(module, "write_case_record", watched)
    list(run_batch(make_package(tmp_path / "package"), [job], batch, RuntimeOptions(threads=1)))
    assert seen == [(CaseStatus.WRITING, []), (CaseStatus.DONE, ["head_mask.nii.gz"])]
