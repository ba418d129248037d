"""Processor time of a trial, which ends in child processes for the most part."""

from __future__ import annotations

import os
import subprocess
import sys

from brain_edge_conversion.search.time_limit import processor_s


def test_the_processor_time_has_that_of_child_processes():
    before = processor_s()
    subprocess.run([sys.executable, "-c", "import time\nwhile time.process_time() < 0.3: pass"], check=True)
    ticks_s = 2 / os.sysconf("SC_CLK_TCK")  # the kernel counts whole ticks, before and after
    assert processor_s() - before >= 0.3 - ticks_s
