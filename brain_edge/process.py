"""What this process has used so far."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Final

STATUS: Final = Path("/proc/self/status")


def peak_rss_bytes() -> int | None:
    """Greatest resident memory of this process so far (VmHWM), or None where the system does not say."""
    if STATUS.is_file():
        # some sandboxes have the file without this line
        for line in STATUS.read_text().splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) * 1024
    if sys.platform == "win32":
        return None
    import resource

    # kilobytes on Linux and the BSDs, bytes on macOS
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024
