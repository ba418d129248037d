"""Arguments of the transforms of a MONAI bundle: read, and refused if one is not understood."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from brain_edge.errors import InputError
from brain_edge_conversion.folders.monai_config import ELSEWHERE

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

    from brain_edge_conversion.folders.monai_config import Component

FLOAT32: Final = (None, "float32", "$np.float32", "$numpy.float32", "$torch.float32")
"""Spellings of float32, the only number format of the steps; the Python expressions are recognised, not run."""
EVERYWHERE: Final = frozenset(
    {"keys", "allow_missing_keys", "device", "meta_key_postfix", "meta_keys", "meta_dict_key"}
)
"""Arguments of any transform that set where values are stored and do not change them."""


def taken(
    component: Component,
    wanted: Mapping[str, Any] | None = None,
    *,
    fixed: Mapping[str, Collection[Any]] | None = None,
    idle: Collection[str] = (),
) -> dict[str, Any]:
    """Return the arguments that a step needs.

    Args:
        component: transform or inferer.
        wanted: needed arguments, with their defaults.
        fixed: arguments that must have one of the listed values if given; `dtype` is always among them.
        idle: arguments that do not change the values.

    Raises:
        InputError: there is another argument, or an argument is not data.
    """
    wanted, fixed = wanted or {}, {"lazy": (False, None)} | dict(fixed or {})
    for name, value in component.arguments.items():
        if name in wanted or name in idle or name in EVERYWHERE or (name == "dtype" and _is_float32(value)):
            continue
        if name not in fixed or component.data(name) not in fixed[name]:
            raise no_equivalent(component, f"{name} {value!r}"[:80])
    return {name: component.data(name, default) for name, default in wanted.items()}


def no_equivalent(component: Component, what: str) -> InputError:
    """Return the refusal of a transform for one of its arguments."""
    return InputError(
        f"{component.config.path}: {component.place} is {component.target} with {what}, which has no equivalent among "
        f"the steps; {ELSEWHERE}"
    )


def unknown(component: Component, known: Collection[str]) -> InputError:
    """Return the refusal of an unknown component."""
    return InputError(
        f"{component.config.path}: expected one of {', '.join(sorted(known))} at {component.place}, got "
        f"{component.target}, which has no equivalent among the steps; {ELSEWHERE}"
    )


def one_key(component: Component) -> str:
    """Return the only key that a transform works on.

    Raises:
        InputError: the transform works on several keys.
    """
    keys = component.data("keys")
    keys = [keys] if isinstance(keys, str) else keys
    if not isinstance(keys, list) or len(keys) != 1 or not isinstance(keys[0], str):
        raise no_equivalent(component, f"keys {keys!r} (expected one)")
    return keys[0]


def single(component: Component, name: str, value: Any) -> Any:
    """Return an argument that may be a list with one entry for the only key."""
    if not isinstance(value, list):
        return value
    if len(value) != 1:
        raise no_equivalent(component, f"{name} {value!r}")
    return value[0]


def three(component: Component, name: str, value: Any, kind: type[int] | type[float]) -> tuple[Any, Any, Any]:
    """Return a positive number per axis; a single number stands for all axes.

    Raises:
        InputError: the value is something else.
    """
    values = value if isinstance(value, list) else [value] * 3
    accepted = (int,) if kind is int else (int, float)
    if len(values) != 3 or any(
        isinstance(each, bool) or not isinstance(each, accepted) or each <= 0 for each in values
    ):
        raise no_equivalent(component, f"{name} {value!r} (expected three positive numbers)")
    return kind(values[0]), kind(values[1]), kind(values[2])


def _is_float32(value: Any) -> bool:
    return isinstance(value, str | None) and value in FLOAT32
