"""Learning the autoencoder: reconstruct clips through slightly noisy latents, with care for edges and for detail."""

from collections.abc import Callable
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from einops import rearrange
from jaxtyping import Float
from torch import Tensor

from malt.models.autoencoder import AutoencoderMalt
from malt.training.objectives.rng import WHOLE, RankAndSize, check_shared, rows

Clips = Callable[[int, int], Float[Tensor, "b t 3 H W"]]  # (step, number of clips) -> frames in [-1, 1]


@dataclass(frozen=True, kw_only=True)
class ReconstructionConfig:
    """Weights of the reconstruction loss."""

    batch_size: int = 12
    latent_noise: float = 0.1  # standard deviation of the noise added to latents: what comes after will not be exact
    contrast: float = 12.0  # extra weight of pixels that differ from the region around them
    edges: float = 1.0  # weight of the differences between neighbouring pixels, in space and time
    spectrum: float = 0.0  # weight of the amplitudes of the frequencies in small patches, which blur takes away
    prior: float = 0.0  # weight of the latents' mean square: their divergence from the standard normal distribution

    def __post_init__(self) -> None:
        if self.batch_size < 1:
            raise ValueError(f"batch_size is {self.batch_size}; give at least 1")
        for name in ("latent_noise", "contrast", "edges", "spectrum", "prior"):
            if getattr(self, name) < 0:
                raise ValueError(f"{name} is {getattr(self, name)}; give at least 0")


class ReconstructionObjective:
    """A `TrainingObjective`: reconstruct the clips of each step, of which this process computes those of `rank_and_size`."""

    def __init__(
        self,
        module: AutoencoderMalt,
        clips: Clips,
        objective: ReconstructionConfig,
        seed: int,
        dtype: torch.dtype,
        rank_and_size: RankAndSize = WHOLE,
    ) -> None:
        check_shared(rank_and_size, objective.batch_size)
        self.module, self.clips, self.objective = module, clips, objective
        self.seed, self.dtype, self.rank_and_size = seed, dtype, rank_and_size
        self.encode, self.decode, self.distance = module.encode, module.decode, reconstruction_loss

    def compile(self) -> None:
        """Compile the passes and the loss: a third less time a step on a CPU."""
        self.encode, self.decode = torch.compile(self.encode), torch.compile(self.decode)
        self.distance = torch.compile(self.distance)

    def loss(self, step: int) -> tuple[Tensor, dict[str, float]]:
        """Reconstruction loss of this step's clips, and their PSNR in dB."""
        count, own = self.objective.batch_size, rows(self.rank_and_size)
        frames = self.clips(step, count)[own]
        with torch.autocast(frames.device.type, self.dtype, enabled=self.dtype != torch.float32):
            latents, _ = self.encode(frames)
            rng = torch.Generator(frames.device).manual_seed(self.seed * 1_000_003 + step)
            noise = torch.randn((count, *latents.shape[1:]), generator=rng, device=frames.device)[own]
            decoded, _ = self.decode(latents + self.objective.latent_noise * noise)
        loss = self.distance(decoded.float(), frames, self.objective)
        if self.objective.prior:
            loss = loss + self.objective.prior * latents.float().square().mean() / 2
        psnr = -10 * torch.log10((decoded.detach().float() - frames).square().mean() / 4)
        return loss, {"psnr": float(psnr), "latent_std": float(latents.detach().float().std())}


def reconstruction_loss(
    decoded: Float[Tensor, "b t 3 H W"], frames: Float[Tensor, "b t 3 H W"], objective: ReconstructionConfig
) -> Float[Tensor, ""]:
    """Charbonnier distance, weighted by local contrast, and the same of differences along height, width and time.

    Where the objective weighs them, the amplitudes of the frequencies as well.
    """
    flat = rearrange(frames, "b t c h w -> (b t) c h w")
    around = F.avg_pool2d(flat, 17, stride=1, padding=8, count_include_pad=False)
    contrast = rearrange((flat - around).abs().mean(dim=1), "(b t) h w -> b t 1 h w", b=frames.shape[0])
    error = decoded - frames
    loss = (_charbonnier(error) * (1 + objective.contrast * contrast)).mean()
    edges = sum(_charbonnier(error.diff(dim=axis)).mean() for axis in (1, 3, 4)) / 3
    loss = loss + objective.edges * edges
    return loss + objective.spectrum * spectral_distance(decoded, frames) if objective.spectrum else loss


def spectral_distance(
    decoded: Float[Tensor, "b t 3 H W"], frames: Float[Tensor, "b t 3 H W"], sizes: tuple[int, ...] = (8, 16)
) -> Float[Tensor, ""]:
    """Mean absolute difference of the frequencies' amplitudes in patches of these sizes, in pixels.

    Blur is cheap by pixels, as it is right on average; here it costs, as it takes the high frequencies away. Detail at a
    place that is slightly wrong costs little.
    """
    distances = []
    for size in sizes:
        height, width = (side // size * size for side in frames.shape[-2:])
        if height and width:
            spectra = (_amplitudes(video[..., :height, :width], size) for video in (decoded, frames))
            distances.append((next(spectra) - next(spectra)).abs().mean())
    return torch.stack(distances).mean()


def _amplitudes(video: Float[Tensor, "b t 3 H W"], size: int) -> Tensor:
    """Amplitude of every frequency but the constant one, in patches of `size` x `size` pixels."""
    patches = rearrange(video, "b t c (h p) (w q) -> (b t c h w) p q", p=size, q=size)
    waves = torch.fft.rfft2(patches, norm="ortho")
    power = waves.real.square() + waves.imag.square()
    return torch.sqrt(power + 1e-6).flatten(1)[:, 1:]


def _charbonnier(error: Tensor) -> Tensor:
    return torch.sqrt(error.square() + 1e-4) - 1e-2


@torch.no_grad()
def latent_statistics(model: AutoencoderMalt, frames: Float[Tensor, "b t 3 H W"]) -> tuple[list[float], list[float]]:
    """Mean and standard deviation of every latent channel over these frames."""
    latents = rearrange(model.encode(frames)[0].float(), "b s c h w -> c (b s h w)")
    return latents.mean(dim=1).tolist(), latents.std(dim=1).tolist()
