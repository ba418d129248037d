"""Sequences are told apart by what scanners write; what contradicts itself is unknown, never a guess."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from brain_edge.io.dicom.instance import Protocol
from brain_edge.io.dicom.sequence_type import SequenceType, classify

T1, T1C, T2, FLAIR = SequenceType.T1, SequenceType.T1C, SequenceType.T2, SequenceType.FLAIR
OTHER, UNKNOWN = SequenceType.OTHER, SequenceType.UNKNOWN


def protocol(sequence: str = "", times: tuple[Any, ...] = (None, None, None), words: str = "", **more: Any) -> Protocol:
    """`sequence` as in ScanningSequence; times are TR, TE, TI in ms."""
    repetition, echo, inversion = times
    return Protocol(
        scanning_sequence=frozenset(sequence.split()),
        repetition_time_ms=repetition,
        echo_time_ms=echo,
        inversion_time_ms=inversion,
        words=words,
        **more,
    )


@pytest.mark.parametrize(
    ("expected", "sequence", "times", "words", "more"),
    [
        # typical protocols of the three large vendors
        (T1, "GR IR", (1900, 2.97, 1100), "t1_mpr_tra_gk_v4", {"flip_angle_deg": 15}),
        (T1, "GR IR", (2300, 2.3, 900), "mprage sag", {"flip_angle_deg": 9}),
        (T1, "GR", (8.2, 3.2, 450), "ax bravo", {"flip_angle_deg": 12, "variant": frozenset({"SP", "SS"})}),
        (T1, "GR", (6.5, 2.9, None), "3d t1 tfe", {"flip_angle_deg": 8, "variant": frozenset({"MP"})}),
        (T1, "SE", (550, 12, None), "t1_se_tra", {}),
        (T1, "SE", (600, 9, None), "t1_space", {}),
        (T1, "SE IR", (2200, 20, 800), "ax t1 flair", {}),
        (T2, "SE", (4500, 100, None), "ax t2 tse", {}),
        (T2, "SE", (3200, 408, None), "t2_space_sag", {}),
        (FLAIR, "SE IR", (9000, 95, 2500), "t2_tirm_tra_dark-fluid", {}),
        (FLAIR, "SE IR", (5000, 393, 1800), "t2_space_dark-fluid_sag_iso", {}),
        (FLAIR, "IR", (11000, 125, 2800), "flair longtr", {}),
        (FLAIR, "SE", (9000, 95, 2500), "", {}),
        (T2, "SE", (3200, 408, None), "t2_space_sag_mpr", {}),
        (T2, "", (None, None, None), "t2_space_sag_mpr", {}),
        (OTHER, "SE", (2800, 20, None), "pd_tse", {}),
        (OTHER, "SE IR", (5000, 40, 160), "stir cor", {}),
        (OTHER, "GR", (28, 20, None), "t2_swi3d_tra", {"flip_angle_deg": 15}),
        (OTHER, "GR", (650, 20, None), "t2*_gre", {"flip_angle_deg": 20}),
        (OTHER, "EP SE", (6000, 90, None), "ep2d_diff_3scan_trace", {}),
        (OTHER, "EP", (5000, 80, None), "dwi b1000", {"b_value": 1000.0}),
        (OTHER, "EP GR", (1600, 30, None), "ep2d_perf", {}),
        (OTHER, "GR", (22, 3.7, None), "tof_fl3d", {"flip_angle_deg": 18, "is_angiography": True}),
        (OTHER, "", (None, None, None), "", {"image_type": ("DERIVED", "PRIMARY", "DIFFUSION", "ADC")}),
        # one witness is enough where the other is silent
        (T2, "", (None, None, None), "ax t2", {}),
        (FLAIR, "SE IR", (9000, 95, 2500), "series 5", {}),
        (T1, "", (None, None, None), "", {"contrast": "T1"}),
        (FLAIR, "", (None, None, None), "", {"contrast": "FLUID_ATTENUATED"}),
        (OTHER, "", (None, None, None), "", {"contrast": "T2_STAR"}),
        # contrast agent
        (T1C, "SE", (550, 12, None), "t1_se_tra", {"contrast_agent": True}),
        (T1C, "SE", (550, 12, None), "ax t1 +gd", {}),
        (T1C, "SE", (550, 12, None), "t1_tra_km", {}),
        (T1C, "SE", (550, 12, None), "ax t1 post", {}),
        (T1C, "SE", (550, 12, None), "t1ce", {}),
        (T1C, "SE", (550, 12, None), "t1_se_tra_gd", {}),
        (T1, "SE", (550, 12, None), "ax t1 w/o contrast", {}),
        (T1, "SE", (550, 12, None), "t1 pre", {}),
        (T1, "SE", (550, 12, None), "t1_nativ", {}),
        (FLAIR, "SE IR", (9000, 95, 2500), "flair +gd", {"contrast_agent": True}),
        (T1, "SE", (550, 12, None), "t1 posterior fossa", {}),
        # contradictions and silence
        (UNKNOWN, "SE IR", (9000, 95, None), "series 4", {}),
        (UNKNOWN, "GR", (25, 4, None), "3d fl", {"flip_angle_deg": 20}),
        (UNKNOWN, "SE", (550, 12, None), "t1 t2", {}),
        (UNKNOWN, "SE", (4500, 100, None), "t1_tra", {}),
        (UNKNOWN, "SE IR", (9000, 95, 2500), "t1 mprage", {}),
        (UNKNOWN, "SE", (550, 12, None), "t1 pre contrast", {"contrast_agent": True}),
        (UNKNOWN, "SE", (1400, 50, None), "series 3", {}),
        (UNKNOWN, "GR", (6.0, 2.6, None), "3d", {"flip_angle_deg": 50, "variant": frozenset({"SS"})}),
        (UNKNOWN, "", (None, None, None), "", {}),
        (UNKNOWN, "", (None, None, None), "head", {}),
    ],
)
def test_protocols_of_real_scanners_are_told_apart(
    expected: SequenceType, sequence: str, times: tuple[Any, ...], words: str, more: dict[str, Any]
):
    finding = classify(protocol(sequence, times, words, **more))
    assert finding.type is expected, finding.evidence
    assert finding.evidence


def test_the_evidence_names_both_witnesses():
    finding = classify(protocol("SE IR", (9000, 95, 2500), "ax flair"))
    assert finding.evidence == ("inversion recovery, TI 2500 ms, TR 9000 ms, TE 95 ms", "the words say FLAIR")


def test_a_contradiction_shows_both_sides():
    finding = classify(protocol("SE", (4500, 100, None), "t1_tra"))
    assert finding.evidence == (
        "spin echo, TR 4500 ms, TE 100 ms",
        "the words say T1",
        "timing and words contradict each other",
    )


@given(words=st.text(max_size=40))
def test_free_text_is_never_quoted_in_the_evidence(words: str):
    """Descriptions hold names now and then: the evidence says what was recognised, not what was written."""
    marked = f"t1 {words} zzsecretzz".lower()
    finding = classify(protocol("SE", (550, 12, None), marked))
    assert "zzsecretzz" not in " ".join(finding.evidence)


@given(st.permutations(["t1", "tse", "tra", "head", "5mm"]))
def test_the_order_of_words_does_not_matter(order: list[str]):
    assert classify(protocol(words="_".join(order))).type is T1


@pytest.mark.parametrize("scanner", [T1, T2, FLAIR])
def test_a_contrast_agent_changes_t1_only(scanner: SequenceType):
    words = {T1: "t1", T2: "t2", FLAIR: "flair"}[scanner]
    plain = protocol(words=words)
    assert classify(plain).type is scanner
    assert classify(replace(plain, contrast_agent=True)).type is (T1C if scanner is T1 else scanner)
