"""The versions of what makes and measures a package."""

from __future__ import annotations

import importlib.metadata
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterable

TOOLS: Final = ("openvino", "torch", "nncf", "brain-edge")


def tool_versions(tools: Iterable[str] = TOOLS) -> dict[str, str]:
    """Distribution -> version, as it is installed."""
    return {tool: importlib.metadata.version(tool) for tool in tools}
