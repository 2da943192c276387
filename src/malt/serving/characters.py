"""Characters: videos and pictures that were sent to be remembered by videos to come, kept on disk under a name."""

import json
import re
import shutil
import time
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import IO
from uuid import uuid4

from malt.media.files import write_whole
from malt.serving.engine.work_queue import BusyError
from malt.serving.refusals import FullError, MissingError
from malt.sessions.kept_memories import read_name

ID = re.compile(r"character_[0-9a-f]{32}")


@dataclass(frozen=True, kw_only=True)
class StoredCharacter:
    """What is known of a character beside what was sent."""

    name: str
    id: str = field(default_factory=lambda: f"character_{uuid4().hex}")
    created_at: float = field(default_factory=time.time)


class Characters:
    """The characters of a server, at most so many; each is a record and the file that was sent, as it was."""

    def __init__(self, folder: Path, most: int) -> None:
        self._folder, self._most = folder, most

    def check_room(self) -> None:
        """Raise a `BusyError` where there are as many as there may be."""
        if len(list(self._folder.glob("*.json"))) >= self._most:
            raise BusyError(f"{self._most} characters are kept here, as many as there may be; delete some")

    def create(self, name: str, file: IO[bytes]) -> StoredCharacter:
        """Keep what was sent.

        Raises:
            UsageError: the name is empty or too long.
            FullError: it cannot be written.
        """
        character = StoredCharacter(name=read_name(name))
        file.seek(0)
        try:
            self._folder.mkdir(exist_ok=True)
            with self._file(character).open("wb") as copy:
                shutil.copyfileobj(file, copy)
            write_whole(self._record(character.id), json.dumps(asdict(character)) + "\n")
        except OSError as error:
            self._file(character).unlink(missing_ok=True)
            raise FullError(f"could not keep the character ({error.strerror}); make room") from error
        return character

    def get(self, name: str) -> StoredCharacter:
        """The character of this id.

        Raises:
            MissingError: there is none.
        """
        try:
            if ID.fullmatch(name):
                return StoredCharacter(**json.loads(self._record(name).read_bytes()))
        except (OSError, ValueError, TypeError) as error:
            raise MissingError("there is no such character") from error
        raise MissingError("there is no such character")

    def open(self, character: StoredCharacter) -> IO[bytes]:
        """What was sent.

        Raises:
            MissingError: it has just been deleted.
        """
        try:
            return self._file(character).open("rb")
        except OSError as error:
            raise MissingError("there is no such character") from error

    def remove(self, character: StoredCharacter) -> None:
        """Delete it; videos that remember it are as they were."""
        self._record(character.id).unlink(missing_ok=True)
        self._file(character).unlink(missing_ok=True)

    def _record(self, name: str) -> Path:
        return self._folder / f"{name}.json"

    def _file(self, character: StoredCharacter) -> Path:
        return self._folder / f"{character.id}.video"
