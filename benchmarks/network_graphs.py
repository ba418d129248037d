"""Convert and quantise a network of the zoo, and export it to ONNX: `f32.xml`, `int8.xml`, `f32.onnx` in a folder.

    python -m benchmarks network_graphs brainmage FOLDER

In a process of its own, so that what converts does not stay in memory while something is measured.
"""

from __future__ import annotations

from pathlib import Path

import click

from benchmarks.harness.zoo import ARCHITECTURES, save_graphs, save_onnx

ONNX_REFUSED = "f32.onnx.refused"
"""Why PyTorch's exporter would not: what ONNX Runtime has no graph of, the others still have."""


@click.command()
@click.argument("network", type=click.Choice(list(ARCHITECTURES)))
@click.argument("folder", type=click.Path(path_type=Path))
def main(network: str, folder: Path) -> None:
    """Write the graphs of NETWORK into FOLDER."""
    save_graphs(ARCHITECTURES[network], folder, rewrites=True)
    try:
        save_onnx(ARCHITECTURES[network], folder / "f32.onnx")
    except Exception as error:  # noqa: BLE001 - a peer's exporter may refuse in any way; its words are kept
        words = str(error).strip() or type(error).__name__
        (folder / ONNX_REFUSED).write_text(words.splitlines()[0], encoding="utf-8")
