"""What a transform of a MONAI bundle was given, and whether all of it is understood."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from brain_edge.errors import InputError
from brain_edge_conversion.folders.monai_config import ELSEWHERE

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

    from brain_edge_conversion.folders.monai_config import Component

FLOAT32: Final = (None, "float32", "$np.float32", "$numpy.float32", "$torch.float32")
"""Ways to write the only number format that steps work in; the Python among them is known without being run."""
EVERYWHERE: Final = frozenset(
    {"keys", "allow_missing_keys", "device", "meta_key_postfix", "meta_keys", "meta_dict_key"}
)
"""Arguments of any transform that say where values are kept, and change none."""


def taken(
    component: Component,
    wanted: Mapping[str, Any] | None = None,
    *,
    fixed: Mapping[str, Collection[Any]] | None = None,
    idle: Collection[str] = (),
) -> dict[str, Any]:
    """The arguments that a step is made of.

    Args:
        component: a transform, or an inferer.
        wanted: these arguments, with what they are where they are not given.
        fixed: arguments that must have one of some values where they are given; `dtype` is always among them.
        idle: arguments that make no difference to the values.

    Raises:
        InputError: there is any other argument, or one is not data.
    """
    wanted, fixed = wanted or {}, {"lazy": (False, None)} | dict(fixed or {})
    for name, value in component.arguments.items():
        if name in wanted or name in idle or name in EVERYWHERE or (name == "dtype" and _is_float32(value)):
            continue
        if name not in fixed or component.data(name) not in fixed[name]:
            raise no_equivalent(component, f"{name} {value!r}"[:80])
    return {name: component.data(name, default) for name, default in wanted.items()}


def no_equivalent(component: Component, what: str) -> InputError:
    """The refusal of a transform for one of its arguments."""
    return InputError(
        f"{component.config.path}: {component.place} is {component.target} with {what}, which has no equivalent among "
        f"the steps; {ELSEWHERE}"
    )


def unknown(component: Component, known: Collection[str]) -> InputError:
    """The refusal of what is not known at all."""
    return InputError(
        f"{component.config.path}: expected one of {', '.join(sorted(known))} at {component.place}, got "
        f"{component.target}, which has no equivalent among the steps; {ELSEWHERE}"
    )


def one_key(component: Component) -> str:
    """The only key that a transform works on.

    Raises:
        InputError: it works on several.
    """
    keys = component.data("keys")
    keys = [keys] if isinstance(keys, str) else keys
    if not isinstance(keys, list) or len(keys) != 1 or not isinstance(keys[0], str):
        raise no_equivalent(component, f"keys {keys!r} (one is expected)")
    return keys[0]


def single(component: Component, name: str, value: Any) -> Any:
    """An argument that may stand as a list with one entry for the only key."""
    if not isinstance(value, list):
        return value
    if len(value) != 1:
        raise no_equivalent(component, f"{name} {value!r}")
    return value[0]


def three(component: Component, name: str, value: Any, kind: type[int] | type[float]) -> tuple[Any, Any, Any]:
    """A positive number per axis, where one stands for all.

    Raises:
        InputError: it is something else.
    """
    values = value if isinstance(value, list) else [value] * 3
    accepted = (int,) if kind is int else (int, float)
    if len(values) != 3 or any(
        isinstance(each, bool) or not isinstance(each, accepted) or each <= 0 for each in values
    ):
        raise no_equivalent(component, f"{name} {value!r} (three positive numbers are expected)")
    return kind(values[0]), kind(values[1]), kind(values[2])


def _is_float32(value: Any) -> bool:
    return isinstance(value, str | None) and value in FLOAT32
