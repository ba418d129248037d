"""How many threads there really are: affinity, physical cores, and the quota of the container."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st
from present import present

from brain_edge.machine.cpu import default_threads, physical_cores, quota_from_v1, quota_from_v2
from brain_edge.machine.process import peak_rss_bytes

TWO_CORES_WITH_HYPER_THREADING = """\
processor\t: 0
vendor_id\t: GenuineIntel
physical id\t: 0
siblings\t: 4
core id\t\t: 0
cpu cores\t: 2

processor\t: 1
vendor_id\t: GenuineIntel
physical id\t: 0
core id\t\t: 1

processor\t: 2
vendor_id\t: GenuineIntel
physical id\t: 0
core id\t\t: 0

processor\t: 3
vendor_id\t: GenuineIntel
physical id\t: 0
core id\t\t: 1
"""

TWO_SOCKETS = """\
processor\t: 0
physical id\t: 0
core id\t\t: 0

processor\t: 1
physical id\t: 1
core id\t\t: 0
"""

ARM = """\
processor\t: 0
BogoMIPS\t: 243.75
Features\t: fp asimd evtstrm aes pmull sha1 sha2 crc32 atomics
CPU implementer\t: 0x41

processor\t: 1
BogoMIPS\t: 243.75
"""


class TestPhysicalCores:
    def test_hyper_threads_of_one_core_count_once(self):
        assert physical_cores(TWO_CORES_WITH_HYPER_THREADING, frozenset(range(4))) == 2

    @pytest.mark.parametrize(("usable", "cores"), [({0}, 1), ({0, 2}, 1), ({0, 3}, 2), ({1, 2, 3}, 2)])
    def test_only_those_of_the_affinity_mask_count(self, usable, cores):
        assert physical_cores(TWO_CORES_WITH_HYPER_THREADING, frozenset(usable)) == cores

    def test_the_same_core_number_in_two_sockets_is_two_cores(self):
        assert physical_cores(TWO_SOCKETS, frozenset({0, 1})) == 2

    @pytest.mark.parametrize("text", [ARM, "", "\n\n"])
    def test_unknown_where_the_kernel_names_no_cores(self, text):
        assert physical_cores(text, frozenset({0, 1})) is None

    def test_unknown_where_no_processor_is_listed_that_may_be_used(self):
        assert physical_cores(TWO_SOCKETS, frozenset({7})) is None


class TestQuota:
    @pytest.mark.parametrize(
        ("text", "cpus"),
        [
            ("max 100000\n", None),
            ("200000 100000\n", 2),
            ("150000 100000\n", 1),
            ("50000 100000\n", 1),
            ("400000 50000", 8),
            ("", None),
        ],
    )
    def test_of_cgroup_v2(self, text, cpus):
        assert quota_from_v2(text) == cpus

    @pytest.mark.parametrize(
        ("quota", "period", "cpus"),
        [("-1\n", "100000\n", None), ("200000\n", "100000\n", 2), ("10000", "100000", 1), ("100000", "0", None)],
    )
    def test_of_cgroup_v1(self, quota, period, cpus):
        assert quota_from_v1(quota, period) == cpus

    @given(st.integers(1, 10**8), st.integers(1000, 10**6))
    def test_is_never_more_than_granted_and_never_less_than_one(self, quota, period):
        cpus = present(quota_from_v2(f"{quota} {period}"))
        assert cpus == quota_from_v1(str(quota), str(period))
        assert cpus >= 1
        assert cpus == 1 or cpus <= quota / period


class TestHere:
    def test_at_least_one_thread_and_no_more_than_processors(self):
        assert 1 <= default_threads() <= (os.cpu_count() or 1)

    @pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="this system has no affinity mask")
    def test_a_process_on_one_processor_gets_one_thread(self):
        code = (
            "import os; os.sched_setaffinity(0, {min(os.sched_getaffinity(0))});"
            "from brain_edge.machine.cpu import default_threads; print(default_threads())"
        )
        result = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
        assert result.stdout.strip() == "1"

    def test_peak_memory_is_of_this_process(self):
        """In a child, whose peak is not yet that of the whole test run: 64 MiB more are seen."""
        code = (
            "from brain_edge.machine.process import peak_rss_bytes; first = peak_rss_bytes();"
            "block = b'x' * 2**26; print(peak_rss_bytes() - first)"
        )
        result = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
        assert 0.9 * 2**26 < int(result.stdout) < 1.5 * 2**26
        assert (peak_rss_bytes() or 0) > 2**24
