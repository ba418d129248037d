"""Program that runs the published PyTorch network between the steps of brain_edge, for comparison with a package.

    python -m brain_edge_conversion.demo.published_network deepbet head.nii.gz -o mask.nii.gz

The program reads, segments and writes exactly as `brain-edge run` does; only the sessions are PyTorch's.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

import click

from brain_edge.engine.segmenter import Segmentation, Segmenter
from brain_edge.io.nifti import write_mask
from brain_edge.jobs.case import read_study
from brain_edge.machine.process import peak_rss_bytes
from brain_edge_conversion.convert.parity import TorchSession
from brain_edge_conversion.convert.rewrites.outputs import with_one_output
from brain_edge_conversion.sources import Request, resolve

if TYPE_CHECKING:
    from brain_edge.image.volume import Study
    from brain_edge_conversion.sources import Resolved


def reference_segmenter(resolved: Resolved) -> Segmenter:
    """Return a segmenter that runs the published networks in PyTorch on the CPU."""
    sessions = {
        graph.graph: TorchSession(with_one_output(graph.build(resolved.weights[graph.graph]), graph.output))
        for graph in resolved.model.graphs
    }
    return Segmenter(resolved.model.spec, sessions)


def segment_with_pytorch(resolved: Resolved, study: Study, threads: int | None = None) -> Segmentation:
    """Segment one study with PyTorch on `threads` threads (None: PyTorch's default)."""
    import torch

    if threads is not None:
        torch.set_num_threads(threads)
    return reference_segmenter(resolved)(study)


@click.command()
@click.argument("recipe")
@click.argument("image", type=click.Path(path_type=Path))
@click.option("-o", "--output", required=True, type=click.Path(path_type=Path), help="Mask file: .nii or .nii.gz.")
@click.option("--threads", type=int, help="PyTorch threads.")
def main(recipe: str, image: Path, output: Path, threads: int | None) -> None:
    """Segment IMAGE with the published PyTorch network of RECIPE; print the peak memory as JSON."""
    resolved = resolve(Request(source=recipe))
    study = read_study({resolved.model.spec.inputs[0].name: image})
    segmentation = segment_with_pytorch(resolved, study, threads)
    write_mask(segmentation.mask, study.volumes[study.reference], output)
    click.echo(json.dumps({"peak_rss_bytes": peak_rss_bytes()}))


if __name__ == "__main__":
    main()
