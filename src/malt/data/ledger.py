"""What a rank has finished encoding, one line an event, so that a run that was killed goes on where it was.

A line is written only once what it tells of is on the disk; a last line that was cut short is as if never written.
"""

import json
import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

from malt.errors import UsageError


class Stretch(NamedTuple):
    """A sample as the ledger knows it: bytes `begin` to `end` of a shard."""

    key: str
    shard: int
    begin: int
    end: int
    latents: int


@dataclass
class Ledger:
    """The events of one rank and what follows from them."""

    path: Path
    done: dict[str, list[Stretch]] = field(default_factory=dict)  # videos that are encoded to their end
    video: str | None = None  # the video that is being encoded
    stretches: list[Stretch] = field(default_factory=list)  # of that video
    closed: dict[int, str] = field(default_factory=dict)  # checksums of the finished shards
    num_samples: int = 0  # ever written: no key is given twice
    end: int = 0  # bytes of the open shard that count

    @classmethod
    def read(cls, path: Path) -> "Ledger":
        """The ledger in a file; an empty one if there is none.

        Raises:
            UsageError: a whole line of it tells of no event.
        """
        ledger = cls(path)
        lines = path.read_bytes().rpartition(b"\n")[0].splitlines() if path.exists() else []
        for number, line in enumerate(lines, start=1):
            try:
                ledger._follow(json.loads(line))
            except (ValueError, KeyError, TypeError, AttributeError) as error:
                raise UsageError(
                    f"{path} is damaged in line {number}; delete it and run malt encode again, which makes what it told of anew"
                ) from error
        return ledger

    def mend(self) -> None:
        """Cut off a last line that was cut short; for the one process that writes here."""
        if self.path.exists():
            whole, newline, rest = self.path.read_bytes().rpartition(b"\n")
            if rest:
                os.truncate(self.path, len(whole) + len(newline))

    @property
    def shard(self) -> int:
        """Number of the open shard."""
        return max(self.closed, default=-1) + 1

    @property
    def latents(self) -> int:
        """Latent frames that are written of the video that is being encoded."""
        return sum(stretch.latents for stretch in self.stretches)

    def sample(self, video: str, stretch: Stretch) -> None:
        """A stretch of a video is in the open shard."""
        self._write({"event": "sample", "film": video, **stretch._asdict()})

    def finish(self, video: str) -> None:
        """The video is encoded to its end."""
        self._write({"event": "done", "film": video})

    def drop(self, video: str, why: str) -> None:
        """Nothing that is written of this video counts."""
        self._write({"event": "dropped", "film": video, "why": why})

    def close(self, shard: int, sha256: str) -> None:
        """The open shard is complete."""
        self._write({"event": "closed", "shard": shard, "sha256": sha256})

    def published(self) -> dict[str, list[str]]:
        """The keys of every video that lies in finished shards from its beginning to its end."""
        return {
            video: [stretch.key for stretch in stretches]
            for video, stretches in self.done.items()
            if all(stretch.shard in self.closed for stretch in stretches)
        }

    def _write(self, event: dict[str, Any]) -> None:
        with self.path.open("a", encoding="utf-8", errors="backslashreplace") as file:  # which JSON reads as its own
            file.write(json.dumps(event, ensure_ascii=False) + "\n")
            file.flush()
            os.fsync(file.fileno())
        self._follow(event)

    def _follow(self, event: dict[str, Any]) -> None:
        match event.pop("event"):
            case "sample":
                video = event.pop("film")
                self.stretches = [*(self.stretches if video == self.video else []), Stretch(**event)]
                self.video, self.end = video, event["end"]
                self.num_samples += 1
            case "done":
                self.done[event["film"]], self.video, self.stretches = self.stretches, None, []
            case "dropped":
                self._forget(event["film"])
            case "closed":
                self.closed[event["shard"]], self.end = event["sha256"], 0

    def _forget(self, video: str) -> None:
        self.done.pop(video, None)
        if video == self.video:
            here = [stretch.begin for stretch in self.stretches if stretch.shard == self.shard]
            self.end, self.video, self.stretches = min(here, default=self.end), None, []
