"""`python -m hunt.make_seeds FOLDER READER ...`: write the valid folders of these readers."""

from __future__ import annotations

import shutil
import sys
import warnings
from importlib import import_module
from pathlib import Path

TABLE = "hunt.readers"


def main() -> None:
    """A folder appears when all in it is there."""
    warnings.simplefilter("ignore")
    place, *names = sys.argv[1:]
    for name in names:
        table, _, reader = name.rpartition(":")
        target = Path(place) / reader
        draft = target.with_name(f".{reader}")
        shutil.rmtree(draft, ignore_errors=True)
        draft.mkdir(parents=True)
        import_module(table or TABLE).READERS[reader].make(draft)
        draft.rename(target)


if __name__ == "__main__":
    main()
