"""Laws of video that is sent while it is made, on a real server on the loopback: streams and the WebSocket."""

import asyncio
import io
import json
import threading
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from itertools import islice
from pathlib import Path
from typing import Any

import av
import httpx
import pytest
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.sync.client import ClientConnection, connect
from websockets.typing import Origin

import tiny_pipeline
from malt.serving.app import Service
from malt.serving.streams import LEAD_SEGMENTS, LiveStream, StreamOpener
from malt.sessions.action_policies import LivePolicy
from malt.sessions.session import Session
from tiny_server import served, service, wait_until

SEGMENT, PROMPT = tiny_pipeline.SEGMENT, tiny_pipeline.PROMPT
Params = dict[str, str | float]  # of a request
OTHER_PROMPT = "a blue square at night"


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Service:
    return service(tmp_path_factory.mktemp("data"), {"stall_seconds": 1.0})


@pytest.fixture(scope="module")
def address(shared: Service) -> Iterator[str]:
    with served(shared) as address:
        yield address


@pytest.fixture
def socket(address: str, shared: Service) -> Iterator[ClientConnection]:
    with connect(address.replace("http", "ws") + "/v1/realtime/video", max_size=None) as socket:
        yield socket
    wait_until(lambda: shared.worker.num_running == 0)


def say(socket: ClientConnection, **event: Any) -> None:
    socket.send(json.dumps(event))


def hear(socket: ClientConnection) -> dict[str, Any]:
    heard = socket.recv(timeout=60)
    assert isinstance(heard, str), "a piece came without its event"
    return json.loads(heard)


def watch(socket: ClientConnection, until: str = "done") -> tuple[bytes, list[dict[str, Any]]]:
    """The video, and the events up to one of type `until`."""
    video, events = b"", [hear(socket)]
    while events[-1]["type"] != until:
        if events[-1]["type"] == "segment":
            fragment = socket.recv(timeout=60)
            assert isinstance(fragment, bytes) and len(fragment) == events[-1]["bytes"]
            video += fragment
        events.append(hear(socket))
    return video, events


def frames_in(data: bytes) -> int:
    with av.open(io.BytesIO(data), "r") as container:
        return sum(1 for _ in container.decode(video=0))


def test_a_stream_is_a_video_of_the_length_that_was_asked_for(address: str) -> None:
    answer = httpx.get(f"{address}/v1/stream", params={"prompt": PROMPT, "num_frames": 2 * SEGMENT + 1}, timeout=60)
    assert (answer.status_code, answer.headers["content-type"]) == (200, "video/mp4")
    assert frames_in(answer.content) == 2 * SEGMENT + 1


def test_a_reader_who_leaves_ends_the_work(address: str, shared: Service) -> None:
    with httpx.stream("GET", f"{address}/v1/stream", params={"prompt": PROMPT}, timeout=60) as answer:
        parts = answer.iter_raw()
        assert next(parts)[4:8] == b"ftyp"
        assert any(
            shared.worker.num_running == 1 for _ in islice(parts, 1000)
        )  # who takes nothing for a second is let go
    wait_until(lambda: shared.worker.num_running == 0)


@pytest.mark.slow  # the system's own buffers fill first
def test_a_reader_who_reads_nothing_holds_up_nobody_and_is_let_go(address: str, shared: Service) -> None:
    large: Params = {
        "prompt": PROMPT,
        "size": "256x256",
        "num_inference_steps": 1,
    }  # soon more than the buffers between take
    with httpx.stream("GET", f"{address}/v1/stream", params=large, timeout=120) as answer:
        assert answer.status_code == 200
        quick = httpx.get(f"{address}/v1/stream", params={"prompt": PROMPT, "num_frames": SEGMENT}, timeout=60)
        assert frames_in(quick.content) == SEGMENT
        wait_until(lambda: shared.worker.num_running == 0, seconds=240)


def test_a_stream_that_cannot_be_made_is_refused_in_a_sentence(address: str) -> None:
    refused: list[tuple[Params, str]] = [
        ({"prompt": ""}, "empty"),
        ({"prompt": "a", "seconds": 1e9}, "frames"),
        ({}, "empty"),
    ]
    for params, about in refused:
        answer = httpx.get(f"{address}/v1/stream", params=params)
        assert answer.status_code == 400
        assert about in answer.json()["error"]["message"]


