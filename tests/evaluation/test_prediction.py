"""Laws of prediction, boundaries and cost, on models whose answer is known."""

from pathlib import Path

import pytest
import torch
from torch import Tensor

from malt.errors import UsageError
from malt.evaluation.evaluated_model import MemoryUse, Request
from malt.evaluation.metrics.boundaries import Boundaries, jumps
from malt.evaluation.metrics.cost import Cost, resident_bytes
from malt.evaluation.metrics.features import features_of_moments
from malt.evaluation.metrics.prediction import FROZEN, START, Prediction, distances, psnr, ssim
from malt.evaluation.reference import seeds_of, true_videos
from malt.evaluation.result import summarise
from malt.media.pixels import to_pixels
from malt.media.video_writer import VideoSink
from malt.worlds.drive.recordings import driving_files, driving_windows
from malt.worlds.passage.scenes import SIZE
from world_evaluated_models import PASSAGE, SEGMENT, WorldModel

GIVEN, HORIZON = 4, 16


def true_future(request: Request, num_frames: int, memory: MemoryUse) -> Tensor:
    return true_videos(PASSAGE, seeds_of(len(request.captions), request.seed), START + GIVEN, num_frames, (SIZE, SIZE))


def last_frame(request: Request, num_frames: int, memory: MemoryUse) -> Tensor:
    assert request.first is not None
    return request.first[:, -1:].expand(-1, num_frames, -1, -1, -1)


def test_psnr_is_that_of_the_known_error() -> None:
    true = torch.zeros(1, 2, 3, 16, 16)
    made = true + torch.tensor([0.2, 0.02])[None, :, None, None, None]
    assert psnr(made, true).tolist() == [pytest.approx([20, 40])]
    assert psnr(true, true).tolist() == [[100, 100]]


def test_structure_is_like_itself_and_unlike_noise() -> None:
    frames = torch.rand(1, 2, 3, 32, 32, generator=torch.Generator().manual_seed(0)) * 2 - 1
    assert ssim(frames, frames).tolist() == [pytest.approx([1, 1])]
    assert ssim(frames.flip(1), frames).max() < 0.3


def test_who_knows_the_future_has_no_error_at_any_horizon() -> None:
    outcome = Prediction(world=PASSAGE, num_videos=2, given=GIVEN, horizon=HORIZON).run(
        WorldModel(make=true_future), seed=0
    )
    curves = {(curve.chart, curve.line): curve for curve in outcome.curves}
    assert curves["PSNR", ""].x == [float(n + 1) for n in range(HORIZON)]
    assert all(value == 100 for values in curves["PSNR", ""].samples for value in values)
    assert outcome.samples["feature distance"] == pytest.approx([0, 0], abs=1e-4)
    assert min(outcome.samples[f"PSNR, {FROZEN}"]) < 60  # in the other film both shapes are hidden


def test_who_keeps_the_last_frame_is_as_good_as_the_line_that_says_so() -> None:
    outcome = Prediction(world=PASSAGE, num_videos=2, given=GIVEN, horizon=HORIZON).run(
        WorldModel(make=last_frame), seed=0
    )
    for figure in ("PSNR", "SSIM", "feature distance"):
        assert outcome.samples[figure] == outcome.samples[f"{figure}, {FROZEN}"]


def test_the_error_of_a_still_picture_grows_with_the_horizon() -> None:
    films = true_videos(PASSAGE, seeds_of(4, 0), START, 64, (SIZE, SIZE))
    _, values = distances(films[:, :1].expand_as(films), films, features_of_moments(PASSAGE))["PSNR"]
    assert values[:, 1:5].mean() > values[:, -5:].mean()


