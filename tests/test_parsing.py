"""Laws of what is said of options that cannot be read."""

import pytest

from malt.cli import VERBS, main


def refused(capsys: pytest.CaptureFixture[str], *words: str) -> str:
    """What is said of a command line that is refused, in one line."""
    assert main(words) == 2
    said = capsys.readouterr()
    assert said.out == ""
    assert said.err.startswith("malt: ")
    assert said.err.count("\n") == 1
    return said.err.removeprefix("malt: ").removesuffix("\n")


@pytest.mark.parametrize("verb", [verb for verb in VERBS if verb != "train"])  # to which fields of a recipe are options
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
