"""`malt world`: look at a synthetic world, as a contact sheet, or record its videos to learn from."""

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from malt.commands.checks import check_count, check_seed
from malt.commands.option import Positional
from malt.commands.signals import interruptible
from malt.errors import UsageError
from malt.wording import counted

if TYPE_CHECKING:
    from PIL.Image import Image

PICTURES = (".png", ".jpg", ".jpeg", ".webp")


@dataclass(frozen=True, kw_only=True)
class WorldCommand:
    """Write a contact sheet of a synthetic world, with captions; or record its videos, with what is done in them."""

    world: Annotated[str | None, Positional("WORLD")] = None
    """The world's name; by default the world that the default model learned."""
    out: Path = Path("world.png")
    """File to write; its ending says the format: .png, .jpg or .webp."""
    record: Path | None = None
    """Folder to record videos in instead, each with its caption, its actions and the poses; what is there is kept."""
    count: int = 16
    """How many videos to record."""
    policy: str | None = None
    """How somebody acts in its videos, such as explore or return; by default in all the ways that the world has."""
    map: Path | None = None
    """A map of your own, a text file: # for walls, spaces for corridors, a-z for rooms by their looks, A-Z for objects."""
    scenes: int = 12
    """How many scenes to show, one in each row."""
    frames: int = 160
    """How many frames each scene or video lasts; the columns of a sheet are spread evenly over them."""
    columns: int = 8
    """How many frames of each scene to show."""
    scale: int = 2
    """Write each pixel this many times in both directions."""
    seed: int = 0
    """Seed of the random numbers: the same seed shows the same scenes."""
    oracle: bool = False
    """Write on the frames what the world's oracle reads in them."""
    overwrite: bool = False
    """Replace the file if it exists."""

    def check(self) -> None:
        """Find out, before any work, whether what was asked for can be done.

        Raises:
            UsageError: it cannot.
        """
        from malt.media.output_path import check_output

        for option in ("scenes", "frames", "columns", "scale", "count"):
            check_count(f"--{option}", getattr(self, option))
        check_seed(self.seed)
        if self.record is None:
            check_output(self.out, overwrite=self.overwrite, endings=PICTURES)
        elif self.record.exists() and not self.record.is_dir():
            raise UsageError(f"{self.record} is a file; name a folder for the videos")

    def run(self) -> None:
        """Check, render the videos, and write the sheet or the videos themselves."""
        self.check()
        if self.record is None:
            self._sheet().save(self.out)
            print(f"malt: wrote {counted(self.scenes, 'scene')} to {self.out}")
        else:
            with interruptible():
                self._record(self.record)

    def _record(self, folder: Path) -> None:
        from malt.data.world_recording import record_world
        from malt.worlds.registry import open_world

        world, seeds = open_world(self.world, self.policy, self.map), range(self.seed, self.seed + self.count)
        recorded = 0
        for path in record_world(world, seeds, self.frames, folder):
            recorded += 1
            print(f"recorded {path}", file=sys.stderr)
        print(
            f"malt: recorded {counted(recorded, 'video')} of {counted(self.frames, 'frame')} "
            f"into {folder}; {self.count - recorded} of {self.count} were there"
        )

    def _sheet(self) -> "Image":
        from malt.evaluation.report.contact_sheet import contact_sheet
        from malt.worlds.registry import open_world, oracle_of

        world, seeds = open_world(self.world, self.policy, self.map), range(self.seed, self.seed + self.scenes)
        oracle = oracle_of(world, "--oracle") if self.oracle else None
        videos = world.render(seeds, 0, self.frames).frames
        readings = [oracle.read(video) for video in videos] if oracle else None
        captions = world.captions(seeds, seeds)
        return contact_sheet(videos, captions, columns=self.columns, scale=self.scale, readings=readings)
