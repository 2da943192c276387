"""Laws of videos that go on: resumed, rewound and branched ones, byte for byte, by the `malt` command."""

import errno
import json
import os
import random
import shutil
import signal
import time
from collections.abc import Callable
from pathlib import Path

import av
import numpy as np
import pytest
import torch
from peft import LoraConfig
from peft.utils import get_peft_model_state_dict
from PIL import Image

import tiny_pipeline
from malt.cli import main
from malt.media.files import video_lock
from malt.pipelines.loading import load_pipeline
from malt.pipelines.malt import MaltPipeline
from malt.sessions.run_report import RunReport
from malt.sessions.session import Session
from malt.sessions.storage import session_folder
from tiny_pipeline import SEGMENT

Run = Callable[..., int]
PROMPTS = "a red circle [16f] | a blue square at night"
WHOLE = 6 * SEGMENT


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("models")
    pipe = tiny_pipeline.pipeline()
    pipe.save_pretrained(folder / "tiny")
    tiny_pipeline.network(pipe).proj_out.bias.data += 0.01
    pipe.save_pretrained(folder / "other")
    return folder


@pytest.fixture
def run(models: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    monkeypatch.chdir(tmp_path)
    return lambda verb, *options: main([verb, *map(str, options), "--device", "cpu", "--threads", "1"])


@pytest.fixture
def generate(run: Run, models: Path) -> Run:
    def run_it(frames: int, *options: object, prompt: str = PROMPTS) -> int:
        given = ("--out", "walk.mp4") if "--out" not in options else ()
        return run("generate", prompt, "--checkpoint", models / "tiny", "--frames", frames, *given, *options)

    return run_it


@pytest.fixture(scope="module")
def videos(models: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the video that was never stopped, and one of two segments, with their sessions."""
    folder = tmp_path_factory.mktemp("videos")
    for name, frames, prompt in (("whole", WHOLE, PROMPTS), ("short", 2 * SEGMENT, "a red circle")):
        options = ["--frames", str(frames), "--out", str(folder / f"{name}.mp4"), "--device", "cpu", "--threads", "1"]
        assert main(["generate", prompt, "--checkpoint", str(models / "tiny"), *options]) == 0
    return folder


@pytest.fixture
def whole(videos: Path) -> bytes:
    return (videos / "whole.mp4").read_bytes()


@pytest.fixture
def walk(videos: Path, run: Run) -> Path:
    """The unbroken video and its session, where the command runs."""
    return copied(videos / "whole.mp4")


@pytest.fixture
def short(videos: Path, run: Run) -> Path:
    return copied(videos / "short.mp4")


def copied(video: Path) -> Path:
    shutil.copy(video, "walk.mp4")
    shutil.copytree(session_folder(video), "walk.session")
    return Path("walk.mp4")


def times(path: Path) -> list[float]:
    with av.open(str(path)) as container:
        return [float(frame.time or 0) for frame in container.decode(video=0)]


@pytest.mark.parametrize("stop", [SEGMENT - 3, SEGMENT, 3 * SEGMENT + 5])
def test_going_on_equals_never_having_stopped(generate: Run, run: Run, whole: bytes, stop: int) -> None:
    assert generate(stop, prompt=PROMPTS if stop > 16 else "a red circle") == 0
    assert len(times(Path("walk.mp4"))) == stop
    change = () if stop > 16 else ("--prompt", PROMPTS.replace("16f", f"{16 - stop // SEGMENT * SEGMENT}f"))
    assert run("resume", "walk.mp4", "--frames", stop - 1) == 2
    assert run("resume", "walk.mp4") == 0
    assert len(times(Path("walk.mp4"))) == stop
    assert run("resume", "walk.mp4", "--frames", WHOLE, *change) == 0
    assert Path("walk.mp4").read_bytes() == whole
    assert times(Path("walk.mp4")) == [frame / 8 for frame in range(WHOLE)]


@pytest.fixture(scope="module")
def lora(models: Path) -> Path:
    model = tiny_pipeline.network(load_pipeline(models / "tiny"))
    model.add_adapter(LoraConfig(r=2, target_modules=["to_q", "to_v"], init_lora_weights="gaussian"))
    layers = {name: tensor + 0.1 for name, tensor in get_peft_model_state_dict(model).items()}
    MaltPipeline.save_lora_weights(models / "lora", transformer_lora_layers=layers)
    return models / "lora" / "pytorch_lora_weights.safetensors"


def test_a_video_made_with_a_lora_goes_on_with_it(
    generate: Run, run: Run, whole: bytes, lora: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert generate(WHOLE, "--lora", lora.parent) == 0
    made = Path("walk.mp4").read_bytes()
    assert made != whole
    assert generate(3 * SEGMENT, "--lora", lora, "--out", "cut.mp4") == 0
    assert run("resume", "cut.mp4", "--frames", WHOLE) == 0
    assert Path("cut.mp4").read_bytes() == made
    lora.rename("moved.safetensors")
    assert run("rewind", "cut.mp4", "--to", SEGMENT) == 2
    assert "is gone; say where it is, with --lora" in capsys.readouterr().err
    assert run("rewind", "cut.mp4", "--to", SEGMENT, "--lora", "moved.safetensors") == 0
    capsys.readouterr()
    assert run("inspect", "cut.mp4") == 0
    assert str(lora) in capsys.readouterr().out
    Path("moved.safetensors").rename(lora)


def test_a_video_with_a_negative_prompt_goes_on_with_it(
    generate: Run, run: Run, whole: bytes, capsys: pytest.CaptureFixture[str]
) -> None:
    away = "--negative-prompt", "a blue square"
    assert generate(WHOLE, *away) == 0
    made = Path("walk.mp4").read_bytes()
    assert made != whole
    assert generate(3 * SEGMENT, *away, "--out", "cut.mp4") == 0
    assert run("resume", "cut.mp4", "--frames", WHOLE) == 0
    assert Path("cut.mp4").read_bytes() == made
    capsys.readouterr()
    assert run("inspect", "cut.mp4") == 0
    assert "a blue square" in capsys.readouterr().out


def test_there_is_nothing_to_do_for_a_video_that_is_whole(
    walk: Path, run: Run, whole: bytes, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run("resume", "walk.mp4") == 0
    assert f"has {WHOLE} frames, all of them" in capsys.readouterr().err
    assert Path("walk.mp4").read_bytes() == whole


@pytest.mark.parametrize("frame", [SEGMENT, 2 * SEGMENT + 3, 5 * SEGMENT])
def test_rewinding_and_going_on_equals_the_original(walk: Path, run: Run, whole: bytes, frame: int) -> None:
    assert run("rewind", "walk.mp4", "--to", frame) == 0
    assert len(times(Path("walk.mp4"))) == frame // SEGMENT * SEGMENT
    assert run("resume", "walk.mp4") == 0
    assert Path("walk.mp4").read_bytes() == whole


def test_a_copy_can_be_rewound_and_the_video_left(walk: Path, run: Run, whole: bytes) -> None:
    assert run("rewind", "walk.mp4", "--to", 20, "--out", "copy.mp4") == 0
    assert Path("walk.mp4").read_bytes() == whole
    assert whole.startswith(Path("copy.mp4").read_bytes())
    assert len(times(Path("copy.mp4"))) == 16


def test_a_branch_of_the_same_seed_is_the_same_and_of_another_begins_the_same(
    walk: Path, run: Run, whole: bytes
) -> None:
    for out, options in (("same", ()), ("seed", ("--seed", 7)), ("prompt", ("--prompt", "a small pink cross"))):
        assert run("branch", "walk.mp4", "--at", 25, "--out", f"{out}.mp4", *options) == 0
    same, seed, prompt = (Path(f"{out}.mp4").read_bytes() for out in ("same", "seed", "prompt"))
    assert same == Path("walk.mp4").read_bytes() == whole
    assert run("rewind", "walk.mp4", "--to", 25) == 0
    common = Path("walk.mp4").read_bytes()
    for other in (seed, prompt):
        assert other != whole
        assert other.startswith(common)
    assert seed != prompt


@pytest.mark.parametrize(
    "verb", [("resume", "walk.mp4", "--frames", WHOLE + SEGMENT), ("branch", "walk.mp4", "--at", 40, "--out", "b.mp4")]
)
def test_what_the_model_remarks_of_a_new_prompt_is_said_once(
    verb: tuple[object, ...], walk: Path, run: Run, capsys: pytest.CaptureFixture[str]
) -> None:
    del walk
    assert run(*verb, "--prompt", "a red dragon" + " and two shapes" * 4) == 0
    said = capsys.readouterr().err
    assert said.count("the model does not know dragon") == 1
    assert said.count("is too long for the model") == 1


def test_a_branch_can_be_rewound_to_before_the_ways_parted(walk: Path, run: Run, whole: bytes) -> None:
    assert run("branch", "walk.mp4", "--at", 25, "--out", "other.mp4", "--seed", 7) == 0
    assert run("rewind", "other.mp4", "--to", 9) == 0
    assert whole.startswith(Path("other.mp4").read_bytes())


def test_a_session_of_another_model_is_refused_by_name_and_hash(
    short: Path, run: Run, models: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run("resume", "walk.mp4", "--frames", WHOLE, "--checkpoint", models / "other") == 1
    said = capsys.readouterr().err
    assert "was made by the model tiny (" in said
    assert "not by other (" in said


@pytest.mark.parametrize("ending", ["json", "safetensors"])
def test_a_damaged_session_is_said_in_a_sentence(
    short: Path, run: Run, capsys: pytest.CaptureFixture[str], ending: str
) -> None:
    for file in session_folder(Path("walk.mp4")).glob(f"*.{ending}"):
        content = file.read_bytes()
        file.write_bytes(content[:-60] + b"7" + content[-59:])
    assert run("resume", "walk.mp4", "--frames", WHOLE) == 1
    assert "the session walk.session is damaged" in capsys.readouterr().err.splitlines()[-1]


def test_a_cut_video_is_refused_with_the_way_back_which_works(
    walk: Path, run: Run, whole: bytes, capsys: pytest.CaptureFixture[str]
) -> None:
    os.truncate("walk.mp4", os.path.getsize("walk.mp4") - 100)
    assert run("resume", "walk.mp4", "--frames", WHOLE + SEGMENT) == 1
    assert "is cut at frame 40 of 48; malt rewind walk.mp4 --to 40 goes back there" in capsys.readouterr().err
    assert run("rewind", "walk.mp4", "--to", 40) == 0
    assert run("resume", "walk.mp4") == 0
    assert Path("walk.mp4").read_bytes() == whole


@pytest.mark.parametrize(
    ("verb", "options"),
    [
        ("resume", ["walk.mp4", "--frames", "48"]),
        ("rewind", ["walk.mp4", "--to", "8"]),
        ("generate", ["a red circle", "--out", "walk.mp4", "--overwrite"]),
        ("generate", ["a red circle", "--out", "new.mp4"]),
        ("branch", ["walk.mp4", "--at", "8", "--out", "new.mp4"]),
        ("rewind", ["walk.mp4", "--to", "8", "--out", "new.mp4"]),
    ],
)
def test_a_video_that_another_process_writes_is_left_to_it(
    short: Path, run: Run, capsys: pytest.CaptureFixture[str], verb: str, options: list[str]
) -> None:
    before = Path("walk.mp4").read_bytes()
    with video_lock(Path("walk.mp4" if "new.mp4" not in options else "new.mp4")):
        assert run(verb, *options) == 2
    assert "another process is writing" in capsys.readouterr().err.splitlines()[-1]
    assert Path("walk.mp4").read_bytes() == before and not Path("new.mp4").exists()


def test_what_is_only_read_is_opened_for_reading_alone(
    walk: Path, run: Run, whole: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In the place of files without the right to write, which stop no superuser."""
    real = os.open

    def open_only(path: str | Path, flags: int, *more: int) -> int:
        if Path(path).name == "walk.mp4" and flags & (os.O_WRONLY | os.O_RDWR):
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))
        return real(path, flags, *more)

    monkeypatch.setattr(os, "open", open_only)
    assert run("rewind", "walk.mp4", "--to", 20, "--out", "copy.mp4") == 0
    assert run("branch", "walk.mp4", "--at", 20, "--out", "other.mp4") == 0
    assert Path("other.mp4").read_bytes() == whole
    assert run("rewind", "walk.mp4", "--to", 20) == 2


