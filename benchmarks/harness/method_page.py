"""The tables of the ways to INT8: what was recorded of each network and method."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from brain_edge.evaluation.markdown import markdown_table

from .method_record import Method

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from .method_record import Figures, MethodRecord

TITLES: Final = {
    Method.PRESETS: "NNCF's presets",
    Method.CONTROL: "NNCF's accuracy control",
    Method.LADDER: "our ladder",
    Method.SCALES: "moved scales",
    Method.FITTED: "fitted weights",
    Method.DISTILLED: "distillation",
}
NOT_MEASURED: Final = "not measured"
NETWORKS: Final = (
    *("meshnet-tissue", "meshnet-subcortical", "deepbet", "hd-bet-v1", "mindgrab", "robust-tissue"),
    *("robust-subcortical", "aparc50", "dk-atlas"),
)
"""Recipes with trained weights, each of which has a row."""


def method_tables(records: Sequence[MethodRecord], networks: Sequence[str] = NETWORKS) -> Iterator[str]:
    """Yield the paragraphs of the page: one row a network, then one row a network and method.

    Args:
        records: by network and then by method (`read_methods`).
        networks: networks that have a row even without a record.
    """
    found = {(record.network, record.method): record for record in records}
    names = dict.fromkeys((*networks, *(record.network for record in records)))
    rows = [[f"`{name}`", *(_cell(found.get((name, method))) for method in Method)] for name in names]
    yield markdown_table(["network", *TITLES.values()], rows, aligned=False)
    yield markdown_table(
        ("network", "method", "tried", "best on the validation heads", "worst case", "excess", "FP32 or masks"),
        map(_row, records),
        aligned=False,
    )
    yield from _conditions(records)


def _cell(record: MethodRecord | None) -> str:
    """Return drop, disagreement, INT8 share and minutes; the drop is bold where the budget is met."""
    if record is None:
        return NOT_MEASURED
    if record.test is None:
        return "not possible" if record.note else "could not run"
    drop = f"{record.test.worst_mean_drop:z.4f}"
    words = [f"**{drop}**" if record.test.met else drop, _disagreement(record.test)]
    return ", ".join([*words, f"{record.test.int8_share:.0%}", f"{record.minutes:.1f} min"])


def _disagreement(test: Figures) -> str:
    return "-" if test.worst_mean_disagreement is None else f"{test.worst_mean_disagreement:z.4f}"


def _row(record: MethodRecord) -> tuple[str, ...]:
    """Return the row of a record; reasons stand in the place of the best candidate."""
    start = (f"`{record.network}`", TITLES[record.method], str(len(record.tried)))
    if record.test is None:
        why = record.note or "; ".join(" ".join(each.problem.split()) for each in record.tried)
        if record.memory_bytes is not None and not record.note:
            why += f" (the process was allowed {record.memory_bytes / 2**30:.0f} GiB of data)"
        return (*start, why, "", "", "")
    basis = f"masks, {record.with_mask} of {record.heads['test']} heads" if record.test.by_reference else "FP32"
    return (*start, record.chosen, f"{record.test.worst_case_drop:z.4f}", f"{record.test.excess:z.2f}", basis)


def _conditions(records: Sequence[MethodRecord]) -> Iterator[str]:
    """Yield on what the figures depend: heads, threads, processor, versions."""
    heads = sorted({", ".join(f"{count} {split}" for split, count in each.heads.items()) for each in records})
    cpus = sorted({f"{at.cpu} (family {at.family}, model {at.model})" for at in (each.machine for each in records)})
    threads = sorted({str(each.threads) for each in records})
    tools = sorted({f"OpenVINO {each.versions['openvino']}, NNCF {each.versions['nncf']}" for each in records})
    small = sorted({f"`{each.network}`" for each in records if each.test is not None and each.test.small})
    if not records:
        return
    iterations = sorted({str(each.iterations) for each in records if each.iterations})
    yield (
        f"Heads: {'; '.join(heads)}. Threads: {', '.join(threads)}. Processor: {'; '.join(cpus)}, with convolutions "
        f"under AVX2. {'; '.join(tools)}. Most iterations of NNCF's accuracy control: {', '.join(iterations) or '-'}."
    )
    if small:
        yield (
            f"In {', '.join(small)} the drop is that of the labels of at least 2 ml; smaller ones are bound in ml, "
            "which the excess has."
        )
