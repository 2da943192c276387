"""Values from the words of a command line, by the type of the field that they are for."""

import math
from collections.abc import Sequence
from pathlib import Path
from types import NoneType, UnionType
from typing import Literal, Union, get_args, get_origin

from malt.errors import UsageError

KINDS: dict[object, str] = {
    int: "a whole number",
    float: "a number",
    str: "a word",
    bool: "true or false",
    Path: "a path",
}


def inner_type(hint: object) -> object:
    """The type of a field without `| None`."""
    if get_origin(hint) in (Union, UnionType):
        return next(kind for kind in get_args(hint) if kind is not NoneType)
    return hint


def choices_of(hint: object) -> tuple[str, ...]:
    """The words that a field may be, where it is a `Literal`; empty where it is none."""
    inner = inner_type(hint)
    return tuple(map(str, get_args(inner))) if get_origin(inner) is Literal else ()


def item_types(hint: object, count: int, option: str) -> tuple[object, ...]:
    """The type of every item of a tuple of `count` values.

    Raises:
        UsageError: it has another number of values.
    """
    arguments = get_args(hint)
    if len(arguments) == 2 and arguments[1] is Ellipsis:
        return (arguments[0],) * count
    if len(arguments) != count:
        raise UsageError(f"{option} takes {len(arguments)} values, not {count}")
    return arguments


def read_value(hint: object, words: Sequence[str], option: str) -> object:
    """What the words after an option say.

    Raises:
        UsageError: they are of another kind, or too many or too few.
    """
    hint = inner_type(hint)
    if get_origin(hint) is tuple:
        kinds = item_types(hint, len(words), option)
        return tuple(read_value(kind, [word], option) for kind, word in zip(kinds, words, strict=True))
    if not words:
        raise UsageError(f"{option} lacks its value")
    said = " ".join(words)
    if len(words) > 1:
        raise UsageError(f"{option} takes one value, not {said!r}")
    if choices := choices_of(hint):
        if said not in choices:
            raise UsageError(f"{option} cannot be {said!r}; give {', '.join(choices[:-1])} or {choices[-1]}")
        return said
    return _read_word(hint, said, option)


def _read_word(hint: object, word: str, option: str) -> object:
    try:
        if hint is bool:
            return {"true": True, "false": False}[word.lower()]
        if hint is float and not math.isfinite(float(word)):
            raise ValueError(word)
        assert isinstance(hint, type)
        return hint(word)
    except (KeyError, ValueError) as error:
        raise UsageError(f"{option} cannot be {word!r}; give {KINDS[hint]}") from error
