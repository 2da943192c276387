"""Which codec serves an autoencoder: the one place where a class of weights becomes a codec."""

from importlib import import_module

from torch import nn

from malt.codecs.base import Codec

# The autoencoder's class, and where its codec lies; imported late, as nobody needs all of them.
CODECS = {
    "AutoencoderMalt": "malt.codecs.malt.MaltCodec",
    "AutoencoderKL": "malt.codecs.framewise.FrameCodec",
    "AutoencoderTiny": "malt.codecs.framewise.FrameCodec",
    "AutoencoderKLWan": "malt.codecs.wan.WanCodec",
    "AutoencoderKLCogVideoX": "malt.codecs.cogvideox.CogVideoXCodec",
    "AutoencoderKLLTXVideo": "malt.codecs.ltx.LTXCodec",
    "AutoencoderKLLTX2Video": "malt.codecs.ltx.LTXCodec",
    "AutoencoderKLHunyuanVideo": "malt.codecs.hunyuan.HunyuanCodec",
    "AutoencoderKLHunyuanVideo15": "malt.codecs.hunyuan.HunyuanCodec",
    "AutoencoderKLMochi": "malt.codecs.mochi.MochiCodec",
}


def codec_of(autoencoder: nn.Module) -> Codec:
    """The codec of this autoencoder.

    Raises:
        TypeError: for a class that no codec serves.
    """
    for kind in type(autoencoder).__mro__:
        if path := CODECS.get(kind.__name__):
            module, _, name = path.rpartition(".")
            codec: Codec = getattr(import_module(module), name)(autoencoder)
            return codec
    raise TypeError(f"there is no codec for {type(autoencoder).__name__}; there are codecs for {', '.join(CODECS)}")
