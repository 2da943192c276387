"""The route of a video that is sent while it is made."""

from typing import Annotated

from fastapi import APIRouter, Query, Response

from malt.serving.routes import MP4, answers, router_of
from malt.serving.schemas import VideoRequest
from malt.serving.streams import LiveResponse, StreamOpener


def stream_routes(stream_opener: StreamOpener, has_token: bool) -> APIRouter:
    """A video that is sent while it is made."""
    router = router_of("streaming", has_token)

    @router.get(
        "/stream",
        response_class=Response,
        responses={**answers(400, 422, 429), 200: {"content": MP4}},
    )
    async def stream(request: Annotated[VideoRequest, Query()]) -> Response:
        """A video as fragmented MP4 that plays while it is made, as in <video src="/v1/stream?prompt=a%20red%20circle">.

        Without a length it goes on until the reader leaves.
        """
        return LiveResponse(await stream_opener.open(stream_opener.validator.validate(request, streams=True)))

    return router
