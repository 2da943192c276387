"""Reads a verb's options from the command line: its `Command` is a dataclass, whose fields are the options."""

import re
from collections.abc import Sequence
from dataclasses import MISSING, fields
from difflib import get_close_matches
from typing import Annotated, TypeVar, get_args, get_origin, get_type_hints

from malt.commands.help import help_text
from malt.commands.option import Option, Positional, Rest
from malt.errors import UsageError
from malt.typed_values import read_value

Command = TypeVar("Command")
RENAMED = {"--driver": "--policy"}  # what options of earlier versions are called today
IS_OPTION = re.compile("--[A-Za-z]")


def read_options(command: type[Command], verb: str, words: Sequence[str]) -> Command | None:
    """The verb's `Command` with its fields as the words say; None where `--help` was asked for, and printed.

    Raises:
        UsageError: an option is not there, lacks its value or has a wrong one, or one that is needed was not given.
    """
    known, rest = options_of(command)
    if any(word in ("-h", "--help") for word in words):
        print(help_text(command, verb, known))
        return None
    try:
        given, others = _divide(known, words, verb, takes_others=rest is not None)
        values = {option.field: _value(option, given[option.field]) for option in known if option.field in given}
    except UsageError as error:
        raise UsageError(f"{error}; see malt {verb} --help") from error
    if missing := [option.usage for option in known if option.is_needed and option.field not in given]:
        raise UsageError(f"malt {verb} needs {' and '.join(missing)}; see malt {verb} --help")
    return command(**values, **{rest: others} if rest else {})


def options_of(command: type) -> tuple[list[Option], str | None]:
    """The options of a command in their order, and the name of the field for all others, None for none."""
    hints, options, rest = get_type_hints(command, include_extras=True), [], None
    for field in fields(command):
        hint, marks = hints[field.name], list[object]()
        if get_origin(hint) is Annotated:
            hint, *marks = get_args(hint)
        if any(isinstance(mark, Rest) for mark in marks):
            rest = field.name
            continue
        default = field.default if field.default_factory is MISSING else field.default_factory()
        metavar = next((mark.metavar for mark in marks if isinstance(mark, Positional)), None)
        options.append(Option(field.name, hint, default, metavar))
    return options, rest


def _divide(
    known: Sequence[Option], words: Sequence[str], verb: str, *, takes_others: bool
) -> tuple[dict[str, list[str]], tuple[tuple[str, tuple[str, ...]], ...]]:
    """The words of every option that is given, by its field, and those of options that are not known."""
    by_flag = {f"--{option.field.replace('_', '-')}" if option.metavar else option.flag: option for option in known}
    given, alone, others = dict[str, list[str]](), list[str](), dict[str, list[str]]()
    left = list(words)
    while left:
        word = left.pop(0)
        if not IS_OPTION.match(word):
            alone.append(word)
            continue
        name, equals, value = word.partition("=")
        option = by_flag.get(name.replace("_", "-"))
        if option is None and not takes_others:
            raise UsageError(f"malt {verb} has no option {name}{_did_you_mean(name, by_flag)}")
        values = [value] if equals else []
        at_most = 0 if equals or (option and option.is_flag) else 1 if option else len(left)
        while left and len(values) < at_most and not IS_OPTION.match(left[0]):
            values.append(left.pop(0))
        if option is None:
            others[name.removeprefix("--")] = values
        else:
            given[option.field] = values
    _take_alone(known, alone, given, verb)
    return given, tuple((name, tuple(values)) for name, values in others.items())


def _take_alone(known: Sequence[Option], alone: list[str], given: dict[str, list[str]], verb: str) -> None:
    """Give the words that stand alone to the options that take such, in their order."""
    free = [option.field for option in known if option.metavar and option.field not in given]
    given |= {field: [word] for field, word in zip(free, alone, strict=False)}
    if surplus := alone[len(free) :]:
        words = " ".join(surplus)
        raise UsageError(f"malt {verb} does not take {words!r} (several words that belong together go in quotes)")


def _value(option: Option, words: Sequence[str]) -> object:
    if not option.is_flag:
        return read_value(option.hint, words, option.flag)
    if words:
        raise UsageError(f"{option.flag} takes no value, not {' '.join(words)!r}")
    return not option.default


def _did_you_mean(name: str, known: Sequence[str] | dict[str, Option]) -> str:
    if (today := RENAMED.get(name)) in known:
        return f"; it is called {today} today"
    near = get_close_matches(name.replace("_", "-"), [*known, "--help"], n=1, cutoff=0.7)
    return f", did you mean {near[0]}" if near else ""
