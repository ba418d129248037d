"""The way from the runtime to the build side, whose libraries an extra installs."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Final

from brain_edge.errors import MissingExtraError

if TYPE_CHECKING:
    from collections.abc import Iterator

EXTRA_LIBRARIES: Final = frozenset({"torch", "nncf", "onnx", "onnxruntime", "safetensors", "yaml", "unet"})
"""What the extra `convert` installs."""

MONAI_LIBRARIES: Final = frozenset({"monai", "einops"})
"""What the extra `monai` installs beside them."""


@contextmanager
def build_side(feature: str) -> Iterator[None]:
    """Everything of the build side, where a missing library becomes a sentence with the extra that brings it."""
    try:
        yield
    except ModuleNotFoundError as error:
        # only a library of an extra is the user's to install; anything else is a bug and keeps its traceback
        library = (error.name or "").split(".")[0]
        if library not in EXTRA_LIBRARIES | MONAI_LIBRARIES:
            raise
        extra = "monai" if library in MONAI_LIBRARIES else "convert"
        raise MissingExtraError(feature, library, extra) from error
