"""The numerical comparison without which no conversion passes: PyTorch and OpenVINO between the same steps."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from brain_edge.errors import ParityError
from brain_edge.metrics import dice
from brain_edge.package.manifest import GraphParity
from brain_edge.segmenter import Segmenter

if TYPE_CHECKING:
    from collections.abc import Mapping

    from torch import nn

    from brain_edge.spec import ModelSpec
    from brain_edge.volume import FloatArray, Mask, Study
    from brain_edge.windows import Session


@dataclass(frozen=True)
class ParityLimits:
    """How far OpenVINO in f32 may be from PyTorch.

    The limit on the single worst of millions of voxels is wide for a reason: OpenVINO's MVN kernel (instance norm)
    sums a whole volume in f32, so that a softmax on the boundary of the brain moves by up to 0.02 on deepbet's
    256^3 volume with two threads and by 0.1 with one (PyTorch: 1e-5 from f64). The labels hardly move, and the
    shares of them are what binds; a norm on the wrong statistics is off by 1.

    Attributes:
        relative_error: largest absolute difference / largest absolute output, per graph.
        same_label_share: share of voxels whose most probable channel is the same, per graph.
        mask_dice: Dice of the final masks, least label.
    """

    relative_error: float = 0.15
    same_label_share: float = 0.9999
    mask_dice: float = 0.999


class TorchSession:
    """A PyTorch module as a `Session`: the same contract as OpenVINO's, so that it runs inside `Segmenter`."""

    def __init__(self, module: nn.Module) -> None:
        self._module = module

    def __call__(self, batch: FloatArray) -> FloatArray:
        """Run the module once, without gradients."""
        import torch

        with torch.no_grad():
            output = self._module(torch.from_numpy(np.ascontiguousarray(batch)))
        return np.asarray(output.numpy(), dtype=np.float32)


class PairedSession:
    """Runs two sessions on the same input, remembers how far they are apart, and returns the first one's output."""

    def __init__(self, graph: str, reference: Session, other: Session) -> None:
        self._graph = graph
        self._reference = reference
        self._other = other
        self._max_error = 0.0
        self._max_output = 0.0
        self._same = self._voxels = 0

    def __call__(self, batch: FloatArray) -> FloatArray:
        """Run both, compare, return the reference's output."""
        wanted, got = self._reference(batch), self._other(batch)
        if wanted.shape != got.shape:
            raise ParityError(f"{self._graph}: PyTorch returns the shape {wanted.shape}, OpenVINO {got.shape}")
        # np.maximum keeps a NaN, where the builtin max would lose it
        self._max_error = float(np.maximum(self._max_error, np.abs(wanted - got).max()))
        self._max_output = max(self._max_output, float(np.abs(wanted).max()))
        self._same += int(np.count_nonzero(_winners(wanted) == _winners(got)))
        self._voxels += int(np.prod(wanted.shape[2:]))
        return wanted

    def parity(self) -> GraphParity:
        """What was seen so far."""
        return GraphParity(
            graph=self._graph,
            max_error=self._max_error,
            relative_error=self._max_error / self._max_output if self._max_output else self._max_error,
            same_label_share=self._same / self._voxels,
        )


def measure(
    spec: ModelSpec, reference: Mapping[str, Session], converted: Mapping[str, Session], study: Study
) -> tuple[tuple[GraphParity, ...], float]:
    """Per graph how far the outputs are apart on a study, and the Dice of the final masks (least label)."""
    pairs = {graph: PairedSession(graph, reference[graph], converted[graph]) for graph in spec.graphs}
    wanted = Segmenter(spec, pairs)(study).mask
    got = Segmenter(spec, converted)(study).mask
    return tuple(pairs[graph].parity() for graph in spec.graphs), least_dice(wanted, got)


def least_dice(first: Mask, second: Mask) -> float:
    """Dice of the label on which two masks agree least; 1 where both are empty."""
    present = np.union1d(np.unique(first.labels), np.unique(second.labels))
    scores = [dice(first.labels == label, second.labels == label) for label in present if label != 0]
    return min((score for score in scores if score is not None), default=1.0)


def require_parity(
    graphs: tuple[GraphParity, ...], mask_dice: float, limits: ParityLimits, suspects: Mapping[str, list[str]]
) -> None:
    """Raise if OpenVINO does not reproduce PyTorch.

    Args:
        graphs: per graph, from `measure`.
        mask_dice: of the final masks.
        limits: what is allowed.
        suspects: per graph, layers whose conversion is known to go wrong silently.

    Raises:
        ParityError: names the graph, the figures, and the suspect layers.
    """
    for graph in graphs:
        if _exceeds(graph, limits):
            raise ParityError(_words(graph, limits, suspects.get(graph.graph, [])))
    if not mask_dice >= limits.mask_dice:
        raise ParityError(
            f"the masks of PyTorch and OpenVINO agree at Dice {mask_dice:.5f}, expected {limits.mask_dice}; "
            "no package was written"
        )


def _exceeds(graph: GraphParity, limits: ParityLimits) -> bool:
    # written so that a NaN exceeds
    within = graph.relative_error <= limits.relative_error and graph.same_label_share >= limits.same_label_share
    return not within


def _words(graph: GraphParity, limits: ParityLimits, suspects: list[str]) -> str:
    because = (
        f"suspect: {len(suspects)} normalisation layer(s) with running statistics that PyTorch runs on the "
        f"statistics of the input (first: {suspects[0]}), which OpenVINO silently replaces"
        if suspects
        else "no layer is suspect by its type"
    )
    return (
        f"{graph.graph}: OpenVINO differs from PyTorch by {graph.max_error:.3g} "
        f"(relative {graph.relative_error:.3g}, allowed {limits.relative_error:g}) and gives the same label in "
        f"{graph.same_label_share:.4%} of the voxels (at least {limits.same_label_share:.4%} expected); "
        f"{because}; no package was written"
    )


def _winners(output: FloatArray) -> FloatArray:
    """The most probable channel of each voxel; for one channel, whether it is above one half."""
    return output.argmax(axis=1) if output.shape[1] > 1 else output[:, 0] > 0.5
