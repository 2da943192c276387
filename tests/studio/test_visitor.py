"""Laws of a visit: what a visitor makes, changes, rewinds, branches and leaves behind."""

import asyncio
import io
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
import torch
from PIL import Image

import tiny_pipeline
from malt.errors import UsageError
from malt.pipelines.malt import MaltPipeline
from malt.pipelines.model_place import ModelPlace
from malt.serving.engine.work_queue import BusyError
from malt.serving.limits import Limits
from malt.serving.moments import MemoryChange
from malt.serving.streams import LEAD_SEGMENTS
from malt.studio.beginning import GenerationSettings
from malt.studio.models import Model, Models
from malt.studio.scene import scene_of
from malt.studio.take_store import MOST_TAKES
from malt.studio.visitor import Visitor
from malt.studio.visitors import Studio
from tiny_server import wait_until

PIPE = tiny_pipeline.pipeline()
ACTING = tiny_pipeline.pipeline(settings={"action_names": ["steering", "throttle"]}, action_dim=8)
SEGMENT, PROMPT = tiny_pipeline.SEGMENT, tiny_pipeline.PROMPT
OTHER = "a blue square passes behind a wall"
MODEL, DRIVE = Model("tiny", ModelPlace(), PIPE), Model("drive", ModelPlace(), ACTING)


@pytest.fixture
def studio(tmp_path: Path) -> Iterator[Studio]:
    models = Models({"tiny": ModelPlace()}, lambda folder: PIPE)
    opened = Studio(models, tmp_path, limits=Limits(frames=40 * SEGMENT, running=2, waiting=1), scale=2)
    yield opened
    close(opened)


@pytest.fixture
def visitor(studio: Studio) -> Visitor:
    return studio.find(studio.welcome())


def settings(segments: int | None = 3, prompt: str = PROMPT, **settings: Any) -> GenerationSettings:
    return GenerationSettings(prompt=prompt, num_frames=None if segments is None else segments * SEGMENT, **settings)


def close(studio: Studio) -> None:
    asyncio.run(studio.rest(0))


def rested(visitor: Visitor) -> Visitor:
    wait_until(lambda: not visitor.job.is_going)
    assert scene_of(visitor)["problem"] == ""
    return visitor


def first_take(visitor: Visitor) -> dict[str, Any]:
    """What the page shows of it."""
    takes = scene_of(visitor)["takes"]
    assert isinstance(takes, list)
    return takes[0]


def frames_of(data: bytes) -> list[np.ndarray]:
    with av.open(io.BytesIO(data), "r") as container:
        return [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]


def film(visitor: Visitor, number: int) -> list[np.ndarray]:
    take = visitor.store.takes[number]
    return frames_of(take.path.read_bytes()[: take.kept.segment_end.byte])


def test_a_take_grows_by_whole_segments_to_at_least_what_was_wished(visitor: Visitor) -> None:
    visitor.begin(MODEL, GenerationSettings(prompt=PROMPT, num_frames=2 * SEGMENT + 1))
    assert scene_of(visitor)["state"] in ("making", "waiting")
    rested(visitor)
    assert visitor.take.made == len(film(visitor, 1)) == 3 * SEGMENT
    assert first_take(visitor)["made"] == 3 * SEGMENT
    assert scene_of(visitor)["state"] == "resting"


def test_the_video_is_the_one_that_its_seed_makes_anywhere(visitor: Visitor) -> None:
    visitor.begin(MODEL, settings(seed=5))
    rested(visitor)
    from malt.sessions.session import Session

    alone = torch.cat([segment.frames[0] for segment in Session.begin(PIPE, PROMPT, seed=5).stream(3 * SEGMENT)])
    made = torch.cat([segment.frames[0] for segment in visitor.take.session.replay(0)])
    assert torch.equal(made, alone)


def test_other_ways_to_make_a_video_can_be_chosen(visitor: Visitor) -> None:
    visitor.begin(MODEL, settings(2, rollout="sliding_window"))
    assert first_take(rested(visitor))["rollout"] == "sliding_window"
    before = film(visitor, 1)
    visitor.begin(MODEL, settings(2))
    after = film(rested(visitor), 2)
    assert len(before) == len(after) and not np.array_equal(before[-1], after[-1])


