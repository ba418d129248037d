"""Stage 6 of a conversion: comparison of the package with the published networks, and with an expected mask."""

from __future__ import annotations

import tempfile
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from brain_edge.image.identity import image_sha256
from brain_edge.package import ModelPackage, Precision
from brain_edge.package.manifest import Parity
from brain_edge.runtime.session import open_sessions
from brain_edge_conversion.convert.decisions import frozen_decisions, in_words
from brain_edge_conversion.convert.draft import Compared, onward, stage_of
from brain_edge_conversion.convert.expected import judge
from brain_edge_conversion.convert.parity import Findings, RecallingSession, Side, TorchSession, find_parity
from brain_edge_conversion.convert.rewrites.outputs import with_one_output
from brain_edge_conversion.convert.sizes import find_frozen

if TYPE_CHECKING:
    from brain_edge_conversion.convert.draft import Saved


def compare(draft: Saved) -> Compared:
    """Run both sides on noise of several sizes and on the study.

    Both run in f32, whatever the deployed precision: the comparison tests the conversion, not the rounding. An expected
    mask is compared afterwards, in the deployed precision.

    Raises:
        ParityError: there is nothing to compare. A difference above a limit is a finding, not an error.
    """
    draft.options.report("comparing with PyTorch on a real volume")
    package = draft.package
    published = {
        graph.graph: TorchSession(with_one_output(draft.published[graph.graph], graph.output))
        for graph in draft.source.graphs
    }
    in_f32 = msgspec.structs.replace(package.manifest, precision=Precision.F32)
    converted = open_sessions(ModelPackage(package.folder, in_f32))
    # beside the graphs: on the disk that the package needs anyway, and removed with an abandoned draft
    with tempfile.TemporaryDirectory(dir=package.folder) as answers:
        recalling = {graph: RecallingSession(graph, session, Path(answers)) for graph, session in converted.items()}
        sides = Side(draft.source.spec, published), Side(package.spec, recalling)
        frozen = find_frozen(draft, Side(package.spec, converted))
        if frozen.elsewhere_right:  # a refusal on the head would hide the cause
            nothing = Parity(
                input_sha256=tuple(map(image_sha256, draft.study.volumes.values())), graphs=(), mask_dice=None
            )
            return onward(draft, Compared, findings=Findings(nothing, _explained(frozen.words, draft)))
        findings = find_parity(*sides, draft.study, draft.options.limits, draft.suspects)
        findings = replace(findings, failure=_explained(findings.failure or frozen.words, draft))
    return onward(draft, Compared, findings=_with_expected(findings, draft))


def _with_expected(findings: Findings, draft: Saved) -> Findings:
    """Add the comparison with the expected mask, if there is one and the package reproduces PyTorch."""
    if draft.options.expectation is None or findings.failure:
        return findings
    verdict = judge(draft.package, draft.options.expectation, draft.options.report)
    return replace(findings, expected=verdict.expected, failure=verdict.failure)


def _explained(failure: str, draft: Saved) -> str:
    """Add the lines of the networks at which tracing has frozen a decision; nothing to an empty failure."""
    if not failure:
        return ""
    places: list[str] = []
    for graph in draft.source.graphs:
        network = stage_of(draft.source.spec, graph.graph).network
        shape = network.execution.example_input(network.channels_in, graph.example_shape)
        if graph.read is None:
            places += frozen_decisions(draft.published[graph.graph], shape)
    return f"{failure}{in_words(tuple(places))}"
