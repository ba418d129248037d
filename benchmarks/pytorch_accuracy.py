"""What `brain-edge evaluate --json` prints, of the published PyTorch network between our steps.

python -m benchmarks pytorch_accuracy deepbet ms-longitudinal --split test --threads 2
"""

from __future__ import annotations

import sys

import click
import msgspec

from brain_edge.evaluation.cohort import Split, load_cohort
from brain_edge.evaluation.evaluate import evaluate
from brain_edge_conversion.demo.published_network import reference_segmenter
from brain_edge_conversion.sources import Request, resolve


@click.command()
@click.argument("recipe")
@click.argument("cohort")
@click.option("--split", type=click.Choice([split.value for split in Split]), required=True)
@click.option("--threads", type=int, required=True)
def main(recipe: str, cohort: str, split: str, threads: int) -> None:
    """Judge RECIPE on a split of COHORT."""
    import torch

    torch.set_num_threads(threads)
    segmenter = reference_segmenter(resolve(Request(source=recipe)))
    sys.stdout.buffer.write(msgspec.json.encode(evaluate(segmenter, load_cohort(cohort), Split(split))))
