"""What the transformer stage of a run trains, as a value: how it begins, and how it is written when it has learned."""

from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, runtime_checkable

from safetensors.torch import load_file
from torch import nn

from malt.codecs.registry import codec_of
from malt.errors import CheckpointError
from malt.training.config import Sampling, TransformerSize
from malt.training.objectives.denoising import CaptionedModel
from malt.training.pipeline_export import build_captioned, write_pipeline

MAY_BEGIN = "conditioning.embed_motion."  # what may begin untrained beside a memory
TOLD = "step_conditioning."  # what a student of few steps has beyond its teacher


@runtime_checkable
class ModelSpec(Protocol):
    """A new transformer, or a memory for one that is there.

    segment_frames, context_frames: latent frames of a segment and of its context. patch_size: side of a token, latent pixels.
    result: the folder in a run's that the finished model is written to.
    """

    @property
    def segment_frames(self) -> int: ...  # noqa: D102
    @property
    def context_frames(self) -> int: ...  # noqa: D102
    @property
    def patch_size(self) -> int: ...  # noqa: D102
    @property
    def result(self) -> str: ...  # noqa: D102

    def build(self, words: tuple[str, ...], autoencoder: nn.Module) -> CaptionedModel:
        """As it begins, for captions of these words and the latents of this autoencoder.

        Raises:
            CheckpointError: what it begins with cannot be loaded.
        """
        ...

    def write(self, model: CaptionedModel, autoencoder: nn.Module, out: Path) -> None:
        """Write what generation takes; it appears under its name only when it is whole."""
        ...


@dataclass(frozen=True, kw_only=True)
class NewTransformer:
    """A `ModelSpec`: `MaltTransformer3DModel` and a text encoder that is trained along, from nothing or from `start`."""

    size: TransformerSize
    caption_tokens: int
    actions: tuple[str, ...]
    start: Path | None  # pipeline directory whose weights it begins with
    is_text_encoder_new: bool  # do not begin with that of `start`
    sampling: Sampling
    seed: int
    result: str = "pipeline"

    @property
    def segment_frames(self) -> int:
        """As sized."""
        return self.size.segment_frames

    @property
    def context_frames(self) -> int:
        """As sized."""
        return self.size.context_frames

    @property
    def patch_size(self) -> int:
        """As sized."""
        return self.size.patch_size

    def build(self, words: tuple[str, ...], autoencoder: nn.Module) -> CaptionedModel:
        """Untrained, or with the weights of `start`."""
        captioned = build_captioned(
            self.size,
            words,
            codec_of(autoencoder),
            caption_tokens=self.caption_tokens,
            num_actions=len(self.actions),
            seed=self.seed,
        )
        if self.start:
            load_start(captioned, self.start, text_encoder=not self.is_text_encoder_new)
        return captioned

    def write(self, model: CaptionedModel, autoencoder: nn.Module, out: Path) -> None:
        """A `MaltPipeline` directory."""
        write_pipeline(model, autoencoder, out, self.sampling, self.actions)


def load_start(captioned: CaptionedModel, pipeline: Path, text_encoder: bool = True) -> None:
    """Overwrite the untrained weights with those of a pipeline directory; its text encoder's only where that is asked.

    A memory of which the directory has no weights begins untrained: so all kinds can begin with a model that has none.
    What a student is told of its steps is left out: what begins with it makes as many steps as any model.

    Raises:
        CheckpointError: when they are of another shape.
    """
    files = {"transformer": pipeline / "transformer" / "diffusion_pytorch_model.safetensors"}
    if text_encoder:
        files["text_encoder"] = pipeline / "text_encoder" / "model.safetensors"
    for name, path in files.items():
        try:
            weights = {weight: value for weight, value in load_file(path).items() if not weight.startswith(TOLD)}
            missing, others = getattr(captioned, name).load_state_dict(weights, strict=False)
        except (OSError, RuntimeError) as error:
            raise CheckpointError(f"cannot start from {pipeline}: its {name} is missing or of another shape") from error
        if name == "transformer" and (
            others or not all(weight.startswith(MAY_BEGIN) or ".memory." in weight for weight in missing)
        ):
            raise CheckpointError(f"cannot start from {pipeline}: its {name} is of another shape, or of another memory")
