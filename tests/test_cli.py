"""Laws of the `malt` command, with a pipeline that makes grey frames."""

import importlib
import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import av
import numpy as np
import pytest
import torch
from PIL import Image

import malt
from malt.cli import VERBS, main
from malt.errors import MaltError
from malt.rollouts.base import RolloutState, Segment
from malt.sessions.storage import read_index

Run = Callable[..., int]


def no_number() -> None:
    raise MaltError("the model's output is not a number; choose another seed")


class GreyNetwork(torch.nn.Linear):
    """Computes nothing."""

    def __init__(self) -> None:
        super().__init__(1, 1)
        self.config: dict[str, Any] = {}
        self.segment_frames, self.context_frames, self.patch_size = 1, 0, (1, 1)

    def memory_bytes(self, batch: int, height: int, width: int) -> int:
        return 64


class GreyPipeline:
    """Makes segments of four 8x8 frames and notes what it was asked for; it is its own codec and its own rollout."""

    frame_rate = 8.0
    frame_size = (8, 8)
    action_names: tuple[str, ...] = ()
    device = "cpu"
    space_compression, time_compression, latent_size = 8, 4, (1, 1)
    latent_channels = latent_group = 1
    num_steps, memory_update_interval = 2, 1
    guidance = SimpleNamespace(scale=1.0, text=1.0, memory=1.0)
    precision = "auto"

    def __init__(self) -> None:
        self.asked: dict[str, Any] = {}
        self.fails_at: int | None = None
        self.fail: Callable[[], Any] = no_number
        self.transformer = self.vae = self.text_encoder = self.scheduler = GreyNetwork()
        self.config: dict[str, Any] = {}
        self.codec = self

    def to(self, device: str) -> "GreyPipeline":
        return self

    def remarks(self, prompt: str) -> list[str]:
        return [f"the model does not know {word}" for word in prompt.split() if word not in ("circle", "red")]

    def rollout(self, prompt: str, **asked: Any) -> "GreyPipeline":
        self.asked |= {"prompts": [*self.asked.get("prompts", ()), prompt], **asked}
        return self

    def frames_of(self, num_latents: int, first: bool) -> int:
        return 4 * num_latents

    def encode(self, frames: Any, cache: Any = None) -> Any:
        raise NotImplementedError

    decode = encode

    def begin(self, seed: int) -> RolloutState:
        return RolloutState(seed=seed, memory=())

    def frames_ahead(self, standing: RolloutState) -> int:
        return 4

    def prefill(self, standing: RolloutState, frames: Any, actions: Any = None) -> Iterator[tuple[Any, RolloutState]]:
        self.asked["given"] = frames
        for _ in range(frames.shape[1] // 4):
            segment, standing = self.advance(standing)
            yield segment, standing

    def stream(self, num_frames: int, standing: RolloutState) -> Iterator[Any]:
        while standing.start < num_frames:
            segment, standing = self.advance(standing)
            yield segment

    def rebuild_memory(self, standing: RolloutState) -> RolloutState:
        return standing

    def advance(self, standing: RolloutState, actions: Any = None) -> tuple[Any, RolloutState]:
        if standing.index == self.fails_at:
            self.fail()
        frames, latents = torch.zeros(1, 4, 3, 8, 8), torch.zeros(1, 1, 1, 1, 1)
        segment = Segment(standing.index, standing.start, frames, latents, memory_bytes=64)
        return segment, replace(standing, index=standing.index + 1, start=standing.start + 4)


@pytest.fixture
def pipe(monkeypatch: pytest.MonkeyPatch) -> GreyPipeline:
    pipeline = GreyPipeline()
    loading = importlib.import_module("malt.pipelines.loading")
    monkeypatch.setattr(loading, "load_pipeline", lambda checkpoint: pipeline)
    return pipeline


@pytest.fixture
def generate(pipe: GreyPipeline, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    monkeypatch.chdir(tmp_path)
    return lambda *options, prompt="red circle": main(["generate", prompt, "--device", "cpu", *options])


def count_frames(path: Path) -> int:
    with av.open(str(path)) as container:
        return sum(1 for _ in container.decode(video=0))


def test_help_names_every_verb(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--help"]) == 0
    lines = capsys.readouterr().out
    assert all(f"  {verb}" in lines for verb in VERBS)


@pytest.mark.parametrize("verb", VERBS)
def test_every_verb_has_a_command_that_runs(verb: str) -> None:
    assert callable(getattr(importlib.import_module(f"malt.commands.{verb}"), f"{verb.capitalize()}Command").run)


@pytest.mark.parametrize("options", [["--help"], ["generate", "--help"], ["--version"], ["nonsense"]])
def test_a_reader_that_has_gone_ends_a_command_quietly(options: list[str]) -> None:
    read, write = os.pipe()
    os.close(read)
    command = [sys.executable, "-m", "malt", *options]
    stdout = subprocess.PIPE if options == ["nonsense"] else write
    stderr = write if options == ["nonsense"] else subprocess.PIPE
    run = subprocess.run(command, stdout=stdout, stderr=stderr, check=False, timeout=60)
    os.close(write)
    assert not run.stdout
    assert not run.stderr
    assert run.returncode == 141


def test_version_is_the_packages(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--version"]) == 0
    assert capsys.readouterr().out.strip() == f"malt {malt.__version__}"


@pytest.mark.parametrize("start", ["import malt", "import malt.cli; malt.cli.main(['--help'])"])
def test_neither_the_package_nor_its_help_imports_what_is_heavy(start: str) -> None:
    heavy = "{'torch', 'numpy', 'av', 'diffusers', 'transformers'}"
    program = f"import sys\n{start}\nsys.exit(', '.join({heavy} & set(sys.modules)) or 0)"
    run = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False, timeout=60)
    assert run.returncode == 0, run.stderr


def test_a_verb_that_is_not_there_is_said_with_the_nearest(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["generat"]) == 2
    assert "did you mean 'generate'" in capsys.readouterr().err


def test_a_sentence_becomes_a_video_and_a_report(generate: Run, pipe: GreyPipeline) -> None:
    assert generate("--frames", "10", "--out", "walk.mp4", "--report", "walk.json", "--seed", "3", "--steps", "2") == 0
    assert count_frames(Path("walk.mp4")) == 10
    report = json.loads(Path("walk.json").read_text())
    assert (report["frames"], report["seed"], report["memory_bytes"]) == (10, 3, 64)
    assert len(report["seconds_per_segment"]) == 3
    assert pipe.asked["num_inference_steps"] == 2
    written = read_index(Path("walk.session"))
    assert (written["num_frames"], written["notes"]["seed"]) == (8, 3)


@pytest.mark.parametrize("ending", ["gif", "webm"])
def test_the_ending_says_the_format(generate: Run, ending: str) -> None:
    assert generate("--frames", "3", "--out", f"walk.{ending}") == 0
    assert count_frames(Path(f"walk.{ending}")) == 3


def test_seconds_are_those_of_the_file(generate: Run, pipe: GreyPipeline) -> None:
    assert generate("--seconds", "1.5", "--out", "a.mp4") == 0
    assert count_frames(Path("a.mp4")) == 12
    assert generate("--seconds", "1.5", "--fps", "4", "--out", "b.mp4") == 0
    assert count_frames(Path("b.mp4")) == 6


def test_a_first_image_reaches_the_pipeline_in_its_size(generate: Run, pipe: GreyPipeline) -> None:
    Image.new("RGB", (32, 20), (255, 0, 255)).save("first.png")
    assert generate("--frames", "2", "--image", "first.png", "--out", "a.mp4") == 0
    assert pipe.asked["given"].shape == (1, 4, 3, 8, 8)
    assert pipe.asked["given"][0, 0, :, 0, 0].tolist() == [1, -1, 1]


def test_a_first_video_reaches_the_pipeline_in_its_size_and_at_its_rate(generate: Run, pipe: GreyPipeline) -> None:
    assert generate("--frames", "8", "--fps", "16", "--out", "first.mp4") == 0
    assert generate("--frames", "20", "--video", "first.mp4", "--out", "a.mp4") == 0
    assert pipe.asked["given"].shape == (1, 4, 3, 8, 8)


def test_a_first_video_that_leaves_nothing_to_make_is_refused_and_by_default_gone_on_behind(
    generate: Run, capsys: pytest.CaptureFixture[str]
) -> None:
    assert generate("--frames", "8", "--fps", "16", "--out", "first.mp4") == 0
    assert generate("--frames", "4", "--video", "first.mp4", "--out", "a.mp4") == 2
    assert (
        "first.mp4 alone has 4 frames, and the whole video is to have 4; give --frames above 4"
        in capsys.readouterr().err
    )
    assert not Path("a.mp4").exists()
    assert generate("--video", "first.mp4", "--out", "a.mp4") == 0
    assert "wrote 260 frames" in capsys.readouterr().err


def test_what_the_model_remarks_of_each_prompt_is_said(generate: Run, capsys: pytest.CaptureFixture[str]) -> None:
    assert generate("--frames", "8", prompt="red dragon [4f] | blue circle") == 0
    told = capsys.readouterr().err
    assert "malt: the model does not know dragon\n" in told
    assert "malt: the model does not know blue\n" in told


@pytest.mark.parametrize(
    ("options", "complaint"),
    [
        (["--frames", "0"], "at least 1"),
        (["--frames", "-3"], "at least 1"),
        (["--seconds", "nan"], "cannot be 'nan'; give a number"),
        (["--frames", "8", "--seconds", "1"], "give one of them"),
        (["--frames", "8", "--forever"], "give one of them"),
        (["--prompts", "kept.mp4"], "give one of them"),
        (["--actions", "kept.mp4", "--policy", "cruise"], "give one of them"),
        (["--policy", "cruise"], "takes no actions"),
        (["--driver", "cruise"], "has no option --driver; it is called --policy today"),
        (["--model", "elsewhere"], "there is no model 'elsewhere'; give one of default"),
        (["--model", "default", "--checkpoint", "elsewhere"], "give one of them"),
        (["--steps", "0"], "at least 1"),
        (["--guidance-scale", "inf"], "cannot be 'inf'; give a number"),
        (["--seed", "-1"], "seed"),
        (["--fps", "0"], "give 1 to 1000 frames a second"),
        (["--fps", "0.001"], "give 1 to 1000 frames a second"),
        (["--fps", "nan"], "cannot be 'nan'; give a number"),
        (["--lora", "nothing"], "there is no LoRA nothing"),
        (["--negative-prompt", "caf\udce9"], "is not UTF-8"),
        (["--out", "walk.avi"], "ending"),
        (["--out", "nowhere/walk.mp4"], "does not exist"),
        (["--out", "kept.mp4"], "exists"),
        (["--report", "nowhere/report.json"], "does not exist"),
        (["--report", "new.mp4", "--out", "new.mp4"], "both video and report"),
        (["--image", "nothing.png"], "there is no file"),
        (["--video", "kept.mp4"], "not a video"),
        (["--video", "kept.mp4", "--out", "kept.mp4", "--overwrite"], ""),
        (["--image", "kept.mp4", "--video", "kept.mp4"], "give one of them"),
        (["--device", "abacus"], "abacus"),
    ],
)
def test_wrong_usage_is_one_sentence_and_exit_code_2(
    generate: Run, capsys: pytest.CaptureFixture[str], options: list[str], complaint: str
) -> None:
    Path("kept.mp4").write_text("precious")
    assert generate(*options) == 2
    said = capsys.readouterr().err
    assert complaint in said
    assert said.count("\n") == 1
    assert Path("kept.mp4").read_text() == "precious"
    assert os.listdir() == ["kept.mp4"]


def test_an_empty_prompt_is_wrong_usage(generate: Run, capsys: pytest.CaptureFixture[str]) -> None:
    assert generate(prompt="  ") == 2
    assert "the prompt is empty" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("prompt", "complaint"),
    [
        ("red [9s] | circle", "the prompts last 73 frames (9.125 s) and the video 16 (2 s)"),
        ("red [-1s] | circle", "give a number above 0"),
        ("red [1s] | ", "the prompt is empty"),
        ("red [soon] | circle", "cannot read the time"),
        ("caf\udce9", r"the prompt 'caf\udce9' is not UTF-8; write it in UTF-8"),
    ],
)
def test_prompts_over_time_that_cannot_be_followed_are_wrong_usage(
    generate: Run, capsys: pytest.CaptureFixture[str], prompt: str, complaint: str
) -> None:
    assert generate("--frames", "16", prompt=prompt) == 2
    assert complaint in capsys.readouterr().err
    assert os.listdir() == []


def test_prompts_over_time_follow_one_another_and_say_how_long_the_video_is(generate: Run, pipe: GreyPipeline) -> None:
    assert generate("--out", "a.mp4", prompt="red [1s] | circle [12f]") == 0
    assert count_frames(Path("a.mp4")) == 20
    assert pipe.asked["prompts"] == ["red", "circle"]
    for number, words in enumerate((["--prompt", "red [1s] | circle [12f]"], ["--prompt=red [1s] | circle [12f]"])):
        assert main(["generate", *words, "--device", "cpu", "--out", f"p{number}.mp4"]) == 0
        assert Path(f"p{number}.mp4").read_bytes() == Path("a.mp4").read_bytes()
    Path("prompts.yaml").write_text("- prompt: circle\n  frames: 4\n- red [1s]\n")
    assert generate("--out", "b.mp4", "--prompts", "prompts.yaml", prompt="") == 0
    assert count_frames(Path("b.mp4")) == 12


def test_no_session_keeps_none_and_its_help_says_so(generate: Run, capsys: pytest.CaptureFixture[str]) -> None:
    assert generate("--frames", "4", "--no-session", "--out", "walk.mp4") == 0
    assert os.listdir() == ["walk.mp4"]
    capsys.readouterr()
    assert main(["generate", "--help"]) == 0
    told = " ".join(capsys.readouterr().out.split())
    assert "--no-session Keep no session beside" in told
    assert "--session" not in told


def test_a_file_is_not_read_and_written_at_once(generate: Run, capsys: pytest.CaptureFixture[str]) -> None:
    assert generate("--frames", "2", "--out", "walk.mp4") == 0
    assert generate("--video", "walk.mp4", "--out", "walk.mp4", "--overwrite") == 2
    assert "is read and cannot be written" in capsys.readouterr().err


def test_a_checkpoint_that_is_not_there_is_exit_code_1(generate: Run, capsys: pytest.CaptureFixture[str]) -> None:
    assert generate("--checkpoint", "nowhere") == 1
    assert "there is no checkpoint folder nowhere" in capsys.readouterr().err


def test_a_model_that_fails_half_way_leaves_what_was_made_and_says_so(
    generate: Run, pipe: GreyPipeline, capsys: pytest.CaptureFixture[str]
) -> None:
    pipe.fails_at = 2
    assert generate("--frames", "20", "--out", "walk.mp4", "--report", "walk.json") == 1
    said = capsys.readouterr().err
    assert "after 8 of 20 frames (1.0 s), kept in walk.mp4; malt resume walk.mp4 goes on" in said
    assert "not a number" in said
    assert count_frames(Path("walk.mp4")) == 8
    assert json.loads(Path("walk.json").read_text())["frames"] == 8


def test_a_model_that_fails_at_once_leaves_no_file_and_says_so(
    generate: Run, pipe: GreyPipeline, capsys: pytest.CaptureFixture[str]
) -> None:
    pipe.fails_at = 0
    assert generate("--frames", "20", "--out", "walk.mp4") == 1
    assert "nothing was written to walk.mp4" in capsys.readouterr().err
    assert os.listdir() == []


def test_one_frame_is_one_frame(generate: Run, capsys: pytest.CaptureFixture[str]) -> None:
    assert generate("--frames", "1", "--out", "walk.mp4") == 0
    assert "malt: wrote 1 frame (" in capsys.readouterr().err


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="needs a device that is always full")
def test_a_full_disk_is_exit_code_1_without_a_traceback(generate: Run, capsys: pytest.CaptureFixture[str]) -> None:
    Path("walk.mp4").symlink_to("/dev/full")
    assert generate("--frames", "8", "--out", "walk.mp4", "--overwrite") == 1
    assert "No space left" in capsys.readouterr().err


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_ends_the_run_cleanly_and_says_what_is_kept(
    generate: Run, pipe: GreyPipeline, capsys: pytest.CaptureFixture[str], number: signal.Signals, code: int
) -> None:
    pipe.fails_at = 3
    pipe.fail = lambda: os.kill(os.getpid(), number)
    handler = signal.getsignal(number)
    assert generate("--frames", "400", "--out", "walk.mp4", "--report", "walk.json") == code
    assert "after 12 of 400 frames (1.5 s), kept in walk.mp4" in capsys.readouterr().err
    assert count_frames(Path("walk.mp4")) == 12
    assert json.loads(Path("walk.json").read_text())["frames"] == 12
    assert signal.getsignal(number) == handler


def test_small_videos_are_written_larger_by_default(generate: Run) -> None:
    assert generate("--frames", "1", "--out", "large.mp4") == 0
    assert generate("--frames", "1", "--out", "small.mp4", "--scale", "1") == 0
    with av.open("large.mp4") as large, av.open("small.mp4") as small:
        sizes = [(video.streams.video[0].height, video.streams.video[0].width) for video in (large, small)]
    assert np.array_equal(sizes, [(256, 256), (8, 8)])
