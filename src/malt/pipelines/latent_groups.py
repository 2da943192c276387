"""Whether a model's segments are what its autoencoder can decode one by one."""

from malt.codecs.base import Codec
from malt.errors import UsageError


def check_segment(codec: Codec, segment_frames: int) -> None:
    """Refuse segments that end inside a group of latents.

    Raises:
        UsageError: for such segments.
    """
    if segment_frames % codec.latent_group:
        raise UsageError(
            f"the segments have {segment_frames} latent frames, and this base's autoencoder decodes {codec.latent_group} at a "
            f"time; give an adapter whose segment_frames are a multiple of {codec.latent_group}"
        )
