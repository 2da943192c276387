"""Laws of what a server grants: as large as the model's own frames are, and no session beyond its bytes."""

import pytest

import tiny_pipeline
from malt.errors import UsageError
from malt.serving.limits import MEBIBYTE, Limits
from malt.serving.requests import RequestValidator
from malt.serving.schemas import VideoRequest
from malt.sessions.size import SessionSize

REQUEST = VideoRequest(prompt=tiny_pipeline.PROMPT)


def validator(**limits: int) -> RequestValidator:
    return RequestValidator(tiny_pipeline.pipeline(), "tiny", Limits(**limits))


def test_frames_of_the_models_own_size_are_always_granted() -> None:
    own = validator().validate(REQUEST)
    assert (own.size, own.remarks) == ((tiny_pipeline.SIDE, tiny_pipeline.SIDE), ())


@pytest.mark.parametrize(
    ("size", "pixels", "made"),
    [
        ("64x64", 1, "32x32"),
        ("64x64", 4096, "64x64"),
        ("1280x720", 1, "32x16"),
        ("1280x720", 512 * 512, "672x384"),
        ("99999x1", 1, "64x16"),
        ("1x99999", 4096, "16x256"),
        ("30x40", 4096, "16x32"),
    ],
)
def test_other_frames_become_the_nearest_of_their_shape_and_that_is_told(size: str, pixels: int, made: str) -> None:
    generation = validator(pixels=pixels).validate(VideoRequest(prompt=tiny_pipeline.PROMPT, size=size))
    assert generation.size_text == made
    assert generation.size[0] * generation.size[1] <= max(pixels, tiny_pipeline.SIDE**2)
    assert any(f"{size} are not made here" in remark for remark in generation.remarks) == (size != made)


def test_work_is_bounded_by_what_it_costs() -> None:
    of = validator(frames=100, pixels=64 * 64)
    for asked, most in [
        ({}, 100),
        ({"num_inference_steps": 1}, 100),
        ({"num_inference_steps": 8}, 25),
        ({"size": "64x64"}, 25),
    ]:
        prompt = tiny_pipeline.PROMPT
        assert of.validate(VideoRequest(prompt=prompt, num_frames=most, **asked)).num_frames == most
        with pytest.raises(
            UsageError, match=f"asked for {most + 1} frames; this server makes 1 to {most} of this size"
        ):
            of.validate(VideoRequest(prompt=prompt, num_frames=most + 1, **asked))


def test_what_was_settled_is_settled_in_the_same_way_again() -> None:
    first = validator().validate(VideoRequest(prompt=tiny_pipeline.PROMPT, size="1280x720", model=None, mood="merry"))
    again = validator().validate(VideoRequest(**first.kept))
    assert (again.size, again.num_frames, again.seed, again.remarks) == (first.size, first.num_frames, first.seed, ())


def test_a_session_of_more_bytes_than_are_granted_is_refused() -> None:
    with pytest.raises(UsageError, match=r"a session of this size keeps .* a snapshot, .*; this server grants 0 MiB"):
        validator(session_bytes=1).validate(REQUEST)


def test_bytes_are_said_in_the_unit_that_fits() -> None:
    size = SessionSize(memory=200 * MEBIBYTE, latents=16 * MEBIBYTE)
    assert str(size) == "216 MiB a snapshot, 1.7 GiB for the 8 that it keeps at most"
