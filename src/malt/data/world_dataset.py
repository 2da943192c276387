"""Encoded videos of a world in memory, drawn from by step number: the same step always draws the same examples."""

import random
from collections.abc import Sequence
from typing import NamedTuple

import torch
from einops import rearrange
from jaxtyping import Float
from torch import Tensor

from malt.codecs.malt import MaltCodec
from malt.data.batch import Batch, far_start
from malt.models.autoencoder import AutoencoderMalt
from malt.precision import choose_precision
from malt.worlds.base import Return, World
from malt.worlds.registry import oracle_of


class EncodedWorld(NamedTuple):
    """Videos of a world from frame 0 on: standardised latents in half precision, and what is done in every latent frame.

    actions: those of a latent frame's video frames side by side; None where nobody acts.
    """

    latents: Float[Tensor, "v s c h w"]
    actions: Float[Tensor, "v s a"] | None = None


class WorldDataset:
    """The `SequenceSampler` of a world's videos, which are named by their seeds.

    Where something hidden comes out is where a memory is needed, and few windows end so by chance: of those that begin no
    video, a share `return_share` is chosen to have such a return in its last `return_frames` latent frames.
    """

    def __init__(
        self,
        world: World,
        seeds: Sequence[int],
        encoded: EncodedWorld,
        seed: int = 0,
        return_share: float = 0.0,
        return_frames: int = 8,
    ) -> None:
        self.world, self.seeds, self.seed = world, seeds, seed
        self.latents, self.actions = encoded
        self.return_share, self.return_frames = return_share, return_frames
        self.returns = latent_returns(world, seeds, self.latents.shape[1]) if return_share else []

    def __call__(
        self, step: int, num_videos: int, num_frames: int, context_frames: int, start_share: float, far_frames: int = 0
    ) -> Batch:
        """Windows of `context_frames + num_frames` latent frames, a fresh caption for each, and which begin a video.

        A share `start_share` of the windows begins where the video does; what stands for the context of these is zero.
        Of the others the context and `far_frames` behind it are from any time before the rest, half from the beginning.

        Raises:
            ValueError: when a window is longer than the videos.
        """
        length, longest = context_frames + num_frames, self.latents.shape[1]
        if length > longest:
            raise ValueError(
                f"the world's videos have {longest} latent frames and {length} are needed; encode longer videos or learn "
                "from fewer segments"
            )
        draw = random.Random(self.seed * 7_919 + step)
        windows, actions, videos, captions, begins = [], [], [], [], []
        for _ in range(num_videos):
            video = draw.randrange(len(self.latents))
            begins.append(draw.random() < start_share)
            start = draw.randrange(longest - length + 1)
            if self.returns and draw.random() < self.return_share:
                video, start = self._with_return(draw, length)
            start, missing = (0, context_frames) if begins[-1] else (start, 0)
            far = far_start(draw, start) if far_frames and not missing else start
            jump = context_frames + far_frames
            windows.append(_window(self.latents[video], start, length, missing, far, jump))
            if self.actions is not None:
                actions.append(_window(self.actions[video], start, length, missing, far, jump))
            videos.append(self.seeds[video])
            captions.append(draw.getrandbits(32))
        return Batch(
            torch.stack(windows).float(),
            self.world.captions(videos, captions),
            torch.tensor(begins),
            torch.stack(actions) if actions else None,
        )

    def _with_return(self, draw: random.Random, length: int) -> tuple[int, int]:
        """A video, and the start of a window with a return in its last frames; the video's end where none fits."""
        for _ in range(1000):
            video, frame = draw.choice(self.returns)
            start = frame + 1 + draw.randrange(min(self.return_frames, length)) - length
            if 0 <= start <= self.latents.shape[1] - length:
                break
        return video, max(0, min(start, self.latents.shape[1] - length))


def _window(
    video: Float[Tensor, "s ..."], start: int, length: int, missing: int, far: int, jump: int
) -> Float[Tensor, "n ..."]:
    """`length` frames of a video from `start` on, of which the first `missing` are zero and stand before it.

    Where `far` is earlier than `start`, the first `jump` of them are from there on.
    """
    if far < start:
        return torch.cat([video[far : far + jump], video[start + jump : start + length]])
    frames = video[start : start + length - missing]
    return torch.cat([frames.new_zeros(missing, *frames.shape[1:]), frames]) if missing else frames


def latent_returns(world: World, seeds: Sequence[int], num_frames: int) -> list[Return]:
    """Every return within the first `num_frames` latent frames of these videos, in latent frames.

    Raises:
        UsageError: the world has no oracle.
    """
    times = AutoencoderMalt.time_compression
    found = oracle_of(world, "a share of returns").returns(seeds, times * num_frames)
    return [Return(video, frame // times) for video, frame in found]


@torch.no_grad()
def encode_world(
    world: World, autoencoder: AutoencoderMalt, seeds: Sequence[int], num_frames: int, batch_size: int | None = None
) -> EncodedWorld:
    """Render and encode the first `num_frames` frames of the videos of these seeds, by default many at once on a GPU."""
    codec, dtype = MaltCodec(autoencoder), choose_precision("auto", autoencoder.device)
    batch_size = batch_size or (8 if autoencoder.device.type == "cpu" else 64)
    latents, actions = [], []
    for first in range(0, len(seeds), batch_size):
        clip = world.render(seeds[first : first + batch_size], 0, num_frames, autoencoder.device)
        with torch.autocast(autoencoder.device.type, dtype, enabled=dtype != torch.float32):
            latents.append(codec.encode(clip.frames)[0].half().cpu())
        if clip.actions is not None:
            actions.append(rearrange(clip.actions.cpu(), "b (s t) a -> b s (t a)", t=codec.time_compression))
    return EncodedWorld(torch.cat(latents), torch.cat(actions) if actions else None)
