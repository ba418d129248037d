"""Summary of a batch as Parquet, for data frames."""

from __future__ import annotations

from typing import TYPE_CHECKING

from brain_edge.errors import extra_needed
from brain_edge.jobs.batch.row import labels_of

if TYPE_CHECKING:
    from pathlib import Path

    from brain_edge.jobs.batch.summary import BatchSummary


def write_parquet(summary: BatchSummary, path: Path) -> None:
    """Write the columns of the table, with null for a missing value and a list of texts for the flags.

    Raises:
        MissingExtraError: pyarrow is not installed.
    """
    with extra_needed("a summary in Parquet", "pyarrow", "parquet"):
        import pyarrow as pa
        import pyarrow.parquet as pq
    rows = summary.rows
    text, number = pa.string(), pa.float64()
    columns = {
        "case": pa.array([row.case for row in rows], text),
        "status": pa.array([row.status.value for row in rows], text),
        **{
            f"volume_ml_{label}": pa.array([row.volumes_ml.get(label) for row in rows], number)
            for label in labels_of(rows)
        },
        "flags": pa.array([row.flags for row in rows], pa.list_(text)),
        "error": pa.array([row.error for row in rows], text),
        "seconds": pa.array([None if row.elapsed_ms is None else row.elapsed_ms / 1000 for row in rows], number),
        "mask": pa.array([row.mask for row in rows], text),
        "input": pa.array([row.input for row in rows], text),
        "digest": pa.array([row.digest for row in rows], text),
    }
    pq.write_table(pa.table(columns), path)
