"""convert writes a package that computes what PyTorch computes, or nothing at all."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np
import pytest
import torch
from present import present
from test_rewrite_norm_statistics import published_state, randomised
from tiny_package import PHANTOM
from torch import nn

from brain_edge.engine.segmenter import Segmenter
from brain_edge.errors import BrainEdgeError, ParityError, UsageError, WeightsError
from brain_edge.image.phantom import make_study
from brain_edge.image.resample import Interpolation
from brain_edge.jobs.verify import verify
from brain_edge.machine.options import RuntimeOptions
from brain_edge.package import NumberFormat, Precision, WeightsStatus, open_package
from brain_edge.package.digest import sha256_of
from brain_edge.package.manifest import Card, Licence
from brain_edge.spec import Activation, Label, ModelSpec, Network, Sequence, Stage, Task
from brain_edge.spec.steps import Argmax, Orient, PadToMultiple, ResampleToSpacing, Restore, Threshold, ZScore
from brain_edge_conversion.convert.build import build
from brain_edge_conversion.convert.compare import compare
from brain_edge_conversion.convert.convert import ConvertOptions, convert
from brain_edge_conversion.convert.draft import Order
from brain_edge_conversion.convert.parity import ParityLimits, TorchSession
from brain_edge_conversion.convert.probe import probe
from brain_edge_conversion.convert.rewrite import rewrite
from brain_edge_conversion.convert.rewrites.norm_statistics import trapped_norms
from brain_edge_conversion.convert.rewrites.outputs import with_one_output
from brain_edge_conversion.convert.save import save
from brain_edge_conversion.convert.seal import seal
from brain_edge_conversion.convert.self_test import self_test
from brain_edge_conversion.convert.trace import trace, trace_network
from brain_edge_conversion.networks.hd_bet_v1 import HdBetV1
from brain_edge_conversion.recipe import BinaryHead, GraphSource, ModelSource, same_each_time

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

STUDY = make_study(PHANTOM, ["T1"])
CARD = Card(summary="A network.", citation="none", published_figures="none", limits="nobody has trained it")
LICENCE = Licence(name="Apache-2.0", holder="the authors of brain_edge")


def spec(*graphs: str, channels_out: int = 2) -> ModelSpec:
    """HD-BET's steps at 4 mm, so that 48 x 64 x 64 voxels are a head."""
    decide = Argmax() if channels_out > 1 else Threshold(channel=0, above=0.5)
    stage = Stage(
        name="brain",
        before=(
            Orient(axes="SPL"),
            ResampleToSpacing(spacing_mm=(4.0, 4.0, 4.0), interpolation=Interpolation.CUBIC),
            ZScore(),
            PadToMultiple(multiple_of=16),
        ),
        network=Network(graphs=graphs, channels_in=1, channels_out=channels_out),
        after=(decide, Restore(interpolation=Interpolation.NEAREST)),
    )
    return ModelSpec(
        name="small",
        task=Task.SKULL_STRIPPING,
        inputs=(Sequence(name="T1"),),
        stages=(stage,),
        labels=(Label(value=1, name="brain"),),
    )


def trapped_network(_weights: Path | None = None) -> nn.Module:
    """HD-BET v1 with two channels: running statistics that it carries and does not use."""
    return published_state(randomised(same_each_time(lambda: HdBetV1(width=2))))


