"""Laws of the server's worlds: what they show, that they go on together, and what is refused."""

import base64
import io
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from fastapi.testclient import TestClient
from PIL import Image

import malt
import tiny_pipeline
from malt.serving.app import Service, create_app
from tiny_server import service, wait_until

PIPE = tiny_pipeline.pipeline(action_dim=8)
SEGMENT = tiny_pipeline.SEGMENT
LEFT = [-1.0, 0.5]


@pytest.fixture
def of(tmp_path: Path) -> Service:
    return service(tmp_path / "data", {"worlds": 8, "world_batch": 4}, pipe=PIPE)


@pytest.fixture
def client(of: Service) -> Iterator[TestClient]:
    with TestClient(create_app(of), base_url="http://127.0.0.1") as client:
        yield client


def begun(client: TestClient, **asked: Any) -> str:
    answer = client.post("/v1/worlds", json={"seed": 5} | asked)
    assert answer.status_code == 200, answer.text
    return str(answer.json()["id"])


def step(client: TestClient, name: str, actions: Any = LEFT, **asked: Any) -> np.ndarray:
    answer = client.post(f"/v1/worlds/{name}/step", json={"actions": actions} | asked)
    assert answer.status_code == 200, answer.text
    pictures = [base64.b64decode(url.partition(",")[2]) for url in answer.json()["frames"]]
    return np.stack([np.asarray(Image.open(io.BytesIO(picture))) for picture in pictures])


def refusal(answer: Any, status: int) -> str:
    assert answer.status_code == status, answer.text
    return str(answer.json()["error"]["message"])


def test_a_world_shows_what_the_environment_of_its_seed_shows(client: TestClient) -> None:
    env, name = malt.make(PIPE), begun(client)
    assert (step(client, name, [0.0, 0.0]) == env.reset(5)[0]).all()
    assert (step(client, name, [LEFT] * SEGMENT) == env.step([LEFT])[0]).all()
    told = client.get(f"/v1/worlds/{name}").json()
    assert (told["object"], told["num_frames"], told["seed"]) == ("world", 2 * SEGMENT, 5)


def test_forks_go_their_own_ways_and_say_where_they_come_from(client: TestClient) -> None:
    name = begun(client)
    step(client, name)
    forks = client.post(f"/v1/worlds/{name}/fork", json={"copies": 3}).json()["data"]
    assert {fork["forked_from"] for fork in forks} == {name}
    seen = [step(client, fork["id"], action) for fork, action in zip(forks, (LEFT, LEFT, [1.0, 0.5]), strict=True)]
    assert (seen[0] == seen[1]).all() and (seen[0] != seen[2]).any()
    assert (step(client, name) == seen[0]).all()


def test_a_snapshot_is_gone_on_with_in_another_world(client: TestClient) -> None:
    name, other = begun(client), begun(client, seed=9)
    step(client, name)
    state = client.post(f"/v1/worlds/{name}/snapshot").content
    expected = step(client, name)
    assert client.post(f"/v1/worlds/{other}/restore", content=state).json()["num_frames"] == SEGMENT
    assert (step(client, other) == expected).all()


def test_a_world_by_frame_shows_one_frame_a_step(client: TestClient) -> None:
    name = begun(client, by_frame=True)
    assert [len(step(client, name)) for _ in range(SEGMENT + 1)] == [1] * (SEGMENT + 1)
    assert client.get(f"/v1/worlds/{name}").json()["num_frames"] == SEGMENT + 1


def test_steps_that_wait_go_through_one_pass_and_each_is_its_worlds_own(client: TestClient, of: Service) -> None:
    names = [begun(client, seed=seed) for seed in range(4)]
    for name in names:
        step(client, name)
    alone = malt.make(PIPE, 4)
    alone.reset((0, 1, 2, 3))
    free, passes = threading.Event(), of.worlds.steps.num_passes
    of.worker.do_soon(free.wait)
    with ThreadPoolExecutor(4) as visitors:
        asked = [visitors.submit(step, client, name) for name in names]
        wait_until(lambda: of.worlds.steps.num_waiting == 4)
        free.set()
        seen = [each.result() for each in asked]
    assert of.worlds.steps.num_passes == passes + 1
    first = begun(client, seed=2)
    step(client, first)
    assert np.abs(seen[2].astype(int) - step(client, first)).max() <= 1


