"""What a CPU without AVX-512 would compute otherwise: predicted, kept in float, judged and said.

The network has one transposed convolution that OpenVINO refuses in INT8 on such a CPU at the size of the phantom.
Where the tests themselves run on such a CPU, the same figures come out without any imitation.
"""

from __future__ import annotations

import platform
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np
import pytest
from openvino import Model, PartialShape, Type
from openvino import opset13 as ops
from outlier_package import phantom_cohort
from tiny_package import SPEC, make_package, tiny_weights

from brain_edge.bench.counted import Input
from brain_edge.bench.operations import is_integer
from brain_edge.bench.profile import executed_layers
from brain_edge.engine.segmenter import Segmenter
from brain_edge.errors import BudgetError
from brain_edge.evaluation.cohort import Cohort, Split
from brain_edge.evaluation.evidence import Evidence, Isa, IsaRecord, NodeKernel, evidence_in
from brain_edge.machine.isa import isa_limit, newest_is_avx2
from brain_edge.machine.options import RuntimeOptions
from brain_edge.package import ModelPackage, Precision, graph_path, open_package
from brain_edge.runtime.session import compile_properties
from brain_edge_conversion.budget import isa
from brain_edge_conversion.budget.budget import AccuracyBudget
from brain_edge_conversion.budget.coverage import int8_share
from brain_edge_conversion.budget.kernels import executed_package, largest_shapes, ran_in_words
from brain_edge_conversion.budget.measure import write_baseline
from brain_edge_conversion.budget.without_avx512 import refused_in_int8, without_avx512
from brain_edge_conversion.convert.self_test import write_self_test
from brain_edge_conversion.quantize import quantize as command
from brain_edge_conversion.quantize import space
from brain_edge_conversion.quantize.ladder import LADDER
from brain_edge_conversion.quantize.quantize import QuantizeOptions, quantize
from brain_edge_conversion.quantize.space import Int8Space
from brain_edge_conversion.sealing.graph import save_graph
from brain_edge_conversion.sealing.writer import seal
from brain_edge_conversion.search import run

if TYPE_CHECKING:
    from collections.abc import Callable

pytestmark = [
    # nncf reads its configuration with a deprecated corner of a library of its own
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
]
unlimited = pytest.mark.skipif(
    isa_limit() is not None,
    reason="ONEDNN_MAX_CPU_ISA is set: this process itself imitates an older CPU in part",
)
x86 = pytest.mark.skipif(bool(isa.obstacle(platform.machine())), reason="not an x86 CPU")

ONE_THREAD = RuntimeOptions(threads=1)
SPLITS = (Split.CALIBRATION, Split.VALIDATION, Split.TEST)
CHANNELS = 32
SHAPE = (1, 1, 44, 52, 52)
"""Of the phantom in the network; 32^2 x 44 x 52 x 52 is 1.8 times 2^26."""
SHARE = 1 / 3
"""Of the multiply-adds that the convolution has, and the transposed one has not."""


def wide_graph() -> Any:
    """An OpenVINO model as `tiny_graph`, by a convolution of 32 channels and a transposed one."""
    weights, bias = tiny_weights()
    image = ops.parameter(PartialShape([1, 1, -1, -1, -1]), Type.f32, name="image")
    stem = np.zeros((CHANNELS, 1, 3, 3, 3), np.float32)
    stem[:, 0, 1, 1, 1] = 1.0
    # a transposed convolution turns its kernel round
    back = np.repeat(weights.transpose(1, 0, 2, 3, 4)[..., ::-1, ::-1, ::-1], CHANNELS, axis=0) / CHANNELS
    ones, pads = [1, 1, 1], [1, 1, 1]
    wide = ops.relu(ops.convolution(image, ops.constant(stem), ones, pads, pads, ones))
    narrow = ops.convolution_backprop_data(wide, ops.constant(back), ones, None, pads, pads, ones)
    narrow.set_friendly_name("back")
    return Model([ops.softmax(ops.add(narrow, ops.constant(bias)), axis=1)], [image], "wide")


@pytest.fixture(scope="module", autouse=True)
def one_setting():
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(command, "ladder_from", lambda _preset: LADDER[:1])
        yield


