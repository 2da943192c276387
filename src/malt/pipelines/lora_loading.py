"""What every pipeline says of a LoRA that it cannot use."""

from collections.abc import Iterator
from contextlib import contextmanager
from os import PathLike
from typing import Any

from safetensors import SafetensorError
from torch import Tensor

from malt.errors import CheckpointError
from malt.pipelines.checkpoint_check import WHAT_LOADING_RAISES


@contextmanager
def checked_lora(pipe: Any, source: str | PathLike[str] | dict[str, Tensor]) -> Iterator[None]:
    """Around the loading of a LoRA into the transformer of a pipeline of diffusers.

    Raises:
        CheckpointError: it cannot be read, or nothing in it is of this transformer.
    """
    name = "of these tensors" if isinstance(source, dict) else source
    before = pipe.get_list_adapters().get("transformer", [])
    try:
        yield
    except (*WHAT_LOADING_RAISES, SafetensorError) as error:
        reason = str(error).strip().split("\n")[0][:200]
        raise CheckpointError(f"the LoRA {name} cannot be loaded ({reason}); give safetensors that fit") from error
    if pipe.get_list_adapters().get("transformer", []) == before:
        raise CheckpointError(f"the LoRA {name} holds nothing of this transformer; give one that was made for it")
