"""A bank of encoded videos in memory, drawn from by step number: the same step always draws the same examples."""

import random

import torch
from jaxtyping import Float
from torch import Tensor

from malt.codecs.malt import MaltCodec
from malt.data.batch import Batch
from malt.models.autoencoder import AutoencoderMalt
from malt.precision import choose_precision
from malt.worlds.passage.captions import describe
from malt.worlds.passage.scenes import Scenes, hidden, render, sample_scenes

Return = tuple[int, int]  # video, and the latent frame in which a shape comes out from behind the wall


class WorldDataset:
    """Standardised latents of many videos (videos, frames, c, h, w), in half precision from frame 0 on, and their scenes.

    Where something hidden comes out is where a memory is needed, and few windows end so by chance: of those that begin no
    film, a share `return_share` is chosen to have such a moment in its last `return_frames` latent frames.
    """

    def __init__(
        self,
        latents: Float[Tensor, "v s c h w"],
        scenes: Scenes,
        seed: int = 0,
        return_share: float = 0.0,
        return_frames: int = 8,
    ) -> None:
        self.latents, self.scenes, self.seed = latents, scenes, seed
        self.return_share, self.return_frames = return_share, return_frames
        self.returns = returns(scenes, latents.shape[1]) if return_share else []

    def __call__(self, step: int, num_videos: int, num_frames: int, context_frames: int, start_share: float) -> Batch:
        """Windows of `context_frames + num_frames` latent frames, a fresh caption for each, and which begin a film.

        A share `start_share` of the windows begins where the film does; what stands for the context of these is zero.

        Raises:
            ValueError: when a window is longer than the videos.
        """
        if context_frames + num_frames > self.latents.shape[1]:
            raise ValueError(
                f"the bank's videos have {self.latents.shape[1]} latent frames and {context_frames + num_frames} are "
                "needed; encode longer videos or learn from fewer segments"
            )
        draw = random.Random(self.seed * 7_919 + step)
        nothing = self.latents.new_zeros(context_frames, *self.latents.shape[2:])
        windows, captions, begins = [], [], []
        for _ in range(num_videos):
            video, length = draw.randrange(len(self.latents)), context_frames + num_frames
            begins.append(draw.random() < start_share)
            start = draw.randrange(self.latents.shape[1] - length + 1)
            if self.returns and draw.random() < self.return_share:
                video, start = self._with_return(draw, length)
            film = self.latents[video, :num_frames] if begins[-1] else self.latents[video, start : start + length]
            windows.append(torch.cat([nothing, film]) if begins[-1] else film)
            captions.append(describe(self.scenes, video, draw.getrandbits(32)).text)
        return Batch(torch.stack(windows).float(), captions, torch.tensor(begins))

    def _with_return(self, draw: random.Random, length: int) -> tuple[int, int]:
        """A video, and the start of a window of it in whose last frames a shape comes out; the film's end where none fits."""
        for _ in range(1000):
            video, frame = draw.choice(self.returns)
            start = frame + 1 + draw.randrange(min(self.return_frames, length)) - length
            if 0 <= start <= self.latents.shape[1] - length:
                break
        return video, max(0, min(start, self.latents.shape[1] - length))


def returns(scenes: Scenes, num_frames: int) -> list[Return]:
    """Every time that a shape, wholly hidden until then, comes out within `num_frames` latent frames, of 4 frames each."""
    away = hidden(scenes, 0, 4 * num_frames)
    video, frame, _ = (away[:, :-1] & ~away[:, 1:]).nonzero(as_tuple=True)
    return list(zip(video.tolist(), ((frame + 1) // 4).tolist(), strict=True))


@torch.no_grad()
def encode_world(
    autoencoder: AutoencoderMalt, num_videos: int, num_frames: int, seed: int, batch_size: int = 8
) -> tuple[Float[Tensor, "v s c h w"], Scenes]:
    """Render and encode the first `num_frames` frames of `num_videos` scenes; standardised, in half precision."""
    scenes, codec = sample_scenes(num_videos, seed), MaltCodec(autoencoder)
    dtype = choose_precision("auto", autoencoder.device)
    encoded = []
    for first in range(0, num_videos, batch_size):
        frames = render(scenes[first : first + batch_size].to(autoencoder.device), 0, num_frames)
        with torch.autocast(autoencoder.device.type, dtype, enabled=dtype != torch.float32):
            encoded.append(codec.encode(frames)[0].half().cpu())
    return torch.cat(encoded), scenes
