"""Bases of that kind that make video from an image: its latents and a mask in channels, and SigLIP's tokens beside the text."""

from collections.abc import Mapping

import torch
from PIL import Image
from torch import Tensor

from malt.codecs.base import Codec
from malt.media.pixels import to_pixels
from malt.pipelines.bases.guided_parts import GuidedParts, HunyuanVideo15Parts, MotifVideoParts


class FromImageParts(GuidedParts):
    """What is known of a clip is its first frame."""

    @property
    def goes_on_from_frame(self) -> bool:
        """Always."""
        return True

    def window(self, num_latents: int) -> int:
        """The frame that a clip begins with."""
        return 1

    def from_frame(self, codec: Codec, frame: Tensor, num_latents: int) -> Mapping[str, Tensor]:
        """The frame's latents, zeros behind them and a mask of what is known, and the frame's tokens where they are wanted."""
        shown = codec.encode(frame)[0].to(frame.device)
        known = shown.new_zeros(len(shown), num_latents, shown.shape[2] + 1, *shown.shape[3:])
        known[:, :1, :-1], known[:, 0, -1] = shown, 1
        tokens = self.tokens_of(frame[:, 0])
        return {"known_latents": known} | ({} if tokens is None else {"image_embeds": tokens})

    def tokens_of(self, images: Tensor) -> Tensor | None:
        """What the image encoder makes of images (b, 3, H, W) in [-1, 1]: (b, n, e)."""
        raise NotImplementedError


class HunyuanVideo15ImageParts(FromImageParts, HunyuanVideo15Parts):
    """HunyuanVideo 1.5's models of images, which have an image encoder of their own."""

    def tokens_of(self, images: Tensor) -> Tensor:
        """As its pipeline encodes them."""
        told = {"batch_size": 1, "device": images.device, "dtype": self.pipe.transformer.dtype}
        return torch.cat([self.pipe.encode_image(Image.fromarray(pixels), **told) for pixels in to_pixels(images)])


class MotifVideoImageParts(FromImageParts, MotifVideoParts):
    """Motif-Video as it makes video from an image, which its text encoder sees."""

    def tokens_of(self, images: Tensor) -> Tensor | None:
        """As its pipeline encodes them; None where the transformer takes none."""
        if self.pipe.transformer.config.image_embed_dim is None:
            return None
        sees, prepares = self.pipe.text_encoder.vision_tower, self.pipe.feature_extractor
        tokens: Tensor = self.pipe._get_image_embeds(sees, prepares, (images / 2 + 0.5).clamp(0, 1), images.device)
        return tokens
