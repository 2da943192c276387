"""`malt branch`: another future for a video, from one of its frames on."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from malt.commands.checks import check_count, check_one_of, check_seed
from malt.commands.kept_session import change_prompt, load_session_of, notes_of
from malt.commands.model_options import ModelOptions
from malt.commands.option import Positional
from malt.commands.resume import go_on
from malt.commands.rewind import check_copy, copy_beginning, take_back
from malt.commands.signals import interruptible
from malt.errors import UsageError
from malt.media.files import video_lock


@dataclass(frozen=True, kw_only=True)
class BranchCommand(ModelOptions):
    """Write a video that begins as another does and goes its own way from the border at a frame, or the last before it."""

    video: Annotated[Path, Positional("VIDEO")]
    """The video to begin with, an .mp4 with its session beside it; it stays as it is."""
    at: int
    """The frame at which the ways part."""
    out: Path
    """Where to write the other video, an .mp4."""
    seed: int | None = None
    """What chance starts from behind that frame; the same as before by default."""
    prompt: str | None = None
    """What the video shows behind that frame; the same as before by default."""
    frames: int | None = None
    """How many frames the other video is to have; as many as were planned for the first by default."""
    actions: Path | None = None
    """A CSV file with what is done in each frame, from the video's first on; the same as before by default."""
    policy: str | None = None
    """What acts instead, as for malt generate; the same as before by default."""
    overwrite: bool = False
    """Replace files that exist."""

    def run(self) -> None:
        """Check, load the session and its model, write the common beginning, and go on."""
        with interruptible():
            self._check()
            session = load_session_of(self.video, self)
            take_back(session, self.at)
            session = session.branch(self.seed)
            end = self.frames or notes_of(session)["planned"]
            if end is not None and end <= session.num_frames:
                raise UsageError(f"the ways part at frame {session.num_frames}; give more than {end} --frames")
            session.note(planned=end)
            if self.seed is not None:
                notes = notes_of(session)
                session.note(seed=self.seed, earlier_seeds=[*notes.get("earlier_seeds", []), notes["seed"]])
            if self.prompt is not None:
                change_prompt(session, self.prompt, end)
            with video_lock(self.out):
                copy_beginning(session, self.video, self.out)
                go_on(session, self.out, end, actions=self.actions, policy=self.policy)

    def _check(self) -> None:
        check_one_of(actions=self.actions, policy=self.policy)
        for option in ("at", "frames"):
            check_count(f"--{option}", getattr(self, option))
        if self.seed is not None:
            check_seed(self.seed)
        check_copy(self.video, self.out, overwrite=self.overwrite)
