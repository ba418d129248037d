"""Loader for `torch.export` programs (.pt2): only with their hash, and read into OpenVINO without tracing."""

from __future__ import annotations

import hashlib
import io
import logging
import warnings
from typing import TYPE_CHECKING, Any

from brain_edge.errors import BrainEdgeError, WeightsError
from brain_edge.runtime.library import import_openvino
from brain_edge_conversion.weights.converter_reason import advice_for, converter_reason

if TYPE_CHECKING:
    from pathlib import Path


def load_exported(path: Path, sha256: str) -> Any:
    """Load the `ExportedProgram` of a file on the CPU. Loading runs code, so the user must trust the file.

    The hashed bytes are the loaded bytes.

    Raises:
        WeightsError: the hash is different, or the file is missing, damaged, or of another version of PyTorch.
    """
    import torch

    try:
        content = path.read_bytes()
    except OSError as error:
        raise WeightsError(
            f"{path}: the program cannot be read ({error.strerror}); check its path and permissions"
        ) from error
    actual = hashlib.sha256(content).hexdigest()
    if actual != sha256:
        raise WeightsError(
            f"{path}: expected the SHA-256 {sha256}, got {actual}; fetch the file "
            "again (it is damaged or another version)"
        )
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            logging.disable(logging.CRITICAL)  # torch logs the traceback of what is raised and said here
            return torch.export.load(io.BytesIO(content))
    except Exception as error:  # a damaged archive can fail in any way
        reason = (str(error).strip().splitlines() or ["no further detail"])[0][:200]
        raise WeightsError(
            f"{path}: PyTorch {torch.__version__} does not load this torch.export program ({type(error).__name__}: "
            f"{reason}). The file is damaged or of another version of PyTorch; export the program again with this "
            "version"
        ) from error
    finally:
        logging.disable(logging.NOTSET)


def input_shape(program: Any, source: str) -> tuple[int, ...]:
    """Return the shape of the only input, -1 for sides that the program leaves open.

    Raises:
        WeightsError: the program takes several inputs, or an input that is no tensor.
    """
    names = program.graph_signature.user_inputs
    shapes = [node.meta["val"].shape for node in program.graph.nodes if node.op == "placeholder" and node.name in names]
    if len(names) != 1 or len(shapes) != 1:
        raise WeightsError(
            f"{source}: expected a program with one input, got {len(names)} ({', '.join(map(str, names))}); "
            "export a module whose forward takes all sequences as channels of one tensor"
        )
    return tuple(side if isinstance(side, int) else -1 for side in shapes[0])


def read_exported(program: Any, source: str) -> Any:
    """Convert a program to an OpenVINO model; its input keeps the sides that the program was exported for.

    Raises:
        BrainEdgeError: OpenVINO has no equivalent of an operator; the message names it.
        WeightsError: the program takes several inputs.
    """
    shape = input_shape(program, source)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # PyTorch's own deprecations while the program is decomposed
            return import_openvino().convert_model(program, input=[list(shape)])
    except Exception as error:  # the converter raises RuntimeError, errors of its own, and torch's
        fixed = "; export it with fixed sides, those of a window" if -1 in shape[2:] else ""
        reason = f"{converter_reason(error)}{advice_for(error) or fixed}"
        raise BrainEdgeError(f"{source}: OpenVINO cannot convert this torch.export program: {reason}") from error
