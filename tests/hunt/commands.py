"""The commands that are killed and starved: what they are given, and whether what they leave is whole and right."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from hunt.watch import environment

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from pathlib import Path

OUT: Final = "out"
EXACT: Final = (".nii.gz", ".xml", ".bin")
"""What has the same bytes each time; other files hold times and must be whole."""
SECONDS: Final = 600


@dataclass(frozen=True, kw_only=True)
class Command:
    """A command on the smallest input that it takes.

    Attributes:
        make: writes what it is given into a folder.
        arguments: of the program, which is started in that folder; results go to `out`.
        in_ci: how often the tests kill it.
        once: it refuses to run again where its result is there.
    """

    make: Callable[[Path], None]
    arguments: tuple[str, ...]
    in_ci: int
    once: bool = False


def start(arguments: tuple[str, ...], folder: Path, *, by: tuple[str, ...] = (), **how: Any) -> subprocess.Popen[bytes]:
    """The program, started in a folder; `by` is a command that starts it."""
    command = [*by, sys.executable, "-m", "brain_edge", *arguments]
    own = {**environment(), "BRAIN_EDGE_STATE": str(folder / "state")}  # not the log of looks of who hunts
    pipes = {"stdin": subprocess.DEVNULL, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    return subprocess.Popen(command, cwd=folder, env=own, start_new_session=True, **{**pipes, **how})


def succeed(arguments: tuple[str, ...], folder: Path) -> None:
    """Run the program, which must end well.

    Raises:
        RuntimeError: it does not.
    """
    with start(arguments, folder) as run:
        _, said = run.communicate(timeout=SECONDS)
    if run.returncode:
        raise RuntimeError(f"{' '.join(arguments)} ended with {run.returncode}: {said.decode(errors='replace')[-500:]}")


def results(folder: Path) -> dict[str, bytes]:
    """Content of every visible file below `out`."""
    return {name: path.read_bytes() for name, path in _below(folder / OUT) if not _is_hidden(name)}


def leftovers(folder: Path) -> list[str]:
    """Every hidden file or folder below `out` and beside it, but the folder of the bookkeeping, which stays."""
    named = [path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.name != ".brain-edge"]
    return sorted(name for name in named if name.rpartition("/")[2].startswith("."))


def differences(found: Mapping[str, bytes], right: Mapping[str, bytes], *, whole: bool) -> Iterator[str]:
    """What is wrong with results, in words.

    Args:
        found: those to be judged.
        right: those of an undisturbed run.
        whole: none may be missing.
    """
    if whole:
        yield from (f"{name} is missing" for name in sorted(right.keys() - found.keys()))
    yield from (f"{name} is no result of an undisturbed run" for name in sorted(found.keys() - right.keys()))
    for name in sorted(found.keys() & right.keys()):
        if name.endswith(EXACT) and found[name] != right[name]:
            yield f"{name} differs from that of an undisturbed run"
        elif name.endswith(".json") and not _is_json(found[name]):
            yield f"{name} is half-written"
        elif bool(found[name]) != bool(right[name]):
            yield f"{name} is empty"


def _is_json(content: bytes) -> bool:
    try:
        json.loads(content)
    except ValueError:
        return False
    return True


def _below(folder: Path) -> Iterator[tuple[str, Path]]:
    for path in sorted(folder.rglob("*")):
        if path.is_file():
            yield path.relative_to(folder).as_posix(), path


def _is_hidden(name: str) -> bool:
    return any(part.startswith(".") for part in name.split("/"))


def _package_and_head(folder: Path) -> None:
    from cli_program import save_phantom
    from tiny_package import make_package

    make_package(folder / "package")
    save_phantom(folder / "head.nii.gz")
    (folder / OUT).mkdir()


def _package_and_heads(folder: Path) -> None:
    from cli_program import save_phantom
    from tiny_package import make_package

    make_package(folder / "package")
    (folder / "heads").mkdir()
    for seed in range(4):
        save_phantom(folder / "heads" / f"{seed}.nii.gz", seed=seed)


def _package_and_dataset(folder: Path) -> None:
    from bids_dataset import phantom_dataset
    from tiny_package import make_package

    make_package(folder / "package")
    phantom_dataset(folder / "raw", ("sub-01_ses-1_T1w", "sub-01_ses-2_T1w", "sub-02_T1w"))


def _script_and_head(folder: Path) -> None:
    import msgspec
    import torch
    from cli_program import save_phantom
    from tiny_package import SPEC, tiny_weights
    from torch import nn

    weights, bias = tiny_weights()
    network = nn.Sequential(nn.Conv3d(1, 2, 3, padding=1), nn.Softmax(dim=1)).eval()
    network[0].weight.data, network[0].bias.data = torch.from_numpy(weights), torch.from_numpy(bias.reshape(2))
    torch.jit.save(torch.jit.trace(network, torch.zeros(1, 1, 16, 16, 16)), folder / "net.pt")
    (folder / "spec.json").write_bytes(msgspec.json.encode(SPEC))
    save_phantom(folder / "head.nii.gz")
    (folder / OUT).mkdir()


def _package_and_cohort(folder: Path) -> None:
    from outlier_package import make_outlier_package, phantom_cohort

    from brain_edge.evaluation.cohort import Split

    make_outlier_package(folder / "package")
    phantom_cohort(folder, [Split.CALIBRATION, Split.VALIDATION, Split.TEST])
    (folder / OUT).mkdir()


RUN: Final = ("run", "package", "head.nii.gz", "-o", "out/mask.nii.gz", "--threads", "1", "-q")
COMMANDS: Final[Mapping[str, Command]] = {
    "run": Command(
        make=_package_and_head, arguments=(*RUN, "--brain", "out/brain.nii.gz", "--report", "out/run.json"), in_ci=1
    ),
    "batch": Command(
        make=_package_and_heads, arguments=("run", "package", "heads", "-o", "out", "--threads", "1", "-q"), in_ci=0
    ),
    "bids": Command(
        make=_package_and_dataset,
        arguments=("bids", "raw", "out", "participant", "-p", "package", "--threads", "1", "-q"),
        in_ci=0,
    ),
    "convert": Command(
        make=_script_and_head,
        arguments=(
            *("convert", "net.pt", "--spec", "spec.json", "--parity-data", "head.nii.gz", "--trust", "-q"),
            *("-o", "out/package"),
        ),
        in_ci=0,
        once=True,
    ),
    "quantize": Command(
        make=_package_and_cohort,
        arguments=(
            *("quantize", "package", "--calibration", "tiny.toml", "--max-dice-drop", "0.1", "--threads", "1", "-q"),
            *("--no-gain", "-o", "out/int8"),
        ),
        in_ci=0,
        once=True,
    ),
}
"""By the name that `COMMAND=` takes."""
