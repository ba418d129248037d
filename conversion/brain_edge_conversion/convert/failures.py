"""Reason and remedy of a failure in a stranger's network, told by the error that it raises on an input."""

from __future__ import annotations

import re
from typing import Final

from brain_edge.errors import BrainEdgeError

LONGEST_REASON: Final = 300
GENERAL: Final = "Correct channels_in and the shapes of the steps, or give the network that the specification describes"
REMEDIES: Final = (
    (
        r"\bCUDA\b|\bcuda\b|NVIDIA",
        "The network asks for a GPU: remove .cuda() and device='cuda', or use the device of the input",
    ),
    (
        r"missing \d+ required positional argument|takes \d+ positional argument|missing value for argument",
        "The network takes several inputs: give a module whose forward takes all sequences as channels of one tensor",
    ),
    (
        r"\bHalf\b|BFloat16|float16|scalar type|same dtype",
        "The network computes in another precision: convert it with .float(), or export it in float32",
    ),
    (
        r"input to conv2d|4D input",
        "The network takes slices: set the execution slices_along, or give a 3D network",
    ),
    (r"to have \d+ channels?, but got", "Correct channels_in, or give the network that the specification describes"),
    (
        r"izes of tensors must match|must match the size|Kernel size can't be greater|divisible|is invalid for input",
        "The sizes do not suit the network: add pad_to_multiple as the last step before the network, or use windows",
    ),
)
"""Patterns in messages of PyTorch and onnxruntime, and the remedy that belongs to each."""


def reason_in(error: BaseException) -> str:
    """Return the reason in an error that a network raised: the first line, or that after a traceback of TorchScript."""
    text = str(error).strip()
    if "Traceback of TorchScript" in text:
        raised = re.findall(r"^(?:\w+\.)*\w*(?:Error|Exception): (.*)", text, re.MULTILINE)
        text = raised[-1] if raised else text
    reason = (text.splitlines() or ["no further detail"])[0][:LONGEST_REASON]
    return reason if isinstance(error, BrainEdgeError) else f"{type(error).__name__}: {reason}"


def remedy_for(error: BaseException, otherwise: str = GENERAL) -> str:
    """Return the advice that belongs to the cause of an error; `otherwise` where the cause is not known."""
    return next((advice for pattern, advice in REMEDIES if re.search(pattern, str(error))), otherwise)
