"""`malt batch`: many videos from a table, each as `malt generate` alone would make it; what is done is not made again."""

import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, TypeVar

from malt.commands.batch_ledger import BatchLedger, Stage
from malt.commands.batch_table import SHARED, BatchRow, read_batch
from malt.commands.checks import check_count
from malt.commands.compiling import check_compile
from malt.commands.generate import GenerateCommand
from malt.commands.kept_session import notes_of, session_beside
from malt.commands.model_options import MakingOptions, check_lora, find_place, load_model
from malt.commands.option import Positional
from malt.commands.process_share import from_environment, own_device
from malt.commands.resume import go_on
from malt.commands.signals import interruptible
from malt.errors import MaltError, UsageError
from malt.media.files import video_lock
from malt.wording import counted

if TYPE_CHECKING:
    from malt.pipelines.video_pipeline import VideoPipeline
    from malt.sessions.session import Session

Value = TypeVar("Value")


@dataclass(frozen=True)
class BatchVideo:
    """A video to make: the row that it comes from, what makes it, and what tells it from others; how far it is."""

    row: BatchRow
    command: GenerateCommand
    request: dict[str, str]
    stage: Stage


@dataclass(frozen=True, kw_only=True)
class BatchCommand(MakingOptions):
    """Write a video for each row of a table, each as malt generate alone would; the same command goes on after a stop."""

    prompts: Annotated[Path, Positional("PROMPTS.csv")]
    """A CSV file with a header: a column for each option of malt generate that is wanted (prompt, seed, frames, image,
    out, ...), a row for each video. Empty cells leave an option out."""
    out: Path
    """Folder of the videos, 0001.mp4 for the first row unless a column out names them."""
    overwrite: bool = False
    """Make videos anew whose row has changed, and replace files that are in their way."""
    rank: int = field(default_factory=lambda: from_environment("RANK", 0))
    """Which share of the rows is this process's, counted from 0; from RANK in the environment, as torchrun sets it."""
    world_size: int = field(default_factory=lambda: from_environment("WORLD_SIZE", 1))
    """How many processes share the rows; from WORLD_SIZE in the environment."""
    device: str = "auto"
    """Device to compute on: auto, cpu, cuda, cuda:1 or mps; under torchrun, auto is each process's own GPU."""

    def run(self) -> None:
        """Check all rows of this process's share, load the model, and make what is missing.

        Raises:
            UsageError: nothing can be made at all.
            MaltError: some videos could not be made; all others are there.
        """
        with interruptible():
            self._check()
            rows = read_batch(self.prompts)
            share = rows[self.rank :: self.world_size]
            self._ledger.open()
            planned = [video for row in share if (video := self._attempt(row, partial(self._plan, row, rows)))]
            todo = [video for video in planned if video.stage != Stage.DONE]
            made = self._write_all(todo)
        self._say_end(len(share), len(planned) - len(todo), made)

    @property
    def _ledger(self) -> BatchLedger:
        return BatchLedger(self.out)

    def _check(self) -> None:
        check_count("--threads", self.threads)
        check_count("--world-size", self.world_size)
        check_lora(self.lora)
        check_compile(self.compile, self.offload)
        if not 0 <= self.rank < self.world_size:
            raise UsageError(
                f"there is no rank {self.rank} among {self.world_size}; give one from 0 to {self.world_size - 1}"
            )

    def _attempt(self, row: BatchRow, work: Callable[[], Value]) -> Value | None:
        """What comes of work for a row; None, and a sentence that names the row, where that is what is wrong."""
        try:
            return work()
        except MaltError as error:
            print(f"malt: row {row.number} of {self.prompts}: {error}", file=sys.stderr)
            return None

    def _plan(self, row: BatchRow, rows: Sequence[BatchRow]) -> BatchVideo:
        """The video of a row, checked before any work.

        Raises:
            UsageError: it cannot be made.
        """
        name, options = row.name, row.options()
        first = next(each for each in rows if each.file_name == name)
        if first is not row:
            raise UsageError(f"row {first.number} writes {name} already; give another out")
        place = find_place(self.model, self.checkpoint, self)
        request = dict(row.cells) | {key: value for key, value in place.notes().items() if value is not None}
        request |= {"lora": str(self.lora.resolve())} if self.lora else {}
        request |= {"precision": self.precision, "out": name}
        stage = self._ledger.stage(name, request, overwrite=self.overwrite)
        shared = {name: getattr(self, name) for name in SHARED}
        overwrite = self.overwrite or stage == Stage.BEGUN
        command = GenerateCommand(**options, **shared | {"out": self.out / name, "overwrite": overwrite})
        if stage != Stage.DONE:
            command.check()
        return BatchVideo(row, command, request, stage)

    def _write_all(self, videos: Sequence[BatchVideo]) -> int:
        """Make videos by one model; how many were made."""
        if not videos:
            return 0
        pipe = load_model(
            find_place(self.model, self.checkpoint, self),
            lora=self.lora,
            device=own_device(self.device),
            threads=self.threads,
            offload=self.offload,
            precision=self.precision,
        )
        return sum(self._attempt(video.row, partial(self._write, video, pipe)) is not None for video in videos)

    def _write(self, video: BatchVideo, pipe: "VideoPipeline") -> Path:
        """Make a video, or what is missing of it."""
        command, name = video.command, video.command.out.name
        with video_lock(command.out):
            if video.stage == Stage.BEGUN and (session := _begun_session(command.out, pipe)) is not None:
                go_on(session, command.out, notes_of(session)["planned"], report_to=command.report)
            else:
                self._ledger.note(name, video.request, Stage.BEGUN)
                command.write(pipe)
            self._ledger.note(name, video.request, Stage.DONE)
        return command.out

    def _say_end(self, asked: int, before: int, made: int) -> None:
        """Say what became of the rows; where several processes share them, those that lack one do not fail the others."""
        lost = asked - before - made
        were_there = f"; {before} were there" if before else ""
        sentence = f"made {made} of {counted(asked, 'video')} in {self.out}{were_there}"
        if lost and self.world_size == 1:
            raise MaltError(f"{sentence}; {lost} could not be, for what was said of their rows")
        print(f"malt: {sentence}" + (f"; {lost} could not be" if lost else ""), file=sys.stderr)


def _begun_session(video: Path, pipe: "VideoPipeline") -> "Session | None":
    """What a video that was broken off goes on from; None where it has to be made from its beginning."""
    try:
        return session_beside(video, pipe)
    except MaltError:  # nothing was saved yet, or it is damaged
        return None
