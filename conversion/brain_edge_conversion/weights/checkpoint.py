"""Weights from untrusted files: state dicts as data only, TorchScript only with its hash.

The content decides the format of a file, not its suffix (`.pth` files that hold safetensors are in use).
"""

from __future__ import annotations

import hashlib
import io
import pickletools
import re
import warnings
import zipfile
from collections.abc import Mapping
from enum import StrEnum
from typing import TYPE_CHECKING, Any, Final, cast

import numpy as np
import torch

from brain_edge.errors import InputError, WeightsError
from brain_edge.machine.paths import require_regular
from brain_edge.machine.process import require_free
from brain_edge.machine.zips import BROKEN_ZIP, MOST_RATIO, unpacks_too_far
from brain_edge.package.digest import is_sha256, sha256_of
from brain_edge_conversion.weights.nesting import require_shallow

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Sequence
    from pathlib import Path

WRAPPERS: Final = ("state_dict", "model_state_dict", "network_weights")
"""Keys under which training programs keep the weights (Lightning and MONAI, GaNDLF, nnU-Net v2)."""

PREFIXES: Final = ("module.", "_orig_mod.", "model.", "net.", "network.")
"""Prefixes that DataParallel, torch.compile and Lightning modules put before each key."""

SAFE_EXPORT: Final = (
    "where it was trained, save only the tensors: torch.save(model.state_dict(), 'weights.pt'), "
    "or safetensors.torch.save_file(model.state_dict(), 'weights.safetensors')"
)

_OTHERS: Final = {
    b"version https://git-lfs": "the file is a pointer of Git LFS, fetch the weights (git lfs pull)",
    b"/annex/objects/": "the file is a pointer of git-annex, fetch the weights (datalad get)",
    b"<": "the file is a web page, download the weights themselves",
    b"{": "the file is JSON, such as the index of split weights: save all tensors in one file",
}
"""First bytes of text files that are taken for weights, and what to do."""
_ZIP_MAGIC: Final = b"PK\x03\x04"
_LISTED: Final = 5
_LEGACY_PICKLES: Final = 5  # magic number, protocol, system, the object, the storage keys
_LIST_LIMIT_BYTES: Final = 16 * 2**20
"""Of what lists the tensors of a file, which takes Python some seconds: a hundred thousand tensors have less."""
_NAMED_LIMIT_BYTES: Final = 4 * 2**20
_HARMLESS_GLOBAL: Final = re.compile(
    r"collections\.OrderedDict|_codecs\.encode|numpy\.(dtype|ndarray|_?core\.multiarray\.(scalar|_reconstruct))"
    r"|torch\.(_utils\._rebuild_\w+|\w+Storage|storage\.\w+Storage|Size|\w*(float|int|complex|bool)\w*)"
)


class WeightsFormat(StrEnum):
    """Format of a weights file, by its content.

    - SAFETENSORS: a JSON header and raw tensors; holds no code by design.
    - TORCH_ZIP: written by `torch.save` since PyTorch 1.6; a zip with one pickle and raw tensors.
    - TORCHSCRIPT: a zip with a program and its weights; loading it is running code.
    - EXPORTED: a zip with a program of `torch.export` and its weights; loading it is running code.
    - PICKLE: written by `torch.save` before 1.6, or any other pickle.
    """

    SAFETENSORS = "safetensors"
    TORCH_ZIP = "torch.save"
    TORCHSCRIPT = "TorchScript"
    EXPORTED = "torch.export"
    PICKLE = "pickle"


def weights_format(path: Path) -> WeightsFormat:
    """Return the format of a file, from its first bytes and, for a zip, its member names.

    Raises:
        WeightsError: the file is missing, truncated, or of another format.
    """
    head = _read(path, 64)
    if head[:4] == _ZIP_MAGIC:
        return _zip_format(path)
    if head[:1] == b"\x80":  # the PROTO opcode with which every pickle since protocol 2 starts
        return WeightsFormat.PICKLE
    # safetensors: the length of the header in 8 bytes, then the header, which is a JSON object
    if head[8:9] == b"{" and int.from_bytes(head[:8], "little") < 100_000_000:
        return WeightsFormat.SAFETENSORS
    told = next((words for start, words in _OTHERS.items() if head.lstrip().startswith(start)), "give another file")
    raise WeightsError(
        f"{path}: expected a PyTorch checkpoint or safetensors, got a file of {path.stat().st_size} bytes "
        f"that starts with {head[:12]!r}; {told}"
    )


