"""Collect the wheels: brain-edge's own from a file or the checkout, the others with pip from the user's index."""

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
    """Copy or build the wheel of this brain-edge into a folder.

    Args:
        given: file of the wheel; None in a checkout, where the wheel is built.
        folder: existing folder.

    Raises:
        UsageError: no wheel is given outside a checkout.
        InputError: the file is not a wheel of this version of brain-edge, or the wheel could not be built.
    """
    if given is None:
        return read_wheel(_built(folder))
    wheel = read_wheel(given)
    if (wheel.name, wheel.version) != (NAME, brain_edge.__version__):
        raise InputError(
            f"{given}: expected the wheel of brain-edge {brain_edge.__version__}, the version that runs here, got "
            f"{wheel.name} {wheel.version}; give this version, or install the given one first"
        )
    return read_wheel(Path(shutil.copy(given, folder)))


def fill(folder: Path, own: Wheel, extras: Sequence[str], target: Target, report: Report) -> tuple[Wheel, ...]:
    """Download the requirements of a wheel on a target as wheels of the tested versions, and return all wheels by name.

    Each round downloads the requirements of the wheels of the previous round, because only a wheel states its own.

    Raises:
        InputError: the index lacks a wheel, or a requirement was not tested.
    """
    wheels, pins = {own.name: own}, tested_versions()
    while wanted := missing(wheels, own, extras, target, pins):
        names = [f"{name}=={version}" for name, version in sorted(wanted.items())]
        report(f"downloading for {target}: {', '.join(names)}")
        _download(folder, names, target)
        wheels = {wheel.name: wheel for wheel in map(read_wheel, sorted(folder.glob("*.whl")))}
        absent = sorted(wanted.keys() - wheels.keys())
        if absent:
            raise InputError(f"pip did not download a wheel of {', '.join(absent)}; check pip's index settings")
    return tuple(wheels[name] for name in sorted(wheels))


def _download(folder: Path, names: Sequence[str], target: Target) -> None:
    platforms = [f"--platform={tag}" for tag in target.pip_platforms]
    wanted = ["--only-binary=:all:", "--no-deps", f"--python-version={target.python_version}", "--implementation=cp"]
    said = run_pip("download", *wanted, *platforms, "-d", str(folder), *names)
    if said is not None:
        raise InputError(
            f"pip could not download wheels for {target}:\n{said}\n"
            "check the network and pip's index settings, or choose another platform or Python"
        )


def _built(folder: Path) -> Path:
    checkout = Path(brain_edge.__file__).parents[1]
    if not (checkout / "pyproject.toml").is_file():
        raise UsageError(
            "this brain-edge was installed from a wheel, which pip does not keep; "
            f"give the wheel with --wheel brain_edge-{brain_edge.__version__}-py3-none-any.whl"
        )
    # pip builds in a separate environment, which a constraint on this call does not reach
    said = run_pip("wheel", "--no-deps", "-w", str(folder), str(checkout), PIP_CONSTRAINT=str(checkout / CONSTRAINTS))
    built = sorted(folder.glob("brain_edge-*.whl"))
    if said is not None or len(built) != 1:
        raise InputError(f"{checkout}: the wheel of this checkout could not be built:\n{said}\ntry `make wheel`")
    return built[0]
