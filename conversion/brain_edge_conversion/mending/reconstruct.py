"""Layers of a quantised graph, fitted in turn so that each gives the output of its float layer.

A layer is fed by the quantised layers before it, so that it can take back a part of their error. No label is needed,
only inputs. A layer is fitted at sampled positions of its output, so that the memory is bounded.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np

from brain_edge_conversion.mending.goals import Stream, goals_of
from brain_edge_conversion.mending.layers import int8_layers, own_quantiser
from brain_edge_conversion.mending.rounding import Part, fitted, moments, rounded
from brain_edge_conversion.mending.site import site_of
from brain_edge_conversion.mending.windows import from_rows

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from brain_edge.image.volume import FloatArray
    from brain_edge_conversion.mending.graphs import Graphs
    from brain_edge_conversion.mending.layers import Int8Layer, Quantiser
    from brain_edge_conversion.mending.rounding import Matrix
    from brain_edge_conversion.mending.site import Site

SHARES: Final = (1.0, 0.95, 0.9, 0.85, 0.8, 0.7, 0.6, 0.5, 0.4, 0.3, 0.2, 0.15, 0.1, 0.07, 0.05, 0.03, 0.02, 0.01)
"""Shares of an input's range that are tried."""


@dataclass(frozen=True)
class FitRecord:
    """Result of one layer.

    Attributes:
        layer: name of the layer.
        before, after: error of the layer's output by its yardstick, fed by the fitted layers before it.
    """

    layer: str
    before: float
    after: float


def reconstruct(graphs: Graphs, seed: int, report: Callable[[str], None]) -> tuple[FitRecord, ...]:
    """Fit the weights, biases and input ranges of a quantised model in place; return one record for each fitted layer.

    Args:
        graphs: both graphs, and inputs.
        seed: seed of the sampled positions.
        report: function that receives progress lines.
    """
    layers = int8_layers(graphs.quantised)
    goals = goals_of(layers, graphs, seed)
    seen: set[str] = set()
    records = []
    for number, layer in enumerate(layers, start=1):
        if layer.name in goals:
            site = site_of(layer, goals.pop(layer.name), graphs)
            record = _fit(site, graphs, narrows=_is_first_reader(layer, seen))
            report(f"layer {number} of {len(layers)}: error {record.before:.4f}, fitted {record.after:.4f}")
            records.append(record)
    return tuple(records)


def _is_first_reader(layer: Int8Layer, seen: set[str]) -> bool:
    """Return True if the layer has a quantiser that no layer before has read."""
    found = own_quantiser(layer.node)
    name = "" if found is None else str(found.get_friendly_name())
    is_first = found is not None and name not in seen
    seen.add(name)
    return is_first


def _fit(site: Site, graphs: Graphs, *, narrows: bool) -> FitRecord:
    """Fit one layer; the fit is kept if the error is smaller at other positions, in the arithmetic of this CPU."""
    layer, old = site.layer, site.layer.state()
    quantiser = layer.quantiser
    if narrows and quantiser is not None:
        layer.set_quantiser(_narrowed(site, quantiser))
    _set_weights(site)
    yardstick, wanted, outputs = site.goal.yardstick, site.goal.wanted(Stream.CHECK), site.outputs_now(graphs)
    biases, after = layer.biases, outputs[Stream.CHECK]
    if biases is not None:
        # sums that saturate on this CPU shift the outputs, and the bias takes that back
        shift = yardstick.shift(outputs[Stream.FIT], site.goal.wanted(Stream.FIT))
        layer.set_biases(biases + shift.reshape(-1))
        after = after + shift
    errors = [yardstick.error(each, wanted) for each in (site.outputs, after)]
    is_nearer = errors[1] < errors[0]  # False for what is no number
    if not is_nearer:
        layer.restore(old)
    return FitRecord(layer.name, errors[0], errors[1] if is_nearer else errors[0])


def _narrowed(site: Site, current: Quantiser) -> Quantiser:
    """Return the range of the input with which the trained weights give the float outputs best."""
    tried = [current.narrowed(share) for share in SHARES]
    return tried[int(np.argmin([_loss(site, quantiser) for quantiser in tried]))]


def _loss(site: Site, quantiser: Quantiser) -> float:
    """Return the error of the trained weights behind a quantiser, with the biases that suit it."""
    got = [inputs @ np.swapaxes(site.goal.trained, 1, 2) for inputs, _ in site.parts(Stream.RANGE, quantiser)]
    return site.goal.yardstick.loss(np.concatenate(got, axis=1), site.goal.wanted(Stream.RANGE))


def _weighed(site: Site) -> Iterator[Part]:
    """Yield the values of the fit, with the weight of each position."""
    rows, quantiser, yardstick = np.swapaxes(site.goal.trained, 1, 2), site.layer.quantiser, site.goal.yardstick
    if not yardstick.weighs:
        for inputs, wanted in site.parts(Stream.FIT, quantiser):
            yield Part(inputs, wanted, np.ones((*wanted.shape[:2], 1), np.float32))
        return
    got = [inputs @ rows for inputs, _ in site.parts(Stream.FIT, quantiser)]
    weights = yardstick.weights(np.concatenate(got, axis=1), site.goal.wanted(Stream.FIT))
    ends = np.cumsum([each.shape[1] for each in got])[:-1]
    for (inputs, wanted), each in zip(site.parts(Stream.FIT, quantiser), np.split(weights, ends, axis=1), strict=True):
        yield Part(inputs, wanted, each)


def _set_weights(site: Site) -> None:
    """Fit integers, steps and biases of a layer to the float outputs at the positions of the fit."""
    layer, most = site.layer, site.layer.most
    groups = moments(_weighed(site), has_bias=site.has_bias)
    trained = site.goal.trained.astype(np.float64)
    found = [rounded(fitted(rows, seen), seen, most) for rows, seen in zip(trained, groups, strict=True)]
    integers = np.stack([each.integers for each in found])
    steps = np.broadcast_to(np.stack([each.steps for each in found])[..., np.newaxis], integers.shape)
    layer.set_weights(_as_weights(integers, site), _as_weights(steps, site))
    layer.set_biases(np.concatenate([each.biases for each in found]).astype(np.float32))


def _as_weights(rows: Matrix, site: Site) -> FloatArray:
    return from_rows(np.asarray(rows, np.float32), site.goal.layout)
