"""No telemetry, from a hospital or anywhere else.

`openvino` and `nncf` import `openvino_telemetry` where it is installed (it is a dependency of `openvino`), and
that package contacts an analytics host and writes an identifier under the home folder. Both fall back to
a stub of their own when the import fails. No environment variable of OpenVINO switches it off, and
`CI=true` would lie to every child process, so we make that one import fail, before openvino or nncf are imported.
"""

import sys
from types import ModuleType
from typing import cast


def forbid_telemetry() -> None:
    """Make `import openvino_telemetry` fail in this process; a copy that is already loaded stays as it is."""
    sys.modules.setdefault("openvino_telemetry", cast(ModuleType, None))
