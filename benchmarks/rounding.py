"""How far rounding alone takes a network: OpenVINO beside PyTorch, and PyTorch beside itself.

    python -m benchmarks rounding hd-bet-v1-all-fp32 --sides 128,128,128

Each graph of a package, on the noise with which `convert` compares it: the runtime, the plugin without the runtime's
rewrites, PyTorch after its input has moved by one last digit, and PyTorch with its channels last in memory. Prints the
table of docs/decisions/0052.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
import numpy as np

from benchmarks.harness.zoo import compiled
from brain_edge.errors import UsageError
from brain_edge.evaluation.markdown import markdown_table
from brain_edge.machine.cpu import default_threads
from brain_edge.package import open_package
from brain_edge_conversion.convert.parity import Moved, TorchSession, as_published, moved_between
from brain_edge_conversion.convert.rewrites.norm_statistics import trapped_norms, use_instance_statistics
from brain_edge_conversion.convert.sizes import last_digit_moved, noise_of, relative_distance

if TYPE_CHECKING:
    from collections.abc import Iterator

    from torch import nn

    from brain_edge.image.volume import FloatArray
    from brain_edge.package import ModelPackage

COLUMNS = ("graph", "runtime", "plugin alone", "PyTorch, last digit of its input", "PyTorch, channels last")


@click.command()
@click.argument("package", type=click.Path(path_type=Path, exists=True))
@click.option("--sides", default="128,128,128", show_default=True, help="Of the volume, in voxels.")
def main(package: Path, sides: str) -> None:
    """Compare each graph of PACKAGE, made from a recipe, with PyTorch."""
    words = sides.split(",")
    if len(words) != 3 or not all(word.isdecimal() and int(word) > 0 for word in words):
        raise UsageError(f"--sides: expected three numbers of voxels, such as 128,128,128, got {sides!r}")
    spatial = tuple(map(int, words))
    click.echo(
        markdown_table(COLUMNS, [(name, *map(_short, row)) for name, row in compare(open_package(package), spatial)])
    )


def compare(package: ModelPackage, sides: tuple[int, ...]) -> Iterator[tuple[str, tuple[float, ...]]]:
    """Largest differences from PyTorch's output, as shares of the largest output, by graph."""
    from brain_edge_conversion.sources import Request, resolve

    network = package.spec.stages[-1].network
    resolved = resolve(Request(source=package.spec.name, all_members=len(network.graphs) > 1))
    moved = moved_between(resolved.model.spec, package.spec)
    for source in resolved.model.graphs:
        graph = source.graph
        if graph not in network.graphs:
            continue
        noise = noise_of((1, network.channels_in, *sides))
        module = (source.rewritable or source.build)(resolved.weights[graph])
        use_instance_statistics(module, trapped_norms(module))
        module = module.eval()
        wanted = TorchSession(module)(noise)
        file = package.graph_file(graph)
        yield (
            graph,
            (
                relative_distance(wanted, _openvino(file, noise, moved[graph], wanted.shape[1], rewritten=True)),
                relative_distance(wanted, _openvino(file, noise, moved[graph], wanted.shape[1], rewritten=False)),
                max(relative_distance(wanted, TorchSession(module)(each)) for each in last_digit_moved(noise)),
                relative_distance(wanted, _channels_last(module, noise)),
            ),
        )


def _openvino(file: Path, noise: FloatArray, moved: Moved, channels: int, *, rewritten: bool) -> FloatArray:
    graph = compiled(file, noise.shape, default_threads(), rewritten=rewritten)
    seen = noise if moved.affine is None else moved.affine.undone(noise)
    return as_published(np.asarray(next(iter(graph(seen).values()))), moved, channels)


def _channels_last(module: nn.Module, noise: FloatArray) -> FloatArray:
    import torch

    with torch.no_grad():
        batch = torch.from_numpy(noise).to(memory_format=torch.channels_last_3d)
        arranged: Any = module.to  # PyTorch's types know the formats of tensors alone
        return np.asarray(arranged(memory_format=torch.channels_last_3d)(batch).numpy())


def _short(error: float) -> str:
    return f"{error:.1e}"
