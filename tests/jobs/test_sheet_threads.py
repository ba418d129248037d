"""Pictures of several cases at once."""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor

from brain_edge.jobs.pictures.sheet import MATPLOTLIB_FOLDER, require_matplotlib


def test_threads_that_look_for_matplotlib_do_not_take_its_folder_from_each_other(monkeypatch):
    monkeypatch.delenv(MATPLOTLIB_FOLDER, raising=False)
    with ThreadPoolExecutor(8) as threads:
        for looked in [threads.submit(require_matplotlib) for _ in range(400)]:
            looked.result()
    assert MATPLOTLIB_FOLDER not in os.environ
