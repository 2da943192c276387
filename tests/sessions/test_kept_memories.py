"""Laws of moments that are kept by name: they survive, come back exactly, and are gone when they are forgotten."""

import hashlib
import json
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import Tensor

import tiny_pipeline
from malt.errors import MaltError, UsageError
from malt.memory.state import State, num_bytes, used
from malt.pipelines.malt import MaltPipeline
from malt.rollouts.base import Segment
from malt.sessions.session import Session
from malt.sessions.snapshots import MAX_SNAPSHOTS
from malt.sessions.storage import INDEX
from tiny_pipeline import SEGMENT

RED, BLUE, GREEN = "a red circle passes behind a wall", "a blue square at night", "a green cross"


@pytest.fixture(scope="module")
def pipe() -> MaltPipeline:
    return tiny_pipeline.pipeline(settings={"num_inference_steps": 1}, memory="hierarchical", memory_size=2)


@pytest.fixture
def session(pipe: MaltPipeline) -> Session:
    """Two segments of RED, kept as the yard, and two of BLUE."""
    session = Session.begin(pipe, RED, seed=3)
    until(session, 2)
    session.keep("the yard")
    session.set_prompt(BLUE)
    until(session, 4)
    return session


def frames(segments: Iterable[Segment]) -> Tensor:
    return torch.cat([segment.frames[0] for segment in segments])


def until(session: Session, num_segments: int) -> Tensor:
    return frames(session.stream(num_segments * SEGMENT))


def through_disk(session: Session, folder: Path) -> Session:
    session.save(folder)
    return Session.load(folder, session.pipe)


@pytest.mark.parametrize("prompt", [RED, GREEN])
def test_going_on_from_what_is_recalled_is_branching_there_under_the_prompt_of_now(
    session: Session, prompt: str
) -> None:
    branched, elsewhere = session.branch(at=2 * SEGMENT), session.branch(at=0)
    branched.set_prompt(prompt)
    elsewhere.set_prompt(BLUE)
    until(elsewhere, 2)
    elsewhere.recall("the yard")
    elsewhere.set_prompt(prompt)
    assert torch.equal(until(elsewhere, 4), until(branched, 4))


def test_recalling_what_was_just_kept_changes_nothing(session: Session) -> None:
    session.keep("the night")
    plain = session.branch()
    session.recall("the night")
    assert torch.equal(until(session, 6), until(plain, 6))


def test_without_its_context_the_memory_comes_back_and_the_picture_stays(session: Session) -> None:
    before, yard = session.state.now.progress, session.kept["the yard"].snapshot.progress
    session.recall("the yard", with_context=False)
    now = session.state.now.progress
    assert before.tail is not None
    assert now.tail is before.tail
    assert now.memory is yard.memory
    told = []
    handle = tiny_pipeline.network(session.pipe).register_forward_pre_hook(lambda module, given: told.append(given[2]))
    session.set_prompt(GREEN)  # which would have the memory told again
    session.advance()
    handle.remove()
    assert torch.equal(told[0][0].tokens[:1], yard.memory[0].tokens)


def test_what_is_kept_survives_rewinding_branching_saving_and_many_segments(session: Session, tmp_path: Path) -> None:
    yard = session.kept["the yard"].snapshot.progress.memory
    session.rewind(SEGMENT)
    session = through_disk(session.branch(seed=7), tmp_path / "one")
    until(session, MAX_SNAPSHOTS + 2)
    session = through_disk(session, tmp_path / "one")
    moment = session.kept["the yard"]
    assert (moment.frame, moment.name) == (2 * SEGMENT, "the yard")
    for one, other in zip(yard, moment.snapshot.progress.memory, strict=True):
        assert torch.equal(one.tokens, other.tokens)
        assert torch.equal(one.valid, other.valid)


