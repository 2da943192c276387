"""`MaltPipeline`: malt's own model as diffusers loads, saves and calls any other."""

from os import PathLike

from diffusers.loaders import CogVideoXLoraLoaderMixin
from safetensors import SafetensorError
from torch import Tensor

from malt.errors import CheckpointError
from malt.pipelines.checkpoint_check import WHAT_LOADING_RAISES
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
        name = "of these tensors" if isinstance(source, dict) else source
        before = self.get_list_adapters().get("transformer", [])
        kwargs = {"use_safetensors": True} | kwargs  # a pickle can run code
        try:
            super().load_lora_weights(source, adapter_name, **kwargs)
        except (*WHAT_LOADING_RAISES, SafetensorError) as error:
            reason = str(error).strip().split("\n")[0][:200]
            raise CheckpointError(f"the LoRA {name} cannot be loaded ({reason}); give safetensors that fit") from error
        if self.get_list_adapters().get("transformer", []) == before:
            raise CheckpointError(f"the LoRA {name} holds nothing of this transformer; give one that was made for it")