def load_state_dict(path: Path, sha256: str | None = None) -> dict[str, torch.Tensor]:
    """Load the named tensors of a checkpoint on the CPU, without the usual wrappers; see `load_content`.

    Raises:
        WeightsError: see `load_content`; or the file holds no state dict.
    """
    return unwrapped(str(path), load_content(path, sha256))


def load_content(path: Path, sha256: str | None = None) -> Mapping[str, Any]:
    """Load everything that a file of weights holds, by name, on the CPU; nothing in the file is executed.

    Args:
        path: .pt, .pth, .ckpt, .model, .bin or .safetensors file; its suffix is ignored.
        sha256: expected SHA-256 of the file, checked before the file is opened; None for no check.

    Raises:
        WeightsError: the hash is wrong, or the file is missing, truncated, TorchScript, no checkpoint, needs more than
            tensors and plain values, or holds nothing by name.
    """
    if sha256 is not None:
        _require_sha256(path, sha256, _sha256_of(path))
    kind = weights_format(path)
    if kind in (WeightsFormat.TORCHSCRIPT, WeightsFormat.EXPORTED):
        archive = "TorchScript archive" if kind is WeightsFormat.TORCHSCRIPT else "torch.export archive"
        raise WeightsError(
            f"{path}: expected a state dict, got a {archive}, which is a program; convert the program, or {SAFE_EXPORT}"
        )
    content = _load_safetensors(path) if kind is WeightsFormat.SAFETENSORS else _load_pickled(path)
    if not isinstance(content, Mapping):
        raise WeightsError(f"{path}: expected a state dict, got a {type(content).__name__}; {SAFE_EXPORT}")
    return content


class ForeignObject:
    """Stand-in for an object in a checkpoint that is not PyTorch's.

    It accepts the pickled arguments and state of the object and keeps nothing; no class of that name is looked up.
    """

    def __init__(self, *_arguments: object) -> None:
        pass

    def __setstate__(self, _state: object) -> None:
        pass


def load_checkpoint(path: Path, *, foreign_objects: bool = False) -> Mapping[str, Any]:
    """Load everything in a checkpoint, by name; nothing in the file is executed.

    Args:
        path: path of the checkpoint.
        foreign_objects: True to accept objects that are not PyTorch's, such as tables of a data set; each becomes a
            `ForeignObject`, numpy numbers too. False to refuse them; numpy numbers then stay numbers.

    Raises:
        WeightsError: the file cannot be read as data, or is no mapping of names.
    """
    if foreign_objects:
        content = _load_with_stand_ins(path)
        if not isinstance(content, Mapping):
            raise WeightsError(
                f"{path}: expected a checkpoint that is a dictionary, got a {type(content).__name__}; give another file"
            )
        return content
    content = _load_pickled(path) if weights_format(path) is not WeightsFormat.SAFETENSORS else _load_safetensors(path)
    if not isinstance(content, Mapping):
        raise WeightsError(
            f"{path}: expected a checkpoint that is a dictionary, got a {type(content).__name__}; give another file"
        )
    return content


def fit_state_dict(module: torch.nn.Module, state: Mapping[str, torch.Tensor], source: str) -> None:
    """Load `state` into `module`, each key once; see `fitting_state`.

    Args:
        module: network; unchanged if the state is refused.
        state: tensors by name, as `load_state_dict` returns them.
        source: name of the weights in messages.

    Raises:
        WeightsError: the tensors do not fit.
    """
    module.load_state_dict(fitting_state(module, state, source), strict=True)


