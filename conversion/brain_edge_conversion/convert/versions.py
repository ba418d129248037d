"""Versions of the tools that make and measure a package."""

from __future__ import annotations

import importlib.metadata
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterable

TOOLS: Final = ("openvino", "torch", "nncf", "brain-edge")


def tool_versions(tools: Iterable[str] = TOOLS) -> dict[str, str]:
    """Distribution -> installed version."""
    return {tool: importlib.metadata.version(tool) for tool in tools}
