"""Laws of the reader of turns."""

import pytest
import torch
from torch import Tensor

from malt.worlds.drive.steering_probe import LAG, READ_FRAMES, TurnReader, explained, sideways, steering_of


def panned(steps: list[float], seed: int = 0) -> Tensor:
    """Videos of noise that is smooth sideways, seen through a window that moves so many pixels a frame."""
    chance = torch.Generator().manual_seed(seed)
    videos = []
    for step in steps:
        scene = torch.randn(1, 3, 32, 240, generator=chance)
        scene = torch.nn.functional.avg_pool2d(scene, (1, 5), stride=1, padding=(0, 2))[0]
        places = [80 + round(step * n) for n in range(READ_FRAMES)]
        videos.append(torch.stack([scene[..., place : place + 64] for place in places]))
    return torch.stack(videos)


def test_what_moves_left_is_the_contrary_of_what_moves_right() -> None:
    videos = panned([3.0, -2.0, 0.0])
    torch.testing.assert_close(sideways(videos.flip(-1)), -sideways(videos), atol=1e-5, rtol=1e-4)
    assert sideways(videos)[0].abs().max() > 0.3


def test_a_still_picture_turns_nowhere_whatever_it_shows() -> None:
    still = panned([0.0])[:, :1].expand(-1, READ_FRAMES, -1, -1, -1)
    crooked = still + torch.linspace(-1, 1, 64)
    even = torch.zeros_like(still)
    reader = TurnReader.fit(sideways(panned([1.0, -1.0, 2.0, -2.0])), torch.tensor([1.0, -1.0, 2.0, -2.0]))
    for videos in (crooked, even):
        assert reader(sideways(videos)).abs() < 0.35


def test_a_reader_taught_on_some_videos_reads_others() -> None:
    speeds = torch.linspace(-4, 4, 41)
    reader = TurnReader.fit(sideways(panned(speeds.tolist(), seed=1)), speeds)
    read = reader(sideways(panned(speeds.tolist(), seed=2)))
    assert explained(read, speeds) > 0.8


def test_who_says_the_mean_explains_nothing_and_who_knows_all() -> None:
    truth = torch.tensor([1.0, 2.0, 6.0])
    assert explained(torch.full((3,), 3.0), truth) == pytest.approx(0)
    assert explained(truth, truth) == 1


def test_a_turn_is_held_against_what_was_steered_before_it() -> None:
    steering = torch.arange(40.0)
    assert float(steering_of(steering, 10)) == pytest.approx(10 - LAG + (READ_FRAMES - 2) / 2)
    with pytest.raises(ValueError, match="do not reach"):
        steering_of(steering, LAG - 1)
    with pytest.raises(ValueError, match="do not reach"):
        steering_of(steering, 39)
