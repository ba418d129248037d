"""Run many heads side by side; finished cases are kept, and a failed case does not stop the others.

`plan_batch` finds the cases and `run_batch` runs them; `docs/how-to/batches.md` describes the files of a batch.
"""

from brain_edge.jobs.batch.case import CaseOutcome as CaseOutcome
from brain_edge.jobs.batch.case import CaseResult as CaseResult
from brain_edge.jobs.batch.engine import in_order as in_order
from brain_edge.jobs.batch.engine import run_batch as run_batch
from brain_edge.jobs.batch.options import Batch as Batch
from brain_edge.jobs.batch.planning import UnplannedCase as UnplannedCase
from brain_edge.jobs.batch.planning import names_folder as names_folder
from brain_edge.jobs.batch.planning import plan_batch as plan_batch
from brain_edge.jobs.batch.planning import plan_single as plan_single
from brain_edge.jobs.batch.planning import prepare_batch as prepare_batch
from brain_edge.jobs.batch.shard import Shard as Shard
from brain_edge.jobs.layout import Layout as Layout
