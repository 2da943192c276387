"""A session: a generation that is steered, saved, gone on with, rewound and branched, exactly. Its state is a value."""

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Unpack

import torch
from jaxtyping import Float
from torch import Tensor

from malt.errors import UsageError
from malt.rollouts.base import ActionPolicy, RolloutState, Segment
from malt.sessions.fingerprint import identify
from malt.sessions.joint_advance import NextSegment
from malt.sessions.kept_memories import MAX_KEPT_BYTES, Moment, find, forget, keep, recall
from malt.sessions.pipeline import SessionPipeline, SessionSettings
from malt.sessions.prompts import Prompts, read_lines, schedule
from malt.sessions.segment_maker import SegmentMaker
from malt.sessions.session_state import SessionState, build, draw_seed, settle
from malt.sessions.snapshots import Snapshot, thin
from malt.sessions.storage import load_session, save_session
from malt.sessions.timeline import Timeline


class Session:
    """A generation, one video, that goes on segment by segment.

    Sessions that share a model may run in different threads; one session belongs to one thread at a time, except that
    `set_prompt` may be called from anywhere. `max_kept_bytes` bounds what is kept by name.
    """

    max_kept_bytes = MAX_KEPT_BYTES

    def __init__(self, pipe: SessionPipeline, state: SessionState) -> None:
        self.pipe, self.state = pipe, state
        self._new_prompts: deque[Timeline[str]] = deque(maxlen=1)
        self._maker = SegmentMaker(pipe)

    @classmethod
    def begin(
        cls,
        pipe: SessionPipeline,
        prompts: Prompts | Timeline[str] = "",
        *,
        seed: int = 0,
        num_frames: int | None = None,
        frame_rate: float | None = None,
        rollout: str = "malt",
        **settings: Unpack[SessionSettings],
    ) -> "Session":
        """A session in which nothing has been made.

        Args:
            pipe: the pipeline that makes it.
            prompts: what the video shows, over time (see `prompts`); may be "" for models that take actions.
            seed: what chance starts from; `pipe.stream` with a generator of this seed makes the same video.
            num_frames: the length that the prompts have to fit into; None for one without end.
            frame_rate: frames a second by which the prompts' seconds are counted; the model's own by default.
            rollout: the way in which the video is made (see `build_rollout`).
            settings: those of `pipe.rollout`: height, width, num_inference_steps, guidance_scale, ...

        Raises:
            UsageError: for empty prompts, times beyond the length, settings that do not fit the model.
        """
        if not isinstance(prompts, Timeline):
            prompts = _schedule(pipe, prompts, frame_rate or pipe.frame_rate, num_frames)
        first, drawn = pipe.rollout(prompts.at(0), **settings), draw_seed(seed)
        built = build(rollout, first)
        state = SessionState(
            model=identify(pipe),
            rollout=rollout,
            settings=settle(first, settings),
            prompts=prompts,
            seeds=Timeline.always(drawn),
            snapshots=(Snapshot(built.begin(drawn)),),
        )
        session = cls(pipe, state)
        session._maker.take(prompts.at(0), built)  # a prompt is not encoded twice
        return session

    def hear(self, on_step: Callable[[], None] | None) -> None:
        """Call this behind every denoising step; what it raises gives the segment up, and the session stands where it stood."""
        self._maker.on_step = on_step

    @property
    def num_frames(self) -> int:
        """How many frames have been made so far, given ones included."""
        return self.state.now.start

    @property
    def num_segments(self) -> int:
        """How many segments have been made so far."""
        return int(self.state.now.progress.index)

    @property
    def prompt(self) -> str:
        """What the next segment shows; setting it is `set_prompt`."""
        return self._new_prompts[-1].at(0) if self._new_prompts else self.state.prompts.at(self.num_frames)

    @prompt.setter
    def prompt(self, text: str) -> None:
        self.set_prompt(text)

    @property
    def prompts(self) -> Timeline[str]:
        """The prompts over time, with what was said since the last segment."""
        return self.state.prompted(tuple(self._new_prompts)).prompts

    @property
    def frames_ahead(self) -> int:
        """How many frames the next segment has: for how many actions are needed."""
        return self._maker.rollout(self.state, self.prompt).frames_ahead(self.state.now.progress)

    def set_prompt(self, text: str, *, frame_rate: float | None = None) -> None:
        """Change the prompt from the next segment on, in place of whatever was to come; `one thing [4s] | another` in turn.

        Raises:
            UsageError: the text is empty, or a time in it cannot be read.
        """
        self._new_prompts.append(_schedule(self.pipe, text, frame_rate or self.pipe.frame_rate, None))

    def schedule_prompts(
        self, prompts: Prompts, *, num_frames: int | None = None, frame_rate: float | None = None, at: int | None = None
    ) -> None:
        """Let these prompts, in turn, take the place of what was to come, from now or frame `at` on; `num_frames` to fit into.

        Raises:
            UsageError: for empty prompts, or times beyond the length.
        """
        left = None if num_frames is None else num_frames - (self.num_frames if at is None else at)
        to_come = _schedule(self.pipe, prompts, frame_rate or self.pipe.frame_rate, left)
        self._new_prompts.clear()
        self.state = self.state.prompted([to_come], at)

    def advance(self, actions: Float[Tensor, "t a"] | None = None) -> Segment:
        """Make the next segment; `actions` says what is done in each of its frames, for models that take actions.

        Raises:
            UsageError: the actions do not fit.
            MaltError: when the model's output is not finite; the session stands where it stood.
        """
        upcoming = self.next_segment(actions)
        segment, after = upcoming.make()
        self.take(upcoming, after)
        return segment

    def next_segment(self, actions: Float[Tensor, "t a"] | None = None) -> NextSegment:
        """How the next segment is made, alone or in one pass with those of others; `take` goes behind it."""
        while self._new_prompts:
            self.state = self.state.prompted([self._new_prompts.popleft()])
        return self._maker.next(self.state, self.state.now, actions)

    def take(self, upcoming: NextSegment, after: RolloutState) -> None:
        """Stand behind a segment that was made."""
        self._move(self.state, Snapshot(after, prompt=self.state.prompts.at(self.num_frames)), upcoming.actions)

    def stream(self, num_frames: int | None = None, driver: ActionPolicy | None = None) -> Iterator[Segment]:
        """Segments until the video has `num_frames` frames (without end for None); none is cut.

        `driver` sees every segment before it says what is done in the next, for models that take actions.
        """
        segment = None
        while num_frames is None or self.num_frames < num_frames:
            segment = self.advance(None if driver is None else driver(segment, self.frames_ahead)[0])
            yield segment

    def prefill(
        self, frames: Float[Tensor, "t 3 H W"], actions: Float[Tensor, "t a"] | None = None
    ) -> Iterator[Segment]:
        """Let the video begin with given frames: they are encoded, remembered and handed back as they come out.

        Raises:
            UsageError: something has been made already, or the frames or actions do not fit.
        """
        return self.prefill_pieces([(frames, actions)])

    def prefill_pieces(self, pieces: Iterable[tuple[Tensor, Tensor | None]]) -> Iterator[Segment]:
        """What `prefill` does, for frames and actions that come piece by piece, each cut where a segment ends."""
        if self.num_frames:
            raise UsageError(f"frames have been made ({self.num_frames}); give first frames to a session that has none")
        progress, prompt = self.state.now.progress, self.state.prompts.at(0)
        for frames, actions in pieces:
            begin, done = progress.start, None if actions is None else actions[None]
            for segment, after in self._maker.rollout(self.state, prompt).prefill(progress, frames[None], done):
                made = None if actions is None else actions[segment.start - begin : after.start - begin]
                here, progress = Snapshot(replace(after, encoder_cache=None), prompt=prompt), after
                self._move(replace(self.state, origin=here.at_rest()), here, made)
                yield segment

    def rewind(self, frame: int) -> int:
        """Go back to the border between segments at `frame`, or the last before it; give the border's frame.

        From the nearest snapshot before it, what lies between is made again, exactly as it was.

        Raises:
            UsageError: `frame` has not been made yet, or lies within the frames that were given.
        """
        there = self._maker.reach(self.state, frame)
        self._new_prompts.clear()
        self.state = self.state.rewound(there)
        return there.start

    def replay(self, frame: int) -> Iterator[Segment]:
        """Make again what was made from the border at `frame`, or the last before it, until now; changes nothing.

        What has to be made to get to that border is made at once, the segments as they are asked for.
        """
        return self._maker.make_again(self.state, self._maker.reach(self.state, frame))

    def branch(self, seed: int | None = None, *, at: int | None = None) -> "Session":
        """Another session that stands where this one does, or stood at frame `at`; with `seed`, of another future."""
        other = Session(self.pipe, self.state if at is not None else self.state.prompted(self._new_prompts))
        other.max_kept_bytes = self.max_kept_bytes
        if at is not None:
            other.rewind(at)
        if seed is not None:
            other.state = other.state.seeded(seed)
        return other

    @property
    def kept(self) -> Mapping[str, Moment]:
        """The moments that are kept, by their names."""
        return {moment.name: moment for moment in self.state.kept}

    def keep(self, name: str, *, at: int | None = None) -> Moment:
        """Keep what is remembered and seen now, or at the border at frame `at`, or the last before it, under a name.

        It survives rewinding to before it, and goes along with branches.

        Raises:
            UsageError: the name is none or taken, there is no such frame, or no room (see `max_kept_bytes`).
        """
        here = self.state.here if at is None else self._maker.reach(self.state, at)
        self.state = replace(self.state, kept=keep(self.state.kept, name, here, self.max_kept_bytes))
        return self.state.kept[-1]

    def recall(self, name: str, *, with_context: bool = True) -> None:
        """Let the next segment remember what was kept under a name, instead of what it would.

        With its context the picture comes along: the video goes on from the kept one, as a branch of that frame under the
        prompt of now would. Without, the picture of now stays and only the memory is that of the kept moment.

        Raises:
            UsageError: there is no such name.
            MaltError: what is kept is of another kind of memory.
        """
        moment = find(self.state.kept, name)
        there = recall(self.state.here, moment, with_context=with_context)
        self.state = self.state.edited(there, moment.snapshot.name, with_context=with_context)

    def forget(self, name: str) -> None:
        """Delete what was kept under a name, and from what is remembered now all that resembles it.

        The picture of now stays. What was made from it can no longer be made again where no snapshot is left behind it, so
        that rewinding stops before it.

        Raises:
            UsageError: there is no such name.
        """
        moment = find(self.state.kept, name)
        left = tuple(each for each in self.state.kept if each is not moment)
        self.state = replace(self.state.edited(forget(self.state.here, moment, self.pipe.transformer)), kept=left)

    def note(self, **notes: object) -> None:
        """Keep something with the session, as JSON."""
        self.state = replace(self.state, notes=self.state.notes | notes)

    def save(self, folder: Path) -> None:
        """Write the session, atomically: a run that is killed leaves this session in the folder, or the one before.

        Raises:
            MaltError: it cannot be written, as on a full disk; what was there is kept.
        """
        save_session(folder, self.state.prompted(self._new_prompts))

    @classmethod
    def load(cls, folder: Path, pipe: SessionPipeline) -> "Session":
        """The session in a folder.

        Raises:
            UsageError: there is none.
            MaltError: it is damaged, or was made by another model.
        """
        return cls(pipe, load_session(folder, pipe))

    def _move(self, state: SessionState, after: Snapshot, actions: Float[Tensor, "t a"] | None) -> None:
        past = *state.snapshots[:-1], state.now.at_rest()
        done = state.actions
        if actions is not None:
            done = actions.cpu() if done is None else torch.cat([done, actions.cpu()])
        self.state = replace(state, snapshots=thin((*past, after), state.origin), actions=done)


def _schedule(pipe: SessionPipeline, prompts: Prompts, frame_rate: float, num_frames: int | None) -> Timeline[str]:
    if isinstance(prompts, str) and not prompts.strip() and pipe.action_names:
        return Timeline.always("")
    return schedule(read_lines(prompts), frame_rate=frame_rate, num_frames=num_frames)
