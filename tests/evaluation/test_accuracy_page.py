"""The report: one schema, one page that needs nothing else, and nothing on it that a browser would run."""

from __future__ import annotations

from html.parser import HTMLParser
from typing import TYPE_CHECKING, Any
from xml.etree import ElementTree as ET

import jsonschema
import msgspec
import pytest
from evidences import accuracy_case, evidence
from outlier_package import phantom_cohort
from tiny_package import SPEC, make_package

from brain_edge.evaluation.cohort import Split
from brain_edge.evaluation.evidence import Basis, FloatLayer, Isa, IsaRecord, LabelRecord, TrialRecord, evidence_in
from brain_edge.evaluation.report.accuracy_page import page, write_page
from brain_edge.evaluation.report.accuracy_report import (
    AccuracyReport,
    NamedCase,
    pseudonymous,
    read_report,
    with_pictures,
    write_report,
)
from brain_edge.evaluation.report.scatter import Point, scatter_svg
from brain_edge.machine.options import RuntimeOptions
from brain_edge_conversion.budget.budget import AccuracyBudget
from brain_edge_conversion.quantize.quantize import QuantizeOptions, quantize

if TYPE_CHECKING:
    from pathlib import Path

replace = msgspec.structs.replace

CASE = accuracy_case(
    4,
    dice_baseline=0.96,
    dice_candidate=0.94,
    drop=0.02,
    agreement=0.97,
    hd95_baseline_mm=1.0,
    subject=2,
)
EVIDENCE = evidence(
    statement="mean Dice drop at most 0.02000",
    worst_mean_drop=0.02,
    int8_share=0.994,
    cases=(CASE,),
    next_patient="At most 1/2.",
    warnings=("1 test subject(s): too few.",),
    labels=(
        LabelRecord(
            label=1,
            cases=1,
            absent=0,
            mean_drop=0.02,
            worst_drop=0.02,
            mean_disagreement=0.03,
            worst_disagreement=0.03,
            mean_hd95_increase_mm=None,
            false_positive_ml=0.0,
            interval=(0.01, 0.03),
        ),
    ),
    isas=(IsaRecord(isa=Isa.AVX2, verified=False, reason="not verified: this CPU is aarch64, not x86"),),
    trials=(
        TrialRecord(
            changes=("mixed preset",), int8_share=1.0, worst_mean_drop=0.03, worst_case_drop=0.03, excess=3.0, met=False
        ),
    ),
    float_layers=(FloatLayer("tiny", "conv<1>", "Convolution", 1_000_000, "reverted by the search"),),
)
REPORT = AccuracyReport(
    met=False,
    failures=("mean drop of label 1 is 0.02000, the budget is 0.01",),
    smallest_budget="smallest --max-dice-drop that these cases meet: 0.02000",
    search_result="a setting of the ladder meets the budget",
    judged_on="test",
    model="tiny",
    candidate=None,
    labels=SPEC.labels,
    cohort="heads",
    licence="CC0",
    citation="",
    synthetic=False,
    versions={"openvino": "1"},
    evidence=EVIDENCE,
    cases=(NamedCase(case=4, subject="<script>alert(1)</script>", visit="a&b", sequences=("T1",)),),
)


