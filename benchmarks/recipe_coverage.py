"""What quantisation makes of each layer of a recipe's networks, and how fast that is: one JSON file per recipe.

    brain-edge convert vox2vox --random-weights --parity-data T1=... -o vox2vox-fp32
    python -m benchmarks recipe_coverage vox2vox-fp32 --compared-on "the whole case" --threads 1
    python docs/generate.py

Parity and rewrites are those of the package that is given. Its networks are quantised at the fastest setting, on a
phantom: that decides kernels and speed and says nothing of accuracy. Kernels are those of the input that the steps give
the network, since OpenVINO chooses some by size; speed is that of a smaller one. PyTorch, OpenVINO in f32 and in INT8
run in turn in one process, A B C A B C. `docs/reference/coverage.md` is made of these files.
"""

from __future__ import annotations

import statistics
import tempfile
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import click
import msgspec
import numpy as np

from benchmarks.harness.coverage_record import (
    FOLDER,
    GraphCoverage,
    LayerGroup,
    RecipeCoverage,
    Speed,
    write_coverage,
)
from benchmarks.harness.in_turn import timed_calls
from brain_edge.image.phantom import Phantom, make_volume
from brain_edge.machine.description import this_machine
from brain_edge.machine.options import RuntimeOptions
from brain_edge.package import open_package
from brain_edge.runtime.graph_file import read_graph
from brain_edge.runtime.session import cpu_capabilities, open_sessions
from brain_edge.spec.plan import known_inputs
from brain_edge_conversion.budget.coverage import int8_share, layer_costs
from brain_edge_conversion.budget.kernels import executed_package
from brain_edge_conversion.convert.parity import TorchSession
from brain_edge_conversion.convert.versions import tool_versions
from brain_edge_conversion.quantize.ladder import Setting
from brain_edge_conversion.quantize.policy import Trial
from brain_edge_conversion.quantize.space import candidate_in, quantise_package
from brain_edge_conversion.recipe import Variant
from brain_edge_conversion.recipes import load_recipe

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from brain_edge.image.volume import FloatArray
    from brain_edge.package import ModelPackage
    from brain_edge.spec import Network
    from brain_edge_conversion.budget.coverage import LayerCost
    from brain_edge_conversion.recipe import GraphSource

EXAMPLE_SIDE: Final = 64
"""Of the cube whose cost is told where neither steps nor a plan say how large the input is."""
NAMED: Final = 3
"""Layers of a group that are named."""
VECTORS: Final = 2
"""Axes of a batch of vectors."""
PLANE: Final = 2
"""Axes of a slice."""
FEWEST_SLICES: Final = 16
"""Of the phantom that slices are taken from."""


@click.command()
@click.argument("packages", nargs=-1, required=True, type=click.Path(path_type=Path, exists=True))
@click.option("--compared-on", required=True, help="What the conversion was compared with PyTorch on, in words.")
@click.option("--threads", default=2, show_default=True, help="Of every engine.")
@click.option("--rounds", default=5, show_default=True, help="In which each engine runs once.")
@click.option(
    "--side", default=64, show_default=True, help="Of the cube that is timed, where a network lets us choose."
)
@click.option("--parity-only", is_flag=True, help="Quantise and time nothing: size, cost, parity, rewrites.")
@click.option("--note", default="", help="Why something was not measured, in words.")
@click.option("--folder", default=FOLDER, type=click.Path(path_type=Path), help="Of the JSON files.")
def main(
    packages: tuple[Path, ...],
    compared_on: str,
    threads: int,
    rounds: int,
    side: int,
    parity_only: bool,
    note: str,
    folder: Path,
) -> None:
    """Measure PACKAGES, made by `convert NAME --random-weights`."""
    for path in packages:
        test = None if parity_only else SpeedTest(rounds, side)
        measured = measure(open_package(path), compared_on, RuntimeOptions(threads=threads), test)
        written = write_coverage(msgspec.structs.replace(measured, note=note), folder)
        click.echo(f"written: {written}", err=True)


@dataclass(frozen=True)
class SpeedTest:
    """How to time: rounds in which each engine runs once, and the side of the cube."""

    rounds: int
    side: int


def measure(package: ModelPackage, compared_on: str, runtime: RuntimeOptions, test: SpeedTest | None) -> RecipeCoverage:
    """Every network of a package, one member of each ensemble; without a test nothing is quantised and timed."""
    manifest = package.manifest
    sources = {graph.graph: graph for graph in load_recipe(package.spec.name).variant(Variant()).graphs}
    known = dict(known_inputs(package.spec))
    networks = {graph: stage.network for stage in package.spec.stages for graph in stage.network.graphs}
    side = EXAMPLE_SIDE if test is None else test.side
    shapes = {graph: _timed_shape(networks[graph], source, known.get(graph), side) for graph, source in sources.items()}
    graphs = {graph: _graph(package, source, known.get(graph, shapes[graph])) for graph, source in sources.items()}
    if test is not None:
        graphs = _quantised(package, graphs, sources, shapes, runtime, test.rounds)
    if manifest.parity is None:
        raise AssertionError("a package that convert has made has a parity record")
    return RecipeCoverage(
        recipe=package.spec.name,
        measured=datetime.now(UTC),
        processor=this_machine().cpu,
        capabilities=cpu_capabilities(),
        threads=runtime.threads or 0,
        versions=tool_versions(),
        weights=str(manifest.weights_status),
        compared_on=compared_on,
        parity=manifest.parity,
        rewrites=manifest.rewrites,
        graphs=tuple(graphs.values()),
    )


