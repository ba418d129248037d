"""What `convert` is given: nothing of a stranger's runs unasked, and no weights are taken for others."""

from __future__ import annotations

import os
import re
import sys
import zipfile
from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np
import pytest
import torch
from tiny_package import PHANTOM, SPEC, one_graph, tiny_weights
from torch import nn

from brain_edge.engine.segmenter import Segmenter
from brain_edge.errors import BrainEdgeError, InputError, PackageError, UsageError, WeightsError
from brain_edge.image.phantom import make_study
from brain_edge.package import WeightsStatus, open_package
from brain_edge.package.digest import sha256_of
from brain_edge.spec import ModelSpec, canonical_json
from brain_edge.spec.plan import without_activation
from brain_edge_conversion.convert.convert import ConvertOptions, convert
from brain_edge_conversion.demo.published_network import reference_segmenter
from brain_edge_conversion.networks.meshnet import TISSUE, MeshNet
from brain_edge_conversion.recipe import Variant
from brain_edge_conversion.sources import Request, Resolved, resolve

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

OWN_MODULE = """
from pathlib import Path
from torch import nn

Path("executed").touch()


class Tiny(nn.Sequential):
    def __init__(self):
        super().__init__(nn.Conv3d(1, 2, 3, padding=1), nn.Softmax(dim=1))


ready = Tiny()
number = 3


def text():
    return "a network"


def needs(width):
    return Tiny()
"""

STUDY = make_study(PHANTOM, ["T1"])


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Where the user is: with a module, a package of modules, and a specification."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "own_network.py").write_text(OWN_MODULE)
    (tmp_path / "broken_network.py").write_text("class Tiny(")
    (tmp_path / "own_package").mkdir()
    (tmp_path / "own_package" / "__init__.py").write_text("from pathlib import Path\nPath('executed').touch()\n")
    (tmp_path / "own_package" / "inside.py").write_text(OWN_MODULE)
    (tmp_path / "spec.json").write_bytes(canonical_json(SPEC))
    yield tmp_path
    for name in ("own_network", "own_package", "own_package.inside"):
        sys.modules.pop(name, None)


def tiny() -> nn.Sequential:
    """The network of the tiny package in PyTorch, with its weights."""
    weights, bias = tiny_weights()
    convolution = nn.Conv3d(1, 2, 3, padding=1)
    assert convolution.bias is not None
    with torch.no_grad():
        convolution.weight.copy_(torch.from_numpy(weights))
        convolution.bias.copy_(torch.from_numpy(bias.reshape(-1)))
    return nn.Sequential(convolution, nn.Softmax(dim=1))


def saved(path: Path, content: object) -> Path:
    torch.save(content, path)
    return path


def built(resolved: Resolved) -> nn.Module:
    (graph,) = resolved.model.graphs
    return graph.build(resolved.weights[graph.graph])


# --- recipes


def test_a_recipe_is_found_by_its_name_and_its_variant_is_asked_for():
    resolved = resolve(Request(source="hd-bet-v1", variant=Variant(members=2, flips=True), random_weights=True))
    assert resolved.recipe is not None
    assert resolved.recipe.name == "hd-bet-v1"
    assert resolved.weights == {"fold0": None, "fold1": None}
    assert resolved.model.spec.stages[0].network.passes == 16


def test_all_members_are_as_many_as_the_recipe_has():
    resolved = resolve(Request(source="hd-bet-v1", all_members=True, random_weights=True))
    assert list(resolved.weights) == [f"fold{number}" for number in range(5)]


def test_weights_that_cannot_be_fetched_must_be_given():
    words = r"the weights of brainmage cannot be fetched: give the file with --weights FILE; resunet_ma\.pt of .*LFS"
    with pytest.raises(WeightsError, match=words + r".*use --random-weights"):
        resolve(Request(source="brainmage"))


def test_a_file_that_is_not_the_published_one_is_refused(tmp_path: Path):
    path = saved(tmp_path / "resunet_ma.pt", {})
    words = rf"{path}: expected the weights with SHA-256 7eff7f10\w+, got {sha256_of(path)}\. The file is"
    with pytest.raises(WeightsError, match=words):
        resolve(Request(source="brainmage", weights={"": path}))


def test_a_file_that_is_missing_is_refused(tmp_path: Path):
    with pytest.raises(WeightsError, match=r"nowhere\.pt: there is no such weights file"):
        resolve(Request(source="brainmage", weights={"": tmp_path / "nowhere.pt"}))


