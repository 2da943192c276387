"""A take: one of a visitor's videos, with its session, its file, and where in the file every segment stands."""

import bisect
import io
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import NamedTuple

import av
import numpy as np
from PIL import Image

from malt.errors import UsageError
from malt.media.frame_scale import choose_scale
from malt.media.pixels import to_pixels
from malt.media.video_writer import VideoSink
from malt.pipelines.model_place import ModelPlace
from malt.rollouts.base import Segment
from malt.serving.moments import MemoryChange, change_memory
from malt.sessions.session import Session
from malt.sessions.session_state import SessionState

JPEG = {"quality": 92, "subsampling": 0}


class SegmentEnd(NamedTuple):
    """The frame that comes next behind a segment, and where the segment ends in the file."""

    frame: int
    byte: int


class FrameStrip(NamedTuple):
    """A segment as one JPEG: its frames side by side, `length` of them from frame `start` on."""

    start: int
    length: int
    jpeg: bytes


@dataclass(frozen=True)
class Kept:
    """A session's state and the length of the file that belongs to it, in frames and bytes."""

    state: SessionState
    segment_end: SegmentEnd


class Take:
    """Grows by whole segments, can be cut at any border between them, and shows any of its frames.

    number: the first take of a visitor is 1. parent: the take that it branched off from, and at which frame. revision:
    rises with every cut, so that what was seen of a frame before is not taken for what it is now.
    """

    def __init__(self, number: int, session: Session, path: Path, *, model: str, scale: int | None = None) -> None:
        self.number, self.session, self.path, self.model = number, session, path, model
        self.parent: tuple[int, int] | None = None
        self.revision, self.memory_bytes = 0, 0
        self.frame_rate = session.pipe.frame_rate
        self._scale = choose_scale(session.pipe.frame_size, scale)
        self._segment_ends: list[SegmentEnd] = []
        self._sink = VideoSink(path, frame_rate=self.frame_rate, scale=self._scale)
        self.kept = Kept(session.state, SegmentEnd(0, 0))

    @property
    def made(self) -> int:
        """How many frames there are."""
        return self.kept.segment_end.frame

    def write(self, segment: Segment) -> None:
        """Add a segment of the session to the file."""
        self._sink.write(to_pixels(segment.frames[0]))
        self.memory_bytes = segment.memory_bytes
        self._segment_ends.append(SegmentEnd(self._sink.num_frames, self._sink.end_in_file))
        self.kept = Kept(self.session.state, self._segment_ends[-1])

    def cut(self, frame: int) -> None:
        """Take the video back to the border at `frame`, or the last before it. Uses the model.

        Raises:
            UsageError: `frame` has not been made yet, or lies within the frames that were given.
        """
        at = self.session.rewind(frame)
        self._segment_ends = [segment_end for segment_end in self._segment_ends if segment_end.frame <= at]
        self.revision += 1
        self._open_again()

    def describe(self) -> dict[str, object]:
        """What the page shows of it, as JSON."""
        kept = self.kept
        made = kept.segment_end.frame
        return {
            "number": self.number,
            "made": made,
            "rate": self.frame_rate,
            "revision": self.revision,
            "memory": self.memory_bytes,
            "model": self.model,
            "rollout": kept.state.rollout,
            "parent": self.parent,
            "moments": [[moment.name, moment.frame] for moment in kept.state.kept],
            "prompts": [list(change) for change in kept.state.prompts.changes if change[0] <= made],
            "prompt": self.session.prompt,
        }

    def change_memory(self, asked: MemoryChange) -> None:
        """Keep, recall or forget a moment before the next segment. Uses the model.

        Raises:
            UsageError: there is no such name, or it cannot be kept.
        """
        change_memory(self.session, asked)
        self.kept = Kept(self.session.state, self._end)

    def branch(self, number: int, path: Path, frame: int, seed: int) -> "Take":
        """Another take, with this one's video up to the border at `frame`, or the last before it. Uses the model.

        Raises:
            UsageError: `frame` has not been made yet, or lies within the frames that were given.
        """
        session = self.session.branch(seed, at=frame)
        other = Take(number, session, path, model=self.model, scale=self._scale)
        other._segment_ends = [
            segment_end for segment_end in self._segment_ends if segment_end.frame <= session.num_frames
        ]
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
        segment_ends = self._segment_ends
        index = bisect.bisect_right([segment_end.frame for segment_end in segment_ends], frame)
        if frame < 0 or index == len(segment_ends):
            raise UsageError(f"there is no frame {frame}")
        start, begin = segment_ends[index - 1] if index else (0, 0)
        with self.path.open("rb") as file:
            header = _header(file.read(4096))
            file.seek(max(begin, len(header)))
            fragment = file.read(segment_ends[index].byte - file.tell())
        return FrameStrip(start, segment_ends[index].frame - start, _side_by_side(header + fragment, self._scale))

    def notes(self, seed: int, place: ModelPlace) -> None:
        """Keep with the session what `malt resume` asks for."""
        self.session.note(
            planned=None,
            frame_rate=str(Fraction(self.frame_rate).limit_denominator(1001)),
            scale=self._scale,
            shown=0,
            seed=seed,
            **place.notes(),
            actions=None,
            driver=_goes_on(self.session.pipe.action_names),
        )

    def remove(self) -> None:
        """Let go of the file, and delete it."""
        self._sink.close()
        shutil.rmtree(self.path.parent, ignore_errors=True)

    @property
    def _end(self) -> SegmentEnd:
        return self._segment_ends[-1] if self._segment_ends else SegmentEnd(0, 0)

    def _open_again(self) -> None:
        """Go on writing behind the last border."""
        self._sink.close()
        height, width = (self.session.state.settings[side] for side in ("height", "width"))
        rate, scale = self.frame_rate, self._scale
        if frame := self._end.frame:
            self._sink = VideoSink.go_on(self.path, frame, frame_rate=rate, scale=scale, size=(height, width))
        else:
            self._sink = VideoSink(self.path, frame_rate=rate, scale=scale, overwrite=True)
        self.kept = Kept(self.session.state, self._end)


def _header(head: bytes) -> bytes:
    return head[: head.index(b"moof") - 4]


def _side_by_side(mp4: bytes, scale: int) -> bytes:
    with av.open(io.BytesIO(mp4), "r", format="mp4") as container:
        pictures = [Image.fromarray(frame.to_ndarray(format="rgb24")) for frame in container.decode(video=0)]
    if scale > 1:
        pictures = [picture.reduce(scale) for picture in pictures]
    file = io.BytesIO()
    Image.fromarray(np.concatenate([np.asarray(picture) for picture in pictures], axis=1)).save(file, "JPEG", **JPEG)
    return file.getvalue()


def _goes_on(action_names: Sequence[str]) -> str | None:
    """What acts when the session goes on without anybody's hand."""
    if not action_names:
        return None
    return "cruise" if "steering" in action_names else "explore"
