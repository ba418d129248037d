"""Many heads: cases side by side, finished ones kept, a failing one told without stopping the others.

`plan_batch` finds the cases, `run_batch` runs them; what a batch leaves in its folder is described in
`docs/how-to/batches.md`.
"""

from brain_edge.jobs.batch.case import CaseOutcome, CaseResult
from brain_edge.jobs.batch.engine import Batch, run_batch
from brain_edge.jobs.batch.planning import UnplannedCase, make_folders, names_folder, plan_batch, plan_single
from brain_edge.jobs.batch.shard import Shard
from brain_edge.jobs.batch.summary import write_summary

__all__ = [
    "Batch",
    "CaseOutcome",
    "CaseResult",
    "Shard",
    "UnplannedCase",
    "make_folders",
    "names_folder",
    "plan_batch",
    "plan_single",
    "run_batch",
    "write_summary",
]
