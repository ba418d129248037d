"""Reason in an error of OpenVINO, in one line, and the remedy that belongs to the cause."""

from __future__ import annotations

import re
from typing import Final

from brain_edge.machine.isa import ISA_VARIABLES, isa_limit
from brain_edge.machine.process import binding_remedy

LITTLE_MEMORY: Final = "memory is short: {}, or use a package with smaller windows"
NOT_MEMORY: Final = "convert the model again with this version, or report this"
LIMITED: Final = "the instruction set is limited to {}: remove the variable {}, or use a package in f32 or INT8"
SHORT: Final = re.compile(r"\balloc|bad_?alloc|out of memory|not enough memory|Cannot allocate", re.IGNORECASE)
"""Words of OpenVINO, oneDNN and the system about memory that could not be had."""
NO_KERNEL: Final = "could not create a primitive"
"""Words of oneDNN about a layer that no kernel of the allowed instruction set computes in its number format."""


def reason_of(error: BaseException) -> str:
    """Return the last line of an error, which holds the reason, with the node if one is named."""
    lines = [line.strip() for line in str(error).splitlines()]
    told = [line for line in lines if line and not line.startswith("Exception from ")]
    node = re.search(r"friendly_name '([^']+)'", str(error))
    return f"{told[-1] if told else type(error).__name__}{f' (node {node[1]})' if node else ''}"


def remedy_of(error: BaseException, otherwise: str = NOT_MEMORY) -> str:
    """Return the advice about an error of OpenVINO: about what bounds memory or kernels, or `otherwise`."""
    if SHORT.search(str(error)):
        return LITTLE_MEMORY.format(binding_remedy().value)
    limit = isa_limit()
    return LIMITED.format(limit, ISA_VARIABLES[0]) if limit is not None and NO_KERNEL in str(error) else otherwise


def runtime_problem(graph: str, shape: tuple[int, ...], error: RuntimeError, remedy: str = NOT_MEMORY) -> str:
    """Return the sentence about a graph that OpenVINO could not run.

    Args:
        graph: name of the graph.
        shape: shape of its input.
        error: error of OpenVINO.
        remedy: advice where memory is not the cause.
    """
    size = " x ".join(map(str, shape))
    reason = f"{reason_of(error)}; {remedy_of(error, remedy)}"
    return f"OpenVINO could not run the graph {graph} on an input of {size}: {reason}"
