"""A script that submits a batch to Slurm: an array of tasks, one per shard, and a last job that summarizes.

The script is text that an administrator can read. Nothing in it is pickled or encoded.
"""

from __future__ import annotations

import re
import shlex
import sys
from dataclasses import dataclass
from importlib.resources import files
from typing import TYPE_CHECKING, Final

from brain_edge.cluster.plan import planned
from brain_edge.errors import UsageError
from brain_edge.jobs.batch.case_list import CASE, SHARD
from brain_edge.jobs.batch.planning import UnplannedCase
from brain_edge.jobs.record import printable
from brain_edge.machine.atomic import atomic_file, make_folder
from brain_edge.machine.process import MIB

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from brain_edge.cluster.plan import BatchPlan
    from brain_edge.jobs.case import Job
    from brain_edge.machine.options import RuntimeOptions
    from brain_edge.package import ModelPackage

FOLDER: Final = "slurm"
"""Folder below the results: the list of the cases and the logs of the tasks."""
LIST: Final = "cases.tsv"
_PLAIN: Final = re.compile(r"[A-Za-z0-9@%+=:,./_-]+")
"""Paths that Slurm takes in an #SBATCH line as they are; `%` begins its own patterns there."""


@dataclass(frozen=True)
class Tasks:
    """Tasks of an array.

    Attributes:
        count: number of tasks, one per shard.
        cpus: number of CPUs and of threads of a task.
        at_once: number of cases in progress at once in a task.
        minutes: time limit of a task, in minutes; None for one from the first cases.
        extra: further options of `sbatch`, such as `--partition=long`.

    Raises:
        UsageError: an option of sbatch is none.
    """

    count: int
    cpus: int
    at_once: int
    minutes: int | None = None
    extra: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        odd = next((line for line in self.extra if not line.startswith("-") or not line.isprintable()), None)
        if odd is not None:
            raise UsageError(f"expected an option of sbatch such as --partition=long, got {odd!r}")


def script(
    package: ModelPackage, cases: Sequence[Job | UnplannedCase], out: Path, tasks: Tasks, options: RuntimeOptions
) -> str:
    """Plan a batch by its first cases, write the list of its cases, and return the script.

    Args:
        package: package of the model.
        cases: all cases of the batch.
        out: folder of the results.
        tasks: tasks of the array.
        options: options of the runtime of a task.

    Raises:
        InputError: no case has an image.
        UsageError: there are fewer cases than tasks, or a path that Slurm or the list cannot hold.
        OutputError: the list cannot be written.
    """
    plan = planned(package, cases, tasks.count, tasks.at_once, options)
    zero = () if options.stage_zero is None else ("--stage-zero", str(options.stage_zero.resolve()))
    made = SlurmScript(package, plan, out, tasks, zero)
    text = made.render()
    made.write_list()
    return text


@dataclass(frozen=True)
class SlurmScript:
    """Request for a script.

    Attributes:
        package: package of the model.
        plan: division of the batch.
        out: folder of the results.
        tasks: tasks of the array.
        options: further options of `brain-edge run`.

    Raises:
        UsageError: the folder has characters that an #SBATCH line cannot hold.
    """

    package: ModelPackage
    plan: BatchPlan
    out: Path
    tasks: Tasks
    options: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        folder = str(self.out.resolve())
        if not _PLAIN.fullmatch(folder) or "%" in folder:
            raise UsageError(
                f"{folder}: expected an output folder of letters, digits and @+=:,./_- for Slurm's log files; choose "
                "another folder"
            )

    def render(self) -> str:
        """Return the script."""
        from jinja2 import Environment, StrictUndefined

        environment = Environment(  # noqa: S701 - a shell script: `quote` is its escape
            trim_blocks=True, lstrip_blocks=True, keep_trailing_newline=True, undefined=StrictUndefined
        )
        environment.filters |= {"quote": shlex.quote, "comment": _comment}
        folder = self.out.resolve() / FOLDER
        plan = self.plan
        return environment.from_string(_template()).render(
            cases=len(plan.cases),
            model=self.package.spec.name,
            shards=len(plan.seconds),
            list=str(folder / LIST),
            out=str(self.out.resolve()),
            shortest_s=min(plan.seconds),
            longest_s=max(plan.seconds),
            cpus=self.tasks.cpus,
            memory_mib=plan.memory_bytes // MIB,
            minutes=self.tasks.minutes or plan.time_s // 60,
            logs=str(folder),
            extra=self.tasks.extra,
            program=f"{shlex.quote(sys.executable)} -m brain_edge",
            package=str(self.package.folder.resolve()),
            at_once=plan.at_once,
            digest=self.package.digest,
            options=self.options,
        )

    def write_list(self) -> Path:
        """Write the list of the cases with their shards, which the tasks read, and return its path.

        Raises:
            OutputError: the list cannot be written.
            UsageError: the path of an image has a tab or a line break.
        """
        path = self.out.resolve() / FOLDER / LIST
        make_folder(path.parent)
        with atomic_file(path) as partial:
            partial.write_text(self._table(), encoding="utf-8", newline="\n")
        return path

    def _table(self) -> str:
        sequences = [sequence.name for sequence in self.package.spec.inputs]
        lines = [[CASE, SHARD, *sequences]]
        for case, shard in zip(self.plan.cases, self.plan.shards, strict=True):
            files = {} if isinstance(case, UnplannedCase) else case.inputs
            cells = [str(files[name].resolve()) if name in files else "" for name in sequences]
            lines.append([case.case, f"{shard}/{len(self.plan.seconds)}", *cells])
        odd = next((cell for line in lines for cell in line if set(cell) & set("\t\r\n")), None)
        if odd is not None:
            raise UsageError(f"{printable(odd)!r}: expected a path without tabs and line breaks; rename the file")
        return "".join("\t".join(line) + "\n" for line in lines)


def _template() -> str:
    return files("brain_edge.cluster").joinpath("slurm.sh.j2").read_text(encoding="utf-8")


def _comment(text: str) -> str:
    """Return text for a comment or a message: one line, without characters that a shell expands."""
    return re.sub(r'[`$"\\]', "?", "".join(sign if sign.isprintable() else "?" for sign in text))
