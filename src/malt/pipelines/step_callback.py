"""`callback_on_step_end`, as diffusers' pipelines take it, behind every denoising step of every segment."""

from collections.abc import Callable, Mapping, Sequence

from diffusers import DiffusionPipeline
from diffusers.callbacks import MultiPipelineCallbacks, PipelineCallback
from torch import Tensor

from malt.diffusion.sampling import StepEnd
from malt.errors import UsageError

# Called with the pipeline, the number of the step in its segment, its timestep and the tensors that were asked for.
StepCallback = Callable[[DiffusionPipeline, int, Tensor, dict[str, Tensor]], Mapping[str, Tensor] | None]
TENSOR_INPUTS = ("latents",)


def step_end(pipe: DiffusionPipeline, callback: StepCallback | None, tensor_inputs: Sequence[str]) -> StepEnd | None:
    """What a sampler calls behind each step: `callback`, which may hand back other latents to go on from.

    Raises:
        UsageError: it asks for something else than latents; prompts are read once, before the first step.
    """
    if callback is None:
        return None
    if isinstance(callback, PipelineCallback | MultiPipelineCallbacks):
        tensor_inputs = callback.tensor_inputs
    if unknown := [name for name in tensor_inputs if name not in TENSOR_INPUTS]:
        raise UsageError(f"a callback of this pipeline cannot see {', '.join(unknown)}; it sees latents")

    def on_step_end(step: int, timestep: Tensor, latents: Tensor) -> Tensor:
        given = dict.fromkeys(tensor_inputs, latents)
        return (callback(pipe, step, timestep, given) or {}).get("latents", latents)

    return on_step_end
