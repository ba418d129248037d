"""The tables of the ways to INT8 say what was recorded: one row a network, and what is missing by name."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING

import msgspec
import pytest

from benchmarks.harness.cell_record import Commit
from benchmarks.harness.method_page import method_tables
from benchmarks.harness.method_record import Figures, Method, MethodRecord, Tried, read_methods, write_method
from brain_edge.machine.description import this_machine

if TYPE_CHECKING:
    from pathlib import Path

HEADS = {"calibration": 2, "validation": 1, "test": 3}


def figures(drop: float, *, met: bool, by_reference: bool = False) -> Figures:
    return Figures(
        by_reference=by_reference,
        worst_mean_drop=drop,
        worst_case_drop=2 * drop,
        worst_mean_disagreement=drop,
        excess=drop / 0.01,
        int8_share=0.925,
        met=met,
        small=0,
    )


def record(
    network: str, method: Method, test: Figures | None, tried: tuple[Tried, ...] = (), note: str = ""
) -> MethodRecord:
    return MethodRecord(
        network=network,
        method=method,
        started=datetime(2026, 1, 1, tzinfo=UTC),
        commit=Commit("0" * 40, changed=False),
        machine=this_machine(),
        versions={"openvino": "1.2", "nncf": "3.4"},
        threads=2,
        package="0" * 64,
        cohort="heads",
        cohort_sha256="0" * 64,
        heads=HEADS,
        with_mask=2,
        max_dice_drop=0.01,
        iterations=5 if method is Method.CONTROL else 0,
        tried=tried,
        chosen=tried[0].title if test is not None else "",
        test=test,
        note=note,
    )


RECORDS = (
    record(
        "thin",
        Method.FITTED,
        figures(0.02, met=False),
        (Tried(title="fitted", cpu_s=90.0), Tried(title="b", cpu_s=30.0)),
    ),
    record("thin", Method.PRESETS, figures(-0.00001, met=True, by_reference=True), (Tried(title="mixed", cpu_s=60.0),)),
    record("thin", Method.SCALES, None, note="no scale can move"),
    record("wide", Method.CONTROL, None, (Tried(title="control", cpu_s=6.0, problem="it crashed"),)),
)


def test_one_row_a_network_with_drop_disagreement_share_and_minutes(tmp_path: Path):
    for each in RECORDS:
        write_method(each, tmp_path)
    table, details, words = method_tables(read_methods(tmp_path), ("thin", "other"))
    assert table.splitlines()[2:] == [
        "| `thin` | **0.0000**, 0.0000, 92%, 0.5 min | not measured | not measured | not possible "
        "| 0.0200, 0.0200, 92%, 1.0 min | not measured |",
        f"| `other` |{' not measured |' * 6}",
        "| `wide` | not measured | could not run | not measured | not measured | not measured | not measured |",
    ]
    assert details.splitlines()[2:] == [
        "| `thin` | NNCF's presets | 1 | mixed | 0.0000 | 0.00 | masks, 2 of 3 heads |",
        "| `thin` | moved scales | 0 | no scale can move |  |  |  |",
        "| `thin` | fitted weights | 2 | fitted | 0.0400 | 2.00 | FP32 |",
        "| `wide` | NNCF's accuracy control | 1 | it crashed |  |  |  |",
    ]
    assert words.startswith("Heads: 2 calibration, 1 validation, 3 test. Threads: 2. Processor: ")
    assert "accuracy control: 5." in words


def test_a_record_is_never_overwritten(tmp_path: Path):
    write_method(RECORDS[0], tmp_path)
    with pytest.raises(FileExistsError):
        write_method(RECORDS[0], tmp_path)


def test_a_reason_of_several_lines_stays_in_its_cell():
    told = Tried(title="control", cpu_s=6.0, problem="failed:\nException from a file\nno room\n\n")
    limited = msgspec.structs.replace(record("wide", Method.CONTROL, None, (told,)), memory_bytes=20 * 2**30)
    _, details, _ = method_tables([limited], ())
    assert "| failed: Exception from a file no room (the process was allowed 20 GiB of data) |" in details
