"""Parity check, required for every conversion: PyTorch and OpenVINO, compared between the same steps."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np
from scipy.special import expit, softmax

from brain_edge.engine.phantom_study import outcome
from brain_edge.engine.segmenter import Segmenter
from brain_edge.errors import ParityError, WeightsError
from brain_edge.image.identity import image_sha256
from brain_edge.image.metrics import least_dice
from brain_edge.package.manifest import GraphParity, Parity
from brain_edge.spec import Activation
from brain_edge_conversion.convert.rewrites.input_affine import Affine, folded_affine
from brain_edge_conversion.convert.taken import refusal

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from torch import nn

    from brain_edge.image.volume import FloatArray, LabelArray, Study
    from brain_edge.package.manifest import ExpectedMask
    from brain_edge.runtime.protocol import Session
    from brain_edge.spec import ModelSpec


@dataclass(frozen=True)
class ParityLimits:
    """Largest allowed differences between OpenVINO in f32 and PyTorch.

    The limits are tight because the runtime sums the norms of a whole volume axis by axis
    (`brain_edge.runtime.rewrites.norm_sums`). Relative errors: trained networks here within 4e-5, PyTorch itself within
    2e-5 of f64, attention networks up to 3e-4, norms on the wrong statistics 1 (HD-BET v1).

    Attributes:
        relative_error: largest absolute difference / largest absolute output, per graph.
        same_label_share: fraction of voxels with the same most probable channel, per graph.
        mask_dice: Dice of the final masks, minimum over labels.
    """

    relative_error: float = 5e-4
    same_label_share: float = 0.9999
    mask_dice: float = 0.999


class TorchSession:
    """PyTorch module as a `Session`: the same contract as OpenVINO's, so the module runs inside `Segmenter`."""

    def __init__(self, module: nn.Module) -> None:
        self._module = module

    def __call__(self, batch: FloatArray) -> FloatArray:
        """Run the module once, without gradients.

        Raises:
            WeightsError: the network does not take an input of this shape.
        """
        import torch

        # a copy: a network may change its input in place, and the other side gets the same array
        own = torch.from_numpy(np.array(batch, dtype=np.float32, order="C"))
        try:
            with torch.no_grad():
                output = self._module(own)
        except Exception as error:  # third-party code may raise anything
            raise WeightsError(refusal(self._module, own.shape, error)) from error
        return np.asarray(output.numpy(), dtype=np.float32)


class RecallingSession:
    """Session that computes no input twice: outputs lie in a folder, by graph and hash of the input.

    The converted model sees most of its inputs twice, beside PyTorch and alone. Only bit-identical inputs are recalled,
    so nothing is assumed about how the steps or an earlier stage treat a difference.

    Args:
        graph: name of the graph.
        session: session that computes new inputs.
        folder: folder of the stored outputs.
    """

    def __init__(self, graph: str, session: Session, folder: Path) -> None:
        self._graph = graph
        self._session = session
        self._folder = folder

    def __call__(self, batch: FloatArray) -> FloatArray:
        """Recall the output, or run the graph and store its output."""
        values = np.ascontiguousarray(batch, dtype=np.float32)
        name = f"{self._graph}-{'x'.join(map(str, values.shape))}-{hashlib.sha256(values.data).hexdigest()}.npy"
        file = self._folder / name
        if file.exists():
            return np.asarray(np.load(file), dtype=np.float32)
        output = self._session(batch)
        np.save(file, output)
        return output


@dataclass(frozen=True)
class Side:
    """One side of the comparison: a specification, and a session for each of its graphs."""

    spec: ModelSpec
    sessions: Mapping[str, Session]


@dataclass(frozen=True)
class Moved:
    """Operations that rewrites have moved between a graph and its steps.

    Attributes:
        activation: last activation of the published graph that the converted graph leaves to the runtime.
        affine: last intensity change, if the converted graph applies it; None if the steps apply it.
    """

    activation: Activation = Activation.NONE
    affine: Affine | None = None


