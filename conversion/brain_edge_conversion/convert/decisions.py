"""Decisions that a network's Python code makes by the values of tensors: a trace keeps one branch for ever."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Final

import torch

from brain_edge_conversion.convert.probe import noise

if TYPE_CHECKING:
    from torch import nn

LISTED: Final = 3


def frozen_decisions(module: nn.Module, shape: tuple[int, ...]) -> tuple[str, ...]:
    """Return the lines of a network's own code that decide by a tensor, as `FILE:LINE`.

    Args:
        module: network in PyTorch; TorchScript decides while it runs, and freezes nothing.
        shape: shape of its input, as for tracing.
    """
    if isinstance(module, torch.jit.ScriptModule):
        return ()
    with torch.no_grad(), warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        try:
            torch.jit.trace(module, noise(shape), check_trace=False)  # type: ignore[no-untyped-call]  # of torch
        except Exception:  # noqa: BLE001 - the question is about a trace, and there is none
            return ()
    of_tracing = torch.jit.TracerWarning  # type: ignore[attr-defined]  # public, unlisted
    own = [each for each in caught if issubclass(each.category, of_tracing) and not _is_library(each.filename)]
    return tuple(dict.fromkeys(f"{Path(each.filename).name}:{each.lineno}" for each in own))


def in_words(places: tuple[str, ...]) -> str:
    """Return the end of a refusal that names frozen decisions; empty if there is none."""
    if not places:
        return ""
    more = ", ..." if len(places) > LISTED else ""
    return f"; tracing froze a decision by a tensor at {', '.join(places[:LISTED])}{more}: compute it with torch.where"


def _is_library(filename: str) -> bool:
    """Return True for code of PyTorch itself, whose decisions depend on the number of axes and channels."""
    return Path(torch.__file__).parent in Path(filename).parents
