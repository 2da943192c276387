"""Nested frozen dataclasses as JSON and as options: `--optimization.learning-rate 1e-4` is a field of a field."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, fields, is_dataclass
from difflib import get_close_matches
from types import UnionType
from typing import TypeVar, Union, get_origin, get_type_hints

from malt.errors import UsageError
from malt.training.renamed import current_name
from malt.typed_values import KINDS, inner_type, item_types, read_value

Config = TypeVar("Config")


def from_json(kind: type[Config], value: object) -> Config:
    """A dataclass from what `dataclasses.asdict` and JSON made of it; fields that are missing have their defaults.

    Raises:
        UsageError: a field does not exist or is of another kind, or the values make no sense together.
    """
    built = _build(kind, value, "")
    assert isinstance(built, kind)
    return built


def override(config: Config, options: Mapping[str, Sequence[str]], others: Sequence[str] = ()) -> Config:
    """The same config with some fields set from words: names as in `options_of`, with - or _ alike.

    `others` are names that are no fields but could have been meant.

    Raises:
        UsageError: a field does not exist or is of another kind, or the values make no sense together.
    """
    values, known = _values(config), options_of(config)
    for option, words in options.items():
        name = current_name(option.replace("-", "_"))
        *path, leaf = name.split(".")
        if _has_names_of_its_own(known.get(".".join(path))):
            named = _place(values, path[:-1])
            named[path[-1]] = {**_named(named[path[-1]]), leaf: _read_setting(words, option)}
            continue
        if name not in known:
            raise UsageError(_no_such_option(option, [*known, *others]))
        _place(values, path)[leaf] = _read(known[name], words, option)
    return from_json(type(config), values)


def _values(config: object) -> dict[str, object]:
    assert is_dataclass(config) and not isinstance(config, type)
    return asdict(config)


def _place(values: object, path: Sequence[str]) -> dict[str, object]:
    """The dictionary at the end of a path through dictionaries and tuples."""
    for key in path:
        values = values[key] if isinstance(values, dict) else _items(values)[int(key)]
    assert isinstance(values, dict)
    return values


def _items(value: object) -> Sequence[object]:
    assert isinstance(value, list | tuple)
    return value


def options_of(config: object, prefix: str = "") -> dict[str, object]:
    """The dotted name of every field that is no dataclass itself, with the field's type."""
    assert is_dataclass(config)
    found, hints = dict[str, object](), get_type_hints(type(config))
    for field in fields(config):
        name, value = prefix + field.name, getattr(config, field.name)
        if is_dataclass(value):
            found |= options_of(value, name + ".")
        elif isinstance(value, tuple) and value and is_dataclass(value[0]):
            for index, item in enumerate(value):
                found |= options_of(item, f"{name}.{index}.")
        else:
            found[name] = hints[field.name]
    return found


def values_of(config: object) -> Iterator[tuple[str, object]]:
    """Every option of `options_of`, as it is typed on the command line, with its value."""
    for name in options_of(config):
        value = config
        for key in name.split("."):
            value = _items(value)[int(key)] if key.isdecimal() else getattr(value, key)
        named = {f"{name}.{key}": each for key, each in value.items()} if isinstance(value, dict) else {name: value}
        yield from (("--" + each.replace("_", "-"), value) for each, value in named.items())


def differences(one: object, other: object) -> list[str]:
    """Names of the options whose values differ, those that only one of them has included."""
    left, right = dict(values_of(one)), dict(values_of(other))
    return [name for name in {**left, **right} if name not in left or name not in right or left[name] != right[name]]


def _build(hint: object, value: object, name: str) -> object:
    if isinstance(hint, type) and is_dataclass(hint):
        return _build_config(hint, value, name)
    if get_origin(hint) in (Union, UnionType):
        return None if value is None else _build(inner_type(hint), value, name)
    if get_origin(hint) is tuple:
        if not isinstance(value, list | tuple):
            raise UsageError(f"{name} is {value!r}; give a list")
        kinds = item_types(hint, len(value), name)
        return tuple(_build(kind, item, f"{name}.{n}") for n, (kind, item) in enumerate(zip(kinds, value, strict=True)))
    if _has_names_of_its_own(hint):
        return _named(value, name)
    if hint is float and type(value) is int:
        return float(value)
    if type(value) is not hint:
        raise UsageError(f"{name} is {value!r}; give {KINDS[hint]}")
    return value


def _build_config(kind: type, value: object, name: str) -> object:
    hints = get_type_hints(kind)
    if not isinstance(value, dict):
        raise UsageError(f"{name or kind.__name__} is {value!r}; give its fields")
    for key in value:
        if key not in hints:
            raise UsageError(_no_such_option(f"{name}.{key}".lstrip("."), list(hints)))
    given = {key: _build(hints[key], item, f"{name}.{key}".lstrip(".")) for key, item in value.items()}
    try:
        return kind(**given)
    except ValueError as error:
        raise UsageError(f"{name}: {error}" if name else str(error)) from error
    except TypeError as error:
        raise UsageError(f"{name or kind.__name__} lacks a field ({error}); copy the file again, whole") from error


def _read(hint: object, words: Sequence[str], option: str) -> object:
    """What the words after an option say; `none` where there may be nothing, and nothing for true."""
    if inner_type(hint) is not hint and [word.lower() for word in words] == ["none"]:
        return None
    if _has_names_of_its_own(hint):
        raise UsageError(f"--{option} takes its settings one by one; give --{option}.NAME VALUE, or none")
    return True if hint is bool and not words else read_value(hint, words, f"--{option}")


def _has_names_of_its_own(hint: object) -> bool:
    """Whether a field is settings by name, which are known to what is built from them alone."""
    return get_origin(inner_type(hint)) is Mapping


def _named(value: object, name: str = "") -> dict[str, object]:
    if value is not None and not isinstance(value, dict):
        raise UsageError(f"{name} is {value!r}; give its settings by name")
    return dict(value or {})


def _read_setting(words: Sequence[str], option: str) -> object:
    """A whole number, a number, true or false, or else a word, whichever it reads as first."""
    for kind in (int, float, bool):
        with suppress(UsageError):
            return read_value(kind, words, f"--{option}")
    return read_value(str, words, f"--{option}")


def _by_initials(wanted: str, known: Sequence[str]) -> list[str]:
    """The name whose last word's parts begin with the letters that were given, as lr is learning_rate; the nearest one."""
    last = wanted.rsplit(".", 1)[-1]
    spelt = [name for name in known if "".join(part[0] for part in name.rsplit(".", 1)[-1].split("_")) == last]
    return get_close_matches(wanted, spelt, n=1, cutoff=0.0) if len(last) > 1 else []


def _no_such_option(option: str, known: Sequence[str]) -> str:
    """A sentence that names what was probably meant: the whole name, or else its last word, is near."""
    wanted = option.replace("-", "_")
    near = _by_initials(wanted, known) or get_close_matches(wanted, known, n=1, cutoff=0.75)
    last = {name.rsplit(".", 1)[-1]: name for name in sorted(known, key=len, reverse=True)}
    near = near or [last[name] for name in get_close_matches(wanted.rsplit(".", 1)[-1], list(last), n=1, cutoff=0.6)]
    near = near or get_close_matches(wanted, known, n=1, cutoff=0.4)
    meant = f", did you mean --{near[0].replace('_', '-')}" if near else ""
    return f"there is no option --{option}{meant}; malt train RECIPE --list-options lists them all"
