"""Bring the wheels: brain-edge's own from a file or the checkout, the others with pip from the user's index."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Final

import brain_edge
from brain_edge.deploy.pip import run_pip
from brain_edge.deploy.wheelhouse.wheels import CONSTRAINTS, Wheel, missing, read_wheel, tested_versions
from brain_edge.errors import InputError, UsageError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from brain_edge.deploy.fetch import Report
    from brain_edge.deploy.wheelhouse.target import Target

NAME: Final = "brain-edge"


def own_wheel(given: Path | None, folder: Path) -> Wheel:
    """The wheel of this brain-edge, copied or built into a folder.

    Args:
        given: the file; None in a checkout, where it is built.
        folder: exists.

    Raises:
        UsageError: none is given and this is no checkout.
        InputError: it is no wheel of this version of brain-edge, or could not be built.
    """
    if given is None:
        return read_wheel(_built(folder))
    wheel = read_wheel(given)
    if (wheel.name, wheel.version) != (NAME, brain_edge.__version__):
        raise InputError(
            f"{given}: expected the wheel of brain-edge {brain_edge.__version__}, which is what runs here and knows "
            f"the tested versions, got {wheel.name} {wheel.version}; give that wheel, or install this one first"
        )
    return read_wheel(Path(shutil.copy(given, folder)))


def fill(folder: Path, own: Wheel, extras: Sequence[str], target: Target, report: Report) -> tuple[Wheel, ...]:
    """Download what a wheel needs on a target, in the tested versions, wheels only; all of them, by name.

    Each round brings what the wheels of the round before ask for, because only a wheel itself says that.

    Raises:
        InputError: the index has no such wheel, or something untested is needed.
    """
    wheels, pins = {own.name: own}, tested_versions()
    while wanted := missing(wheels, own, extras, target, pins):
        names = [f"{name}=={version}" for name, version in sorted(wanted.items())]
        report(f"downloading for {target}: {', '.join(names)}")
        _download(folder, names, target)
        wheels = {wheel.name: wheel for wheel in map(read_wheel, sorted(folder.glob("*.whl")))}
        absent = sorted(wanted.keys() - wheels.keys())
        if absent:
            raise InputError(f"pip did not bring a wheel of {', '.join(absent)}; check pip's index settings")
    return tuple(wheels[name] for name in sorted(wheels))


def _download(folder: Path, names: Sequence[str], target: Target) -> None:
    platforms = [f"--platform={tag}" for tag in target.pip_platforms]
    wanted = ["--only-binary=:all:", "--no-deps", f"--python-version={target.python_version}", "--implementation=cp"]
    said = run_pip("download", *wanted, *platforms, "-d", str(folder), *names)
    if said is not None:
        raise InputError(
            f"pip could not download wheels for {target}:\n{said}\n"
            "check the network and pip's index settings; or there is none for this platform and Python: name others"
        )


def _built(folder: Path) -> Path:
    checkout = Path(brain_edge.__file__).parents[1]
    if not (checkout / "pyproject.toml").is_file():
        raise UsageError(
            "this brain-edge was installed from a wheel, which pip does not keep: "
            f"give it with --wheel brain_edge-{brain_edge.__version__}-py3-none-any.whl"
        )
    # the build happens in an environment of its own, whose versions a constraint on this call does not reach
    said = run_pip("wheel", "--no-deps", "-w", str(folder), str(checkout), PIP_CONSTRAINT=str(checkout / CONSTRAINTS))
    built = sorted(folder.glob("brain_edge-*.whl"))
    if said is not None or len(built) != 1:
        raise InputError(f"{checkout}: the wheel of this checkout could not be built:\n{said}\ntry `make wheel`")
    return built[0]