def test_inspecting_says_the_seeds_that_generate_and_branch_took(
    walk: Path, run: Run, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run("branch", "walk.mp4", "--at", 24, "--out", "other.mp4", "--seed", 7) == 0
    assert run("branch", "other.mp4", "--at", 32, "--out", "third.mp4", "--seed", 9) == 0
    assert main(["inspect", "third.mp4"]) == 0
    seeds = [line.split(maxsplit=1)[1] for line in capsys.readouterr().out.splitlines() if line.startswith("seed")]
    assert seeds == ["from 0.0 s: 0", "from 3.0 s: 7", "from 4.0 s: 9"]


def test_a_video_that_is_not_the_sessions_is_left_alone(
    short: Path, run: Run, capsys: pytest.CaptureFixture[str]
) -> None:
    stranger = b"x" * 5000
    Path("walk.mp4").write_bytes(stranger)
    assert run("resume", "walk.mp4", "--frames", WHOLE) == 1
    assert "is not the video that its session wrote" in capsys.readouterr().err
    assert Path("walk.mp4").read_bytes() == stranger


@pytest.mark.parametrize(
    ("verb", "options", "complaint"),
    [
        ("resume", ["none.mp4"], "there is no session none.session"),
        ("resume", ["walk.mp4", "--frames", "3"], "has 16 frames already"),
        ("resume", ["walk.mp4", "--frames", "32", "--prompt", "a [9s] | b"], "the prompts last 73 frames"),
        ("resume", ["walk.mp4", "--frames", "32", "--prompt", " "], "the prompt is empty"),
        ("resume", ["walk.mp4", "--frames", "32", "--policy", "cruise"], "takes no actions"),
        ("rewind", ["walk.mp4", "--to", "3"], "nothing before frame 3"),
        ("rewind", ["walk.mp4", "--to", "99"], "give one from 0 to 16"),
        ("rewind", ["walk.mp4", "--to", "8", "--out", "walk.mp4"], "is the video itself"),
        ("branch", ["walk.mp4", "--at", "8", "--out", "b.mp4", "--frames", "8"], "the ways part at frame 8"),
        ("branch", ["walk.mp4", "--at", "8", "--out", "b.webm"], "ending"),
        (
            "branch",
            ["walk.mp4", "--at", "8", "--out", "b.mp4", "--policy", "weave", "--actions", "a"],
            "give one of them",
        ),
        ("generate", ["a red circle", "--out", "walk.mp4"], "exists"),
        ("generate", ["a red circle", "--out", "new.mp4", "--rollout", "mallt"], "did you mean 'malt'"),
    ],
)
def test_what_cannot_be_done_changes_nothing(
    short: Path, run: Run, capsys: pytest.CaptureFixture[str], verb: str, options: list[str], complaint: str
) -> None:
    before = {file: file.read_bytes() for file in Path().rglob("*.*") if file.is_file()}
    capsys.readouterr()
    assert run(verb, *options) == 2
    assert complaint in capsys.readouterr().err.splitlines()[-1]
    assert {file: file.read_bytes() for file in Path().rglob("*.*") if file.is_file()} == before


def test_a_session_is_only_kept_where_it_can_be_gone_on_with(generate: Run) -> None:
    assert generate(4, "--out", "walk.webm", prompt="a red circle") == 0
    assert generate(4, "--out", "alone.mp4", "--no-session", prompt="a red circle") == 0
    assert sorted(os.listdir()) == ["alone.mp4", "walk.webm"]


def test_a_session_that_was_kept_otherwise_is_said_so(
    short: Path, run: Run, models: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pipe = load_pipeline(models / "tiny")
    Session.begin(pipe, "a red circle").save(session_folder(short))
    for verb in (["inspect", "walk.mp4"], ["resume", "walk.mp4", "--frames", "64"]):
        assert main(verb) == 2
        assert "was not kept by malt generate" in capsys.readouterr().err


def test_inspecting_says_what_there_is(walk: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["inspect", "walk.mp4"]) == 0
    said = capsys.readouterr().out
    assert "48 frames (6.0 s) of 48 planned" in said
    assert "tiny (" in said
    assert "0.0 s to 2.0 s: a red circle" in said
    assert "2.0 s to 6.0 s: a blue square at night" in said
    assert "at frames 8, 16, 24, 32, 40, 48" in said


def test_a_picture_by_no_thread_is_refused(short: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["inspect", "walk.mp4", "--picture", "a.png", "--threads", "0"]) == 2
    assert "asked for 0 as --threads" in capsys.readouterr().err


def test_the_memorys_picture_is_drawn_with_a_column_for_each_segment(walk: Path, run: Run) -> None:
    for name, segments in (("two", 2), ("six", 9)):
        assert run("inspect", "walk.mp4", "--picture", f"{name}.png", "--segments", segments) == 0
    pictures = [np.asarray(Image.open(f"{name}.png").convert("RGB")).astype(int) for name in ("two", "six")]
    dark = [int((pixels[..., 2] - pixels[..., 0] > 60).sum()) for pixels in pictures]
    assert dark[1] > dark[0] > 0


def test_a_run_without_end_is_stopped_and_kept(
    run: Run, models: Path, monkeypatch: pytest.MonkeyPatch, whole: bytes
) -> None:
    real, calls = RunReport.add_segment, []

    def add_segment(self: RunReport, **figures: int) -> None:
        real(self, **figures)
        calls.append(figures)
        if len(calls) == 2:
            os.kill(os.getpid(), signal.SIGINT)

    monkeypatch.setattr(RunReport, "add_segment", add_segment)
    options = ("--checkpoint", models / "tiny", "--forever", "--out", "walk.mp4")
    assert run("generate", PROMPTS, *options) == 0
    assert len(times(Path("walk.mp4"))) == 2 * SEGMENT
    assert run("resume", "walk.mp4", "--frames", WHOLE) == 0
    assert Path("walk.mp4").read_bytes() == whole


def run_and_kill(arguments: list[str], moment: float | None) -> tuple[bool, float]:
    """Run the command in a process of its own, and kill it `moment` seconds after its first session was saved.

    Gives whether it was still at work, and how many seconds after that it ended.
    """
    for file in [*Path("walk.session").glob("*"), *Path().glob("walk.mp4")]:
        file.unlink()
    child = os.fork()
    if child == 0:
        torch.set_num_threads(1)
        os._exit(main(arguments))
    began = time.monotonic()
    while not Path("walk.session/session.json").is_file() and time.monotonic() < began + 60:
        time.sleep(0.001)
    saved = time.monotonic()
    if moment is not None:
        time.sleep(moment)
        os.kill(child, signal.SIGKILL)
    status = os.waitpid(child, 0)[1]
    assert os.WIFSIGNALED(status) or status == 0, "the run failed by itself"
    return os.WIFSIGNALED(status), time.monotonic() - saved


def check_kills(run: Run, models: Path, whole: bytes, num_kills: int) -> None:
    """Kill a run again and again, at random moments, going on each time: the video is the unbroken one."""
    chance, frames = random.Random(num_kills), set[int]()
    options = ["--frames", str(WHOLE), "--out", "walk.mp4", "--overwrite", "--device", "cpu", "--threads", "1"]
    begin = ["generate", PROMPTS, "--checkpoint", str(models / "tiny"), *options]
    lasts = run_and_kill(begin, None)[1]
    for kill in range(num_kills):
        while not run_and_kill(begin, chance.uniform(0, lasts))[0]:
            continue  # it had ended before
        saved = json.loads(Path("walk.session/session.json").read_text())["session"]["num_frames"]
        frames.add(saved)
        assert run("resume", "walk.mp4") == 0, kill
        assert Path("walk.mp4").read_bytes() == whole, f"kill {kill}, at frame {saved}"
    assert len(frames) > num_kills // 10


def test_a_killed_run_goes_on_as_if_it_had_never_stopped(run: Run, models: Path, whole: bytes) -> None:
    check_kills(run, models, whole, num_kills=3)


@pytest.mark.slow
def test_twenty_killed_runs_go_on_as_if_they_had_never_stopped(run: Run, models: Path, whole: bytes) -> None:
    check_kills(run, models, whole, num_kills=20)


@pytest.mark.parametrize("swapped", ["walk.mp4", "walk.session"])
def test_a_video_and_a_session_of_another_are_not_joined(
    walk: Path, videos: Path, run: Run, models: Path, capsys: pytest.CaptureFixture[str], swapped: str
) -> None:
    options = ["--checkpoint", models / "tiny", "--frames", WHOLE, "--out", "twin.mp4", "--seed", 5]
    assert run("generate", PROMPTS, *options) == 0
    Path(swapped).rename("away")
    Path(swapped.replace("walk", "twin")).rename(swapped)
    before = Path("walk.mp4").read_bytes()
    for verb in (
        ["resume", "--frames", WHOLE + SEGMENT],
        ["rewind", "--to", 9],
        ["rewind", "--to", 9, "--out", "new.mp4"],
    ):
        assert run(verb[0], "walk.mp4", *verb[1:]) == 1
        assert "is not the video of its session" in capsys.readouterr().err
    assert Path("walk.mp4").read_bytes() == before and not Path("new.mp4").exists()


def test_a_rewound_and_a_branched_video_are_still_their_sessions(walk: Path, run: Run) -> None:
    assert run("branch", "walk.mp4", "--at", 25, "--out", "other.mp4", "--seed", 7) == 0
    for video in ("walk.mp4", "other.mp4"):
        assert run("rewind", video, "--to", 20) == 0
        assert run("resume", video, "--frames", WHOLE) == 0
        assert run("resume", video, "--frames", WHOLE + 3) == 0
        assert run("resume", video, "--frames", WHOLE + SEGMENT) == 0


def test_a_lost_video_is_made_again_bit_for_bit(
    walk: Path, run: Run, whole: bytes, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run("remake", "walk.mp4") == 2
    assert "walk.mp4 exists" in capsys.readouterr().err
    Path("walk.mp4").unlink()
    assert run("remake", "walk.mp4") == 0
    assert "made 48 frames of walk.mp4 again, bit for bit as before" in capsys.readouterr().err
    assert Path("walk.mp4").read_bytes() == whole
    assert run("resume", "walk.mp4", "--frames", WHOLE + 3) == 0
    longer = Path("walk.mp4").read_bytes()
    Path("walk.mp4").write_bytes(b"damaged")
    assert run("remake", "walk.mp4", "--overwrite") == 0
    assert Path("walk.mp4").read_bytes() == longer


def test_a_damaged_snapshot_costs_itself_alone(
    walk: Path, run: Run, whole: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    files = sorted(session_folder(walk).glob("0*.safetensors"))
    for damaged in (files[2], files[-1]):
        damaged.write_bytes(damaged.read_bytes()[:-9])
        assert run("rewind", "walk.mp4", "--to", 44, "--out", f"{damaged.stem}.mp4") == 0 or damaged == files[-1]
        assert "is damaged" in caplog.text
    assert run("resume", "walk.mp4") == 0
    assert Path("walk.mp4").read_bytes() == whole
