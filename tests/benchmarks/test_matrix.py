"""The benchmark matrix: what is declared becomes cells, what is recorded is not measured again, failures are kept."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from functools import partial
from typing import TYPE_CHECKING

import msgspec
import pytest
from msgspec.structs import replace
from tiny_package import make_package

from benchmarks import matrix, program
from benchmarks.harness import cell_process, engines
from benchmarks.harness.cell_record import CellEntry, EntryOutcome, Kind, RunSample, latest, read_cell, read_cells
from benchmarks.harness.cell_setting import MatrixSetting, environment_of, run_of
from benchmarks.harness.contenders import MODEL_CACHE, THREAD_VARIABLES
from benchmarks.harness.engines import ENGINES, why_engine_not_available
from benchmarks.harness.matrix_plan import (
    MATRIX,
    Suite,
    cells,
    read_matrix,
    thread_counts,
    why_isa_not_available,
)
from benchmarks.harness.matrix_store import finished, write_cell
from benchmarks.harness.measure import Contender, OutOfMemoryError, run
from benchmarks.harness.start import last_words
from benchmarks.harness.trained import TRAINED
from benchmarks.harness.zoo import ARCHITECTURES
from brain_edge.errors import BrainEdgeError, InputError
from brain_edge.machine.description import this_machine

if TYPE_CHECKING:
    from pathlib import Path

MACHINE = this_machine()


@pytest.fixture
def setting(tmp_path: Path) -> MatrixSetting:
    return MatrixSetting(repetition=1, max_disturbance=0.1, patience_s=0.0, results=tmp_path / "results")


@pytest.fixture
def cell():
    (found,) = [
        each for each in cells(read_matrix(), Suite.SMALLEST, 2) if each.isa == "native" and each.kind is Kind.NETWORK
    ]
    return found


def measured(cell, setting, *, latency_ms=100.0, others_cpu_ms=0.0):
    sample = RunSample(latency_ms=latency_ms, others_cpu_ms=others_cpu_ms)
    entries = tuple(CellEntry(name=name, samples=(sample,) * cell.rounds) for name in cell.contenders)
    return run_of(cell, setting, matrix.now(), entries)


@pytest.mark.parametrize("cores", [1, 2, 16])
@pytest.mark.parametrize("suite", list(Suite))
def test_what_is_declared_can_be_measured(suite: Suite, cores: int):
    """Each id once; networks, engines and kinds are known."""
    found = cells(read_matrix(), suite, cores)
    assert len({cell.id for cell in found}) == len(found) > 0
    for cell in found:
        assert cell.kind in matrix.MEASURES
        if cell.kind in (Kind.NETWORK, Kind.ROOFLINE):
            assert cell.subject in {**ARCHITECTURES, **TRAINED}
            assert set(cell.contenders) <= set(ENGINES)


def test_the_quick_suite_is_a_part_of_the_full_one():
    full = set(cells(read_matrix(), Suite.FULL, 4))
    assert set(cells(read_matrix(), Suite.QUICK, 4)) < full


def test_threads_are_those_of_the_machine():
    assert thread_counts(["each", "twice"], 3) == (1, 2, 3, 6)
    assert thread_counts(["cores", 1], 8) == (1, 8)


@pytest.mark.parametrize(
    ("line", "changed", "message"),
    [
        ('isa = ["native"]', 'isa = ["AVX9"]', "'AVX9' is no instruction set"),
        ('kind = "memory"', 'kind = "process"', "limits_mib belongs to declarations of memory"),
        (
            'optional = [\n    "PyTorch bf16',
            'optional = [\n    "a peer',
            "'a peer, jemalloc' is optional and not among",
        ),
        ("rounds = 5", "round = 5", "unknown field `round`"),
    ],
)
def test_a_matrix_that_cannot_be_is_refused(tmp_path: Path, line: str, changed: str, message: str):
    text = MATRIX.read_text(encoding="utf-8")
    assert line in text
    wrong = tmp_path / "matrix.toml"
    wrong.write_text(text.replace(line, changed, 1), encoding="utf-8")
    with pytest.raises(InputError, match=message):
        read_matrix(wrong)


def test_what_a_cpu_has_not_is_not_measured():
    assert "no AVX512_CORE" in why_isa_not_available("AVX512_CORE", ["avx2"])
    assert why_isa_not_available("AVX2", ["avx2"]) == ""
    bf16 = ENGINES["OpenVINO bf16"]
    assert why_engine_not_available(bf16, "native", ["avx512_bf16"]) == ""
    assert "emulated" in why_engine_not_available(bf16, "AVX2", ["avx512_bf16"])
    assert "emulated" in why_engine_not_available(bf16, "native", ["avx2"])


def test_what_a_system_has_not_is_said(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(engines, "JEMALLOC", ("/nowhere/libjemalloc.so.2",))
    monkeypatch.setenv("CXX", "no-such-compiler")
    assert "libjemalloc2" in why_engine_not_available(ENGINES["PyTorch INT8, jemalloc"], "native", [])
    assert "no-such-compiler" in why_engine_not_available(ENGINES["torch.compile f32"], "native", [])
    assert why_engine_not_available(ENGINES["PyTorch f32"], "native", []) == ""


def test_variables_are_those_that_the_library_documents(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    (tmp_path / "libjemalloc.so.2").touch()
    monkeypatch.setattr(engines, "JEMALLOC", (f"{tmp_path}/libjemalloc.so.2",))
    variables = ENGINES["PyTorch bf16, jemalloc"].variables()
    assert variables["LD_PRELOAD"] == str(tmp_path / "libjemalloc.so.2")
    assert "background_thread:true" in variables["MALLOC_CONF"]
    assert ENGINES["torch.compile bf16"].variables() == {"TORCHINDUCTOR_FREEZING": "1"}
    assert ENGINES["OpenVINO INT8"].variables() == {}


def test_rivals_are_all_but_ours():
    rivals = {name for name in ENGINES if engines.is_rival(name)}
    assert rivals == {name for name, engine in ENGINES.items() if engine.library is not engines.Library.OPENVINO}
    assert engines.OURS in ENGINES
    assert not engines.is_rival("package INT8")


def test_the_words_of_an_error_are_those_that_name_it():
    said = "Traceback\n  File x\nRuntimeError: no kernel\n\nSet TORCH_LOGS for more\n"
    assert last_words(said) == "RuntimeError: no kernel"
    assert last_words("killed\n") == "killed"
    assert last_words("") == "it said nothing"


def test_a_cell_says_its_limits_to_all_its_processes(cell, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("ONEDNN_MAX_CPU_ISA", "SSE41")
    assert "ONEDNN_MAX_CPU_ISA" not in environment_of(cell)
    limited = environment_of(replace(cell, isa="AVX2", threads=3))
    assert limited["ONEDNN_MAX_CPU_ISA"] == "AVX2"
    assert {limited[name] for name in THREAD_VARIABLES} == {"3"}
    assert limited["ORT_DISABLE_TELEMETRY"] == "1"


def test_a_recorded_cell_is_not_measured_again(cell, setting: MatrixSetting):
    assert finished([cell], setting.results, MACHINE, 1) == set()
    write_cell(measured(cell, setting), setting.results)
    assert finished([cell], setting.results, MACHINE, 1) == {cell.id}
    assert finished([cell], setting.results, MACHINE, 2) == set()
    assert finished([replace(cell, rounds=99)], setting.results, MACHINE, 1) == set()
    assert finished([cell], setting.results, replace(MACHINE, stepping=99), 1) == set()


def test_a_cell_of_a_busy_machine_is_measured_again(cell, setting: MatrixSetting):
    write_cell(measured(cell, setting, others_cpu_ms=1e6), setting.results)
    assert finished([cell], setting.results, MACHINE, 1) == set()


@pytest.mark.parametrize("kind", [Kind.MEMORY, Kind.ACCURACY])
def test_what_is_not_timed_may_be_measured_on_a_busy_machine(kind: Kind, cell, setting: MatrixSetting):
    untimed = replace(cell, kind=kind)
    busy = partial(measured, others_cpu_ms=1e6)
    assert matrix.measure_cells([untimed], setting, {kind: busy}).failures == []
    assert finished([untimed], setting.results, MACHINE, 1) == {cell.id}
    timed = replace(cell, id="network/timed", subject="timed")
    left = matrix.measure_cells([timed], setting, {Kind.NETWORK: busy})
    assert left.failures == [f"{timed.id}: only 0 rounds count; the machine was busy"]


def test_a_cell_with_too_few_starts_is_measured_again(cell, setting: MatrixSetting):
    five = replace(cell, rounds=5)
    few = measured(replace(cell, rounds=4), setting)
    write_cell(replace(few, cell=five), setting.results)
    assert finished([five], setting.results, MACHINE, 1) == set()


def test_results_are_only_added(cell, setting: MatrixSetting):
    found = measured(cell, setting)
    path = write_cell(found, setting.results)
    assert read_cell(path) == found
    assert path.parent.name == MACHINE.name
    assert re.fullmatch(r"\d{8}T\d{6}Z-cell-network-tiny-smallest-native-1-threads\.json", path.name)
    with pytest.raises(FileExistsError):
        write_cell(found, setting.results)


def test_a_failed_cell_fails_the_run_and_keeps_no_other_from_running(cell, setting: MatrixSetting):
    other = replace(cell, id="network/other", subject="other")

    def broken_or_not(given, given_setting):
        if given is cell:
            raise BrainEdgeError("it broke")
        return measured(given, given_setting)

    left = matrix.measure_cells([cell, other], setting, {Kind.NETWORK: broken_or_not})
    assert left.failures == [f"{cell.id}: {name}: it broke" for name in cell.contenders]
    runs = latest(read_cells(setting.results))
    assert {entry.outcome for entry in runs[cell.id].entries} == {EntryOutcome.FAILED}
    assert not runs[other.id].failures
    assert finished([cell, other], setting.results, MACHINE, 1) == {other.id}


def test_cells_that_there_is_no_time_for_are_named(cell, setting: MatrixSetting):
    left = matrix.measure_cells([cell], setting, {Kind.NETWORK: measured}, limit_s=-1)
    assert left.not_started == [cell.id]


def test_an_instruction_set_that_is_missing_is_recorded(cell, setting: MatrixSetting):
    wanted = replace(cell, isa="AVX512_CORE")
    if not why_isa_not_available(wanted.isa, MACHINE.flags):
        pytest.skip("this CPU has AVX512")
    found = matrix.measure_cell(wanted, setting, {})
    assert {entry.outcome for entry in found.entries} == {EntryOutcome.NOT_AVAILABLE}
    assert found.machine.isa == "AVX512_CORE"


@pytest.mark.parametrize(("limit_mib", "fits"), [(100, False), (2000, True)])
def test_a_memory_limit_is_a_real_one(tmp_path: Path, limit_mib: int, fits: bool):
    """NumPy takes 400 MiB; a process under 100 MiB does not get them."""
    code = "import numpy, json; a = numpy.ones(50 * 2**20); print(json.dumps({'peak_rss_bytes': a.nbytes}))"
    greedy = Contender(
        name="greedy",
        command=[sys.executable, "-c", code],
        environment={"OPENBLAS_NUM_THREADS": "1"},
        mask=tmp_path,
        precision="f32",
    )
    if fits:
        assert run(greedy, limit_bytes=limit_mib * 2**20).peak_rss_bytes == 400 * 2**20
    else:
        with pytest.raises(OutOfMemoryError, match="greedy failed"):
            run(greedy, limit_bytes=limit_mib * 2**20)


@pytest.mark.parametrize(
    "words", ["Failed to allocate 880804032 bytes", "can't alloc", "std::bad_alloc", "out of memory"]
)
def test_words_for_a_lack_of_memory_count_under_a_limit_alone(tmp_path: Path, words: str):
    """Those of OpenVINO, of C++ and of others: the contender does not fit. Without a limit it has failed."""
    code = f"import sys; sys.exit('error: could not run: {words}')"
    refused = Contender(
        name="refused", command=[sys.executable, "-c", code], environment={}, mask=tmp_path, precision="f32"
    )
    with pytest.raises(OutOfMemoryError, match=words):
        run(refused, limit_bytes=2**31)
    with pytest.raises(BrainEdgeError, match=words) as failed:
        run(refused)
    assert not isinstance(failed.value, OutOfMemoryError)


def test_our_own_refusal_is_a_lack_of_memory_and_names_no_folder(tmp_path: Path):
    """The refusal itself, under the limit, as a run ends with it."""
    code = (
        "from brain_edge.errors import InputError; from brain_edge.machine.process import require_free\n"
        "try: require_free(2**33, 'the graph')\n"
        "except InputError as error: raise SystemExit(f'error: /home/somebody/head.nii.gz: {error}')"
    )
    refused = Contender(
        name="refused", command=[sys.executable, "-c", code], environment=os.environ, mask=tmp_path, precision="f32"
    )
    with pytest.raises(OutOfMemoryError, match=r"error: head\.nii\.gz: the graph needs 8192 MiB"):
        run(refused, limit_bytes=2**31)


def test_what_is_recorded_of_a_failure_names_no_folder(tmp_path: Path):
    script = tmp_path / "broken.py"
    script.write_text("raise ValueError('so it broke')")
    broken = Contender(name="x", command=[sys.executable, str(script)], environment={}, mask=tmp_path, precision="f32")
    with pytest.raises(BrainEdgeError, match=r'(?s)File "broken\.py", line 1.*so it broke') as failed:
        run(broken)
    assert str(tmp_path) not in str(failed.value)


def test_a_file_that_is_no_cell_is_refused(tmp_path: Path):
    wrong = tmp_path / "1-cell-x.json"
    wrong.write_text(json.dumps({"schema": 1}), encoding="utf-8")
    with pytest.raises(InputError, match="expected a cell of the benchmark matrix"):
        read_cell(wrong)
    with pytest.raises(InputError, match="found none"):
        read_cells(tmp_path / "nothing")


@pytest.mark.full
def test_the_smallest_suite_runs(tmp_path: Path):
    """Every engine opens and answers as PyTorch does; `make bench-once` runs the same."""
    command = program("matrix", "--suite", "smallest", "--busy", "--results", tmp_path)
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    for found in read_cells(tmp_path):
        assert not found.failures
        assert msgspec.json.decode(msgspec.json.encode(found), type=type(found)) == found


def test_one_contender_alone_finds_the_graphs_of_the_run_before(setting: MatrixSetting, tmp_path: Path, monkeypatch):
    """That run is the one that compares the masks; all others compile their graphs."""
    package = make_package(tmp_path / "package")
    monkeypatch.setattr(MatrixSetting, "package", lambda *_: package)
    monkeypatch.setattr(MatrixSetting, "given_head", tmp_path / "head.nii.gz")
    declared = [cell for cell in cells(read_matrix(), Suite.FULL, 2) if cell_process.WARM in cell.contenders]
    assert [cell.subject for cell in declared] == ["deepbet", "hd-bet-v1"]
    names = ("package FP32", "package INT8", cell_process.WARM)
    made = [cell_process._contender(declared[0], name, setting, None, tmp_path) for name in names]
    assert [each.environment[MODEL_CACHE] for each in made] == ["none", "none", str(tmp_path / "graphs")]
    assert len({each.mask for each in made}) == len(names)


@pytest.mark.parametrize("is_kept", [False, True])
def test_a_run_that_kept_no_graph_is_not_warm(setting: MatrixSetting, tmp_path: Path, monkeypatch, is_kept: bool):
    mask, kept = tmp_path / "mask.nii.gz", tmp_path / "graphs"
    mask.touch()
    kept.mkdir()
    if is_kept:
        (kept / "one.compiled").touch()
    contender = Contender(name=cell_process.WARM, command=[], environment={MODEL_CACHE: str(kept)}, mask=mask)
    monkeypatch.setattr(cell_process, "run", lambda _contender: None)
    monkeypatch.setattr(cell_process, "agreement", lambda *_: (1.0, None))
    monkeypatch.setattr(MatrixSetting, "reference", None)
    checked = cell_process._checked(CellEntry(name=cell_process.WARM), contender, contender, setting)
    assert (checked.outcome is EntryOutcome.FAILED) is not is_kept
    assert is_kept or "no compiled graph was kept" in checked.why
