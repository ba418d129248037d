"""Target machine of a wheelhouse in the terms of pip: platform tags and values of environment markers.

pip downloads wheels for another machine (`pip download --platform`), but evaluates markers such as
`python_version < "3.12"` for the Python that runs pip. A requirement of the other machine only would be missing, so
markers are evaluated here for the target machine.
"""

from __future__ import annotations

import platform
import re
import sys
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from brain_edge.errors import UsageError

OLDEST_PYTHON: Final = (3, 11)
NEWEST_GLIBC: Final = 28
OLDEST_GLIBC: Final = 17
"""Minor versions of glibc 2.x whose wheels are accepted; a wheel for 2.28 (2018) or older runs on RHEL 8."""

MACOS: Final = "macosx_14_0_arm64"
"""Platform tag of macOS; pip also accepts wheels for older releases."""


class Platform(StrEnum):
    """Operating system and processor of a workstation."""

    WINDOWS = "win_amd64"
    """Windows on 64-bit Intel and AMD processors."""
    LINUX = "linux_x86_64"
    """Linux with glibc 2.28 or newer on 64-bit Intel and AMD processors."""
    MACOS_ARM = "macosx_arm64"
    """macOS 14 or newer on Apple's processors."""


_MARKERS: Final = {
    Platform.WINDOWS: ("nt", "win32", "Windows", "AMD64"),
    Platform.LINUX: ("posix", "linux", "Linux", "x86_64"),
    Platform.MACOS_ARM: ("posix", "darwin", "Darwin", "arm64"),
}
"""Values of os_name, sys_platform, platform_system and platform_machine in the Python of the target."""


@dataclass(frozen=True)
class Target:
    """Machine on which the wheels must run.

    Attributes:
        platform: operating system and processor.
        python: major and minor version of CPython.
    """

    platform: Platform
    python: tuple[int, int]

    def __post_init__(self) -> None:
        if self.python < OLDEST_PYTHON or self.python[0] != OLDEST_PYTHON[0]:
            raise UsageError(f"expected --python 3.11 or newer, got {self.python_version}; name another version")

    @property
    def python_version(self) -> str:
        """Version as text, such as `3.11`."""
        return f"{self.python[0]}.{self.python[1]}"

    @property
    def pip_platforms(self) -> tuple[str, ...]:
        """Values of pip's `--platform`; pip does not add older glibc versions by itself."""
        if self.platform is Platform.LINUX:
            newest_first = range(NEWEST_GLIBC, OLDEST_GLIBC - 1, -1)
            return (*(f"manylinux_2_{minor}_x86_64" for minor in newest_first), "manylinux2014_x86_64")
        return (MACOS if self.platform is Platform.MACOS_ARM else self.platform.value,)

    def markers(self) -> dict[str, str]:
        """Return the environment of PEP 508 markers on the target; release and version of its system are unknown."""
        os_name, sys_platform, system, machine = _MARKERS[self.platform]
        return {
            "os_name": os_name,
            "sys_platform": sys_platform,
            "platform_system": system,
            "platform_machine": machine,
            "platform_release": "",
            "platform_version": "",
            "python_version": self.python_version,
            "python_full_version": f"{self.python_version}.0",
            "implementation_name": "cpython",
            "implementation_version": f"{self.python_version}.0",
            "platform_python_implementation": "CPython",
        }

    def __str__(self) -> str:
        return f"{self.platform}, Python {self.python_version}"


def this_platform(system: str = sys.platform, machine: str | None = None) -> Platform:
    """Return the platform of this machine, or of another machine with these `sys.platform` and `platform.machine()`.

    Raises:
        UsageError: no wheelhouse can be made for the platform.
    """
    here = (system, machine or platform.machine())
    for known, (_, sys_platform, _, known_machine) in _MARKERS.items():
        if (sys_platform, known_machine) == here:
            return known
    known_names = " or ".join(Platform)
    raise UsageError(f"expected the platform {known_names}, got {' on '.join(here)}; name the workstation's --platform")


def parse_python(text: str) -> tuple[int, int]:
    """Parse `3.12` as (3, 12).

    Raises:
        UsageError: the text is not such a version.
    """
    found = re.fullmatch(r"(\d)\.(\d{1,2})", text)
    if found is None:
        raise UsageError(f"expected a Python version such as 3.12, got {text!r}")
    return int(found[1]), int(found[2])
