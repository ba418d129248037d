"""What tells a graph that computes in bytes."""

from __future__ import annotations

from typing import Any, Final

QUANTISER: Final = "FakeQuantize"
"""Node that a quantised graph has before what it computes in bytes."""


def is_quantised(model: Any) -> bool:
    """Whether an OpenVINO model computes anything in bytes."""
    return any(node.get_type_name() == QUANTISER for node in model.get_ops())