class OneNorm(nn.Module):
    """One layer of what HD-BET v1 has twenty-seven of, and its head."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Conv3d(1, 4, 3, padding=1)
        self.norm = nn.InstanceNorm3d(4, affine=True, track_running_stats=True)
        self.seg_layer = nn.Conv3d(4, 2, 1)
        self.softmax = nn.Softmax(dim=1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.softmax(self.seg_layer(torch.relu(self.norm(self.first(x)))))


def small_network(_weights: Path | None = None) -> nn.Module:
    """What is quick to convert, for all that is not about HD-BET v1."""
    return published_state(randomised(same_each_time(OneNorm)))


def source(build: Callable[..., nn.Module] = trapped_network, *graphs: str, **of_graph: Any) -> ModelSource:
    """A model of equal networks."""
    names = graphs or ("net",)
    parts = tuple(GraphSource(name, build, None, (32, 32, 32), **of_graph) for name in names)
    return ModelSource(spec(*names), parts, CARD, LICENCE)


HEAD = BinaryHead(linear="seg_layer", softmax="softmax")


def random_weights(model: ModelSource) -> dict[str, None]:
    return {graph.graph: None for graph in model.graphs}


def agreement(labels: np.ndarray, expected: np.ndarray) -> float:
    """Share of equal labels. Nobody has trained these networks: many voxels lie close to a tie."""
    return float(np.mean(labels == expected))


# --- the norm trap


@pytest.mark.full  # ten seconds; test_rewrite_norm_statistics has the trap in CI
def test_the_naive_conversion_of_a_trapped_network_is_refused_and_names_the_layers(tmp_path: Path):
    """OpenVINO takes the running statistics of 27 norms that PyTorch does not use, and says nothing."""
    model = source()
    words = (
        r"^net: OpenVINO differs from PyTorch by .* suspect: 27 normalisation layer\(s\) with running statistics "
        r"\(first: context1\.bn_1\) that PyTorch runs on the statistics of the input; OpenVINO silently uses the "
        r"running statistics; no package was written$"
    )
    with pytest.raises(ParityError, match=words):
        convert(model, random_weights(model), STUDY, tmp_path / "package", ConvertOptions(rewrites=False))
    assert list(tmp_path.iterdir()) == []


@pytest.mark.full  # 20 s; in CI all rewrites together are compared with PyTorch, on a smaller network
def test_rewritten_it_gives_the_masks_of_pytorch(tmp_path: Path):
    model = source(binary_head=HEAD)
    package = convert(model, random_weights(model), STUDY, tmp_path / "package", ConvertOptions())
    expected = Segmenter(model.spec, {"net": TorchSession(trapped_network())})(STUDY).mask.labels
    assert 0.02 < expected.mean() < 0.98
    assert agreement(Segmenter.open(package.folder)(STUDY).mask.labels, expected) > 0.999
    assert package.manifest.rewrites == (
        "net: unused running statistics removed from 27 norm layers",
        "net: softmax over two classes merged into seg_layer",
    )
    assert package.spec.stages[0].network.activation is Activation.SIGMOID
    assert package.spec.stages[0].network.channels_out == 1


def test_tracing_leaves_the_published_network_as_it_was():
    """OpenVINO's converter calls `eval()` on what it is given. Parity would compare two wrong networks, and pass."""
    module = trapped_network()
    before = {name: tensor.clone() for name, tensor in module.state_dict().items()}
    trace_network(module, spec("net").stages[0].network, (32, 32, 32))
    assert len(trapped_norms(module)) == 27
    assert all(torch.equal(before[name], tensor) for name, tensor in module.state_dict().items())


# --- what is in the package


