"""The same laws in a real ComfyUI, over HTTP: start one with the pack and let MALT_COMFYUI be its address."""

import io
import json
import os
import urllib.error
import urllib.parse
import urllib.request
from pathlib import Path
from typing import Any
from uuid import uuid4

import numpy as np
import pytest
from PIL import Image
from websockets.sync.client import connect

import tiny_base_pipelines
import tiny_comfyui
from tiny_comfyui import Flow, workflows

ADDRESS = os.environ.get("MALT_COMFYUI", "").rstrip("/")
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not ADDRESS, reason="no ComfyUI: let MALT_COMFYUI be the address of one that has the pack"),
]
SEGMENT = 16  # frames, of the default model
PREVIEW = 4  # the kind of binary message that brings a picture of what runs
BROWSER = {"type": "feature_flags", "data": {"supports_preview_metadata": True}}  # what a page says of itself at first


def ask(path: str, content: Any = None) -> Any:
    """The server's answer, read as JSON, also where it refuses."""
    data = None if content is None else json.dumps(content).encode()
    asked = urllib.request.Request(ADDRESS + path, data, {"Content-Type": "application/json"})
    try:
        with urllib.request.urlopen(asked, timeout=60) as answer:
            return json.load(answer)
    except urllib.error.HTTPError as error:
        return json.load(error)


def run(flow: Flow, stop_after: int | None = None) -> tuple[dict[str, Any], int]:
    """What a workflow left in the history, and how many pictures came while it ran; stopped after so many."""
    client, pictures = uuid4().hex, 0
    with connect(f"{ADDRESS.replace('http', 'ws', 1)}/ws?clientId={client}", max_size=None) as socket:
        socket.send(json.dumps(BROWSER))
        queued = ask("/prompt", {"prompt": flow, "client_id": client})
        assert "prompt_id" in queued, queued
        for message in socket:
            if isinstance(message, bytes):
                pictures += int.from_bytes(message[:4], "big") == PREVIEW
                if pictures == stop_after:
                    interrupt()
                continue
            event = json.loads(message)
            if event["type"] == "executing" and event["data"]["node"] is None:
                break
    return ask(f"/history/{queued['prompt_id']}")[queued["prompt_id"]], pictures


def interrupt() -> None:
    """Press the stop button."""
    with urllib.request.urlopen(urllib.request.Request(f"{ADDRESS}/interrupt", b"{}"), timeout=60):
        pass


def pictures_of(history: dict[str, Any], node: str) -> np.ndarray:
    """The PNG files that a node saved, (t, h, w, 3)."""
    found = []
    for file in history["outputs"][node]["images"]:
        with urllib.request.urlopen(f"{ADDRESS}/view?{urllib.parse.urlencode(file)}", timeout=60) as answer:
            found.append(np.array(Image.open(io.BytesIO(answer.read())).convert("RGB")))
    return np.stack(found)


def node(kind: str, **inputs: Any) -> dict[str, Any]:
    return {"class_type": kind, "inputs": inputs}


def streamed(seed: int) -> Flow:
    """A video of four segments, its frames as files, at node 9."""
    start = workflows()["two_futures"]
    start["2"]["inputs"] |= {"seed": seed, "steps": 2}
    return {
        **{number: start[number] for number in ("1", "2", "3")},
        "9": node("PreviewImage", images=["3", 1]),
    }


def messages(history: dict[str, Any], kind: str) -> list[dict[str, Any]]:
    return [content for name, content in history["status"]["messages"] if name == kind]