@pytest.fixture(scope="module")
def fp32(tmp_path_factory: pytest.TempPathFactory) -> ModelPackage:
    folder = tmp_path_factory.mktemp("fp32") / "package"
    manifest = make_package(folder).manifest
    save_graph(wide_graph(), folder / graph_path("tiny"), SPEC)
    write_self_test(ModelPackage(folder, manifest))
    seal(folder, msgspec.structs.replace(manifest, files={}))
    return open_package(folder)


@pytest.fixture(scope="module")
def cohort(tmp_path_factory: pytest.TempPathFactory) -> Cohort:
    return phantom_cohort(tmp_path_factory.mktemp("cohort"), SPLITS)


def options(min_int8_share: float) -> QuantizeOptions:
    budget = AccuracyBudget(max_dice_drop=0.1, min_int8_share=min_int8_share)
    # changed weights change no share
    return QuantizeOptions(budget=budget, runtime=ONE_THREAD, weight_changes=False)


@pytest.fixture(scope="module")
def int8(fp32: ModelPackage, cohort: Cohort, tmp_path_factory: pytest.TempPathFactory) -> ModelPackage:
    return quantize(fp32, cohort, tmp_path_factory.mktemp("int8") / "package", options(0.3))


def found(package: ModelPackage) -> Evidence:
    evidence = evidence_in(package.manifest)
    assert evidence is not None
    return evidence


# --- the rule