def test_a_batch_has_one_step_of_a_world_and_those_who_waited_longest(client: TestClient, of: Service) -> None:
    names = [begun(client, seed=seed) for seed in range(6)]
    free, passes = threading.Event(), of.worlds.steps.num_passes
    of.worker.do_soon(free.wait)
    with ThreadPoolExecutor(8) as visitors:
        asked = [visitors.submit(step, client, names[0]) for _ in range(2)]
        wait_until(lambda: of.worlds.steps.num_waiting == 2)
        asked += [visitors.submit(step, client, name) for name in names[1:]]
        wait_until(lambda: of.worlds.steps.num_waiting == 7)
        free.set()
        assert all(len(each.result()) == SEGMENT for each in asked)
    assert of.worlds.steps.num_passes == passes + 2
    assert client.get(f"/v1/worlds/{names[0]}").json()["num_frames"] == 2 * SEGMENT


def test_worlds_and_videos_share_the_computer(client: TestClient, of: Service) -> None:
    video = {"prompt": tiny_pipeline.PROMPT, "num_frames": 200, "driver": "cruise"}
    names = [begun(client, seed=seed) for seed in range(2)]
    steerable = of.validator.pipe.action_names
    assert steerable == ["action 0", "action 1"]
    assert "does not" in refusal(client.post("/v1/videos", json=video), 400)  # nothing drives it but worlds
    job = of.worker.start(_without_actions(), 30 * SEGMENT)
    for _ in range(3):
        for name in names:
            step(client, name)
    assert not job.is_over or job.frames_made == 30 * SEGMENT
    assert job.wait(120) and job.frames_made == 30 * SEGMENT


def _without_actions() -> Any:
    from malt.sessions.session import Session

    return Session.begin(tiny_pipeline.pipeline(), tiny_pipeline.PROMPT)


def test_a_step_that_fails_harms_no_other(client: TestClient, of: Service) -> None:
    from dataclasses import replace

    good, bad = begun(client, seed=1), begun(client, seed=2)
    for name in (good, bad):
        step(client, name)
    world = of.worlds.get(bad)
    broken = replace(world.session.progress, tail=world.session.progress.tail * float("nan"))
    world.session = replace(world.session, progress=broken)
    free = threading.Event()
    of.worker.do_soon(free.wait)
    with ThreadPoolExecutor(2) as visitors:
        fine = visitors.submit(step, client, good)
        failing = visitors.submit(client.post, f"/v1/worlds/{bad}/step", json={"actions": LEFT})
        wait_until(lambda: of.worlds.steps.num_waiting == 2)
        free.set()
        assert len(fine.result()) == SEGMENT
        assert "is not finite" in refusal(failing.result(), 500)
    assert client.get(f"/v1/worlds/{bad}").json()["num_frames"] == SEGMENT


@pytest.mark.parametrize(
    ("actions", "status", "said"),
    [
        ([0.0], 400, "got actions of shape (1, 1); give 2 numbers from -1 to 1 (action 0, action 1)"),
        ([[0.0, 0.0]] * 3, 400, "for each of 8 frames"),
        ([0.0, 1.5], 400, "outside -1 to 1"),
        ([[0.0, 0.0], [0.0]], 400, "the actions form no array"),
        (["left", "right"], 422, "actions"),
        (None, 400, "a step needs actions"),
    ],
)
def test_actions_that_do_not_fit_are_refused(client: TestClient, actions: Any, status: int, said: str) -> None:
    name = begun(client)
    assert said in refusal(client.post(f"/v1/worlds/{name}/step", json={"actions": actions}), status)
    assert client.get(f"/v1/worlds/{name}").json()["num_frames"] == 0


