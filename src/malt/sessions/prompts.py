"""Prompts over time: `a red circle [4s] | a blue square at night [128f] | two shapes`, as text, list or YAML file.

Each prompt lasts for its time, the last until the end; a change takes effect with the next segment. A backslash before
[, ] or | makes it a part of the prompt.
"""

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from malt.errors import UsageError
from malt.sessions.timeline import Timeline
from malt.unicode import check_text
from malt.wording import counted

SYNTAX = (
    'write "a red circle [4s] | a blue square [64f] | two shapes", with times in seconds or frames, and \\[ or \\| where '
    "they are part of a prompt"
)
SEPARATOR = re.compile(r"(?<!\\)\|")  # a | that no backslash stands before
ESCAPED = re.compile(r"\\([|\[\]])")
TIMED = re.compile(r"(?P<text>(?:\\[\[\]]|[^\[\]])*)(?:\[\s*(?P<number>[^\[\]\s]*?)\s*(?P<unit>[sf])\s*\]\s*)?")


@dataclass(frozen=True)
class PromptLine:
    """A prompt and how long it lasts, in seconds or in frames; with neither, until the end."""

    text: str
    seconds: float | None = None
    frames: int | None = None

    def __post_init__(self) -> None:
        """Refuse an empty prompt, one that is no text, and a time that is none."""
        if not self.text.strip():
            raise UsageError("the prompt is empty; say what the video shows, as in 'a red circle passes behind a wall'")
        check_text(self.text)
        for time, unit in ((self.seconds, "seconds"), (self.frames, "frames")):
            if time is not None and not (math.isfinite(time) and time > 0):
                raise UsageError(f"the prompt {self.text!r} is to last {time} {unit}; give a number above 0")

    def num_frames(self, frame_rate: float) -> int | None:
        """How many frames it lasts, at least one; None until the end."""
        return self.frames if self.seconds is None else max(1, round(self.seconds * frame_rate))


# One text in the syntax above; or a list of prompts, alone or with their seconds.
Prompts = str | Sequence[str | tuple[str, float | None] | PromptLine]


def read_lines(prompts: Prompts) -> tuple[PromptLine, ...]:
    """The lines of a text in the syntax above, or of a list such as `[("a red circle", 4.0), "two shapes"]`.

    Raises:
        UsageError: for an empty prompt, a time that is none, or one that cannot be read.
    """
    parts = SEPARATOR.split(prompts) if isinstance(prompts, str) else prompts
    if not parts:
        raise UsageError(f"there is no prompt; {SYNTAX}")
    return tuple(_read_line(part) for part in parts)


def read_prompts_file(path: Path) -> tuple[PromptLine, ...]:
    """The lines of a YAML file: a list of prompts as texts, or as `prompt:` with `seconds:` or `frames:`.

    Raises:
        UsageError: the file cannot be read, or holds something else.
    """
    import yaml

    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        reason = str(error).split("\n")[0]
        raise UsageError(f"cannot read prompts from {path} ({reason}); write a list in YAML") from error
    if not isinstance(content, list) or not content:
        raise UsageError(f"{path} holds no list of prompts; write one line `- prompt: a red circle` for each")
    return tuple(_line_of_entry(entry, path) for entry in content)


def schedule(lines: Sequence[PromptLine], *, frame_rate: float, num_frames: int | None = None) -> Timeline[str]:
    """From which frame on each prompt holds, in a video of `num_frames` frames; None for one without end.

    Raises:
        UsageError: a prompt that is not the last has no time, or the times go beyond the video.
    """
    starts, end = [0], 0
    for line in lines[:-1]:
        lasts = line.num_frames(frame_rate)
        if lasts is None:
            raise UsageError(f"the prompt {line.text!r} lasts until the end, and more follow; {SYNTAX}")
        starts.append(starts[-1] + lasts)
    end = starts[-1] + (lines[-1].num_frames(frame_rate) or 1)
    if num_frames is not None and end > num_frames:
        raise UsageError(
            f"the prompts last {counted(end, 'frame')} ({end / frame_rate:g} s) and the video {num_frames} "
            f"({num_frames / frame_rate:g} s); give shorter times or a longer video"
        )
    return Timeline(tuple(zip(starts, (line.text for line in lines), strict=True)))


def total_frames(lines: Sequence[PromptLine], frame_rate: float) -> int | None:
    """How long the prompts last together; None when the last has no time."""
    lasts = [line.num_frames(frame_rate) for line in lines]
    return None if lasts[-1] is None else sum(each or 0 for each in lasts)


def _read_line(part: str | tuple[str, float | None] | PromptLine) -> PromptLine:
    if isinstance(part, PromptLine):
        return part
    if not isinstance(part, str):
        text, seconds = part
        return PromptLine(text, seconds=None if seconds is None else float(seconds))
    found = TIMED.fullmatch(part)
    if found is None:
        raise UsageError(f"cannot read the time in {part.strip()!r}; {SYNTAX}")
    text, number, unit = ESCAPED.sub(r"\1", found["text"]).strip(), found["number"], found["unit"]
    if unit is None:
        return PromptLine(text)
    try:
        return PromptLine(text, seconds=float(number)) if unit == "s" else PromptLine(text, frames=int(number))
    except ValueError as error:
        if isinstance(error, UsageError):
            raise
        raise UsageError(f"cannot read the time in {part.strip()!r}; {SYNTAX}") from error


def _line_of_entry(entry: object, path: Path) -> PromptLine:
    if isinstance(entry, str):
        return _read_line(entry)
    if not isinstance(entry, dict) or not {"prompt"} <= entry.keys() <= {"prompt", "seconds", "frames"}:
        raise UsageError(f"{path}: cannot read {entry!r}; write `prompt:`, and `seconds:` or `frames:` for its time")
    text, seconds, frames = entry["prompt"], entry.get("seconds"), entry.get("frames")
    if not isinstance(text, str) or (seconds is not None and frames is not None):
        raise UsageError(f"{path}: cannot read {entry!r}; give a text, and its time in seconds or in frames")
    if not all(time is None or type(time) in kinds for time, kinds in ((seconds, (int, float)), (frames, (int,)))):
        raise UsageError(f"{path}: the time of {text!r} is not a number; give seconds, or whole frames")
    return PromptLine(text, seconds=seconds, frames=frames)