def transposed(channels: int, side: int, *, stride: int = 1, groups: int = 1) -> Any:
    """A transposed convolution of one output channel a group whose output has `side`^3 voxels."""
    image = ops.parameter([1, channels, *[side // stride] * 3], Type.f32)
    strides, none, ones = [stride] * 3, [0, 0, 0], [1, 1, 1]
    kernel = (channels // groups, 1, *strides)
    if groups == 1:
        return ops.convolution_backprop_data(
            image, ops.constant(np.ones(kernel, np.float32)), strides, None, none, none, ones
        )
    weights = ops.constant(np.ones((groups, *kernel), np.float32))
    return ops.group_convolution_backprop_data(image, weights, strides, None, none, none, ones)


@pytest.mark.parametrize(
    ("layer", "why"),
    [
        (transposed(16, 64), ""),
        (transposed(17, 64), "input channels squared x voxels are 1.13 times 2^26"),
        (transposed(16, 65), "input channels squared x voxels are 1.05 times 2^26"),
        # deepbet's two at 256^3: the voxels are those of the output
        (transposed(16, 128, stride=2), "input channels squared x voxels are 8 times 2^26"),
        (transposed(8, 256, stride=2), "input channels squared x voxels are 16 times 2^26"),
        (transposed(32, 64, groups=2), "input channels squared x voxels are 4 times 2^26"),
        (transposed(4, 64, stride=4, groups=2), "its stride of 4 is above 3"),
    ],
)
def test_the_rule_is_that_of_openvino(layer: Any, why: str):
    """`Deconvolution::canBeExecutedInInt8`; compared with a CPU that has AVX2 alone in decision 0037."""
    assert refused_in_int8(layer) == why


def test_no_convolution_is_refused():
    image = ops.parameter([1, 32, 64, 64, 64], Type.f32)
    weights = ops.constant(np.ones((1, 32, 1, 1, 1), np.float32))
    assert refused_in_int8(ops.convolution(image, weights, [1] * 3, [0] * 3, [0] * 3, [1] * 3)) == ""


def test_it_is_asked_at_the_largest_size_that_ran():
    seen = [Input("a", (1, 1, 8, 8, 8)), Input("a", (1, 1, 64, 64, 64)), Input("b", (1, 2, 4)), Input("a", (1, 1, 9))]
    assert largest_shapes(seen) == {"a": (1, 1, 64, 64, 64), "b": (1, 2, 4)}


# --- float by choice


@unlimited
@x86
def test_a_refused_layer_runs_in_float_on_the_same_numbers(int8: ModelPackage, tmp_path: Path):
    older, layers = without_avx512(int8, {"tiny": SHAPE}, tmp_path)
    assert [(layer.graph, layer.layer) for layer in layers] == [("tiny", "back")]
    assert layers[0].reason.endswith("input channels squared x voxels are 1.82 times 2^26")
    executed = executed_package(older, {"tiny": SHAPE}, ONE_THREAD)
    assert [layer.integer for layer in executed.all_layers] == [layer.name != "back" for layer in executed.all_layers]
    assert int8_share(executed.all_layers) == pytest.approx(SHARE)
    noise = np.random.default_rng(0).random(SHAPE).astype(np.float32)
    first, second = (_answer(package, noise) for package in (int8, older))
    np.testing.assert_allclose(first, second, atol=1e-4)


def _answer(package: ModelPackage, image: np.ndarray) -> np.ndarray:
    from openvino import Core

    model = Core().read_model(str(package.graph_file("tiny")))
    model.reshape(list(SHAPE))
    return Core().compile_model(model, "CPU", compile_properties(Precision.F32, ONE_THREAD))(image)[0]


def test_at_a_size_that_is_not_refused_nothing_is_changed(int8: ModelPackage, tmp_path: Path):
    _, layers = without_avx512(int8, {"tiny": (1, 1, 16, 16, 16)}, tmp_path)
    assert layers == ()


# --- judged


@unlimited
@x86
def test_the_share_of_an_older_cpu_is_what_min_int8_share_binds(fp32: ModelPackage, cohort: Cohort, tmp_path: Path):
    with pytest.raises(BudgetError, match=r"33\.3% of the multiply-accumulates run in INT8, expected at least 50\.0%"):
        quantize(fp32, cohort, tmp_path / "package", options(0.5))
    assert not (tmp_path / "package").exists()


@x86
def test_the_share_of_a_trial_is_the_smallest_of_all_cpus():
    """Also where the tests run on the oldest one, which nothing is measured for again."""
    older = [IsaRecord(isa=Isa.AVX2, verified=True, int8_share=share) for share in (0.4, None)]
    assert space.least_share(0.9, older) == 0.4
    assert space.least_share(0.3, older) == 0.3


@unlimited
def test_the_share_in_the_package_is_that_of_an_older_cpu(int8: ModelPackage):
    evidence = found(int8)
    assert evidence.int8_share == pytest.approx(SHARE)
    assert [trial.int8_share for trial in evidence.trials] == [pytest.approx(SHARE)]
    (record,) = evidence.isas
    assert (record.verified, record.met, record.int8_share) == (True, True, pytest.approx(SHARE))
    assert [(layer.layer, layer.kind) for layer in record.float_layers] == [("back", "ConvolutionBackpropData")]
    assert "33.3% of the multiply-accumulates in INT8 there (" in evidence.statement
    assert "(33.3% are)" in evidence.bounds
    card = (int8.folder / "README.md").read_text(encoding="utf-8")
    assert "In float on a CPU with no more than AVX2: tiny, `back`." in card
    assert "instructions only" not in card


@dataclass(frozen=True)
class Job:
    """A measurement of the INT8 package, with the answer of this CPU and the limits."""

    question: isa.IsaQuestion
    here: isa.IsaAnswer
    budget: AccuracyBudget

    def record(self, announce: Callable[[], object]) -> IsaRecord:
        return isa.avx2_record(self.question, self.here, self.budget, announce)


@pytest.fixture(scope="module")
def job(int8: ModelPackage, fp32: ModelPackage, cohort: Cohort, tmp_path_factory: pytest.TempPathFactory) -> Job:
    cases, folder = cohort.cases(Split.TEST), tmp_path_factory.mktemp("masks")
    write_baseline(Segmenter.open(fp32, ONE_THREAD), cases, folder)
    records, executed = isa.measure_package(int8, cases, folder, {3: 3}, ONE_THREAD)
    question = isa.make_job(int8, cases, folder, {"tiny": SHAPE}, ONE_THREAD)
    here = isa.IsaAnswer(records, executed, ())
    return Job(question, here, AccuracyBudget(max_dice_drop=0.1, min_int8_share=0.5))


@x86
def test_the_record_of_older_instructions_judges_the_share_itself(job: Job, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(isa, "newest_is_avx2", lambda: False)
    announced: list[int] = []
    record = job.record(lambda: announced.append(1))
    assert (record.verified, record.met, announced) == (True, False, [1])
    assert record.reason == "33.3% of the multiply-accumulates run in INT8, expected at least 50.0%"
    assert [path.name for path in Path(job.question.masks).iterdir()] == ["baseline-3.npz"]


@pytest.mark.skipif(not newest_is_avx2(), reason="a CPU with more than AVX2, or another")
def test_on_a_cpu_with_avx2_alone_nothing_is_measured_twice(job: Job, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(isa, "newest_is_avx2", lambda: False)
    apart = job.record(lambda: None)
    monkeypatch.undo()
    monkeypatch.setattr(isa, "ask_child", lambda *_: pytest.fail("a child was started"))
    here = job.record(lambda: pytest.fail("a second measurement was announced"))
    assert msgspec.structs.replace(here, nodes=(), ran="") == msgspec.structs.replace(apart, nodes=(), ran="")


def test_a_candidate_that_an_older_cpu_fails_on_the_test_split_alone_is_refused(
    fp32: ModelPackage, cohort: Cohort, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    failed = IsaRecord(isa=Isa.AVX2, verified=True, reason="mean drop of label 1 is 0.2", met=False)
    monkeypatch.setattr(run, "avx2_record", lambda *_: failed)
    with pytest.raises(BudgetError, match=r"under AVX2: mean drop of label 1 is 0\.2"):
        quantize(fp32, cohort, tmp_path / "package", options(0.3))
    assert not (tmp_path / "package").exists()


def test_the_baseline_runs_in_f32_whatever_the_package_is_deployed_in(
    fp32: ModelPackage, cohort: Cohort, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    searched = Int8Space(fp32.in_precision(Precision.BF16), LADDER)
    assert searched.baseline.manifest.precision is Precision.F32
    opened: list[Precision] = []
    monkeypatch.setattr(
        space, "write_baseline", lambda segmenter, *_: opened.append(segmenter.package.manifest.precision)
    )
    # what `prepare` leaves, without a calibration
    searched._options = options(0.3)
    searched._setup = type("Setup", (), {"masks": tmp_path})()
    searched.segment_baseline(cohort.cases(Split.TEST))
    assert opened == [Precision.F32]


# --- every node


@x86
def test_every_executed_node_is_in_the_record(int8: ModelPackage):
    executed = executed_package(int8, {"tiny": SHAPE}, ONE_THREAD)
    profiled = executed_layers("tiny", _model(int8), compile_properties(Precision.F32, ONE_THREAD), SHAPE)
    assert sum(node.nodes for node in executed.nodes) == len(profiled)
    assert {(node.kind, node.kernel) for node in executed.nodes} == {(layer.kind, layer.kernel) for layer in profiled}
    assert any(not is_integer(node.kernel) for node in executed.nodes)
    (record,) = found(int8).isas
    assert {"Convolution", "Deconvolution"} < {node.kind for node in record.nodes}
    assert record.ran == ran_in_words(record.nodes)


def _model(package: ModelPackage) -> Any:
    from openvino import Core

    model = Core().read_model(str(package.graph_file("tiny")))
    model.reshape(list(SHAPE))
    return model


def test_what_ran_how_is_said_and_what_names_no_instructions_is_not_claimed():
    nodes = (
        NodeKernel("Convolution", "jit_avx2_I8", 9),
        NodeKernel("Convolution", "jit_sse42_f32", 1),
        NodeKernel("Deconvolution", "brgconv_avx2_f32", 2),
        NodeKernel("Interpolate", "jit_avx512_f32", 4),
        NodeKernel("MVN", "jit_avx512_i8", 27),
        NodeKernel("Convolution", "brgconv_avx512_amx_I8", 1),
        NodeKernel("Reorder", "jit_uni_I8", 3),
        NodeKernel("Reshape", "unknown_f32", 6),
    )
    assert ran_in_words(nodes) == (
        "convolutions and transposed convolutions under AVX2, interpolations, norms and convolutions under AVX-512"
    )
    assert ran_in_words(nodes[:3]) == "convolutions and transposed convolutions under AVX2"
    assert ran_in_words(nodes[6:]) == ""
