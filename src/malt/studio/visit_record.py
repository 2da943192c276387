"""A visit on disk: a folder with a record of its takes, beside their videos and sessions."""

import hashlib
import json
import logging
from dataclasses import asdict, dataclass, field
from pathlib import Path

from pydantic import TypeAdapter, ValidationError

from malt.media.files import write_whole

RECORD = "visit.json"
PREFIX = "visit-"
log = logging.getLogger(__name__)


@dataclass(kw_only=True)
class TakeRecord:
    """A take: what its visitor wrote for it, which model makes it, and the take and frame it branched off from."""

    number: int
    model: str
    text: str = ""
    parent: tuple[int, int] | None = None


@dataclass(kw_only=True)
class VisitRecord:
    """What is kept of a visit. goal: the frame up to which the current take was being made, if it was."""

    takes: list[TakeRecord] = field(default_factory=list)
    current: int | None = None
    number: int = 0
    goal: int | None = None


RECORDS = TypeAdapter(VisitRecord)


def visit_folder(folder: Path, key: str) -> Path:
    """Where a visit is kept; nothing that a visitor sends becomes part of a path, and the key is not on the disk."""
    return folder / (PREFIX + hashlib.sha256(key.encode()).hexdigest()[:32])


def take_video(folder: Path, number: int) -> Path:
    """Where in its visit's folder the video of a take lies."""
    return folder / f"take-{number}" / "video.mp4"


def write_record(folder: Path, record: VisitRecord) -> None:
    """Write the record of a visit, whole or not at all."""
    write_whole(folder / RECORD, json.dumps(asdict(record), indent=1) + "\n")


def read_record(folder: Path) -> VisitRecord | None:
    """The record of a visit; None where there is none, or it is damaged, of which the log tells."""
    try:
        return RECORDS.validate_json((folder / RECORD).read_bytes())
    except FileNotFoundError:
        return None
    except (OSError, ValidationError) as error:
        log.warning("%s cannot be read (%s)", folder / RECORD, str(error).split("\n")[0])
        return None
