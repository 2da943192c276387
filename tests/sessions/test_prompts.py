"""Laws of prompts over time."""

from pathlib import Path

import pytest

from malt.errors import UsageError
from malt.sessions.prompts import PromptLine, Prompts, read_lines, read_prompts_file, schedule, total_frames
from malt.sessions.timeline import Timeline

THREE = ((0, "a red circle"), (64, "a blue square at night"), (192, "two shapes"))


@pytest.mark.parametrize(
    "prompts",
    [
        "a red circle [4s] | a blue square at night [8s] | two shapes",
        "a red circle[64f]|a blue square at night [ 8.0 s ]|  two shapes  ",
        [("a red circle", 4.0), ("a blue square at night", 8), "two shapes"],
        ["a red circle [4s]", PromptLine("a blue square at night", frames=128), ("two shapes", None)],
    ],
)
def test_a_text_and_a_list_say_the_same(prompts: Prompts) -> None:
    assert schedule(read_lines(prompts), frame_rate=16, num_frames=256).changes == THREE


def test_a_file_says_the_same_as_the_text(tmp_path: Path) -> None:
    path = tmp_path / "prompts.yaml"
    path.write_text(
        "- {prompt: a red circle, seconds: 4}\n- prompt: a blue square at night\n  frames: 128\n- two shapes\n"
    )
    assert schedule(read_prompts_file(path), frame_rate=16).changes == THREE


def test_each_prompt_holds_for_its_time_and_the_last_until_the_end() -> None:
    timeline = schedule(read_lines("a [2f] | b [3f] | c"), frame_rate=16)
    assert "".join(timeline.at(frame) for frame in range(8)) == "aabbbccc"


def test_what_is_said_takes_the_place_of_what_was_to_come() -> None:
    timeline = Timeline(((0, "a"), (4, "b"), (8, "c")))
    assert timeline.then(6, "d").changes == ((0, "a"), (4, "b"), (6, "d"))
    assert timeline.then(4, "d").changes == ((0, "a"), (4, "d"))
    assert timeline.then(6, "b").changes == ((0, "a"), (4, "b"))


def test_prompts_that_all_have_a_time_say_how_long_the_video_is() -> None:
    assert total_frames(read_lines("a [2f] | b [1s]"), 16) == 18
    assert total_frames(read_lines("a [2f] | b"), 16) is None


@pytest.mark.parametrize(
    ("prompts", "sentence"),
    [
        ("", "the prompt is empty"),
        (" ", "the prompt is empty"),
        ("a [1s] | | b", "the prompt is empty"),
        ("[1s] | b", "the prompt is empty"),
        ([], "there is no prompt"),
        ("a [-1s] | b", "is to last -1.0 seconds; give a number above 0"),
        ("a [0f] | b", "is to last 0 frames; give a number above 0"),
        ("a [nans] | b", "above 0"),
        ([("a", float("inf")), "b"], "above 0"),
        ("a [4x] | b", "cannot read the time in 'a \\[4x\\]'"),
        ("a [4] | b", "cannot read the time"),
        ("a [1.5f] | b", "cannot read the time"),
        ("a [4s] circle | b", "cannot read the time"),
        ("a [4s | b", "cannot read the time"),
        ("a | b", "the prompt 'a' lasts until the end, and more follow"),
        ("a [10s] | b", "the prompts last 161 frames \\(10.0625 s\\) and the video 128 \\(8 s\\)"),
        ("a [8s] | b", "the prompts last 129 frames"),
        ("a [4s] | b [5s]", "the prompts last 144 frames"),
    ],
)
def test_prompts_that_cannot_be_followed_are_refused_in_a_sentence(prompts: Prompts, sentence: str) -> None:
    with pytest.raises(UsageError, match=sentence):
        schedule(read_lines(prompts), frame_rate=16, num_frames=128)


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        ("", "holds no list of prompts"),
        ("prompt: a", "holds no list of prompts"),
        ("- [a, 4]", "cannot read"),
        ("- {prompt: a, minutes: 4}", "cannot read"),
        ("- {prompt: a, seconds: 4, frames: 3}", "in seconds or in frames"),
        ("- {prompt: a, seconds: soon}", "is not a number"),
        ("- {prompt: a, frames: 1.5}", "is not a number"),
        ("- {prompt: 7}", "give a text"),
        ("- {prompt: '', frames: 1}", "the prompt is empty"),
        ("- {prompt: [a", "cannot read prompts from"),
    ],
)
def test_a_file_that_cannot_be_followed_is_refused_in_a_sentence(tmp_path: Path, content: str, sentence: str) -> None:
    path = tmp_path / "prompts.yaml"
    path.write_text(content)
    with pytest.raises(UsageError, match=sentence):
        read_prompts_file(path)


@pytest.mark.parametrize(
    ("text", "prompts"),
    [
        (r"a \| b", ["a | b"]),
        (r"a sign that says \[4s\] [4s] | two", ["a sign that says [4s]", "two"]),
        (r"back\slash \\ stays", [r"back\slash \\ stays"]),
    ],
)
def test_a_backslash_makes_a_bracket_or_a_bar_a_part_of_the_prompt(text: str, prompts: list[str]) -> None:
    assert [line.text for line in read_lines(text)] == prompts


def test_a_prompt_that_is_no_utf_8_is_refused_in_a_sentence() -> None:
    with pytest.raises(UsageError, match="is not UTF-8; write it in UTF-8"):
        read_lines("caf\udce9")