def _quantised(
    package: ModelPackage,
    graphs: Mapping[str, GraphCoverage],
    sources: Mapping[str, GraphSource],
    shapes: Mapping[str, tuple[int, ...]],
    runtime: RuntimeOptions,
    rounds: int,
) -> dict[str, GraphCoverage]:
    """The networks with their layers, by the kernels that ran, and their speed."""
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        inputs = {graph: [_phantom(shape, folder / f"{graph}.npy")] for graph, shape in shapes.items()}
        quantise_package(Trial(setting=Setting()), package, inputs, folder)
        candidate = candidate_in(folder, package)
        ran = executed_package(candidate, {graph: plain.shape for graph, plain in graphs.items()}, runtime).layers
        return {
            graph: msgspec.structs.replace(
                plain,
                int8_share=int8_share(ran[graph]),
                share_shape=plain.shape,
                layers=tuple(_grouped(ran[graph])),
                speed=_speed((package, candidate), sources[graph], inputs[graph][0], runtime, rounds),
            )
            for graph, plain in graphs.items()
        }


def _timed_shape(network: Network, source: GraphSource, real: tuple[int, ...] | None, side: int) -> tuple[int, ...]:
    """Of the input that is quantised on and timed: a cube, or what the graph was made for alone."""
    if source.has_fixed_sides and real is not None:
        return real
    smallest = max(side, *source.example_shape)
    return network.execution.example_input(network.channels_in, (smallest, smallest, smallest))


def _phantom(shape: tuple[int, ...], file: Path) -> Path:
    """The phantom head, z-scored, in every channel a little noisier, as `.npy`; noise where a network takes vectors."""
    random = np.random.default_rng(0)
    if len(shape) == VECTORS:
        np.save(file, random.standard_normal(shape, dtype=np.float32))
        return file
    batch, channels, *sides = shape
    if len(sides) == PLANE:
        # slices: the middle ones of a head, first in the batch
        head = _head((*sides, max(batch, FEWEST_SLICES)))
        first = (head.shape[2] - batch) // 2
        head = np.moveaxis(head[:, :, first : first + batch], 2, 0)
    else:
        head = _head(tuple(sides))[np.newaxis]
    noisy = [head + 0.1 * number * random.standard_normal(head.shape) for number in range(channels)]
    np.save(file, np.stack(noisy, axis=1).astype(np.float32))
    return file


def _head(sides: tuple[int, ...]) -> FloatArray:
    i, j, k = sides
    head = make_volume(Phantom(shape=(i, j, k), spacing_mm=200.0 / min(i, j))).voxels
    return np.asarray((head - head.mean()) / head.std(), dtype=np.float32)


def _graph(package: ModelPackage, source: GraphSource, shape: tuple[int, ...]) -> GraphCoverage:
    """One network: its size, and its cost on what it really sees where that is known."""
    costs = layer_costs(read_graph(package.graph_file(source.graph), package.spec), shape)
    return GraphCoverage(
        graph=source.graph,
        parameters=sum(each.numel() for each in source.build(None).parameters()),
        shape=shape,
        gflop=2e-9 * sum(layer.multiply_adds for layer in costs),
    )


def _grouped(layers: Sequence[LayerCost]) -> Iterable[LayerGroup]:
    """Layers of the same kind with the same kernel, the costliest group first."""
    groups: dict[tuple[str, str, bool], list[LayerCost]] = {}
    for layer in layers:
        groups.setdefault((layer.kind, layer.kernel or "", layer.integer), []).append(layer)
    total = sum(layer.multiply_adds for layer in layers)
    made = [
        LayerGroup(
            kind=kind,
            kernel=kernel,
            is_integer=is_integer,
            why_float="" if is_integer else _why_float(members[0]),
            layers=len(members),
            share=sum(layer.multiply_adds for layer in members) / total,
            examples=tuple(layer.name for layer in members[:NAMED]),
        )
        for (kind, kernel, is_integer), members in groups.items()
    ]
    return sorted(made, key=lambda group: -group.share)


def _why_float(layer: LayerCost) -> str:
    if layer.quantised:
        return "quantised, but this CPU's plugin has no integer kernel for it"
    return "NNCF does not quantise what it reads"


def _speed(
    packages: tuple[ModelPackage, ModelPackage], source: GraphSource, file: Path, runtime: RuntimeOptions, rounds: int
) -> Speed:
    """Each engine once warm, then all in turn."""
    import torch

    batch = np.load(file)
    before = torch.get_num_threads()
    torch.set_num_threads(runtime.threads or before)
    engines: Mapping[str, Any] = {
        "PyTorch f32": TorchSession(source.build(None)),
        "OpenVINO f32": open_sessions(packages[0], runtime)[source.graph],
        "OpenVINO INT8": open_sessions(packages[1], runtime)[source.graph],
    }
    samples = timed_calls(
        {name: partial(lambda each: each(batch.copy()), engine) for name, engine in engines.items()}, rounds
    )
    torch.set_num_threads(before)
    click.echo(
        f"{source.graph}: { ({name: round(statistics.median(of)) for name, of in samples.items()}) } ms", err=True
    )
    return Speed(shape=batch.shape, samples_ms={name: tuple(of) for name, of in samples.items()})
