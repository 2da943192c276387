"""What computes for a server: this process, a process for each device, or replicas on a Ray cluster."""

import re
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from functools import partial
from importlib.util import find_spec
from typing import TYPE_CHECKING

from malt.errors import UsageError
from malt.threads import num_cores

if TYPE_CHECKING:
    from malt.pipelines.video_pipeline import VideoPipeline
    from malt.serving.engine.segment_work import Executor

Load = Callable[..., "VideoPipeline"]  # (device, threads) -> the model


def parts(names: str | None) -> tuple[str, ...]:
    """What stands between commas."""
    return tuple(name.strip() for name in (names or "").split(",") if name.strip())


def check_computing(device: str, workers: str | None, ray: str | None, replicas: str | None) -> None:
    """Refuse devices that do not go together.

    Raises:
        UsageError: they do not, or Ray is asked for and not installed.
    """
    devices = parts(workers)
    if workers is not None and not devices:
        raise UsageError("--workers names no device; give it as in --workers cuda:0,cuda:1")
    if devices and device != "auto":
        raise UsageError("both --workers and --device were given; give one of them")
    if len(kinds := sorted({name.partition(":")[0] for name in devices})) > 1:
        raise UsageError(
            f"--workers mixes {' and '.join(kinds)}, on which a video that moves would not be the same; give one kind"
        )
    if ray is None:
        if replicas is not None:
            raise UsageError("--replicas says how many a Ray cluster holds; give --ray too")
        return
    if devices:
        raise UsageError("both --workers and --ray were given; give one of them")
    if device not in ("auto", "cpu", "cuda"):
        raise UsageError(f"--device is {device} and a cluster chooses its own devices; give auto, cpu or cuda")
    _counts(replicas)
    if find_spec("ray") is None:
        raise UsageError("Ray is not installed; pip install 'malt-diffusion[ray]'")


@contextmanager
def worker_executor(load: Load, devices: tuple[str, ...], threads: int | None) -> Iterator["Executor"]:
    """A process for each device; on the CPU they share its cores."""
    from malt.serving.engine.worker_processes import WorkerProcesses

    each = threads or (max(1, num_cores() // len(devices)) if devices[0] == "cpu" else None)
    with closing(WorkerProcesses([partial(load, device=device, threads=each) for device in devices])) as executor:
        yield executor


@contextmanager
def ray_executor(
    load: Load, address: str, replicas: str | None, device: str, threads: int | None
) -> Iterator["Executor"]:
    """Replicas on a cluster, each on a GPU of its own where the cluster has any, else on as many CPUs as threads."""
    from malt.serving.engine.ray_replicas import RayReplicas, ReplicaCount, has_gpus, join_cluster

    is_ours = join_cluster(None if address == "local" else address)
    on_gpus = device == "cuda" or (device == "auto" and has_gpus())
    needs = {"num_gpus": 1.0} if on_gpus else {"num_cpus": float(threads or 1)}
    here = partial(load, device="cuda" if on_gpus else "cpu", threads=threads or (None if on_gpus else 1))
    least, most = _counts(replicas)
    with closing(RayReplicas(here, ReplicaCount(least=least, most=most), needs, is_ours=is_ours)) as executor:
        yield executor


def _counts(replicas: str | None) -> tuple[int, int]:
    """The least and the most replicas of `2` or `1-8`."""
    found = re.fullmatch(r"([1-9]\d*)(?:-([1-9]\d*))?", replicas or "1")
    least, most = (int(found[1]), int(found[2] or found[1])) if found else (1, 0)
    if most < least:
        raise UsageError(f"--replicas is {replicas}; give how many, as in 4, or from and to, as in 1-8")
    return least, most
