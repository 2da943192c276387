"""Moments that are kept by name: what a video remembered and showed there, to be recalled later or forgotten."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from difflib import get_close_matches

import torch

from malt.errors import MaltError, UsageError
from malt.memory.forgetting import without
from malt.memory.protocol import Layout
from malt.memory.state import Memory, move, num_bytes
from malt.models.video_model import VideoModel
from malt.rollouts.base import held_bytes
from malt.sessions.snapshots import Snapshot
from malt.unicode import check_text

MAX_NAME = 64  # characters
MAX_KEPT_BYTES = 2**28  # of all moments that a session keeps; one of the default model takes 1 MB


@dataclass(frozen=True)
class Moment:
    """Where a video stood at a border between segments, under a name."""

    name: str
    snapshot: Snapshot

    @property
    def frame(self) -> int:
        """Number of the frame that came next."""
        return self.snapshot.start

    @property
    def num_bytes(self) -> int:
        """Size of all that is kept of it."""
        return held_bytes(self.snapshot.progress)


@dataclass(frozen=True)
class Edit:
    """A change of the memory by hand, before the segment at `frame`.

    after: name of the snapshot behind it. recalled: name of the snapshot that was recalled; None where a moment was
    forgotten, which cannot be done again. with_context: whether the picture came along.
    """

    frame: int
    after: str
    recalled: str | None = None
    with_context: bool = True

    def is_lost(self, kept: Sequence[Moment]) -> bool:
        """Whether it cannot be done again: what it recalled is no longer kept."""
        return self.recalled not in [moment.snapshot.name for moment in kept]

    def apply(self, here: Snapshot, kept: Sequence[Moment]) -> Snapshot:
        """The snapshot behind the change, of one before it.

        Raises:
            MaltError: it is lost.
        """
        for moment in kept:
            if moment.snapshot.name == self.recalled:
                return recall(here, moment, with_context=self.with_context, name=self.after)
        raise MaltError(
            f"a moment that was forgotten changed the memory at frame {self.frame}, so what follows cannot be made again; "
            "rewind to before it"
        )


def edit_all(here: Snapshot, edits: Sequence[Edit], kept: Sequence[Moment]) -> Snapshot:
    """A snapshot behind all changes that were made where it stands.

    Raises:
        MaltError: one of them is lost.
    """
    for edit in _to_come(here, edits):
        here = edit.apply(here, kept)
    return here


def is_cut_off(here: Snapshot, edits: Sequence[Edit], kept: Sequence[Moment]) -> bool:
    """Whether what came after a snapshot cannot be made again from it."""
    return any(edit.is_lost(kept) for edit in _to_come(here, edits))


def _to_come(here: Snapshot, edits: Sequence[Edit]) -> list[Edit]:
    """The changes at the frame of a snapshot that are not in it."""
    there = [edit for edit in edits if edit.frame == here.start]
    names = [edit.after for edit in there]
    return there[names.index(here.name) + 1 :] if here.name in names else there


def keep(kept: Sequence[Moment], name: str, here: Snapshot, max_bytes: int) -> tuple[Moment, ...]:
    """The moments that are kept, with one more.

    Raises:
        UsageError: the name is none or taken, there is nothing to keep, or it is larger than there is room for.
    """
    name = read_name(name)
    if not here.start:
        raise UsageError(f"nothing has been made that {name!r} could stand for; make a segment first")
    if not num_bytes(here.progress.memory):
        raise UsageError(
            "this session has no memory, so no moment of it can be kept; use a model and a rollout with one"
        )
    for moment in kept:
        if moment.name == name:
            raise UsageError(
                f"{name!r} is kept already, of frame {moment.frame}; forget it first or choose another name"
            )
    added = Moment(name, here.at_rest())
    held = sum(moment.num_bytes for moment in kept)
    if held + added.num_bytes > max_bytes:
        raise UsageError(
            f"{name!r} takes {_megabytes(added.num_bytes)} and {_megabytes(held)} are kept, of at most "
            f"{_megabytes(max_bytes)}; forget a moment first"
        )
    return (*kept, added)


def find(kept: Sequence[Moment], name: str) -> Moment:
    """The moment that is kept under a name.

    Raises:
        UsageError: there is none; the nearest is named.
    """
    name, names = read_name(name), [moment.name for moment in kept]
    if name in names:
        return kept[names.index(name)]
    near = get_close_matches(name, names, n=1, cutoff=0.0)
    raise UsageError(
        f"nothing is kept as {name!r}, "
        + (f"did you mean {near[0]!r}?" if near else "nor as anything else; keep it first")
    )


def recall(here: Snapshot, moment: Moment, *, with_context: bool, name: str | None = None) -> Snapshot:
    """Where a video goes on from what is remembered of a moment, and with its picture where that is to come along.

    Raises:
        MaltError: the moment is of another kind of memory.
    """
    then, now = moment.snapshot.progress, here.progress
    if _shape(then.memory) != _shape(now.memory):
        raise MaltError(f"{moment.name!r} is of another kind of memory than this session's; forget it")
    if with_context:
        progress = replace(then, seed=now.seed, index=now.index, start=now.start)
    else:
        progress = replace(now, memory=then.memory)
    told = Snapshot(progress, prompt=moment.snapshot.prompt if with_context else None)
    return told if name is None else replace(told, name=name)


def forget(here: Snapshot, moment: Moment, model: VideoModel) -> Snapshot:
    """A snapshot without what it remembers of a moment; the same one where that is nothing."""
    memory, gone, tail = here.progress.memory, moment.snapshot.progress.memory, here.progress.tail
    if tail is None or _shape(memory) != _shape(gone):
        return here
    (rows, columns), (height, width) = model.patch_size, tail.shape[-2:]
    layout = Layout(model.segment_frames, height // rows, width // columns)
    left = without(memory, move(gone, tail.device), model.memory_modules(), layout)
    if all(torch.equal(before.valid, after.valid) for before, after in zip(memory, left, strict=True)):
        return here
    return Snapshot(replace(here.progress, memory=left), prompt=here.prompt)


def read_name(name: str) -> str:
    """A name that a moment can have, without the space around it.

    Raises:
        UsageError: it is empty, too long, or no text.
    """
    name = name.strip()
    if not name:
        raise UsageError("the name is empty; give the moment one, as in 'the yard'")
    if len(name) > MAX_NAME:
        raise UsageError(f"the name has {len(name)} characters; give at most {MAX_NAME}")
    check_text(name)
    return name


def _shape(memory: Memory) -> list[tuple[int, ...]]:
    return [tuple(state.tokens.shape) for state in memory]


def _megabytes(count: int) -> str:
    return f"{count / 1e6:.1f} MB"