@pytest.fixture(scope="module")
def package_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A package of a network whose weights file carries the name of a patient."""
    folder = tmp_path_factory.mktemp("convert")
    weights = folder / "Smith_John_1970.pt"
    torch.save(small_network().state_dict(), weights)
    model = source(lambda path: _loaded(path))
    convert(model, {"net": weights}, STUDY, folder / "package", ConvertOptions())
    return folder / "package"


def _loaded(path: Path | None) -> nn.Module:
    assert path is not None
    network = OneNorm()
    network.load_state_dict(torch.load(path, weights_only=True))
    return published_state(network)


def test_the_package_opens_and_passes_its_self_test(package_folder: Path):
    package = open_package(package_folder)
    assert verify(package, RuntimeOptions()).dice == 1.0


def test_the_manifest_says_where_everything_came_from(package_folder: Path):
    manifest = open_package(package_folder).manifest
    assert manifest.weights_status is WeightsStatus.TRAINED
    assert (manifest.number_format, manifest.precision) == (NumberFormat.FP32, Precision.F32)
    (record,) = manifest.weights
    assert (record.graph, record.source) == ("net", "a file of the user")
    assert record.sha256 == sha256_of(package_folder.parent / "Smith_John_1970.pt")
    assert set(manifest.made_with) == {"openvino", "torch", "nncf", "brain-edge"}
    assert (manifest.card, manifest.licence) == (CARD, LICENCE)
    assert manifest.evidence is None


def test_parity_is_on_record_with_the_hash_of_the_image_and_not_its_name(package_folder: Path):
    parity = open_package(package_folder).manifest.parity
    assert parity is not None
    assert len(parity.input_sha256) == 1
    (graph,) = parity.graphs
    assert graph.graph == "net"
    assert 0 < graph.max_error < 1e-3
    assert graph.same_label_share > 0.999
    assert present(parity.mask_dice) > 0.999


def test_no_path_of_the_builder_is_in_a_package(package_folder: Path):
    """A folder or a file name may hold the name of a user or of a patient."""
    for path in package_folder.rglob("*"):
        content = path.read_bytes() if path.is_file() else b""
        assert b"Smith" not in content, path
        assert str(package_folder.parent).encode() not in content, path


@pytest.mark.full  # two conversions
def test_random_weights_are_marked_and_are_the_same_each_time(tmp_path: Path):
    model = source(small_network)
    first, second = (
        convert(model, random_weights(model), STUDY, tmp_path / name, ConvertOptions()) for name in ("first", "second")
    )
    assert first.manifest.weights_status is WeightsStatus.RANDOM
    assert [record.source for record in first.manifest.weights] == ["random"]
    assert (
        "The weights are random. The masks of this package are meaningless" in (first.folder / "README.md").read_text()
    )
    # OpenVINO numbers the nodes of a process one after the other, so that the .xml files differ in names
    assert first.manifest.files["graphs/net.bin"] == second.manifest.files["graphs/net.bin"]
    assert first.manifest.files["selftest/mask.nii.gz"] == second.manifest.files["selftest/mask.nii.gz"]


@pytest.mark.full  # three seconds: one more conversion
def test_parity_is_measured_in_f32_also_for_a_package_that_runs_in_bf16(tmp_path: Path):
    model = source(small_network)
    limits = ParityLimits(relative_error=1e-2)  # bf16 has three digits
    options = ConvertOptions(precision=Precision.BF16, limits=limits)
    package = convert(model, random_weights(model), STUDY, tmp_path / "package", options)
    assert package.manifest.precision is Precision.BF16


def test_an_ensemble_is_averaged_as_in_pytorch_and_merged_whole_or_not_at_all(tmp_path: Path):
    """Two members, of which only one has a head that is known: neither is merged."""
    graphs = (
        GraphSource("one", small_network, None, (32, 32, 32), binary_head=HEAD),
        GraphSource("two", _other_member, None, (32, 32, 32)),
    )
    model = ModelSource(spec("one", "two"), graphs, CARD, LICENCE)
    package = convert(model, random_weights(model), STUDY, tmp_path / "package", ConvertOptions())
    assert package.spec == model.spec
    assert [line for line in package.manifest.rewrites if "merged" in line] == []
    sessions = {"one": TorchSession(small_network()), "two": TorchSession(_other_member())}
    expected = Segmenter(model.spec, sessions)(STUDY).mask.labels
    assert agreement(Segmenter.open(package.folder)(STUDY).mask.labels, expected) > 0.999


def _other_member(_weights: Path | None = None) -> nn.Module:
    member = small_network()
    with torch.no_grad():
        for parameter in member.parameters():
            parameter.mul_(0.9)
    return member


# --- rewrites of the traced graph


class Auxiliary(nn.Module):
    """Every rewrite at once: a 1x1 after an upsampling, a kernel of 4, dropout, a softmax, a second output."""

    def __init__(self) -> None:
        super().__init__()
        self.down = nn.Conv3d(1, 6, 4, stride=4)
        self.up = nn.Upsample(scale_factor=2, mode="trilinear")
        self.narrow = nn.Conv3d(6, 4, 1)
        self.dropout = nn.Dropout3d(0.2)
        self.large = nn.ConvTranspose3d(4, 3, 4, 2, 1)
        self.auxiliary = nn.Conv3d(4, 3, 1)

    def forward(self, x: torch.Tensor) -> dict[str, torch.Tensor]:
        x = self.dropout(self.narrow(self.up(self.down(x))))
        return {"low": self.auxiliary(x), "full": torch.softmax(20 * self.large(x), dim=1)}


def rewritable_source(**of_graph: Any) -> ModelSource:
    """Three classes, so that the last activation is a softmax that a binary head is not."""
    two = spec("net")
    (stage,) = two.stages
    stage = msgspec.structs.replace(stage, network=msgspec.structs.replace(stage.network, channels_out=3))
    labels = (*two.labels, Label(value=2, name="other"))
    three = msgspec.structs.replace(two, task=Task.TISSUE, stages=(stage,), labels=labels)
    build = lambda _weights: same_each_time(Auxiliary).eval()  # noqa: E731 - a recipe's `build` in one line
    graph = GraphSource("net", build, None, (32, 32, 32), output="full", **of_graph)
    return ModelSource(three, (graph,), CARD, LICENCE)


def test_all_rewrites_together_give_the_masks_of_pytorch_and_are_on_record(tmp_path: Path):
    model = rewritable_source()
    rewritten, plain = (
        convert(model, random_weights(model), STUDY, tmp_path / name, ConvertOptions(rewrites=rewrites))
        for name, rewrites in (("rewritten", True), ("plain", False))
    )
    assert plain.manifest.rewrites == ()
    assert plain.spec == model.spec
    assert rewritten.manifest.rewrites == (
        "net: all outputs but 'full' left out",
        "net: 1 dropout layer left out",
        "net: 1 1x1 convolution moved before the upsampling",
        "net: 1 transposed convolution made sub-pixel",
        "net: last softmax left to the runtime",
    )
    assert rewritten.spec.stages[0].network.activation is Activation.SOFTMAX
    network = TorchSession(with_one_output(same_each_time(Auxiliary).eval(), "full"))
    expected = Segmenter(model.spec, {"net": network})(STUDY, probabilities=True)
    assert len(np.unique(expected.mask.labels)) == 3
    for package in (rewritten, plain):
        got = Segmenter.open(package.folder)(STUDY, probabilities=True)
        assert agreement(got.mask.labels, expected.mask.labels) > 0.999
        np.testing.assert_allclose(present(got.probabilities), present(expected.probabilities), atol=1e-4)


# --- from one draft to the next


def seen(draft: Order) -> dict[str, Any]:
    """All that a draft holds, in a form that does not change with it."""
    held = {**vars(draft)}
    held["published"] = {name: state_of(network) for name, network in held.get("published", {}).items()}
    held["rewritten"] = {
        name: (state_of(rewrite.network), rewrite.lines) for name, rewrite in held.get("rewritten", {}).items()
    }
    held["models"] = {name: graph_of(model) for name, model in held.get("models", {}).items()}
    return held


def state_of(network: nn.Module) -> list[tuple[str, Any]]:
    layers = [(name, (type(layer), layer.training)) for name, layer in network.named_modules()]
    return layers + [(name, tensor.numpy().tobytes()) for name, tensor in network.state_dict().items()]


def graph_of(model: Any) -> tuple[str, list[str]]:
    return str(sorted(model.rt_info)), [str(node) for node in model.get_ordered_ops()]


def test_no_stage_changes_the_draft_that_it_was_given(tmp_path: Path):
    model = rewritable_source()
    draft: Any = Order(
        source=model, weights=random_weights(model), study=STUDY, folder=tmp_path, options=ConvertOptions()
    )
    for stage in (build, probe, rewrite, trace, save, compare, self_test):
        before = seen(draft)
        following = stage(draft)
        assert seen(draft) == before, stage
        assert type(following) is not type(draft)
        draft = following
    assert open_package(seal(draft).folder).manifest.parity == draft.findings.parity


# --- what is refused


class Two(nn.Module):
    """Deep supervision: two outputs."""

    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        return x, x + 1


class Unknown(nn.Module):
    """An operator that OpenVINO does not have."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        eigenvalues: torch.Tensor = torch.linalg.eigvals(x)
        return torch.cat([eigenvalues.real, eigenvalues.real], 1)


