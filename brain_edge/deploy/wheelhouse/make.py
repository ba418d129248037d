"""Make a wheelhouse (wheels, hashes, installer, model packages), completely or not at all."""

from __future__ import annotations

import json
import shutil
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Final

import brain_edge
from brain_edge.deploy.wheelhouse.fill import fill, own_wheel
from brain_edge.deploy.wheelhouse.texts import licences, readme
from brain_edge.errors import OutputError, UsageError
from brain_edge.machine.atomic_folder import atomic_folder
from brain_edge.package import open_package
from brain_edge.package.digest import sha256_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from brain_edge.deploy.fetch import Report
    from brain_edge.deploy.wheelhouse.target import Target
    from brain_edge.deploy.wheelhouse.wheels import Wheel
    from brain_edge.package import ModelPackage

SUMS: Final = "SHA256SUMS"
INSTALLER: Final = Path(__file__).with_name("install.py")


@dataclass(frozen=True)
class WheelhousePlan:
    """Plan of a wheelhouse.

    Attributes:
        target: platform and Python of the workstation.
        extras: extras of brain-edge; extras of the build side are not for workstations.
        wheel: wheel of brain-edge itself; None in a checkout.
        packages: folders of model packages; each keeps its name.
    """

    target: Target
    extras: tuple[str, ...] = ()
    wheel: Path | None = None
    packages: tuple[Path, ...] = ()


@dataclass(frozen=True)
class Wheelhouse:
    """Finished wheelhouse.

    Attributes:
        folder: path of the wheelhouse.
        sha256: SHA-256 of `SHA256SUMS`, which covers every file.
        wheels: all wheels, sorted by name.
        digests: digest of each model package by the name of its folder.
        size_bytes: size of all files.
    """

    folder: Path
    sha256: str
    wheels: tuple[Wheel, ...]
    digests: Mapping[str, str]
    size_bytes: int


def make_wheelhouse(output: Path, plan: WheelhousePlan, report: Report) -> Wheelhouse:
    """Write the install folder for a workstation without network.

    Raises:
        UsageError: no wheel is given outside a checkout, or two packages have one name.
        InputError: a wheel is missing, damaged or untested.
        PackageError: a model package is damaged.
        UsageError: the folder already exists.
        OutputError: the folder cannot be written.
    """
    packages = [open_package(folder) for folder in plan.packages]
    names = [package.folder.resolve().name for package in packages]
    if len({name.casefold() for name in names}) < len(names):  # as Windows and macOS compare names
        raise UsageError(f"expected packages with different names, got {', '.join(names)}; rename one")
    with atomic_folder(output) as folder:
        (folder / "wheels").mkdir()
        own = own_wheel(plan.wheel, folder / "wheels")
        wheels = fill(folder / "wheels", own, plan.extras, plan.target, report)
        digests = _copy_packages(packages, folder / "packages")
        _write_texts(folder, plan.target, wheels, digests)
        (folder / SUMS).write_text(_sums(folder), encoding="utf-8", newline="\n")
        _verify(folder)
        sha256 = sha256_of(folder / SUMS)
        size_bytes = sum(path.stat().st_size for path in _files(folder))
    moved = tuple(replace(wheel, path=output / "wheels" / wheel.path.name) for wheel in wheels)
    return Wheelhouse(output, sha256, moved, digests, size_bytes)


def requirements_text(wheels: Iterable[Wheel]) -> str:
    """Return the text for `pip install --require-hashes -r`: exact versions and the SHA-256 of each wheel."""
    lines = (f"{wheel.name}=={wheel.version} --hash=sha256:{sha256_of(wheel.path)}" for wheel in wheels)
    return "".join(f"{line}\n" for line in lines)


def _copy_packages(packages: Sequence[ModelPackage], folder: Path) -> dict[str, str]:
    """Copy packages, open the copies to check every file, and return the digest by name."""
    digests = {}
    for package in packages:
        copy = folder / package.folder.resolve().name
        shutil.copytree(package.folder, copy)
        digests[copy.name] = open_package(copy, package.digest).digest
    return digests


def _write_texts(folder: Path, target: Target, wheels: Sequence[Wheel], digests: Mapping[str, str]) -> None:
    shutil.copyfile(INSTALLER, folder / INSTALLER.name)
    markers = target.markers()
    made_for = {name: markers[name] for name in ("python_version", "sys_platform", "platform_machine")}
    texts = {
        "requirements.txt": requirements_text(wheels),
        "wheelhouse.json": json.dumps({"brain_edge": brain_edge.__version__, **made_for}, indent=2) + "\n",
        "LICENCES.txt": licences(wheels),
        "README.txt": readme(target, wheels, digests),
    }
    for name, text in texts.items():
        (folder / name).write_text(text, encoding="utf-8", newline="\n")


def _files(folder: Path) -> list[Path]:
    return sorted(path for path in folder.rglob("*") if path.is_file())


def _sums(folder: Path) -> str:
    """Return the lines that `sha256sum --check` reads."""
    names = (path.relative_to(folder).as_posix() for path in _files(folder))
    return "".join(f"{sha256_of(folder / name)}  {name}\n" for name in names)


def _verify(folder: Path) -> None:
    """Read every file again, to find a faulty disk here and not in the hospital."""
    lines = (folder / SUMS).read_text(encoding="utf-8").splitlines()
    for sha256, name in (line.split("  ", 1) for line in lines):
        if sha256_of(folder / name) != sha256:
            raise OutputError(f"{folder / name}: the file on disk differs from what was written; check the disk")
