"""What the source paper has published of its own measurements: beside ours, marked as published, never mixed with them.

Thakur, Pati et al., "Optimization of Deep Learning Based Brain Extraction in MRI for Low Resource Environments",
BrainLes 2021 (LNCS 12962, 151-167; PMC9627678). Its network is BrainMaGe's, its images 132 of TCGA-GBM at batch 1. Its
ratios are to PyTorch 1.5.1 (Table 4) or to a baseline that it does not restate (the ranges over its five CPUs); it does
not state seconds.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

CITATION: Final = "Thakur, Pati et al., BrainLes 2021 (PMC9627678)"
CPU: Final = "Intel i7-1185G7, 4 cores"


@dataclass(frozen=True, kw_only=True)
class PublishedRow:
    """A row of Table 4.

    Attributes:
        engine: as the paper names it.
        dice, hd95_mm: means over 132 images.
        memory, faster: to PyTorch 1.5.1 in f32 on the same CPU.
    """

    engine: str
    dice: float
    hd95_mm: float
    memory: float
    faster: float


TABLE_4: Final = (
    PublishedRow(engine="PyTorch 1.5.1, FP32", dice=0.97198, hd95_mm=2.6577, memory=1.0, faster=1.0),
    PublishedRow(engine="PyTorch 1.9.0, FP32", dice=0.97198, hd95_mm=2.6577, memory=0.769, faster=3.8),
    PublishedRow(engine="OpenVINO 2021.4, FP32", dice=0.97198, hd95_mm=2.6577, memory=1.285, faster=7.1),
    PublishedRow(engine="OpenVINO 2021.4, INT8", dice=0.97118, hd95_mm=2.7426, memory=0.907, faster=23.3),
)
NEWER_PYTORCH: Final = TABLE_4[1]
"""The fairer of its two baselines, and the nearer one to today's."""


@dataclass(frozen=True, kw_only=True)
class PublishedRange:
    """The greatest speed-ups that the paper states over a group of its CPUs."""

    cpus: str
    fp32: float
    int8: float


RANGES: Final = (
    PublishedRange(cpus="client CPUs, up to", fp32=2.3, int8=6.9),
    PublishedRange(cpus="2 x Xeon Gold 6252N, up to", fp32=9.6, int8=20.5),
)


def over_newer_pytorch(row: PublishedRow) -> tuple[float, float]:
    """How many times as fast as PyTorch 1.9.0, and its memory as a share of that one's: quotients of the table."""
    return row.faster / NEWER_PYTORCH.faster, row.memory / NEWER_PYTORCH.memory
