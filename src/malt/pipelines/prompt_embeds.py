"""Prompts as diffusers' pipelines take them, texts or embeddings, brought into one form and checked."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeVar

import torch
from diffusers.utils import logging
from jaxtyping import Bool, Float
from torch import Tensor
from torch.nn import functional as F
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from malt.errors import UsageError
from malt.unicode import check_text
from malt.wording import counted

logger = logging.get_logger(__name__)
Part = TypeVar("Part")
Prompt = str | Sequence[str]
Embeds = tuple[Float[Tensor, "b n e"], Bool[Tensor, "b n"]]  # encoder states, and which of them count
MAX_CAPTION_TOKENS = 256  # for tokenizers that state no bound of their own, such as UMT5's


@dataclass(frozen=True)
class PromptEncoder:
    """What makes embeddings of prompts: a tokenizer and a text encoder, which a pipeline may lack, and where it computes."""

    tokenizer: PreTrainedTokenizerBase | None
    text_encoder: PreTrainedModel | None
    device: torch.device

    @property
    def max_length(self) -> int:
        """How many tokens of a prompt are read."""
        return min(int(self._tokenizer.model_max_length), MAX_CAPTION_TOKENS)

    @torch.no_grad()
    def encode(self, texts: list[str]) -> Embeds:
        """Embeddings of texts, padded to the most that are read.

        Raises:
            UsageError: the pipeline has no text encoder.
        """
        for text in texts:
            if unread := self.unread(text):
                logger.warning("the prompt is too long for the model, which does not read %r", unread)
        padded = {"padding": "max_length", "max_length": self.max_length, "truncation": True}
        tokens = self._tokenizer(texts, **padded, return_tensors="pt").to(self.device)
        states = self._text_encoder(tokens.input_ids, attention_mask=tokens.attention_mask).last_hidden_state
        return states, tokens.attention_mask.bool()

    def unread(self, text: str) -> str:
        """The end of a text that is not read, as it is longer than `max_length`; empty if all of it is."""
        tokens = self._tokenizer(text, truncation=False, verbose=False)
        if len(tokens.input_ids) <= self.max_length:
            return ""
        first = self.max_length - 1  # the last token that is read is the end's
        if self._tokenizer.is_fast:
            return text[tokens.token_to_chars(first).start :]
        return str(self._tokenizer.decode(tokens.input_ids[first:], skip_special_tokens=True))

    @property
    def _tokenizer(self) -> PreTrainedTokenizerBase:
        return _needed(self.tokenizer)

    @property
    def _text_encoder(self) -> PreTrainedModel:
        return _needed(self.text_encoder)


def _needed(part: Part | None) -> Part:
    if part is None:
        raise UsageError("this pipeline has no text encoder; give prompt_embeds and negative_prompt_embeds")
    return part


def read_texts(prompt: Prompt | None, option: str = "prompt") -> list[str]:
    """A text or some texts as a list.

    Raises:
        UsageError: there is none, or it is something else, or no UTF-8.
    """
    if prompt is None:
        raise UsageError(f"there is no {option}; say what the video shows, or give {option}_embeds")
    if isinstance(prompt, str):
        prompt = [prompt]
    if not isinstance(prompt, Sequence) or not all(isinstance(text, str) for text in prompt):
        raise UsageError(f"the {option} is {prompt!r:.40}; give a text, or a list of texts for several videos")
    for text in prompt:
        check_text(text)
    return list(prompt)


def check_embeds(embeds: Tensor, mask: Tensor | None, like: tuple[torch.device, torch.dtype], option: str) -> Embeds:
    """Embeddings of a caller, and which of them count, where and as a model wants them.

    Raises:
        UsageError: it is not said which count, or the shapes do not fit.
    """
    device, dtype = like
    if mask is None:
        raise UsageError(f"{option}_embeds lack {option}_attention_mask; encode_prompt gives both")
    if embeds.ndim != 3 or mask.shape != embeds.shape[:2]:
        shapes = f"{tuple(embeds.shape)} and {tuple(mask.shape)}"
        raise UsageError(f"{option}_embeds and their mask have the shapes {shapes}; give (b, n, e) and (b, n)")
    return embeds.to(device, dtype), mask.to(device).bool()


def pair(prompt: Embeds, negative: Embeds, num_videos_per_prompt: int) -> tuple[Embeds, Embeds]:
    """Embeddings of what to show and of what not, of one length, and each as often as it has videos.

    Raises:
        UsageError: there are not as many of the one as of the other, they differ in width, or there are to be no videos.
    """
    if num_videos_per_prompt < 1:
        raise UsageError(f"asked for {num_videos_per_prompt} videos per prompt; give at least 1")
    if len(prompt[0]) != len(negative[0]):
        raise UsageError(
            f"got {counted(len(negative[0]), 'negative prompt')} for {counted(len(prompt[0]), 'prompt')}; give one for each"
        )
    if prompt[0].shape[2] != negative[0].shape[2]:
        widths = f"{prompt[0].shape[2]} and {negative[0].shape[2]}"
        raise UsageError(f"the embeddings of prompt and negative prompt are {widths} wide; give them one width")
    length = max(prompt[0].shape[1], negative[0].shape[1])
    first, second = (_of_length(embeds, length, num_videos_per_prompt) for embeds in (prompt, negative))
    return first, second


def _of_length(embeds: Embeds, length: int, times: int) -> Embeds:
    states, mask = embeds
    missing = length - states.shape[1]
    padded = F.pad(states, (0, 0, 0, missing)), F.pad(mask, (0, missing))
    return padded[0].repeat_interleave(times, dim=0), padded[1].repeat_interleave(times, dim=0)
