"""Optimizers and learning rate: Muon for the matrices inside blocks, AdamW for everything else."""

import sys
from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import nn
from torch.distributed.tensor import DTensor
from torch.optim import AdamW, Optimizer

from malt.training.engine.muon import Muon
from malt.training.engine.parallel import agreed_precision, current_context, is_sharded
from malt.training.engine.trainable import trainable


@dataclass(frozen=True, kw_only=True)
class Optimization:
    """How long and how fast to learn. The rate is constant after a warm-up and falls linearly to a hundredth at the end."""

    num_steps: int
    learning_rate: float = 1e-3
    muon_learning_rate: float | None = None  # None: AdamW for every weight
    text_encoder_rate: float = 0.2  # factor on the learning rate of a text encoder: T5 does not scale its attention
    warmup_steps: int = 100
    decay_from: float = 0.6  # share of the run after which the rate falls
    weight_decay: float = 0.01
    betas: tuple[float, float] = (0.9, 0.98)
    max_gradient_norm: float = 1.0
    ema_decay: float = 0.999

    def __post_init__(self) -> None:
        if self.num_steps < 1:
            raise ValueError(f"num_steps is {self.num_steps}; give at least 1")
        if not 0 <= self.decay_from <= 1:
            raise ValueError(f"decay_from is {self.decay_from}; give a share between 0 and 1")
        for name in ("learning_rate", "max_gradient_norm"):
            if getattr(self, name) <= 0:
                raise ValueError(f"{name} is {getattr(self, name)}; give a number above 0")
        for name in ("muon_learning_rate", "text_encoder_rate", "warmup_steps", "weight_decay"):
            if (getattr(self, name) or 0) < 0:
                raise ValueError(f"{name} is {getattr(self, name)}; give 0 or more")
        for name, decays in (("betas", self.betas), ("ema_decay", (self.ema_decay,))):
            if not all(0 <= decay < 1 for decay in decays):
                raise ValueError(f"{name} is {getattr(self, name)}; give from 0 to just below 1")

    def rate(self, step: int) -> float:
        """Factor on the learning rates at `step` (0-based)."""
        warm = min(1.0, (step + 1) / max(1, self.warmup_steps))
        start = self.decay_from * self.num_steps
        left = (self.num_steps - step) / max(1.0, self.num_steps - start)
        return warm * max(0.01, min(1.0, left))


def build_optimizers(module: nn.Module, optimization: Optimization) -> list[Optimizer]:
    """AdamW; or Muon for the matrices inside blocks, encoder and decoder, and AdamW for the rest.

    Muon orthogonalises whole matrices: of a sharded module no rank has one, and AdamW learns all of it. The two factors of
    a low-rank change are AdamW's: not they but their product is a matrix of the network.
    """
    muon_rate = optimization.muon_learning_rate or 0.0
    if muon_rate and is_sharded(module):
        muon_rate = 0.0
        if current_context().is_first:
            print("the model is sharded, so AdamW learns all of it; Muon needs whole matrices", file=sys.stderr)
    learned = trainable(module)
    matrices = [p for name, p in learned.items() if muon_rate and _is_hidden_matrix(name, p)]
    chosen = {id(p) for p in matrices}
    rest = [(name, p) for name, p in learned.items() if id(p) not in chosen]
    text = [p for name, p in rest if "text_encoder" in name]
    decay = [p for name, p in rest if p.ndim >= 2 and "text_encoder" not in name]
    plain = [p for name, p in rest if p.ndim < 2 and "text_encoder" not in name]
    undecayed = {"weight_decay": 0.0}
    slowly = undecayed | {"lr": optimization.learning_rate * optimization.text_encoder_rate}
    groups = [*_groups(decay, {}), *_groups(plain, undecayed), *(_groups(text, slowly) if text else [])]
    optimizers: list[Optimizer] = [
        AdamW(
            groups,
            lr=optimization.learning_rate,
            betas=optimization.betas,
            weight_decay=optimization.weight_decay,
            fused=True,
        )
    ]
    if matrices:
        precision = agreed_precision("auto", matrices[0].device)  # whatever that of the passes: it need not be exact
        optimizers.append(Muon(matrices, lr=muon_rate, weight_decay=optimization.weight_decay, precision=precision))
    for optimizer in optimizers:
        for group in optimizer.param_groups:
            group["base_rate"] = group["lr"]
    return optimizers


def _groups(parameters: list[nn.Parameter], settings: Mapping[str, float]) -> list[dict[str, object]]:
    """Parameters with their settings; sharded ones in a group of their own, as no kernel takes them along with others."""
    sharded = [parameter for parameter in parameters if isinstance(parameter, DTensor)]
    whole = [parameter for parameter in parameters if not isinstance(parameter, DTensor)]
    return [{"params": group, **settings} for group in (whole, sharded) if group or not sharded]


def set_rate(optimizers: list[Optimizer], factor: float) -> None:
    """Set every group's learning rate to its base rate times `factor`."""
    for optimizer in optimizers:
        for group in optimizer.param_groups:
            group["lr"] = group["base_rate"] * factor


def _is_hidden_matrix(name: str, parameter: torch.Tensor) -> bool:
    inside = any(part in ("blocks", "encoder", "decoder", "to_pixels", "adapter") for part in name.split("."))
    return parameter.ndim == 2 and inside and "text_encoder" not in name and "lora_" not in name
