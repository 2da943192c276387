"""Features of short clips of `passage`, from a small 3-D network trained on the world's own labels.

It was taught kind, colour and direction of the shape in each lane, the wall and the place (`benchmarks/world_features.py`
makes it). A Frechet distance between its features is a distance of this world's videos, and is never called FVD.
"""

import json
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from pathlib import Path

import torch
import torch.nn.functional as F
from einops import rearrange
from jaxtyping import Float
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from malt.errors import CheckpointError
from malt.worlds.passage.scenes import COLOURS, KINDS, PLACES, SIZE, WALLS
from malt.worlds.video_features import in_parts

CLIP_FRAMES = 16
NUM_FEATURES = 64
LANES = ("upper", "lower")
ANSWERS = {"kind": len(KINDS), "colour": len(COLOURS), "direction": 2}  # asked of each lane
Size = tuple[int, int, int]
SCENERY = {"wall": len(WALLS), "place": len(PLACES)}


class WorldFeatures(nn.Module):
    """Clips (n, 16, 3, h, w) in [-1, 1] to features (n, 64); `answers` says what the labels' heads make of them."""

    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Sequential(
            *_block(3, 24, kernel=(4, 5, 5), stride=(4, 2, 2)),  # moments of four frames, 32x32
            *_block(24, 48, kernel=(1, 3, 3), stride=(1, 2, 2)),
            *_block(48, 64, kernel=(2, 3, 3), stride=(2, 2, 2)),
            *_block(64, 64, kernel=(2, 3, 3), stride=(2, 2, 2)),
            nn.Flatten(),
            nn.Linear(64 * (SIZE // 16) ** 2, NUM_FEATURES),
        )
        asked = {f"{lane}_{label}": num for lane in LANES for label, num in ANSWERS.items()} | SCENERY
        self.heads = nn.ModuleDict({name: nn.Linear(NUM_FEATURES, num) for name, num in asked.items()})

    def forward(self, clips: Float[Tensor, "n t 3 h w"]) -> Float[Tensor, "n d"]:
        """Features; frames of other sizes than the world's are scaled to it."""
        features: Tensor = self.body(rearrange(_world_size(clips), "n t c h w -> n c t h w"))
        return features

    def answers(self, features: Float[Tensor, "n d"]) -> dict[str, Tensor]:
        """Scores of every label's values, (n, values)."""
        return {name: head(F.relu(features)) for name, head in self.heads.items()}


def _block(num_in: int, num_out: int, kernel: Size, stride: Size) -> list[nn.Module]:
    padding = (0, kernel[1] // 2, kernel[2] // 2)
    return [nn.Conv3d(num_in, num_out, kernel, stride, padding, bias=False), nn.BatchNorm3d(num_out), nn.ReLU()]


def _world_size(clips: Tensor) -> Tensor:
    if clips.shape[-2:] == (SIZE, SIZE):
        return clips
    frames: Tensor = F.interpolate(
        clips.flatten(0, 1), (SIZE, SIZE), mode="bilinear", antialias=True, align_corners=False
    )
    return rearrange(frames, "(n t) c h w -> n t c h w", n=len(clips))


@dataclass(frozen=True)
class WorldClips:
    """Of every 16-frame window, by the network taught the world's own labels; they see kind, colour and motion."""

    name: str = "world, 16-frame windows"

    def ends(self, num_frames: int) -> list[int]:
        """The last frame of every window."""
        return list(range(CLIP_FRAMES, num_frames + 1, CLIP_FRAMES))

    def __call__(self, videos: Float[Tensor, "b t 3 h w"]) -> Float[Tensor, "n d"]:
        """Windows side by side; frames that do not fill one are left out."""
        return in_parts(load_world_features(), windows(videos))


@dataclass(frozen=True)
class WorldVideos:
    """Of a whole video: mean and standard deviation of its windows' features, so that what changes midway is seen."""

    name: str = "world, whole videos"

    def ends(self, num_frames: int) -> list[int]:
        """The last frame of the last window."""
        return [num_frames // CLIP_FRAMES * CLIP_FRAMES]

    def __call__(self, videos: Float[Tensor, "b t 3 h w"]) -> Float[Tensor, "n d"]:
        """One feature a video."""
        of_windows = rearrange(in_parts(load_world_features(), windows(videos)), "(b k) d -> b k d", b=len(videos))
        return torch.cat([of_windows.mean(1), of_windows.std(1, unbiased=False)], dim=1)


def windows(videos: Float[Tensor, "b t 3 h w"]) -> Float[Tensor, "n k 3 h w"]:
    """The 16-frame windows of videos, side by side, the first video's first; what does not fill one is left out."""
    num = videos.shape[1] // CLIP_FRAMES
    if num == 0:
        raise ValueError(f"got videos of {videos.shape[1]} frames; a window has {CLIP_FRAMES}")
    return rearrange(videos[:, : num * CLIP_FRAMES], "b (n k) c h w -> (b n) k c h w", k=CLIP_FRAMES)


@cache
def load_world_features() -> WorldFeatures:
    """The network that comes with the package, ready to use.

    Raises:
        CheckpointError: this installation lacks it.
    """
    path = weights_path()
    if not path.is_file():
        raise CheckpointError(f"{path} is missing; make it with python benchmarks/world_features.py")
    network = WorldFeatures().eval()
    network.load_state_dict(load_file(path))
    return network.requires_grad_(False)


def save_world_features(network: WorldFeatures, accuracy: dict[str, float], path: Path) -> None:
    """Write weights, and beside them how often the network is right on held-out clips."""
    path.parent.mkdir(parents=True, exist_ok=True)
    save_file({name: tensor.contiguous() for name, tensor in network.state_dict().items()}, path)
    path.with_name("accuracy.json").write_text(json.dumps(accuracy, indent=2) + "\n")


def weights_path() -> Path:
    """Where the package keeps the network."""
    return Path(str(files("malt") / "assets" / "world_features" / "model.safetensors"))
