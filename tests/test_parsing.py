"""Laws of what is said of options that cannot be read."""

from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Annotated, Literal

import pytest

from malt.cli import VERBS, main
from malt.commands.help import field_docs
from malt.commands.option import Positional, Rest
from malt.commands.parsing import options_of, read_options
from malt.errors import UsageError


def refused(capsys: pytest.CaptureFixture[str], *words: str) -> str:
    """What is said of a command line that is refused, in one line."""
    assert main(words) == 2
    said = capsys.readouterr()
    assert said.out == ""
    assert said.err.startswith("malt: ")
    assert said.err.count("\n") == 1
    return said.err.removeprefix("malt: ").removesuffix("\n")


@pytest.mark.parametrize(
    "verb", [verb for verb in VERBS if verb not in ("train", "adapt", "distill")]
)  # to which fields of a recipe are options
def test_an_option_that_is_not_there_is_one_sentence(verb: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert "no option --qqq" in refused(capsys, verb, "--qqq", "3")


@pytest.mark.parametrize("verb", ["resume", "rewind", "branch", "inspect", "encode", "export"])
def test_what_is_needed_and_was_not_given_is_one_sentence(verb: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert f"malt {verb} needs " in refused(capsys, verb)


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (
            "generate x --frame 3",
            "malt generate has no option --frame, did you mean --frames; see malt generate --help",
        ),
        ("generate --frames=abc", "--frames cannot be 'abc'; give a whole number; see malt generate --help"),
        ("generate --seed 1.5", "--seed cannot be '1.5'; give a whole number; see malt generate --help"),
        ("generate --seconds soon", "--seconds cannot be 'soon'; give a number; see malt generate --help"),
        ("generate --out", "--out lacks its value; see malt generate --help"),
        ("encode", "malt encode needs VIDEOS and --out PATH; see malt encode --help"),
        ("train --threads many", "--threads cannot be 'many'; give a whole number; see malt train --help"),
        ("serve --port x", "--port cannot be 'x'; give a whole number; see malt serve --help"),
    ],
)
def test_options_that_cannot_be_read_are_said_with_what_to_do(
    capsys: pytest.CaptureFixture[str], words: str, sentence: str
) -> None:
    assert refused(capsys, *words.split()) == sentence


def test_a_prompt_without_its_quotes_is_told_of_them(capsys: pytest.CaptureFixture[str]) -> None:
    assert "does not take 'red circle' (several words" in refused(capsys, "generate", "a", "red", "circle")


@pytest.mark.parametrize("verb", VERBS)
def test_the_help_of_a_verb_goes_to_standard_output(verb: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([verb, "--help"]) == 0
    said = capsys.readouterr()
    assert f"usage: malt {verb}" in said.out
    assert said.err == ""


def test_what_is_on_by_default_can_be_turned_off(capsys: pytest.CaptureFixture[str]) -> None:
    assert "did you mean --no-session" in refused(capsys, "generate", "x", "--no-sesion")
    assert "at least 1" in refused(capsys, "generate", "x", "--no-session", "--frames", "0")


@dataclass(frozen=True, kw_only=True)
class Errand:
    """Do something."""

    what: Annotated[str, Positional("WHAT")] = ""
    """What to do."""
    out: Path
    """Where to write."""
    times: int = 1
    """How often."""
    precision: Literal["low", "high"] = "low"
    """How well."""
    loud: bool = True
    """Say so."""
    quick: bool = False
    """Hurry, and leave
    the rest."""
    rest: Annotated[tuple[tuple[str, tuple[str, ...]], ...], Rest()] = ()


def errand(*words: str) -> Errand:
    read = read_options(Errand, "errand", words)
    assert read is not None
    return read


def test_options_may_stand_anywhere_and_be_joined_to_their_values() -> None:
    expected = Errand(what="-x", out=Path("a b"), times=-3, quick=True)
    assert errand("--out", "a b", "-x", "--times=-3", "--quick") == expected
    assert errand("--quick", "--times", "-3", "--what", "-x", "--out=a b") == expected


def test_what_is_on_is_turned_off_and_choices_are_kept_to() -> None:
    assert errand("--out", "o", "--no-loud", "--precision", "high") == Errand(
        out=Path("o"), loud=False, precision="high"
    )
    with pytest.raises(UsageError, match="--precision cannot be 'fine'; give low or high; see malt errand --help"):
        errand("--out", "o", "--precision", "fine")
    with pytest.raises(UsageError, match="--quick takes no value, not 'yes'"):
        errand("--out", "o", "--quick=yes")


def test_options_that_are_not_known_go_with_all_their_words_to_the_one_that_takes_them() -> None:
    read = errand("--a.b", "1", "2", "--out", "o", "--c", "--d=e=f")
    assert read.rest == (("a.b", ("1", "2")), ("c", ()), ("d", ("e=f",)))
    assert read.out == Path("o")


def test_the_help_says_what_the_source_says_of_every_option(capsys: pytest.CaptureFixture[str]) -> None:
    assert read_options(Errand, "errand", ["--help"]) is None
    said = capsys.readouterr().out
    assert said.startswith("usage: malt errand [WHAT] --out PATH [OPTIONS]\n\nDo something.\n")
    assert "--precision low|high\n    How well. (default: low)\n" in said
    assert "--no-loud\n    Say so.\n--quick\n    Hurry, and leave the rest.\n" in said
    assert "rest" not in said.replace("the rest", "")


@pytest.mark.parametrize("verb", VERBS)
def test_every_option_of_every_verb_says_what_it_does(verb: str) -> None:
    command = getattr(import_module(f"malt.commands.{verb}"), f"{verb.capitalize()}Command")
    options, _ = options_of(command)
    assert [option.field for option in options if not field_docs(command).get(option.field)] == []


def test_a_line_of_a_help_is_never_broken_within_an_option(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "44")
    assert main(["train", "--help"]) == 0
    said = capsys.readouterr().out
    assert "--list-options`" in said
    assert max(map(len, said.splitlines())) <= 44 + len("--curriculum.0.objectives.0.batch-size")