def test_saving_and_loading_between_keeping_and_recalling_changes_nothing(session: Session, tmp_path: Path) -> None:
    loaded = through_disk(session, tmp_path / "walk.session")
    for each in (session, loaded):
        each.recall("the yard")
    again = through_disk(loaded, tmp_path / "walk.session")
    made = until(session, 6)
    assert torch.equal(until(loaded, 6), made)
    assert torch.equal(until(again, 6), made)


@pytest.mark.parametrize("frame", [0, 4 * SEGMENT, 5 * SEGMENT, 7 * SEGMENT])
def test_rewinding_past_a_recall_and_going_on_equals_the_original(session: Session, tmp_path: Path, frame: int) -> None:
    session.recall("the yard")
    until(session, 5)
    session.recall("the yard", with_context=False)
    later = until(session, 8)
    session = through_disk(session, tmp_path / "walk.session")
    assert torch.equal(frames(session.replay(5 * SEGMENT)), later)
    assert session.rewind(frame) == frame
    assert torch.equal(until(session, 8)[-len(later) :], later[-(8 * SEGMENT - frame) :])


def test_a_new_prompt_in_a_rewound_session_takes_the_place_of_a_recall_that_was_to_come(session: Session) -> None:
    plain = session.branch(at=3 * SEGMENT)
    session.recall("the yard")
    until(session, 5)
    session.rewind(3 * SEGMENT)
    for each in (session, plain):
        each.set_prompt(GREEN)
    assert torch.equal(until(session, 6), until(plain, 6))


def test_forks_keep_recall_and_forget_for_themselves(session: Session) -> None:
    before, other = session.state, session.branch()
    other.keep("the night")
    other.recall("the yard")
    other.forget("the yard")
    assert session.state is before
    assert list(session.kept) == ["the yard"]
    assert list(other.kept) == ["the night"]


def test_what_is_forgotten_is_neither_kept_nor_on_disk_nor_in_the_memory(session: Session, tmp_path: Path) -> None:
    session.recall("the yard")
    file = session.kept["the yard"].snapshot.name
    session.forget("the yard")
    assert not session.kept
    assert all(not used(state).any() for state in session.state.now.progress.memory)
    for _ in range(MAX_SNAPSHOTS + 2):
        session.advance()
    session.save(tmp_path / "walk.session")
    index = json.loads((tmp_path / "walk.session" / INDEX).read_text())["session"]
    named = {entry["file"] for entry in index["snapshots"]}
    assert {each.name for each in (tmp_path / "walk.session").iterdir()} == {INDEX, *named}
    assert not index["kept"]
    assert file not in [snapshot.name for snapshot in session.state.snapshots]


def test_forgetting_leaves_what_resembles_nothing_of_it(session: Session) -> None:
    memory = session.state.now.progress.memory
    other = tuple(State(-state.tokens, state.valid) for state in memory)
    kept = session.state.kept[0]
    unlike = replace(kept, snapshot=replace(kept.snapshot, progress=replace(kept.snapshot.progress, memory=other)))
    session.state = replace(session.state, kept=(unlike,))
    session.forget("the yard")
    assert not session.state.edits
    for one, left in zip(memory, session.state.now.progress.memory, strict=True):
        assert torch.equal(one.valid, left.valid)


def test_behind_what_was_forgotten_rewinding_stops_where_things_can_be_made_again(session: Session) -> None:
    session.recall("the yard")
    until(session, 6 + MAX_SNAPSHOTS)
    session.keep("the end")
    session.forget("the yard")
    whole = session.branch()
    starts = [snapshot.start for snapshot in session.state.snapshots]
    for frame in (3 * SEGMENT, 5 * SEGMENT, 7 * SEGMENT, session.num_frames):
        branch = session.branch(at=frame)
        assert branch.num_frames <= frame
        behind = [start for start in starts if start <= frame]
        assert branch.num_frames >= max([4 * SEGMENT if frame >= 4 * SEGMENT else frame, *behind])
        until(branch, branch.num_segments + 1)
    assert torch.equal(until(whole, whole.num_segments + 1), until(session, session.num_segments + 1))