class Reader(HTMLParser):
    """Tags with their attributes, and the text between them."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        self.text += data + " "


def test_the_figures_are_one_schema_and_come_back_as_they_were(tmp_path: Path):
    path = write_report(REPORT, tmp_path)
    assert read_report(path) == REPORT
    jsonschema.validate(msgspec.json.decode(path.read_bytes()), msgspec.json.schema(AccuracyReport))


def test_every_figure_is_on_the_page():
    read = Reader(page(REPORT, {}))
    expected = ("0.96000", "0.94000", "0.02000", "0.97000", "1.00", "99.4%", "0.01000 to 0.03000", "cd" * 32, "ab" * 32)
    for figure in expected:
        assert figure in read.text
    for words in (
        *REPORT.failures,
        REPORT.smallest_budget,
        EVIDENCE.bounds,
        *EVIDENCE.warnings,
        REPORT.warning,
        "conv<1>",
        "1,000,000",
    ):
        assert words in read.text


def test_a_name_is_text_and_never_code():
    html = page(REPORT, {})
    assert "<script" not in html
    assert REPORT.cases[0].subject in Reader(html).text


def test_the_page_needs_nothing_from_elsewhere(tmp_path: Path):
    """Readable in a hospital without internet, and complete when it is mailed alone."""
    (tmp_path / "case-4.png").write_bytes(b"\x89PNG")
    shown = replace(REPORT, cases=(replace(REPORT.cases[0], picture="case-4.png"),))
    read = Reader(write_page(shown, tmp_path).read_text(encoding="utf-8"))
    links = [value for _, attributes in read.tags for name, value in attributes.items() if name in ("src", "href")]
    assert len(links) == 1
    assert all(link is not None and link.startswith("data:image/png;base64,") for link in links)


def test_a_page_with_pictures_says_that_it_shows_patients(tmp_path: Path):
    (tmp_path / "p.png").write_bytes(b"\x89PNG")
    assert "CONTAINS PATIENT IMAGES" in page(REPORT, {4: tmp_path / "p.png"})
    assert "CONTAINS PATIENT IMAGES" not in page(REPORT, {})


@pytest.mark.parametrize(("mark", "words"), [("synthetic", "SYNTHETIC IMAGES"), ("demonstration", "DEMONSTRATION")])
def test_images_that_are_no_patients_are_marked(mark: str, words: str):
    marked: dict[str, dict[str, Any]]
    marked = {"synthetic": {"synthetic": True}, "demonstration": {"evidence": replace(EVIDENCE, demonstration=True)}}
    assert words in page(replace(REPORT, **marked[mark]), {})
    assert words not in page(REPORT, {})


def test_met_and_missed_are_told_apart():
    assert "The budget is not met; no package was written" in page(REPORT, {})
    met = page(replace(REPORT, met=True, failures=(), candidate="ef" * 32), {})
    assert "The budget is met" in met
    assert "ef" * 32 in met


def test_without_references_the_scatter_shows_the_disagreement():
    blind = replace(
        EVIDENCE, basis=Basis.AGREEMENT, cases=(replace(CASE, dice_baseline=None, dice_candidate=None, drop=None),)
    )
    html = page(replace(REPORT, evidence=blind), {})
    assert "disagreement with FP32</text>" in html
    assert "case 4, label 1: 0.03000" in html


def test_the_scatter_is_well_formed_and_higher_is_more():
    svg = scatter_svg([Point(0.9, 0.001, "a < b"), Point(0.95, 0.03, "c")], {"limit": 0.01}, ("x", "y"))
    circles = [node for node in ET.fromstring(svg) if node.tag == "circle"]  # noqa: S314 - our own text
    assert [circle[0].text for circle in circles] == ["a < b: 0.00100", "c: 0.03000"]
    assert float(circles[0].attrib["cy"]) > float(circles[1].attrib["cy"])
    assert float(circles[0].attrib["cx"]) < float(circles[1].attrib["cx"])


@pytest.mark.parametrize("points", [[], [Point(1.0, 0.0, "only")], [Point(1.0, 0.5, "a"), Point(1.0, 0.5, "b")]])
def test_the_scatter_of_few_or_equal_points_is_drawn(points: list[Point]):
    assert ("<circle" in scatter_svg(points, {}, ("x", "y"))) is bool(points)


def test_cases_have_ticks_at_whole_numbers_and_dice_at_round_ones():
    def ticks(*points: Point) -> list[float]:
        svg = ET.fromstring(scatter_svg(points, {}, ("x", "y")))  # noqa: S314 - our own text
        texts = [node.text or "" for node in svg if node.attrib.get("text-anchor") == "middle"]
        return [float(text) for text in texts if text not in {"x", "y"}]

    assert ticks(Point(2.0, 0.1, "one")) == [2.0]
    assert ticks(Point(1.0, 0.1, "a"), Point(4.0, 0.2, "b")) == [1.0, 2.0, 3.0, 4.0]
    assert ticks(Point(0.9, 0.1, "a"), Point(0.95, 0.2, "b")) == [0.9, 0.91, 0.92, 0.93, 0.94, 0.95]


def test_a_report_for_others_has_numbers_for_subjects_and_no_picture(tmp_path: Path):
    (tmp_path / "p.png").write_bytes(b"\x89PNG")
    shown = with_pictures(REPORT, {4: "p.png"})
    assert shown.cases[0].picture == "p.png"
    others = pseudonymous(shown)
    assert others.evidence == REPORT.evidence
    (case,) = others.cases
    assert (case.case, case.subject, case.visit, case.sequences, case.picture) == (4, "subject 2", "", ("T1",), None)
    for text in (write_page(others, tmp_path).read_text(), write_report(others, tmp_path).read_text()):
        assert "names no subject and shows no image" in text
        assert not any(word in text for word in ("alert", "a&amp;b", "a&b", "<img", "p.png"))


def test_the_kernels_that_ran_are_on_the_page():
    older = IsaRecord(isa=Isa.AVX2, verified=True, met=True, int8_share=0.9, kernels={"jit_avx2_I8": 0.9})
    ran = replace(EVIDENCE, isas=(older,), kernels={"brgconv_avx512_I8": 0.95, "jit_avx512_f32": 0.05})
    text = Reader(page(replace(REPORT, evidence=ran), {})).text
    for words in ("jit_avx2_I8 90.0%", "multiply-accumulates by brgconv_avx512_I8", "95.0%", "5.0%"):
        assert words in text


@pytest.mark.full  # a quantisation
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_a_run_leaves_figures_page_and_pictures_where_they_were_asked_for(tmp_path: Path):
    (tmp_path / "data").mkdir()
    cohort = phantom_cohort(tmp_path / "data", (Split.CALIBRATION, Split.VALIDATION, Split.TEST))
    package = make_package(tmp_path / "fp32")
    options = QuantizeOptions(
        budget=AccuracyBudget(max_dice_drop=0.1), runtime=RuntimeOptions(threads=1), report_folder=tmp_path / "report"
    )
    written = quantize(package, cohort, tmp_path / "int8", options)
    assert {path.name for path in (tmp_path / "report").iterdir()} == {"accuracy.json", "accuracy.html", "case-3.png"}
    report = read_report(tmp_path / "report/accuracy.json")
    assert (report.met, report.candidate, report.evidence) == (True, written.digest, evidence_in(written.manifest))
    assert [(case.subject, case.picture) for case in report.cases] == [("MUSTERMANN_3", "case-3.png")]
    assert not any(b"MUSTERMANN" in path.read_bytes() for path in written.folder.rglob("*") if path.is_file())
