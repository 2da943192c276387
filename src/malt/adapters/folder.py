"""An adapter as a folder: what was learned, and for which base; nothing of the base itself.

adapter.json         family, base, settings of the adapter, and whatever else whoever saved it put beside
adapter.safetensors  the memory's weights
lora.safetensors     the LoRA on the base, where there is one; diffusers loads it too
README.md            a card for the hub, unless there is one
"""

import json
import logging
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from malt.adapters.adapted_transformer import AdaptedTransformer3DModel
from malt.adapters.adapter import MemoryAdapter
from malt.adapters.base_identity import BaseIdentity, identity_of
from malt.adapters.lora import NAME, lora_names
from malt.errors import CheckpointError
from malt.hub.model_card import adapter_card, write_card
from malt.media.files import write_whole

DESCRIPTION, WEIGHTS, LORA = "adapter.json", "adapter.safetensors", "lora.safetensors"
FORMAT = 1
PICKLED = {".bin", ".ckpt", ".pickle", ".pkl", ".pt", ".pth"}

logger = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class AdapterDescription:
    """What `adapter.json` says. adapter: settings of the `MemoryAdapter`. settings: how it was trained and is to be used."""

    base: BaseIdentity
    adapter: Mapping[str, Any]
    settings: Mapping[str, Any] = field(default_factory=dict)

    @property
    def family(self) -> str:
        """Name of the base's family."""
        return str(self.adapter["family"])


def save_adapter(
    adapted: AdaptedTransformer3DModel,
    folder: str | Path,
    base_name: str | None = None,
    settings: Mapping[str, Any] | None = None,
) -> None:
    """Write what was learned beside a base.

    Args:
        adapted: a base with its adapter.
        folder: is made where it is not there.
        base_name: folder or hub identifier of the base; None for where it was loaded from.
        settings: anything JSON can hold, such as sampling and frame rate; `read_adapter` gives it back.
    """
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    base = adapted.base
    tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in adapted.adapter.state_dict().items()}
    save_file(tensors, folder / WEIGHTS, metadata={"format": "pt"})
    if NAME in lora_names(base):
        _save_lora(base, folder / LORA)
    described = {
        "format": FORMAT,
        "base": identity_of(base, base_name).described(),
        "adapter": {name: value for name, value in adapted.adapter.config.items() if not name.startswith("_")},
        "settings": dict(settings or {}),
    }
    write_whole(folder / DESCRIPTION, json.dumps(described, indent=1) + "\n")
    write_card(folder, _card(read_adapter(folder), sum(tensor.numel() for tensor in tensors.values())))


def _save_lora(base: Any, file: Path) -> None:
    """As `save_lora_adapter` of diffusers does, which quantised bases refuse, as it casts them."""
    from diffusers.loaders.lora_base import LORA_ADAPTER_METADATA_KEY
    from peft import get_peft_model_state_dict

    tensors = get_peft_model_state_dict(base, adapter_name=NAME)
    settings = json.dumps(base.peft_config[NAME].to_dict(), default=sorted, indent=2, sort_keys=True)
    contiguous = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
    save_file(contiguous, file, metadata={"format": "pt", LORA_ADAPTER_METADATA_KEY: settings})


def _card(described: AdapterDescription, num_weights: int) -> str:
    """What the folder's README.md says."""
    adapter = described.adapter
    facts = {
        "base": f"{described.base.name}, {described.base.class_name}",
        "memory": f"{adapter['memory']}, in every {adapter['every']} layers"
        if adapter["every"] > 1
        else adapter["memory"],
        "segment": f"{adapter['segment_frames']} latent frames",
        "weights of the memory": f"{num_weights / 1e6:.2f} million",
        "LoRA on the base": f"rank {adapter['lora_rank']}" if adapter.get("lora_rank") else None,
    }
    name = Path(described.base.name).name
    return adapter_card(f"A memory for {name}", described.base.name, facts)


def read_adapter(folder: str | Path) -> AdapterDescription:
    """What a folder says of its adapter; no weight is read.

    Raises:
        CheckpointError: where it is no adapter, or a damaged one, or one of a later format.
    """
    file = Path(folder) / DESCRIPTION
    try:
        said = json.loads(file.read_text(encoding="utf-8"))
        if said["format"] != FORMAT:
            raise CheckpointError(f"{file} is of format {said['format']}, this version reads {FORMAT}; update malt")
        return AdapterDescription(
            base=BaseIdentity(**said["base"]), adapter=said["adapter"], settings=said.get("settings", {})
        )
    except FileNotFoundError as error:
        raise CheckpointError(f"{folder} is not an adapter (it has no {DESCRIPTION}); check the name") from error
    except (ValueError, KeyError, TypeError) as error:
        raise CheckpointError(f"{file} is damaged; copy the adapter again, whole") from error


def check_files(folder: str | Path) -> None:
    """Refuse a folder that is no whole adapter.

    Raises:
        CheckpointError: for such a folder.
    """
    described = read_adapter(folder)
    for name in (WEIGHTS, LORA) if described.adapter.get("lora_rank") else (WEIGHTS,):
        read_tensors(Path(folder), name)


def load_weights(folder: str | Path, adapter: MemoryAdapter) -> None:
    """Read an adapter's weights into it.

    Raises:
        CheckpointError: where the file is missing, pickled, damaged or of other sizes.
    """
    tensors = read_tensors(Path(folder), WEIGHTS)
    expected = adapter.state_dict()
    wrong = list(expected.keys() ^ tensors.keys())
    wrong += [name for name in expected.keys() & tensors.keys() if expected[name].shape != tensors[name].shape]
    if wrong:
        raise CheckpointError(
            f"{Path(folder) / WEIGHTS} does not fit its {DESCRIPTION} ({min(wrong)}); copy both again"
        )
    adapter.load_state_dict(tensors)


def load_lora(folder: str | Path, base: Any) -> None:
    """Read an adapter's LoRA into the one that is on its base.

    Raises:
        CheckpointError: where the file is missing, pickled, damaged or of other sizes.
    """
    from peft import get_peft_model_state_dict, set_peft_model_state_dict

    tensors = read_tensors(Path(folder), LORA)
    expected = get_peft_model_state_dict(base, adapter_name=NAME)
    if {n: t.shape for n, t in expected.items()} != {n: t.shape for n, t in tensors.items()}:
        raise CheckpointError(f"{Path(folder) / LORA} does not fit its {DESCRIPTION}; copy both again")
    set_peft_model_state_dict(base, tensors, adapter_name=NAME)


def check_base(description: AdapterDescription, base: Any) -> None:
    """Refuse a base that an adapter was not made for; one of the same build with other weights is only remarked on.

    Raises:
        UsageError: for a base of another class or configuration.
    """
    if remark := description.base.check(base):
        logger.warning(remark)


def read_tensors(folder: Path, name: str) -> dict[str, Tensor]:
    """The weights in one of an adapter's files, `WEIGHTS` or `LORA`.

    Raises:
        CheckpointError: where the file is missing, pickled or damaged.
    """
    file = folder / name
    if not file.is_file():
        pickled = sorted(other.name for other in folder.iterdir() if other.suffix in PICKLED)
        why = f"; {pickled[0]} is pickled, which can run code and is not read" if pickled else ""
        raise CheckpointError(f"the adapter {folder} lacks its {name}{why}; copy it again, whole")
    try:
        return load_file(file)
    except SafetensorError as error:
        raise CheckpointError(f"{file} is damaged or cut short; copy it again") from error
