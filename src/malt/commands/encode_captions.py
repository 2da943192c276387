"""The captions' part of `malt encode --base`: text encoders are there for what is missing, and gone before videos are read."""

import gc
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

from malt.errors import UsageError
from malt.wording import counted

if TYPE_CHECKING:
    import torch

    from malt.data.text_fingerprint import TextIdentity


def fetch_base(base: str) -> Path:
    """The folder of a base, with all that encoding asks of it; its transformer's weights are not fetched.

    Raises:
        UsageError: there is none, or its pipeline is of no known family.
        CheckpointError: it cannot be fetched, its index is damaged, or its autoencoder pickled.
    """
    from malt.pipelines.base_folder import base_folder, check_not_pickled, read_settings
    from malt.pipelines.bases.registry import known_pipeline
    from malt.pipelines.caption_encoding import ALWAYS, TEXT

    parts = ("vae", *(f"{part}*" for part in (*TEXT, *ALWAYS)), "transformer/config.json")
    folder = base_folder(base, parts)
    known_pipeline(str(read_settings(folder / "model_index.json").get("_class_name")))
    check_not_pickled(folder / "vae")
    return folder


def encode_captions(
    folder: Path, captions: Iterable[str], out: Path, text: "TextIdentity", dtype: "torch.dtype", device: str
) -> None:
    """Store the captions that are not stored yet, each once, as the base's text encoders give them.

    Raises:
        UsageError: there can be no such folder.
        CheckpointError: the text encoders cannot be loaded.
    """
    import torch

    from malt.data.stored_captions import store_missing
    from malt.pipelines.caption_encoding import CaptionEncoder

    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UsageError(f"the folder {out} cannot be made ({error.strerror}); name another") from error
    made = sum(1 for _ in store_missing(out, captions, lambda: CaptionEncoder(folder, dtype, device), text))
    gc.collect()  # an encoder of billions of weights is not to lie beside the autoencoder
    if device.startswith("cuda"):
        torch.cuda.empty_cache()
    if made:
        print(f"malt: encoded {counted(made, 'caption')} by the text encoders of {text.base}, the empty one among them")