def test_those_for_whom_there_is_no_room_are_told_to_come_back(address: str, shared: Service) -> None:
    place = address.replace("http", "ws") + "/v1/realtime/video"
    with ExitStack() as stack:
        sockets = [stack.enter_context(connect(place, max_size=None)) for _ in range(6)]
        for socket in sockets:
            say(socket, type="start", prompt=PROMPT)
        told = [hear(socket) for socket in sockets]
        assert sorted(event["type"] for event in told) == ["error"] + ["started"] * 5
        assert httpx.get(f"{address}/v1/stream", params={"prompt": PROMPT}).status_code == 429
    wait_until(lambda: shared.worker.num_running + shared.worker.num_waiting == 0)


def test_the_socket_sends_a_video_piece_by_piece(socket: ClientConnection, shared: Service) -> None:
    say(socket, type="start", prompt=PROMPT, num_frames=2 * SEGMENT, seed=4, size="32x32")
    video, events = watch(socket)
    assert [event["type"] for event in events] == ["started", "segment", "segment", "done"]
    assert (events[0]["size"], events[0]["num_frames"]) == ("32x32", 2 * SEGMENT)
    assert events[1]["mime"].startswith('video/mp4; codecs="avc1.')
    assert (events[-1]["state"], events[-1]["num_frames"]) == ("done", 2 * SEGMENT)
    assert frames_in(video) == 2 * SEGMENT


def test_the_prompt_changes_while_the_video_runs(socket: ClientConnection) -> None:
    say(socket, type="start", prompt=PROMPT)
    events = watch(socket, until="segment")[1]
    assert events[-1]["prompt"] == PROMPT
    socket.recv(timeout=60)
    say(socket, type="prompt", prompt=OTHER_PROMPT)
    for _ in range(50):
        event = watch(socket, until="segment")[1][-1]
        socket.recv(timeout=60)
        if event["prompt"] == OTHER_PROMPT:
            break
    assert event["prompt"] == OTHER_PROMPT
    say(socket, type="stop")
    assert watch(socket)[1][-1]["state"] == "cancelled"


def test_a_connection_serves_one_video_after_another(socket: ClientConnection) -> None:
    for seed in range(2):
        say(socket, type="start", prompt=PROMPT, num_frames=SEGMENT, seed=seed)
        assert watch(socket)[1][-1]["state"] == "done"


@pytest.mark.parametrize(
    ("event", "about"),
    [
        ("{", "cannot read the event"),
        ("[1]", "cannot read the event"),
        ('{"type": "dance"}', "type start, prompt, action, memory, ping or stop"),
        ('{"type": "start", "prompt": "x", "evil": 1}', "evil"),
        ('{"type": "start", "prompt": ""}', "prompt is empty"),
        ('{"type": "start", "prompt": "x", "num_frames": 1000000000}', "1000000000 frames"),
        ('{"type": "stop"}', "there is no video"),
        ('{"type": "prompt", "prompt": "x"}', "there is no video"),
        ('{"type": "action", "actions": {"steering": 1}}', "there is no video"),
        ('{"type": "action", "actions": {"steering": 1e300}}', "less than or equal to 100"),
        (b"\0\1", "binary"),
    ],
)
def test_events_that_make_no_sense_are_answered_in_a_sentence(
    socket: ClientConnection, event: str | bytes, about: str
) -> None:
    socket.send(event)
    answer = hear(socket)
    assert (answer["type"], about in answer["message"]) == ("error", True), answer
    say(socket, type="ping")
    assert hear(socket) == {"type": "pong"}


def test_an_empty_prompt_in_mid_video_changes_nothing(socket: ClientConnection) -> None:
    say(socket, type="start", prompt=PROMPT)
    say(socket, type="prompt", prompt=" ")
    assert "empty" in watch(socket, until="error")[1][-1]["message"]
    say(socket, type="start", prompt=PROMPT)
    assert "already" in watch(socket, until="error")[1][-1]["message"]


@pytest.fixture(scope="module")
def acting(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Service, str]]:
    pipe = tiny_pipeline.pipeline(settings={"action_names": ["steering", "throttle"]}, action_dim=8)
    of = service(tmp_path_factory.mktemp("acting"), pipe=pipe)
    with served(of) as address:
        yield of, address.replace("http", "ws") + "/v1/realtime/video"


def next_segment(socket: ClientConnection) -> dict[str, Any]:
    event = watch(socket, until="segment")[1][-1]
    socket.recv(timeout=60)
    return event


