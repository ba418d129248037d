"""`brain-edge verify`."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from brain_edge.cli.failure import say
from brain_edge.cli.options import (
    PACKAGE_HELP,
    PATH,
    digest_option,
    json_option,
    opened_package,
    print_json,
    runtime_from,
    threads_option,
)

if TYPE_CHECKING:
    from brain_edge.machine.options import RuntimeOptions


@click.command("verify", epilog=PACKAGE_HELP)
@click.argument("package", required=False, type=PATH)
@digest_option
@threads_option
@json_option
@runtime_from("threads")
def command(package: str | None, expect_digest: str | None, runtime: RuntimeOptions, as_json: bool) -> None:
    """Check a package on this machine: every hash, and its masks of a phantom against the shipped masks."""
    from brain_edge.jobs.verify import verify

    result = verify(opened_package(package, expect_digest), runtime)
    if as_json:
        print_json(result)
        return
    say(f"files        {result.files} checked")
    if result.empty:
        say("self-test    the package runs; both masks are empty, so its result could not be compared")
    else:
        say(f"self-test    Dice {result.dice:.5f} (at least {result.minimum_dice:g} expected)")
    if result.baseline_dice is not None:
        say(
            f"baseline     Dice {result.baseline_dice:.5f} with the package that it was made from (when built "
            f"{result.built_baseline_dice:.5f}, at least {result.minimum_baseline_dice:.5f} expected); "
            "a phantom does not predict accuracy on a patient"
        )
    say(f"runtime      OpenVINO {result.openvino}; this CPU computes {', '.join(result.cpu_capabilities)}")
    say(f"digest       {result.digest}")
