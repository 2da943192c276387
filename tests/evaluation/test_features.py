"""Laws of the features, of the distances made of them, and of the door for I3D."""

import hashlib
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from malt.errors import UsageError
from malt.evaluation.metrics.features import (
    ImageNetDifferences,
    ImageNetFrames,
    available_features,
    imagenet_network,
)
from malt.evaluation.metrics.frechet import Frechet
from malt.evaluation.metrics.frechet_distance import frechet_of
from malt.evaluation.metrics.fvd import Fvd
from malt.evaluation.metrics.i3d import load_i3d
from malt.evaluation.registry import Extent, build_metrics
from malt.worlds.drive.recordings import data_folder
from malt.worlds.passage.scenes import KINDS, fully_visible, render, sample_scenes
from malt.worlds.passage.world_features import WorldClips, WorldVideos, load_world_features, weights_path, windows
from world_evaluated_models import PASSAGE, WorldModel, of_asked_scenes, spoilt

NUM = 24


def films(seed: int = 70_000_000, num: int = NUM) -> Tensor:
    return render(sample_scenes(num, seed), 100, 32)


def noisy(videos: Tensor, scale: float) -> Tensor:
    return videos + scale * torch.randn(videos.shape, generator=torch.Generator().manual_seed(0))


def test_windows_lie_side_by_side_and_leave_out_what_fills_none() -> None:
    videos = torch.arange(2 * 35.0).view(2, 35, 1, 1, 1).expand(-1, -1, 3, 4, 4)
    cut = windows(videos)
    assert cut.shape == (4, 16, 3, 4, 4)
    assert cut[:, 0, 0, 0, 0].tolist() == [0, 16, 35, 51]
    with pytest.raises(ValueError, match="a window has 16"):
        windows(videos[:, :15])


def test_the_network_that_ships_knows_the_kinds_of_scenes_it_never_saw() -> None:
    scenes = sample_scenes(96, seed=71_000_000)
    with torch.no_grad():
        network = load_world_features()
        answers = network.answers(network(render(scenes, 200, 16)))
    seen = fully_visible(scenes, 200, 16).sum(1) >= 8
    right = [
        (answers[f"{lane}_kind"].argmax(1) == scenes.kind[:, n])[seen[:, n]]
        for n, lane in enumerate(("upper", "lower"))
    ]
    assert torch.cat(right).float().mean() > 2 / len(KINDS)
    assert weights_path().stat().st_size < 2 * 2**20


def test_spoilt_films_are_further_away_than_films_of_other_scenes() -> None:
    real, other = films(), films(seed=72_000_000)
    for features in (WorldClips(), WorldVideos()):
        floor, spoilt_a_lot = (frechet_of(features(real), features(noisy(other, scale))) for scale in (0.0, 1.0))
        assert 0 < floor < spoilt_a_lot
    assert WorldClips()(films(num=2)).shape == (4, 64)
    assert WorldVideos()(films(num=2)).shape == (2, 128)


def test_the_metric_tells_films_from_noise() -> None:
    metric = Frechet(world=PASSAGE, num_videos=6, num_frames=32)
    name = WorldClips().name
    good = metric.run(WorldModel(make=of_asked_scenes), seed=0).whole
    bad = metric.run(WorldModel(make=spoilt(lambda videos: noisy(videos, 1.0))), seed=0).whole
    assert good[f"floor, {name}"] == bad[f"floor, {name}"] > 0
    assert bad[name] > good[name]


