"""Captions as a frozen base is told them: looked up where they are stored, else by its own text encoders, once each."""

from collections.abc import Callable, Sequence
from pathlib import Path

import torch

from malt.data.stored_captions import CaptionTensors, StoredCaptions, padded, trimmed
from malt.data.text_fingerprint import identify_text
from malt.diffusion.caption import Caption
from malt.pipelines.caption_encoding import CaptionEncoder

MOST_KEPT = 4096  # captions


def base_text(base: Path, shards: Path | None, dtype: torch.dtype, device: str) -> Callable[[Sequence[str]], Caption]:
    """What knows the captions of a base: those stored beside shards, so that no text encoder is loaded, or its encoders.

    Raises:
        UsageError: the stored captions are another base's, or the base is of no known family.
        CheckpointError: the text encoders cannot be loaded.
    """
    if shards is not None and (stored := StoredCaptions(shards)):
        stored.check(identify_text(base))
        return stored
    return BaseText(base, dtype, device)


class BaseText:
    """The text encoders of a base's pipeline directory; what they gave is kept, cut to its tokens."""

    def __init__(self, base: Path, dtype: torch.dtype, device: str) -> None:
        self._encode = CaptionEncoder(base, dtype, device)
        self._known: dict[str, CaptionTensors] = {}

    def __call__(self, captions: Sequence[str]) -> Caption:
        """What the base is told of these captions, padded as it was trained."""
        if len(self._known) + len(captions) > MOST_KEPT:
            self._known = {}
        for caption in captions:
            if caption not in self._known:
                self._known[caption] = trimmed(self._encode([caption]))
        return Caption.join([padded(self._known[caption]) for caption in captions])