def fitting_state(module: torch.nn.Module, state: Mapping[str, torch.Tensor], source: str) -> dict[str, torch.Tensor]:
    """Return `state` under the names of `module`; shared `PREFIXES` are removed only if more keys then fit.

    A missing `num_batches_tracked` is no fault: it counts training steps, inference never reads it, and PyTorch before
    0.4.1 did not save it (HD-BET v1 is such a file).

    Args:
        module: network; its tensors may be shapes alone (`torch.device("meta")`).
        state: tensors by name, as `load_state_dict` returns them.
        source: name of the weights in messages.

    Raises:
        WeightsError: keys are missing, unexpected, of another shape, or not in floating point where the network is
            (quantised weights need their scales, which a cast would silently lose); the message names the keys.
    """
    wanted = module.state_dict()
    fitting = _without_prefixes(state, wanted.keys())
    needed = [key for key in wanted if not key.endswith("num_batches_tracked")]
    shapes = [
        f"{key} {tuple(fitting[key].shape)} for {tuple(tensor.shape)}"
        for key, tensor in wanted.items()
        if key in fitting and fitting[key].shape != tensor.shape
    ]
    kinds = [
        f"{key} {fitting[key].dtype}"
        for key, tensor in wanted.items()
        if key in fitting and tensor.is_floating_point() and not fitting[key].is_floating_point()
    ]
    faults = [
        listing("missing", [key for key in needed if key not in fitting]),
        listing("unexpected", [key for key in fitting if key not in wanted]),
        listing("differently shaped", shapes),
        listing("not in floating point", kinds),
    ]
    if any(faults):
        raise WeightsError(
            f"{source}: the weights do not fit {type(module).__name__}: {'; '.join(filter(None, faults))}. "
            "They belong to another network or to another configuration of this network"
        )
    return fitting


def load_torchscript(path: Path, sha256: str | None) -> torch.jit.ScriptModule:
    """Load a TorchScript program on the CPU, in the mode (training or evaluation) in which it was saved.

    The hashed bytes are the loaded bytes, so the file cannot be exchanged in between.

    Raises:
        WeightsError: the hash is missing or different, or the file is missing, damaged, or not TorchScript.
    """
    program = _read(path)
    actual = hashlib.sha256(program).hexdigest()
    if sha256 is None:
        raise WeightsError(
            f"{path}: TorchScript is code, and is loaded only with its expected SHA-256, got none; this file has "
            f"{actual}"
        )
    _require_sha256(path, sha256, actual)
    kind = weights_format(path)
    if kind is not WeightsFormat.TORCHSCRIPT:
        raise WeightsError(f"{path}: expected a TorchScript archive, got the format {kind}; give another file")
    require_shallow(program, path)
    try:
        load = cast("Callable[..., torch.jit.ScriptModule]", torch.jit.load)  # ships without annotations
        return load(io.BytesIO(program), map_location="cpu")
    except Exception as error:  # a damaged archive can fail in any way
        raise WeightsError(
            f"{path}: the TorchScript archive is damaged ({_first_line(error)}); fetch it again"
        ) from error


def _zip_format(path: Path) -> WeightsFormat:
    try:
        with zipfile.ZipFile(path) as archive:
            members = archive.infolist()
    except (*BROKEN_ZIP, OSError) as error:
        raise WeightsError(f"{path}: the checkpoint is truncated or damaged ({error}); fetch it again") from error
    unpacked = sum(info.file_size for info in members)
    if unpacks_too_far(unpacked, path.stat().st_size):
        raise WeightsError(
            f"{path}: the checkpoint unpacks to more than {MOST_RATIO} times its size, as none does; fetch it again"
        )
    require_free(unpacked, str(path))
    sizes = {info.filename.rpartition("/")[2]: info.file_size for info in members}
    names = sizes.keys()
    if sizes.get("data.pkl", 0) > _LIST_LIMIT_BYTES:
        raise WeightsError(f"{path}: {_too_long(sizes['data.pkl'])}")
    if {"model.json", "archive_format"} <= names or "serialized_exported_program.json" in names:
        return WeightsFormat.EXPORTED
    if "constants.pkl" in names:
        return WeightsFormat.TORCHSCRIPT
    if "data.pkl" in names:
        return WeightsFormat.TORCH_ZIP
    raise WeightsError(
        f"{path}: expected a checkpoint written by torch.save, got a zip archive without data.pkl; give another file"
    )