class PairedSession:
    """Session that runs the published network and the converted graph on the same input and records their difference.

    It returns the published network's output. Both outputs are compared as probabilities of the same classes: a
    rewritten graph returns logits, and only one logit for two classes.

    Args:
        graph: name of the graph.
        published, converted: sessions of the two sides.
        moved: operations that one side leaves to its steps and the other applies itself.
    """

    def __init__(self, graph: str, published: Session, converted: Session, moved: Moved) -> None:
        self._graph = graph
        self._published = published
        self._converted = converted
        self._moved = moved
        self._max_error = 0.0
        self._max_output = 0.0
        self._same = self._voxels = 0
        self._lowest, self._highest = np.inf, -np.inf

    def __call__(self, batch: FloatArray) -> FloatArray:
        """Run both sides, compare them, and return the published network's output."""
        wanted = self._published(batch)
        affine = self._moved.affine
        seen = batch if affine is None else affine.undone(batch)
        got = as_published(self._converted(seen), self._moved, wanted.shape[1])
        if wanted.shape != got.shape:
            raise ParityError(
                f"{self._graph}: PyTorch returns the shape {wanted.shape}, OpenVINO {got.shape}; report this"
            )
        # np.maximum keeps a NaN; the builtin max would lose it
        self._max_error = float(np.maximum(self._max_error, np.abs(wanted - got).max()))
        self._lowest = min(self._lowest, float(wanted.min()))
        self._highest = max(self._highest, float(wanted.max()))
        self._max_output = max(self._max_output, float(np.abs(wanted).max()))
        self._same += int(np.count_nonzero(_winners(wanted) == _winners(got)))
        self._voxels += wanted.size // wanted.shape[1]
        return wanted

    def parity(self) -> GraphParity:
        """Return the differences recorded so far.

        Raises:
            ParityError: the published network returned one constant value, so nothing was compared.
        """
        if self._lowest == self._highest:
            raise ParityError(
                f"{self._graph}: PyTorch returns {self._lowest:g} in every voxel, so there is nothing to compare; "
                "check the weights, and that the image suits the model"
            )
        return GraphParity(
            graph=self._graph,
            max_error=self._max_error,
            relative_error=self._max_error / self._max_output if self._max_output else self._max_error,
            same_label_share=self._same / self._voxels,
        )


@dataclass(frozen=True)
class Findings:
    """Findings of a comparison.

    Attributes:
        parity: differences of the graphs and of the masks; the Dice is None if a graph already exceeds its limits or
            both masks are empty.
        failure: sentence about the exceeded limit; empty if none is exceeded.
        expected: agreement with an expected mask; None if there is none, or if a limit was exceeded before.
    """

    parity: Parity
    failure: str = ""
    expected: ExpectedMask | None = None


def find_parity(
    published: Side, converted: Side, study: Study, limits: ParityLimits, suspects: Mapping[str, Sequence[str]]
) -> Findings:
    """Compare both sides on a study: the difference of each graph, and the Dice of the final masks (minimum label).

    Two empty masks agree and prove nothing: the Dice is None then.

    The graphs are judged before the converted model segments anything: a faulty stage may leave the next stage an empty
    region, and the error about the empty region would hide the cause.

    Args:
        published: PyTorch side.
        converted: OpenVINO side, with the same graphs.
        study: real images.
        limits: largest allowed differences.
        suspects: graph -> layers whose conversion is known to fail silently.

    Raises:
        ParityError: there is nothing to compare: outputs of one value or of different shapes.
    """
    graphs, wanted = compare_graphs(published, converted, study)
    parity = Parity(input_sha256=tuple(map(image_sha256, study.volumes.values())), graphs=graphs, mask_dice=None)
    for graph in graphs:
        if exceeds(graph, limits):
            return Findings(parity, _words(graph, limits, suspects.get(graph.graph, ())))
    got = outcome(Segmenter(converted.spec, converted.sessions), study)
    mask_dice = least_dice(wanted, got) if wanted.any() or got.any() else None
    parity = msgspec.structs.replace(parity, mask_dice=mask_dice)
    if mask_dice is not None and not mask_dice >= limits.mask_dice:
        agreed = f"the masks of PyTorch and OpenVINO agree at Dice {mask_dice:.5f}, expected {limits.mask_dice}"
        return Findings(parity, f"{agreed}; no package was written")
    return Findings(parity)


