"""Laws of worlds: training, metrics and commands take any of them, and know none by name."""

import io
import tokenize
from pathlib import Path

import pytest
import torch
from PIL import Image
from torch import Tensor

import malt
import tiny
import tiny_pipeline
import tiny_world
from malt.cli import main
from malt.data.world_dataset import latent_returns
from malt.errors import UsageError
from malt.evaluation.evaluated_model import MemoryUse, Request
from malt.evaluation.metrics.boundaries import Boundaries
from malt.evaluation.metrics.drift import Drift
from malt.evaluation.metrics.features import imagenet_network
from malt.evaluation.metrics.frechet import Frechet
from malt.evaluation.metrics.prediction import Prediction
from malt.evaluation.metrics.recall import Recall
from malt.evaluation.reference import actions_of, seeds_of, true_actions
from malt.evaluation.result import summarise
from malt.training.sources.data_source import VideoFormat
from malt.training.sources.worlds import WorldSource, WorldVideoSet, check_world
from malt.worlds.base import Oracle, World
from malt.worlds.registry import WORLDS, open_world
from tiny_world import GIVEN, PERIOD, DarkLamp, Lamp
from world_evaluated_models import Make, WorldModel

NAMED_BY = {"worlds/registry.py", "training/recipes.py"}  # and by its own folder


