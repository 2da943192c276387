"""Which model made a video: its name, and a hash of its weights and of what else decides its output."""

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

# Settings that came after sessions were first saved: where they are not given, a model is the one that it was.
SETTINGS_SINCE = {"memory_config"}


@dataclass(frozen=True)
class ModelIdentity:
    """A model's name, for people, and the SHA-256 by which it is told from others."""

    name: str
    sha256: str

    def __str__(self) -> str:
        return f"{self.name} ({self.sha256[:12]})"


def identify(pipe: Any) -> ModelIdentity:
    """Name and hash of a pipeline, from its tensors and settings; a fraction of a second for small models."""
    digest = hashlib.sha256()
    for part in ("transformer", "vae", "text_encoder"):
        for name, tensor in getattr(pipe, part).state_dict().items():
            digest.update(f"{part}.{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
            digest.update(tensor_bytes(tensor))
    for part in ("transformer", "vae", "scheduler"):
        digest.update(_settings(getattr(pipe, part).config))
    digest.update(json.dumps(pipe.config.get("context_noise")).encode())
    return ModelIdentity(_name(pipe), digest.hexdigest())


def tensor_bytes(tensor: Tensor) -> memoryview:
    """What a tensor holds, of whatever type and wherever it is."""
    return tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().data


def _settings(config: Any) -> bytes:
    """What a component was built with, without what the libraries note beside it."""
    public = {name: value for name, value in dict(config).items() if not name.startswith("_")}
    public = {name: value for name, value in public.items() if value is not None or name not in SETTINGS_SINCE}
    return json.dumps(public, sort_keys=True, default=str).encode()


def _name(pipe: Any) -> str:
    path = pipe.config.get("_name_or_path")
    return Path(str(path)).name if path else type(pipe).__name__
