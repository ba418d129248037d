"""Interpolation `nearest-exact` in operations that OpenVINO has, for any size of the volume; no value changes.

OpenVINO has no rule for PyTorch's operation. For whole factors the mode is `nearest` itself. For any other size the
nearest voxels are taken by their indices.
"""

from __future__ import annotations

import inspect
from typing import TYPE_CHECKING, Any, Final

import torch
from torch.nn.functional import interpolate
from torch.overrides import TorchFunctionMode

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

MODE: Final = "nearest-exact"
OPERATION: Final = "_upsample_nearest_exact"
"""Start of the name of PyTorch's operation, as converters tell it."""
_SIGNATURE: Final = inspect.signature(interpolate)


class WithoutNearestExact(TorchFunctionMode):
    """Mode of PyTorch in which `torch.nn.functional.interpolate` computes `nearest-exact` by other operations."""

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: object,
        args: Sequence[Any] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        """Call a function of PyTorch, or take the nearest voxels."""
        if func is interpolate:
            call = _SIGNATURE.bind(*args, **kwargs or {}).arguments
            if call.get("mode") == MODE and not call.get("recompute_scale_factor"):
                return nearest_exact(call["input"], call.get("size"), _scales(call))
        return func(*args, **kwargs or {})


def nearest_exact(image: torch.Tensor, size: Any, scales: Sequence[float] | None) -> torch.Tensor:
    """Resize an image (N, C, ...) to the nearest voxels, as `interpolate` does in the mode `nearest-exact`.

    Args:
        image: image (N, C, ...).
        size: sides of the result, or one side for all axes; None where factors are given.
        scales: factor of each axis; None where sides are given.
    """
    if scales is not None and all(scale.is_integer() for scale in scales):
        return interpolate(image, scale_factor=list(scales), mode="nearest")
    for number, axis in enumerate(range(2, image.ndim)):
        # tensors, so that tracing keeps them open
        before = torch.as_tensor(image.shape[axis])
        if scales is None:
            after = torch.as_tensor(size[number] if isinstance(size, list | tuple | torch.Size) else size)
            ratio = before / after
        else:
            after, ratio = torch.floor(before * scales[number]), torch.tensor(1 / scales[number])
        # as PyTorch's kernel rounds: the ratio is float32, multiplied and reduced by a half in one step
        each = torch.arange(after, dtype=torch.float64)  # type: ignore[call-overload]  # a tensor keeps the trace open
        places = ((each + 0.5) * ratio.double() - 0.5).clamp(min=0).float() + 0.5
        image = image.index_select(axis, torch.minimum(places.floor().long(), before - 1))
    return image


def _scales(call: Mapping[str, Any]) -> list[float] | None:
    """Return the factor of each axis in a call of `interpolate`; None where the call gives sides."""
    scale = call.get("scale_factor")
    if scale is None:
        return None
    axes = call["input"].ndim - 2
    return [float(each) for each in scale] if isinstance(scale, list | tuple) else [float(scale)] * axes
