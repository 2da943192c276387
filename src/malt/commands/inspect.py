"""`malt inspect`: what a video's session holds, and a picture of what its memory attends to."""

from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from malt.commands.checks import check_count
from malt.commands.kept_session import VideoNotes, load_session_of, notes_of, read_session_of
from malt.commands.model_options import ModelOptions
from malt.commands.option import Positional
from malt.commands.signals import interruptible
from malt.errors import UsageError
from malt.wording import counted

if TYPE_CHECKING:
    from malt.sessions.storage import SessionIndex


@dataclass(frozen=True, kw_only=True)
class InspectCommand(ModelOptions):
    """Say what a session holds: prompts with their times, length, model, memory, snapshots."""

    video: Annotated[Path, Positional("VIDEO")]
    """The video, an .mp4 with its session beside it."""
    picture: Path | None = None
    """Where to draw (.png) how much the last segments attend to what is remembered and to themselves, layer by layer."""
    segments: int = 12
    """How many of the last segments the picture shows; they are made again for it."""
    overwrite: bool = False
    """Replace a picture that exists."""

    def run(self) -> None:
        """Print what the session says; load the model only for a picture."""
        from malt.sessions.storage import session_folder

        folder = session_folder(self.video)
        for name, what in (*describe(read_session_of(self.video)), *_sizes(folder)):
            print(f"{name:<10} {what}")
        if self.picture is not None:
            with interruptible():
                self._draw(self.picture)

    def _draw(self, picture: Path) -> None:
        from malt.media.output_path import check_output
        from malt.sessions.attention_picture import draw
        from malt.sessions.attention_probe import NO_SHARES, watch_memory

        if notes_of(read_session_of(self.video)).keys() & {"base", "adapter"}:
            raise UsageError(NO_SHARES)
        check_count("--segments", self.segments)
        check_output(picture, overwrite=self.overwrite, endings=[".png"])
        session = load_session_of(self.video, self)
        draw(watch_memory(session, self.segments)).save(picture)
        print(f"{'picture':<10} {picture}")


def describe(index: "SessionIndex") -> Iterator[tuple[str, str]]:
    """Names and texts of what a session says of itself."""
    notes = notes_of(index)
    rate = Fraction(notes["frame_rate"])
    planned = notes["planned"]
    shown = notes["shown"]
    so_far = f"{counted(shown, 'frame')} ({_time(shown, rate)})"
    yield "length", so_far + (f" of {planned} planned" if planned else ", without end")
    yield "model", f"{index['model']['name']} ({index['model']['sha256'][:12]}), rollout {index['rollout']}"
    if lora := notes.get("lora"):
        yield "LoRA", lora
    numbers = {name: value for name, value in index["settings"].items() if not isinstance(value, str)}
    yield "settings", ", ".join(f"{name} {value:g}" for name, value in numbers.items())
    if negative := index["settings"].get("negative_prompt"):
        yield "negative prompt", negative
    end_of_all = (max(planned or 0, shown), "")
    for (start, text), (end, _) in pairwise([*index["prompts"], end_of_all]):
        yield "prompt", f"{_time(start, rate)} to {_time(end, rate)}: {text or '(none)'}"
    given = _given_seeds(notes)
    for start, drawn in index["seeds"]:
        yield "seed", f"from {_time(start, rate)}: {given.get(drawn, f'one that no --seed gives ({drawn})')}"
    if index["origin"]:
        yield "given", f"the first {counted(index['origin']['start'], 'frame')}"
    for moment in index.get("kept", []):
        yield "kept", f"{moment['name']!r}, frame {moment['start']} ({_time(moment['start'], rate)})"
    yield "snapshots", "at frames " + ", ".join(str(entry["start"]) for entry in index["snapshots"])


def _given_seeds(notes: VideoNotes) -> dict[int, int]:
    """For each seed of noise that was drawn the --seed from which it was."""
    from malt.sessions.session_state import draw_seed

    return {draw_seed(seed): seed for seed in (*notes.get("earlier_seeds", []), notes["seed"])}


def _sizes(folder: Path) -> Iterator[tuple[str, str]]:
    total = sum(file.stat().st_size for file in folder.iterdir())
    yield "size", f"{total / 1e6:.2f} MB in {folder}"


def _time(frame: int, rate: Fraction) -> str:
    return f"{float(frame / rate):.1f} s"
