"""Laws of the nodes for ComfyUI, on a tiny random model: sessions are values, so their sockets are fork and rewind."""

import json
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import pytest
import torch

import malt
import tiny_base_pipelines
import tiny_comfyui
import tiny_pipeline
from malt.errors import MaltError, UsageError
from malt.pipelines.adapted_loading import load_adapted
from malt.sessions.session import Session
from tiny_comfyui import PACK, ComfyUI, Stopped, as_flow, workflows
from tiny_pipeline import PROMPT, SEGMENT, SIDE


@pytest.fixture
def host(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ComfyUI:
    return tiny_comfyui.load(tmp_path, monkeypatch)


@pytest.fixture(scope="module")
def pipe() -> Any:
    return tiny_pipeline.pipeline()


@pytest.fixture(scope="module")
def acting() -> Any:
    return tiny_pipeline.pipeline(settings={"action_names": ["steering", "throttle"]}, action_dim=8)


def begin(host: ComfyUI, pipe: Any, **inputs: Any) -> Any:
    return host.run("BeginMaltSession", model=pipe, **{"prompts": PROMPT, "seed": 3} | inputs)[0]


def stream(host: ComfyUI, session: Any, segments: int = 2, **inputs: Any) -> tuple[Any, torch.Tensor]:
    after, images, *_ = host.run("StreamMaltSegments", session=session, segments=segments, **inputs)
    return after, images


def test_images_are_what_malt_itself_makes(host: ComfyUI, pipe: Any) -> None:
    after, images, rate, length = host.run("StreamMaltSegments", session=begin(host, pipe), segments=2)
    session = Session.begin(pipe, PROMPT, seed=3)
    frames = torch.cat([session.advance().frames[0] for _ in range(2)])
    assert torch.equal(images, ((frames + 1) / 2).clamp(0, 1).movedim(1, -1))
    assert (images.shape, images.dtype) == ((2 * SEGMENT, SIDE, SIDE, 3), torch.float32)
    assert (rate, length) == (8.0, 2 * SEGMENT)
    assert after.go_on().num_frames == 2 * SEGMENT


def test_one_session_socket_has_two_futures_and_stays_what_it_was(host: ComfyUI, pipe: Any) -> None:
    past, _ = stream(host, begin(host, pipe))
    first = stream(host, past)[1]
    other = stream(host, host.run("BranchMaltSession", session=past, seed=7)[0])[1]
    assert not torch.allclose(first, other, atol=1e-3)
    assert torch.equal(stream(host, past)[1], first)
    assert past.go_on().num_frames == 2 * SEGMENT


def test_images_are_put_behind_those_before(host: ComfyUI, pipe: Any) -> None:
    past, first = stream(host, begin(host, pipe))
    whole = stream(host, past, before=first)[1]
    assert torch.equal(whole, torch.cat([first, stream(host, past)[1]]))
    with pytest.raises(UsageError, match="the images before are 16x32; this video is 32x32, without transparency"):
        stream(host, past, before=first[:, :, :16])


def test_a_session_that_was_rewound_makes_the_same_images_again(host: ComfyUI, pipe: Any) -> None:
    after, images = stream(host, begin(host, pipe), segments=4)
    back, border = host.run("RewindMaltSession", session=after, frame=SEGMENT + 3)
    assert border == SEGMENT
    assert torch.equal(stream(host, back, segments=3)[1], images[SEGMENT:])
    assert after.go_on().num_frames == 4 * SEGMENT


def test_a_prompt_takes_over_with_the_next_segment(host: ComfyUI, pipe: Any) -> None:
    past, _ = stream(host, begin(host, pipe))
    other = host.run("SetMaltPrompt", session=past, prompts="a blue square [1s] | two shapes")[0]
    usual, changed = stream(host, past)[1], stream(host, other)[1]
    assert not torch.allclose(usual, changed, atol=1e-3)
    assert other.go_on().state.prompts.changes == (
        (0, PROMPT),
        (2 * SEGMENT, "a blue square"),
        (3 * SEGMENT, "two shapes"),
    )


def test_prompts_over_time_are_strung_together_as_text(host: ComfyUI, pipe: Any) -> None:
    first = host.run("MaltPromptOverTime", prompt="a [red] circle", seconds=1.5)[0]
    prompts = host.run("MaltPromptOverTime", prompt="a blue square", seconds=0.0, before=first)[0]
    assert prompts == "a \\[red\\] circle [1.5s] | a blue square"
    assert begin(host, pipe, prompts=prompts).state.prompts.changes == ((0, "a [red] circle"), (12, "a blue square"))
    with pytest.raises(UsageError, match="the prompt is empty"):
        host.run("MaltPromptOverTime", prompt=" ")


def test_a_session_is_saved_and_gone_on_with_bit_for_bit(host: ComfyUI, pipe: Any) -> None:
    past, _ = stream(host, begin(host, pipe))
    assert host.run("SaveMaltSession", session=past, name="days/one")[0] is past
    assert (host.folder / "output" / "malt" / "days" / "one.session" / "session.json").is_file()
    again = host.run("LoadMaltSession", model=pipe, name="days/one")[0]
    assert torch.equal(stream(host, again)[1], stream(host, past)[1])


def test_a_session_that_was_saved_anew_is_read_anew(host: ComfyUI, pipe: Any) -> None:
    past = begin(host, pipe)
    node = host.nodes["LoadMaltSession"]
    seen = [node.fingerprint_inputs(name="walk")]
    for segments in (1, 1):
        past, _ = stream(host, past, segments=segments)
        host.run("SaveMaltSession", session=past, name="walk")
        seen.append(node.fingerprint_inputs(name="walk"))
    assert len(set(seen)) == 3


def test_every_segment_moves_the_progress_bar_and_shows_a_picture(host: ComfyUI, pipe: Any) -> None:
    stream(host, begin(host, pipe), segments=3)
    assert [each[:2] for each in host.progress] == [(1, 3), (2, 3), (3, 3)]
    assert all(picture.size == (SIDE, SIDE) for *_, picture in host.progress)


def test_the_stop_button_ends_a_stream_and_harms_no_session(host: ComfyUI, pipe: Any) -> None:
    past, host.stop_after = begin(host, pipe), 1
    with pytest.raises(Stopped):
        stream(host, past, segments=3)
    host.stop_after = None
    assert torch.equal(stream(host, past)[1], stream(host, begin(host, pipe))[1])


def test_the_stop_button_is_heard_between_denoising_steps(host: ComfyUI, pipe: Any) -> None:
    past, host.asked = begin(host, pipe, steps=3), 0
    stream(host, past, segments=2)
    assert host.asked == 2 * 3
    host.stop_after, host.asked, shown = len(host.progress), 0, len(host.progress)
    with pytest.raises(Stopped):
        stream(host, past, segments=2)
    assert (host.asked, len(host.progress)) == (1, shown)


def test_a_video_begins_with_given_images(host: ComfyUI, pipe: Any) -> None:
    images = tiny_pipeline.video(SEGMENT + 4).movedim(1, -1) / 2 + 0.5
    session = begin(host, pipe, images=images)
    assert session.go_on().num_frames == SEGMENT + 4
    held = begin(host, pipe, images=images[:1])
    assert held.go_on().num_frames == pipe.codec.frames_of(1, first=True)
    assert not torch.allclose(stream(host, session)[1], stream(host, held)[1], atol=1e-3)
    with pytest.raises(UsageError, match="got first frames of 16x16; this video is 32x32"):
        begin(host, pipe, images=images[:, :16, :16])
    with pytest.raises(UsageError, match="there are 2 first images; give one, or at least 4"):
        begin(host, pipe, images=images[:2])


def test_a_model_that_takes_actions_is_driven(host: ComfyUI, acting: Any, pipe: Any) -> None:
    session = begin(host, acting, prompts="")
    cruise, weave = (stream(host, session, driver=driver)[1] for driver in ("cruise", "weave"))
    assert not torch.allclose(cruise, weave, atol=1e-4)
    one, first = stream(host, session, segments=1, driver="cruise")
    assert torch.equal(torch.cat([first, stream(host, one, segments=1, driver="cruise")[1]]), cruise)
    with pytest.raises(UsageError, match="this model acts .steering, throttle.; choose a driver"):
        stream(host, session)
    with pytest.raises(UsageError, match="takes no actions; choose 'none' instead of the driver 'weave'"):
        stream(host, begin(host, pipe), driver="weave")


def test_models_are_those_of_malt_those_of_comfyui_and_any_folder(host: ComfyUI, pipe: Any, tmp_path: Path) -> None:
    pipe.save_pretrained(tmp_path / "models" / "malt" / "mine")
    (model, _) = host.nodes["LoadMalt"].define_schema().inputs
    assert model.options["options"] == ["default", "drive", "maze", "teacher", "mine"]
    loaded = host.run("LoadMalt", model="mine")[0]
    assert host.freed > 0
    by_folder = host.run("LoadMalt", model="default", folder=str(tmp_path / "models" / "malt" / "mine"))[0]
    images = [stream(host, begin(host, each), segments=1)[1] for each in (loaded, by_folder, pipe)]
    assert torch.equal(images[0], images[1])
    assert torch.equal(images[0], images[2])


def test_a_model_that_is_not_there_is_refused_in_a_sentence_before_anything_runs(host: ComfyUI, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="there is no checkpoint folder /nowhere; check the name"):
        host.run("LoadMalt", folder="/nowhere")
    with pytest.raises(ValueError, match="is not a checkpoint .it has no model_index.json."):
        host.run("LoadMalt", folder=str(tmp_path))
    with pytest.raises(
        UsageError, match="there is no model 'gone' here; choose one of default, drive, maze, teacher, or give a folder"
    ):
        host.run("LoadMalt", model="gone")


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A pretrained base as it comes from the hub, tiny."""
    return tiny_base_pipelines.saved(tmp_path_factory.mktemp("base"))


def test_a_base_has_a_memory_in_one_branch_of_a_graph_and_none_in_the_other(
    host: ComfyUI, base: Path, tmp_path: Path
) -> None:
    tiny_base_pipelines.saved_memory(tmp_path / "models" / "malt_memory" / "mine")
    (alone,) = host.run("LoadMalt", folder=str(base))
    (memory,) = host.run("LoadMaltMemory")
    (model,) = host.run("ApplyMaltMemory", model=alone, memory=memory)
    size = {"width": 32, "height": 32, "steps": 2, "guidance": 1.0, "prompts": "red circle"}
    without = stream(host, begin(host, alone, **size), segments=1)[1]
    kept = stream(host, begin(host, model, **size), segments=3)[1]
    expected = Session.begin(load_adapted(base, memory, dtype=torch.float32), "red circle", seed=3, height=32, width=32)
    frames = torch.cat([expected.advance().frames[0] for _ in range(3)])
    assert torch.equal(kept, ((frames + 1) / 2).clamp(0, 1).movedim(1, -1))
    assert torch.equal(stream(host, begin(host, alone, **size), segments=1)[1], without)


def test_a_memory_that_does_not_fit_or_is_not_there_is_refused_in_a_sentence(
    host: ComfyUI, pipe: Any, base: Path, tmp_path: Path
) -> None:
    with pytest.raises(ValueError, match="there is no memory; put one into models/malt_memory, or give the folder"):
        host.run("LoadMaltMemory")
    with pytest.raises(ValueError, match="is not an adapter .it has no adapter.json."):
        host.run("LoadMaltMemory", folder=str(tmp_path))
    (memory,) = host.run(
        "LoadMaltMemory", folder=str(tiny_base_pipelines.saved_memory(tmp_path / "other", "skyreels-v2"))
    )
    with pytest.raises(UsageError, match="malt's own models have a memory already; load a pretrained base"):
        host.run("ApplyMaltMemory", model=pipe, memory=memory)
    (alone,) = host.run("LoadMalt", folder=str(base))
    with pytest.raises(UsageError, match="the adapter was made for "):
        host.run("ApplyMaltMemory", model=alone, memory=memory)


def test_a_pipeline_of_no_known_family_is_refused_before_anything_runs(host: ComfyUI, tmp_path: Path) -> None:
    (tmp_path / "model_index.json").write_text(json.dumps({"_class_name": "StableDiffusionPipeline"}))
    with pytest.raises(ValueError, match="StableDiffusionPipeline"):
        host.run("LoadMalt", folder=str(tmp_path))


@pytest.mark.parametrize(
    ("inputs", "sentence"),
    [
        ({"prompts": "a [4s | b"}, "cannot read the time in"),
        ({"prompts": "one | two"}, "lasts until the end, and more follow"),
        ({"prompts": ""}, "the prompt is empty; say what the video shows"),
        ({"width": 33}, "33x32 does not fit this model"),
    ],
)
def test_what_a_session_cannot_do_is_refused_in_a_sentence(
    host: ComfyUI, pipe: Any, inputs: dict[str, Any], sentence: str
) -> None:
    with pytest.raises(ValueError, match=sentence):
        begin(host, pipe, **inputs)


@pytest.mark.parametrize("name", ["", "../../elsewhere", "/etc/walk"])
def test_a_session_stays_below_the_output_folder(host: ComfyUI, pipe: Any, name: str) -> None:
    with pytest.raises(UsageError, match="the session's name is .*; give one such as 'walk'"):
        host.run("SaveMaltSession", session=begin(host, pipe), name=name)
    with pytest.raises(ValueError, match="the session's name is"):
        host.run("LoadMaltSession", model=pipe, name=name)


def test_sessions_that_are_not_there_or_of_another_model_are_refused(host: ComfyUI, pipe: Any, acting: Any) -> None:
    with pytest.raises(UsageError, match="there is no session"):
        host.run("LoadMaltSession", model=pipe, name="walk")
    host.run("SaveMaltSession", session=begin(host, pipe), name="walk")
    with pytest.raises(MaltError, match="was made by the model"):
        host.run("LoadMaltSession", model=acting, name="walk")
    with pytest.raises(UsageError, match="asked to go back to frame 5"):
        host.run("RewindMaltSession", session=begin(host, pipe), frame=5)


@pytest.mark.parametrize("name", workflows())
def test_the_drawn_workflow_is_the_one_for_the_api(host: ComfyUI, name: str) -> None:
    drawn = json.loads((tiny_comfyui.WORKFLOWS / f"{name}.json").read_text())
    drawn_flow, flow = as_flow(drawn, host.nodes), workflows()[name]
    assert drawn_flow.keys() == flow.keys()
    for number, node in flow.items():
        assert drawn_flow[number]["class_type"] == node["class_type"]
        assert node["inputs"].items() <= drawn_flow[number]["inputs"].items()


@pytest.mark.parametrize("name", workflows())
def test_every_example_workflow_runs(
    host: ComfyUI, pipe: Any, acting: Any, base: Path, name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def small(folder: str) -> Any:
        return acting if Path(folder).name == "drive" else pipe

    if name == "memory_on_a_model":
        pytest.skip("its nodes need ComfyUI's own models: see test_comfyui_native.py")
    monkeypatch.setattr("malt.pipelines.loading.load_pipeline", small)
    host.run("SaveMaltSession", session=begin(host, pipe), name="prompts")
    flow = workflows()[name]
    if name == "memory_on_a_base":
        flow["1"]["inputs"]["folder"] = str(base)
        flow["2"]["inputs"]["folder"] = str(tiny_base_pipelines.saved_memory(tmp_path / "memory"))
        for number in ("4", "5"):
            flow[number]["inputs"] |= {"width": 32, "height": 32, "steps": 2}
    given = host.run_flow(flow)
    made = [each for each in given.values() if isinstance(each[0], torch.Tensor) and each[0].ndim == 4]
    assert made
    assert all(images.isfinite().all() for images, *_ in made)


def test_the_pack_waits_with_malt_until_a_node_runs() -> None:
    program = """
import pathlib, pytest, tiny_comfyui
tiny_comfyui.prepare(pathlib.Path("nowhere"), pytest.MonkeyPatch())
import comfyui
sys.exit(any(name.startswith("malt.") for name in sys.modules))
"""
    paths = [str(PACK.parent), str(PACK.parents[1] / "tests"), str(Path(malt.__file__).parents[1])]
    code = subprocess.run(
        [sys.executable, "-c", f"import sys; sys.path[:0] = {paths}\n{program}"], timeout=60
    ).returncode
    assert code == 0


def test_without_malt_comfyui_is_told_what_to_install(host: ComfyUI, monkeypatch: pytest.MonkeyPatch) -> None:
    pack = sys.modules["comfyui"]
    monkeypatch.setattr(pack, "find_spec", lambda name: None)
    with pytest.raises(ModuleNotFoundError, match="malt is not installed in ComfyUI's Python; run `python -m pip"):
        pack.comfy_entrypoint().send(None)


def test_the_pack_depends_on_the_published_package() -> None:
    pack, own = (tomllib.loads((folder / "pyproject.toml").read_text()) for folder in (PACK, PACK.parents[1]))
    (needed,) = pack["project"]["dependencies"]
    assert needed == f"{own['project']['name']}>={malt.__version__}"
    assert (PACK / "requirements.txt").read_text().split() == [needed]
    assert pack["project"]["version"] == malt.__version__
