"""Laws of sessions whose decoder carries much: what is kept is small, and whoever goes on from it makes the same video."""

from pathlib import Path

import pytest
import torch
from diffusers import AutoencoderKLWan
from torch import Tensor

import tiny
import tiny_pipeline
from malt.codecs.latent_history import LatentHistory
from malt.pipelines.malt import MaltPipeline
from malt.sessions.session import Session
from malt.sessions.snapshots import Snapshot

PROMPT = "a red circle passes behind a wall"
SEGMENTS = 14  # of two latents: the decoder's reach of 21 is left behind


@pytest.fixture(scope="module")
def pipe() -> MaltPipeline:
    statistics = {"latents_mean": [0.1, -0.2, 0.0], "latents_std": [0.5, 1.0, 2.0]}
    shallow = {"dim_mult": [1, 1], "temperal_downsample": [True], "num_res_blocks": 0}
    vae = AutoencoderKLWan(base_dim=4, z_dim=tiny.CHANNELS, **statistics, **shallow)
    return tiny_pipeline.pipeline(tiny.randomised(vae.eval()), settings={"num_inference_steps": 1})


@pytest.fixture(scope="module")
def made(pipe: MaltPipeline) -> tuple[Session, Tensor]:
    """A session of many segments, and its frames."""
    session = Session.begin(pipe, PROMPT, seed=3, height=8, width=8)
    return session, frames_of(session, SEGMENTS)


def frames_of(session: Session, num_segments: int) -> Tensor:
    return torch.cat([session.advance().frames for _ in range(num_segments)], dim=1)


def cache_of(snapshot: Snapshot) -> LatentHistory:
    cache = snapshot.progress.decoder_cache
    assert isinstance(cache, LatentHistory)
    return cache


def test_what_the_decoder_carries_is_kept_where_the_video_stands_and_nowhere_else(made: tuple[Session, Tensor]) -> None:
    *past, now = made[0].state.snapshots
    assert cache_of(now).entries is not None
    assert all(cache_of(snapshot).entries is None for snapshot in past)


def test_a_saved_session_goes_on_bit_for_bit_and_its_file_holds_latents_alone(
    pipe: MaltPipeline, made: tuple[Session, Tensor], tmp_path: Path
) -> None:
    session = made[0].branch()
    session.save(tmp_path / "walk.session")
    loaded = Session.load(tmp_path / "walk.session", pipe)
    assert cache_of(loaded.state.now).entries is None
    assert torch.equal(frames_of(loaded, 2), frames_of(session, 2))


@pytest.mark.parametrize("segment", [1, 6, SEGMENTS - 2])
def test_a_rewound_session_makes_what_was_there_bit_for_bit(made: tuple[Session, Tensor], segment: int) -> None:
    session, frames = made[0].branch(), made[1]
    frame = session.rewind(4 * segment - 1)
    assert torch.equal(frames_of(session, 2), frames[:, frame : frame + 8])


def test_frames_that_were_given_keep_no_more_than_latents_behind_them(pipe: MaltPipeline) -> None:
    session = Session.begin(pipe, PROMPT, seed=3, height=8, width=8)
    given = tiny_pipeline.video(9)[..., :8, :8]
    list(session.prefill(given))
    origin = session.state.origin
    assert origin is not None
    assert cache_of(origin).entries is None
    first = frames_of(session, 2)
    session.rewind(9)
    assert torch.equal(frames_of(session, 2), first)
