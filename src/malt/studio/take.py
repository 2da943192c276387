"""A take: one of a visitor's videos, with its session, its file, and where in the file every segment stands."""

import bisect
import shutil
import time
from collections import deque
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import NamedTuple

import numpy as np

from malt.errors import MaltError, UsageError
from malt.media.frame_scale import choose_scale
from malt.media.mp4_fragments import borders
from malt.media.pixels import to_pixels
from malt.media.video_writer import VideoSink
from malt.pipelines.model_place import ModelPlace
from malt.rollouts.base import Segment
from malt.serving.moments import MemoryChange, change_memory
from malt.sessions.pipeline import SessionPipeline
from malt.sessions.session import Session
from malt.sessions.session_state import SessionState
from malt.sessions.storage import session_folder
from malt.sessions.video_binding import bind, hash_beginning
from malt.studio.frame_strip import FrameStrip, read_segment, side_by_side

SAVE_SECONDS = 2.0  # of making, at most, that a kill may lose
TAIL = "undone-"  # files that hold what may come back
FRESH = 2  # segments whose frames are at hand as they were made


class SegmentEnd(NamedTuple):
    """The frame that comes next behind a segment, and where the segment ends in the file."""

    frame: int
    byte: int


@dataclass(frozen=True)
class Kept:
    """A session's state and the length of the file that belongs to it, in frames and bytes."""

    state: SessionState
    segment_end: SegmentEnd


@dataclass(frozen=True)
class Future:
    """What a take was from a border on: its state, its segments' ends, and the bytes of its file, which lie in `tail`."""

    begins: SegmentEnd
    state: SessionState
    ends: tuple[SegmentEnd, ...]
    tail: Path


