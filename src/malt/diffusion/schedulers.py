"""Which schedulers of diffusers integrate the flow that a network predicts: they are made to, tried, and refused if not."""

import inspect
from dataclasses import dataclass

import torch
from diffusers import SchedulerMixin
from torch import Tensor

from malt.diffusion.sampling import sample
from malt.errors import UsageError

RIGHT = "FlowMatchEulerDiscreteScheduler, FlowMatchHeunDiscreteScheduler, UniPCMultistepScheduler or DPMSolverMultistepScheduler"
WHAT_SCHEDULERS_RAISE = (
    ArithmeticError,
    AssertionError,
    AttributeError,
    LookupError,
    RuntimeError,
    TypeError,
    ValueError,
)
END, TOLERANCE = 0.7, 1e-3  # the one value that all latents of the probe have, and how near a scheduler has to come


def flow_scheduler(scheduler: SchedulerMixin, num_steps: int) -> SchedulerMixin:
    """The scheduler, told that the network predicts a flow, and tried where the right answer is known.

    What a network predicts is no choice of the scheduler. So `UniPCMultistepScheduler.from_config(pipe.scheduler.config)`,
    the usual line, is right: it keeps that config's shift and leaves its own default, noise as the prediction.

    Raises:
        UsageError: it does not lead from noise to latents in `num_steps` steps, or draws noise of its own.
    """
    if num_steps < 1:
        raise UsageError(f"asked for {num_steps} denoising steps; give at least 1")
    scheduler = _told_of_flow(scheduler)
    name = type(scheduler).__name__
    try:
        first, second = (_probe(scheduler, num_steps, seed) for seed in (0, 1))
    except WHAT_SCHEDULERS_RAISE as error:
        raise UsageError(f"the {name} cannot follow the flow that this model predicts; use {RIGHT}") from error
    if not torch.equal(first.last_begin, second.last_begin):
        raise UsageError(f"the {name} draws noise of its own, so a seed would not give one video; use {RIGHT}")
    if not (first.begins_at_noise and first.error < TOLERANCE):
        raise UsageError(f"the {name} does not lead where the flow of this model leads; use {RIGHT}")
    return scheduler


def _told_of_flow(scheduler: SchedulerMixin) -> SchedulerMixin:
    config = scheduler.config
    flow = {"prediction_type": "flow_prediction", "use_flow_sigmas": True}
    if not flow.keys() <= config.keys() or flow.items() <= dict(config).items():
        return scheduler
    shift = config.get("shift", 1.0) if config.get("flow_shift", 1.0) == 1.0 else config["flow_shift"]
    takes = inspect.signature(type(scheduler).__init__).parameters
    return type(scheduler)(**{name: config[name] for name in takes if name in config} | flow | {"flow_shift": shift})


@dataclass(frozen=True)
class _Probe:
    """How a scheduler integrated a flow whose end is known.

    begins_at_noise: whether its first noise level was about 1. last_begin: where its last step began. error: how far from
    the known end it came out.
    """

    begins_at_noise: bool
    last_begin: Tensor
    error: float


def _probe(scheduler: SchedulerMixin, num_steps: int, seed: int) -> _Probe:
    """Try a scheduler on latents that are all `END`: their flow is a straight line to it, which takes any number of steps."""
    levels: list[float] = []
    begins: list[Tensor] = []

    def velocity(x: Tensor, level: float) -> Tensor:
        levels.append(level)
        begins.append(x)
        return (x - END) / max(level, 1e-6)

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        end = sample(velocity, torch.linspace(-2, 2, 5).reshape(1, 1, 1, 1, 5), scheduler, num_steps)
    return _Probe(0.9 < levels[0] < 1.01, begins[-1], float((end - END).abs().max()))
