"""Captions as a frozen base is told them: looked up where they are stored, else by its own text encoder, once each."""

import json
from collections.abc import Callable, Sequence
from pathlib import Path

import torch
import transformers
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from malt.data.stored_captions import StoredCaptions
from malt.data.text_fingerprint import identify_text
from malt.diffusion.caption import Caption
from malt.errors import CheckpointError
from malt.pipelines.checkpoint_check import WHAT_LOADING_RAISES

MOST_KEPT = 4096  # captions


def base_text(base: Path, shards: Path | None, dtype: torch.dtype, device: str) -> Callable[[Sequence[str]], Caption]:
    """What knows the captions of a base: those stored beside shards, so that no text encoder is loaded, or its encoder.

    Raises:
        UsageError: the stored captions are another base's.
        CheckpointError: the text encoder cannot be loaded.
    """
    if shards is not None and (stored := StoredCaptions(shards)):
        stored.check(identify_text(base))
        return stored
    return BaseText(base, dtype, device)


class BaseText:
    """The tokenizer and the text encoder of a base's pipeline directory, T5 or what is called as T5 is.

    States are zero where a caption has ended, up to the length that the base was trained with, and a mask says where that is.
    """

    def __init__(self, base: Path, dtype: torch.dtype, device: str) -> None:
        self._length, self._device = 0, device
        try:
            index = json.loads((base / "model_index.json").read_text(encoding="utf-8"))
            kind = getattr(transformers, index["text_encoder"][1])
            self._tokenizer = transformers.AutoTokenizer.from_pretrained(base / "tokenizer", local_files_only=True)
            encoder = kind.from_pretrained(
                base / "text_encoder", dtype=dtype, local_files_only=True, use_safetensors=True
            )
        except (KeyError, AttributeError, *WHAT_LOADING_RAISES) as error:
            raise CheckpointError(f"the text encoder of {base} cannot be loaded; copy the base again, whole") from error
        self._encoder = encoder.to(device).eval().requires_grad_(False)
        self._length = min(int(self._tokenizer.model_max_length), 512)
        self._known: dict[str, Tensor] = {}

    def __call__(self, captions: Sequence[str]) -> Caption:
        """States and mask of these captions."""
        missing = sorted({caption for caption in captions if caption not in self._known})
        if missing:
            if len(self._known) + len(missing) > MOST_KEPT:
                self._known, missing = {}, sorted(set(captions))
            self._known |= zip(missing, self._encode(missing), strict=True)
        states = [self._known[caption] for caption in captions]
        longest = states[0].new_zeros(self._length, states[0].shape[1])
        padded = pad_sequence([*states, longest], batch_first=True)[:-1]
        counts = torch.tensor([len(each) for each in states], device=padded.device)
        return Caption(padded, torch.arange(self._length, device=padded.device) < counts[:, None])

    @torch.no_grad()
    def _encode(self, captions: list[str]) -> list[Tensor]:
        """States of each caption's own tokens."""
        bounds = {"padding": True, "truncation": True, "max_length": self._length, "return_tensors": "pt"}
        tokens = self._tokenizer(captions, **bounds).to(self._device)
        states = self._encoder(tokens.input_ids, attention_mask=tokens.attention_mask).last_hidden_state
        counts = tokens.attention_mask.sum(dim=1).tolist()
        return [each[:count] for each, count in zip(states, counts, strict=True)]
