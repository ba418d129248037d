"""What a benchmark times is what the runtime compiles."""

from __future__ import annotations

from typing import TYPE_CHECKING

from small_graphs import quantised_stem

from benchmarks.harness.zoo import ready_model
from brain_edge.machine.isa import is_x86
from brain_edge.package import Precision
from brain_edge.runtime.library import import_openvino
from brain_edge.runtime.session import rewrite

if TYPE_CHECKING:
    from pathlib import Path


def test_a_graph_is_rewritten_as_the_runtime_rewrites_it(tmp_path: Path):
    file = tmp_path / "stem.xml"
    import_openvino().save_model(quantised_stem(), str(file), compress_to_fp16=False)
    wanted = quantised_stem()
    rewrite(wanted, Precision.F32)
    kinds = [node.get_type_name() for node in wanted.get_ordered_ops()]
    assert sorted(node.get_type_name() for node in ready_model(file, (1, 1, 24, 24, 24)).get_ops()) == sorted(kinds)
    assert (len(ready_model(file, (1, 1, 24, 24, 24), rewritten=False).get_ops()) != len(kinds)) is is_x86()
