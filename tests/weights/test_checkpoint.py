"""Weights are read as data: judged against torch.save, safetensors, and pickles that want to run code."""

from __future__ import annotations

import json
import os
import pickle
import zipfile
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="the build side needs the extra `convert`")
safetensors_torch = pytest.importorskip("safetensors.torch", reason="the extra `convert` brings it")

from torch import nn  # noqa: E402

from brain_edge.errors import WeightsError  # noqa: E402
from brain_edge.package.digest import sha256_of  # noqa: E402
from brain_edge_conversion.weights.checkpoint import (  # noqa: E402 - after the check that torch is there
    PREFIXES,
    WRAPPERS,
    WeightsFormat,
    fit_state_dict,
    load_state_dict,
    load_torchscript,
    weights_format,
)

if TYPE_CHECKING:
    from torch import dtype as DType  # noqa: N812 - the tests have arguments of its name

WRONG = "0" * 64
MKDIR = rf"{os.mkdir.__module__}\.mkdir"  # posix or nt


def network() -> nn.Sequential:
    torch.manual_seed(3)
    return torch.nn.Sequential(torch.nn.Conv3d(1, 2, 3), torch.nn.BatchNorm3d(2), torch.nn.Conv3d(2, 1, 1))


class OwnNetwork(nn.Module):
    """A module that a whole-module pickle can only name by import."""


