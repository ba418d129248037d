"""Import of OpenVINO without its telemetry. Of both packages, only this module imports OpenVINO.

`openvino` and `nncf` import `openvino_telemetry` if it is installed (it is a dependency of `openvino`). That package
contacts an analytics host and writes an identifier under the home folder. Both libraries fall back to their own stub if
the import fails. No environment variable of OpenVINO switches it off, and `CI=true` would mislead every child process.
Therefore this module makes that import fail before openvino or nncf are imported.

`import openvino` also imports its converter, a third of its time, which no run needs. This module leaves the converter
out; `openvino.convert_model` then imports it when somebody calls it (docs/decisions/0048).
"""

from __future__ import annotations

import sys
from contextlib import contextmanager
from threading import Lock
from types import ModuleType
from typing import TYPE_CHECKING, Any, Final, cast

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

CONVERTER: Final = "openvino.tools.ovc"
_importing: Final = Lock()


def forbid_telemetry() -> None:
    """Make `import openvino_telemetry` fail in this process; a copy that is already loaded stays."""
    sys.modules.setdefault("openvino_telemetry", cast(ModuleType, None))


def import_openvino() -> Any:
    """Import and return openvino."""
    forbid_telemetry()
    with _importing, _without_converter():
        first = "openvino" not in sys.modules
        import openvino

        if first:
            # its first array sets up its use of NumPy, and two threads that do so at once wait for each other forever
            _ = openvino.Tensor(openvino.Type.f32, [1]).data
    return openvino


@contextmanager
def _without_converter() -> Iterator[None]:
    """Leave the converter out of the first import of openvino, and let `openvino.convert_model` import it later."""
    if "openvino" in sys.modules:
        yield
        return
    sys.modules[CONVERTER] = cast(ModuleType, None)
    try:
        yield
    finally:
        del sys.modules[CONVERTER]
    cast(Any, sys.modules["openvino"]).convert_model = _convert_model


def _convert_model(*given: Any, **named: Any) -> Any:
    from openvino.tools.ovc import convert_model

    return convert_model(*given, **named)


def traced_once(module: Any, example: Any) -> Any:
    """Return a PyTorch module as the converter reads it, traced once.

    The converter itself would trace it three times and compare the graphs, which takes most of the time of a
    conversion. Parity compares the graph with the module, on several inputs.
    """
    import_openvino()
    from openvino.frontend.pytorch.ts_decoder import TorchScriptPythonDecoder

    return TorchScriptPythonDecoder(module, example_input=example, trace_kwargs={"check_trace": False})


def operations() -> Any:
    """Return the operation set of graphs, all operations in one version."""
    return import_openvino().opset13


def read_model(source: Path | bytes) -> Any:
    """Read the `openvino.Model` of an IR file, or of the bytes of an ONNX model.

    Raises:
        RuntimeError: OpenVINO cannot read the source.
    """
    return import_openvino().Core().read_model(source)
