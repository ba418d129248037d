"""The way from the runtime to the build side, whose libraries an extra installs."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Final

from brain_edge.errors import MissingExtraError

if TYPE_CHECKING:
    from collections.abc import Iterator

EXTRA_LIBRARIES: Final = frozenset({"torch", "nncf", "onnx", "onnxruntime", "safetensors", "yaml", "unet"})
"""Libraries that the extra `convert` installs."""

MONAI_LIBRARIES: Final = frozenset({"monai", "einops"})
"""Libraries that the extra `monai` adds."""


@contextmanager
def build_side(feature: str) -> Iterator[None]:
    """Turn a missing library of the build side into an error that names its extra."""
    try:
        yield
    except ModuleNotFoundError as error:
        # the user can install only the libraries of an extra; any other missing module is a bug and keeps its traceback
        library = (error.name or "").split(".")[0]
        if library not in EXTRA_LIBRARIES | MONAI_LIBRARIES:
            raise
        extra = "monai" if library in MONAI_LIBRARIES else "convert"
        raise MissingExtraError(feature, library, extra) from error
