"""Captions through a pretrained pipeline's own text encoders; nothing else of it is loaded."""

from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import diffusers
import torch
from diffusers.configuration_utils import FrozenDict
from torch import nn

from malt.diffusion.caption import Caption
from malt.errors import CheckpointError
from malt.pipelines.autoencoder_loading import autoencoder_without_weights
from malt.pipelines.base_check import components
from malt.pipelines.base_folder import check_not_pickled, keep_text_length, read_settings
from malt.pipelines.bases.parts import BaseParts
from malt.pipelines.bases.registry import known_pipeline, parts_of
from malt.pipelines.checkpoint_check import WHAT_LOADING_RAISES, check_quantiser, how_to_load
from malt.pipelines.loading import check_complete

TEXT = ("text_encoder", "tokenizer", "connectors")  # what the names of parts begin with that encode a caption
ALWAYS = ("scheduler", "guider")  # and of those without weights that a pipeline may ask


class CaptionEncoder:
    """The text encoders of the pipeline in a folder.

    Raises:
        UsageError: the pipeline is of no known family; the sentence lists those that are.
        CheckpointError: something is missing, pickled or damaged.
    """

    def __init__(self, folder: Path, dtype: torch.dtype = torch.float32, device: torch.device | str = "cpu") -> None:
        self.parts = base_parts(folder, (*TEXT, *ALWAYS), dtype)
        self.pipe = self.parts.pipe.to(device)

    @torch.no_grad()
    def __call__(self, texts: Sequence[str]) -> Caption:
        """The captions as the base was trained with them, padded to its length."""
        return Caption.join([self.parts.encode([text], None)[0] for text in texts])


def base_parts(folder: Path, loaded: Sequence[str] = ALWAYS, dtype: torch.dtype = torch.float32) -> BaseParts:
    """What is known of the pipeline in a folder, of whose networks none is loaded but those whose names begin with `loaded`.

    Raises:
        UsageError: the pipeline is of no known family; the sentence lists those that are.
        CheckpointError: something is missing, pickled or damaged.
    """
    index = read_settings(folder / "model_index.json")
    kind = getattr(diffusers, known_pipeline(str(index.get("_class_name"))))
    names = [*components(index)]
    left_out: dict[str, Any] = {name: None for name in names if not name.startswith(tuple(loaded))}
    for name in names:
        if name not in left_out:
            check_not_pickled(folder / name)
            check_quantiser(folder / name)
    where = {"local_files_only": True, "use_safetensors": True}
    left_out["vae"] = autoencoder_without_weights(folder)  # which some pipelines ask for its sizes as they begin
    try:
        pipe: Any = kind.from_pretrained(folder, dtype=dtype, **where, **left_out)
    except WHAT_LOADING_RAISES as error:
        reason = str(error).strip().split("\n")[0][:200]
        what_to_do = how_to_load(*(folder / name for name in names if name not in left_out))
        raise CheckpointError(f"the text encoders of {folder} cannot be loaded ({reason}); {what_to_do}") from error
    pipe.vae = None
    for name, part in pipe.components.items():
        if isinstance(part, nn.Module):
            check_complete(folder / name, part)
    keep_text_length(pipe, folder)
    settings = FrozenDict(read_settings(folder / "transformer" / "config.json"))
    pipe.transformer = SimpleNamespace(config=settings, dtype=dtype)  # whose settings say what it wants to be told
    return parts_of(pipe)
