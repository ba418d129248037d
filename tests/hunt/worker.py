"""`python -m hunt.worker FD`: a warm process that reads mutants, one order a line on stdin, one answer a line on FD.

It is watched from outside (`hunt.watch`): it may hang, die, or eat memory.
"""

from __future__ import annotations

import gc
import json
import os
import resource
import sys
import warnings
from importlib import import_module
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any, Final, TextIO

from brain_edge.machine.process import peak_rss_bytes
from hunt.judge import Kind, Outcome, judge, read_tree, write_tree
from hunt.mutations import make_mutant
from hunt.reader import Case

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from hunt.reader import Reader

SPARE_ADDRESSES_BYTES: Final = 3 * 2**30
"""Of address space beyond what the process has when it is warm: what asks for more is told so, and that is a fault."""
PAGE_BYTES: Final = resource.getpagesize()


def main() -> None:
    """Answer orders until there are none."""
    warnings.simplefilter("ignore")
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    warm: set[str] = set()
    with os.fdopen(int(sys.argv[1]), "w") as answers, TemporaryDirectory(prefix="hunt-") as place:
        for line in sys.stdin:
            order = json.loads(line)
            reader = import_module(order["table"]).READERS[order["reader"]]
            _serve(reader, order, Path(place), answers, is_warm=order["reader"] in warm)
            warm.add(order["reader"])


def _serve(reader: Reader, order: Mapping[str, Any], place: Path, answers: TextIO, *, is_warm: bool) -> None:
    """Warm up on the valid folders, say so, and read what was ordered."""
    trees = {path.name: read_tree(path) for path in sorted(Path(order["seeds"]).iterdir())}
    for outcome in () if is_warm else _warm_up(reader, trees, place):
        _answer(answers, outcome)
    _limit_memory()
    _answer(answers, Outcome(-1, Kind.ACCEPTED))
    for number, tree, valid in _mutants(reader, order, trees):
        write_tree(tree, place / "mutant")
        _answer(answers, judge(reader, Case(place / "mutant", valid), number))


def _warm_up(reader: Reader, trees: Mapping[str, Any], place: Path) -> Iterator[Outcome]:
    """Each valid folder must be read, or nothing is learned from its mutants; what is not is a fault."""
    for name, tree in trees.items():
        write_tree(reader.mend(tree), place / "mutant")
        found = judge(reader, Case(place / "mutant", tree), -1)
        if found.kind is not Kind.ACCEPTED:
            yield Outcome(-1, Kind.FAULT, f"valid {name}: {found.error}", found.words, found.at, found.trace)


def _mutants(
    reader: Reader, order: Mapping[str, Any], trees: Mapping[str, Any]
) -> Iterator[tuple[int, Mapping[str, bytes], Mapping[str, bytes]]]:
    if "folder" in order:  # one fault again, from its files
        valid = trees.get(order["valid"], {})
        yield order["first"], read_tree(Path(order["folder"])), valid
        return
    for number in range(order["first"], order["last"]):
        mutant = make_mutant(trees, f"{order['reader']}-{order['seed']}-{number}", reader.patterns)
        yield number, reader.mend(mutant.tree), trees[mutant.seed]


def _limit_memory() -> None:
    gc.collect()
    pages = int(Path("/proc/self/statm").read_text("ascii").split()[0])
    limit = pages * PAGE_BYTES + SPARE_ADDRESSES_BYTES
    resource.setrlimit(resource.RLIMIT_AS, (limit, resource.RLIM_INFINITY))


def _answer(answers: TextIO, outcome: Outcome) -> None:
    answers.write(json.dumps({**outcome.plain(), "peak_bytes": peak_rss_bytes()}) + "\n")
    answers.flush()


if __name__ == "__main__":
    main()