def test_a_thousand_forks_are_refused_by_a_limit_that_is_told_before(client: TestClient) -> None:
    spec = client.get("/v1/worlds").json()["spec"]
    assert (spec["max_worlds"], spec["max_batch"], spec["frames_per_step"]) == (8, 4, SEGMENT)
    assert spec["session_bytes"] == malt.make(PIPE).memory_spec().session_bytes
    name = begun(client)
    fork = f"/v1/worlds/{name}/fork"
    assert "asked for 1000 forks; this server holds at most 8 worlds" in refusal(
        client.post(fork, json={"copies": 1000}), 400
    )
    assert "room for 7 more of 8" in refusal(client.post(fork, json={"copies": 8}), 429)
    assert len(client.post(fork, json={"copies": 7}).json()["data"]) == 7
    assert "room for 0 more of" in refusal(client.post("/v1/worlds", json={}), 429)


def test_a_world_that_was_deleted_is_gone_and_its_forks_are_not(client: TestClient) -> None:
    name = begun(client)
    fork = client.post(f"/v1/worlds/{name}/fork", json={}).json()["data"][0]["id"]
    assert client.delete(f"/v1/worlds/{name}").json() == {"id": name, "object": "world.deleted", "deleted": True}
    assert "there is no such world" in refusal(client.post(f"/v1/worlds/{name}/step", json={"actions": LEFT}), 404)
    assert len(step(client, fork)) == SEGMENT
    assert [world["id"] for world in client.get("/v1/worlds").json()["data"]] == [fork]


def test_worlds_that_nobody_steps_are_deleted(client: TestClient, of: Service) -> None:
    name = begun(client)
    of.worlds.get(name).used_at = 0.0
    assert begun(client) != name
    assert refusal(client.get(f"/v1/worlds/{name}"), 404)


def test_states_that_are_none_or_of_another_model_are_refused(client: TestClient) -> None:
    name = begun(client)
    restore = f"/v1/worlds/{name}/restore"
    other = malt.make(tiny_pipeline.pipeline(action_dim=8, segment_frames=3))
    other.reset(1)
    two = malt.make(PIPE, 2)
    two.reset(1)
    assert "of other weights or settings" in refusal(client.post(restore, content=other.state()), 400)
    assert "one of 2 worlds; send that of one" in refusal(client.post(restore, content=two.state()), 400)
    assert "the state is damaged, or none" in refusal(client.post(restore, content=b"nothing"), 500)
    assert "send less" in refusal(client.post(restore, content=bytes(2**22)), 413)


def test_what_does_not_fit_the_model_is_refused(client: TestClient, tmp_path: Path) -> None:
    assert "there is no model 'other' here" in refusal(client.post("/v1/worlds", json={"model": "other"}), 400)
    assert "the prompt has" in refusal(client.post("/v1/worlds", json={"prompt": "a" * 5000}), 400)
    assert refusal(client.post("/v1/worlds", json={"mood": "merry"}), 422)
    with TestClient(create_app(service(tmp_path / "still")), base_url="http://127.0.0.1") as still:
        assert "takes no actions; leave by_frame" in refusal(
            still.post("/v1/worlds", json={"prompt": "a", "by_frame": True}), 400
        )
        assert "the prompt is empty" in refusal(still.post("/v1/worlds", json={}), 400)
        name = begun(still, prompt="a red circle")
        assert len(step(still, name, None, prompt="a blue square")) == SEGMENT
        assert "nobody acts here" in refusal(still.post(f"/v1/worlds/{name}/step", json={"actions": LEFT}), 400)


def test_steps_that_wait_when_the_server_ends_are_told_so(of: Service) -> None:
    from malt.serving.world_schemas import WorldRequest, WorldStepRequest

    world = of.worker.do(lambda: of.worlds.create(WorldRequest(seed=1))).result()
    free = threading.Event()
    of.worker.do_soon(free.wait)
    made = of.worlds.step(world, WorldStepRequest(actions=LEFT))
    closing = threading.Thread(target=of.worker.close)
    closing.start()
    wait_until(lambda: of.worker._queue.is_closing)
    free.set()
    closing.join()
    with pytest.raises(malt.MaltError, match="the server is shutting down"):
        made.result(10)
    with pytest.raises(malt.MaltError, match="the server is shutting down"):
        of.worlds.step(world, WorldStepRequest(actions=LEFT))
    of.store.close()
