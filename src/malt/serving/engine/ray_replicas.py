"""Replicas of a model on a Ray cluster (Ray Serve): as many as there is work for, each piece done by whichever has room.

A video is asked of the replica that has encoded its prompt, as long as that one is there and has room (Ray Serve calls it
model multiplexing). Its state comes back behind each segment, so any other goes on with it.
"""

import hashlib
import logging
import os
import uuid
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import ray
from ray import serve
from ray.exceptions import RayActorError, RayError
from ray.serve.exceptions import RayServeException
from ray.serve.handle import DeploymentHandle

from malt.errors import MaltError, UsageError
from malt.serving.engine.process_loop import DONE, FAILED
from malt.serving.engine.ray_replica import Replica
from malt.serving.engine.segment_work import SegmentWork

if TYPE_CHECKING:
    from malt.pipelines.video_pipeline import VideoPipeline

MAX_ATTEMPTS = 3  # at one piece of work, where the replicas end that do it
SECONDS_TO_SHRINK = 60.0  # with less work than replicas, before there are fewer
QUIET = {"log_level": "WARNING", "enable_access_log": False}
log = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class ReplicaCount:
    """How many replicas there are: always, and where there is much to do."""

    least: int
    most: int


def join_cluster(address: str | None) -> bool:
    """Join the Ray cluster at an address, `auto` being that of this machine; None starts one here.

    Returns:
        Whether a cluster had not been joined before.

    Raises:
        UsageError: none answers.
    """
    if ray.is_initialized():
        return False
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    logging.getLogger("ray.serve").setLevel(logging.WARNING)
    try:
        ray.init(address=address, logging_level="WARNING", include_dashboard=None if address else False)
    except (ConnectionError, ValueError, RayError, RuntimeError) as error:
        raise UsageError(
            f"no Ray cluster answers at {address}; start one with ray start --head, or give local"
        ) from error
    return True


def has_gpus() -> bool:
    """Whether any machine of the cluster has a GPU."""
    return bool(ray.cluster_resources().get("GPU"))


class RayReplicas:
    """An `Executor` of the replicas of one deployment on the joined cluster; they end with it."""

    def __init__(
        self,
        load: Callable[[], "VideoPipeline"],
        count: ReplicaCount,
        needs: Mapping[str, float],
        is_ours: bool = False,
    ) -> None:
        """Wait until the least number of replicas have room and have loaded their model.

        Args:
            load: loads the model, on whatever machine a replica is.
            count: how many replicas.
            needs: what each takes of a machine: `num_gpus`, `num_cpus`.
            is_ours: whether the cluster is left when this is closed.

        Raises:
            MaltError: a replica cannot load its model.
        """
        self.count, self.num_restarts, self._is_ours = count, 0, is_ours
        self._name = f"malt-{uuid.uuid4().hex[:8]}"
        serve.start(proxy_location="Disabled", logging_config=QUIET)
        deployment = serve.deployment(
            name=Replica.__name__,
            max_ongoing_requests=1,
            autoscaling_config={
                "min_replicas": count.least,
                "max_replicas": count.most,
                "target_ongoing_requests": 1,
                "upscale_delay_s": 1,
                "downscale_delay_s": SECONDS_TO_SHRINK,
            },
            ray_actor_options=dict(needs),
            graceful_shutdown_timeout_s=5,
            logging_config=QUIET,
        )(Replica)
        try:
            self._handle: DeploymentHandle = serve.run(deployment.bind(load), name=self._name, route_prefix=None)
        except (RuntimeError, RayError, RayServeException) as error:
            self.close()
            raise MaltError("no replica could load the model; see what it said above") from error

    @property
    def num_places(self) -> int:
        """The most replicas that there may be."""
        return self.count.most

    @property
    def num_alive(self) -> int:
        """How many replicas are running now."""
        with suppress(RayError, RayServeException, KeyError):
            states = serve.status().applications[self._name].deployments[Replica.__name__].replica_states
            return sum(count for state, count in states.items() if state == "RUNNING")
        return 0

    def run(self, work: SegmentWork, on_step: Callable[[], None]) -> Any:
        """As `Executor.run`.

        Raises:
            MaltError: each replica that began it ended, or the cluster is gone.
        """
        for _ in range(MAX_ATTEMPTS):
            try:
                return self._ask(work, on_step)
            except RayActorError:
                self.num_restarts += 1
                log.warning("a replica has ended; what it computed goes on elsewhere")
            except (RayError, RayServeException) as error:
                raise MaltError(f"the Ray cluster did not make this segment: {error}") from error
        raise MaltError(
            f"{MAX_ATTEMPTS} replicas ended, one after another, while they made this segment; the cluster's log says more, "
            "and a smaller video may do"
        )

    def close(self) -> None:
        """End the replicas, and leave the cluster if it was joined for them."""
        with suppress(RayError, RayServeException, ValueError):  # the last of an answer that nobody waits for any more
            serve.delete(self._name)
        if self._is_ours:
            ray.shutdown()

    def _ask(self, work: SegmentWork, on_step: Callable[[], None]) -> Any:
        video = hashlib.sha256(repr(work.asked).encode()).hexdigest()
        said = self._handle.options(stream=True, multiplexed_model_id=video).run.remote(work)
        for kind, value in said:
            if kind == DONE:
                return value
            if kind == FAILED:
                raise value
            try:
                on_step()
            except BaseException:
                said.cancel()
                raise
        raise MaltError("a replica ended its answer too early; see the cluster's log")
