"""`AdaptedPipeline`: a pretrained base's own pipeline, which goes on for as long as is asked, with a memory or without."""

import re
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager
from dataclasses import replace
from functools import partial
from os import PathLike
from pathlib import Path
from typing import Any, Self, Unpack, cast

import torch
from torch import Tensor

from malt.adapters import AdaptedTransformer3DModel, MemoryAdapter, family_of
from malt.adapters.experts import TwoExperts, adapt, boundary_of
from malt.codecs.base import Codec
from malt.codecs.registry import codec_of
from malt.diffusion.guidance import Guidance
from malt.errors import UnheededPromptError, UsageError
from malt.pipelines.base_fingerprint import folder_sha256
from malt.pipelines.bases.registry import parts_of
from malt.pipelines.few_steps import FewSteps
from malt.pipelines.latent_groups import check_segment
from malt.pipelines.lora_loading import checked_lora
from malt.pipelines.prompt_embeds import Prompt, read_texts
from malt.pipelines.rollout_pipeline import latent_size
from malt.pipelines.settings import RolloutSettings, check_names
from malt.pipelines.video_pipeline import ProgressBar, VideoPipeline
from malt.rollouts.from_frame import FromFrameRollout
from malt.rollouts.malt import MaltRollout
from malt.threads import watch_cores
from malt.wording import counted

UNHEARD = "at guidance scale 1 the negative prompt would do nothing; leave it out, or give a guidance scale above 1"
UNHEARD_BY_TOLD = "this base is told its guidance, so the negative prompt would do nothing; leave it out"
EMBEDS = tuple(name for name in RolloutSettings.__annotations__ if name.endswith(("embeds", "mask")))


