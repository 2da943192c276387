"""Laws of sessions, on a tiny random pipeline: exact wherever they stop, go back or part."""

from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import Tensor

import tiny_pipeline
from malt.errors import MaltError, UsageError
from malt.pipelines.loading import load_pipeline
from malt.pipelines.malt import MaltPipeline
from malt.rollouts.base import RolloutState, Segment
from malt.sessions.action_policies import ReplayPolicy
from malt.sessions.attention_probe import watch_memory
from malt.sessions.session import Session
from malt.sessions.snapshots import MAX_SNAPSHOTS, Snapshot, thin
from malt.sessions.storage import INDEX
from tiny_pipeline import SEGMENT

RED, BLUE = "a red circle passes behind a wall", "a blue square at night"


@pytest.fixture(scope="module")
def pipe() -> MaltPipeline:
    return tiny_pipeline.pipeline(settings={"num_inference_steps": 1})


@pytest.fixture
def session(pipe: MaltPipeline) -> Session:
    return Session.begin(pipe, RED, seed=3)


def frames(segments: Iterable[Segment]) -> Tensor:
    return torch.cat([segment.frames[0] for segment in segments])


def until(session: Session, num_segments: int) -> Tensor:
    return frames(session.stream(num_segments * SEGMENT))


def test_a_session_makes_what_the_pipelines_stream_makes(pipe: MaltPipeline, session: Session) -> None:
    streamed = frames(pipe.stream(RED, 3 * SEGMENT, generator=torch.Generator().manual_seed(3)))
    assert torch.equal(until(session, 3), streamed)
    assert (session.num_frames, session.num_segments, session.prompt) == (3 * SEGMENT, 3, RED)


def test_given_frames_come_first_and_are_gone_on_from(pipe: MaltPipeline, session: Session) -> None:
    given = tiny_pipeline.video(SEGMENT + 4)
    chance = torch.Generator().manual_seed(3)
    streamed = frames(pipe.stream(RED, 3 * SEGMENT + 4, generator=chance, video=given))
    assert torch.equal(torch.cat([frames(session.prefill(given)), frames(session.stream(3 * SEGMENT + 4))]), streamed)
    with pytest.raises(UsageError, match="give first frames to a session that has none"):
        next(session.prefill(given))


def test_a_prompt_that_waits_for_the_next_segment_goes_along(
    pipe: MaltPipeline, session: Session, tmp_path: Path
) -> None:
    until(session, 1)
    session.set_prompt(BLUE)
    session.save(tmp_path / "session")
    others = [session.branch(), Session.load(tmp_path / "session", pipe)]
    assert [other.prompt for other in others] == [BLUE, BLUE]
    made = until(session, 2)
    assert all(torch.equal(until(other, 2), made) for other in others)


@pytest.mark.parametrize("rollout", ["malt", "sliding_window"])
def test_saving_and_loading_changes_nothing(pipe: MaltPipeline, tmp_path: Path, rollout: str) -> None:
    session = Session.begin(pipe, [(RED, 1.0), BLUE], seed=3, rollout=rollout)
    until(session, 2)
    session.save(tmp_path / "walk.session")
    loaded = Session.load(tmp_path / "walk.session", pipe)
    assert torch.equal(until(loaded, 4), until(session, 4))


def test_a_prompt_switch_changes_the_future_and_not_the_past(pipe: MaltPipeline) -> None:
    plain, switched = Session.begin(pipe, RED, seed=3), Session.begin(pipe, [(RED, 1.0), BLUE], seed=3)
    one, other = until(plain, 3), until(switched, 3)
    assert torch.equal(one[:SEGMENT], other[:SEGMENT])
    assert not torch.allclose(one[SEGMENT : 2 * SEGMENT], other[SEGMENT : 2 * SEGMENT], atol=1e-3)


def test_what_is_said_is_what_was_planned(pipe: MaltPipeline, session: Session) -> None:
    planned = until(Session.begin(pipe, [(RED, 1.0), BLUE], seed=3), 3)
    until(session, 1)
    session.prompt = BLUE
    assert session.prompt == BLUE
    assert torch.equal(until(session, 3), planned[SEGMENT:])
    with pytest.raises(UsageError, match="the prompt is empty"):
        session.set_prompt(" ")


def test_a_switch_in_mid_segment_waits_for_the_border(pipe: MaltPipeline) -> None:
    early, late = (Session.begin(pipe, f"{RED} [{n}f] | {BLUE}", seed=3) for n in (SEGMENT + 1, 2 * SEGMENT))
    assert torch.equal(until(early, 3), until(late, 3))


