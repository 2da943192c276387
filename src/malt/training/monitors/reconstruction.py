"""How well a codec gives back frames that it never learned from: PSNR and SSIM."""

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor
from torchmetrics.functional.image import peak_signal_noise_ratio, structural_similarity_index_measure

from malt.codecs.base import Codec


def reconstruction(codec: Codec, clips: Sequence[Float[Tensor, "b t 3 H W"]]) -> dict[str, float]:
    """PSNR in dB and SSIM between frames in [-1, 1] and what the codec makes of them; means over all frames."""
    decibels, similarities = [], []
    for frames in clips:
        latents, _ = codec.encode(frames)
        decoded = _pictures(codec.decode(latents)[0].to(frames))
        true = _pictures(frames)
        decibels.append(peak_signal_noise_ratio(decoded, true, data_range=1.0, reduction="none", dim=(1, 2, 3)).cpu())
        similarity = structural_similarity_index_measure(decoded, true, data_range=1.0, reduction="none")
        assert isinstance(similarity, Tensor)  # a tuple only where more than the index is asked for
        similarities.append(similarity.cpu())
    psnr, ssim = torch.cat(decibels), torch.cat(similarities)
    return {"psnr": float(psnr.mean()), "ssim": float(ssim.mean()), "num_frames": float(len(psnr))}


def _pictures(frames: Float[Tensor, "b t 3 H W"]) -> Float[Tensor, "n 3 H W"]:
    """All frames, from 0 to 1."""
    return (frames.clamp(-1, 1).flatten(0, 1) + 1) / 2
