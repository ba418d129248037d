"""The benchmark report: recorded cells become tables and figures, and nothing is shown that was not measured."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import msgspec
import pytest
from msgspec.structs import replace
from test_benchmark_programs import benchmarks

from benchmarks.harness.cell_record import (
    CaseScore,
    Cell,
    CellEntry,
    CellRun,
    Commit,
    Device,
    EntryOutcome,
    Kind,
    NumberSum,
    RunSample,
    read_cells,
)
from benchmarks.report import write_benchmark_report
from benchmarks.report.page import benchmark_page
from benchmarks.report.recipe_age import Ages
from benchmarks.report.source_paper import TABLE_4, over_newer_pytorch
from benchmarks.report.speed_tables import trained_in_words
from benchmarks.report.summaries import accuracy, figures, held, machines
from brain_edge.machine.description import Machine

if TYPE_CHECKING:
    from pathlib import Path

MACHINE = Machine(
    name="some-cpu-2-processors",
    cpu="Some CPU",
    family=6,
    model=1,
    stepping=0,
    processors=2,
    flags=("avx2",),
    isa="native",
    memory_bytes=8 * 2**30,
    system="Linux 1",
)
OTHER = replace(MACHINE, name="other-cpu-2-processors", cpu="Other CPU", flags=("avx2", "avx512_vnni"))
STARTED = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
PNG = b"\x89PNG\r\n"


def entry(name: str, latency_ms: float, *, rounds: int = 5, passes: int = 3, **facts: Any) -> CellEntry:
    """Of which the geometric mean over starts is the latency; memory goes with it."""
    taken_ms = [latency_ms * 1.01 ** (number - (rounds - 1) / 2) for number in range(rounds)]
    samples = tuple(
        RunSample(latency_ms=each, peak_rss_bytes=int(1e6 * latency_ms), passes_ms=(each,) * passes)
        for each in taken_ms
    )
    return CellEntry(name=name, precision="f32", samples=samples, **facts)


def cell_run(entries: tuple[CellEntry, ...], *, machine: Machine = MACHINE, **facts: Any) -> CellRun:
    """A cell of BrainMaGe's network with these contenders, unless told otherwise."""
    told: dict[str, Any] = {
        "kind": Kind.NETWORK,
        "group": "engines",
        "subject": "brainmage",
        "threads": 2,
        "limits_mib": (),
    } | facts
    kind, group, subject, threads = (told.pop(name) for name in ("kind", "group", "subject", "threads"))
    limits = told.pop("limits_mib")
    cell = Cell(
        id=f"{kind}/{subject}/{group}/{machine.isa}/{threads}-threads",
        kind=kind,
        group=group,
        subject=subject,
        isa=machine.isa,
        threads=threads,
        contenders=tuple(dict.fromkeys(each.name for each in entries)),
        limits_mib=limits,
        rounds=5,
    )
    defaults: dict[str, Any] = {
        "repetition": 1,
        "started": STARTED,
        "commit": Commit("0" * 40, changed=False),
        "max_disturbance": 0.1,
        "versions": {"openvino": "1", "torch": "2"},
        "image": (1, 1, 128, 128, 128),
    }
    return CellRun(cell=cell, machine=machine, entries=entries, **(defaults | told))


def engines(*, pytorch_ms: float = 1000.0, int8_ms: float = 200.0, passes: int = 3, **facts: Any) -> CellRun:
    return cell_run(
        (
            entry("PyTorch f32", pytorch_ms, passes=passes),
            CellEntry(name="OpenVINO bf16", outcome=EntryOutcome.NOT_AVAILABLE, why="this CPU has no bf16"),
            entry("OpenVINO f32", 500.0, passes=passes),
            entry("OpenVINO INT8", int8_ms, passes=passes),
        ),
        **facts,
    )