def test_any_frame_is_shown_with_its_segment(visitor: Visitor) -> None:
    visitor.begin(MODEL, settings())
    take = rested(visitor).take
    strip = take.strip(SEGMENT + 3)
    assert (strip.start, strip.length) == (SEGMENT, SEGMENT)
    picture = np.asarray(Image.open(io.BytesIO(strip.jpeg)))
    assert picture.shape == (tiny_pipeline.SIDE, SEGMENT * tiny_pipeline.SIDE, 3)
    shown = picture[:, 3 * tiny_pipeline.SIDE : 4 * tiny_pipeline.SIDE].astype(float)
    right, wrong = (film(visitor, 1)[SEGMENT + n][::2, ::2].astype(float) for n in (3, 4))
    assert np.abs(shown - right).mean() < np.abs(shown - wrong).mean() / 2
    for frame in (-1, 3 * SEGMENT):
        with pytest.raises(UsageError, match="there is no frame"):
            take.strip(frame)


def test_another_prompt_takes_over_while_the_video_is_made(visitor: Visitor) -> None:
    visitor.begin(MODEL, settings(None))
    wait_until(lambda: visitor.take.made >= SEGMENT)
    visitor.go_on(OTHER, None)
    wait_until(lambda: len(first_take(visitor)["prompts"]) == 2)
    visitor.stop()
    (first, words), (later, others) = first_take(visitor)["prompts"]
    assert (first, words, others) == (0, PROMPT, OTHER) and later > 0
    assert rested(visitor).take.made >= later


def test_a_take_at_rest_goes_on(visitor: Visitor) -> None:
    visitor.begin(MODEL, settings(2))
    rested(visitor).go_on(OTHER, SEGMENT)
    assert rested(visitor).take.made == 3 * SEGMENT
    assert len(film(visitor, 1)) == 3 * SEGMENT


def test_rewinding_cuts_the_video_and_going_on_makes_the_same_again(visitor: Visitor) -> None:
    visitor.begin(MODEL, settings(4))
    before = film(rested(visitor), 1)
    assert visitor.rewind(2 * SEGMENT + 1) == 2 * SEGMENT
    assert visitor.take.revision == 1 and len(film(visitor, 1)) == 2 * SEGMENT
    visitor.go_on(PROMPT, 2 * SEGMENT)
    after = film(rested(visitor), 1)
    assert all(np.array_equal(one, other) for one, other in zip(before, after, strict=True))


def test_rewinding_to_the_beginning_leaves_nothing_and_can_go_on(visitor: Visitor) -> None:
    visitor.begin(MODEL, settings(2))
    assert rested(visitor).rewind(0) == 0
    visitor.go_on(OTHER, SEGMENT)
    assert len(film(rested(visitor), 1)) == SEGMENT


def test_rewinding_stops_what_is_being_made(visitor: Visitor) -> None:
    visitor.begin(MODEL, settings(None))
    wait_until(lambda: visitor.take.made >= 2 * SEGMENT)
    assert visitor.rewind(SEGMENT) == SEGMENT
    assert not visitor.job.is_going


def test_a_branch_shares_the_past_and_has_another_future(visitor: Visitor) -> None:
    visitor.begin(MODEL, settings(3))
    rested(visitor).branch(SEGMENT + 2, 7, PROMPT, 2 * SEGMENT)
    rested(visitor)
    one, other = film(visitor, 1), film(visitor, 2)
    assert visitor.store.current == 2 and visitor.store.takes[2].parent == (1, SEGMENT)
    assert len(one) == len(other) == 3 * SEGMENT
    assert all(np.array_equal(one[n], other[n]) for n in range(SEGMENT))
    assert not np.array_equal(one[-1], other[-1])


def test_takes_are_chosen_and_deleted(visitor: Visitor) -> None:
    visitor.begin(MODEL, settings(1))
    rested(visitor).branch(SEGMENT, 1, PROMPT, SEGMENT)
    rested(visitor).choose(1)
    assert visitor.take.number == 1
    visitor.drop(1)
    assert visitor.store.current == 2 and list(visitor.store.takes) == [2]
    visitor.drop(2)
    with pytest.raises(UsageError, match="there is no video yet"):
        visitor.rewind(0)
    with pytest.raises(UsageError, match="no take 1"):
        visitor.choose(1)


def test_there_are_only_so_many_takes(visitor: Visitor) -> None:
    visitor.begin(MODEL, settings(1))
    for seed in range(1, MOST_TAKES):
        rested(visitor).branch(0, seed, PROMPT, SEGMENT)
    with pytest.raises(UsageError, match="delete one"):
        rested(visitor).begin(MODEL, settings(1))


