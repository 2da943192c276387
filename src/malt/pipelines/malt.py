"""`MaltPipeline`: malt's own model as diffusers loads, saves and calls any other."""

from os import PathLike

from diffusers.loaders import CogVideoXLoraLoaderMixin
from torch import Tensor

from malt.pipelines.lora_loading import checked_lora
from malt.pipelines.rollout_pipeline import RolloutPipeline
from malt.pipelines.video_pipeline import VideoPipeline


# The mixin is the plain one among diffusers' own: a LoRA of a transformer, and of nothing else.
class MaltPipeline(RolloutPipeline, CogVideoXLoraLoaderMixin, VideoPipeline):
    """Video of any length from a sentence, and from a first image or a first video."""

    def load_lora_weights(
        self,
        pretrained_model_name_or_path_or_dict: str | PathLike[str] | dict[str, Tensor],
        adapter_name: str | None = None,
        **kwargs: object,
    ) -> None:
        """Add a LoRA to the transformer, from safetensors; `unload_lora_weights` takes it away.

        Raises:
            CheckpointError: it cannot be read, or nothing in it is of this transformer.
        """
        source = pretrained_model_name_or_path_or_dict
        with checked_lora(self, source):  # safetensors: a pickle can run code
            super().load_lora_weights(source, adapter_name, **{"use_safetensors": True} | kwargs)
