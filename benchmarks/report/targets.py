"""What this project asks of the source paper's network, stated before it was measured; whether a machine meets it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from brain_edge.bench.starts import Estimate

    from .summaries import Figures, OneMachine

COLUMNS: Final = ("BrainMaGe's network", "asked", "measured", "met")
INT8_WITH_VNNI: Final = 9.5
INT8_WITHOUT_VNNI: Final = 5.0
FP32: Final = 2.6
INT8_MEMORY: Final = 0.4
"""INT8 over PyTorch f32 by the instructions of the CPU; f32 over PyTorch f32; peak memory of INT8 over that of f32."""


def target_rows(machine: OneMachine) -> list[list[str]]:
    """What was asked, what came out; empty without the cell. A ratio below the aim is a miss."""
    run = machine.engines("brainmage")
    found = machine.figures(run) if run is not None else {}
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
    ratio = of_one.faster
    assert ratio is not None, "it is compared with PyTorch, which it is not"
    return [what, f"at least {least:g}x", f"{ratio}x", _met(ratio, least)]


def _met(ratio: Estimate, least: float) -> str:
    """A miss is a miss, however near; what is met by the mean alone is said."""
    if ratio.value < least:
        near = ratio.interval is not None and ratio.interval.high >= least
        return "no; the interval contains it" if near else "no"
    if ratio.interval is None:
        return "yes, by too few starts"
    return "yes" if ratio.interval.low >= least else "yes by the mean; the interval begins below"


def _memory(what: str, most: float, of_one: Figures, other: Figures) -> list[str]:
    if not of_one.peak_bytes or not other.peak_bytes:
        return [what, f"at most {most:g}", "not measured", "-"]
    share = of_one.peak_bytes / other.peak_bytes
    return [what, f"at most {most:g}", f"{share:.2f}", "yes" if share <= most else "no"]