@pytest.fixture(autouse=True)
def lamp(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> World:
    """The second world, by its line in the registry; no measuring data are there."""
    monkeypatch.setitem(WORLDS, "lamp", "tiny_world:Lamp")
    monkeypatch.setitem(WORLDS, "dark", "tiny_world:DarkLamp")
    monkeypatch.setenv("MALT_DATA", str(tmp_path / "nothing"))
    imagenet_network.cache_clear()
    return open_world("lamp")


def made_by(world: World, make: Make) -> WorldModel:
    return WorldModel(make=make, frame_rate=world.frame_rate, frame_size=world.frame_size)


def true_video(world: World, start: int) -> Make:
    def make(request: Request, num_frames: int, memory: MemoryUse) -> Tensor:
        return world.render(seeds_of(len(request.captions), request.seed), start, num_frames).frames

    return make


@pytest.mark.parametrize("name", ["passage", "lamp", "dark"])
def test_a_world_is_what_the_protocol_says_and_any_stretch_of_it_is_always_the_same(name: str) -> None:
    world = open_world(name)
    assert isinstance(world, World)
    assert world.name == name
    assert world.oracle is None or isinstance(world.oracle, Oracle)
    whole = world.render([7, 3], 0, 12)
    assert whole.frames.shape == (2, 12, 3, *world.frame_size)
    assert whole.frames.abs().max() <= 1
    alone = world.render([3], 4, 8)
    torch.testing.assert_close(alone.frames[0], whole.frames[1, 4:])
    if whole.actions is not None and alone.actions is not None:
        assert whole.actions.shape[2] == len(world.action_names)
        assert torch.equal(alone.actions[0], whole.actions[1, 4:])
    said = {word for caption in world.captions(range(30), range(30)) for word in caption.split()}
    assert said | set(world.plain_caption.split()) <= set(world.words)


def test_only_its_folder_the_registry_and_recipes_name_a_world() -> None:
    source = Path(malt.__file__).parent
    naming = set()
    for path in source.rglob("*.py"):
        words = tokenize.generate_tokens(io.StringIO(path.read_text(encoding="utf-8")).readline)
        if any("passage" in token.string.lower() for token in words):
            naming.add(path.relative_to(source).as_posix())
    assert {path for path in naming if not path.startswith("worlds/passage/")} <= NAMED_BY


def test_a_world_that_is_not_there_is_answered_with_the_nearest() -> None:
    with pytest.raises(UsageError, match="there is no world 'lam'; did you mean 'lamp'"):
        open_world("lam")


def test_recall_tells_who_remembers_the_lamp_in_any_world(lamp: World) -> None:
    def remembered(request: Request, num_frames: int, memory: MemoryUse) -> Tensor:
        first = 0 if memory == "kept" else 1  # another's video: the lamp has another colour
        return lamp.render(seeds_of(len(request.captions) + first, request.seed)[first:], GIVEN, num_frames).frames

    model = made_by(lamp, remembered)
    model.has_memory = True
    figures = summarise([Recall(world=lamp, per_bin=3).run(model, seed=0)])["figures"]
    assert figures["same, memory as it is"]["mean"] == 1
    assert figures["same colour, memory emptied"]["mean"] == 0
    assert figures["came out, memory emptied"]["mean"] == 1
    assert figures[f"same after {PERIOD}-{PERIOD} hidden frames"]["n"] == 3


def test_drift_reads_the_signs_of_any_world(lamp: World) -> None:
    metric = Drift(world=lamp, num_videos=2, num_frames=128, reference_clips=8)
    whole = summarise([metric.run(made_by(lamp, true_video(lamp, 0)), seed=0)])["figures"]
    assert whole["lit frames kept"]["mean"] == pytest.approx(1)
    assert whole["lit frames, last"]["mean"] == 0.5

    def dark(request: Request, num_frames: int, memory: MemoryUse) -> Tensor:
        videos = lamp.render(seeds_of(2, request.seed), 0, num_frames).frames.clone()
        videos[:, 64:] = 0
        return videos

    assert summarise([metric.run(made_by(lamp, dark), seed=0)])["figures"]["lit frames kept"]["mean"] == 0


def test_who_acts_in_a_world_is_told_what_is_done_before_and_after_the_given_frames(lamp: World) -> None:
    asked: list[Request] = []

    def make(request: Request, num_frames: int, memory: MemoryUse) -> Tensor:
        asked.append(request)
        return torch.zeros(len(request.captions), num_frames, 3, *lamp.frame_size)

    model = made_by(lamp, make)
    model.action_names = ("push",)
    Prediction(world=lamp, num_videos=1, given=4, horizon=12).run(model, seed=0)
    Recall(world=lamp, per_bin=1).run(model, seed=0)
    assert [each.actions.shape[1:] for each in asked if each.actions is not None] == [(16, 1), (GIVEN + PERIOD, 1)]


def test_who_acts_in_a_world_does_what_is_done_in_its_videos_in_every_metric(lamp: World) -> None:
    asked: list[tuple[Request, int]] = []

    def make(request: Request, num_frames: int, memory: MemoryUse) -> Tensor:
        asked.append((request, num_frames))
        return true_video(lamp, 0)(request, num_frames, memory)

    model = made_by(lamp, make)
    model.action_names = ("push",)
    Boundaries(world=lamp, num_videos=2, num_frames=32).run(model, seed=0)
    Frechet(world=lamp, num_videos=2, num_frames=16).run(model, seed=0)
    Drift(world=lamp, num_videos=2, num_frames=128, reference_clips=8).run(model, seed=0)
    assert [num_frames for _, num_frames in asked] == [32, 16, 128]
    for request, num_frames in asked:
        true = lamp.render(seeds_of(2, 0), 0, num_frames).actions
        assert true is not None and request.actions is not None
        assert torch.equal(request.actions, true[..., 1:])


@pytest.mark.parametrize(("per_bin", "tried"), [(1, {"kept", "emptied"}), (2, {"kept", "emptied", "swapped"})])
def test_another_memory_is_tried_only_where_there_is_another(lamp: World, per_bin: int, tried: set[str]) -> None:
    uses = set[str]()

    def make(request: Request, num_frames: int, memory: MemoryUse) -> Tensor:
        uses.add(memory)
        return torch.zeros(len(request.captions), num_frames, 3, *lamp.frame_size)

    model = made_by(lamp, make)
    model.has_memory = True
    notes = Recall(world=lamp, per_bin=per_bin).run(model, seed=0).notes
    assert uses == tried
    assert any("another's memory was not tried" in note for note in notes) == (per_bin == 1)


def test_actions_of_a_scripted_world_are_those_of_its_videos() -> None:
    maze = open_world("maze")
    true = true_actions(maze, [maze.render([3, 5], 0, 8)], ("walk", "turn"))
    assert true is not None
    assert torch.equal(actions_of(maze, [3, 5], 8, ("walk", "turn")), true)
    assert actions_of(maze, [3], 8, ("steering",)) is None


def test_a_world_without_an_oracle_is_refused_by_metrics_that_need_one_and_taken_by_the_others() -> None:
    dark = open_world("dark")
    for metric in (Recall, Drift):
        with pytest.raises(UsageError, match="needs an oracle, and the world dark has none"):
            metric(world=dark)
    with pytest.raises(UsageError, match="the world dark has no features"):
        Frechet(world=dark)
    model = made_by(dark, true_video(dark, 64))
    found = Prediction(world=dark, num_videos=1, given=4, horizon=8).run(model, seed=0)
    assert set(found.samples) == {
        f"{name}{line}" for name in ("PSNR", "SSIM") for line in ("", ", last true frame kept")
    }
    assert Boundaries(world=dark, num_videos=1, num_frames=32).run(model, seed=0).samples["border"]


def source(world: World, folder: Path, actions: tuple[str, ...] = ("push",)) -> WorldSource:
    videos = WorldVideoSet(num_videos=3, num_frames=64, return_share=1.0, num_held_out=1, actions=actions)
    return WorldSource(world, folder, videos, clip_frames=8, seed=0, log=lambda said: None)


def test_training_takes_windows_actions_and_captions_from_any_world(lamp: World, tmp_path: Path) -> None:
    autoencoder = tiny_pipeline.autoencoder(latent_mean=(0.0,) * 3, latent_std=(1.0,) * 3)
    given = source(lamp, tmp_path)
    assert given.clips("cpu").clips(0, 2).shape == (2, 8, 3, 16, 16)
    given.describe(autoencoder)
    assert (tuple(autoencoder.config.frame_size), autoencoder.config.frame_rate) == ((16, 16), 8.0)
    data = given.training_data(autoencoder)
    batch = data.examples(0, 4, 3, 1, 0.0)
    assert batch.latents.shape == (4, 4, tiny.CHANNELS, 2, 2)
    assert batch.actions is not None
    assert batch.actions.shape == (4, 4, 4)  # of two actions the one that the model takes, of four video frames
    assert data.words == lamp.words
    again = source(lamp, tmp_path).training_data(autoencoder).examples(0, 4, 3, 1, 0.0)  # from the file
    assert torch.equal(batch.latents, again.latents)
    assert torch.equal(batch.actions, again.actions if again.actions is not None else torch.zeros(0))
    held_out = data.held_out()
    assert held_out is not None and held_out.longest == 16
    assert source(lamp, tmp_path, actions=()).training_data(autoencoder).examples(0, 1, 3, 1, 0.0).actions is None


def test_a_return_is_in_the_latent_frame_that_shows_it(lamp: World) -> None:
    assert [frame for video, frame in latent_returns(lamp, [0], 12)] == [4, 8]


@pytest.mark.parametrize(
    ("asked", "said"),
    [
        (VideoFormat((64, 64), 8.0), "the world lamp has frames of 16x16, 8 a second"),
        (VideoFormat((16, 16), 8.0, ("pull",)), "the world lamp has no action pull; name some of rest, push"),
    ],
)
def test_training_refuses_what_the_world_has_not(lamp: World, asked: VideoFormat, said: str) -> None:
    with pytest.raises(UsageError, match=said):
        check_world(lamp, asked, 64, 4)


def test_a_share_of_returns_needs_an_oracle(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="the world dark has none"):
        source(DarkLamp(), tmp_path)


def test_the_command_world_shows_any_world(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "lamp.png"
    shown = ["--scenes", "2", "--frames", "16", "--columns", "2", "--out", str(out)]
    assert main(["world", "lamp", "--oracle", *shown]) == 0
    assert Image.open(out).size[0] > 2 * 2 * tiny_world.SIDE
    assert main(["world", "dark", "--oracle", *shown, "--overwrite"]) == 2
    assert "--oracle needs an oracle, and the world dark has none" in capsys.readouterr().err


@pytest.mark.slow
def test_a_model_is_trained_in_the_second_world_and_measured_there(tmp_path: Path) -> None:
    run = tmp_path / "run"
    asked = ["--world", "lamp", "--frame-size", "16", "16", "--frame-rate", "8", "--actions", "push"]
    assert main(["train", "tiny", *asked, "--out", str(run), "--device", "cpu"]) == 0
    measured = ["--world", "lamp", "--metrics", "recall,prediction,boundaries", "--quick", "--count", "2"]
    assert main(["evaluate", str(run / "pipeline"), *measured, "--device", "cpu", "--out", str(tmp_path / "seen")]) == 0
    assert isinstance(open_world("lamp"), Lamp)
    assert (tmp_path / "seen" / "index.html").is_file()
