"""Which base an adapter was made for: its name, its class, its configuration, and a sample of its weights."""

import hashlib
import json
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import Tensor, nn

from malt.adapters.offloading import is_offloaded
from malt.errors import UsageError
from malt.hub.base_names import public_name

SAMPLED = 16  # values of each weight
NOT_ITS_OWN = {"quantization_config"}


@dataclass(frozen=True, kw_only=True)
class BaseIdentity:
    """What is known of a base.

    name: an identifier of the hub, or the last part of a folder. weights_sample: None where weights are quantised, sharded,
    offloaded.
    """

    name: str
    class_name: str
    config: Mapping[str, Any]
    config_sha256: str
    weights_sample: str | None

    def check(self, base: nn.Module) -> str | None:
        """Refuse a base that is built otherwise; a sentence where it is built alike and has other weights.

        Raises:
            UsageError: for a base of another class or configuration.
        """
        other = identity_of(base)
        if other.class_name != self.class_name:
            raise UsageError(f"the adapter was made for {self.class_name} ({self.name}), not for {other.class_name}")
        for key, value in self.config.items():
            if key in other.config and other.config[key] != value:
                raise UsageError(
                    f"the adapter was made for {self.name}, whose {key} is {value}, not {other.config[key]}; give that base"
                )
        if None not in (self.weights_sample, other.weights_sample) and self.weights_sample != other.weights_sample:
            return f"this base has other weights than {self.name}, for which the adapter was made"
        return None

    def described(self) -> dict[str, Any]:
        """What a file says of it."""
        return asdict(self)


def identity_of(base: nn.Module, name: str | None = None) -> BaseIdentity:
    """A base's identity; `name` where it is not to be called as it was loaded."""
    config = _config(base)
    text = json.dumps(config, sort_keys=True).encode()
    return BaseIdentity(
        name=public_name(name or str(getattr(base, "config", {}).get("_name_or_path") or type(base).__name__)),
        class_name=type(base).__name__.removeprefix("FSDP"),
        config=config,
        config_sha256=hashlib.sha256(text).hexdigest(),
        weights_sample=_weights_sample(base),
    )


def _config(base: Any) -> dict[str, Any]:
    """What the base was built with, as a file would hold it."""
    own = {k: v for k, v in dict(base.config).items() if not k.startswith("_") and k not in NOT_ITS_OWN}
    plain: dict[str, Any] = json.loads(json.dumps(own, sort_keys=True, default=str))
    return plain


@torch.no_grad()
def _weights_sample(base: nn.Module) -> str | None:
    """A hash of a few values of each weight, rounded to bfloat16: the same however the base is kept in memory."""
    if is_offloaded(base):
        return None
    digest = hashlib.sha256()
    for name, weight in _own_weights(base):
        if type(weight) not in (Tensor, nn.Parameter) or not weight.is_floating_point() or weight.is_meta:
            return None
        places = torch.linspace(0, weight.numel() - 1, SAMPLED, device=weight.device).long()
        values = weight.reshape(-1)[places].to(torch.bfloat16).view(torch.int16)
        digest.update(f"{name} {tuple(weight.shape)}".encode() + values.cpu().numpy().tobytes())
    return digest.hexdigest()


def _own_weights(base: nn.Module) -> Iterator[tuple[str, Tensor]]:
    for name, weight in base.named_parameters():
        if ".lora_" not in name:
            yield name.replace(".base_layer", "").replace("_orig_mod.", ""), weight
