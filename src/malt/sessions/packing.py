"""Tensors and a text as bytes that hold their own hash: what files and states of sessions are made of."""

import hashlib
import json
from collections.abc import Mapping
from typing import Any

from safetensors.torch import load, save
from torch import Tensor

from malt.sessions.fingerprint import tensor_bytes

WORD = 8  # bytes of the length that comes first, and what the head's length is a multiple of


def pack(tensors: Mapping[str, Tensor], text: str) -> bytes:
    """Tensors and a text, as a safetensors file has them, always in the same bytes; `unpack` is the inverse."""
    own = {name: tensor.detach().cpu().contiguous().clone() for name, tensor in tensors.items()}
    content = save(own, metadata={"text": text, "sha256": digest([text, _hashes(own)])})
    head, end = head_of(content)
    said = json.dumps(head, sort_keys=True).encode()  # safetensors writes the metadata in an order of chance
    said += b" " * (-len(said) % WORD)
    return len(said).to_bytes(WORD, "little") + said + content[end:]


def unpack(content: bytes, name: str) -> tuple[dict[str, Tensor], str]:
    """The tensors and the text; `name` is what the bytes are called where something is wrong with them.

    Raises:
        ValueError, KeyError, SafetensorError: they are not as they were packed.
    """
    tensors = load(content)
    metadata = head_of(content)[0]["__metadata__"]
    if metadata["sha256"] != digest([metadata["text"], _hashes(tensors)]):
        raise ValueError(f"{name} is not as it was written")
    return tensors, metadata["text"]


def digest(content: object) -> str:
    """The SHA-256 of what JSON says of something."""
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


def head_of(content: bytes) -> tuple[dict[str, Any], int]:
    """What a safetensors file says of itself, and where that ends."""
    end = WORD + int.from_bytes(content[:WORD], "little")
    return json.loads(content[WORD:end]), end


def _hashes(tensors: Mapping[str, Tensor]) -> dict[str, str]:
    return {name: hashlib.sha256(tensor_bytes(tensors[name])).hexdigest() for name in sorted(tensors)}
