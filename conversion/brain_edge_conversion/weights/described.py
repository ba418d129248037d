"""A network that a file describes: compared with its weights before any memory is taken for it."""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING, Any

import torch

from brain_edge.errors import BrainEdgeError, InputError
from brain_edge_conversion.weights.checkpoint import fit_state_dict, fitting_state
from brain_edge_conversion.weights.choice import chosen_set

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from torch import nn


def described_network(
    build: Callable[[], nn.Module],
    content: Mapping[str, Any],
    source: str,
    described: str,
    report: Callable[[str], None] = lambda _line: None,
) -> nn.Module:
    """The network with its weights, ready for inference.

    A description can ask for any width. Its tensors are therefore compared with the weights while they are shapes
    alone, and the network takes no more memory than the weights do.

    Args:
        build: makes the network; it may fail in any way.
        content: everything in the checkpoint, or its tensors, by name.
        source: name of the weights in messages.
        described: sentence that says what cannot be built.
        report: function that receives a line about what was left out of the checkpoint.

    Raises:
        InputError: no network can be built so.
        WeightsError: the weights are of another network.
    """
    try:
        # a class that asks for values while it is built can only be built at once, and then says itself what is wrong
        with suppress(RuntimeError, TypeError, ValueError), torch.device("meta"):
            network = build()
            fitting_state(network, chosen_set(network, content, source).tensors, source)
        network = build()
    except BrainEdgeError:
        raise
    except Exception as error:  # torch and classes of others fail in any way on sizes that nobody has foreseen
        raise InputError(f"{described} ({' '.join(str(error).split())[:200]})") from error
    found = chosen_set(network, content, source)
    fit_state_dict(network, found.tensors, source)
    if found.in_words:
        report(found.in_words)
    return network.eval()