class AdaptedPipeline(VideoPipeline):
    """The text encoders, scheduler, guidance and autoencoder of a pipeline of diffusers, and its transformer with a memory.

    Without an adapter nothing is remembered: the video goes on behind the last frames of a clip, a sliding window over it.

    Args:
        base: a text-to-video pipeline of diffusers; see `malt.pipelines.bases.registry` for those that are known.
        adapter: a folder that `malt.adapters.save_adapter` wrote, a `MemoryAdapter`, or settings for a new one; for a base of
            two transformers, a folder with one for each, in `transformer` and `transformer_2`, or settings for both.
        settings: what the adapter's folder says of use, in place of what the base says: frame_rate, frame_size,
            num_inference_steps, guidance_scale, memory_guidance_scale, context_noise, remembers_in_last_step, guidance_scale_2 of
            the second of two transformers, and what it was distilled for.
        folder: where the base was loaded from; then its files say which base it is, and not its weights one by one.

    Raises:
        UsageError: the base is of no known family, or the adapter is not for it.
        CheckpointError: the adapter cannot be read.
    """

    def __init__(
        self,
        base: Any,
        adapter: MemoryAdapter | Mapping[str, Any] | str | Path | None = None,
        settings: Mapping[str, Any] | None = None,
        folder: Path | None = None,
    ) -> None:
        watch_cores()
        self.parts, self.base = parts_of(base), base
        self.settings, self.folder = dict(settings or {}), folder
        self.vae, self.text_encoder = base.vae, base.text_encoder
        self._codec = codec_of(base.vae)
        self.is_adapted, self.few_steps = adapter is not None, FewSteps.of(self.settings)
        self.experts = adapt(base, self._window() if adapter is None else adapter)
        first, *second = self.experts
        self.transformer = TwoExperts(first, second[0], boundary_of(base.config)) if second else first
        check_segment(self._codec, self.transformer.segment_frames)

    def _window(self) -> dict[str, Any]:
        """The settings of no memory: a segment and its context are as long as a clip of the base."""
        patch = family_of(self.base.transformer, self.base.scheduler).patch(self.base.transformer)[0]
        clip = max(2, self._num_latents(self.parts.num_frames) // patch) * patch
        before = self.parts.window(clip)
        before += (clip - before) % self._codec.latent_group
        return {"memory": "none", "segment_frames": clip - before, "context_frames": before}

    @property
    def adapted(self) -> AdaptedTransformer3DModel:
        """The base's transformer with its memory; the first of two."""
        return self.experts[0]

    @property
    def codec(self) -> Codec:
        """The base's autoencoder behind the codec seam."""
        return self._codec

    @property
    def frame_rate(self) -> float:
        """Frames a second of the videos that the base learned from."""
        return float(self.settings.get("frame_rate", self.parts.frame_rate))

    @property
    def frame_size(self) -> tuple[int, int]:
        """Height and width of the videos that the base learned from."""
        height, width = self.settings.get("frame_size", self.parts.frame_size)
        return int(height), int(width)

    @property
    def action_names(self) -> list[str]:
        """None: pretrained bases take no actions."""
        return []

    @property
    def known_words(self) -> list[str]:
        """Any text is read."""
        return []

    @property
    def scheduler(self) -> Any:
        """The base's."""
        return self.base.scheduler

    @property
    def config(self) -> dict[str, object]:
        """What there is to say of the pipeline: the name of its base."""
        return {"_name_or_path": _base_name(str(self.folder or self.base.config.get("_name_or_path") or ""))}

    @property
    def precision(self) -> str:
        """The numbers of the base's weights, which are part of what it is."""
        return str(self.adapted.dtype).removeprefix("torch.")

    @property
    def base_identity(self) -> str | None:
        """Which base it is, by its files, and of which type its weights are; None where it was not loaded from a folder."""
        return None if self.folder is None else f"{folder_sha256(self.folder)} {self.adapted.dtype}"

    def beside_base(self) -> Iterator[tuple[str, Tensor]]:
        """What else decides what is made: the adapter's weights, and those of LoRAs on the base."""
        for number, expert in enumerate(self.experts):
            yield from ((f"{number}.{name}", tensor) for name, tensor in expert.adapter.state_dict().items())
            found = expert.base.state_dict().items()
            yield from ((f"{number}.{name}", tensor) for name, tensor in found if ".lora_" in name)

    @property
    def device(self) -> torch.device:
        """Where the base computes, or keeps its weights where it is offloaded."""
        return torch.device(self.base.device)

    def remarks(self, prompt: str) -> list[str]:
        """What the base's own pipeline would do and this does not; it reads any text, as far as it reads."""
        return self.parts.remarks()

    def rollout(self, prompt: Prompt | None = None, **settings: Unpack[RolloutSettings]) -> MaltRollout:
        """The way in which these words become a video.

        Args:
            prompt: what the video shows; a list makes several videos at once.
            settings: see `RolloutSettings`; embeddings are not taken.

        Raises:
            UsageError: for a setting that there is not, an empty prompt, sizes that do not fit the base, fewer than 1 step.
            UnheededPromptError: for a negative prompt without guidance by it.
        """
        check_names(settings)
        if given := [name for name in EMBEDS if settings.get(name) is not None]:
            raise UsageError(f"{given[0]} is not taken; give the prompt itself, which the base's own encoders read")
        texts = read_texts(prompt)
        if not texts or not all(text.strip() for text in texts):
            raise UsageError("the prompt is empty; say what the video shows, as in 'a red circle passes behind a wall'")
        scale = self._setting(settings, "guidance_scale", self.parts.guidance_scale)
        with_memory = self._setting(settings, "memory_guidance_scale", 1.0)
        guidance = Guidance() if self.few_steps else self._guidance(scale, with_memory)
        negatives = _negatives(settings.get("negative_prompt"), len(texts)) if guidance.heeds_text else None
        if settings.get("negative_prompt") and negatives is None and not self.few_steps:
            raise UnheededPromptError(UNHEARD if guidance.told is None else UNHEARD_BY_TOLD)
        with torch.no_grad():
            captions = self.parts.encode(texts, negatives)
        times = settings.get("num_videos_per_prompt", 1)
        caption, uncaptioned = (self.parts.guided(each.repeat_each(times), scale) for each in captions)
        height, width = settings.get("height") or self.frame_size[0], settings.get("width") or self.frame_size[1]
        size = latent_size(height, width, self.codec, self.transformer)
        num_steps = self._setting(settings, "num_inference_steps", self.parts.num_steps)
        if self.few_steps:
            self.few_steps.check(scale, with_memory, num_steps)
            if settings.get("negative_prompt"):
                raise UsageError(
                    "this distilled adapter is guided already; leave the negative prompt out, or use its teacher"
                )
        model = self.transformer
        clip = model.segment_frames + model.context_frames
        rollout = MaltRollout(
            transformer=model,
            codec=self.codec,
            scheduler=self.few_steps.scheduler if self.few_steps else self.parts.schedule(clip, size, num_steps),
            caption=caption,
            uncaptioned=uncaptioned,
            latent_size=size,
            guidance=guidance,
            num_steps=num_steps,
            memory_update_interval=settings.get("memory_update_interval", 1),
            context_noise=float(self.settings.get("context_noise", 0.0)),
            context_follows=not (self.is_adapted or self.parts.knows_levels),
            begins_alone=True,
            remembers_in_last_step=bool(self.settings.get("remembers_in_last_step", False)),
        )
        if not self.parts.goes_on_from_frame:
            return rollout
        return FromFrameRollout(**vars(rollout), from_frame=partial(self.parts.from_frame, self.codec))

    def load_lora_weights(
        self,
        pretrained_model_name_or_path_or_dict: str | PathLike[str] | dict[str, Tensor],
        adapter_name: str | None = None,
        **kwargs: object,
    ) -> None:
        """Add a LoRA to the base's transformer, from safetensors; `base.unload_lora_weights` takes it away.

        Raises:
            CheckpointError: it cannot be read, or nothing in it is of this transformer.
        """
        source = pretrained_model_name_or_path_or_dict
        with checked_lora(self.base, source):
            self.base.load_lora_weights(source, adapter_name, **{"use_safetensors": True} | kwargs)

    def to(self, device: torch.device | str) -> Self:
        """Move all networks to a device."""
        self.base.to(device)
        for expert in self.experts:
            expert.to(device)
        return self

    def bring_to(self, device: torch.device | str, offload: str = "none") -> Self:
        """Let all networks compute on a device, and keep there those that `offload` says.

        Args:
            device: where to compute.
            offload: "none" keeps all of them there, "model" only the one at work, "group" only its blocks at work.

        Raises:
            UsageError: there is nothing that could be offloaded to main memory.
        """
        where = torch.device(device)
        if offload == "none":
            return self.to(where)
        if where.type == "cpu":
            raise UsageError(f"offloading by {offload} needs a GPU to compute on; leave it out")
        for expert in self.experts:
            expert.adapter.to(where)
        if offload == "model":
            self.base.enable_model_cpu_offload(device=where)
        else:
            self.base.enable_group_offload(where, num_blocks_per_group=1, use_stream=where.type == "cuda")
        return self

    def progress_bar(self, *, total: int) -> AbstractContextManager[ProgressBar]:
        """The base's."""
        return cast(AbstractContextManager[ProgressBar], self.base.progress_bar(total=total))

    def maybe_free_model_hooks(self) -> None:
        """Let offloaded models leave the device."""
        self.base.maybe_free_model_hooks()

    def _guidance(self, scale: float, memory: float) -> Guidance:
        guidance = self.parts.guidance(scale, memory)
        late = self.settings.get("guidance_scale_2")
        if late is None or not isinstance(self.transformer, TwoExperts):
            return guidance
        return replace(guidance, late_text=float(late), late_below=self.transformer.boundary)

    def _setting(self, given: RolloutSettings, name: str, otherwise: Any) -> Any:
        """What a call says, or else the adapter, or else the base."""
        said = given.get(name)
        return self.settings.get(name, otherwise) if said is None else said


def _base_name(path: str) -> str:
    """The name of a base by its folder, also where that is one of the hub's cache."""
    found = re.search(r"models--[^/]+--([^/]+)/snapshots/", path)
    return found[1] if found else path


def _negatives(negative: Prompt | None, count: int) -> list[str]:
    """What each of so many videos is led away from."""
    texts = read_texts(negative or "", "negative_prompt")
    if len(texts) not in (1, count):
        raise UsageError(
            f"got {counted(len(texts), 'negative prompt')} for {counted(count, 'prompt')}; give one, or one for each"
        )
    return texts * (count // len(texts))
