"""OpenVINO, and never its telemetry, from a hospital or anywhere else. The one module of both packages that imports it.

`openvino` and `nncf` import `openvino_telemetry` where it is installed (it is a dependency of `openvino`), and
that package contacts an analytics host and writes an identifier under the home folder. Both fall back to
a stub of their own when the import fails. No environment variable of OpenVINO switches it off, and
`CI=true` would lie to every child process, so we make that one import fail, before openvino or nncf are imported.
"""

from __future__ import annotations

import sys
from types import ModuleType
from typing import TYPE_CHECKING, Any, cast

if TYPE_CHECKING:
    from pathlib import Path


def forbid_telemetry() -> None:
    """Make `import openvino_telemetry` fail in this process; a copy that is already loaded stays as it is."""
    sys.modules.setdefault("openvino_telemetry", cast(ModuleType, None))


def import_openvino() -> Any:
    """The module openvino."""
    forbid_telemetry()
    import openvino

    return openvino


def operations() -> Any:
    """The operations that graphs are made of, all of one version."""
    return import_openvino().opset13


def read_model(source: Path | bytes) -> Any:
    """The `openvino.Model` in an IR file, or in the bytes of an ONNX model.

    Raises:
        RuntimeError: OpenVINO cannot read it.
    """
    return import_openvino().Core().read_model(source)
