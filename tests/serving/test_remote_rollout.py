"""Laws of what is computed elsewhere: whatever a session is asked, it is to the bit what its own model would have made."""

import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from fastapi.testclient import TestClient
from torch import Tensor

import tiny_pipeline
from malt.rollouts.base import Segment
from malt.serving.app import create_app
from malt.serving.engine.job import GivenUp, JobState
from malt.serving.engine.remote_rollout import compute_elsewhere
from malt.serving.engine.segment_work import ModelWork, SegmentWork
from malt.serving.engine.worker import Worker
from malt.sessions.joint_advance import NextSegment, advance_together
from malt.sessions.session import Session
from tiny_pipeline import PROMPT, SEGMENT
from tiny_server import service, wait_until

OTHER = "a blue square at night"


class Elsewhere:
    """A model that gets and gives values only, as bytes."""

    num_places, num_alive, num_restarts = 2, 2, 0

    def __init__(self, **model: Any) -> None:
        self.work, self.done = ModelWork(tiny_pipeline.pipeline(**model)), list[SegmentWork]()

    def run(self, work: SegmentWork, on_step: Callable[[], None]) -> Any:
        self.done.append(work)
        return pickle.loads(pickle.dumps(self.work.run(pickle.loads(pickle.dumps(work)), on_step)))

    def close(self) -> None: ...


def pipes(**model: Any) -> tuple[Any, Any, Elsewhere]:
    """One that computes and one that lets compute."""
    here, there, elsewhere = tiny_pipeline.pipeline(**model), tiny_pipeline.pipeline(**model), Elsewhere(**model)
    compute_elsewhere(there, elsewhere)
    return here, there, elsewhere


def frames(segments: list[Segment]) -> Tensor:
    return torch.cat([segment.frames for segment in segments], dim=1)


def whole_life(session: Session) -> tuple[Tensor, ...]:
    """First frames, more, another prompt, back, another future."""
    given = list(session.prefill(tiny_pipeline.video(SEGMENT + 1)))
    made = list(session.stream(3 * SEGMENT))
    session.set_prompt(OTHER)
    made += list(session.stream(5 * SEGMENT))
    session.rewind(2 * SEGMENT)
    return frames(given), frames(made), frames(list(session.branch(7).stream(4 * SEGMENT)))


def test_a_session_is_to_the_bit_what_it_would_have_been() -> None:
    here, there, elsewhere = pipes()
    own, other = (Session.begin(pipe, PROMPT, seed=3, guidance_scale=2.0) for pipe in (here, there))
    assert own.state.model == other.state.model
    assert all(torch.equal(one, two) for one, two in zip(whole_life(own), whole_life(other), strict=True))
    assert len(elsewhere.done) > 8


def test_a_session_that_was_kept_goes_on_either_way(tmp_path: Path) -> None:
    here, there, _ = pipes()
    alone = frames(list(Session.begin(here, PROMPT, seed=5).stream(4 * SEGMENT)))
    begun = Session.begin(there, PROMPT, seed=5)
    made = list(begun.stream(2 * SEGMENT))
    begun.save(tmp_path / "kept")
    for pipe in (here, there):
        rest = list(Session.load(tmp_path / "kept", pipe).stream(4 * SEGMENT))
        assert torch.equal(frames([*made, *rest]), alone)


def test_videos_of_one_pass_are_those_of_one_pass_here() -> None:
    here, there, elsewhere = pipes()

    def together(pipe: Any) -> list[Tensor]:
        rollouts = [pipe.rollout(prompt) for prompt in (PROMPT, OTHER)]
        segments = [NextSegment(rollout=each, state=each.begin(seed)) for seed, each in enumerate(rollouts)]
        assert segments[0].shape == segments[1].shape
        return [segment.frames for segment, _ in advance_together(segments)]

    assert all(torch.equal(one, two) for one, two in zip(together(here), together(there), strict=True))
    assert len(elsewhere.done[-1].asked) == 2


def test_what_is_refused_elsewhere_is_refused_in_the_same_words() -> None:
    said = []
    for pipe in pipes()[:2]:
        with pytest.raises(Exception, match="does not fit this model") as caught:
            Session.begin(pipe, PROMPT, height=33)
        said.append((type(caught.value), str(caught.value)))
    assert said[0] == said[1]


def test_a_segment_is_given_up_between_two_steps_and_made_again_as_it_was() -> None:
    here, there, _ = pipes()
    session, steps = Session.begin(there, PROMPT, seed=1, num_inference_steps=4), list[int]()

    def give_up() -> None:
        steps.append(1)
        if len(steps) == 2:
            raise GivenUp

    session.hear(give_up)
    with pytest.raises(GivenUp):
        session.advance()
    alone = Session.begin(here, PROMPT, seed=1, num_inference_steps=4)
    assert torch.equal(session.advance().frames, alone.advance().frames)
    assert len(steps) > 4


def test_a_server_has_videos_and_worlds_made_elsewhere_and_tells_of_what_makes_them(tmp_path: Path) -> None:
    elsewhere = Elsewhere()
    of = service(tmp_path, pipe=tiny_pipeline.pipeline(), executor=elsewhere)
    with TestClient(create_app(of), base_url="http://localhost") as client:
        video = client.post("/v1/videos", json={"prompt": PROMPT, "num_frames": 3 * SEGMENT, "seed": 1}).json()["id"]
        world = client.post("/v1/worlds", json={"prompt": PROMPT}).json()["id"]
        assert client.post(f"/v1/worlds/{world}/step", json={}).status_code == 200
        wait_until(lambda: client.get(f"/v1/videos/{video}").json()["status"] == "completed")
        assert client.get("/healthz").json()["workers"] == 2
        assert {"malt_workers 2.0", "malt_worker_restarts 0.0"} <= set(client.get("/metrics").text.splitlines())
        elsewhere.num_alive = 0
        assert client.get("/healthz").status_code == 503


def test_two_threads_make_two_videos_at_once_and_each_as_if_alone() -> None:
    here, there, _ = pipes()
    worker, made = Worker(num_threads=2), dict[int, list[Segment]]()
    jobs = []
    for seed in range(5):
        session = Session.begin(there, PROMPT, seed=seed)
        jobs.append(worker.start(session, 3 * SEGMENT, made.setdefault(seed, []).append))
    assert all(job.wait(120) and job.state == JobState.DONE for job in jobs)
    worker.close()
    for seed, segments in made.items():
        assert torch.equal(frames(segments), frames(list(Session.begin(here, PROMPT, seed=seed).stream(3 * SEGMENT))))
