"""Laws of the prediction of true driving, by models that take actions."""

from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from torch import Tensor

from malt.evaluation.evaluated_model import MemoryUse, Request
from malt.evaluation.metrics.features import imagenet_network
from malt.evaluation.metrics.prediction import FROZEN, Prediction
from malt.evaluation.result import summarise
from malt.media.pixels import to_pixels
from malt.media.video_writer import VideoSink
from world_evaluated_models import PASSAGE, WorldModel

GIVEN, HORIZON = 2, 16
SIDE = 64


def brightening() -> Tensor:
    return torch.linspace(-1, 0.5, GIVEN + HORIZON)[:, None, None, None].expand(-1, 3, SIDE, SIDE)


@pytest.fixture
def drives(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Two drives that become brighter from frame to frame, steered by a hundredth of the frame's number."""
    folder = tmp_path / "donkeycar" / "valid"
    folder.mkdir(parents=True)
    for name in "ab":
        with VideoSink(folder / f"{name}.mp4", frame_rate=20) as sink:
            sink.write(to_pixels(brightening()))
        rows = "".join(f"{n / 100},0.5\n" for n in range(GIVEN + HORIZON))
        (folder / f"{name}.actions.csv").write_text("steering,throttle\n" + rows)
    monkeypatch.setenv("MALT_DATA", str(tmp_path))
    imagenet_network.cache_clear()
    yield
    imagenet_network.cache_clear()


@pytest.mark.usefixtures("drives")
def test_a_model_that_takes_actions_is_told_what_was_done_and_held_against_what_came() -> None:
    asked: list[Request] = []

    def known(request: Request, num_frames: int, memory: MemoryUse) -> Tensor:
        asked.append(request)
        return brightening()[None, GIVEN:]

    metric = Prediction(world=PASSAGE, num_videos=1, given=GIVEN, horizon=HORIZON)
    outcome = metric.run(WorldModel(make=known, action_names=("steering", "throttle")), seed=0)
    assert asked[0].actions is not None
    assert asked[0].actions[0, :, 0].tolist() == pytest.approx([n / 100 for n in range(GIVEN + HORIZON)])
    figures = summarise([outcome])["figures"]
    known_psnr, frozen_psnr = (figures[f"PSNR, driving{line}"]["mean"] for line in ("", f", {FROZEN}"))
    assert known_psnr is not None and frozen_psnr is not None
    assert known_psnr > 30 > frozen_psnr
    assert "PSNR" not in figures  # in the world's films nobody acts
    assert {"PSNR, driving", "SSIM, driving", "feature distance, driving"} <= set(metric.headlines)
    assert {curve.chart for curve in outcome.curves} <= set(metric.axes)
