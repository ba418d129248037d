"""What computes a network that is measured alone: libraries as they are set up, by the names of the matrix.

A rival is set up as its library documents it for the fastest inference on a CPU:

- jemalloc preloaded: PyTorch's Performance Tuning Guide ("Switch Memory allocator"), with the settings of the guide of
  Intel's extension that it refers to.
- PyTorch in INT8: FX graph mode quantisation with the settings of `get_default_qconfig_mapping("x86")`; it is the one
  route of PyTorch that has INT8 convolutions of three dimensions.
- PyTorch in INT8, dynamic: `quantize_dynamic`, which the source paper tried. It has kernels for linear and recurrent
  layers, so that a network of convolutions stays in f32.
- PyTorch in bf16: autocast, in `channels_last_3d`.
- torch.compile: Inductor with its weights frozen.
- ONNX Runtime in INT8: static quantisation of a preprocessed graph, QDQ, U8S8, a scale per channel; weights of seven
  bits where the CPU has no VNNI, as its page on quantisation says for U8S8.
"""

from __future__ import annotations

import os
import shutil
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Final

from brain_edge.machine.description import NATIVE

if TYPE_CHECKING:
    from collections.abc import Sequence

BF16_FLAGS: Final = frozenset({"avx512_bf16", "amx_bf16"})
BF16_LIMITS: Final = frozenset({NATIVE, "AVX512_CORE_BF16", "AVX512_CORE_FP16", "AVX512_CORE_AMX"})
"""Limits of the instruction set under which bf16 stays native."""

JEMALLOC: Final = ("/usr/lib/*/libjemalloc.so.2", "/usr/lib64/libjemalloc.so.2", "/usr/local/lib/libjemalloc.so.2")
JEMALLOC_SETTINGS: Final = (
    "oversize_threshold:1,background_thread:true,metadata_thp:auto,dirty_decay_ms:9000000000,muzzy_decay_ms:9000000000"
)
FROZEN: Final = {"TORCHINDUCTOR_FREEZING": "1"}


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
        graph: file in the folder of the network; None where nothing but the module is needed.
        streams: inputs that are computed at the same time, on the same threads altogether.
        jemalloc: preloaded.
        dynamic: quantised as it is opened, with ranges that are taken while it runs.
        least_correlation: of its answer with the first contender's; below it nothing is timed. An untrained network in
            INT8 has no accuracy that could be asked for, of a trained one it is recorded.
    """

    library: Library
    precision: str = "f32"
    graph: str | None = None
    streams: int = 1
    jemalloc: bool = False
    dynamic: bool = False
    least_correlation: float = 0.9999

    @property
    def words(self) -> str:
        """What it computes in."""
        if self.dynamic:
            return f"int8 of linear layers, rest in {self.precision}"
        return f"int8, rest in {self.precision}" if (self.graph or "").startswith("int8") else self.precision

    def variables(self) -> dict[str, str]:
        """Environment variables that its process needs beside those of the cell."""
        allocator = {"LD_PRELOAD": jemalloc() or "", "MALLOC_CONF": JEMALLOC_SETTINGS} if self.jemalloc else {}
        return allocator | (FROZEN if self.library is Library.TORCH_COMPILE else {})


ENGINES: Final = {
    "PyTorch f32": Engine(library=Library.PYTORCH),
    "PyTorch bf16, jemalloc": Engine(library=Library.PYTORCH, precision="bf16", jemalloc=True, least_correlation=0.99),
    "PyTorch INT8, jemalloc": Engine(library=Library.PYTORCH, graph="int8.pt", jemalloc=True, least_correlation=-1.0),
    "PyTorch INT8, dynamic": Engine(library=Library.PYTORCH, dynamic=True, least_correlation=-1.0),
    "torch.compile f32": Engine(library=Library.TORCH_COMPILE),
    "torch.compile bf16": Engine(library=Library.TORCH_COMPILE, precision="bf16", least_correlation=0.99),
    "ONNX Runtime f32": Engine(library=Library.ONNX_RUNTIME, graph="f32.onnx"),
    "ONNX Runtime INT8": Engine(library=Library.ONNX_RUNTIME, graph="int8.onnx", least_correlation=-1.0),
    "OpenVINO f32": Engine(library=Library.OPENVINO, graph="f32.xml"),
    "OpenVINO f32, 2 streams": Engine(library=Library.OPENVINO, graph="f32.xml", streams=2),
    "OpenVINO bf16": Engine(library=Library.OPENVINO, precision="bf16", graph="f32.xml", least_correlation=0.99),
    "OpenVINO INT8": Engine(library=Library.OPENVINO, graph="int8.xml", least_correlation=-1.0),
    "OpenVINO INT8, 2 streams": Engine(library=Library.OPENVINO, graph="int8.xml", streams=2, least_correlation=-1.0),
}
OURS: Final = "OpenVINO INT8"
"""What is compared with the fastest rival; rivals are those that do not compute with OpenVINO."""


def is_rival(name: str) -> bool:
    """Whether a contender, also one that only old records name, is not ours."""
    return not name.startswith(("OpenVINO", "package"))


def jemalloc() -> str | None:
    """The library, where it is installed (Debian's libjemalloc2)."""
    return next((str(path) for pattern in JEMALLOC for path in Path("/").glob(pattern[1:])), None)


def why_engine_not_available(engine: Engine, isa: str, flags: Sequence[str]) -> str:
    """Why a CPU with these flags, under this limit, or this system does not run the engine; empty where it does."""
    if engine.precision == "bf16" and not (BF16_FLAGS & set(flags) and isa in BF16_LIMITS):
        return "this CPU has no bf16 (flag avx512_bf16 or amx_bf16); it would be emulated"
    if engine.jemalloc and jemalloc() is None:
        return "jemalloc is not installed (Debian: libjemalloc2)"
    compiler = os.environ.get("CXX", "g++")
    if engine.library is Library.TORCH_COMPILE and shutil.which(compiler) is None:
        return f"there is no C++ compiler {compiler} (Debian: g++)"
    return ""