def _load_safetensors(path: Path) -> Mapping[str, torch.Tensor]:
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    if (size := int.from_bytes(_read(path, 8), "little")) > _LIST_LIMIT_BYTES:
        raise WeightsError(f"{path}: the safetensors file is truncated or damaged ({_too_long(size)}); fetch it again")
    try:
        return cast("Mapping[str, torch.Tensor]", load_file(path, device="cpu"))
    except SafetensorError as error:
        raise WeightsError(f"{path}: the safetensors file is truncated or damaged ({error}); fetch it again") from error


def _too_long(size_bytes: int) -> str:
    return f"expected a list of tensors of at most {_LIST_LIMIT_BYTES} bytes, got {size_bytes}"


def _load_pickled(path: Path) -> object:
    """Read a file with `torch.load`, with only tensors, plain values and numpy numbers allowed."""
    try:
        with torch.serialization.safe_globals(_numpy_reconstructors()), warnings.catch_warnings():
            # torch warns of protocols that it may not support; if one matters, it refuses the file itself
            warnings.filterwarnings("ignore", "Detected pickle protocol")
            return torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # a hostile or damaged pickle can make the unpickler fail in any way
        asked_for = _foreign_globals(path)
        if asked_for:
            raise WeightsError(
                f"{path}: loading this file would run code: it asks for {asked_for[0]}, and only tensors are allowed; "
                f"{SAFE_EXPORT}"
            ) from error
        raise WeightsError(
            f"{path}: truncated, damaged, or not written by torch.save ({type(error).__name__}: {_first_line(error)}); "
            "fetch it again"
        ) from error


def _load_with_stand_ins(path: Path) -> object:
    """Read a file with `torch.load`, with tensors and plain values, and stand-ins for everything else it names.

    torch looks an allowed name up only in the given list, so nothing is imported.
    """
    kind = weights_format(path)
    if kind is not WeightsFormat.TORCH_ZIP:
        raise WeightsError(
            f"{path}: expected a checkpoint written by torch.save, got the format {kind}; give another file"
        )
    try:
        named = torch.serialization.get_unsafe_globals_in_checkpoint(path)
        with torch.serialization.safe_globals([(ForeignObject, name) for name in sorted(named)]):
            return torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # a hostile or damaged pickle can make the unpickler fail in any way
        raise WeightsError(
            f"{path}: truncated, damaged, or with content that cannot be read as data ({type(error).__name__}: "
            f"{_first_line(error)}); {SAFE_EXPORT}"
        ) from error


def _numpy_reconstructors() -> list[Any]:
    """Return the functions that rebuild a pickled numpy number or numeric array, under the names of numpy 1 and 2.

    Training programs log such values beside the weights. The data types are listed one by one; `object`, which could
    carry anything, is not among them.
    """
    rebuild_scalar, rebuild_array = np.float64(0).__reduce__()[0], np.empty(0).__reduce__()[0]
    named = [
        (function, f"numpy.{core}.multiarray.{name}")
        for function, name in ((rebuild_scalar, "scalar"), (rebuild_array, "_reconstruct"))
        for core in ("core", "_core")
    ]
    numeric = np.typecodes["AllInteger"] + np.typecodes["AllFloat"] + "?US"  # and text, such as names of classes
    return [*named, np.ndarray, np.dtype, *{type(np.dtype(code)) for code in numeric}]


def _foreign_globals(path: Path) -> list[str]:
    """Return functions and classes other than tensors that a checkpoint's pickles name; only for the message.

    A file of the old format is a row of pickles before the raw tensors. The search ends at the first non-pickle.
    """
    stream = io.BytesIO(_pickle_bytes(path))
    found: list[str] = []
    for _ in range(_LEGACY_PICKLES):
        try:
            found.extend(_named_globals(stream))
        except ValueError:
            break
    return [name for name in found if not _HARMLESS_GLOBAL.fullmatch(name)]


