"""Which codec serves an autoencoder: the one place where a class of weights becomes a codec."""

from torch import nn

from malt.codecs.base import Codec
from malt.codecs.malt import MaltCodec
from malt.models.autoencoder import AutoencoderMalt


def codec_of(autoencoder: nn.Module) -> Codec:
    """The codec of this autoencoder.

    Raises:
        TypeError: for a class that no codec serves.
    """
    if isinstance(autoencoder, AutoencoderMalt):
        return MaltCodec(autoencoder)
    return _codec_of_diffusers(autoencoder)


def _codec_of_diffusers(autoencoder: nn.Module) -> Codec:
    # Imported late: who has our own autoencoder need not wait for these.
    from diffusers import AutoencoderKL, AutoencoderKLWan, AutoencoderTiny

    from malt.codecs.framewise import FrameCodec
    from malt.codecs.wan import WanCodec

    for kinds, codec in (((AutoencoderKL, AutoencoderTiny), FrameCodec), ((AutoencoderKLWan,), WanCodec)):
        if isinstance(autoencoder, kinds):
            return codec(autoencoder)
    raise TypeError(
        f"there is no codec for {type(autoencoder).__name__}; there are codecs for AutoencoderMalt, AutoencoderKL, "
        "AutoencoderTiny and AutoencoderKLWan"
    )