@pytest.mark.parametrize(
    ("given", "words"),
    [
        (("",), r"expected --weights box=FILE, --weights brain=FILE, got a file without a name; name each file"),
        (("head", "box"), r"expected --weights box=FILE, --weights brain=FILE, got head; name each file"),
    ],
)
def test_files_of_a_model_of_several_networks_must_be_named(given: tuple[str, ...], words: str, tmp_path: Path):
    with pytest.raises(UsageError, match=words):
        resolve(Request(source="deepbet", weights=dict.fromkeys(given, tmp_path / "w.pt")))


@pytest.mark.parametrize(
    ("variant", "words"),
    [
        (Variant(members=6), r"hd-bet-v1 has 5 member\(s\), got --members 6"),
        (Variant(members=0), r"hd-bet-v1 has 5 member\(s\), got --members 0"),
    ],
)
def test_a_variant_that_a_recipe_does_not_offer_is_refused(variant: Variant, words: str):
    with pytest.raises(UsageError, match=words):
        resolve(Request(source="hd-bet-v1", variant=variant, random_weights=True))


def test_mirroring_is_refused_where_the_published_program_does_not_mirror():
    with pytest.raises(
        UsageError, match=r"the published program of deepbet does not mirror its input; leave out --flips"
    ):
        resolve(Request(source="deepbet", variant=Variant(flips=True), random_weights=True))


def test_a_folder_or_file_of_no_kind_is_told_what_a_folder_or_file_may_be(tmp_path):
    with zipfile.ZipFile(tmp_path / "bundle.zip", "w") as archive:
        archive.writestr("bundle/configs/metadata.json", "{}")
    for source, words in ((tmp_path, "got something else$"), (tmp_path / "bundle.zip", "got a zip file; unpack it")):
        with pytest.raises(UsageError, match=rf"expected one of these: nnU-Net v2 .*, MONAI bundle, .*\); {words}"):
            resolve(Request(source=str(source)))


def test_a_source_of_no_kind_is_told_what_there_is():
    words = r"'deepbt' is no recipe \(.*deepbet, .*\), no .*ONNX .*, no module:attribute; did you mean deepbet\?$"
    with pytest.raises(UsageError, match=words):
        resolve(Request(source="deepbt"))


# --- code of somebody else's


@pytest.mark.parametrize("source", ["own_network:Tiny", "own_package.inside:Tiny"])
def test_a_module_does_not_run_before_it_is_trusted_and_its_hash_is_named(source: str, folder: Path):
    """Not even the package that it is in."""
    file = folder / source.partition(":")[0].replace(".", "/")
    sha256 = sha256_of(file.with_suffix(".py"))
    words = rf"^{re.escape(source)} in .*{file.name}\.py \(SHA-256 {sha256}\), a Python module is code that would run "
    with pytest.raises(UsageError, match=words + "here; use --trust if you know where it comes from"):
        resolve(Request(source=source, spec_file=folder / "spec.json", random_weights=True))
    assert not (folder / "executed").exists()
    assert source.partition(":")[0] not in sys.modules


def test_a_trusted_module_is_built_and_its_state_dict_loaded(folder: Path):
    weights = saved(folder / "weights.pt", {"state_dict": tiny().state_dict()})
    request = Request(source="own_network:Tiny", weights={"": weights}, spec_file=folder / "spec.json", trust=True)
    network = built(resolve(request))
    assert (folder / "executed").exists()
    assert not network.training
    for name, tensor in tiny().state_dict().items():
        assert torch.equal(network.state_dict()[name], tensor)


def test_one_of_two_sets_of_weights_is_chosen_by_its_key(folder: Path):
    """The hash that a package records is that of the whole file."""
    later = {f"0.{name}": tensor + 1 for name, tensor in tiny()[0].state_dict().items()}
    saved(folder / "w.pt", {"state_dict": tiny().state_dict(), "state_dict_ema": later})
    asked: dict[str, Any] = {"source": "own_network:Tiny", "spec_file": folder / "spec.json", "trust": True}
    with pytest.raises(WeightsError, match=r"got 2 different ones \(state_dict, state_dict_ema\); choose one"):
        built(resolve(Request(**asked, weights={"": folder / "w.pt"})))
    resolved = resolve(Request(**asked, weights={"": folder / "w.pt#state_dict_ema"}))
    assert list(resolved.weights.values()) == [folder / "w.pt"]
    assert torch.equal(built(resolved).state_dict()["0.weight"], later["0.weight"])
    saved(folder / "w#1.pt", tiny().state_dict())
    plain = resolve(Request(**asked, weights={"": folder / "w#1.pt"}))
    assert torch.equal(built(plain).state_dict()["0.weight"], tiny().state_dict()["0.weight"])