def repeated(*int8_ms: float, **facts: Any) -> list[CellRun]:
    """A cell in repetitions an hour apart."""
    return [
        engines(int8_ms=each, repetition=number, started=STARTED + timedelta(hours=number), **facts)
        for number, each in enumerate(int8_ms, start=1)
    ]


def everything(machine: Machine = MACHINE) -> list[CellRun]:
    """One cell of each kind."""
    processes = ("published program", "PyTorch, our steps", "package FP32", "package INT8")
    timed = tuple(entry(name, 4000.0 / (number + 1)) for number, name in enumerate(processes))
    scores = tuple(CaseScore(case=n, subject=n // 2, split="test", dice=0.96, hd95_mm=2.5) for n in range(8))
    sums = (
        NumberSum(numbers="f32", multiply_adds=10**9, moved_bytes=10**8, time_ms=10.0),
        NumberSum(numbers="i8", multiply_adds=10**11, moved_bytes=10**9, time_ms=400.0),
    )
    return [
        engines(machine=machine),
        *(engines(machine=machine, group="scaling", threads=threads) for threads in (1, 2, 4)),
        engines(machine=replace(machine, isa="AVX2"), group="isa"),
        cell_run(timed, machine=machine, kind=Kind.PROCESS, group="published", subject="deepbet"),
        cell_run(
            tuple(CellEntry(name=name, scores=scores) for name in processes[1:]),
            machine=machine,
            kind=Kind.ACCURACY,
            group="heads",
            subject="deepbet",
            cohort="heads",
        ),
        cell_run(
            (
                entry("package INT8", 900.0, rounds=1, limit_mib=1024),
                CellEntry(name="package INT8", limit_mib=256, outcome=EntryOutcome.DOES_NOT_FIT, why="MemoryError"),
            ),
            machine=machine,
            kind=Kind.MEMORY,
            group="ceilings",
            subject="deepbet",
            limits_mib=(256, 1024),
        ),
        cell_run(
            (CellEntry(name="OpenVINO INT8", sums=sums),),
            machine=machine,
            kind=Kind.ROOFLINE,
            group="roofline",
            peaks={"f32": 1e11, "i8": 3e11},
            bytes_per_s=2e10,
        ),
    ]


def save(runs: list[CellRun], folder: Path) -> Path:
    for number, run in enumerate(runs):
        path = folder / run.machine.name / f"{number:03}-cell-x.json"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(msgspec.json.encode(run))
    return folder


def page_of(runs: list[CellRun]) -> str:
    return benchmark_page(machines(runs), (), None)


def row_of(page: str, *cells: str) -> list[str]:
    """The one row of a table that starts with these cells."""
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in page.splitlines() if line.startswith("|")]
    (found,) = [row for row in rows if tuple(row[: len(cells)]) == cells]
    return found


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("report")
    save(everything(), folder / "results")
    return write_benchmark_report(folder / "results", folder / "page").parent


def test_every_figure_is_there_as_svg_and_png(report: Path):
    stems = {path.stem for path in report.glob("*.svg")}
    part = MACHINE.name
    kinds = ("core-scaling", "latency-dice", "memory-latency", "roofline", "isa")
    assert stems == {"speed-up-by-cpu", *(f"{kind}-{part}" for kind in kinds)}
    for stem in stems:
        assert (report / f"{stem}.png").read_bytes().startswith(PNG)
        assert "<svg" in (report / f"{stem}.svg").read_text(encoding="utf-8")


def test_every_link_of_the_page_leads_to_a_file(report: Path):
    linked = re.findall(r"\]\(([^)]+)\)", (report / "README.md").read_text(encoding="utf-8"))
    assert linked
    assert all((report / name).is_file() for name in linked)


@pytest.mark.full  # draws every figure twice
def test_the_same_results_give_the_same_bytes(report: Path, tmp_path: Path):
    again = write_benchmark_report(report.parent / "results", tmp_path / "again").parent
    for path in report.iterdir():
        assert (again / path.name).read_bytes() == path.read_bytes(), path.name


def test_ratios_are_to_pytorch_of_the_same_cell():
    page = page_of([engines()])
    assert row_of(page, "BrainMaGe, network alone", "OpenVINO INT8")[4:6] == ["0.200 s", "5.00x"]
    assert row_of(page, "BrainMaGe, network alone", "PyTorch f32")[5] == "1"


def test_published_figures_are_quotients_of_the_papers_table():
    """6.1 times PyTorch 1.9 and 18 % more memory, as the paper's text has them rounded."""
    faster, memory = over_newer_pytorch(TABLE_4[-1])
    assert faster == pytest.approx(6.13, abs=0.01)
    assert memory == pytest.approx(1.18, abs=0.005)
    row = row_of(page_of([engines()]), "published, Intel i7-1185G7, 4 cores", "OpenVINO 2021.4, INT8")
    assert row[2:] == ["0.97118", "2.7426", "not stated", "6.13x", "not stated", "1.18", "not stated"]


def test_the_size_of_what_runs_stands_beside_its_memory_where_the_record_notes_it():
    noted = cell_run((entry("PyTorch f32", 1000.0), entry("OpenVINO INT8", 200.0, size_bytes=9 * 2**20)))
    page = page_of([noted])
    assert row_of(page, "", "engine")[-1] == "size"
    assert row_of(page, "BrainMaGe, network alone", "OpenVINO INT8")[-1] == "9 MiB"
    assert row_of(page, "BrainMaGe, network alone", "PyTorch f32")[-1] == "-"
    assert row_of(page, "published, Intel i7-1185G7, 4 cores", "OpenVINO 2021.4, INT8")[-1] == "not stated"


def test_agreement_stands_beside_the_number_of_threads():
    exact = entry("PyTorch f32", 1000.0, correlation=1.0)
    runs = [
        cell_run((exact, entry("OpenVINO INT8", 200.0, correlation=0.99)), group="scaling", threads=threads)
        for threads in (1, 2)
    ]
    page = page_of(runs)
    for threads in "12":
        assert row_of(page, "brainmage", "native", threads, "OpenVINO INT8")[-1] == "0.99000"


def test_without_a_gpu_its_figures_are_not_measured():
    page = page_of(everything())
    assert row_of(page, "BrainMaGe, network alone", "PyTorch on a GPU")[4] == "not measured"
    assert row_of(page, "deepbet, whole process", "PyTorch on a GPU")[4] == "not measured"


def test_a_gpu_is_shown_under_its_name():
    on_gpu = engines(group="gpu", device=Device(name="Some GPU"))
    page = page_of([engines(), on_gpu])
    assert row_of(page, "BrainMaGe, network alone", "OpenVINO INT8 on Some GPU")[4] == "0.200 s"
    # and takes no part in what the CPU has computed
    assert row_of(page, "brainmage, 128 x 128 x 128", "2", "OpenVINO INT8")[3] == "0.200 s"


def test_two_machines_have_tables_of_their_own():
    page = page_of([engines(), engines(machine=OTHER, int8_ms=100.0)])
    first, second = page.split("## Other CPU")
    assert row_of(first, "BrainMaGe, network alone", "OpenVINO INT8")[4] == "0.200 s"
    assert row_of(second, "BrainMaGe, network alone", "OpenVINO INT8")[4] == "0.100 s"


def test_machines_of_one_name_are_still_two():
    """The CPU is called the same; its memory is not."""
    found = machines([engines(), engines(machine=replace(MACHINE, memory_bytes=2**30), int8_ms=100.0)])
    assert [each.number for each in found] == [1, 2]
    assert len({each.file_part for each in found}) == len({each.cpu for each in found}) == 2


def test_a_limit_of_the_instructions_makes_no_other_machine():
    assert len(machines([engines(), engines(machine=replace(MACHINE, isa="AVX2"))])) == 1


def test_rounds_that_others_have_disturbed_do_not_count():
    quiet, loud = (RunSample(latency_ms=100.0, others_cpu_ms=took, passes_ms=(100.0,)) for took in (0.0, 100.0))
    run = cell_run((CellEntry(name="PyTorch f32", samples=(quiet, loud, quiet, quiet)),))
    assert run.counted() == (0, 2, 3)
    too_few = cell_run((CellEntry(name="PyTorch f32", samples=(quiet, loud, loud, loud)),))
    assert figures(too_few) == {}
    assert "too few rounds" in page_of([too_few])


def test_a_failure_is_shown_and_not_hidden_by_an_older_success():
    failed = cell_run((CellEntry(name="PyTorch f32", outcome=EntryOutcome.FAILED, why="it broke"),))
    page = page_of([engines(), replace(failed, started=STARTED + timedelta(hours=1))])
    assert row_of(page, "network/brainmage/engines/native/2-threads", "PyTorch f32")[2:] == ["failed", "it broke"]


def test_what_was_asked_depends_on_the_instructions():
    """5x is enough without VNNI; with it 9.5x was asked."""
    page = page_of([engines(int8_ms=190.0), engines(int8_ms=190.0, machine=OTHER)])
    without, having = page.split("## Other CPU")
    assert row_of(without, "INT8 over PyTorch f32, a CPU with AVX2")[1] == "at least 5x"
    assert row_of(without, "INT8 over PyTorch f32, a CPU with AVX2")[3] == "yes"
    assert row_of(having, "INT8 over PyTorch f32, a CPU with VNNI")[1::2] == ["at least 9.5x", "no"]
    assert row_of(having, "peak memory of INT8 over f32's")[1:] == ["at most 0.4", "0.38", "yes"]


def test_what_does_not_fit_is_said_in_its_place():
    row = row_of(page_of(everything()), "deepbet", "package INT8")
    assert row == ["deepbet", "package INT8", "does not fit", "fits, 858 MiB"]


CELL = ("brainmage, 128 x 128 x 128", "2", "OpenVINO INT8")


def test_repetitions_are_put_together_and_their_range_is_shown():
    """Not the last, which may be the high mode."""
    row = row_of(page_of(repeated(200.0, 250.0)), *CELL)
    assert row[3:5] == ["0.224 s", "4.47 (4.11 to 4.86)x"]  # of 200 and 250, that is 5 and 4
    assert row[6] == "4.00 to 5.00 in 2"
    assert row_of(page_of(repeated(200.0)), *CELL)[6] == ""


def test_rounds_in_one_process_are_one_start():
    row = row_of(page_of([engines(passes=0)]), *CELL)
    assert row[4:7] == ["5.00 (1 start)x", "unknown", ""]
    five = row_of(page_of(repeated(200.0, 210.0, 190.0, 205.0, 195.0, passes=0)), *CELL)
    assert five[4] == "5.00 (4.76 to 5.26)x"
    assert five[6] == "4.76 to 5.26 in 5"


def test_old_rounds_and_new_starts_are_not_put_together():
    mixed = [engines(passes=0), *repeated(250.0)]
    mixed[1] = replace(mixed[1], repetition=2)
    assert row_of(page_of(mixed), *CELL)[4] == "4.00 (4.00 to 4.00)x"


def test_a_repetition_of_another_question_is_left_out():
    """Another image, or another first contender."""
    other = replace(engines(image=(1, 1, 64, 64, 64)), repetition=2)
    without = replace(engines(), repetition=2, entries=engines().entries[2:])
    for each in (other, without):
        assert list(figures(engines(), [each])["OpenVINO INT8"].seen) == pytest.approx([5.0])


def test_ranges_are_counted_by_whether_they_held():
    (one, *_), alike = held(repeated(*[200.0] * 5)), held(repeated(*[200.0] * 4))
    assert (one.contender, one.repetitions, one.inside, one.told, one.left_out) == ("OpenVINO INT8", 5, 20, 20, 5)
    assert alike == ()
    apart = next(each for each in held(repeated(200.0, 200.0, 200.0, 200.0, 400.0)) if each.contender == CELL[2])
    assert (apart.inside, apart.told, apart.left_out) == (12, 20, 4)
    assert "held that one in 9 of 10; that of one repetition held 32 of 40 others" in page_of(
        repeated(200.0, 200.0, 200.0, 200.0, 400.0)
    )
    assert "no ratio was measured in 5 repetitions" in page_of([engines()])


def trained(name: str, latency_ms: float, same: float) -> CellEntry:
    return entry(name, latency_ms, dice_first=same)


def test_the_strongest_rival_keeps_the_budget():
    """The faster one with half of the mask is none; random weights are not judged."""
    entries = (
        trained("PyTorch f32", 1000.0, 1.0),
        trained("PyTorch INT8, jemalloc", 100.0, 0.5),
        trained("PyTorch bf16, jemalloc", 400.0, 0.9912),
        trained("OpenVINO f32", 300.0, 1.0),
        trained("OpenVINO INT8", 200.0, 0.9991),
    )
    what = "deepbet-brain, 128 x 128 x 128"
    shown = page_of([cell_run(entries, group="trained", subject="deepbet-brain")]).partition("strongest rival")[2]
    assert row_of(shown, what)[1:] == [
        *("Dice 0.9991", "5.00 (5.00 to 5.00)x", "PyTorch bf16, jemalloc, of 2", "Dice 0.9912", "2.00 (2.00 to 2.00)x"),
    ]
    (machine,) = machines([cell_run(entries, group="trained", subject="deepbet-brain")])
    assert trained_in_words(machine, Ages({})).startswith(
        "Networks alone, INT8 with published weights: deepbet-brain 5.00 (5.00 to 5.00)x as fast as PyTorch f32 and "
        "2.00 (2.00 to 2.00)x as fast as its fastest rival, PyTorch bf16, jemalloc (Dice 0.9991 with PyTorch). "
    )
    (machine,) = machines([cell_run(entries)])
    assert trained_in_words(machine, Ages({})) == ""
    lost = (*entries[:-1], trained("OpenVINO INT8", 200.0, 0.9))
    shown = page_of([cell_run(lost, group="trained", subject="deepbet-brain")]).partition("strongest rival")[2]
    assert row_of(shown, what)[1] == "Dice 0.9000, misses the budget"
    random = tuple(replace(each, dice_first=None) for each in entries)
    shown = page_of([cell_run(random)]).partition("strongest rival")[2]
    assert row_of(shown, CELL[0])[1:] == [
        *("accuracy not judged", "5.00 (5.00 to 5.00)x", "PyTorch INT8, jemalloc, of 3", "not judged"),
        "0.50 (0.50 to 0.50)x",
    ]
    assert "strongest rival" not in page_of([engines()])


def test_a_rival_that_cannot_run_a_network_says_it_in_its_own_words():
    refused = CellEntry(name="ONNX Runtime INT8", outcome=EntryOutcome.NOT_SUPPORTED, why="Conv: no kernel | of rank 3")
    page = page_of([cell_run((entry("PyTorch f32", 1000.0), refused))])
    assert row_of(page, *CELL[:2], "ONNX Runtime INT8")[3] == "not supported: Conv: no kernel / of rank 3"


@pytest.mark.parametrize(
    ("int8_ms", "met"),
    [
        ([150.0, 151.0], "yes"),
        ([205.0, 205.0], "no"),
        ([190.0, 220.0], "no; the interval contains it"),
        ([180.0, 218.0], "yes by the mean; the interval begins below"),
    ],
)
def test_a_ratio_below_the_aim_is_a_miss_however_near(int8_ms: list[float], met: str):
    page = page_of(repeated(*int8_ms))
    assert row_of(page, "INT8 over PyTorch f32, a CPU with AVX2")[3] == met


def test_older_records_of_networks_are_cells_of_one_start(tmp_path: Path):
    run = engines(passes=0)
    facts = {
        name: getattr(run, name) for name in ("started", "commit", "machine", "max_disturbance", "versions", "entries")
    }
    path = tmp_path / "20260102T030405Z-network-brainmage.json"
    path.write_bytes(
        msgspec.json.encode({"network": "brainmage", "shape": run.image, "threads": 2, "target": 9, **facts})
    )
    (found,) = read_cells(tmp_path)
    assert found.in_one_start
    assert row_of(page_of([found]), *CELL)[4] == "5.00 (1 start)x"


def test_times_beside_other_work_are_not_quoted():
    """`--busy` is for trying; a later run of that kind does not take the place of a quiet one either."""
    busy = engines(int8_ms=100.0, max_disturbance=None, started=STARTED + timedelta(hours=1))
    assert page_of([engines(), busy]) == page_of([engines()])


def test_without_pytorch_nothing_is_as_fast_as_it():
    """It failed, and the others were timed all the same."""
    processes = ("published program", "package FP32", "package INT8")
    timed = tuple(entry(name, 4000.0 / (number + 1)) for number, name in enumerate(processes))
    failed = CellEntry(name="PyTorch, our steps", outcome=EntryOutcome.FAILED, why="it broke")
    page = page_of([cell_run((*timed, failed), kind=Kind.PROCESS, group="published", subject="deepbet")])
    for name in processes:
        row = row_of(page, "deepbet, whole process", name)
        assert (row[5], row[7]) == ("no PyTorch to compare with",) * 2


def test_accuracy_is_the_mean_over_heads_and_names_nobody():
    scores = tuple(CaseScore(case=1, subject=1, split="test", dice=dice, hd95_mm=None) for dice in (0.9, 1.0))
    found = accuracy(CellEntry(name="package INT8", scores=scores))
    assert found is not None
    assert (found.dice, found.hd95_mm, found.worst_dice, found.heads, found.subjects) == (0.95, None, 0.9, 2, 1)
    page = page_of(everything())
    assert row_of(page, "deepbet, whole process", "package INT8")[2:4] == ["0.9600", "2.50"]
    assert row_of(page, "deepbet, whole process", "published program")[2:4] == ["not measured"] * 2


def test_costs_are_the_readers_own(tmp_path: Path):
    """100 W for 0.2 s are 0.0056 Wh; 1000 over 1000 cases are 1 a case."""
    save([engines()], tmp_path / "results")
    costs = tmp_path / "mine.toml"
    costs.write_text(
        'currency = "EUR"\nprice_per_kwh = 0.5\n[[device]]\nname = "Some CPU"\nprice = 1000\nyears = 1\n'
        "cases_per_year = 1000\npower_w = 100\n",
        encoding="utf-8",
    )
    page = write_benchmark_report(tmp_path / "results", tmp_path / "page", costs).read_text(encoding="utf-8")
    assert row_of(page, "brainmage (network)", "OpenVINO INT8")[4:] == ["0.0056", "0.000003", "1.0000", "1.0000"]
    assert "mine.toml" in page


@pytest.mark.full  # draws every figure again
def test_the_command_writes_a_page_and_refuses_an_empty_folder(tmp_path: Path):
    save([engines()], tmp_path / "results")
    told = benchmarks("report", tmp_path / "results", "-o", tmp_path / "page")
    assert told.out.strip() == str(tmp_path / "page" / "README.md"), told.err
    (tmp_path / "nothing").mkdir()
    done = benchmarks("report", tmp_path / "nothing", "-o", tmp_path / "other")
    assert (done.code, done.out) == (3, "")
    assert "found none" in done.err
    assert not (tmp_path / "other").exists()
