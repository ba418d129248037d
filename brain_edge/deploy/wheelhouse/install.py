"""Install brain-edge from this folder alone: `python install.py FOLDER`. No network, nothing outside FOLDER.

Copied as it is into every wheelhouse. It runs with the workstation's own Python, before anything is installed; so
it imports the standard library only, and no syntax newer than Python 3.7, which can then say what it lacks.
Exit codes as of brain-edge: 2 the wrong call, Python or folder, 3 a file is missing or damaged, 1 it failed.
"""

from __future__ import annotations

import hashlib
import json
import os
import platform
import shutil
import subprocess
import sys
from pathlib import Path
from typing import NoReturn

HERE = Path(__file__).resolve().parent
USAGE = "usage: python install.py FOLDER    (a new folder; removing it later removes everything)"


def main() -> None:
    """Check this Python and every file, make the environment, install, and say how to go on."""
    for stream in (sys.stdout, sys.stderr):
        stream.reconfigure(errors="backslashreplace")  # type: ignore[union-attr] # a name that the console cannot show
    if len(sys.argv) != 2 or sys.argv[1].startswith("-"):
        end(2, USAGE)
    folder = Path(sys.argv[1]).absolute()
    require_this_machine(made_for())
    require_intact()
    require_new(folder)
    try:
        install(folder)
    except BaseException:
        shutil.rmtree(folder, ignore_errors=True)  # half an environment is worse than none
        raise
    say(f"installed: {programs(folder) / 'brain-edge'}")


def made_for() -> list[str]:
    """Version of Python, system and processor that the wheels are for."""
    path = HERE / "wheelhouse.json"
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
        return [str(found[name]) for name in ("python_version", "sys_platform", "platform_machine")]
    except (OSError, ValueError, LookupError, TypeError, RecursionError) as error:
        end(3, f"error: {path}: the file is missing or damaged ({type(error).__name__}); copy the folder again")


def require_this_machine(wanted: list[str]) -> None:
    """Refuse another Python or system than the wheels were made for; pip would only say that it finds nothing."""
    here = ["{}.{}".format(*sys.version_info[:2]), sys.platform, platform.machine()]
    if wanted != here:
        words = f"was made for Python {' '.join(wanted)}, and this is Python {' '.join(here)}"
        end(2, f"error: {HERE}: this folder {words}; call it with the right Python, or make a wheelhouse for this one")


def require_intact() -> None:
    """Compare every file with SHA256SUMS, which must have all that is installed."""
    sums = listed()
    wheels = ["wheels/" + path.name for path in (HERE / "wheels").glob("*.whl")]
    unlisted = sorted({*wheels, "requirements.txt", "wheelhouse.json"} - set(sums))
    if unlisted:
        end(3, f"error: {HERE / 'SHA256SUMS'}: expected the hash of {unlisted[0]}, got none; copy the folder again")
    for name, sha256 in sums.items():
        path = HERE / name
        if not path.is_file():
            end(3, f"error: {path}: expected a file of this wheelhouse, there is none; copy the folder again")
        if sha256_of(path) != sha256:
            end(3, f"error: {path}: the file was changed or damaged on the way; copy the folder again")
    say(f"{len(sums)} files are intact")


def listed() -> dict[str, str]:
    """The hash of each file by its name, as SHA256SUMS has them."""
    path = HERE / "SHA256SUMS"
    try:
        pairs = [line.split("  ", 1) for line in path.read_text(encoding="utf-8").splitlines()]
        return {name: sha256 for sha256, name in pairs if "\0" not in name}
    except (OSError, ValueError) as error:
        end(3, f"error: {path}: the file is missing or damaged ({type(error).__name__}); copy the folder again")


def sha256_of(path: Path) -> str:
    """64 hex digits; read in blocks."""
    digest = hashlib.sha256()
    with path.open("rb") as stream:
        for block in iter(lambda: stream.read(1 << 20), b""):
            digest.update(block)
    return digest.hexdigest()


def require_new(folder: Path) -> None:
    """Refuse a folder that holds something, which is never ours to change."""
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        end(2, f"error: {folder}: expected a new folder, this exists; remove it or choose another name")


def install(folder: Path) -> None:
    """Make an environment and fill it from the wheels, each of which must have its hash."""
    run([sys.executable, "-I", "-m", "venv", str(folder)], "make an environment (is Python's module venv installed?)")
    pip = [str(programs(folder) / "python"), "-I", "-m", "pip", "--isolated", "--disable-pip-version-check"]
    only_here = ["--no-index", "--find-links", str(HERE / "wheels"), "--only-binary", ":all:", "--no-cache-dir"]
    run([*pip, "install", "--quiet", *only_here, "--require-hashes", "-r", str(HERE / "requirements.txt")], "install")
    run([str(programs(folder) / "brain-edge"), "--version"], "start brain-edge")


def programs(folder: Path) -> Path:
    """Where an environment keeps its programs."""
    return folder / ("Scripts" if os.name == "nt" else "bin")


def run(command: list[str], what: str) -> None:
    """Run a program to its end, or end here with what it was for."""
    try:
        subprocess.run(command, check=True)
    except (OSError, subprocess.CalledProcessError) as error:
        end(1, f"error: could not {what}: {error}")


def end(code: int, sentence: str) -> NoReturn:
    """Say on stderr why nothing was installed, and end."""
    sys.stderr.write(sentence + "\n")
    sys.exit(code)


def say(line: str) -> None:
    """One line of progress."""
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    main()