def test_at_a_switch_the_tail_is_told_again(pipe: MaltPipeline, session: Session) -> None:
    until(session, 1)
    told = []
    handle = tiny_pipeline.network(pipe).register_forward_pre_hook(
        lambda module, given: told.append(given[1].max().item())
    )
    session.set_prompt(BLUE)
    session.advance()
    session.advance()
    handle.remove()
    assert [level == 0 for level in told] == [True, False, True, False, True]


@pytest.mark.parametrize("frame", [0, 5, SEGMENT, 3 * SEGMENT + 1, 9 * SEGMENT, 12 * SEGMENT])
def test_rewinding_and_going_on_equals_the_original(pipe: MaltPipeline, tmp_path: Path, frame: int) -> None:
    session = Session.begin(pipe, [(RED, 4.0), BLUE], seed=3)
    whole = until(session, 12)
    session.save(tmp_path / "walk.session")
    session = Session.load(tmp_path / "walk.session", pipe)
    assert session.rewind(frame) == frame // SEGMENT * SEGMENT == session.num_frames
    assert torch.equal(torch.cat([whole[: session.num_frames], until(session, 13)])[: len(whole)], whole)


def test_rewinding_forgets_what_was_said_afterwards_only_when_it_is_said_anew(session: Session) -> None:
    until(session, 2)
    session.set_prompt(BLUE)
    until(session, 3)
    session.rewind(0)
    assert session.prompt == RED
    until(session, 2)
    assert session.prompt == BLUE


def test_a_branch_of_the_same_seed_is_the_same_and_of_another_begins_the_same(session: Session) -> None:
    whole = until(session, 4)
    same, other = session.branch(at=20), session.branch(seed=7, at=20)
    assert same.num_frames == other.num_frames == 2 * SEGMENT
    assert torch.equal(until(same, 4), whole[2 * SEGMENT :])
    future = until(other, 4)
    assert not torch.allclose(future[:SEGMENT], whole[2 * SEGMENT : 3 * SEGMENT], atol=1e-3)
    assert torch.equal(frames(other.replay(0)), torch.cat([whole[: 2 * SEGMENT], future]))
    assert session.num_frames == 4 * SEGMENT


def test_given_frames_cannot_be_taken_back(session: Session) -> None:
    list(session.prefill(tiny_pipeline.video(SEGMENT)))
    until(session, 2)
    assert session.rewind(SEGMENT + 3) == SEGMENT
    with pytest.raises(UsageError, match="give one from 8 to 8"):
        session.rewind(3)


def standing(index: int) -> Snapshot:
    return Snapshot(RolloutState(seed=0, memory=(), index=index, start=16 * index), name=str(index))


def test_snapshots_thin_out_and_none_is_far_away() -> None:
    kept: tuple[Snapshot, ...] = ()
    for index in range(1, 2001):
        kept = thin((*kept, standing(index)))
        assert kept[-1].progress.index == index
        assert len(kept) <= MAX_SNAPSHOTS
    places = [0, *(snapshot.progress.index for snapshot in kept)]
    again = [(asked - max(place for place in places if place <= asked), 2000 - asked + 1) for asked in range(2000)]
    assert max(segments / back for segments, back in again) < 5


def test_a_session_is_as_large_after_many_segments_as_after_few(session: Session, tmp_path: Path) -> None:
    folder = tmp_path / "walk.session"
    sizes = []
    for _ in range(2 * MAX_SNAPSHOTS):
        session.advance()
        session.save(folder)
        sizes.append(sum(file.stat().st_size for file in folder.iterdir()))
    assert max(sizes[MAX_SNAPSHOTS:]) < 1.01 * sizes[MAX_SNAPSHOTS]
    assert len(list(folder.iterdir())) == MAX_SNAPSHOTS + 1


def test_a_session_of_the_packaged_model_stays_below_8_megabytes(tmp_path: Path) -> None:
    session, folder = Session.begin(load_pipeline(), "two shapes", num_inference_steps=1), tmp_path / "walk.session"
    for _ in range(2):
        session.advance()
    session.save(folder)
    *_, latest = sorted(file.stat().st_size for file in folder.iterdir())
    assert MAX_SNAPSHOTS * latest < 8e6


def test_a_session_of_another_model_is_refused(session: Session, tmp_path: Path) -> None:
    session.save(tmp_path / "walk.session")
    other = tiny_pipeline.pipeline()
    tiny_pipeline.network(other).proj_out.bias.data += 0.01
    with pytest.raises(
        MaltError,
        match=r"was made by the model MaltPipeline \(\w{12}\), not by MaltPipeline \(\w{12}\); give it the weights",
    ):
        Session.load(tmp_path / "walk.session", other)


