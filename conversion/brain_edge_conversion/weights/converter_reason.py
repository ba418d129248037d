"""Reason in an error of OpenVINO's converters: the operation and its cause, not the last line.

The last line is a consequence ("Conversion is failed for: prim::Constant") or advice about another format.
"""

from __future__ import annotations

import re
from typing import Final

from brain_edge.runtime.reason import reason_of

LONGEST_REASON: Final = 300
_NO_RULE: Final = re.compile(r"No conversion rule found for operations: (.+)")
_FAILED: Final = re.compile(r"^-- (\S+) with a message:\n(.*?)(?=^-- |^Summary:|\Z)", re.MULTILINE | re.DOTALL)
_TRACED: Final = re.compile(
    r"^Exception:\n(.*?)\n(?:Please check correctness|Tracing sometimes)", re.MULTILINE | re.DOTALL
)
_CONSEQUENCES: Final = re.compile(r"prim::|Sequence|aten::__getitem__")
"""Operations that fail only because another one has failed."""
ADVICE: Final = (
    (r"unordered_map::at", "call torch.utils.checkpoint with use_reentrant=False, or leave checkpointing out"),
    (r"element type: (?:bf16|f16)", "let the network compute in float32, without autocast"),
    (r"_upsample_nearest_exact", "give the PyTorch module or a torch.export program, which convert another way"),
)
"""Patterns in messages of the converters, and the advice that belongs to each."""


def converter_reason(error: BaseException) -> str:
    """Return why OpenVINO could not convert a network, in one line: the operations and the cause."""
    return _cause(error)[:LONGEST_REASON]


def advice_for(error: BaseException) -> str:
    """Return the end of a refusal with the advice that belongs to the cause; empty where the cause is not known."""
    return next((f"; {words}" for pattern, words in ADVICE if re.search(pattern, str(error))), "")


def _cause(error: BaseException) -> str:
    text = str(error)
    missing = _NO_RULE.search(text)
    causes = [f"OpenVINO has no rule for {missing[1].strip()}"] if missing else []
    failed = [(name, message) for name, message in _FAILED.findall(text) if not _CONSEQUENCES.match(name)]
    causes += [f"{name}: {reason_of(RuntimeError(message))}" for name, message in failed[:1]]
    if causes:
        return "; ".join(causes)
    traced = _TRACED.search(text)
    return next(filter(None, map(str.strip, traced[1].splitlines())), "") if traced else reason_of(error)
