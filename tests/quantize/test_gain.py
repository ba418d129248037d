"""What INT8 gives is measured in turn, said in words, and stands at the top of the page."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import msgspec
import pytest
from cohorts import make_case, save_manifest
from evidences import evidence
from tiny_package import PHANTOM, SPEC, make_package

from brain_edge.evaluation.cohort import Split, load_cohort
from brain_edge.evaluation.report.accuracy_page import PAGE, write_page
from brain_edge.evaluation.report.accuracy_report import REPORT, AccuracyReport, read_report, write_report
from brain_edge.evaluation.report.gain import Gain, InBf16, Measured
from brain_edge.image.phantom import make_volume
from brain_edge.machine.isa import limit_allows_bf16
from brain_edge.machine.options import RuntimeOptions
from brain_edge_conversion.budget import bf16
from brain_edge_conversion.budget.budget import AccuracyBudget
from brain_edge_conversion.quantize.gain import add_to_report, measure_gain
from brain_edge_conversion.quantize.quantize import QuantizeOptions

if TYPE_CHECKING:
    from pathlib import Path

    from brain_edge.evaluation.cohort import Cohort
    from brain_edge.package import ModelPackage

GAIN = Gain(
    baseline=Measured(
        size_bytes=24_000_000, cold_ms=(900.0, 800.0, 5000.0), warm_ms=(600.0,) * 3, peak_rss_bytes=(2**30,) * 3
    ),
    candidate=Measured(
        size_bytes=6_000_000, cold_ms=(450.0, 400.0, 500.0), warm_ms=(660.0,) * 3, peak_rss_bytes=(2**29,) * 3
    ),
    cpu="a CPU",
    threads=2,
)


def heads(folder: Path) -> Cohort:
    """One head for each split."""
    voxels = make_volume(PHANTOM).voxels
    cases = [make_case(folder, f"p{number}", split, voxels=voxels + number) for number, split in enumerate(Split)]
    return load_cohort(save_manifest(folder, *cases))


@pytest.mark.full  # starts two processes, some seconds; tests/bench times configurations in CI
def test_both_packages_are_measured_on_one_case_in_turn(tmp_path: Path):
    package, lines = make_package(tmp_path / "package"), list[str]()
    options = QuantizeOptions(
        budget=AccuracyBudget(), gain_rounds=1, runtime=RuntimeOptions(threads=1), report=lines.append
    )
    gain = measure_gain(package, package, heads(tmp_path / "heads"), options)
    assert gain.baseline.size_bytes == gain.candidate.size_bytes == size_of_graphs(package)
    assert [len(each.cold_ms) for each in (gain.baseline, gain.candidate)] == [1, 1]
    assert lines[0] == "measuring size, latency and memory before and after"
    assert lines[-1] == "round 1 of 1, 2 configuration(s)"


@pytest.mark.skipif(not limit_allows_bf16(), reason="ONEDNN_MAX_CPU_ISA leaves no bf16 to a CPU that has it")
@pytest.mark.full  # starts five processes; tests/budget judges bf16 in CI
def test_bf16_takes_its_turn_where_the_cpu_computes_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """OpenVINO computes in f32 on a CPU without native bf16, so that the masks are the same there."""
    monkeypatch.setattr(bf16, "cpu_capabilities", lambda: ("FP32", "BF16"))
    package, lines = make_package(tmp_path / "package"), list[str]()
    runtime = RuntimeOptions(threads=1)
    options = QuantizeOptions(budget=AccuracyBudget(), gain_rounds=1, runtime=runtime, report=lines.append)
    found = measure_gain(package, package, heads(tmp_path / "heads"), options).in_bf16
    assert found is not None
    assert (found.cases, found.problem, len(found.measured.cold_ms)) == (1, "", 1)
    assert lines[1:] == [
        "round 1 of 1, 3 configuration(s)",
        "judging bf16, which this CPU computes natively, on 1 search case(s)",
    ]


@pytest.mark.parametrize(
    ("problem", "words"),
    [
        ("", "its masks meet the budget, and brain-edge tune writes such a package; judged on 2 search case(s)"),
        ("a drop of 0.1", "its masks miss the budget (a drop of 0.1); judged on 2 search case(s)"),
    ],
)
def test_the_words_say_what_bf16_would_give_instead(problem: str, words: str):
    measured = Measured(size_bytes=24_000_000, cold_ms=(600.0,), warm_ms=(400.0,))
    gain = msgspec.structs.replace(GAIN, in_bf16=InBf16(measured=measured, cases=2, problem=problem))
    assert gain.in_words[-2] == f"bf16 instead of INT8: 900 ms before, 600 ms after (1.50 times faster); {words}"


def size_of_graphs(package: ModelPackage) -> int:
    return sum(path.stat().st_size for path in (package.folder / "graphs").iterdir())


def test_the_words_have_medians_and_say_what_became_worse():
    assert GAIN.in_words == (
        "size: 24.0 MB before, 6.0 MB after (4.00 times smaller)",
        "latency from the start of a process: 900 ms before, 450 ms after (2.00 times faster)",
        "latency of a further case: 600 ms before, 660 ms after (1.10 times slower)",
        "peak memory: 1024 MiB before, 512 MiB after (2.00 times less)",
        "measured on one case, 3 round(s) in turn, medians; 2 thread(s), a CPU",
    )


def test_a_system_that_reports_no_memory_has_no_line_about_it():
    silent = msgspec.structs.replace(GAIN, baseline=msgspec.structs.replace(GAIN.baseline, peak_rss_bytes=()))
    assert not [line for line in silent.in_words if "memory" in line]


def test_the_page_begins_with_the_gain(tmp_path: Path):
    report = AccuracyReport(
        met=True,
        failures=(),
        smallest_budget="",
        search_result="a setting of the ladder meets the budget",
        judged_on="test",
        model="tiny",
        candidate=None,
        labels=SPEC.labels,
        cohort="heads",
        licence="CC0",
        citation="",
        synthetic=False,
        versions={},
        evidence=evidence(),
        cases=(),
    )
    write_report(report, tmp_path)
    write_page(report, tmp_path)
    assert "times smaller" not in (tmp_path / PAGE).read_text(encoding="utf-8")
    add_to_report(GAIN, tmp_path)
    page = (tmp_path / PAGE).read_text(encoding="utf-8")
    assert page.index("What INT8 gives") < page.index("(4.00 times smaller)") < page.index("The budget is met")
    assert read_report(tmp_path / REPORT) == msgspec.structs.replace(report, gain=GAIN)


def test_a_measurement_is_left_out_unless_it_is_asked_for():
    assert QuantizeOptions().gain_rounds == 0


def test_a_number_of_rounds_below_zero_is_refused():
    with pytest.raises(ValueError, match="expected gain_rounds of 0 or more, got -1"):
        replace(QuantizeOptions(), gain_rounds=-1)
