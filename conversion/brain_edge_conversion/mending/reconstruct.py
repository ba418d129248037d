"""Layers of a quantised graph, fitted in turn so that each gives the output of its float layer.

A layer is fed by the quantised layers before it, so that it can take back a part of their error. No label is needed,
only inputs. A layer is fitted at sampled positions of its output, so that the memory is bounded.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np

from brain_edge_conversion.mending.layers import int8_layers, own_quantiser
from brain_edge_conversion.mending.rounding import fitted, moments, rounded
from brain_edge_conversion.mending.site import Stream, site_of, targets_of
from brain_edge_conversion.mending.windows import from_rows

if TYPE_CHECKING:
    from collections.abc import Callable

    from brain_edge.image.volume import FloatArray
    from brain_edge_conversion.mending.layers import Int8Layer, Quantiser
    from brain_edge_conversion.mending.rounding import Matrix
    from brain_edge_conversion.mending.site import Graphs, Site

SHARES: Final = (1.0, 0.95, 0.9, 0.85, 0.8, 0.7, 0.6, 0.5, 0.4, 0.3)
"""Shares of an input's range that are tried."""


@dataclass(frozen=True)
class FitRecord:
    """Result of one layer.

    Attributes:
        layer: name of the layer.
        before, after: relative error of the layer's output, fed by the fitted layers before it.
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
    targets = targets_of(layers, graphs, seed)
    seen: set[str] = set()
    records = []
    for number, layer in enumerate(layers, start=1):
        if layer.name in targets:
            site = site_of(layer, targets.pop(layer.name), graphs)
            record = _fit(site, graphs, narrows=_is_first_reader(layer, seen))
            report(f"layer {number} of {len(layers)}: relative error {record.before:.4f}, fitted {record.after:.4f}")
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
    outputs = site.outputs_now(graphs)
    before, after = site.lacking(site.outputs, Stream.CHECK), site.lacking(outputs, Stream.CHECK)
    biases = layer.biases
    if biases is not None:
        # sums that saturate on this CPU shift the mean, and the bias takes that back
        shift = site.lacking(outputs, Stream.FIT).mean(axis=1, keepdims=True)
        layer.set_biases(biases + shift.reshape(-1))
        after = after - shift
    spread = max(site.target.spread(Stream.CHECK), float(np.finfo(np.float32).tiny))
    errors = [float(np.sqrt(np.mean(each**2))) / spread for each in (before, after)]
    if errors[1] >= errors[0]:
        layer.restore(old)
    return FitRecord(layer.name, errors[0], min(errors))


def _narrowed(site: Site, current: Quantiser) -> Quantiser:
    """Return the range of the input with which the trained weights give the float outputs best."""
    tried = [current.narrowed(share) for share in SHARES]
    return tried[int(np.argmin([_loss(site, quantiser) for quantiser in tried]))]


def _loss(site: Site, quantiser: Quantiser) -> float:
    """Return the squared error of the trained weights behind a quantiser, without the mean of each output."""
    rows = np.swapaxes(site.target.trained, 1, 2)
    errors = [wanted - inputs @ rows for inputs, wanted in site.parts(Stream.RANGE, quantiser)]
    return float(np.concatenate(errors, axis=1).var(axis=1).sum())


def _set_weights(site: Site) -> None:
    """Fit integers, steps and biases of a layer to the float outputs at the positions of the fit."""
    layer, most = site.layer, site.layer.most
    groups = moments(site.parts(Stream.FIT, layer.quantiser), has_bias=site.has_bias)
    trained = site.target.trained.astype(np.float64)
    found = [rounded(fitted(rows, seen), seen, most) for rows, seen in zip(trained, groups, strict=True)]
    integers = np.stack([each.integers for each in found])
    steps = np.broadcast_to(np.stack([each.steps for each in found])[..., np.newaxis], integers.shape)
    layer.set_weights(_as_weights(integers, site), _as_weights(steps, site))
    layer.set_biases(np.concatenate([each.biases for each in found]).astype(np.float32))


def _as_weights(rows: Matrix, site: Site) -> FloatArray:
    return from_rows(np.asarray(rows, np.float32), site.target.layout)
