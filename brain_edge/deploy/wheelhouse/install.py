"""Install brain-edge from this folder alone: `python install.py FOLDER`. No network, nothing outside FOLDER.

Every wheelhouse holds an unchanged copy. It runs with the workstation's own Python before anything is installed, so
it imports the standard library only. Its syntax is that of Python 3.7, so an old Python can print the requirement.
Exit codes as of brain-edge: 2 wrong call, Python or folder; 3 a file is missing or damaged; 1 any other failure.
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
    """Check this Python and every file, make the environment, install, and print the path of the program."""
    for stream in (sys.stdout, sys.stderr):
        stream.reconfigure(errors="backslashreplace")  # type: ignore[union-attr] # names that the console cannot show
    if len(sys.argv) != 2 or sys.argv[1].startswith("-"):
        end(2, USAGE)
    folder = Path(sys.argv[1]).absolute()
    require_this_machine(made_for())
    require_intact()
    require_new(folder)
    try:
        install(folder)
    except BaseException:
        shutil.rmtree(folder, ignore_errors=True)  # an incomplete environment is worse than none
        raise
    say(f"installed: {programs(folder) / 'brain-edge'}")


def made_for() -> list[str]:
    """Return the version of Python, the system and the processor that the wheels are for."""
    path = HERE / "wheelhouse.json"
    try:
        found = json.loads(text_of(path))
        return [str(found[name]) for name in ("python_version", "sys_platform", "platform_machine")]
    except (OSError, ValueError, LookupError, TypeError, RecursionError) as error:
        end(3, f"error: {path}: the file is missing or damaged ({type(error).__name__}); copy the folder again")


def require_this_machine(wanted: list[str]) -> None:
    """Refuse a Python or system that the wheels were not made for; pip would only report missing wheels."""
    here = ["{}.{}".format(*sys.version_info[:2]), sys.platform, platform.machine()]
    if wanted != here:
        words = f"was made for Python {' '.join(wanted)}, and this is Python {' '.join(here)}"
        end(2, f"error: {HERE}: this folder {words}; use the right Python, or make a wheelhouse for this Python")


def require_intact() -> None:
    """Compare every file with SHA256SUMS, which must list each installed file."""
    sums = listed()
    wheels = ["wheels/" + path.name for path in (HERE / "wheels").glob("*.whl")]
    unlisted = sorted({*wheels, "requirements.txt", "wheelhouse.json"} - set(sums))
    if unlisted:
        end(3, f"error: {HERE / 'SHA256SUMS'}: expected the hash of {unlisted[0]}, got none; copy the folder again")
    for name, sha256 in sums.items():
        path = HERE / name
        if not path.is_file():
            end(3, f"error: {path}: expected a file of this wheelhouse, found none; copy the folder again")
        if sha256_of(path) != sha256:
            end(3, f"error: {path}: the file was changed or damaged on the way; copy the folder again")
    say(f"{len(sums)} files are intact")


def listed() -> dict[str, str]:
    """Return the SHA-256 of each file by its name, as in SHA256SUMS."""
    path = HERE / "SHA256SUMS"
    try:
        pairs = [line.split("  ", 1) for line in text_of(path).splitlines()]
        return {name: sha256 for sha256, name in pairs if "\0" not in name}
    except (OSError, ValueError) as error:
        end(3, f"error: {path}: the file is missing or damaged ({type(error).__name__}); copy the folder again")


def text_of(path: Path) -> str:
    """Return the text of a file; a pipe, which would never end, is no file."""
    if not path.is_file():
        raise FileNotFoundError(path)
    return path.read_text(encoding="utf-8")


def sha256_of(path: Path) -> str:
    """Return the SHA-256 of a file as 64 hex digits; the file is read in blocks."""
    digest = hashlib.sha256()
    with path.open("rb") as stream:
        for block in iter(lambda: stream.read(1 << 20), b""):
            digest.update(block)
    return digest.hexdigest()


def require_new(folder: Path) -> None:
    """Refuse a folder that is not empty, because its files belong to the user."""
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        end(2, f"error: {folder}: expected a new folder, got an existing one; remove it or choose another name")


def install(folder: Path) -> None:
    """Make an environment and install the wheels, each with its required hash."""
    run([sys.executable, "-I", "-m", "venv", str(folder)], "make an environment (is Python's module venv installed?)")
    pip = [str(programs(folder) / "python"), "-I", "-m", "pip", "--isolated", "--disable-pip-version-check"]
    only_here = ["--no-index", "--find-links", str(HERE / "wheels"), "--only-binary", ":all:", "--no-cache-dir"]
    run([*pip, "install", "--quiet", *only_here, "--require-hashes", "-r", str(HERE / "requirements.txt")], "install")
    run([str(programs(folder) / "brain-edge"), "--version"], "start brain-edge")


def programs(folder: Path) -> Path:
    """Return the folder of the programs of an environment."""
    return folder / ("Scripts" if os.name == "nt" else "bin")


def run(command: list[str], what: str) -> None:
    """Run a program; if it fails, end with an error that names its purpose."""
    try:
        subprocess.run(command, check=True)
    except (OSError, subprocess.CalledProcessError) as error:
        end(1, f"error: could not {what}: {error}")


def end(code: int, sentence: str) -> NoReturn:
    """Write the reason of the failure to stderr, and exit."""
    sys.stderr.write(sentence + "\n")
    sys.exit(code)


def say(line: str) -> None:
    """Write one line of progress."""
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    main()
