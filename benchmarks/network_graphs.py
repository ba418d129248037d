"""All that the engines need to compute one network: its input, its graphs, and the rivals' INT8, in a folder.

    python -m benchmarks network_graphs brainmage FOLDER
    python -m benchmarks network_graphs deepbet-brain FOLDER --packages FP32 INT8 --head head.nii.gz

In a process of its own, so that what converts does not stay in memory while something is measured.
"""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import click
import numpy as np

from benchmarks.harness.rivals import save_fx_int8, save_onnx_int8
from benchmarks.harness.trained import TRAINED, copy_graph, inputs_of
from benchmarks.harness.zoo import ARCHITECTURES, module_of, phantom_input, save_graphs, save_onnx
from brain_edge.package import open_package

if TYPE_CHECKING:
    from collections.abc import Callable

INPUT = "input.npy"
REFUSED = ".refused"
"""After the name of a file that a peer could not make, in a file with its words: the others still have theirs."""


@click.command()
@click.argument("subject", type=click.Choice([*ARCHITECTURES, *TRAINED]))
@click.argument("folder", type=click.Path(path_type=Path))
@click.option("--packages", nargs=2, type=click.Path(path_type=Path), help="FP32 and INT8, of a trained network.")
@click.option("--head", type=click.Path(path_type=Path), help="What a trained network is measured on.")
def main(subject: str, folder: Path, packages: tuple[Path, Path] | None, head: Path | None) -> None:
    """Write what SUBJECT needs into FOLDER."""
    folder.mkdir(parents=True, exist_ok=True)
    if subject in TRAINED:
        assert packages is not None
        assert head is not None
        fp32, int8 = map(open_package, packages)
        copy_graph(subject, fp32, folder, "f32")
        copy_graph(subject, int8, folder, "int8")
        with tempfile.TemporaryDirectory() as scratch:
            batch, calibration = inputs_of(subject, fp32, head, Path(scratch))
    else:
        save_graphs(subject, folder)
        batch = phantom_input(ARCHITECTURES[subject])
        calibration = [batch]
    np.save(folder / INPUT, batch)
    module, graph = module_of(subject), folder / "f32.onnx"
    _attempt(graph, lambda: save_onnx(module, batch, graph))
    _attempt(folder / "int8.onnx", lambda: save_onnx_int8(graph, calibration, folder / "int8.onnx"))
    _attempt(folder / "int8.pt", lambda: save_fx_int8(module, calibration, folder / "int8.pt"))


def _attempt(path: Path, make: Callable[[], None]) -> None:
    """Make a file of a peer, or keep the first line of why not."""
    try:
        make()
    except Exception as error:  # noqa: BLE001 - a peer may refuse in any way; its words are kept
        words = str(error).strip() or type(error).__name__
        path.unlink(missing_ok=True)
        path.with_name(path.name + REFUSED).write_text(words.splitlines()[0], encoding="utf-8")
