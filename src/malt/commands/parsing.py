"""Reads a verb's options from the command line, and says in one sentence what is wrong with them."""

import re
import sys
from collections.abc import Sequence
from contextlib import redirect_stderr
from dataclasses import fields
from difflib import get_close_matches
from io import StringIO
from itertools import dropwhile, takewhile
from typing import Any

from malt.errors import UsageError

EDGES = "─│- "  # where the terminal knows no line characters, a box has lines of hyphens alone
KINDS = {"INT": "a whole number", "FLOAT": "a number"}


def read_options(command: type[Any], verb: str, options: Sequence[str]) -> Any:
    """The verb's `Command`, with its fields as the options say; `--help` prints what there is and exits.

    Raises:
        UsageError: an option is not there, lacks its value or has a wrong one, or one that is needed was not given.
    """
    import tyro

    _check_names(command, verb, options)
    config, told = (tyro.conf.DisallowNone, tyro.conf.FlagCreatePairsOff), StringIO()
    try:
        with redirect_stderr(told):
            parsed = tyro.cli(command, prog=f"malt {verb}", args=options, config=config)
    except SystemExit as end:
        if not end.code:
            raise
        raise UsageError(f"{_complaint(told.getvalue(), verb)}; see malt {verb} --help") from end
    sys.stderr.write(told.getvalue())
    return parsed


def _check_names(command: type[Any], verb: str, options: Sequence[str]) -> None:
    names = {field.name.replace("_", "-"): field.default is True for field in fields(command)}
    known = {"--help"} | {f"--no-{name}" if turns_off else f"--{name}" for name, turns_off in names.items()}
    given = [word.partition("=")[0].replace("_", "-") for word in options if re.match("--[a-z]", word)]
    for name in given:
        if name not in known:
            near = get_close_matches(name, known, n=1, cutoff=0.7)
            meant = f", did you mean {near[0]}" if near else ""
            raise UsageError(f"malt {verb} has no option {name}{meant}; see malt {verb} --help")


def _complaint(box: str, verb: str) -> str:
    """What the parser draws as a box, in one sentence: below the box's title, above the first line that is drawn through."""
    plain = re.sub(r"\x1b\[[0-9;]*m", "", box).splitlines()[1:]
    lines = list(dropwhile(lambda line: not line, (line[2:].rstrip(EDGES) for line in plain)))
    said = " ".join(line.strip() for line in takewhile(bool, lines))
    if said.startswith("Missing from"):
        return f"malt {verb} needs {' and '.join(line.strip() for line in lines if re.match(r' {4}[-A-Z]', line))}"
    if said.startswith("Unrecognized"):
        words = said.partition(": ")[2].replace(", ", " ")
        return f"malt {verb} does not take {words!r} (several words that belong together go in quotes)"
    if lacking := re.match(r"Missing value for argument '(.+?)'", said):
        return f"{lacking[1]} lacks its value"
    return _wrong_value(said, box) or said.rstrip(".")


def _wrong_value(said: str, box: str) -> str | None:
    option, value = re.match(r"Error parsing (\S+):", said), re.findall("'([^']*)'", said)
    kind = option and re.search(rf"{option[1]} ({'|'.join(KINDS)})\b", box)
    return f"{option[1]} cannot be {value[-1]!r}; give {KINDS[kind[1]]}" if option and value and kind else None
