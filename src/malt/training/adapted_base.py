"""A memory for a frozen base, as what a run trains: the base is loaded, looked at and never written."""

import os
import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from jaxtyping import Bool
from torch import Tensor, nn

from malt.adapters import AdaptedTransformer3DModel, MemoryAdapter, add_memory
from malt.adapters.experts import NAMES, TwoExperts, adapt_both
from malt.adapters.folder import save_adapter
from malt.diffusion.caption import Caption
from malt.errors import CheckpointError
from malt.pipelines.caption_encoding import base_parts
from malt.pipelines.checkpoint_check import WHAT_LOADING_RAISES, how_to_load
from malt.pipelines.loading import check_complete
from malt.training.base_settings import boundary_between, transformer_class
from malt.training.base_text import base_text
from malt.training.config import AdapterConfig, Sampling
from malt.training.engine.trainable import trainable
from malt.training.objectives.denoising import CaptionedModel

Adapted = AdaptedTransformer3DModel | TwoExperts

UNGUIDED = 1.0  # a base that is told its guidance learns from videos as they are


class AdaptedModel(CaptionedModel):
    """A base with a memory, and its captions from whoever knows them; the base and the text are not to be learned."""

    transformer: Adapted

    def __init__(self, transformer: Adapted, text: Callable[[Sequence[str]], Caption]) -> None:
        super().__init__(transformer)
        self.text = text

    def caption(self, captions: list[str], num_tokens: int | None = None) -> Caption:
        """As the base was trained with them, whatever `num_tokens`."""
        return self.text(captions).map(lambda tensor: tensor.to(self.transformer.device))

    def text_inputs(self, captions: list[str], num_tokens: int | None = None) -> dict[str, Tensor]:
        """The captions' tensors by name, and those of an empty one."""
        tensors = _tensors(self.caption([*captions, ""]))
        said = {f"said.{name}": tensor[:-1] for name, tensor in tensors.items()}
        return said | {f"nothing.{name}": tensor[-1:] for name, tensor in tensors.items()}

    def encode_inputs(self, inputs: Mapping[str, Tensor], dropped: Bool[Tensor, " b"]) -> Caption:
        """The captions, or the empty one where they are dropped."""
        names = [name.removeprefix("said.") for name in inputs if name.startswith("said.")]
        told = {name: _where(dropped, inputs[f"nothing.{name}"], inputs[f"said.{name}"]) for name in names}
        return Caption(told.pop("states"), told.pop("mask"), told)


def _tensors(caption: Caption) -> dict[str, Tensor]:
    return {"states": caption.states, "mask": caption.mask, **caption.added}


def _where(which: Bool[Tensor, " b"], chosen: Tensor, other: Tensor) -> Tensor:
    return torch.where(which.view(-1, *[1] * (other.ndim - 1)), chosen, other)


@dataclass(frozen=True, kw_only=True)
class AdaptedBase:
    """A `ModelSpec`: an adapter on the base in this pipeline directory; one on each, where it has two transformers."""

    base: Path
    adapter: AdapterConfig
    sampling: Sampling
    dtype: torch.dtype  # of the base's weights; those that learn are in single precision
    device: str
    seed: int
    patch_size: int
    shards: Path | None = None  # where captions may be stored, as the base's text encoders gave them
    result: str = "adapter"

    @property
    def segment_frames(self) -> int:
        """As configured."""
        return self.adapter.segment_frames

    @property
    def context_frames(self) -> int:
        """As configured."""
        return self.adapter.context_frames or 0

    def build(self, words: tuple[str, ...], autoencoder: nn.Module) -> CaptionedModel:
        """The base with an adapter as it begins; its text encoder is not one of the model's parts."""
        bases, parts = self.load_transformers(self.dtype), base_parts(self.base)
        text = base_text(self.base, self.shards, self.dtype, self.device)
        torch.manual_seed(self.seed)
        return AdaptedModel(
            adapt_base(bases, self.beginning, self.boundary),
            lambda captions: parts.guided(text(captions), scale=self.told_scale),
        )

    @property
    def boundary(self) -> float | None:
        """The noise level between the base's two transformers; None where it has one."""
        return boundary_between(self.base)

    def load_transformers(self, dtype: torch.dtype) -> list[nn.Module]:
        """The base's transformer, or both.

        Raises:
            CheckpointError: one is missing, pickled or damaged.
        """
        names = NAMES[:1] if self.boundary is None else NAMES
        return [load_base_transformer(self.base, dtype, name) for name in names]

    @property
    def beginning(self) -> Mapping[str, object] | Path:
        """The adapter as it begins: settings of a new one, or the folder of one."""
        return self.adapter.settings

    @property
    def told_scale(self) -> float:
        """What a base that is told its guidance is told while the adapter learns."""
        return UNGUIDED

    def write(self, model: CaptionedModel, autoencoder: nn.Module, out: Path) -> None:
        """The adapter's weights and those of its low-rank changes."""
        assert isinstance(model, AdaptedModel)
        partial = out.with_name(f".{out.name}.partial")
        shutil.rmtree(partial, ignore_errors=True)
        learned = model.transformer
        folders = (
            zip(NAMES, (learned.high, learned.low), strict=True) if isinstance(learned, TwoExperts) else [("", learned)]
        )
        for name, adapted in folders:
            save_adapter(adapted, partial / name, str(self.base), self._settings(autoencoder))
        shutil.rmtree(out, ignore_errors=True)
        os.replace(partial, out)

    def _settings(self, autoencoder: nn.Module) -> dict[str, object]:
        """How the adapter is to be used, as `AdaptedPipeline` reads it."""
        sampling = {name: value for name, value in asdict(self.sampling).items() if name != "shift"}
        config = dict(autoencoder.config)  # type: ignore[arg-type]
        learned_from = {name: config[name] for name in ("frame_size", "frame_rate") if name in config}
        return sampling | learned_from


def adapt_base(bases: Sequence[nn.Module], adapter: Mapping[str, object] | Path, boundary: float | None) -> Adapted:
    """A base with an adapter that learns: a new one of these settings, or one from a folder; it is in single precision.

    Args:
        bases: its transformer, or both.
        adapter: settings, or a folder; for two, a folder with one for each.
        boundary: the noise level between the two.
    """
    adapted = with_adapters(bases, adapter, boundary).train()
    for part in adapted.modules():
        if isinstance(part, MemoryAdapter):
            part.requires_grad_(True)
    for weight in trainable(adapted).values():
        weight.data = weight.data.to(torch.float32)
    return adapted


def with_adapters(bases: Sequence[nn.Module], adapter: Mapping[str, object] | Path, boundary: float | None) -> Adapted:
    """The same, at rest."""
    if boundary is None:
        return add_memory(bases[0], adapter)
    high, low = adapt_both(bases, adapter)
    return TwoExperts(high, low, boundary)


def load_base_transformer(base: Path, dtype: torch.dtype, name: str = NAMES[0]) -> nn.Module:
    """A transformer of a base's pipeline directory, in this type where its class allows it.

    Raises:
        CheckpointError: it is missing, incomplete, pickled or damaged.
        UsageError: it is of no known family.
    """
    kind = transformer_class(base)
    try:
        model: nn.Module = kind.from_pretrained(
            base / name, torch_dtype=dtype, local_files_only=True, use_safetensors=True
        )
    except WHAT_LOADING_RAISES as error:
        raise CheckpointError(f"the {name} of {base} cannot be loaded; {how_to_load(base / name)}") from error
    check_complete(base / name, model)
    return model