def test_what_was_left_out_of_a_checkpoint_is_said(folder: Path):
    saved(folder / "w.pt", {"model": tiny().state_dict(), "optimizer": {}, "epoch": 3})
    said: list[str] = []
    resolved = resolve(
        Request(
            source="own_network:Tiny",
            spec_file=folder / "spec.json",
            trust=True,
            weights={"": folder / "w.pt"},
            report=said.append,
        )
    )
    built(resolved)
    assert said == ["weights: took model, left out 1 names (optimizer)"]


def test_a_state_dict_that_does_not_fit_says_which_keys(folder: Path):
    state = {"0.weight": torch.zeros(2, 1, 3, 3, 3), "1.gamma": torch.zeros(2)}
    weights = saved(folder / "weights.pt", state)
    request = Request(source="own_network:Tiny", weights={"": weights}, spec_file=folder / "spec.json", trust=True)
    words = r"weights\.pt: the weights do not fit Tiny: 1 missing \(0\.bias\); 1 unexpected \(1\.gamma\)"
    with pytest.raises(WeightsError, match=words):
        built(resolve(request))


class Evil:
    """Unpickled by `pickle.load`, this would create a folder."""

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return os.mkdir, ("created by a pickle",)


def test_a_pickle_that_wants_to_run_code_is_refused_and_does_not_run(folder: Path):
    weights = saved(folder / "weights.pt", {"0.weight": Evil()})
    request = Request(source="own_network:Tiny", weights={"": weights}, spec_file=folder / "spec.json", trust=True)
    with pytest.raises(
        WeightsError, match=r"loading this file would run code: it asks for \w+\.mkdir, and only tensors are"
    ):
        built(resolve(request))
    assert not (folder / "created by a pickle").exists()


@pytest.mark.parametrize(
    ("source", "words"),
    [
        (
            "no_such_module:Tiny",
            r"no_such_module:Tiny: expected a module and an attribute .* no module 'no_such_module'",
        ),
        ("own_package.nothing:Tiny", r"no module 'own_package\.nothing'"),
        (":Tiny", r"no module ''"),
        ("own_network:Nothing", r"own_network:Nothing: expected a module and an attribute .* no attribute 'Nothing'"),
        ("own_network:ready", r"expected a class or function that builds the network .* got an object of Tiny"),
        ("own_network:number", r"expected a class or function that builds the network .* got an object of int"),
        ("own_network:needs", r"own_network:needs: building the network failed \(TypeError: .*'width'"),
        ("broken_network:Tiny", r"broken_network:Tiny: expected a module and an attribute .* \(SyntaxError: "),
        ("own_network:text", r"expected a torch\.nn\.Module from the call, got a str"),
    ],
)
def test_an_attribute_that_builds_no_network_is_refused(source: str, words: str, folder: Path):
    request = Request(source=source, spec_file=folder / "spec.json", random_weights=True, trust=True)
    with pytest.raises(UsageError, match=words):
        built(resolve(request))


def test_weights_are_asked_for(folder: Path):
    words = r"own_network:Tiny: expected weights, got none; give --weights FILE or --random-weights"
    with pytest.raises(UsageError, match=words):
        resolve(Request(source="own_network:Tiny", spec_file=folder / "spec.json", trust=True))


def test_random_weights_of_a_module_are_the_same_each_time_and_disturb_no_other_numbers(folder: Path):
    request = Request(source="own_network:Tiny", spec_file=folder / "spec.json", random_weights=True, trust=True)
    resolve(request)  # importing it builds a network of its own
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    first, second = (built(resolve(request)).state_dict() for _ in range(2))
    assert all(torch.equal(first[name], second[name]) for name in first)
    assert torch.equal(torch.rand(3), expected)


# --- TorchScript


@pytest.fixture
def script(folder: Path) -> Path:
    path = folder / "tiny.pt"
    torch.jit.save(torch.jit.trace(tiny().eval(), torch.zeros(1, 1, 8, 8, 8)), path)
    return path


