"""How far masks of INT8 are from FP32 with weights as trained and with changed weights, on crops of heads.

    python -m benchmarks reconstruction meshnet-tissue-fp32 cohort.toml --side 96 --threads 2

Each setting quantises the first graph of a package on the calibration cases of a cohort. Its labels are then compared
with those of the float graph on the validation and test cases. Only the middle of each network input is used, so that a
setting takes minutes, not hours: the figures are for the comparison of settings, and no promise about whole heads. The
time is that of the process on all its threads.
"""

from __future__ import annotations

import time
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any, Final

import click
import msgspec
import numpy as np

from brain_edge.engine.segmenter import Segmenter
from brain_edge.evaluation.cohort import Split, load_case, load_cohort, study_for
from brain_edge.evaluation.markdown import markdown_table
from brain_edge.machine.options import RuntimeOptions
from brain_edge.package import Precision, open_package
from brain_edge.runtime.session import compile_properties
from brain_edge_conversion.budget.capture import middle
from brain_edge_conversion.mending.watching import port_of, watched
from brain_edge_conversion.quantize.graphs import GraphMaker, has_pairs
from brain_edge_conversion.quantize.ladder import MENDED, BiasCorrection, Overflow, Preset, Setting, Weights

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from brain_edge.evaluation.cohort import Case
    from brain_edge.image.volume import FloatArray
    from brain_edge.package import ModelPackage

PLAIN: Final = (
    Setting(preset=Preset.MIXED, bias_correction=BiasCorrection.NONE),
    Setting(preset=Preset.MIXED, bias_correction=BiasCorrection.NONE, overflow=Overflow.ALL_LAYERS),
)
"""The settings from which the changes of weights begin."""
SEVEN_BITS: Final = tuple(msgspec.structs.replace(setting, overflow=Overflow.ALL_LAYERS) for setting in MENDED)


class _Inputs:
    """Session that keeps the middle of its inputs and computes nothing."""

    def __init__(self, channels: int, side: int) -> None:
        self._channels, self._side = channels, side
        self.kept: list[FloatArray] = []

    def instead(self, _graph: str, _session: object) -> _Inputs:
        """Take the place of the session of a graph."""
        return self

    def __call__(self, batch: FloatArray) -> FloatArray:
        self.kept.append(middle(batch, [self._side] * 3))
        return np.zeros((batch.shape[0], self._channels, *batch.shape[2:]), np.float32)


def inputs_of(package: ModelPackage, cases: Sequence[Case], side: int, runtime: RuntimeOptions) -> list[FloatArray]:
    """Return the middle of the first network input of each case."""
    network = package.spec.stages[0].network
    found = []
    for case in cases:
        session = _Inputs(network.channels_out, side)
        segmenter = Segmenter.open(package, runtime, wrap=session.instead)
        segmenter(study_for(load_case(case)[0], package.spec))
        found.append(session.kept[0])
    return found


def labels_of(model: Any, batches: Sequence[FloatArray], runtime: RuntimeOptions) -> list[FloatArray]:
    """Return the label of each voxel."""
    port = port_of(model.get_results()[0].input_value(0))
    properties = compile_properties(Precision.F32, runtime)
    return [found.argmax(axis=1) for (found,) in watched(model, [port], batches, properties)]


def disagreements(got: Sequence[FloatArray], wanted: Sequence[FloatArray], labels: Sequence[int]) -> dict[int, float]:
    """Return 1 - Dice of each label that the float graph finds, averaged over the inputs."""
    pairs = list(zip(got, wanted, strict=True))
    found = {}
    for label in labels:
        sizes = [(np.sum((a == label) & (b == label)), np.sum(a == label) + np.sum(b == label)) for a, b in pairs]
        known = [1 - 2 * both / total for both, total in sizes if total]
        if known:
            found[label] = float(np.mean(known))
    return found


def rows(package: ModelPackage, inputs: Sequence[Sequence[FloatArray]], runtime: RuntimeOptions) -> Iterator[list[str]]:
    """Yield one row for each setting."""
    graph, labels = package.spec.graphs[0], sorted(package.spec.label_names())
    calibration, judged = inputs
    changes = [
        setting for setting in (*MENDED, *SEVEN_BITS) if has_pairs(package) or setting.weights != Weights.EQUALISED
    ]
    with TemporaryDirectory() as folder:
        files = [Path(folder) / f"{number}.npy" for number in range(len(calibration))]
        for path, batch in zip(files, calibration, strict=True):
            np.save(path, batch)
        maker = GraphMaker(package, graph, files, runtime)
        wanted = labels_of(maker.original(PLAIN[0]), judged, runtime)
        for setting in (*PLAIN, *dict.fromkeys(changes)):
            start = time.process_time()
            model = maker.quantised(setting, (), lambda line: click.echo(line, err=True))
            seconds = time.process_time() - start
            found = disagreements(labels_of(model, judged, runtime), wanted, labels)
            mean = float(np.mean(list(found.values())))
            yield [setting.title, f"{max(found.values()):.4f}", f"{mean:.4f}", f"{seconds:.0f} s"]


@click.command()
@click.argument("package", type=click.Path(path_type=Path))
@click.argument("cohort", type=click.Path(path_type=Path))
@click.option("--side", type=click.IntRange(min=16), default=96, show_default=True, help="Side of the crops in voxels.")
@click.option("--threads", type=click.IntRange(min=1), default=2, show_default=True, help="Number of threads.")
def main(package: Path, cohort: Path, side: int, threads: int) -> None:
    """Compare INT8 with FP32 at plain settings and with changed weights, on the middle of each head."""
    opened, cases = open_package(package), load_cohort(cohort)
    runtime = replace(RuntimeOptions(threads=threads), as_they_are=True)
    splits = (cases.cases(Split.CALIBRATION), (*cases.cases(Split.VALIDATION), *cases.cases(Split.TEST)))
    inputs = [inputs_of(opened, each, side, runtime) for each in splits]
    click.echo(
        f"{opened.spec.name}: {len(inputs[0])} calibration and {len(inputs[1])} judged head(s), crops of {side}^3"
    )
    header = ["setting", "worst mean disagreement of a label", "mean over labels", "time of the process"]
    click.echo(markdown_table(header, list(rows(opened, inputs, runtime))))


if __name__ == "__main__":
    main()
