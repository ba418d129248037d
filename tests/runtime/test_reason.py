"""Memory is named only where OpenVINO could not have it; the reason is a line with its node."""

from __future__ import annotations

import sys

import numpy as np
import openvino
import openvino.opset13 as ops
import psutil
import pytest

from brain_edge.machine.process import Remedy
from brain_edge.runtime.reason import LITTLE_MEMORY, NOT_MEMORY, reason_of, remedy_of, runtime_problem


def joined() -> openvino.Model:
    """A graph that joins an image with itself at half the size, which suits even sides only."""
    image = ops.parameter([1, 1, -1, -1, -1], np.float32, name="image")
    small = ops.avg_pool(image, [2] * 3, [0] * 3, [0] * 3, [2] * 3, exclude_pad=True)
    large = ops.tile(small, np.array([1, 1, 2, 2, 2]))
    return openvino.Model([ops.concat([image, large], 1)], [image])


def test_a_size_that_does_not_suit_is_told_with_its_node_and_without_memory():
    with pytest.raises(RuntimeError) as failed:
        joined().reshape([1, 1, 5, 5, 5])
    said = runtime_problem("net", (1, 1, 5, 5, 5), failed.value, "pad it")
    assert said.startswith(
        "OpenVINO could not run the graph net on an input of 1 x 1 x 5 x 5 x 5: Argument shapes are inc"
    )
    assert "(node Concat_" in said
    assert said.endswith("; pad it")
    assert "memory" not in said
    assert remedy_of(failed.value) == NOT_MEMORY


@pytest.mark.parametrize(
    "message",
    ["std::bad_alloc", "bad allocation", "Failed to allocate memory", "[CPU] out of memory", "Cannot allocate memory"],
)
def test_memory_that_could_not_be_had_is_named(message):
    error = RuntimeError(f"Exception from src/inference/src/cpp/compiled_model.cpp:128:\n{message}\n")
    assert reason_of(error) == message
    assert remedy_of(error, "pad it") == LITTLE_MEMORY.format(Remedy.MACHINE.value)


def test_a_limited_instruction_set_is_named_where_no_kernel_was_found(monkeypatch):
    """A package in bf16 on a CPU that has bf16, under a limit without bf16."""
    error = RuntimeError("could not create a primitive descriptor for the deconvolution forward propagation primitive.")
    monkeypatch.delenv("DNNL_MAX_CPU_ISA", raising=False)
    monkeypatch.delenv("ONEDNN_MAX_CPU_ISA", raising=False)
    assert remedy_of(error) == NOT_MEMORY
    monkeypatch.setenv("ONEDNN_MAX_CPU_ISA", "AVX2")
    assert "limited to AVX2: remove the variable ONEDNN_MAX_CPU_ISA" in remedy_of(error)
    assert remedy_of(RuntimeError("shapes are inconsistent")) == NOT_MEMORY


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux keeps this limit")
def test_the_remedy_is_that_of_what_binds():
    """Under `ulimit -v`, as on some clusters, other programs take nothing of what is missing."""
    import resource

    limits = resource.getrlimit(resource.RLIMIT_AS)
    used = psutil.Process().memory_info().vms
    resource.setrlimit(resource.RLIMIT_AS, (used + 2**26, limits[1]))
    try:
        said = remedy_of(RuntimeError("std::bad_alloc"))
    finally:
        resource.setrlimit(resource.RLIMIT_AS, limits)
    assert said == LITTLE_MEMORY.format("raise the limit of the address space (ulimit -v)")


def test_an_error_without_words_is_its_kind():
    assert reason_of(RuntimeError("")) == "RuntimeError"
