"""Laws of replicas on a Ray cluster of two machines: they share the work, and one that is killed costs nobody anything."""

import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import torch

import tiny_pipeline
from malt.errors import MaltError
from malt.pipelines.malt import MaltPipeline
from malt.rollouts.base import Segment
from malt.serving.engine.job import JobState
from malt.serving.engine.remote_rollout import compute_elsewhere
from malt.serving.engine.worker import Worker
from malt.sessions.session import Session
from tiny_elsewhere import alone, ends_between_two_steps, frames, load, refuse, start
from tiny_pipeline import PROMPT, SEGMENT
from tiny_server import wait_until

if TYPE_CHECKING:
    from malt.serving.engine.ray_replicas import RayReplicas

pytestmark = pytest.mark.slow  # a cluster starts
ray = pytest.importorskip("ray", reason="Ray is not installed: pip install 'malt-diffusion[ray]'")


@pytest.fixture(scope="module")
def cluster() -> Iterator[None]:
    """Two machines, played by two nodes on this one."""
    from ray.cluster_utils import Cluster

    paths = [str(Path(tiny_pipeline.__file__).parent), os.environ.get("PYTHONPATH", "")]
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv(
            "PYTHONPATH", os.pathsep.join(path for path in paths if path)
        )  # replicas load a model of the tests
        nodes = Cluster(initialize_head=True, head_node_args={"num_cpus": 2, "object_store_memory": 100 * 2**20})
        nodes.add_node(num_cpus=2, object_store_memory=100 * 2**20)
        ray.init(address=nodes.address, logging_level="ERROR", log_to_driver=False)
        yield
        ray.shutdown()
        nodes.shutdown()


@pytest.fixture(scope="module")
def replicas(cluster: None) -> Iterator["RayReplicas"]:
    from malt.serving.engine.ray_replicas import RayReplicas, ReplicaCount

    replicas = RayReplicas(load, ReplicaCount(least=2, most=2), {"num_cpus": 1.5})
    yield replicas
    replicas.close()


@pytest.fixture
def pipe(replicas: "RayReplicas") -> MaltPipeline:
    pipe = tiny_pipeline.pipeline()
    compute_elsewhere(pipe, replicas)
    wait_until(lambda: replicas.num_alive == 2)
    return pipe


@pytest.fixture
def worker() -> Iterator[Worker]:
    worker = Worker(num_threads=2)
    yield worker
    worker.close()


def pids() -> list[int]:
    from ray.util.state import list_actors

    return [actor.pid for actor in list_actors(filters=[("state", "=", "ALIVE")]) if "Replica:" in actor.class_name]


def test_a_replica_that_is_killed_loses_nothing(worker: Worker, pipe: MaltPipeline, replicas: "RayReplicas") -> None:
    before, made = replicas.num_restarts, dict[int, list[Segment]]()
    jobs = [start(worker, pipe, seed, made.setdefault(seed, []).append) for seed in range(3)]
    wait_until(lambda: len(worker._queue.busy) == 2)
    time.sleep(0.2)
    os.kill(pids()[0], signal.SIGKILL)
    assert all(job.wait(120) and job.state == JobState.DONE for job in jobs)
    assert all(torch.equal(frames(made[seed]), alone(seed, 3 * SEGMENT)) for seed in made)
    assert replicas.num_restarts == before + 1
    wait_until(lambda: replicas.num_alive == 2)


def test_a_job_of_which_nothing_more_is_wanted_ends_between_two_steps(worker: Worker, pipe: MaltPipeline) -> None:
    ends_between_two_steps(worker, pipe)


def test_a_replica_that_cannot_load_its_model_is_said(cluster: None) -> None:
    from malt.serving.engine.ray_replicas import RayReplicas, ReplicaCount

    with pytest.raises(MaltError, match="no replica could load the model"):
        RayReplicas(refuse, ReplicaCount(least=1, most=1), {"num_cpus": 0.1})


def test_there_are_more_replicas_where_there_is_much_to_do(worker: Worker, cluster: None) -> None:
    from malt.serving.engine.ray_replicas import RayReplicas, ReplicaCount

    few = RayReplicas(load, ReplicaCount(least=1, most=2), {"num_cpus": 0.1})
    assert few.num_alive == 1
    pipe = tiny_pipeline.pipeline()
    compute_elsewhere(pipe, few)
    jobs = [worker.start(Session.begin(pipe, PROMPT, seed=seed, num_inference_steps=200)) for seed in range(3)]
    wait_until(lambda: few.num_alive == 2)
    for job in jobs:
        worker.cancel(job)
        assert job.wait(60)
    few.close()