class Evil:
    """Unpickled by `pickle.load`, this would create the file `path`."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self):
        return os.mkdir, (str(self.path),)


def same(state, other) -> bool:
    return state.keys() == other.keys() and all(torch.equal(state[key], other[key]) for key in state)


def save(content, path: Path, **options) -> Path:
    torch.save(content, path, **options)
    return path


@pytest.fixture
def script(tmp_path) -> Path:
    path = tmp_path / "script.pt"
    torch.jit.save(torch.jit.trace(network().eval(), torch.zeros(1, 1, 4, 4, 4)), path)
    return path


# --- what is read


@pytest.mark.parametrize("suffix", [".pt", ".pth", ".ckpt", ".model", ".bin"])
@pytest.mark.parametrize("zipped", [True, False])
def test_both_formats_of_torch_save_are_read_under_every_suffix(suffix, zipped, tmp_path):
    path = save(network().state_dict(), tmp_path / f"w{suffix}", _use_new_zipfile_serialization=zipped)
    assert weights_format(path) is (WeightsFormat.TORCH_ZIP if zipped else WeightsFormat.PICKLE)
    assert same(load_state_dict(path, sha256_of(path)), network().state_dict())


@pytest.mark.parametrize("suffix", [".safetensors", ".pth"])
def test_safetensors_are_known_by_content(suffix, tmp_path):
    path = tmp_path / f"w{suffix}"
    safetensors_torch.save_file(network().state_dict(), path)
    assert weights_format(path) is WeightsFormat.SAFETENSORS
    assert same(load_state_dict(path), network().state_dict())


@pytest.mark.parametrize("wrapper", WRAPPERS)
def test_the_usual_wrappers_are_taken_off(wrapper, tmp_path):
    path = save({wrapper: network().state_dict(), "epoch": 3, "optimizer": {"lr": 0.1}}, tmp_path / "w.pt")
    assert same(load_state_dict(path), network().state_dict())


@pytest.mark.parametrize("zipped", [True, False])
@pytest.mark.parametrize("dtype", ["float16", "float32", "float64", "int8", "uint8", "int64", "bool"])
def test_numbers_and_arrays_of_numpy_beside_the_weights_are_no_obstacle(dtype, zipped, tmp_path):
    logged = {
        "dice": np.ones(3, dtype),
        "best": np.dtype(dtype).type(1),
        "state_dict": network().state_dict(),
    }
    path = save(logged, tmp_path / "w.ckpt", _use_new_zipfile_serialization=zipped)
    assert same(load_state_dict(path), network().state_dict())


def test_the_names_of_numpy_1_are_known_too(tmp_path):
    path = save({"best": np.float64(0.9), "state_dict": network().state_dict()}, tmp_path / "w.pt")
    old = tmp_path / "old.pt"
    with zipfile.ZipFile(path) as source, zipfile.ZipFile(old, "w") as target:
        for name in source.namelist():
            target.writestr(name, source.read(name).replace(b"numpy._core", b"numpy.core"))
    assert b"numpy.core" in old.read_bytes()
    assert same(load_state_dict(old), network().state_dict())


# --- what is refused


@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
def test_a_pickle_that_wants_to_run_code_runs_none_and_is_named(protocol, tmp_path):
    path = tmp_path / "w.pt"
    path.write_bytes(pickle.dumps({"state_dict": Evil(tmp_path / "created")}, protocol))
    with pytest.raises(WeightsError, match=rf"would run code: it asks for {MKDIR}.*model\.state_dict\(\)"):
        load_state_dict(path)
    assert not (tmp_path / "created").exists()
    pickle.loads(path.read_bytes())  # noqa: S301 - the proof that the pickle is loaded, not blunt
    assert (tmp_path / "created").exists()


@pytest.mark.parametrize("zipped", [True, False])
def test_a_checkpoint_that_hides_code_among_tensors_runs_none(zipped, tmp_path):
    content = {**network().state_dict(), "extra": Evil(tmp_path / "created")}
    path = save(content, tmp_path / "w.pt", _use_new_zipfile_serialization=zipped)
    with pytest.raises(WeightsError, match=rf"asks for {MKDIR}"):
        load_state_dict(path)
    assert not (tmp_path / "created").exists()


def test_an_array_of_objects_is_refused(tmp_path):
    path = save({"a": np.array([{}], dtype=object), "state_dict": network().state_dict()}, tmp_path / "w.pt")
    with pytest.raises(WeightsError, match=r"not written by torch\.save|would run code"):
        load_state_dict(path)


@pytest.mark.parametrize("zipped", [True, False])
def test_a_whole_module_is_refused_with_the_way_to_export_it(zipped, tmp_path):
    path = save(OwnNetwork(), tmp_path / "w.pt", _use_new_zipfile_serialization=zipped)
    with pytest.raises(WeightsError, match=r"asks for .*OwnNetwork.*torch\.save\(model\.state_dict\(\)"):
        load_state_dict(path)


def test_torchscript_is_refused_by_name_where_a_state_dict_is_expected(script):
    with pytest.raises(WeightsError, match="expected a state dict, got a TorchScript archive, which is a program"):
        load_state_dict(script)


@pytest.mark.parametrize("kept_share", [0.01, 0.5, 0.98])
@pytest.mark.parametrize("zipped", [True, False])
def test_a_truncated_checkpoint_is_refused(zipped, kept_share, tmp_path):
    path = save(network().state_dict(), tmp_path / "w.pt", _use_new_zipfile_serialization=zipped)
    path.write_bytes(path.read_bytes()[: int(path.stat().st_size * kept_share)])
    with pytest.raises(WeightsError, match="truncated"):
        load_state_dict(path)


@pytest.mark.parametrize("kept_share", [0.1, 0.5, 0.98])
def test_truncated_safetensors_are_refused(kept_share, tmp_path):
    path = tmp_path / "w.safetensors"
    safetensors_torch.save_file(network().state_dict(), path)
    path.write_bytes(path.read_bytes()[: int(path.stat().st_size * kept_share)])
    with pytest.raises(WeightsError, match="the safetensors file is truncated or damaged"):
        load_state_dict(path)


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (b"", "give another file"),
        (b"cos\nsystem\n", "give another file"),
        (b"<!DOCTYPE html>", "the file is a web page, download the weights themselves"),
        (b"version https://git-lfs.github.com/spec/v1\n", r"a pointer of Git LFS, fetch the weights \(git lfs pull\)"),
        (b"/annex/objects/MD5E-s1--a.pt\n", "a pointer of git-annex, fetch the weights"),
        (b'{"metadata": {}, "weight_map": {}}', "the index of split weights: save all tensors in one file"),
    ],
)
def test_what_is_no_checkpoint_is_refused_with_how_it_starts(content, told, tmp_path):
    (tmp_path / "w.pt").write_bytes(content)
    words = (
        rf"expected a PyTorch checkpoint or safetensors, got a file of {len(content)} bytes that starts with .*{told}"
    )
    with pytest.raises(WeightsError, match=words):
        load_state_dict(tmp_path / "w.pt")


def test_a_zip_of_something_else_is_refused(tmp_path):
    np.savez(tmp_path / "w.npz", a=np.zeros(3))
    with pytest.raises(WeightsError, match=r"got a zip archive without data\.pkl"):
        load_state_dict(tmp_path / "w.npz")


def test_a_plain_pickle_of_plain_values_is_refused(tmp_path):
    (tmp_path / "w.pt").write_bytes(pickle.dumps({"a": 1}, 2))
    with pytest.raises(WeightsError, match=r"truncated, damaged, or not written by torch\.save"):
        load_state_dict(tmp_path / "w.pt")


def test_a_missing_file_is_refused(tmp_path):
    with pytest.raises(WeightsError, match=r"w\.pt: the weights file cannot be read \(No such file"):
        load_state_dict(tmp_path / "w.pt")
    with pytest.raises(WeightsError, match="cannot be read"):
        load_state_dict(tmp_path / "w.pt", WRONG)


def test_a_wrong_hash_is_refused_before_the_file_is_opened_as_weights(tmp_path):
    (tmp_path / "w.pt").write_bytes(b"no checkpoint")
    with pytest.raises(WeightsError, match=f"expected the SHA-256 {WRONG}, got [0-9a-f]{{64}}; fetch the file again"):
        load_state_dict(tmp_path / "w.pt", WRONG)
    with pytest.raises(WeightsError, match="64 hex digits in lower case for this file, got 'abc'"):
        load_state_dict(tmp_path / "w.pt", "abc")


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ([torch.zeros(1)], "expected a state dict, got a list"),
        (torch.zeros(1), "expected a state dict, got a Tensor"),
        ({}, "got no dict of tensors .an empty dict"),
        ({"epoch": 1, "best": {"w": torch.zeros(1)}}, r"got no dict of tensors \(2 keys \(epoch, best\)\)"),
        ({"w": torch.zeros(1), "name": "x"}, "got no dict of tensors"),
        (
            {"state_dict": {"w": torch.zeros(1)}, "network_weights": {"w": torch.ones(1)}},
            "got state dicts under state_dict and network_weights",
        ),
    ],
)
def test_a_checkpoint_without_exactly_one_state_dict_is_refused(content, words, tmp_path):
    with pytest.raises(WeightsError, match=words):
        load_state_dict(save(content, tmp_path / "w.pt"))


# --- fitting


@pytest.mark.parametrize("prefix", ["", *PREFIXES, "model.module.", "module.net."])
def test_a_prefix_that_all_keys_share_is_taken_off_where_that_makes_them_fit(prefix):
    module = network()
    state = {f"{prefix}{key}": value + 1 for key, value in module.state_dict().items()}
    fit_state_dict(module, state, "weights.pt")
    assert same({f"{prefix}{key}": value for key, value in module.state_dict().items()}, state)


def test_a_prefix_that_belongs_to_the_network_stays():
    module = torch.nn.Module()
    module.model = network()
    state = {key: value + 1 for key, value in module.state_dict().items()}
    fit_state_dict(module, state, "weights.pt")
    assert same(module.state_dict(), state)


def test_weights_that_do_not_fit_are_refused_with_their_keys_and_change_nothing():
    module = network()
    before = {key: value.clone() for key, value in module.state_dict().items()}
    state = {f"module.{key}": value + 1 for key, value in before.items() if key != "0.bias"}
    state["module.2.weight"] = torch.zeros(1, 5, 1, 1, 1)
    state["module.extra"] = torch.zeros(1)
    words = (
        r"weights\.pt: the weights do not fit Sequential: 1 missing \(0\.bias\); 1 unexpected \(extra\); "
        r"1 differently shaped \(2\.weight \(1, 5, 1, 1, 1\) for \(1, 2, 1, 1, 1\)\)\. They belong to another"
    )
    with pytest.raises(WeightsError, match=words):
        fit_state_dict(module, state, "weights.pt")
    assert same(module.state_dict(), before)


@pytest.mark.parametrize("dtype", [torch.int8, torch.bool, torch.complex64])
def test_quantised_weights_without_their_scales_are_refused(dtype: DType):
    """A cast would make most of them 0 without a word."""
    module = network()
    state = module.state_dict() | {"0.weight": module.state_dict()["0.weight"].to(dtype)}
    with pytest.raises(WeightsError, match=rf"1 not in floating point \(0\.weight {dtype}\)\. They belong"):
        fit_state_dict(module, state, "weights.pt")


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_weights_of_another_precision_are_taken(dtype: DType):
    module, other = network(), network()
    fit_state_dict(module, {key: value.to(dtype) for key, value in other.state_dict().items()}, "weights.pt")
    for key, value in module.state_dict().items():
        torch.testing.assert_close(value, other.state_dict()[key], rtol=1e-2, atol=1e-2)


def test_of_many_faults_the_first_five_are_listed_and_all_are_counted():
    with pytest.raises(WeightsError, match=r"8 missing \(0\.weight, .*\.\.\.\); 9 unexpected \(k0, k1, k2, k3, k4, "):
        fit_state_dict(network(), {f"k{i}": torch.zeros(1) for i in range(9)}, "weights.pt")


def test_weights_from_before_step_counting_fit():
    module = network()
    state = {k: v + 1 for k, v in module.state_dict().items() if not k.endswith("num_batches_tracked")}
    fit_state_dict(module, state, "weights.pt")
    assert all(torch.equal(module.state_dict()[key], value) for key, value in state.items())


# --- TorchScript


def test_torchscript_with_its_hash_computes_what_the_module_did(script):
    loaded = load_torchscript(script, sha256_of(script))
    volume = torch.rand(1, 1, 4, 4, 4)
    assert torch.equal(loaded(volume), network().eval()(volume))


def test_torchscript_without_a_hash_is_refused_because_it_is_code(script):
    with pytest.raises(WeightsError, match=f"TorchScript is code, .* this file has {sha256_of(script)}"):
        load_torchscript(script, None)


def test_torchscript_with_another_hash_is_refused(script):
    with pytest.raises(WeightsError, match=f"expected the SHA-256 {WRONG}"):
        load_torchscript(script, WRONG)


def test_a_state_dict_is_no_torchscript(tmp_path):
    path = save(network().state_dict(), tmp_path / "w.pt")
    with pytest.raises(WeightsError, match=r"expected a TorchScript archive, got the format torch\.save"):
        load_torchscript(path, sha256_of(path))


def test_a_damaged_torchscript_archive_is_refused(script, tmp_path):
    damaged = tmp_path / "damaged.pt"
    with zipfile.ZipFile(script) as source, zipfile.ZipFile(damaged, "w") as target:
        for name in source.namelist():
            if "data/0" not in name:
                target.writestr(name, source.read(name))
    with pytest.raises(WeightsError, match="the TorchScript archive is damaged"):
        load_torchscript(damaged, sha256_of(damaged))


# --- published weights


@pytest.mark.data
@pytest.mark.skipif("BRAIN_EDGE_DATA" not in os.environ, reason="BRAIN_EDGE_DATA is not set")
@pytest.mark.parametrize("model", ["model5_gw_ae", "subcortical", "model18cls", "model30chan50cls"])
def test_the_safetensors_that_brainchop_publishes_as_pth_are_read(model):
    path = Path(os.environ["BRAIN_EDGE_DATA"], "weights", "brainchop_models", model, "model.pth")
    with path.open("rb") as stream:
        header = json.loads(stream.read(int.from_bytes(stream.read(8), "little")))
    state = load_state_dict(path)
    assert {key: list(value.shape) for key, value in state.items()} == {
        key: entry["shape"] for key, entry in header.items() if key != "__metadata__"
    }


def newer_zip(path: Path) -> Path:
    """One byte of the central directory changed: a version of the format that there is not."""
    content = bytearray(path.read_bytes())
    content[content.rindex(b"PK\x01\x02") + 6] = 110
    path.write_bytes(content)
    return path


def test_a_zip_of_a_version_that_there_is_not_is_refused(tmp_path):
    torch.save({"w": torch.ones(1)}, tmp_path / "w.pt")
    with pytest.raises(WeightsError, match=r"w\.pt: the checkpoint is truncated or damaged \(zip file version 11"):
        load_state_dict(newer_zip(tmp_path / "w.pt"))


def test_torchscript_that_is_damaged_inside_is_refused(script, monkeypatch):
    """What PyTorch raises then is of any kind."""

    def load(*_args: object, **_options: object) -> None:
        raise IndexError("Argument passed to at() was not in the map")

    monkeypatch.setattr(torch.jit, "load", load)
    with pytest.raises(WeightsError, match=r"the TorchScript archive is damaged \(Argument passed to at\(\)"):
        load_torchscript(script, sha256_of(script))


def test_a_list_of_tensors_that_would_keep_python_busy_is_refused(tmp_path):
    """A few kilobytes, as the zip is compressed."""
    path = tmp_path / "w.pt"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("w/data.pkl", b"\x80\x02" + b"(" * 17 * 2**20)
    with pytest.raises(
        WeightsError, match=r"w\.pt: expected a list of tensors of at most 16777216 bytes, got 17825794"
    ):
        load_state_dict(path)


def test_a_header_of_safetensors_that_would_keep_python_busy_is_refused(tmp_path):
    empty = '"dtype":"F32","shape":[0],"data_offsets":[0,0]'
    header = ("{" + ",".join(f'"{number}":{{{empty}}}' for number in range(400_000)) + "}").encode()
    (tmp_path / "w.safetensors").write_bytes(len(header).to_bytes(8, "little") + header)
    with pytest.raises(WeightsError, match=r"w\.safetensors: the safetensors file is .* at most 16777216 bytes, got"):
        load_state_dict(tmp_path / "w.safetensors")


@pytest.mark.parametrize("nested", [b"(" * 20_000, b"-" * 20_000, b"[" * 501], ids=["brackets", "signs", "lists"])
def test_torchscript_of_which_pytorch_would_die_is_refused(nested, script, tmp_path):
    """Its parser goes down by recursion until the stack of the process is full."""
    path = tmp_path / "deep.pt"
    with zipfile.ZipFile(script) as source, zipfile.ZipFile(path, "w") as target:
        for info in source.infolist():
            content = source.read(info)
            target.writestr(info, content + b"\n_ = " + nested if info.filename.endswith(".py") else content)
    with pytest.raises(WeightsError, match=r"deep.pt: the TorchScript archive is damaged \(its code has more than 500"):
        load_torchscript(path, sha256_of(path))