def require_parity(findings: Findings) -> Parity:
    """Return the differences if all limits are met.

    Raises:
        ParityError: OpenVINO does not reproduce PyTorch, or the package an expected mask; the message names the figures
            and what is suspect.
    """
    if findings.failure:
        raise ParityError(findings.failure)
    return findings.parity


def compare_graphs(published: Side, converted: Side, study: Study) -> tuple[tuple[GraphParity, ...], LabelArray]:
    """Run the published model on a study and each converted graph on its networks' inputs; return PyTorch's mask too.

    For a model that makes images, `brain_edge.engine.phantom_study.outcome` stands in for the mask.
    """
    moved = moved_between(published.spec, converted.spec)
    pairs = {
        graph: PairedSession(graph, published.sessions[graph], converted.sessions[graph], moved[graph])
        for graph in published.spec.graphs
    }
    labels = outcome(Segmenter(published.spec, pairs), study)
    return tuple(pair.parity() for pair in pairs.values()), labels


def exceeds(graph: GraphParity, limits: ParityLimits) -> bool:
    """Return True if a graph differs from PyTorch by more than allowed."""
    # the comparison is False for NaN, so NaN exceeds
    within = graph.relative_error <= limits.relative_error and graph.same_label_share >= limits.same_label_share
    return not within


def _words(graph: GraphParity, limits: ParityLimits, suspects: Sequence[str]) -> str:
    because = (
        f"suspect: {len(suspects)} normalisation layer(s) with running statistics (first: {suspects[0]}) that PyTorch "
        "runs on the statistics of the input; OpenVINO silently uses the running statistics"
        if suspects
        else "no layer is suspect by its type"
    )
    return (
        f"{graph.graph}: OpenVINO differs from PyTorch by {graph.max_error:.3g} "
        f"(relative {graph.relative_error:.3g}, allowed {limits.relative_error:g}) and gives the same label in "
        f"{graph.same_label_share:.4%} of the voxels (at least {limits.same_label_share:.4%} expected); "
        f"{because}; no package was written"
    )


def moved_between(published: ModelSpec, converted: ModelSpec) -> dict[str, Moved]:
    """Graph -> operations in which two specifications of the same stages differ."""
    moved: dict[str, Moved] = {}
    for before, after in zip(published.stages, converted.stages, strict=True):
        same = before.network.activation is after.network.activation
        activation = Activation.NONE if same else after.network.activation
        moved |= dict.fromkeys(after.network.graphs, Moved(activation, folded_affine(before, after)))
    return moved


def as_published(output: FloatArray, moved: Moved, channels: int) -> FloatArray:
    """Turn a converted graph's output (1, D, I, J, K) into that of the published network with `channels` channels."""
    activation = moved.activation
    if activation is Activation.NONE:
        return output
    probabilities = expit(output) if activation is Activation.SIGMOID else softmax(output, axis=1)
    merged = activation is Activation.SIGMOID and output.shape[1] == 1 and channels == 2
    return np.concatenate([1 - probabilities, probabilities], axis=1) if merged else probabilities


def _winners(output: FloatArray) -> np.ndarray[Any, Any]:
    """Return the most probable channel of each voxel; for one channel, True above one half."""
    return output.argmax(axis=1) if output.shape[1] > 1 else output[:, 0] > 0.5