def test_driving_is_cut_into_windows_with_what_was_done(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "donkeycar" / "valid"
    folder.mkdir(parents=True)
    for name, num in (("long", 12), ("short", 3)):
        with VideoSink(folder / f"{name}.mp4", frame_rate=20) as sink:
            sink.write(to_pixels(torch.zeros(num, 3, 32, 32)))
        rows = "".join(f"{n / 100},-0.5\n" for n in range(num))
        (folder / f"{name}.actions.csv").write_text("steering,throttle\n" + rows)
    monkeypatch.setenv("MALT_DATA", str(tmp_path))
    windows = driving_windows(1, 10, (16, 16), 0, driving_files())
    assert windows.frames.shape == (1, 10, 3, 16, 16)
    assert windows.actions[0, 3].tolist() == pytest.approx([0.03, -0.5])
    assert len(driving_windows(2, 10, (16, 16), 0, driving_files()).frames) == 1
    with pytest.raises(UsageError, match="none of the 2 true drives has 13 frames"):
        driving_windows(2, 13, (16, 16), 0, driving_files())


def stepping(request: Request, num_frames: int, memory: MemoryUse) -> Tensor:
    """Grows by 0.001 a frame, and by 0.005 at the border of segments."""
    borders = torch.arange(num_frames) // SEGMENT
    values = 0.001 * torch.arange(num_frames) + 0.004 * borders
    return values[None, :, None, None, None].expand(len(request.captions), -1, 3, 8, 8)


def test_a_jump_at_segment_borders_is_told_from_motion_inside() -> None:
    model = WorldModel(make=stepping)
    border, inside = jumps(model.begin(Request(captions=["a"] * 2)).stream(64))
    assert border.tolist() == pytest.approx([0.005] * 2, rel=1e-3)
    assert inside.tolist() == pytest.approx([0.001] * 2, rel=1e-3)
    ratio = summarise([Boundaries(world=PASSAGE, num_videos=2, num_frames=64).run(model, 0)])["figures"][
        "border over inside"
    ]
    assert (ratio["mean"], ratio["n"]) == (pytest.approx(5, rel=1e-3), 2)


def test_a_video_of_one_segment_has_no_borders() -> None:
    outcome = Boundaries(world=PASSAGE, num_videos=1, num_frames=SEGMENT).run(WorldModel(make=stepping), 0)
    assert "border" not in outcome.samples
    assert "no border" in outcome.notes[0]


class Clock:
    """Goes on by what `cost` says at every segment."""

    def __init__(self, growth: float) -> None:
        self.now, self._growth = 0.0, growth

    def __call__(self) -> float:
        return self.now

    def tick(self, start: int) -> None:
        self.now += 1 + self._growth * start


@pytest.mark.parametrize(("growth", "ratio"), [(0.0, 1.0), (0.1, 27.4 / 8.2)])
def test_cost_is_flat_or_grows_as_the_clock_says(growth: float, ratio: float) -> None:
    clock = Clock(growth)
    model = WorldModel(make=stepping, between=clock.tick)
    whole = Cost(world=PASSAGE, lengths=(64, 128, 256), clock=clock).run(model, 0).whole
    assert whole["seconds for one more second, longest over shortest"] == pytest.approx(ratio, rel=0.05)
    if growth == 0:
        assert whole["seconds a frame at 256 frames"] == pytest.approx(1 / SEGMENT)
    assert whole["memory, MiB"] == 1


def test_who_must_begin_anew_pays_for_the_whole_video_and_stops_at_the_limit() -> None:
    clock = Clock(0.0)
    model = WorldModel(make=stepping, between=clock.tick, extends=False)
    outcome = Cost(world=PASSAGE, lengths=(64, 128, 256), clock=clock, limit_s=7).run(model, 0)
    (seconds,) = [curve for curve in outcome.curves if curve.chart == "seconds for one more second"]
    assert (seconds.x, seconds.samples) == ([64.0, 128.0], [[5.0], [9.0]])
    assert outcome.whole["seconds for one more second at 128 frames"] == 9
    assert outcome.whole["seconds a frame at 64 frames"] == pytest.approx(5 / 80)
    assert any("ended at 128 frames" in note for note in outcome.notes)


def test_a_process_holds_something() -> None:
    assert resident_bytes() > 2**20