def test_a_video_is_steered_while_it_is_made_and_waits_for_what_is_seen(acting: tuple[Service, str]) -> None:
    of, place = acting
    hands = [LivePolicy(of.pipe.action_names) for _ in range(of.limits.running)]
    others = [of.worker.start(Session.begin(of.pipe), driver=hand) for hand in hands]
    with connect(place, max_size=None) as socket:
        say(socket, type="start")
        assert hear(socket)["actions"] == ["steering", "throttle"]
        say(socket, type="action", actions={"steering": -1.0}, frame=0)
        say(socket, type="ping")
        assert hear(socket)["type"] == "pong"  # nothing has been made yet, as others have the places
        for other in others:
            of.worker.cancel(other)
        (connection,) = of.connections
        live = connection._live
        assert live is not None
        wait_until(lambda: not live._has_room())
        assert live.job.frames_made == LEAD_SEGMENTS * SEGMENT
        for segment in range(LEAD_SEGMENTS + 1, LEAD_SEGMENTS + 4):
            say(socket, type="action", actions={}, frame=(segment - LEAD_SEGMENTS) * SEGMENT)
            wait_until(lambda: live.job.frames_made == segment * SEGMENT)  # noqa: B023
        say(socket, type="stop")
        watch(socket)
        done = live._session.state.actions
    assert done is not None and len(done) == (LEAD_SEGMENTS + 3) * SEGMENT
    assert done[-1, 0] == -1 and done[0, 1] > 0 and done[:, 1].unique().numel() == 1


@pytest.mark.parametrize(
    ("start", "actions", "about"),
    [({"driver": "cruise"}, {"steering": 1}, "start without a driver"), ({}, {"jump": 1}, "no action jump")],
)
def test_what_cannot_be_done_is_said(acting: tuple[Service, str], start: Any, actions: Any, about: str) -> None:
    with connect(acting[1], max_size=None) as socket:
        say(socket, type="start", **start)
        say(socket, type="action", actions=actions)
        assert about in watch(socket, until="error")[1][-1]["message"]


def test_a_model_that_takes_no_actions_says_so(socket: ClientConnection) -> None:
    say(socket, type="start", prompt=PROMPT)
    say(socket, type="action", actions={"steering": 1})
    assert "take a model that acts" in watch(socket, until="error")[1][-1]["message"]


def test_the_socket_is_guarded_too(address: str) -> None:
    with pytest.raises(InvalidStatus):
        connect(address.replace("http", "ws") + "/v1/realtime/video", origin=Origin("https://evil.example"))


def test_when_the_server_stops_streams_end_in_order(tmp_path: Path) -> None:
    ended: list[dict[str, Any]] = []

    def read(socket: ClientConnection) -> None:
        socket.recv(timeout=60)
        with suppress(ConnectionClosed):
            ended.extend(watch(socket)[1])

    with ExitStack() as stack:
        with served(service(tmp_path)) as address:
            place = address.replace("http", "ws") + "/v1/realtime/video"
            socket = stack.enter_context(connect(place, max_size=None))
            say(socket, type="start", prompt=PROMPT)
            watch(socket, until="segment")
            reader = threading.Thread(target=read, args=[socket])
            reader.start()
        reader.join(60)
    assert ended and ended[-1]["state"] == "stopped"


def test_a_stream_that_was_about_to_begin_when_the_server_stops_is_told_of_its_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened, real = threading.Event(), StreamOpener.open

    async def open_slowly(stream_opener: StreamOpener, generation: Any) -> LiveStream:
        live = await real(stream_opener, generation)
        opened.set()
        await asyncio.sleep(1)
        return live

    monkeypatch.setattr(StreamOpener, "open", open_slowly)
    with ExitStack() as stack:
        with served(service(tmp_path)) as address:
            socket = stack.enter_context(connect(address.replace("http", "ws") + "/v1/realtime/video", max_size=None))
            say(socket, type="start", prompt=PROMPT)
            assert opened.wait(60)
        events = watch(socket)[1]
    assert (events[0]["type"], events[-1]["state"]) == ("started", "stopped")


def test_what_is_streamed_is_what_the_session_makes(socket: ClientConnection) -> None:
    from fractions import Fraction

    from malt.media.mp4_fragments import FragmentEncoder
    from malt.media.pixels import to_pixels

    pipe = tiny_pipeline.pipeline()
    encoder, expected = FragmentEncoder((32, 32), Fraction(8)), b""
    for segment in Session.begin(pipe, PROMPT, seed=6, num_frames=16).stream(16):
        expected += encoder.fragment(list(to_pixels(segment.frames[0])), segment.start)
    say(socket, type="start", prompt=PROMPT, num_frames=16, seed=6)
    assert watch(socket)[0] == encoder.header + expected
