"""Texts of a wheelhouse: the steps of the installation, and the licences."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from brain_edge.deploy.wheelhouse.target import Platform

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from brain_edge.deploy.wheelhouse.target import Target
    from brain_edge.deploy.wheelhouse.wheels import Wheel

_README: Final = """\
brain-edge {version} for {target}
Research use only. Not a medical device; not for diagnosis or treatment.

Everything needed is in this folder; no network is used. Python {python} must be installed on the workstation.

1. Check that nobody has changed this folder. You should have received the SHA-256 of the file SHA256SUMS separately
   from this folder (telephone, letter). Compare it with the output of the first command, then {compare}:

{hash_commands}

2. Install into a new folder. The installer compares every file with SHA256SUMS, and pip checks every wheel again:

       {python_command} install.py brain-edge-env

{packages}
To uninstall, remove the folder brain-edge-env.
LICENCES.txt lists the licences of the installed wheels; the texts are in the wheels.
"""

_CERTUTIL: Final = ("certutil -hashfile SHA256SUMS SHA256", "certutil -hashfile install.py SHA256")
_SHA256SUM: Final = ("sha256sum SHA256SUMS", "sha256sum --check --quiet SHA256SUMS")

_PACKAGES: Final = """\
3. Check each model package on this machine with its digest, which you should also have received separately:

{commands}

   Digests of the packages when this folder was made:

{digests}

4. Run:

       {program} run packages{slash}{first} head.nii.gz -o mask.nii.gz --strict
"""


def readme(target: Target, wheels: Iterable[Wheel], digests: Mapping[str, str]) -> str:
    """Return README.txt: the steps with the commands of the target's system."""
    is_windows = target.platform is Platform.WINDOWS
    version = next(wheel.version for wheel in wheels if wheel.name == "brain-edge")
    return _README.format(
        version=version,
        target=target,
        python=target.python_version,
        compare="that of the second with\n   the line of install.py in SHA256SUMS" if is_windows else "check all files",
        hash_commands="\n".join(f"       {command}" for command in (_CERTUTIL if is_windows else _SHA256SUM)),
        python_command=f"py -{target.python_version}" if is_windows else f"python{target.python_version}",
        packages=_packages(digests, is_windows=is_windows) if digests else "",
    )


def _packages(digests: Mapping[str, str], *, is_windows: bool) -> str:
    slash = "\\" if is_windows else "/"
    program = "brain-edge-env\\Scripts\\brain-edge" if is_windows else "brain-edge-env/bin/brain-edge"
    commands = (f"       {program} verify packages{slash}{name} --expect-digest DIGEST" for name in digests)
    return _PACKAGES.format(
        commands="\n".join(commands),
        digests="\n".join(f"       {digest}  {name}" for name, digest in digests.items()),
        program=program,
        slash=slash,
        first=next(iter(digests)),
    )


def licences(wheels: Iterable[Wheel]) -> str:
    """Return LICENCES.txt: one line per wheel with the licence of its metadata."""
    rows = [(wheel.name, wheel.version, wheel.licence) for wheel in wheels]
    widths = [max(len(row[column]) for row in rows) for column in (0, 1)]
    lines = (f"{name:<{widths[0]}}  {version:<{widths[1]}}  {licence}" for name, version, licence in rows)
    heading = "Licences from the metadata of each wheel; the texts are in the wheels, below *.dist-info.\n\n"
    return heading + "".join(f"{line}\n" for line in lines)
