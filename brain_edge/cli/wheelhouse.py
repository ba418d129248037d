"""`brain-edge wheelhouse`."""

from __future__ import annotations

from pathlib import Path

import click

from brain_edge.cli.building import quiet_option, reporter
from brain_edge.cli.failure import say
from brain_edge.cli.options import json_option, place_of, print_json

PLATFORMS = ("win_amd64", "linux_x86_64", "macosx_arm64")
"""Values of `brain_edge.deploy.wheelhouse.Platform`."""

FOLDER = click.Path(path_type=Path)


@click.command("wheelhouse")
@click.argument("output", type=FOLDER, metavar="OUT")
@click.option("--platform", type=click.Choice(PLATFORMS), help="Platform of the workstation [this machine's].")
@click.option("--python", metavar="X.Y", help="Python of the workstation, such as 3.12 [this machine's].")
@click.option(
    "--with",
    "extras",
    multiple=True,
    type=click.Choice(["report", "dicom"]),
    help="Also include the libraries for pictures (report) or DICOM (dicom).",
)
@click.option("--package", "packages", multiple=True, metavar="PKG", help="Model package to include.")
@click.option("--wheel", type=FOLDER, metavar="FILE", help="Wheel of brain-edge to include [built from the checkout].")
@quiet_option
@json_option
def command(
    output: Path,
    platform: str | None,
    python: str | None,
    extras: tuple[str, ...],
    packages: tuple[str, ...],
    wheel: Path | None,
    quiet: bool,
    as_json: bool,
) -> None:
    """Make the folder OUT from which a workstation without network installs; pip downloads the wheels.

    OUT holds every wheel in its tested version, requirements.txt with the hashes, install.py, a README with the steps,
    the licences, and SHA256SUMS. Send the printed SHA-256 by another channel than the folder.
    """
    import sys

    from brain_edge.deploy.wheelhouse import Platform, Target, WheelhousePlan, make_wheelhouse
    from brain_edge.deploy.wheelhouse.target import parse_python, this_platform

    target = Target(
        Platform(platform) if platform else this_platform(),
        parse_python(python) if python else sys.version_info[:2],
    )
    plan = WheelhousePlan(target, extras, wheel, tuple(map(place_of, packages)))
    made = make_wheelhouse(output, plan, reporter(quiet=quiet))
    if as_json:
        wheels = [{"name": each.name, "version": each.version, "licence": each.licence} for each in made.wheels]
        whole = {"folder": str(made.folder), "target": target, "sha256": made.sha256, "size_bytes": made.size_bytes}
        print_json({**whole, "wheels": wheels, "packages": made.digests})
        return
    say(f"folder       {made.folder}")
    say(f"for          {target}")
    say(f"wheels       {len(made.wheels)}; everything together {made.size_bytes / 1e6:.0f} MB")
    for name, digest in made.digests.items():
        say(f"package      {digest}  {name}")
    say(f"SHA256SUMS   {made.sha256}")
