"""What this project asks of the source paper's network, stated before it was measured; whether a machine meets it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from benchmarks.harness.ratios import ratio_of_medians

from .summaries import figures

if TYPE_CHECKING:
    from .summaries import Figures, OneMachine

COLUMNS: Final = ("BrainMaGe's network", "asked", "measured", "met")
INT8_WITH_VNNI: Final = 9.5
INT8_WITHOUT_VNNI: Final = 5.0
FP32: Final = 2.6
INT8_MEMORY: Final = 0.4
"""INT8 over PyTorch f32 by the instructions of the CPU; f32 over PyTorch f32; peak memory of INT8 over that of f32."""


def target_rows(machine: OneMachine) -> list[list[str]]:
    """What was asked, what came out; empty without the cell. A ratio whose interval contains the aim is no verdict."""
    run = machine.engines("brainmage")
    found = figures(run) if run is not None else {}
    if not {"PyTorch f32", "OpenVINO f32", "OpenVINO INT8"} <= set(found):
        return []
    has_vnni = bool({"avx512_vnni", "avx_vnni", "amx_int8"} & set(machine.machine.flags))
    int8, kind = (INT8_WITH_VNNI, "VNNI") if has_vnni else (INT8_WITHOUT_VNNI, "AVX2")
    return [
        _speed(f"INT8 over PyTorch f32, a CPU with {kind}", int8, found["OpenVINO INT8"]),
        _speed("f32 over PyTorch f32", FP32, found["OpenVINO f32"]),
        _memory("peak memory of INT8 over f32's", INT8_MEMORY, found["OpenVINO INT8"], found["OpenVINO f32"]),
        _memory("peak memory of INT8 over PyTorch's", 1.0, found["OpenVINO INT8"], found["PyTorch f32"]),
    ]


def _speed(what: str, least: float, of_one: Figures) -> list[str]:
    ratio = of_one.faster or ratio_of_medians([1.0], [1.0])
    met = "yes" if ratio.low >= least else "no" if ratio.high < least else "within the interval"
    return [what, f"at least {least:g}x", f"{ratio}x", met]


def _memory(what: str, most: float, of_one: Figures, other: Figures) -> list[str]:
    if not of_one.peak_bytes or not other.peak_bytes:
        return [what, f"at most {most:g}", "not measured", "-"]
    share = of_one.peak_bytes / other.peak_bytes
    return [what, f"at most {most:g}", f"{share:.2f}", "yes" if share <= most else "no"]
