"""The memory of a graph is the block that the plugin reserves, whatever the order of results of equal size."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from brain_edge.runtime.graph_memory import Lifetime, block_bytes
from brain_edge.runtime.rewrites.slabs import SLABS
from brain_edge.runtime.rewrites.upsampled_parts import PARTS

if TYPE_CHECKING:
    from collections.abc import Sequence

SIZES = st.integers(1, 4)
RESULTS = st.lists(st.builds(lambda a, b, size: Lifetime(min(a, b), max(a, b), size), *[st.integers(0, 12)] * 2, SIZES))

DECODER = """
import json, sys
import numpy as np
import openvino as ov
import torch
from torch import nn
from brain_edge.runtime.graph_memory import intermediate_bytes
from brain_edge.runtime.rewrites import slabs, upsampled_parts
from brain_edge.runtime.rewrites.f32 import rewrite_for_f32

slabs.LEAST_BYTES = upsampled_parts.LEAST_BYTES = 2**20


class Decoder(nn.Module):
    def __init__(self, wide):
        super().__init__()
        self.kept = nn.Sequential(nn.Conv3d(1, wide, 3, padding=1), nn.InstanceNorm3d(wide), nn.LeakyReLU(0.1))
        self.below = nn.Conv3d(wide, 2 * wide, 3, stride=2, padding=1)
        self.up = nn.Sequential(nn.Conv3d(2 * wide, wide, 3, padding=1), nn.InstanceNorm3d(wide), nn.LeakyReLU(0.1))
        self.last = nn.Sequential(
            *(nn.Conv3d(2 * wide, 2 * wide, 3, padding=1), nn.InstanceNorm3d(2 * wide), nn.LeakyReLU(0.1)),
            *(nn.Conv3d(2 * wide, 2 * wide, 3, padding=1), nn.InstanceNorm3d(2 * wide), nn.LeakyReLU(0.1)),
            nn.Conv3d(2 * wide, 1, 1),
        )

    def forward(self, image):
        kept = self.kept(image)
        large = nn.functional.interpolate(self.below(kept), scale_factor=2.0, mode="trilinear")
        return self.last(torch.cat([self.up(large), kept], 1))


def heaps():
    found = {}
    for line in open("/proc/self/maps"):
        fields = line.split()
        first, last = (int(address, 16) for address in fields[0].split("-"))
        if len(fields) < 6:
            found[first] = last - first
    return found


sides = (1, 1, 48, 64, 64)
model = ov.convert_model(Decoder(24).eval(), example_input=torch.zeros(sides))
model.reshape(list(sides))
if sys.argv[1] == "rewritten":
    rewrite_for_f32(model, ov.opset13)
before = heaps()
compiled = ov.Core().compile_model(model, "CPU", {"INFERENCE_PRECISION_HINT": "f32", "INFERENCE_NUM_THREADS": 2})
reserved = max(size for first, size in heaps().items() if before.get(first) != size)
predicted = intermediate_bytes(compiled.get_runtime_model())
kinds = [node.get_type_name() for node in model.get_ops()]
about = {"reserved": reserved, "predicted": predicted, "largest": 48 * 48 * 64 * 64 * 4}
print(json.dumps({**about, "upsampled": kinds.count("Interpolate"), "slabs": kinds.count("Slice")}))
"""


@settings(max_examples=200, deadline=None)
@given(RESULTS)
def test_results_of_the_same_time_have_places_of_their_own(results: Sequence[Lifetime]):
    block = block_bytes(list(results))
    at_once = [sum(each.size for each in results if each.first <= time <= each.last) for time in range(13)]
    assert max(at_once, default=0) <= block <= sum(each.size for each in results)


def test_an_unlucky_order_costs_a_place():
    chain = [Lifetime(position, position + 1, 10) for position in range(4)]
    assert block_bytes(chain) == 20
    assert block_bytes([chain[0], chain[3], chain[1], chain[2]]) == 30


@pytest.mark.skipif(sys.platform != "linux", reason="another system does not list the memory of a process")
def test_the_plugin_reserves_no_more_than_is_predicted_and_two_of_the_largest_results_suffice():
    """The decoder of a U-Net with norms, as it is and rewritten: what the process has reserved decides."""
    found = {}
    for graph in ("as it is", "rewritten"):
        ended = subprocess.run([sys.executable, "-c", DECODER, graph], capture_output=True, text=True, check=True)
        found[graph] = json.loads(ended.stdout)
    assert all(0.95 * each["reserved"] <= each["predicted"] <= 1.6 * each["reserved"] for each in found.values())
    assert found["rewritten"]["reserved"] <= 2.1 * found["rewritten"]["largest"]
    assert (found["rewritten"]["upsampled"], found["rewritten"]["slabs"]) == (PARTS, SLABS)
