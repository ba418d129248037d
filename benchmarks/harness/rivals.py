"""How the peers are set up: INT8 of PyTorch and of ONNX Runtime are made once, then each is opened to be called."""

from __future__ import annotations

import copy
import warnings
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from brain_edge.machine.description import this_machine

from .engines import Engine, Library

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from torch import fx, nn

    from brain_edge.image.volume import FloatArray

QCONFIG: Final = "x86"
VNNI: Final = frozenset({"avx512_vnni", "avx_vnni", "amx_int8"})


def open_pytorch(
    engine: Engine, module: nn.Module, weights: Path | None, batch: FloatArray, threads: int
) -> Callable[[], FloatArray]:
    """Return a module in f32, or as the engine says: under autocast to bf16, in INT8, compiled.

    Args:
        engine: one of PyTorch's.
        module: in evaluation mode.
        weights: of the INT8 network, as `save_fx_int8` wrote them.
        batch: (1, C, I, J, K).
        threads: that it computes with.
    """
    import torch

    torch.set_num_threads(threads)
    given, halved = torch.from_numpy(np.ascontiguousarray(batch)), engine.precision == "bf16"
    if weights is not None:
        module = load_fx_int8(module, given, weights)
    elif engine.dynamic:
        module = with_dynamic_int8(module)
    elif halved and engine.library is Library.PYTORCH:
        given = given.to(memory_format=torch.channels_last_3d)
        module.to(memory_format=torch.channels_last_3d)  # type: ignore[call-overload]  # not among the declared ones
    call: Any = torch.compile(module, dynamic=False) if engine.library is Library.TORCH_COMPILE else module

    def answer() -> FloatArray:
        with torch.no_grad(), torch.autocast("cpu", dtype=torch.bfloat16, enabled=halved):
            return np.asarray(call(given).float().contiguous().numpy())

    return answer


def open_onnxruntime(graph: Path, batch: FloatArray, threads: int) -> Callable[[], FloatArray]:
    """A graph with all of its optimisations, on the CPU."""
    from brain_edge_conversion.weights.onnx_graph import import_onnxruntime

    onnxruntime = import_onnxruntime()
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    session = onnxruntime.InferenceSession(str(graph), options, providers=["CPUExecutionProvider"])
    given = {session.get_inputs()[0].name: batch}
    return lambda: np.asarray(session.run(None, given)[0])


def save_fx_int8(module: nn.Module, calibration: Sequence[FloatArray], path: Path) -> None:
    """Weights and scales of a module in INT8 by FX graph mode quantisation, calibrated on batches (1, C, I, J, K)."""
    import torch

    # torch.ao says that it is moving to torchao, and its packed weights are of a storage that is old
    with torch.no_grad(), warnings.catch_warnings(action="ignore"):
        prepared = _prepared(module, torch.from_numpy(calibration[0]))
        for batch in calibration:
            prepared(torch.from_numpy(batch))
        torch.save(_converted(prepared).state_dict(), path)


def load_fx_int8(module: nn.Module, example: Any, path: Path) -> nn.Module:
    """The module that `save_fx_int8` has quantised."""
    import torch

    with warnings.catch_warnings(action="ignore"):
        found = _converted(_prepared(module, example))
        found.load_state_dict(torch.load(path, weights_only=False))
    return found


def with_dynamic_int8(module: nn.Module) -> nn.Module:
    """Return a copy whose linear and recurrent layers have INT8 weights, and ranges of activations as they come.

    PyTorch has no such kernel for convolutions, which stay as they are.
    """
    import torch

    with warnings.catch_warnings(action="ignore"):
        quantised: nn.Module = torch.ao.quantization.quantize_dynamic(  # type: ignore[no-untyped-call]
            module, dtype=torch.qint8
        )
    return quantised


def _prepared(module: nn.Module, example: Any) -> fx.GraphModule:
    import torch
    from torch.ao.quantization import get_default_qconfig_mapping
    from torch.ao.quantization.quantize_fx import prepare_fx

    torch.backends.quantized.engine = QCONFIG
    mapping = get_default_qconfig_mapping(QCONFIG)
    # without INT8 kernels of three dimensions: transposed convolutions with a scale per channel, trilinear upsampling
    for kind in (torch.nn.ConvTranspose3d, torch.nn.Upsample, torch.nn.functional.interpolate):
        mapping.set_object_type(kind, None)
    return prepare_fx(with_batch_norms(module), mapping, (example,))


def _converted(prepared: fx.GraphModule) -> nn.Module:
    from torch.ao.quantization.quantize_fx import convert_fx

    converted: nn.Module = convert_fx(prepared)
    return converted


def with_batch_norms(module: nn.Module) -> nn.Module:
    """A copy whose instance norms with running statistics are the batch norms that they equal in evaluation mode.

    Only those are folded into convolutions.
    """
    import torch

    changed = copy.deepcopy(module).eval()
    for parent in list(changed.modules()):
        for name, norm in list(parent.named_children()):
            if isinstance(norm, torch.nn.InstanceNorm3d) and norm.track_running_stats:
                same = torch.nn.BatchNorm3d(norm.num_features, eps=norm.eps, affine=norm.affine)
                same.load_state_dict(norm.state_dict())
                setattr(parent, name, same.eval())
    return changed


def save_onnx_int8(graph: Path, calibration: Sequence[FloatArray], path: Path) -> None:
    """A graph of ONNX in INT8: preprocessed, then quantised with ranges from batches (1, C, I, J, K)."""
    from brain_edge_conversion.weights.onnx_graph import import_onnxruntime

    import_onnxruntime()
    from onnxruntime.quantization import CalibrationDataReader, QuantFormat, QuantType, quantize_static
    from onnxruntime.quantization.shape_inference import quant_pre_process

    class Batches(CalibrationDataReader):  # type: ignore[misc]  # of a library without types
        def __init__(self, name: str) -> None:
            self._left = iter([{name: batch} for batch in calibration])

        def get_next(self) -> dict[str, FloatArray] | None:
            return next(self._left, None)

    import onnx

    ready = path.with_suffix(".ready.onnx")
    quant_pre_process(str(graph), str(ready), skip_symbolic_shape=True)  # which is for transformers
    quantize_static(
        str(ready),
        str(path),
        Batches(onnx.load(str(graph), load_external_data=False).graph.input[0].name),
        quant_format=QuantFormat.QDQ,
        activation_type=QuantType.QUInt8,
        weight_type=QuantType.QInt8,
        per_channel=True,
        reduce_range=not VNNI & set(this_machine().flags),
    )
    ready.unlink()
