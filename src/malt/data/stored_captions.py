"""Captions as a pretrained base's text encoders gave them, stored once each beside the shards, trimmed to their tokens.

A caption's file is named by its hash and written whole or not at all; so any number of processes may write into a folder,
and a run that was killed goes on where it was. Behind the last token that counts and is not zero, only masks are stored:
what pads a caption comes back as zeros.
"""

import hashlib
import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import torch.nn.functional as F
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from malt.data.text_fingerprint import TextIdentity
from malt.diffusion.caption import Caption
from malt.errors import UsageError
from malt.media.files import write_whole

FOLDER = "captions"
CaptionTensors = dict[str, Tensor]  # of one caption, without the batch

# Tensors with a token a row, and which of these count.
TOKENS = {"states": "mask", "encoder_hidden_states_2": "encoder_attention_mask_2"}


class StoredCaptions:
    """Looks captions up in the folders that `malt encode --base` wrote: the text of a model that keeps no text encoder."""

    def __init__(self, folders: Path | Sequence[Path]) -> None:
        self.folders = [folders] if isinstance(folders, Path) else list(folders)

    def __bool__(self) -> bool:
        """Whether captions are stored there at all: the empty one always is."""
        return self.has("")

    def __call__(self, captions: Sequence[str]) -> Caption:
        """States, mask and whatever else the base takes, padded as the base expects.

        Raises:
            UsageError: one is not stored, or its file is damaged.
        """
        return Caption.join([self._read(caption) for caption in captions])

    def check(self, text: TextIdentity) -> None:
        """Hold what is stored against the text encoders of a base.

        Raises:
            UsageError: other text encoders made it, or the files say nothing of that.
        """
        for folder in self.folders:
            made_by = TextIdentity(*_metadata(self._path_of("", [folder]))["text"])
            if made_by.digest != text.digest:
                raise UsageError(
                    f"the captions in {folder} were encoded by {made_by}, and the base is {text}; encode the videos with "
                    "this base (malt encode --base)"
                )

    def has(self, caption: str) -> bool:
        """Whether a caption is stored."""
        return any(_file(folder, caption).is_file() for folder in self.folders)

    def _path_of(self, caption: str, folders: Sequence[Path]) -> Path:
        for folder in folders:
            if (path := _file(folder, caption)).is_file():
                return path
        raise UsageError(
            f"the caption {caption[:60]!r} is not stored in {', '.join(map(str, folders))}; run malt encode --base again, which "
            "encodes what is missing"
        )

    def _read(self, caption: str) -> Caption:
        path = self._path_of(caption, self.folders)
        _metadata(path)
        with safe_open(path, framework="pt") as file:
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        return padded(tensors)


def trimmed(encoded: Caption) -> CaptionTensors:
    """The tensors of one caption, encoded as a batch of one, by name and without what only pads it; masks stay whole."""
    tensors = {"states": encoded.states[0], "mask": encoded.mask[0]} | {k: v[0] for k, v in encoded.added.items()}
    for states, mask in TOKENS.items():
        if states in tensors:
            said = (tensors[states].ne(0).any(dim=-1) & tensors[mask].bool()).nonzero().flatten().tolist()
            tensors[states] = tensors[states][: said[-1] + 1 if said else 0].clone()
    return tensors


def padded(tensors: CaptionTensors) -> Caption:
    """The inverse of `trimmed`, with zeros for padding."""
    batched = {name: tensor[None] for name, tensor in tensors.items()}
    for states, mask in TOKENS.items():
        if states in batched:
            missing = batched[mask].shape[1] - batched[states].shape[1]
            batched[states] = F.pad(batched[states], (0, 0, 0, missing))
    return Caption(batched.pop("states"), batched.pop("mask"), batched)


def store_missing(
    folder: Path, captions: Iterable[str], load: Callable[[], Callable[[list[str]], Caption]], text: TextIdentity
) -> Iterator[str]:
    """Encode and store, one after the other, the captions that are not stored yet, and the empty one; yields each.

    `load` brings up the text encoders; it is called only where something is missing.
    """
    stored = StoredCaptions(folder)
    missing = [caption for caption in dict.fromkeys(["", *captions]) if not stored.has(caption)]
    if not missing:
        return
    encode = load()
    for caption in missing:
        store_caption(folder, caption, encode([caption]), text)
        yield caption


def store_caption(folder: Path, caption: str, encoded: Caption, text: TextIdentity) -> None:
    """Store one caption, encoded as a batch of one."""
    told = {"caption": caption, "text": list(text)}
    path = _file(folder, caption)
    path.parent.mkdir(parents=True, exist_ok=True)
    own = {name: tensor.cpu().contiguous().clone() for name, tensor in trimmed(encoded).items()}
    write_whole(path, save(own, metadata={"told": json.dumps(told)}))


def _file(folder: Path, caption: str) -> Path:
    digest = hashlib.sha256(caption.encode(errors="surrogatepass")).hexdigest()
    return folder / FOLDER / f"{digest[:32]}.safetensors"


def _metadata(path: Path) -> dict[str, Any]:
    try:
        with safe_open(path, framework="pt") as file:
            return dict(json.loads((file.metadata() or {})["told"]))
    except (OSError, ValueError, KeyError, SafetensorError) as error:
        raise UsageError(
            f"the caption's file {path} is damaged; delete it and run malt encode --base again, which makes it anew"
        ) from error
