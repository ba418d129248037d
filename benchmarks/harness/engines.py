"""What computes a network that is measured alone: libraries, precisions and streams, by the names of the matrix."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Final

from brain_edge.machine.description import NATIVE

if TYPE_CHECKING:
    from collections.abc import Sequence

BF16_FLAGS: Final = frozenset({"avx512_bf16", "amx_bf16"})
BF16_LIMITS: Final = frozenset({NATIVE, "AVX512_CORE_BF16", "AVX512_CORE_FP16", "AVX512_CORE_AMX"})
"""Limits of the instruction set under which bf16 stays native."""


class Library(StrEnum):
    """Who computes."""

    PYTORCH = "pytorch"
    """Eager."""
    TORCH_COMPILE = "torch.compile"
    ONNX_RUNTIME = "onnxruntime"
    OPENVINO = "openvino"


@dataclass(frozen=True, kw_only=True)
class Engine:
    """A library as it is set up.

    Attributes:
        library: who computes.
        precision: f32 or bf16 of everything that is not integer.
        graph: file in the folder of the network's graphs; None for PyTorch.
        streams: inputs that are computed at the same time, on the same threads altogether.
        least_correlation: of its answer with the first contender's; below it nothing is timed. An untrained network in
            INT8 has no accuracy that could be asked for: its answer must be finite and of the right shape.
    """

    library: Library
    precision: str = "f32"
    graph: str | None = None
    streams: int = 1
    least_correlation: float = 0.9999

    @property
    def words(self) -> str:
        """What it computes in."""
        return f"int8, rest in {self.precision}" if self.graph == "int8.xml" else self.precision


ENGINES: Final = {
    "PyTorch f32": Engine(library=Library.PYTORCH),
    "PyTorch bf16": Engine(library=Library.PYTORCH, precision="bf16", least_correlation=0.99),
    "torch.compile f32": Engine(library=Library.TORCH_COMPILE),
    "ONNX Runtime f32": Engine(library=Library.ONNX_RUNTIME, graph="f32.onnx"),
    "OpenVINO f32": Engine(library=Library.OPENVINO, graph="f32.xml"),
    "OpenVINO f32, 2 streams": Engine(library=Library.OPENVINO, graph="f32.xml", streams=2),
    "OpenVINO bf16": Engine(library=Library.OPENVINO, precision="bf16", graph="f32.xml", least_correlation=0.99),
    "OpenVINO INT8": Engine(library=Library.OPENVINO, graph="int8.xml", least_correlation=-1.0),
    "OpenVINO INT8, 2 streams": Engine(library=Library.OPENVINO, graph="int8.xml", streams=2, least_correlation=-1.0),
}


def why_engine_not_available(engine: Engine, isa: str, flags: Sequence[str]) -> str:
    """Why a CPU with these flags, under this limit, does not compute as the engine is set up; empty where it does."""
    if engine.precision == "bf16" and not (BF16_FLAGS & set(flags) and isa in BF16_LIMITS):
        return "this CPU has no bf16 (flag avx512_bf16 or amx_bf16); it would be emulated"
    return ""