@pytest.mark.parametrize(
    ("network", "words"),
    [
        (
            Two,
            r"expected a network with one output, Two returns 0 \(1 x 1 x 32 x 32 x 32\), 1 \(1 x 1 x 32 x 32 x 32\); "
            r"name the wanted output in the recipe",
        ),
        (lambda: nn.Dropout(0.5).train(), r"got 1 dropout layer\(s\) in training mode"),
        (Unknown, r"OpenVINO cannot convert Unknown: .*eigvals"),
    ],
)
def test_a_network_that_cannot_be_converted_is_refused(network: type[nn.Module], words: str, tmp_path: Path):
    model = source(lambda _weights: network())
    with pytest.raises(BrainEdgeError, match=words):
        convert(model, random_weights(model), STUDY, tmp_path / "package", ConvertOptions())
    assert list(tmp_path.iterdir()) == []


def test_weights_that_do_not_fit_leave_nothing_behind(tmp_path: Path):
    def build(_weights: Path | None) -> nn.Module:
        raise WeightsError("the weights do not fit")

    model = source(build)
    with pytest.raises(WeightsError, match="do not fit"):
        convert(model, random_weights(model), STUDY, tmp_path / "package", ConvertOptions())
    assert list(tmp_path.iterdir()) == []


def test_a_package_that_is_there_is_not_replaced(package_folder: Path):
    before = open_package(package_folder).digest
    model = source(small_network)
    with pytest.raises(UsageError, match="this folder already exists"):
        convert(model, random_weights(model), STUDY, package_folder, ConvertOptions())
    assert open_package(package_folder).digest == before


@pytest.mark.full  # one more conversion
def test_the_user_is_told_what_is_being_done(tmp_path: Path):
    lines: list[str] = []
    model = source(small_network)
    convert(model, random_weights(model), STUDY, tmp_path / "package", ConvertOptions(report=lines.append))
    assert lines == [
        "converting net",
        "rewritten: unused running statistics removed from 1 norm layers",
        "rewritten: last softmax left to the runtime",
        "comparing with PyTorch on a real volume",
    ]
