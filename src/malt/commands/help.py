"""The help of a verb: what it does, and every option with the sentence that stands below it in the source."""

import ast
import inspect
import shutil
import textwrap
from collections.abc import Sequence
from dataclasses import MISSING

from malt.commands.option import Option

WIDEST, INDENT = 100, 4  # columns


def help_text(command: type, verb: str, options: Sequence[Option]) -> str:
    """The help of a verb, as wide as the terminal allows."""
    width = min(WIDEST, shutil.get_terminal_size().columns)
    alone = [option for option in options if option.metavar]
    words = [option.usage if option.is_needed else f"[{option.usage}]" for option in alone]
    needed = [option.usage for option in options if option.is_needed and not option.metavar]
    about, sentences = inspect.cleandoc(command.__doc__ or ""), field_docs(command)
    entries = [_entry(option, sentences.get(option.field, ""), width) for option in [*alone, *options]]
    shown = dict.fromkeys(entries)  # those that stand alone come first, and once
    usage = " ".join(["usage: malt", verb, *words, *needed, "[OPTIONS]"])
    return "\n".join([usage, "", *(_fill(part, width) + "\n" for part in about.split("\n\n")), *shown])


def field_docs(command: type) -> dict[str, str]:
    """The docstring below every field of a class, those of its bases included."""
    found: dict[str, str] = {}
    for kind in command.__mro__[:-1]:
        body = ast.parse(textwrap.dedent(inspect.getsource(kind))).body[0]
        assert isinstance(body, ast.ClassDef)
        for field, text in zip(body.body, body.body[1:], strict=False):
            if isinstance(field, ast.AnnAssign) and isinstance(text, ast.Expr) and isinstance(text.value, ast.Constant):
                assert isinstance(field.target, ast.Name)
                found.setdefault(field.target.id, " ".join(str(text.value.value).split()))
    return found


def _entry(option: Option, sentence: str, width: int) -> str:
    """How an option is typed, and below it what it does."""
    is_told = option.default not in (None, "", MISSING) and not option.is_flag
    default = f" (default: {option.default})" if is_told else ""
    return f"{option.usage}\n{_fill(sentence + default, width, INDENT * ' ')}"


def _fill(text: str, width: int, indent: str = "") -> str:
    """A paragraph whose lines break between words only: an option stays whole."""
    words = " ".join(text.split())
    return textwrap.fill(words, width, initial_indent=indent, subsequent_indent=indent, break_on_hyphens=False)
