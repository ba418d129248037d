"""Sequences are told apart by what scanners write; what contradicts itself is unknown, never a guess."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from brain_edge.image.contrast import Contrast
from brain_edge.io.contrast import Protocol, classify, contrast_of_file
from brain_edge.io.contrast_words import in_file_name, in_words, named, says_localiser, table

T1, T1C, T2, FLAIR, PD, T2STAR = (
    Contrast.T1W,
    Contrast.T1C,
    Contrast.T2W,
    Contrast.FLAIR,
    Contrast.PDW,
    Contrast.T2STARW,
)
OTHER, UNKNOWN = Contrast.OTHER, None


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
        (PD, "SE", (2800, 20, None), "pd_tse", {}),
        (OTHER, "SE IR", (5000, 40, 160), "stir cor", {}),
        (T2STAR, "GR", (28, 20, None), "t2_swi3d_tra", {"flip_angle_deg": 15}),
        (T2STAR, "GR", (650, 20, None), "t2*_gre", {"flip_angle_deg": 20}),
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
        (T2STAR, "", (None, None, None), "", {"contrast": "T2_STAR"}),
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
    expected: Contrast, sequence: str, times: tuple[Any, ...], words: str, more: dict[str, Any]
):
    finding = classify(protocol(sequence, times, words, **more))
    assert finding.contrast is expected, finding.evidence
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
    assert classify(protocol(words="_".join(order))).contrast is T1


@pytest.mark.parametrize("scanner", [T1, T2, FLAIR])
def test_a_contrast_agent_changes_t1_only(scanner: Contrast):
    words = {T1: "t1", T2: "t2", FLAIR: "flair"}[scanner]
    plain = protocol(words=words)
    assert classify(plain).contrast is scanner
    assert classify(replace(plain, contrast_agent=True)).contrast is (T1C if scanner is T1 else scanner)


NAMED = {
    T1: "T1 t1w T1n t1-weighted T1-FLASH t1_fla",
    T1C: "T1C T1c t1ce T1Gd T1_POST t1-ce T1post",
    T2: "T2 t2w T2W",
    FLAIR: "FLAIR flair t2f T2-FLAIR fla FLA t2_fla",
    PD: "PD pdw PDw proton-density",
    T2STAR: "T2* T2star T2starw",
    None: "T10 T1map t2map image bold dwi channel T1x any other flash fl flat fla3",
}


@pytest.mark.parametrize(("expected", "text"), [(one, text) for one, texts in NAMED.items() for text in texts.split()])
def test_the_names_of_contrasts(expected: Contrast | None, text: str):
    assert named(text) is expected


WORDS = {
    T1: "WIPmocoMEMPRAGE 1mm FOV 220 RMS; Sag T1 MP-RAGE; Ax 3D BRAVO; AX FSPGR BRAIN; 3D T1 TFE; sT1W_3D_TFE; "
    "t1_fl3d_tra; T1W_SE; AX T1 FLAIR; T1 TSE FLAIR; eTHRIVE; Sag IR-FSPGR; AXT1; WIP T1W_FFE; t1_vibe_fs",
    T1C: "T1C; t1ce",
    T2: "Ax T2 FSE; T2W_TSE; t2_blade_tra; T2 HASTE; T2_SPACE_sag_p2_iso; AX T2 FRFSE",
    FLAIR: "Ax T2 FLAIR; T2 FLAIR CUBE; t2_tirm_tra_dark-fluid_fs; 3D_FLAIR; FLAIR_longTR; sag t2 space dark fluid",
    T2STAR: "t2_fl2d_tra_hemo; t2_flash_tra; SWI_Images; AX SWAN; T2* GRE; t2star",
    PD: "PD_TSE; AX PD; proton density",
    OTHER: "ep2d_diff_3scan_trace; DWI b1000; MP2RAGE; 3D TOF; DSC perfusion; STIR cor; ADC (10^-6 mm^2/s); T1 rho",
}


@pytest.mark.parametrize(
    ("expected", "text"), [(one, text) for one, texts in WORDS.items() for text in texts.split("; ")]
)
def test_the_words_of_protocols(expected: Contrast, text: str):
    found = in_words(text)
    assert found is not None
    assert found.contrast is expected, found.evidence


PROTOCOL_NAMES = {
    "Siemens": {
        T1: (
            "t1_mprage_sag_p2_iso; WIPmocoMEMPRAGE 1mm FOV 220 RMS; T1_MPRAGE_SAG_ISO_0.9; t1_fl2d_tra; "
            "t1_se_tra_p2; t1_tse_dark-fluid_tra_p2; t1_space_sag_p2_iso; t1_vibe_fs_tra_dixon; "
            "tfl_mgh_epinav_ABCD; t1_starvibe_tra; t1_mpr_ns_sag_p2_iso; ABCD_T1w_MPR_vNav"
        ),
        T2: (
            "t2_tse_tra_p2; t2_space_sag_p2_iso; t2_blade_tra; t2_haste_tra_mbh; t2_tse_tra_512; "
            "ABCD_T2w_SPC_vNav; t2_spc_sag_p2_iso"
        ),
        FLAIR: (
            "t2_tirm_tra_dark-fluid_p2; t2_space_dark-fluid_sag_p2_iso; t2_tse_dark-fluid_tra_fs; "
            "t2_spc_da-fl_sag_p2_iso; t2_blade_dark-fluid_tra"
        ),
        T2STAR: "t2_fl2d_tra_hemo; t2_swi_tra_p2_1.5mm; SWI_Images; Mag_Images SWI",
        PD: "pd_tse_tra_p2",
        OTHER: (
            "ep2d_diff_3scan_trace_p2; ep2d_bold_moco_p2; ep2d_perf_p2; tof_fl3d_tra_p2_multi-slab; "
            "t2_ci3d_tra_iso; MP2RAGE_UNI; pcasl_3d_tra; gre_field_mapping; resolve_4scan_trace_tra; "
            "svs_se_30; t2_trufi_sag; trufi_loc; mIP_Images(SW)"
        ),
    },
    "GE": {
        T1: (
            "Sag T1 BRAVO; Ax 3D FSPGR; SAG CUBE T1; Ax T1 FLAIR PROPELLER; 3D T1 MPRAGE; Ax T1 SE; AX "
            "EFGRE3D; IR-FSPGR; Ax LAVA-Flex; MP-RAGE PROMO; SAG T1 FSE; Sag 3D T1 SPGR; Ax T1 Fast SPGR"
        ),
        T2: "AX T2 FRFSE; Ax T2 PROPELLER; Sag CUBE T2; Ax T2 FSE FS; AX FRFSE-XL T2; Ax T2 SSFSE",
        FLAIR: "Ax T2 FLAIR; Sag CUBE T2 FLAIR; Ax FLAIR PROPELLER; CUBE FLAIR; Ax T2 FLAIR fs",
        T2STAR: "Ax SWAN; Ax T2* GRE; Ax SWAN 3D",
        PD: "AX PD FSE; Ax PD FRFSE",
        OTHER: (
            "Ax DWI ASSET; 3D ASL (non-contrast); Ax FIESTA-C; 3D TOF MRA; Inhance 3D Velocity; Ax DTI 25 "
            "dir; COR STIR; Ax SILENT DWI; PROBE-P"
        ),
    },
    "Philips": {
        T1: (
            "sT1W_3D_TFE; WIP T1W_3D_TFE_SENSE; T1W_SE; T1W_FFE; 3D_T1W_mDIXON; T1W_TSE_ax; sT1W_3D_FFE; "
            "eTHRIVE; T1W_3D_VISTA; 3DT1 TFE; T1W_IR; BrainVIEW_T1; T1_BB_VISTA"
        ),
        T2: "T2W_TSE; T2_3D_VIEW; T2W_TSE_MVXD; BrainVIEW_T2; T2W_GraSE; 3D_T2W_VISTA",
        FLAIR: (
            "FLAIR_longTR; 3D_FLAIR; sFLAIR_3D_VISTA; BrainVIEW_FLAIR; T2W_FLAIR; FLAIR_SPIR; 3D Brain VIEW FLAIR SHC"
        ),
        T2STAR: "SWIp; VEN_BOLD; T2_FFE; sVEN_BOLD; T2W_FFE",
        PD: "PDW_TSE; PD_TSE_ax",
        OTHER: (
            "DWI_SSh; DTI_medium_iso; T2W_bFFE; s3DI_MC_HR; sDWI_b1000; pCASL; FE_EPI; T2prep_PERF; 3D_DRIVE; "
            "bTFE_survey; TOF_3D; 3DPCA; TRANCE; M2D_DIFF"
        ),
    },
    "Canon": {
        T1: "T1 SE AX; MPRAGE3D SAG; FFE3D T1; T1 FSE; SAG MPRAGE; T1 FASE3D; T1-FFE3D; FFE3D_MPRAGE",
        T2: "T2 FSE AX; T2 JET; FASE T2; T2 FASE; AX T2 FSE JET",
        FLAIR: "FLAIR AX; FLAIR3D; 3D FLAIR MPV; FLAIR JET",
        T2STAR: "T2* FE; FSBB; FSBB_AX",
        PD: "PD FSE AX; PD",
        OTHER: "DWI AX b1000; TOF3D; SEEPI DWI; TIME-SLIP; TrueSSFP; ASL mASTAR",
    },
    "Hitachi": {
        T1: "T1 SE; T1 GrE 3D; RSSG 3D T1; T1 RADAR; isoFSE T1; TIGRE; 3D GEIR; T1W SE Ax",
        T2: "T2 FSE; T2 RADAR; T2 primeFSE; isoFSE T2",
        FLAIR: "FLAIR RADAR; FIR FLAIR; FLAIR; isoFSE FLAIR",
        T2STAR: "BSI; T2* GrE; T2*W",
        PD: "PD FSE",
        OTHER: "DWI-EPI; MRA TOF; BASG; VASC-ASL; DWI RADAR; PBSG",
    },
}


@pytest.mark.parametrize(
    ("expected", "name"),
    [
        pytest.param(contrast, name, id=f"{vendor}: {name}")
        for vendor, names in PROTOCOL_NAMES.items()
        for contrast, text in names.items()
        for name in text.split("; ")
    ],
)
def test_names_of_the_vendors_protocols_are_understood_without_timing(expected: Contrast, name: str):
    assert classify(protocol(words=name)).contrast is expected


def test_a_name_of_two_contrasts_is_unknown():
    assert classify(protocol(words="pd+t2_tse_tra")).contrast is UNKNOWN


@pytest.mark.parametrize("text", ["allocated", "restored", "glocal", "PD01", "T10", "perfect", "adcock", "t12", ""])
def test_a_part_of_a_word_says_nothing(text: str):
    assert in_words(text) is None
    assert says_localiser(text) is False


@pytest.mark.parametrize("text", ["t1 t2", "PD/T2 dual echo", "t1_mprage and flair_tra"])
def test_words_that_name_two_contrasts_name_none(text: str):
    found = in_words(text)
    assert found is not None
    assert found.contrast is None
    assert " and " in found.evidence[0]


FILES = {
    T1: "T1_biascorr_restore IXI002-Guys-0828-T1 T1_to_FLAIR p1_t1_native sub-flair_T1w sub-01_acq-T2spc_T1w T1_1mm",
    T1C: "UPENN-GBM-00001_11_T1GD UCSF-PDGM-0004_T1c_bias MRHR_T1_AX_POST_GAD_SE_13 sub-01_ce-gad_T1w p1_T1_post",
    FLAIR: "UCSF-PDGM-0004_FLAIR_bias sub-01_acq-T1_FLAIR sub-01_ce-gad_FLAIR BraTS-GLI-00000-000-t2f "
    "p1_fla FLAIR_AX_SE_IR_5_tir2d1_21_fla",
    OTHER: "sub-01_part-phase_T1w sub-01_T1map p1_adc p1_dwi p1_T1rho_x",
    None: "head T1_perf T1_post-op_T2 p1_T1_T2 PD01 brain_final p1_flash",
}


@pytest.mark.parametrize(("expected", "name"), [(one, name) for one, text in FILES.items() for name in text.split()])
def test_the_names_of_files(expected: Contrast | None, name: str):
    found = in_file_name(name)
    assert (found and found.contrast) is expected


def test_surgery_is_no_contrast_agent():
    found = in_file_name("p1_T1_post_op")
    assert found is not None
    assert found.contrast is T1


@given(st.text(alphabet="t1 _-wagd+", max_size=400))
def test_any_text_has_an_answer_in_time(text: str):
    """Patterns repeat words and separators, which must not multiply: 400 letters would take for ever."""
    for found in (in_words(text), in_file_name(text)):
        assert found is None or found.contrast in (None, *Contrast)


def test_the_table_speaks_of_every_contrast_that_an_image_can_have():
    assert {row.contrast for row in table().rows} == set(Contrast) - {Contrast.ANY}


def test_a_sidecar_with_a_number_that_no_float_can_hold_is_none(tmp_path):
    (tmp_path / "head.json").write_text('{"EchoTime": 1' + "0" * 400 + "}")
    assert contrast_of_file(tmp_path / "head.nii.gz").contrast is None
