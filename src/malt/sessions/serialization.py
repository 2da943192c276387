"""Values made of tensors, such as a `RolloutState`, taken apart into tensors and JSON that says how they belong together."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import fields, is_dataclass, replace
from typing import TypeVar, cast

from torch import Tensor

from malt.codecs.latent_history import LatentHistory
from malt.memory.state import State

NAMED_TUPLES: dict[str, Callable[..., object]] = {kind.__name__: kind for kind in (State, LatentHistory)}
Value = TypeVar("Value")
PLAIN = (type(None), bool, int, float, str)
Description = Mapping[str, object]  # one entry: what kind of value it is, and what it holds


def take_apart(value: object, tensors: list[Tensor]) -> Description:
    """Say in JSON what `value` is, and append its tensors to the list; `put_together` is the inverse.

    Raises:
        TypeError: it holds something that is neither a tensor nor a plain value.
    """
    if isinstance(value, Tensor):
        tensors.append(value)
        return {"tensor": len(tensors) - 1}
    if isinstance(value, PLAIN):
        return {"plain": value}
    if isinstance(value, tuple | list):
        kind = type(value).__name__
        return {kind: [take_apart(each, tensors) for each in value]}
    if is_dataclass(value) and not isinstance(value, type):
        return {"fields": {field.name: take_apart(getattr(value, field.name), tensors) for field in fields(value)}}
    raise TypeError(f"{type(value).__name__} cannot be stored; let it be made of tensors and plain values")


def put_together(described: Description, tensors: list[Tensor], like: object) -> object:
    """The value that was taken apart; dataclasses are of the type of `like`.

    Raises:
        KeyError, TypeError, ValueError, IndexError: the description is none.
    """
    ((kind, content),) = described.items()
    if kind == "tensor":
        return tensors[cast(int, content)]
    if kind == "plain":
        return content
    if kind == "fields":
        held = cast(Mapping[str, Description], content)
        return replace(like, **{name: put_together(each, tensors, like) for name, each in held.items()})  # type: ignore[type-var]
    parts = [put_together(each, tensors, like) for each in cast(Sequence[Description], content)]
    if kind in NAMED_TUPLES:
        return NAMED_TUPLES[kind](*parts)
    return {"tuple": tuple, "list": list}[kind](parts)


def map_tensors(value: Value, function: Callable[[Tensor], Tensor]) -> Value:
    """The same value with `function` applied to each of its tensors."""
    tensors: list[Tensor] = []
    described = take_apart(value, tensors)
    return cast(Value, put_together(described, [function(tensor) for tensor in tensors], value))