def _pickle_bytes(path: Path) -> bytes:
    if _read(path, 4) != _ZIP_MAGIC:
        return _read(path, _NAMED_LIMIT_BYTES)
    try:
        with zipfile.ZipFile(path) as archive:
            name = next(name for name in archive.namelist() if name.rpartition("/")[2] == "data.pkl")
            with archive.open(name) as stream:
                return stream.read(_NAMED_LIMIT_BYTES)
    except (*BROKEN_ZIP, OSError):  # a damaged pickle names nothing
        return b""


def _named_globals(stream: io.BytesIO) -> list[str]:
    """Return the globals of one pickle as `module.name`, found by disassembling it (PEP 3154 for STACK_GLOBAL)."""
    found: list[str] = []
    strings: list[str] = []
    try:
        for operation, argument, _ in pickletools.genops(stream):
            if operation.name in ("GLOBAL", "INST"):
                found.append(str(argument).replace(" ", "."))
            elif operation.name == "STACK_GLOBAL":
                found.append(".".join(strings[-2:]))
            elif "UNICODE" in operation.name:
                strings.append(str(argument))
    except ValueError:
        if not found:
            raise
    return found


def unwrapped(source: str, content: Mapping[str, Any]) -> dict[str, torch.Tensor]:
    """Return the state dict itself, or the one under exactly one of `WRAPPERS`.

    Raises:
        WeightsError: there is none, or several; `source` names the weights.
    """
    if is_state_dict(content):
        return dict(content)
    wrappers = [key for key in WRAPPERS if is_state_dict(content.get(key))]
    if len(wrappers) == 1:
        return dict(content[wrappers[0]])
    found = listing("keys", [str(key) for key in content]) or "an empty dict"
    problem = f"state dicts under {' and '.join(wrappers)}" if wrappers else "no dict of tensors"
    raise WeightsError(
        f"{source}: expected a state dict, or one under one of {', '.join(WRAPPERS)}, got {problem} ({found}); "
        f"{SAFE_EXPORT}"
    )


def is_state_dict(content: object) -> bool:
    """Return True for a non-empty mapping of names to tensors."""
    if not isinstance(content, Mapping) or not content:
        return False
    return all(isinstance(key, str) and isinstance(value, torch.Tensor) for key, value in content.items())


def _without_prefixes(state: Mapping[str, torch.Tensor], wanted: Collection[str]) -> dict[str, torch.Tensor]:
    """Return `state` under the names that agree best with `wanted`: as they are, or without shared prefixes."""
    candidates = [dict(state)]
    while prefix := next((p for p in PREFIXES if all(k.startswith(p) for k in candidates[-1])), None):
        candidates.append({key.removeprefix(prefix): value for key, value in candidates[-1].items()})
    return max(candidates, key=lambda names: len(set(wanted) & names.keys()))  # the first of the best


def listing(what: str, items: Sequence[str]) -> str:
    """Return a list in words, such as `2 missing (a, b)`, with the first few names; empty for no items."""
    if not items:
        return ""
    more = ", ..." if len(items) > _LISTED else ""
    return f"{len(items)} {what} ({', '.join(items[:_LISTED])}{more})"


def _require_sha256(path: Path, expected: str, actual: str) -> None:
    if not is_sha256(expected):
        raise WeightsError(f"{path}: expected a SHA-256 of 64 hex digits in lower case for this file, got {expected!r}")
    if actual != expected:
        raise WeightsError(
            f"{path}: expected the SHA-256 {expected}, got {actual}; fetch the "
            "file again (it is damaged or another version)"
        )


def _read(path: Path, limit_bytes: int = -1) -> bytes:
    try:
        with require_regular(path).open("rb") as stream:
            return stream.read(limit_bytes)
    except OSError as error:
        raise WeightsError(
            f"{path}: the weights file cannot be read ({error.strerror}); check its path and permissions"
        ) from error


def _sha256_of(path: Path) -> str:
    try:
        return sha256_of(path)
    except InputError as error:
        raise WeightsError(str(error)) from error


def _first_line(error: Exception) -> str:
    return (str(error).splitlines() or ["no further detail"])[0][:200]
