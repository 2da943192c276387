"""Wan's image-to-video models of 36 channels: a mask and the latents of the known frame beside the noise, and CLIP's tokens."""

from collections.abc import Mapping

import torch
from torch import Tensor

from malt.codecs.base import Codec
from malt.media.pixels import to_pixels
from malt.pipelines.bases.wan_parts import WanParts


class WanImageParts(WanParts):
    """As Wan's; but for the 5 B model, what is known of a clip is its first frame, in channels of its own."""

    @property
    def goes_on_from_frame(self) -> bool:
        """Whether a segment is made from a frame alone."""
        return not self.pipe.config.get("expand_timesteps")

    def window(self, num_latents: int) -> int:
        """The frame that a clip begins with."""
        return 1

    def from_frame(self, codec: Codec, frame: Tensor, num_latents: int) -> Mapping[str, Tensor]:
        """The frame, grey behind it, as latents with a mask of what is known, and the frame's tokens where they are wanted."""
        grey = frame.new_zeros(len(frame), codec.frames_of(num_latents, first=True) - 1, *frame.shape[2:])
        known = codec.encode(torch.cat([frame, grey], dim=1))[0].to(frame.device)
        mask = known.new_zeros(len(known), num_latents, codec.time_compression, *known.shape[-2:])
        mask[:, 0] = 1
        added = {"known_latents": torch.cat([mask, known], dim=2)}
        if self.pipe.transformer.config.image_dim is not None:
            added["encoder_hidden_states_image"] = self.pipe.encode_image([*to_pixels(frame[:, 0])], frame.device)
        return added