def test_without_the_imagenet_network_a_sentence_says_so(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("MALT_DATA", str(tmp_path))
    imagenet_network.cache_clear()
    try:
        features, notes = available_features(PASSAGE)
        assert data_folder() == tmp_path
        assert [each.name for each in features] == [WorldClips().name, WorldVideos().name]
        assert "set MALT_DATA" in notes[0]
    finally:
        imagenet_network.cache_clear()


def test_frames_and_differences_go_through_the_network_a_few_from_each_video() -> None:
    def network(frames: Tensor) -> Tensor:
        return frames.mean((2, 3))

    videos = torch.linspace(-1, 1, 17)[None, :, None, None, None].expand(2, -1, 3, 4, 4)
    assert ImageNetFrames(network)(videos)[:, 0].tolist() == pytest.approx([-1, 0, 1] * 2)
    assert ImageNetDifferences(network)(videos)[:, 0].tolist() == pytest.approx([0.125] * 4)


class StandIn(nn.Module):
    """Takes clips (n, 3, t, h, w), as I3D does, and hands back 4 features."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv3d(3, 4, kernel_size=(2, 8, 8), stride=(8, 56, 56))

    def forward(self, clips: Tensor) -> Tensor:
        return self.conv(clips).mean((2, 3, 4))


class FramesFirst(StandIn):
    def forward(self, clips: Tensor) -> Tensor:
        return self.conv(clips.transpose(1, 2)).mean((2, 3, 4))


class OwnScaling(StandIn):
    """As StyleGAN-V's file: scales clips of any size with values from 0 to 255 itself."""

    def forward(
        self, clips: Tensor, rescale: bool = False, resize: bool = False, return_features: bool = False
    ) -> Tensor:
        assert rescale and resize and return_features
        values = clips / 127.5 - 1
        scaled = nn.functional.interpolate(values, (values.shape[2], 224, 224), mode="trilinear", align_corners=False)
        return self.conv(scaled).mean((2, 3, 4))


def saved(module: nn.Module, path: Path) -> Path:
    torch.manual_seed(0)
    for parameter in module.parameters():
        nn.init.normal_(parameter, std=0.1)
    torch.jit.script(module).save(str(path))
    return path


@pytest.mark.parametrize(
    ("module", "layout", "scales"),
    [(StandIn(), "n c t h w", False), (FramesFirst(), "n t c h w", False), (OwnScaling(), "n c t h w", True)],
)
def test_an_i3d_file_is_asked_as_it_wants_to_be(module: nn.Module, layout: str, scales: bool, tmp_path: Path) -> None:
    path = saved(module, tmp_path / "i3d.pt")
    i3d = load_i3d(path)
    assert (i3d.layout, i3d.scales_itself) == (layout, scales)
    assert i3d.sha256 == hashlib.sha256(path.read_bytes()).hexdigest()
    clips = films(num=2)[:, :16]
    plain = load_i3d(saved(StandIn(), tmp_path / "plain.pt"))
    assert torch.allclose(i3d(clips), plain(clips), atol=0.02)  # the same network, however it is asked


def test_what_is_no_i3d_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "text.pt").write_text("no network")
    linear = torch.jit.script(nn.Linear(2, 2))
    linear.save(str(tmp_path / "linear.pt"))
    for name, said in (("none.pt", "no file"), ("text.pt", "no TorchScript"), ("linear.pt", "takes no clips")):
        with pytest.raises(UsageError, match=said):
            load_i3d(tmp_path / name)


def test_clips_are_as_long_as_the_protocol_has_them_and_short_ones_where_it_must_be_quick(tmp_path: Path) -> None:
    path = saved(StandIn(), tmp_path / "i3d.pt")
    careful, quick = (
        build_metrics(["fvd"], Extent(world=PASSAGE, i3d=path, quick=quick))[0].settings() for quick in (False, True)
    )
    assert (careful["clips"], careful["frames"], careful["stride"], careful["side"]) == (2048, [16, 128], 1, 224)
    assert quick["frames"] == [16]


def test_a_single_video_has_no_frechet_distance(tmp_path: Path) -> None:
    path = saved(StandIn(), tmp_path / "i3d.pt")
    for name in ("frechet", "fvd"):
        with pytest.raises(UsageError, match="at least 2 videos"):
            build_metrics([name], Extent(world=PASSAGE, i3d=path, count=1))


def test_fvd_is_told_with_its_network_and_with_n(tmp_path: Path) -> None:
    metric = Fvd(world=PASSAGE, i3d=saved(StandIn(), tmp_path / "i3d.pt"), num_videos=6, lengths=(16, 24))
    outcome = metric.run(WorldModel(), seed=0)
    assert set(outcome.whole) == set(metric.headlines)
    assert all(value >= 0 for value in outcome.whole.values())
    assert outcome.whole["FVD, 16 frames"] != outcome.whole["FVD, 24 frames"]
    assert metric.settings()["sha256"] == load_i3d(metric.i3d).sha256
    assert any("the protocol asks for 2048" in note for note in outcome.notes)