def test_torchscript_is_not_loaded_before_it_is_trusted_and_its_hash_is_named(script: Path, folder: Path):
    words = rf"tiny\.pt \(SHA-256 {sha256_of(script)}\), a TorchScript file is code that would run here; use --trust"
    with pytest.raises(UsageError, match=words):
        resolve(Request(source=str(script), spec_file=folder / "spec.json"))


def test_torchscript_that_is_exchanged_after_it_was_trusted_is_refused(script: Path, folder: Path):
    resolved = resolve(Request(source=str(script), spec_file=folder / "spec.json", trust=True))
    torch.jit.save(torch.jit.trace(nn.Conv3d(1, 2, 1).eval(), torch.zeros(1, 1, 8, 8, 8)), script)
    with pytest.raises(WeightsError, match=r"tiny\.pt: expected the SHA-256"):
        built(resolved)


def test_a_state_dict_holds_no_network(folder: Path):
    path = saved(folder / "weights.pth", tiny().state_dict())
    words = (
        r"weights\.pth: expected a TorchScript archive or a torch\.export program, got a state dict \(torch\.save\), "
        r"which has no network\. .* brain-edge convert module:attribute --weights"
    )
    with pytest.raises(WeightsError, match=words):
        resolve(Request(source=str(path), spec_file=folder / "spec.json", trust=True))


def test_a_torchscript_file_that_is_missing_is_refused(folder: Path):
    with pytest.raises(WeightsError, match=r"nothing\.pt: there is no such file"):
        resolve(Request(source="nothing.pt", spec_file=folder / "spec.json", trust=True))


def test_torchscript_becomes_a_package_with_the_masks_of_pytorch(script: Path, folder: Path):
    """From a file of the user's and a specification to a package, and nothing in between to write."""
    resolved = resolve(Request(source=str(script), spec_file=folder / "spec.json", trust=True))
    package = convert(resolved.model, resolved.weights, STUDY, folder / "package", ConvertOptions())
    manifest = open_package(package.folder).manifest
    assert manifest.weights_status is WeightsStatus.TRAINED
    assert [record.sha256 for record in manifest.weights] == [sha256_of(script)]
    # the script ends in the activation that the specification now asks of the runtime, only if probabilities are wanted
    (line,) = manifest.rewrites
    assert line.endswith("left to the runtime")
    assert without_activation(manifest.spec.stages[0]).network == SPEC.stages[0].network
    expected = reference_segmenter(resolved)(STUDY).mask.labels
    assert expected.any()
    np.testing.assert_array_equal(Segmenter.open(package.folder)(STUDY).mask.labels, expected)


# --- the specification


def two_graphs() -> ModelSpec:
    network = msgspec.structs.replace(one_graph("one"), graphs=("one", "two"))
    return msgspec.structs.replace(SPEC, stages=(msgspec.structs.replace(SPEC.stages[0], network=network),))


@pytest.mark.parametrize(
    ("content", "error", "words"),
    [
        (None, InputError, r"own\.json: there is no such specification file"),
        (b"{", PackageError, r"own\.json: this is not a model specification that this version reads"),
        (b'{"name": "x", "colour": 1}', PackageError, r"own\.json: this is not a model specification"),
        (
            canonical_json(two_graphs()),
            UsageError,
            r"own\.json: expected a specification of one network, got one of 2 \(one, two\); write a recipe",
        ),
    ],
)
def test_a_specification_that_does_not_do_is_refused(
    content: bytes | None, error: type[BrainEdgeError], words: str, folder: Path
):
    path = folder / "own.json"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(error, match=words):
        resolve(Request(source="own_network:Tiny", spec_file=path, random_weights=True, trust=True))


@pytest.mark.usefixtures("folder")
def test_a_network_of_the_users_needs_a_specification():
    with pytest.raises(UsageError, match=r"own_network:Tiny is no recipe: describe its steps with --spec FILE"):
        resolve(Request(source="own_network:Tiny", random_weights=True, trust=True))


def test_meshnet_weights_do_not_fit_another_meshnet(tmp_path: Path):
    """The hash is what is checked first; behind it the shapes are."""
    (graph,) = resolve(Request(source="meshnet-subcortical", random_weights=True)).model.graphs
    with pytest.raises(
        WeightsError, match=r"w\.pt: the weights do not fit MeshNet: \d+ differently shaped \(model\.0\."
    ):
        graph.build(saved(tmp_path / "w.pt", MeshNet(TISSUE).state_dict()))
