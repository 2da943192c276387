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
    assert validator(pixels=1).validate(REQUEST).size == (tiny_pipeline.SIDE, tiny_pipeline.SIDE)
    with pytest.raises(UsageError, match="asked for frames of 64x64; this server makes up to 1024 pixels"):
        validator(pixels=1).validate(VideoRequest(prompt=tiny_pipeline.PROMPT, size="64x64"))


def test_a_session_of_more_bytes_than_are_granted_is_refused() -> None:
    with pytest.raises(UsageError, match=r"a session of this size keeps .* a snapshot, .*; this server grants 0 MiB"):
        validator(session_bytes=1).validate(REQUEST)


def test_bytes_are_said_in_the_unit_that_fits() -> None:
    size = SessionSize(memory=200 * MEBIBYTE, latents=16 * MEBIBYTE)
    assert str(size) == "216 MiB a snapshot, 1.7 GiB for the 8 that it keeps at most"
