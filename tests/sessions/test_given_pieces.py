"""Laws of first frames that come piece by piece: they become the video that they become at once."""

from pathlib import Path

import torch

import tiny_media
import tiny_pipeline
from malt.commands.given_frames import count_given, given_image, given_video
from malt.sessions.session import Session

PIPE = tiny_pipeline.pipeline()


def begin() -> Session:
    return Session.begin(PIPE, tiny_pipeline.PROMPT, seed=1, num_inference_steps=1)


def test_a_video_read_in_pieces_is_remembered_as_if_it_were_given_at_once(tmp_path: Path) -> None:
    path = tiny_media.write(tmp_path / "long.mp4", map(tiny_media.picture, range(40)))
    pieces = list(given_video(PIPE, path, count_given(PIPE, path), PIPE.frame_size))
    assert len(pieces) > 2
    in_pieces, at_once = begin(), begin()
    parts = list(in_pieces.prefill_pieces(iter(pieces)))
    whole = list(at_once.prefill(torch.cat([frames for frames, _ in pieces])))
    assert in_pieces.num_frames == at_once.num_frames == count_given(PIPE, path)
    for one, other in zip(parts, whole, strict=True):
        assert torch.equal(one.frames, other.frames)
    following = [next(iter(session.stream(session.num_frames + 1))).frames for session in (in_pieces, at_once)]
    assert torch.equal(*following)


def test_an_image_is_a_first_latent_frame(tmp_path: Path) -> None:
    tiny_media.Image.fromarray(tiny_media.picture()).save(tmp_path / "image.png")
    [(frames, actions)] = given_image(PIPE, tmp_path / "image.png", PIPE.frame_size)
    assert len(frames) == PIPE.codec.frames_of(1, first=True)
    assert actions is None
