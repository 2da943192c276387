"""Which autoencoder made these latents: its class and a hash of its weights and settings."""

import hashlib
import json
from typing import NamedTuple

import torch
from torch import nn

# Settings that say what it learned from, or follow from its class, and change no latent.
DESCRIPTIONS = {"frame_size", "frame_rate", "scale_factor_temporal", "scale_factor_spatial"}


class CodecIdentity(NamedTuple):
    """Two codecs of the same identity give the same latents, up to rounding."""

    name: str
    digest: str

    def __str__(self) -> str:
        return f"{self.name} {self.digest[:12]}"


@torch.no_grad()
def identify(autoencoder: nn.Module) -> CodecIdentity:
    """The identity of an autoencoder; weights count as rounded to half precision, so that saving them so changes nothing."""
    digest = hashlib.sha256()
    config = {key: value for key, value in dict(autoencoder.config).items() if not key.startswith("_")}  # type: ignore[arg-type]
    told = {key: value for key, value in config.items() if key not in DESCRIPTIONS}
    digest.update(json.dumps(told, sort_keys=True, default=str).encode())
    for name, tensor in sorted(autoencoder.state_dict().items()):
        digest.update(f"{name} {tuple(tensor.shape)}".encode())
        digest.update(tensor.cpu().to(torch.float16).contiguous().numpy().tobytes())
    return CodecIdentity(type(autoencoder).__name__, digest.hexdigest())
