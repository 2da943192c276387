"""FVD by the protocol of StyleGAN-V and PVDM, with the I3D network that a user brings as TorchScript.

The protocol: 2,048 generated and 2,048 real clips of 16 or 128 consecutive frames (stride 1), scaled to 224x224, 400
features of the I3D network trained on Kinetics-400, Frechet distance. The network cannot come with this package; its file
is usually named `i3d_torchscript.pt`. Fewer clips give another number: n is always told.
"""

import hashlib
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Literal

import torch
import torch.nn.functional as F
from einops import rearrange
from jaxtyping import Float
from torch import Tensor

from malt.errors import UsageError

PROTOCOL_CLIPS, SIDE = 2048, 224
PROTOCOL_FRAMES = (16, 128)  # lengths of clips, each with a figure of its own
FRAMES_AT_ONCE = 64  # frames of 224x224 that go through the network together, in whole clips
OWN_SCALING = {"rescale": True, "resize": True, "return_features": True}  # options of StyleGAN-V's file

Layout = Literal["n c t h w", "n t c h w"]


@dataclass(frozen=True, kw_only=True)
class I3D:
    """A user's I3D network: clips (n, t, 3, h, w) in [-1, 1] to features (n, d)."""

    network: torch.jit.ScriptModule
    sha256: str
    layout: Layout
    scales_itself: bool
    name: str = "I3D"

    @torch.no_grad()
    def __call__(self, videos: Float[Tensor, "b t 3 h w"]) -> Float[Tensor, "n d"]:
        """One feature a clip."""
        at_once = max(1, FRAMES_AT_ONCE // videos.shape[1])
        return torch.cat([self._features(part) for part in videos.split(at_once)])

    def _features(self, clips: Tensor) -> Tensor:
        if self.scales_itself:
            levels = ((clips + 1) * 127.5).clamp(0, 255)
            features: Tensor = self.network(_laid_out(levels, self.layout), **OWN_SCALING)
        else:
            features = self.network(_laid_out(_scaled(clips), self.layout))
        return features.flatten(1).float()


@cache
def load_i3d(path: Path) -> I3D:
    """Load the network and find out how it wants to be asked.

    Raises:
        UsageError: there is no such file, it is no TorchScript, or it takes no clips of either layout.
    """
    if not path.is_file():
        raise UsageError(f"there is no file {path}; give the TorchScript file of an I3D network")
    try:
        network = torch.jit.load(str(path), map_location="cpu").eval()
    except (RuntimeError, ValueError) as error:
        raise UsageError(f"{path} is no TorchScript file; give the one of an I3D network") from error
    options = {argument.name for argument in network.forward.schema.arguments}
    scales_itself = options >= OWN_SCALING.keys()
    sha256 = hashlib.sha256(path.read_bytes()).hexdigest()
    layouts: tuple[Layout, ...] = ("n c t h w", "n t c h w")
    for layout in layouts:
        i3d = I3D(network=network, sha256=sha256, layout=layout, scales_itself=scales_itself)
        if _takes_clips(i3d):
            return i3d
    raise UsageError(f"{path} takes no clips (n, 3, t, h, w) or (n, t, 3, h, w); give an I3D network that does")


def _takes_clips(i3d: I3D) -> bool:
    """Whether the network makes features of two clips of 16 frames."""
    try:
        return i3d(torch.zeros(2, 16, 3, SIDE, SIDE)).shape[0] == 2
    except RuntimeError:
        return False


def _scaled(clips: Tensor) -> Tensor:
    frames: Tensor = F.interpolate(clips.flatten(0, 1), (SIDE, SIDE), mode="bilinear", align_corners=False)
    return rearrange(frames, "(n t) c h w -> n t c h w", n=len(clips))


def _laid_out(clips: Tensor, layout: Layout) -> Tensor:
    return clips.transpose(1, 2) if layout == "n c t h w" else clips
