"""What of a batch is done: a small file for each video, beside them in a hidden folder, that says what it was made of."""

import json
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from malt.errors import UsageError
from malt.media.files import write_whole

FOLDER = ".batch"


class Stage(StrEnum):
    """How far a video is."""

    NEW = "new"
    BEGUN = "begun"
    DONE = "done"


@dataclass(frozen=True)
class BatchLedger:
    """The entries of the batch in a folder."""

    folder: Path

    def open(self) -> None:
        """Make the folder.

        Raises:
            UsageError: it cannot be made.
        """
        try:
            (self.folder / FOLDER).mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise UsageError(
                f"cannot make the folder {self.folder} ({error.strerror}); choose another --out"
            ) from error

    def stage(self, name: str, request: dict[str, str], *, overwrite: bool = False) -> Stage:
        """How far the video of this name is, made of `request`; NEW for one of something else that is to be overwritten.

        Raises:
            UsageError: it was made, or begun, of something else.
        """
        try:
            entry = json.loads(self._entry(name).read_bytes())
            noted, stage = entry["request"], Stage(entry["stage"])
        except (OSError, ValueError, KeyError, TypeError):  # none, or damaged: it tells nothing
            return Stage.NEW
        video = self.folder / name
        if not video.is_file():
            return Stage.NEW
        if noted != request and overwrite:
            return Stage.NEW
        if noted != request:
            differs = sorted(key for key in {*noted, *request} if noted.get(key) != request.get(key))
            raise UsageError(
                f"{video} was made with another {' and '.join(differs)}; give another out, or --overwrite for all"
            )
        return stage

    def note(self, name: str, request: dict[str, str], stage: Stage) -> None:
        """Say how far a video is."""
        write_whole(self._entry(name), json.dumps({"stage": stage, "request": request}, indent=1) + "\n")

    def _entry(self, name: str) -> Path:
        return self.folder / FOLDER / f"{name}.json"
