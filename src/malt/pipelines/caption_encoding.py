"""Captions through a pretrained pipeline's own text encoders, by its own `encode_prompt`; nothing else of it is loaded."""

import inspect
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import diffusers
import torch
from diffusers import DiffusionPipeline
from torch import Tensor

from malt.diffusion.caption import Caption
from malt.errors import CheckpointError, UsageError
from malt.pipelines.base_folder import check_not_pickled, read_index
from malt.pipelines.checkpoint_check import WHAT_LOADING_RAISES

TEXT_PARTS = ("text_encoder*", "tokenizer*")
NEEDED = (
    "text_encoder",
    "tokenizer",
    "scheduler",
    "guider",
)  # what names of parts begin with that `encode_prompt` may ask

# By the class of the transformer, what `encode_prompt` of its pipelines gives, in this order, under the names of `Caption`
# and of the transformer's own arguments; what follows, such as a negative prompt's, is not asked for.
GIVEN: dict[str, tuple[str, ...]] = {
    "WanTransformer3DModel": ("states",),
    "SkyReelsV2Transformer3DModel": ("states",),
    "CogVideoXTransformer3DModel": ("states",),
    "CosmosTransformer3DModel": ("states",),
    "LTXVideoTransformer3DModel": ("states", "mask"),
    "SanaVideoTransformer3DModel": ("states", "mask"),
    "MochiTransformer3DModel": ("states", "mask"),
    "HunyuanVideoTransformer3DModel": ("states", "pooled_projections", "mask"),
    "HunyuanVideo15Transformer3DModel": ("states", "mask", "encoder_hidden_states_2", "encoder_attention_mask_2"),
}
PADDED_WITH_ZEROS = {"WanTransformer3DModel", "SkyReelsV2Transformer3DModel"}  # and no mask says so
OF_A_CALL = (
    "max_sequence_length",
    "complex_human_instruction",
)  # what a pipeline's call tells `encode_prompt` by default
NOT_OF_NOTHING = "complex_human_instruction"  # what is not told of an empty prompt


class CaptionEncoder:
    """The text encoders of the pipeline in a folder.

    Raises:
        UsageError: the pipeline is of no known kind; the sentence lists those that are.
        CheckpointError: something is missing, pickled or damaged.
    """

    def __init__(self, folder: Path, dtype: torch.dtype = torch.float32, device: torch.device | str = "cpu") -> None:
        self.kind = check_text_known(folder)
        self.device = torch.device(device)
        self.pipe = _load(folder, dtype).to(self.device)
        called = inspect.signature(type(self.pipe).__call__).parameters
        taken = inspect.signature(type(self.pipe).encode_prompt).parameters
        self._told = {name: called[name].default for name in OF_A_CALL if name in called and name in taken}
        if "do_classifier_free_guidance" in taken:
            self._told["do_classifier_free_guidance"] = False

    @torch.no_grad()
    def __call__(self, texts: Sequence[str]) -> Caption:
        """The captions as the base was trained with them, padded to its length."""
        return Caption.join([self._encode(text) for text in texts])

    def _encode(self, text: str) -> Caption:
        told = {name: value for name, value in self._told.items() if text or name != NOT_OF_NOTHING}
        results: Sequence[Tensor] = self.pipe.encode_prompt(prompt=[text], device=self.device, **told)
        given = dict(zip(GIVEN[self.kind], results, strict=False))
        states = given.pop("states")
        if "mask" in given:
            mask = given.pop("mask").bool()
        elif self.kind in PADDED_WITH_ZEROS:
            mask = states.ne(0).any(dim=-1)
        else:
            mask = torch.ones(states.shape[:2], dtype=torch.bool, device=states.device)
        return Caption(states, mask, given)


def check_text_known(folder: Path) -> str:
    """The class of the transformer of the pipeline in a folder.

    Raises:
        UsageError: for one of which it is not known what its captions are; the sentence lists those that are.
    """
    index = read_index(folder)
    kind = str((index.get("transformer") or index.get("transformer_2") or (None, None))[1])
    if kind not in GIVEN:
        raise UsageError(
            f"{folder} holds a {index.get('_class_name')} with a {kind}, whose captions malt does not know; give a base with one "
            f"of {', '.join(GIVEN)}"
        )
    return kind


def _load(folder: Path, dtype: torch.dtype) -> Any:
    index = read_index(folder)
    parts = [name for name, value in index.items() if isinstance(value, list) and value[0] is not None]
    for name in (name for name in parts if name.startswith("text_encoder")):
        check_not_pickled(folder / name)
    left_out = {name: None for name in parts if not name.startswith(NEEDED)}
    kind = getattr(diffusers, str(index.get("_class_name")), DiffusionPipeline)
    try:
        return kind.from_pretrained(folder, dtype=dtype, local_files_only=True, use_safetensors=True, **left_out)
    except WHAT_LOADING_RAISES as error:
        reason = str(error).strip().split("\n")[0][:200]
        raise CheckpointError(
            f"the text encoders of {folder} cannot be loaded ({reason}); copy the base again, whole"
        ) from error
