"""Shards of encoded videos: plain tar files, for each sample KEY.safetensors and KEY.json (the layout of WebDataset).

A sample is a stretch of one video. Its tensors: `latents` (s, c, h, w), standardised, in half precision; `actions` (s, a), where
there are any: those of a latent frame's video frames side by side. Nothing is compressed, so tensors can be mapped from
the file. Beside the shards of a rank lies its index, index-RANK.json: checksums, and which samples make up which video.
"""

import json
import tarfile
from collections.abc import Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from safetensors.torch import save
from torch import Tensor

BLOCK = 512  # bytes that all in a tar file is a multiple of
TAR_END = b"\0" * 2 * BLOCK
TYPES = {"F16": np.float16, "F32": np.float32}


class Sample(NamedTuple):
    """A stretch of an encoded video: its tensors are read from the file when they are touched."""

    key: str
    tensors: dict[str, Tensor]
    info: dict[str, Any]


def shard_name(rank: int, index: int) -> str:
    """The file name of a rank's shard."""
    return f"shard-{rank:05d}-{index:06d}.tar"


def index_name(rank: int) -> str:
    """The file name of a rank's index."""
    return f"index-{rank:05d}.json"


def pack(key: str, tensors: dict[str, Tensor], info: Mapping[str, Any]) -> bytes:
    """The bytes of a sample within a tar file: the same sample gives the same bytes."""
    text = json.dumps(info, ensure_ascii=False, sort_keys=True).encode()
    return _member(
        f"{key}.safetensors", save({name: tensor.contiguous() for name, tensor in tensors.items()})
    ) + _member(f"{key}.json", text)


def read_shard(path: Path) -> Iterator[Sample]:
    """The samples of a shard, mapped from the file.

    Raises:
        ValueError: what it holds is no sample.
        OSError, tarfile.TarError: it is no tar file that can be read.
    """
    mapped = np.memmap(path, np.uint8, mode="c")  # copy on write: what the training does to it never reaches the file
    with tarfile.open(path, "r:") as tar:
        tensors: dict[str, dict[str, Tensor]] = {}
        for member in tar:
            key, _, kind = member.name.partition(".")
            if kind == "safetensors":
                tensors[key] = _map(mapped, member.offset_data)
            elif kind == "json":
                text = mapped[member.offset_data : member.offset_data + member.size].tobytes()
                yield Sample(key, tensors.pop(key), json.loads(text))


def captions_in(folder: Path) -> dict[str, str]:
    """The caption that each video was encoded with, of the shards in a folder that can be read."""
    captions = dict[str, str]()
    for path in sorted(folder.glob("shard-*.tar")):
        with suppress(OSError, ValueError, KeyError, tarfile.TarError):
            captions |= {sample.info["film"]: sample.info["caption"] for sample in read_shard(path)}
    return captions


def _member(name: str, content: bytes) -> bytes:
    header = tarfile.TarInfo(name)
    header.size, header.mode = len(content), 0o644
    return header.tobuf(tarfile.USTAR_FORMAT) + content + b"\0" * (-len(content) % BLOCK)


def _map(mapped: np.memmap, begin: int) -> dict[str, Tensor]:
    """The tensors of a safetensors file that begins at byte `begin`."""
    length = int.from_bytes(mapped[begin : begin + 8].tobytes(), "little")
    header = json.loads(mapped[begin + 8 : begin + 8 + length].tobytes())
    header.pop("__metadata__", None)
    data = begin + 8 + length
    return {name: _view(mapped, data, entry) for name, entry in header.items()}


def _view(mapped: np.memmap, data: int, entry: dict[str, Any]) -> Tensor:
    first, last = entry["data_offsets"]
    flat = mapped[data + first : data + last].view(TYPES[entry["dtype"]])
    return torch.from_numpy(flat.reshape(entry["shape"]))
