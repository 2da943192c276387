"""How far decoding piece by piece is from decoding the whole, for autoencoders that look ahead or back without end.

    python benchmarks/overlap.py [--vae DIR] [--out docs/results/overlap.json]

Without `--vae`: autoencoders of the library's classes, as deep as the released ones, thin and with random weights, on latents
that change smoothly. With it: the released weights in a folder, on latents of that kind. For each overlap: the root mean square
of the difference, in parts of that of the frames about their mean; and the step over a seam, in parts of the same step of the
whole, with the step blended and as it is.
"""

import argparse
from collections.abc import Iterator
from pathlib import Path

import diffusers
import torch
from results import say, timed, write
from torch import Tensor, nn

from malt.codecs.overlap import OverlapCodec
from malt.codecs.registry import codec_of
from malt.pipelines.autoencoder_loading import load_autoencoder

OVERLAPS, PIECE, NUM_LATENTS, SIDE, SEED = (1, 2, 4, 8, 16), 4, 32, 4, 0

LTX_095 = {
    "block_out_channels": (8, 16, 32, 64),
    "down_block_types": ("LTXVideo095DownBlock3D",) * 4,
    "decoder_block_out_channels": (8, 16, 32),
    "layers_per_block": (4, 6, 6, 2, 2),
    "decoder_layers_per_block": (5, 5, 5, 5),
    "spatio_temporal_scaling": (True,) * 4,
    "decoder_spatio_temporal_scaling": (True,) * 3,
    "decoder_inject_noise": (False,) * 4,
    "downsample_type": ("spatial", "temporal", "spatiotemporal", "spatiotemporal"),
    "upsample_residual": (True,) * 3,
    "upsample_factor": (2,) * 3,
    "spatial_compression_ratio": 32,
    "temporal_compression_ratio": 8,
}
LTX_2 = {
    "block_out_channels": (8, 16, 32, 64),
    "decoder_block_out_channels": (8, 16, 32),
    "decoder_causal": False,  # as released; the class by itself looks back alone
    "spatial_compression_ratio": 32,
    "temporal_compression_ratio": 8,
}


def thin() -> Iterator[tuple[str, nn.Module]]:
    """Autoencoders as deep as the released ones."""
    wide = {"latent_channels": 8, "block_out_channels": (8,) * 4}
    yield "LTX-Video 0.9", diffusers.AutoencoderKLLTXVideo(**wide, decoder_block_out_channels=(8,) * 4)
    yield "LTX-Video 0.9.5", diffusers.AutoencoderKLLTXVideo(latent_channels=8, **LTX_095)
    yield "HunyuanVideo", diffusers.AutoencoderKLHunyuanVideo(**wide, norm_num_groups=4)
    yield "HunyuanVideo 1.5", diffusers.AutoencoderKLHunyuanVideo15(block_out_channels=(8,) * 5, latent_channels=8)
    yield "LTX-2", diffusers.AutoencoderKLLTX2Video(latent_channels=8, **LTX_2)


def smooth(channels: int) -> Tensor:
    """Latents of unit deviation in which neighbours are 0.9 alike."""
    chance = torch.Generator().manual_seed(SEED)
    latents = [torch.randn(1, channels, SIDE, SIDE, generator=chance)]
    for _ in range(NUM_LATENTS - 1):
        latents.append(0.9 * latents[-1] + 0.19**0.5 * torch.randn(latents[0].shape, generator=chance))
    return torch.stack(latents, dim=1)


def measure(codec: OverlapCodec) -> dict:
    """The figures for each overlap."""
    latents, found = smooth(codec.latent_channels), dict[int, dict]()
    whole = codec.decode(latents)[0]
    seams = [codec.frames_of(end, first=True) for end in range(PIECE, NUM_LATENTS, PIECE)]
    blend = codec._blend
    for codec.overlap in OVERLAPS:
        found[codec.overlap] = {}
        for name, kind in (("blended", blend), ("as it is", lambda frames, count, shown: frames[:, -count:])):
            codec._blend = kind
            frames = stream(codec, latents)
            difference = rms(frames - whole) / rms(whole - whole.mean())
            seam = rms(steps(frames, seams)) / rms(steps(whole, seams))
            found[codec.overlap][name] = {"difference": round(float(difference), 4), "seam": round(float(seam), 3)}
    return found


def stream(codec: OverlapCodec, latents: Tensor) -> Tensor:
    """The frames of piece after piece."""
    cache, frames = None, []
    for piece in latents.split(PIECE, dim=1):
        made, cache = codec.decode(piece, cache)
        frames.append(made)
    return torch.cat(frames, dim=1)


def steps(frames: Tensor, seams: list[int]) -> Tensor:
    """From the last frame of each piece to the first of the next."""
    return torch.stack([frames[:, seam] - frames[:, seam - 1] for seam in seams])


def rms(values: Tensor) -> Tensor:
    """Root mean square."""
    return values.square().mean().sqrt()


def main() -> None:
    """Measure and write the figures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--vae", type=Path, help="folder of released weights")
    parser.add_argument("--out", type=Path, default=Path("docs/results/overlap.json"))
    options = parser.parse_args()
    figures: dict = {"piece": PIECE, "latents": NUM_LATENTS, "seed": SEED}
    torch.manual_seed(SEED)
    found = [(str(options.vae), load_autoencoder(options.vae))] if options.vae else thin()
    with timed(figures, "seconds"):
        for name, autoencoder in found:
            figures[name] = say(name, measure(codec_of(autoencoder.eval())))
    write(options.out, figures)


if __name__ == "__main__":
    main()
