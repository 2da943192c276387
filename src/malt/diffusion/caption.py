"""What a model is conditioned on beside its memory: the text of each video, and whatever else a base wants by name."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TypedDict

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from malt.errors import UsageError


class CaptionArguments(TypedDict):
    """A caption as a `VideoModel` takes it, by name."""

    encoder_hidden_states: Tensor
    encoder_attention_mask: Tensor
    added_conditions: Mapping[str, Tensor] | None


@dataclass(frozen=True)
class Caption:
    """The conditions of a batch of videos, a value.

    states: of the text encoder. mask: which of them count. added: by name, batch first, what a pretrained base takes
    beside them: pooled text, a second encoder's states, an image's tokens, known channels, embedded guidance.
    """

    states: Float[Tensor, "b n e"]
    mask: Bool[Tensor, "b n"]
    added: Mapping[str, Tensor] = field(default_factory=dict)

    def __len__(self) -> int:
        """How many videos they are of."""
        return len(self.states)

    @property
    def arguments(self) -> CaptionArguments:
        """As a `VideoModel` takes them, by name."""
        return {
            "encoder_hidden_states": self.states,
            "encoder_attention_mask": self.mask,
            "added_conditions": self.added or None,
        }

    def map(self, function: Callable[[Tensor], Tensor]) -> "Caption":
        """The same with `function` applied to each tensor."""
        added = {name: function(tensor) for name, tensor in self.added.items()}
        return Caption(function(self.states), function(self.mask), added)

    def repeat(self, count: int) -> "Caption":
        """The conditions of `count` such batches, one behind the other."""
        return self.map(lambda tensor: tensor.repeat(count, *[1] * (tensor.ndim - 1)))

    def repeat_each(self, count: int) -> "Caption":
        """The conditions of `count` videos of each, side by side.

        Raises:
            UsageError: there are to be none.
        """
        if count < 1:
            raise UsageError(f"asked for {count} videos per prompt; give at least 1")
        return self.map(lambda tensor: tensor.repeat_interleave(count, dim=0))

    @staticmethod
    def join(captions: Sequence["Caption"]) -> "Caption":
        """The conditions of several batches as those of one."""
        added = {name: torch.cat([each.added[name] for each in captions]) for name in captions[0].added}
        states, mask = torch.cat([each.states for each in captions]), torch.cat([each.mask for each in captions])
        return Caption(states, mask, added)
