"""What a replica on a Ray cluster does: it loads a model, and tells of each piece of work step by step."""

import asyncio
import threading
from collections.abc import AsyncIterator, Callable
from typing import TYPE_CHECKING, Any

from ray import serve

from malt.errors import MaltError
from malt.serving.engine.job import GivenUp
from malt.serving.engine.process_loop import DONE, FAILED, STEP
from malt.serving.engine.segment_work import MAX_ROLLOUTS, ModelWork, SegmentWork

if TYPE_CHECKING:
    from malt.pipelines.video_pipeline import VideoPipeline


class Replica:
    """One model, wherever it is; one piece of work at a time."""

    def __init__(self, load: Callable[[], "VideoPipeline"]) -> None:
        self._work = ModelWork(load())

    async def run(self, work: SegmentWork) -> AsyncIterator[tuple[str, Any]]:
        """STEP behind every denoising step, and in the end DONE with what came of it or FAILED with why; given up if let go."""
        await self.known(serve.get_multiplexed_model_id())
        told, loop, is_given_up = asyncio.Queue[tuple[str, Any]](), asyncio.get_running_loop(), threading.Event()

        def tell(kind: str, value: object) -> None:
            loop.call_soon_threadsafe(told.put_nowait, (kind, value))

        def on_step() -> None:
            if is_given_up.is_set():
                raise GivenUp
            tell(STEP, None)

        def compute() -> None:
            try:
                tell(DONE, self._work.run(work, on_step))
            except (MaltError, GivenUp) as error:
                tell(FAILED, error)
            except BaseException as error:
                tell(FAILED, RuntimeError(f"{type(error).__name__}: {error}"))
                raise

        computing = loop.run_in_executor(None, compute)
        try:
            kind = STEP
            while kind == STEP:
                kind, value = await told.get()
                yield kind, value
        finally:
            is_given_up.set()
            await asyncio.shield(computing)

    @serve.multiplexed(max_num_models_per_replica=MAX_ROLLOUTS)
    async def known(self, video: str) -> str:
        """Says of a video that its prompt is encoded here, so that it is asked here again."""
        return video
