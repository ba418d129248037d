"""Check of a specification file: every fault at once with its line, and whether a network is the described one."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from brain_edge.errors import InputError
from brain_edge.machine.paths import read_small
from brain_edge.spec import Activation
from brain_edge.spec.plan import fixed_sides
from brain_edge.spec.problems import Problem, problems_in
from brain_edge.spec.steps import PadToMultiple
from brain_edge_conversion.specification import spec_from_json, without_remarks
from brain_edge_conversion.starter.lines import line_of, lines_of

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from brain_edge.spec import ModelSpec, Stage
    from brain_edge_conversion.sources import Request
    from brain_edge_conversion.starter.look import NetworkFacts


@dataclass(frozen=True)
class Fault:
    """One fault of a file: its line, None if it has no place, and words."""

    line: int | None
    words: str


def faults_in(path: Path, request: Request | None) -> tuple[Fault, ...]:
    """Return all faults of a specification file; empty if it can be used.

    Args:
        path: JSON file.
        request: source of the network that it describes; None to check the file alone.

    Raises:
        InputError: the file is a pipe, a device or larger than a specification, or cannot be read as text.
        UsageError: the source states its steps itself, or is code that is not trusted.
        WeightsError: the source is refused.
    """
    try:
        text = read_small(path).decode("utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{path}: expected a JSON file in UTF-8, got none ({error}); check the path") from error
    problems = problems_in(without_remarks(text))
    if not problems and request is not None:
        problems = tuple(_misfits(spec_from_json(text, str(path)), _facts(request)))
    lines = lines_of(text) if any(problem.path for problem in problems) else {}
    return tuple(Fault(line_of(problem.path, lines), str(problem)) for problem in problems)


def _facts(request: Request) -> NetworkFacts:
    """Try the network; torch is needed for that, and not to check a file alone."""
    from brain_edge_conversion.sources import bare_network
    from brain_edge_conversion.starter.look import look_at

    return look_at(bare_network(request))


def _misfits(spec: ModelSpec, facts: NetworkFacts) -> Iterator[Problem]:
    """Yield each fact that a specification states otherwise, for the network of its last stage."""
    number, stage = len(spec.stages) - 1, spec.stages[-1]
    network, place = stage.network, f"stages[{number}].network"
    if network.channels_in != facts.channels_in:
        words = f"expected {facts.channels_in}, the channels that the network takes, got {network.channels_in}"
        yield Problem(f"{place}.channels_in", words)
    if network.channels_out != facts.channels_out:
        words = f"expected {facts.channels_out}, the channels that the network returns, got {network.channels_out}"
        yield Problem(f"{place}.channels_out", words)
    if facts.ends_in is not Activation.NONE and network.activation is not Activation.NONE:
        yield Problem(f"{place}.activation", f"expected none, because the network ends in a {facts.ends_in} itself")
    if (network.execution.slice_axis is not None) != facts.takes_slices:
        words = "slices_along" if facts.takes_slices else "whole_volume or sliding_window"
        yield Problem(f"{place}.execution.kind", f"expected {words} for this network, got another execution")
    elif words := _wrong_size(stage, facts):
        yield Problem(f"{place}.execution", words)


def _wrong_size(stage: Stage, facts: NetworkFacts) -> str:
    """Return the words about a size that the steps give and the network does not take; empty if there is none."""
    axis = stage.network.execution.slice_axis
    known = stage.network.execution.known_input(facts.channels_in, fixed_sides(stage.before))
    if known is not None:
        sides = known[2:]
        fits = sides == facts.sides if facts.multiple is None else all(each % facts.multiple == 0 for each in sides)
        return "" if fits else f"expected {_sizes(facts)}, got {' x '.join(map(str, sides))}"
    if axis is not None or facts.multiple == 1:
        return ""
    multiple = facts.multiple
    if multiple is not None and any(
        isinstance(step, PadToMultiple) and step.multiple_of % multiple == 0 for step in stage.before
    ):
        return ""
    return f"expected {_sizes(facts)}, but the size depends on the image; add pad_to_multiple or use sliding_window"


def _sizes(facts: NetworkFacts) -> str:
    if facts.multiple is None:
        return f"an input of {' x '.join(map(str, facts.sides))}"
    return f"sides that are multiples of {facts.multiple}"