@pytest.mark.parametrize(
    ("wished", "about"),
    [
        (settings(41), "makes 1 to"),
        (settings(1, prompt=" "), "the prompt is empty"),
        (settings(1, prompt="x" * 5000), "5000 characters"),
        (settings(1, num_inference_steps=10_000), "10000 denoising steps"),
        (settings(1, rollout="dream"), "no rollout called 'dream'"),
    ],
)
def test_a_wish_that_cannot_be_met_is_said_and_leaves_nothing(
    visitor: Visitor, wished: GenerationSettings, about: str
) -> None:
    with pytest.raises(UsageError, match=about):
        visitor.begin(MODEL, wished)
    assert scene_of(visitor)["takes"] == []


def test_a_video_ends_at_the_limit_of_the_studio(visitor: Visitor) -> None:
    visitor.begin(MODEL, settings(39))
    rested(visitor).go_on(PROMPT, None)
    assert rested(visitor).take.made == 40 * SEGMENT
    with pytest.raises(UsageError, match="begin another"):
        visitor.go_on(PROMPT, None)


def test_own_frames_begin_a_video_that_cannot_be_rewound_into_them(visitor: Visitor) -> None:
    first = np.full((2 * SEGMENT, tiny_pipeline.SIDE, tiny_pipeline.SIDE, 3), 200, np.uint8)
    visitor.begin(MODEL, settings(1, first=first))
    assert rested(visitor).take.made == 3 * SEGMENT
    with pytest.raises(UsageError, match="asked to go back to frame 1;"):
        visitor.rewind(1)


def test_what_is_steered_waits_for_its_visitor_and_does_what_the_wheel_says(visitor: Visitor) -> None:
    visitor.begin(DRIVE, settings(None, prompt=""))
    wait_until(lambda: visitor.take.made == LEAD_SEGMENTS * SEGMENT)
    assert scene_of(visitor)["acts"]
    visitor.steer(-3.0, 0.0)
    for frame in range(0, 6 * SEGMENT, 2):
        visitor.job.look(frame)
    wait_until(lambda: visitor.take.made >= 5 * SEGMENT)
    assert visitor.take.made <= 6 * SEGMENT + LEAD_SEGMENTS * SEGMENT
    visitor.stop()
    done = visitor.take.session.state.actions
    assert done is not None
    assert done[:SEGMENT, 0].abs().max() == 0 and done[-1, 0] == -1