class Take:
    """Grows by whole segments, can be cut at any border between them, and shows any of its frames.

    number: the first take of a visitor is 1. parent: the take that it branched off from, and at which frame. revision:
    rises with every cut, so that what was seen of a frame before is not taken for what it is now; what lies before frame
    `untouched` is as it was before the last cut. text: what the visitor last wrote for it.
    """

    def __init__(self, number: int, session: Session, path: Path, *, model: str, scale: int | None = None) -> None:
        self.number, self.session, self.path, self.model = number, session, path, model
        self.parent: tuple[int, int] | None = None
        self.text = session.prompt
        self.revision = self.untouched = self.memory_bytes = 0
        self.frame_rate = session.pipe.frame_rate
        self._scale = choose_scale(session.pipe.frame_size, scale)
        self._ends: list[SegmentEnd] = []
        self._fresh = deque[tuple[int, np.ndarray]](maxlen=FRESH)
        self._saved, self._num_tails = time.monotonic(), 0
        self._sink = self._new_sink()
        self.kept = Kept(session.state, SegmentEnd(0, 0))

    @classmethod
    def restore(cls, number: int, path: Path, pipe: SessionPipeline, *, model: str) -> "Take":
        """A take as it was saved; what its file holds beyond that is cut off.

        Raises:
            MaltError: it is damaged, or was made by another model.
        """
        session = Session.load(session_folder(path), pipe)
        take = cls(number, session, path, model=model, scale=int(str(session.state.notes["scale"])))
        found = borders(path, take._sink.frame_rate) if session.num_frames else {}
        if session.num_frames and session.num_frames not in found:
            raise MaltError(f"the file of take {number} is not the one that its session wrote")
        for tail in path.parent.glob(f"{TAIL}*"):
            tail.unlink()
        take._ends = [SegmentEnd(*end) for end in found.items() if 0 < end[0] <= session.num_frames]
        take._open_again()
        return take

    @property
    def made(self) -> int:
        """How many frames there are."""
        return self.kept.segment_end.frame

    @property
    def first_border(self) -> int:
        """The earliest frame to which it can be cut: the one behind those that were given."""
        origin = self.kept.state.origin
        return 0 if origin is None else origin.start

    def borders(self) -> list[int]:
        """The frames to which it can be cut, rising."""
        first = self.first_border
        return [0] * (first == 0) + [end.frame for end in tuple(self._ends) if end.frame >= first]

    def border_behind(self, frame: int) -> int:
        """The end of the segment that shows a frame, or of the last."""
        return next((end.frame for end in tuple(self._ends) if end.frame > frame), self.made)

    def write(self, segment: Segment) -> None:
        """Add a segment of the session to the file."""
        pixels = to_pixels(segment.frames[0])
        self._sink.write(pixels)
        self._fresh.append((segment.start, pixels))
        self.memory_bytes = segment.memory_bytes
        self._ends.append(SegmentEnd(self._sink.num_frames, self._sink.end_in_file))
        self.kept = Kept(self.session.state, self._ends[-1])

    def save_now_and_then(self) -> None:
        """Save, where that was not done for a while. Uses the session."""
        if time.monotonic() - self._saved > SAVE_SECONDS:
            self.save()

    def save(self) -> None:
        """Have the session beside the video on the disk, both where they stand. Uses the session.

        Raises:
            MaltError: there is no room.
        """
        if self._ends:
            self._sink.sync()
        end = self._end
        sha256 = self._sink.sha256_at(end.frame) or (hash_beginning(self.path, end.byte) if end.byte else None)
        self.session.state = bind(self.session.state, sha256)
        self.session.note(shown=end.frame)
        self.session.save(session_folder(self.path))
        self._saved = time.monotonic()

    def cut(self, frame: int) -> None:
        """Take the video back to the border at `frame`, or the last before it. Uses the model.

        Raises:
            UsageError: `frame` has not been made yet, or lies within the frames that were given.
        """
        begins = self._end_at(self.session.rewind(frame))
        self._end_with(begins, [end for end in self._ends if end.frame <= begins.frame])

    def rewind(self, frame: int) -> Future:
        """What `cut` does, to be taken back with `swap`.

        Raises:
            UsageError: as `cut`.
        """
        before, ends = self.session.state, tuple(self._ends)
        begins = self._end_at(self.session.rewind(frame))
        future = self._future_from(begins, before)
        self._end_with(begins, [end for end in ends if end.frame <= begins.frame])
        self.save()
        return future

    def swap(self, other: Future) -> Future:
        """Let the take be what it was from a border on, and give what it is from there on. Uses the session.

        Raises:
            UsageError: the take does not reach that border any more.
        """
        if other.begins not in (SegmentEnd(0, 0), *self._ends):
            raise UsageError("this cannot be undone any more: what it was based on has been cut")
        self.session.rewind(self.session.num_frames)  # what was said for later is not said of the other
        now = self._future_from(other.begins, self.session.state)
        self._sink.close()
        with self.path.open("r+b" if self.path.exists() else "wb") as file, other.tail.open("rb") as tail:
            file.truncate(other.begins.byte)
            file.seek(other.begins.byte)
            shutil.copyfileobj(tail, file)
        other.tail.unlink()
        self.session.state = other.state
        self._end_with(other.begins, list(other.ends))
        self.save()
        return now

    def change_memory(self, asked: MemoryChange) -> Future:
        """Keep, recall or forget a moment before the next segment, and give what the take was. Uses the model.

        Raises:
            UsageError: there is no such name, or it cannot be kept.
        """
        before = self.session.state
        change_memory(self.session, asked)
        self.kept = Kept(self.session.state, self._end)
        self.save()
        return self._future_from(self._end, before)

    def branch(self, number: int, path: Path, frame: int, seed: int) -> "Take":
        """Another take, with this one's video up to the border at `frame`, or the last before it. Uses the model.

        Raises:
            UsageError: `frame` has not been made yet, or lies within the frames that were given.
        """
        session = self.session.branch(seed, at=frame)
        other = Take(number, session, path, model=self.model, scale=self._scale)
        other._ends = [end for end in self._ends if end.frame <= session.num_frames]
        with self.path.open("rb") as source, path.open("wb") as target:
            target.write(source.read(other._end.byte))
        other.parent, other.memory_bytes = (self.number, session.num_frames), self.memory_bytes
        other._open_again()
        return other

    def strip(self, frame: int) -> FrameStrip:
        """The segment that shows a frame.

        Raises:
            UsageError: there is no such frame.
        """
        ends = tuple(self._ends)
        index = bisect.bisect_right([end.frame for end in ends], frame)
        if frame < 0 or index == len(ends):
            raise UsageError(f"there is no frame {frame}")
        start, begin = ends[index - 1] if index else (0, 0)
        fresh = next((pixels for at, pixels in tuple(self._fresh) if at == start), None)
        pixels = read_segment(self.path, begin, ends[index].byte, self._scale) if fresh is None else fresh
        return FrameStrip(start, len(pixels), side_by_side(pixels))

    def notes(self, seed: int, place: ModelPlace, **more: object) -> None:
        """Keep with the session what `malt resume` asks for, and `more`."""
        names = self.session.pipe.action_names
        acts = "cruise" if "steering" in names else "explore"  # when nobody's hand does
        self.session.note(
            planned=None,
            frame_rate=str(Fraction(self.frame_rate).limit_denominator(1001)),
            scale=self._scale,
            shown=0,
            seed=seed,
            **place.notes(),
            actions=None,
            driver=acts if names else None,
            **more,
        )

    def close(self) -> None:
        """Let go of the file."""
        self._sink.close()

    def remove(self) -> None:
        """Let go of the file, and delete it."""
        self.close()
        shutil.rmtree(self.path.parent, ignore_errors=True)

    @property
    def _end(self) -> SegmentEnd:
        return self._ends[-1] if self._ends else SegmentEnd(0, 0)

    def _end_at(self, frame: int) -> SegmentEnd:
        return next((end for end in self._ends if end.frame == frame), SegmentEnd(0, 0))

    def _future_from(self, begins: SegmentEnd, state: SessionState) -> Future:
        """What the take is from a border on, its bytes set aside."""
        self._num_tails += 1
        tail = self.path.with_name(f"{TAIL}{self._num_tails}")
        size = self._end.byte - begins.byte
        with tail.open("wb") as target:
            if size:
                with self.path.open("rb") as source:
                    source.seek(begins.byte)
                    target.write(source.read(size))
        return Future(begins, state, tuple(self._ends), tail)

    def _end_with(self, begins: SegmentEnd, ends: list[SegmentEnd]) -> None:
        """Be something else behind a border."""
        self._ends = ends
        self._fresh.clear()
        self.revision, self.untouched = self.revision + 1, begins.frame
        self._open_again()

    def _new_sink(self) -> VideoSink:
        return VideoSink(self.path, frame_rate=self.frame_rate, scale=self._scale, overwrite=True)

    def _open_again(self) -> None:
        """Go on writing behind the last border."""
        self._sink.close()
        height, width = (self.session.state.settings[side] for side in ("height", "width"))
        rate, scale = self.frame_rate, self._scale
        if frame := self._end.frame:
            self._sink = VideoSink.go_on(self.path, frame, frame_rate=rate, scale=scale, size=(height, width))
        else:
            self._sink = self._new_sink()
        self.kept = Kept(self.session.state, self._end)
