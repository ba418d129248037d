"""Import of OpenVINO without its telemetry. Of both packages, only this module imports OpenVINO.

`openvino` and `nncf` import `openvino_telemetry` if it is installed (it is a dependency of `openvino`). That package
contacts an analytics host and writes an identifier under the home folder. Both libraries fall back to their own stub if
the import fails. No environment variable of OpenVINO switches it off, and `CI=true` would mislead every child process.
Therefore this module makes that import fail before openvino or nncf are imported.
"""

from __future__ import annotations

import sys
from types import ModuleType
from typing import TYPE_CHECKING, Any, cast

if TYPE_CHECKING:
    from pathlib import Path


def forbid_telemetry() -> None:
    """Make `import openvino_telemetry` fail in this process; a copy that is already loaded stays."""
    sys.modules.setdefault("openvino_telemetry", cast(ModuleType, None))


def import_openvino() -> Any:
    """Import and return openvino."""
    forbid_telemetry()
    import openvino

    return openvino


def operations() -> Any:
    """Return the operation set of graphs, all operations in one version."""
    return import_openvino().opset13


def read_model(source: Path | bytes) -> Any:
    """Read the `openvino.Model` of an IR file, or of the bytes of an ONNX model.

    Raises:
        RuntimeError: OpenVINO cannot read the source.
    """
    return import_openvino().Core().read_model(source)