def test_an_earlier_border_can_be_kept_too(session: Session) -> None:
    moment = session.keep("the street", at=3 * SEGMENT + 1)
    branched = session.branch(at=3 * SEGMENT)
    assert moment.frame == 3 * SEGMENT
    assert moment.num_bytes >= num_bytes(moment.snapshot.progress.memory) > 0
    assert torch.equal(moment.snapshot.progress.memory[0].tokens, branched.state.now.progress.memory[0].tokens)


def test_a_session_from_before_there_were_kept_moments_is_loaded(session: Session, tmp_path: Path) -> None:
    folder = tmp_path / "walk.session"
    session.forget("the yard")
    session = session.branch(at=0)
    session.save(folder)
    stored = json.loads((folder / INDEX).read_text())
    del stored["session"]["kept"], stored["session"]["edits"]
    stored["sha256"] = hashlib.sha256(json.dumps(stored["session"], sort_keys=True).encode()).hexdigest()
    (folder / INDEX).write_text(json.dumps(stored))
    assert torch.equal(until(Session.load(folder, session.pipe), 2), until(session, 2))


@pytest.mark.parametrize(
    ("name", "sentence"),
    [
        ("the yrad", "nothing is kept as 'the yrad', did you mean 'the yard'?"),
        ("  ", "the name is empty; give the moment one"),
        ("y" * 65, "the name has 65 characters; give at most 64"),
    ],
)
def test_a_name_that_is_none_is_refused(session: Session, name: str, sentence: str) -> None:
    before = session.state
    for act in (session.recall, session.forget):
        with pytest.raises(UsageError, match=sentence.replace("?", r"\?")):
            act(name)
    assert session.state is before


def test_what_cannot_be_kept_is_refused_and_nothing_is_lost(pipe: MaltPipeline, session: Session) -> None:
    before = session.state
    with pytest.raises(UsageError, match="'the yard' is kept already, of frame 16; forget it first"):
        session.keep(" the yard ")
    with pytest.raises(UsageError, match="asked to go back to frame 99; give one from 0 to 32"):
        session.keep("later", at=99)
    with pytest.raises(UsageError, match="the name is empty"):
        session.keep("")
    session.max_kept_bytes = session.kept["the yard"].num_bytes + 100
    with pytest.raises(
        UsageError, match=r"'the night' takes \d\.\d MB and \d\.\d MB are kept, of at most .*forget a moment"
    ):
        session.keep("the night")
    assert session.state is before
    with pytest.raises(UsageError, match="nothing has been made that 'the yard' could stand for"):
        Session.begin(pipe, RED).keep("the yard")


def test_where_nothing_is_kept_the_refusal_says_so(pipe: MaltPipeline) -> None:
    with pytest.raises(UsageError, match="nothing is kept as 'the yard', nor as anything else"):
        Session.begin(pipe, RED).recall("the yard")


def test_a_session_without_a_memory_keeps_nothing(pipe: MaltPipeline) -> None:
    for each in (
        Session.begin(pipe, RED, rollout="sliding_window"),
        Session.begin(tiny_pipeline.pipeline(settings={"num_inference_steps": 1}, memory="none"), RED),
    ):
        each.advance()
        with pytest.raises(UsageError, match="this session has no memory"):
            each.keep("the yard")


def test_a_moment_of_another_kind_of_memory_is_refused(session: Session) -> None:
    other = tiny_pipeline.pipeline(settings={"num_inference_steps": 1}, memory="slots", memory_size=3)
    foreign = Session.begin(other, RED)
    foreign.advance()
    foreign.state = replace(foreign.state, kept=session.state.kept)
    with pytest.raises(MaltError, match="'the yard' is of another kind of memory than this session's; forget it"):
        foreign.recall("the yard")
    foreign.forget("the yard")
    assert not foreign.kept