@pytest.mark.parametrize("made", [0, 3])
def test_steering_before_given_frames_were_seen_keeps_them_all(visitor: Visitor, made: int) -> None:
    first = np.full((2 * SEGMENT, tiny_pipeline.SIDE, tiny_pipeline.SIDE, 3), 200, np.uint8)
    visitor.begin(DRIVE, settings(6, prompt="", first=first))
    visitor.job.look(min(made, 1) * (SEGMENT // 2 + 1))
    wait_until(lambda: visitor.take.made >= made * SEGMENT)
    visitor.steer(-1.0, 0.0, 3)

    def is_done() -> bool:
        visitor.job.look(visitor.take.made)
        return not visitor.job.is_going

    wait_until(is_done)
    assert scene_of(visitor)["problem"] == "" and visitor.take.made == 8 * SEGMENT
    assert visitor.take.first_border == 2 * SEGMENT
    actions = visitor.take.session.state.actions
    assert actions is not None and actions[: 2 * SEGMENT].abs().max() == 0 and actions[-1, 0] == -1


def test_a_studio_without_room_says_so(studio: Studio) -> None:
    visits = [studio.find(studio.welcome()) for _ in range(4)]
    for visitor in visits[:3]:
        visitor.begin(MODEL, settings(None))
    with pytest.raises(BusyError, match="try again"):
        visits[3].begin(MODEL, settings(1))
    for visitor in visits[:3]:
        visitor.stop()


def test_visitors_do_not_find_one_another_and_are_only_so_many(tmp_path: Path) -> None:
    studio = Studio(Models({"tiny": ModelPlace()}, lambda folder: PIPE), tmp_path, most_visits=2)
    one, other = studio.welcome(), studio.welcome()
    assert one != other and len(one) >= 24
    assert studio.find(one) is studio.find(one) is not studio.find(other)
    for key in ("", "guess", "../../etc", "x" * 5000):
        with pytest.raises(UsageError, match="load the page again"):
            studio.find(key)
    for key in (one, other):
        studio.find(key).listeners.add(lambda: None)
    with pytest.raises(BusyError, match="2 visitors"):
        studio.welcome()
    close(studio)


def test_pages_that_were_left_take_nobodys_place(tmp_path: Path) -> None:
    studio = Studio(Models({"tiny": ModelPlace()}, lambda folder: PIPE), tmp_path, most_visits=2)
    first = studio.welcome()
    studio.find(first).begin(MODEL, settings(1))
    rested(studio.find(first))
    for _ in range(70):
        studio.welcome()
    assert studio.find(first).take.made == SEGMENT  # it lay on the disk meanwhile
    close(studio)


def test_what_nobody_watches_is_stopped_soon_and_left_to_the_disk_later(tmp_path: Path) -> None:
    studio = Studio(Models({"tiny": ModelPlace()}, lambda folder: PIPE), tmp_path, stop_after=0.0, rest_after=1e9)
    key, listener = studio.welcome(), threading.Event()
    visitor = studio.find(key)
    visitor.listeners.add(listener.set)
    visitor.begin(MODEL, settings(None))
    wait_until(lambda: visitor.take.made > 0)
    studio.sweep()
    goes_on = visitor.job.is_going
    assert goes_on  # somebody watches
    visitor.listeners.remove(listener.set)
    studio.sweep()
    assert not visitor.job.is_going
    made = visitor.take.made
    studio._rest_after = 0.0
    studio.sweep()
    with pytest.raises(UsageError, match="has ended"):
        visitor.begin(MODEL, settings(1))
    again = studio.find(key)
    assert again is not visitor and again.take.made == made
    close(studio)


def test_a_visit_without_a_video_leaves_nothing_on_the_disk(tmp_path: Path) -> None:
    studio = Studio(Models({"tiny": ModelPlace()}, lambda folder: PIPE), tmp_path, rest_after=-1.0)
    studio.welcome()
    studio.sweep()
    assert [path.name for path in tmp_path.iterdir()] == [".lock"]
    close(studio)
    assert list(tmp_path.iterdir()) == []


def test_a_folder_belongs_to_one_studio(tmp_path: Path) -> None:
    models = Models({"tiny": ModelPlace()}, lambda folder: PIPE)
    studio = Studio(models, tmp_path)
    with pytest.raises(UsageError, match="another studio keeps its videos"):
        Studio(models, tmp_path)
    close(studio)
    close(Studio(models, tmp_path))


def test_a_model_is_loaded_when_it_is_first_asked_for_and_once() -> None:
    loaded = list[ModelPlace]()

    def load(place: ModelPlace) -> MaltPipeline:
        loaded.append(place)
        return PIPE

    models = Models({"one": ModelPlace(), "other": ModelPlace(folder=Path("other"))}, load)
    assert models.names == ["one", "other"] and not loaded
    assert models.get("other").pipe is models.get("other").pipe is PIPE
    assert loaded == [ModelPlace(folder=Path("other"))]
    with pytest.raises(UsageError, match="no model 'third'"):
        models.get("third")


def test_what_fails_in_the_making_is_a_sentence_on_the_page(visitor: Visitor, monkeypatch: pytest.MonkeyPatch) -> None:
    from malt.studio.take import Take

    def fail(*given: Any) -> None:
        raise ValueError("of which a visitor should hear little")

    monkeypatch.setattr(Take, "write", fail)
    visitor.begin(MODEL, settings(1))
    wait_until(lambda: not visitor.job.is_going)
    assert "could not be made (ValueError)" in str(scene_of(visitor)["problem"])


def test_a_moment_is_kept_recalled_and_forgotten_and_the_page_shows_it(visitor: Visitor) -> None:
    with pytest.raises(UsageError, match="there is no video yet"):
        visitor.change_memory(MemoryChange(change="keep", name="the yard"))
    visitor.begin(MODEL, settings(2))
    rested(visitor)
    visitor.change_memory(MemoryChange(change="keep", name="the yard"))
    assert first_take(visitor)["moments"] == [["the yard", 2 * SEGMENT]]
    visitor.rewind(SEGMENT)
    visitor.change_memory(MemoryChange(change="recall", name="the yard"))
    visitor.go_on("", 2 * SEGMENT)
    rested(visitor)
    assert first_take(visitor)["made"] == 3 * SEGMENT
    with pytest.raises(UsageError, match="did you mean 'the yard'"):
        visitor.change_memory(MemoryChange(change="forget", name="yard"))
    visitor.change_memory(MemoryChange(change="forget", name="the yard"))
    assert first_take(visitor)["moments"] == []
