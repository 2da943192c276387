"""Which model made a video: its name, and a hash of its weights and of what else decides its output."""

import hashlib
import json
import os
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, runtime_checkable

import torch
from torch import Tensor, nn

from malt.media.files import write_whole
from malt.sessions.pipeline import SessionPipeline

COMPILED = re.compile(r"(^|\.)_orig_mod\.")  # torch.compile puts a model into another
ADAPTER = re.compile(r"(\.lora_[A-Za-z_]+)\.([^.]+)(?=\.|$)")
FIRST_ADAPTER = "default_0"  # as diffusers calls a LoRA that is given no name
LATER = {
    "memory_config"
}  # settings of later versions: they count where they are set, so that sessions before them go on
LARGE = 2**28  # bytes from which on a hash takes long enough to be kept
BLOCK = 2**15
_MET: dict[tuple[str, int], str] = {}  # hashes by checksums and versions of the tensors


@dataclass(frozen=True)
class ModelIdentity:
    """A model's name, for people, and the SHA-256 by which it is told from others."""

    name: str
    sha256: str

    def __str__(self) -> str:
        return f"{self.name} ({self.sha256[:12]})"


@runtime_checkable
class OnBase(Protocol):
    """A pipeline of a pretrained base whose files say which base it is."""

    @property
    def base_identity(self) -> str | None:
        """The hash of the files and the type of the weights; None where there are no files."""
        ...

    def beside_base(self) -> Iterator[tuple[str, Tensor]]:
        """Names and tensors of what is not in them: an adapter, LoRAs."""
        ...


def identify(pipe: SessionPipeline) -> ModelIdentity:
    """Name and hash of a pipeline, from its tensors and settings; of a pretrained base, from its files.

    Neither what a LoRA is called nor whether the model was compiled is part of it. A hash is kept by checksums of the tensors,
    that of a large model in `malt/fingerprints.json` of the user's cache: taken once, it is looked up from then on.
    """
    settings = b"".join(_settings(getattr(pipe, part).config) for part in ("transformer", "vae", "scheduler"))
    settings += json.dumps(pipe.config.get("context_noise")).encode()
    if isinstance(pipe, OnBase) and (base := pipe.base_identity) is not None:
        settings += base.encode()
        return ModelIdentity(_name(pipe), _hash(dict(_plain(pipe.beside_base())), settings))
    return ModelIdentity(_name(pipe), _known_hash(dict(_tensors(pipe)), settings))


def tensor_bytes(tensor: Tensor) -> memoryview:
    """What a tensor holds, of whatever type and wherever it is."""
    return tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().data


def _tensors(pipe: SessionPipeline) -> Iterator[tuple[str, Tensor]]:
    for part in ("transformer", "vae", "text_encoder"):
        model: nn.Module = getattr(pipe, part)
        for name, tensor in _plain(model.state_dict().items()):
            yield f"{part}.{name}", tensor


def _plain(tensors: Iterable[tuple[str, Tensor]]) -> Iterator[tuple[str, Tensor]]:
    adapters: dict[str, str] = {}
    for name, tensor in tensors:
        yield _plain_name(name, adapters), tensor


def _plain_name(name: str, adapters: dict[str, str]) -> str:
    """A tensor's name without what compiling adds, its adapter called by its place among those met so far."""
    name = COMPILED.sub(r"\1", name)
    found = ADAPTER.search(name)
    if found is None:
        return name
    place = adapters.setdefault(found[2], FIRST_ADAPTER if not adapters else f"default_{len(adapters)}")
    return f"{name[: found.start()]}{found[1]}.{place}{name[found.end() :]}"


def _hash(tensors: Mapping[str, Tensor], settings: bytes) -> str:
    digest = hashlib.sha256()
    for name, tensor in tensors.items():
        digest.update(_described(name, tensor))
        digest.update(tensor_bytes(tensor))
    digest.update(settings)
    return digest.hexdigest()


def _known_hash(tensors: Mapping[str, Tensor], settings: bytes) -> str:
    """The hash, looked up where this process has met the very same tensors; an edit in place gives them new versions."""
    sums = hashlib.sha256(settings)
    for name, tensor in tensors.items():
        sums.update(_described(name, tensor) + str(tensor.stride()).encode())
        sums.update(tensor_bytes(_block_sums(tensor)))
    met = sums.hexdigest(), sum(0 if tensor.is_inference() else tensor._version for tensor in tensors.values())
    if met not in _MET:
        large = sum(tensor.nbytes for tensor in tensors.values()) >= LARGE
        _MET[met] = _kept_hash(tensors, settings, met[0]) if large else _hash(tensors, settings)
    return _MET[met]


def _kept_hash(tensors: Mapping[str, Tensor], settings: bytes, sums: str) -> str:
    file = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "malt" / "fingerprints.json"
    kept = _read(file)
    if (found := kept.get(sums)) is not None:
        return found
    found = _hash(tensors, settings)
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        write_whole(file, json.dumps(kept | {sums: found}, indent=1))
    except OSError:
        return found  # it is taken again the next time
    return found


def _block_sums(tensor: Tensor) -> Tensor:
    """A sum of the words of every block: where a tensor lies, at the speed of its memory."""
    dense = tensor.detach() if tensor.ndim != 2 or tensor.is_contiguous() else tensor.detach().t()
    data = dense.contiguous().reshape(-1).view(torch.uint8)
    whole = len(data) // BLOCK * BLOCK
    words = data[:whole].view(torch.int64).reshape(-1, BLOCK // 8).sum(dim=1)
    return torch.cat([words, data[whole:].to(torch.int64)])


def _read(file: Path) -> dict[str, str]:
    try:
        return {str(sums): str(found) for sums, found in json.loads(file.read_text(encoding="utf-8")).items()}
    except (OSError, ValueError, AttributeError):
        return {}


def _described(name: str, tensor: Tensor) -> bytes:
    return f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode()


def _settings(config: Mapping[str, object]) -> bytes:
    """What a component was built with, without what the libraries note beside it."""
    unset = {name for name in LATER if config.get(name) is None}
    public = {name: value for name, value in dict(config).items() if not name.startswith("_") and name not in unset}
    return json.dumps(public, sort_keys=True, default=str).encode()


def _name(pipe: SessionPipeline) -> str:
    path = pipe.config.get("_name_or_path")
    return Path(str(path)).name if path else type(pipe).__name__