def test_the_server_sees_the_sockets_that_the_stand_in_sees(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    host, known = tiny_comfyui.load(tmp_path, monkeypatch), ask("/object_info")
    for name in host.nodes:
        schema, there = host.nodes[name].define_schema(), known[name]
        inputs = {slot.name: slot.kind for slot in schema.inputs}
        parts = [part for kind, part in there["input"].items() if kind != "hidden"]
        kinds = {key: given[0] for part in parts for key, given in part.items()}
        assert {key: "COMBO" if isinstance(kind, list) else kind for key, kind in kinds.items()} == inputs
        assert there["output"] == [slot.kind for slot in schema.outputs]


def test_two_futures_of_one_socket_differ_and_the_same_future_is_the_same() -> None:
    flow = streamed(seed=11) | {
        "4": node("BranchMaltSession", session=["3", 0], seed=7),
        "5": node("StreamMaltSegments", session=["3", 0], segments=2, driver="none"),
        "6": node("StreamMaltSegments", session=["4", 0], segments=2, driver="none"),
        "7": node("StreamMaltSegments", session=["3", 0], segments=3, driver="none"),
        **{str(n + 10): node("PreviewImage", images=[str(n), 1]) for n in (5, 6, 7)},
    }
    history, pictures = run(flow)
    usual, other, longer = (pictures_of(history, number) for number in ("15", "16", "17"))
    assert len(usual) == 2 * SEGMENT
    assert np.array_equal(longer[: 2 * SEGMENT], usual)
    assert not np.array_equal(other, usual)
    assert pictures >= 4 + 2 + 2 + 3


def test_a_session_that_was_rewound_makes_the_same_frames_again() -> None:
    flow = streamed(seed=12) | {
        "4": node("RewindMaltSession", session=["3", 0], frame=2 * SEGMENT + 5),
        "5": node("StreamMaltSegments", session=["4", 0], segments=2, driver="none"),
        "15": node("PreviewImage", images=["5", 1]),
    }
    history, _ = run(flow)
    assert np.array_equal(pictures_of(history, "15"), pictures_of(history, "9")[2 * SEGMENT :])


def test_what_was_made_is_not_made_again_when_a_workflow_grows() -> None:
    run(streamed(seed=13))
    grown = streamed(seed=13) | {
        "5": node("StreamMaltSegments", session=["3", 0], segments=1, driver="none"),
        "15": node("PreviewImage", images=["5", 1]),
    }
    history, pictures = run(grown)
    assert {"1", "2", "3"} <= set(messages(history, "execution_cached")[0]["nodes"])
    assert pictures == 1


def test_the_stop_button_ends_a_stream_and_the_session_before_it_is_gone_on_with() -> None:
    run(streamed(seed=15))
    flow = streamed(seed=15) | {
        "5": node("StreamMaltSegments", session=["3", 0], segments=1000, driver="none"),
        "15": node("PreviewImage", images=["5", 1]),
    }
    history, pictures = run(flow, stop_after=2)
    assert messages(history, "execution_interrupted")
    assert 2 <= pictures <= 4
    flow["5"]["inputs"]["segments"] = 1
    history, _ = run(flow)
    assert len(pictures_of(history, "15")) == SEGMENT


def test_bad_input_is_answered_by_a_sentence() -> None:
    flow = streamed(seed=14)
    flow["1"]["inputs"]["folder"] = "/nowhere"
    refused = ask("/prompt", {"prompt": flow})["node_errors"]["1"]["errors"][0]
    assert "there is no checkpoint folder /nowhere; check the name" in refused["details"]
    flow = streamed(seed=14)
    flow["2"]["inputs"]["width"] = 33
    (error,) = messages(run(flow)[0], "execution_error")
    assert error["exception_message"].strip() == ("33x64 does not fit this model; give sides that are multiples of 16")
    assert error["node_id"] == "2"


@pytest.mark.skipif("127.0.0.1" not in ADDRESS, reason="the server is elsewhere, and would not see this folder")
def test_a_base_has_a_memory_in_one_branch_and_none_in_the_other(tmp_path: Path) -> None:
    flow = workflows()["memory_on_a_base"]
    flow["1"]["inputs"]["folder"] = str(tiny_base_pipelines.saved(tmp_path / "base"))
    flow["2"]["inputs"]["folder"] = str(tiny_base_pipelines.saved_memory(tmp_path / "memory"))
    for number in ("4", "5"):
        flow[number]["inputs"] |= {"prompts": "red circle", "width": 32, "height": 32, "steps": 2}
    flow |= {"16": node("PreviewImage", images=["6", 1]), "17": node("PreviewImage", images=["7", 1])}
    history, _ = run(flow)
    remembered, alone = pictures_of(history, "16"), pictures_of(history, "17")
    assert len(remembered) and len(alone)
    assert not np.array_equal(remembered[: len(alone)], alone[: len(remembered)])


@pytest.mark.parametrize("name", ["prompts_over_time", "go_on_tomorrow", "rewind", "two_futures", "drive"])
def test_every_example_workflow_runs(name: str) -> None:
    history, _ = run(workflows()[name])
    assert history["status"]["status_str"] == "success", messages(history, "execution_error")
    assert any("images" in given for given in history["outputs"].values())
