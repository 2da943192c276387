"""Laws of the encoded videos of a world."""

from itertools import pairwise

import pytest
import torch
from torch import Tensor

import tiny
import tiny_pipeline
from malt.codecs.malt import MaltCodec
from malt.data.world_dataset import EncodedWorld, WorldDataset, encode_world, latent_returns
from malt.worlds.passage.captions import vocabulary
from malt.worlds.passage.scenes import hidden, render, sample_scenes
from malt.worlds.registry import open_world

VIDEOS, LENGTH = 5, 12
PASSAGE = open_world("passage")


@pytest.fixture
def bank() -> WorldDataset:
    return counted(LENGTH)


def counted(length: int, seed: int = 0) -> WorldDataset:
    """A bank in which every number says its video and its frame."""
    numbers = 100 * torch.arange(1, VIDEOS + 1)[:, None] + torch.arange(1, length + 1)
    latents = numbers[:, :, None, None, None].expand(-1, -1, 2, 3, 3)
    return WorldDataset(PASSAGE, range(VIDEOS), EncodedWorld(latents.half()), seed)


def numbers(window: Tensor) -> list[int]:
    """What the frames of a window say."""
    assert torch.equal(window, window[:, :1, :1, :1].expand_as(window))
    return window[:, 0, 0, 0].int().tolist()


def test_a_step_always_draws_the_same_and_another_another(bank: WorldDataset) -> None:
    latents, captions, begins, _ = bank(7, 16, 4, 1, 0.5)
    again = counted(LENGTH)(7, 16, 4, 1, 0.5)
    assert torch.equal(latents, again[0])
    assert captions == again[1]
    assert torch.equal(begins, again[2])
    assert not torch.equal(latents, bank(8, 16, 4, 1, 0.5)[0])
    assert not torch.equal(latents, counted(LENGTH, seed=1)(7, 16, 4, 1, 0.5)[0])


def test_a_window_is_frames_of_one_video_in_their_order(bank: WorldDataset) -> None:
    latents, captions, begins, _ = bank(0, 32, 4, 2, 0.0)
    assert latents.shape == (32, 6, 2, 3, 3)
    assert latents.dtype == torch.float32
    assert len(captions) == 32
    assert not begins.any()
    windows = [numbers(window) for window in latents]
    assert all(b == a + 1 for window in windows for a, b in pairwise(window))
    assert {window[0] // 100 for window in windows} == set(range(1, VIDEOS + 1))


def test_far_frames_are_from_any_time_before_the_rest_and_half_from_the_beginning(bank: WorldDataset) -> None:
    windows = [numbers(window) for window in bank(0, 200, 4, 1, 0.0, 2).latents]
    starts = [(window[0] % 100, window[3] % 100) for window in windows]
    assert all(window[0] // 100 == window[-1] // 100 for window in windows)
    assert all(b == a + 1 for window in windows for part in (window[:3], window[3:]) for a, b in pairwise(part))
    assert all(far + 3 <= near for far, near in starts)
    assert 0.4 < sum(far == 1 for far, _ in starts) / len(starts) < 0.9
    assert len({near - far for far, near in starts}) > 3


def test_windows_come_from_anywhere_in_a_video(bank: WorldDataset) -> None:
    latents = bank(0, 200, 4, 2, 0.0).latents
    assert {numbers(window)[0] % 100 for window in latents} == set(range(1, LENGTH - 6 + 2))


def test_a_window_that_begins_a_video_has_nothing_before_its_first_frame(bank: WorldDataset) -> None:
    latents, _, begins, _ = bank(0, 16, 4, 2, 1.0)
    assert begins.all()
    for window in latents:
        nothing, video = numbers(window)[:2], numbers(window)[2:]
        assert nothing == [0, 0]
        assert [number % 100 for number in video] == [1, 2, 3, 4]


def test_as_many_windows_begin_a_video_as_are_asked_for(bank: WorldDataset) -> None:
    latents, _, begins, _ = bank(0, 400, 4, 1, 0.25)
    assert begins.float().mean().item() == pytest.approx(0.25, abs=0.06)
    assert [numbers(window)[0] == 0 for window in latents] == begins.tolist()


def test_captions_are_of_the_video_and_drawn_anew() -> None:
    bank = WorldDataset(PASSAGE, [3], EncodedWorld(torch.zeros(1, 6, 2, 3, 3).half()))
    _, captions, _, _ = bank(0, 32, 4, 1, 0.0)
    assert len(set(captions)) > 8
    assert {word for caption in captions for word in caption.split()} <= set(vocabulary())


def test_a_window_may_be_as_long_as_the_videos_and_no_longer(bank: WorldDataset) -> None:
    latents = bank(0, 4, LENGTH - 1, 1, 0.0).latents
    assert {numbers(window)[0] % 100 for window in latents} == {1}
    with pytest.raises(ValueError, match="videos have 12 latent frames and 13 are needed; encode longer videos"):
        bank(0, 4, LENGTH, 1, 0.0)


def test_a_world_is_encoded_as_the_codec_does_it_whatever_the_batches() -> None:
    module = tiny_pipeline.autoencoder(latent_mean=(0.1, -0.2, 0.3), latent_std=(0.5, 2.0, 1.0))
    seeds = range(5, 8)
    latents, actions = encode_world(PASSAGE, module, seeds, 8, batch_size=2)
    assert latents.shape == (3, 2, tiny.CHANNELS, 8, 8)
    assert latents.dtype == torch.float16
    assert actions is None
    exact, _ = MaltCodec(module).encode(render(sample_scenes(3, 5), 0, 8))
    torch.testing.assert_close(latents.float(), exact, rtol=0, atol=0.1)
    torch.testing.assert_close(
        latents, encode_world(PASSAGE, module, seeds, 8, batch_size=3).latents, rtol=0, atol=0.05
    )


def test_a_return_is_where_a_shape_that_was_wholly_hidden_is_not_any_more() -> None:
    scenes = sample_scenes(4, 0)
    away, found = hidden(scenes, 0, 200), latent_returns(PASSAGE, range(4), 50)
    assert len(found) > 4
    for video, frame in found:
        span = away[video, max(0, 4 * frame - 1) : 4 * frame + 4]
        assert (span[:-1] & ~span[1:]).any()


def test_windows_may_be_chosen_to_end_where_something_comes_out() -> None:
    length = 52
    latents = torch.arange(VIDEOS * length).view(VIDEOS, length, 1, 1, 1).expand(-1, -1, 2, 3, 3).float()
    found = set(latent_returns(PASSAGE, range(VIDEOS), length))

    def with_return(share: float) -> float:
        bank = WorldDataset(PASSAGE, range(VIDEOS), EncodedWorld(latents), return_share=share, return_frames=3)
        last = [int(window[-1, 0, 0, 0]) for window in bank(0, 200, 15, 1, 0.0).latents]
        hits = [any((n // length, n % length - back) in found for back in range(3)) for n in last]
        return sum(hits) / len(hits)

    assert with_return(1.0) == 1.0
    assert with_return(0.0) < 0.6 < with_return(0.7) < 1.0
