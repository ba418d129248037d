"""What is there, where the type says that it may be missing."""

from __future__ import annotations

from typing import TypeVar

T = TypeVar("T")


def present(value: T | None) -> T:
    """Return `value`; None fails the test."""
    assert value is not None, "expected a value, got None"
    return value
