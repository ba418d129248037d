"""Model card of a package, generated from its manifest: `README.md` in the package."""

from __future__ import annotations

from typing import TYPE_CHECKING

from brain_edge.evaluation.evidence import evidence_in
from brain_edge.evaluation.markdown import markdown_table
from brain_edge.package.manifest import WeightsStatus

if TYPE_CHECKING:
    from collections.abc import Iterator

    from brain_edge.evaluation.evidence import Evidence, IsaRecord
    from brain_edge.package.manifest import Manifest


def model_card(manifest: Manifest) -> str:
    """Return the card as Markdown."""
    return "\n".join(_lines(manifest)) + "\n"


def _lines(manifest: Manifest) -> Iterator[str]:
    spec = manifest.spec
    yield f"# {spec.name} ({manifest.number_format})"
    yield ""
    yield f"**{manifest.intended_use}**"
    if manifest.weights_status is WeightsStatus.RANDOM:
        yield ""
        yield "**The weights are random. The masks of this package are meaningless; use it only to measure speed.**"
    if manifest.mark:
        yield ""
        yield f"**The weights were {manifest.mark}. A Dice on those cases is a Dice on training data.**"
    yield ""
    yield manifest.card.summary
    yield ""
    yield f"- Task: {spec.task}. Inputs: {', '.join(map(str, spec.inputs))}."
    yield f"- Labels: {', '.join(f'{value} {name}' for value, name in spec.label_names().items())}."
    yield f"- Networks: {', '.join(spec.graphs)}. Layers that are not INT8 run in {manifest.precision}."
    if manifest.stage_zero:
        zero = manifest.stage_zero
        yield f"- Runs after {zero.name} (package digest `{zero.digest}`), whose input is {zero.sequence}."
    licence = manifest.licence
    yield f"- Licence of the weights: {licence.name}, {licence.holder}. {licence.notes}".rstrip()
    yield f"- Cite: {manifest.card.citation}"
    yield f"- Published figures: {manifest.card.published_figures}"
    yield f"- Limits: {manifest.card.limits}"
    yield ""
    yield from _parity(manifest)
    yield from _rewrites(manifest.rewrites)
    evidence_of_all = evidence_in(manifest)
    for evidence in () if evidence_of_all is None else evidence_of_all.chain:
        yield from _evidence(evidence)
    yield "## Weights"
    yield ""
    for record in manifest.weights:
        yield f"- {record.graph}: `{record.source}`, SHA-256 `{record.sha256}`"
    yield ""
    yield "Check this package with `brain-edge verify`; its digest is printed by `brain-edge info`."


def _parity(manifest: Manifest) -> Iterator[str]:
    parity = manifest.parity
    if parity is None:
        return
    yield "## Against PyTorch (f32, one real volume)"
    yield ""
    if manifest.converted_from is not None:
        measured = "is measured on masks, see below" if manifest.evidence else "was not measured"
        yield (
            f"These figures are those of the FP32 package `{manifest.converted_from[:16]}...`, from which this package "
            f"was made. The difference between the two packages {measured}."
        )
        yield ""
    yield markdown_table(
        ("network", "largest error", "relative error", "same label"),
        [
            (each.graph, f"{each.max_error:.2g}", f"{each.relative_error:.2g}", f"{each.same_label_share:.4%}")
            for each in parity.graphs
        ],
        aligned=False,
    )
    yield ""
    yield f"Final masks, PyTorch against OpenVINO: {parity.masks_in_words}."
    yield ""


def _rewrites(rewrites: tuple[str, ...]) -> Iterator[str]:
    if not rewrites:
        return
    yield "Exact rewrites before the comparison (the comparison is with the unchanged network):"
    yield ""
    for line in rewrites:
        yield f"- {line}"
    yield ""


def _evidence(evidence: Evidence) -> Iterator[str]:
    baseline, candidate = evidence.change.baseline, evidence.change.candidate
    yield f"## Effect of {evidence.change.noun} on the masks"
    yield ""
    yield f"Baseline of every figure: {baseline}, `{evidence.baseline[:16]}...`. Changed:"
    yield ""
    for change in evidence.changes:
        yield f"- {change}"
    yield ""
    for line in (
        evidence.statement,
        f"Within: {evidence.bounds}.",
        evidence.next_patient,
        *evidence.warnings,
        *(line for isa in evidence.isas for line in _float_layers(isa)),
    ):
        if line:
            yield line
            yield ""
    yield markdown_table(
        ("case", "split", "label", f"Dice of {baseline}", f"Dice of {candidate}", "agreement"),
        [
            (
                *(str(each.case), each.split, str(each.label)),
                *map(_figure, (each.dice_baseline, each.dice_candidate, each.agreement)),
            )
            for each in evidence.cases
        ],
        aligned=False,
    )
    yield ""


def _float_layers(isa: IsaRecord) -> Iterator[str]:
    for layer in isa.float_layers:
        yield f"In float on a CPU with no more than {isa.isa}: {layer.graph}, `{layer.layer}`. {layer.reason}."


def _figure(value: float | None) -> str:
    return "no reference" if value is None else f"{value:.5f}"