def test_a_session_that_cannot_be_saved_leaves_the_one_before(
    session: Session, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "walk.session"
    session.save(folder)
    before = (folder / INDEX).read_bytes()
    session.advance()

    def full(handle: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(MaltError, match="No space left"):
        session.save(folder)
    assert (folder / INDEX).read_bytes() == before
    monkeypatch.undo()
    assert Session.load(folder, session.pipe).num_frames == 0


def test_what_was_done_is_kept_and_done_again(tmp_path: Path) -> None:
    acting = tiny_pipeline.pipeline(settings={"num_inference_steps": 1}, action_dim=8)
    session, deeds = Session.begin(acting, seed=3), torch.rand(6 * SEGMENT, 2)
    whole = frames(session.stream(5 * SEGMENT, ReplayPolicy(deeds)))
    session.save(tmp_path / "drive.session")
    session = Session.load(tmp_path / "drive.session", acting)
    session.rewind(3 * SEGMENT)
    rest = frames(session.stream(5 * SEGMENT, ReplayPolicy(deeds, start=3 * SEGMENT)))
    assert torch.equal(rest, whole[3 * SEGMENT :])
    assert torch.equal(frames(session.replay(SEGMENT)), whole[SEGMENT:])
    with pytest.raises(UsageError, match="needs actions"):
        session.advance()


def test_sessions_that_share_a_model_do_not_touch_one_another(pipe: MaltPipeline) -> None:
    alone = until(Session.begin(pipe, RED, seed=3), 3)
    one, other = Session.begin(pipe, RED, seed=3), Session.begin(pipe, BLUE, seed=4)
    turns = [(one.advance(), other.advance()) for _ in range(3)]
    assert torch.equal(frames(mine for mine, _ in turns), alone)


def test_the_first_segment_has_nothing_to_look_back_at_and_later_ones_have(session: Session) -> None:
    until(session, 3)
    before = session.state
    first, *later = watch_memory(session, 3)
    assert session.state is before
    assert first.remembered.abs().max() == 0
    for each in later:
        assert each.remembered.shape == (2, 2)
        assert (each.remembered.sum(dim=1) > 0.05).all()
        assert (each.remembered.sum(dim=1) < 0.95).all()


def test_every_pooled_segment_is_a_moment_that_can_be_looked_back_at() -> None:
    pipe = tiny_pipeline.pipeline(settings={"num_inference_steps": 1}, memory="hierarchical", memory_size=3)
    session = Session.begin(pipe, RED, seed=3)
    until(session, 3)
    *_, last = watch_memory(session, 1)
    assert last.remembered.shape == (2, 3 + 2)  # three pooled segments, of which one has been written, and the last one
    assert not last.remembered[:, :2].any()
    assert (last.remembered[:, 2:] > 0.01).all()


def test_what_is_made_on_the_way_to_a_segment_is_not_counted_to_it(session: Session) -> None:
    until(session, 3)
    session.state = replace(
        session.state, snapshots=session.state.snapshots[-1:]
    )  # the rest is made from the beginning
    every, late = watch_memory(session, 3), watch_memory(session, 1)
    torch.testing.assert_close(late[0].remembered, every[-1].remembered)


def test_a_prompt_that_is_set_may_change_over_time_and_times_count_from_there(session: Session) -> None:
    until(session, 1)
    session.set_prompt(f"{BLUE} [{SEGMENT}f] | {RED}")
    assert session.prompt == BLUE
    until(session, 3)
    assert session.state.prompts.changes == ((0, RED), (SEGMENT, BLUE), (2 * SEGMENT, RED))
    with pytest.raises(UsageError, match="cannot read the time"):
        session.set_prompt("a circle [now]")


def test_saving_deletes_nothing_that_it_has_not_written(session: Session, tmp_path: Path) -> None:
    own = tmp_path / "walk.session" / "holiday.jpg"
    own.parent.mkdir()
    own.write_text("mine")
    session.save(own.parent)
    assert own.read_text() == "mine"


@pytest.mark.parametrize("content", ["[" * 100_000, "{}", '{"session": []}'])
def test_an_index_that_is_none_is_damaged(session: Session, tmp_path: Path, content: str) -> None:
    session.save(tmp_path / "walk.session")
    (tmp_path / "walk.session" / INDEX).write_text(content)
    with pytest.raises(MaltError, match="is damaged"):
        Session.load(tmp_path / "walk.session", session.pipe)


def test_a_segment_is_given_up_between_two_steps_and_the_session_stands_where_it_stood(session: Session) -> None:
    def give_up() -> None:
        raise InterruptedError

    expected = frames([Session.begin(session.pipe, RED, seed=3).advance()])
    session.hear(give_up)
    with pytest.raises(InterruptedError):
        session.advance()
    assert session.num_frames == 0
    session.hear(None)
    assert torch.equal(frames([session.advance()]), expected)
