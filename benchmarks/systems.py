"""This project's rollout and three long-video pipelines of diffusers, tiny, with random weights, at one size.

The codec, the text encoder and the image encoder are left out of all four: captions are given as embeddings, a frame is a
latent frame, and a codec that hands on what it gets stands where a pipeline insists on one. There is no guidance: every
step is one pass. Each system keeps the window that it comes with, counted in latent frames, and this project's has its weights
laid out as its pipeline does it.
"""

from collections.abc import Callable
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any, TypeVar

import torch
from diffusers import (
    DDIMScheduler,
    DiffusionPipeline,
    FlowMatchEulerDiscreteScheduler,
    HunyuanVideoFramepackPipeline,
    HunyuanVideoFramepackTransformer3DModel,
    LattePipeline,
    LatteTransformer3DModel,
    ModelMixin,
    SkyReelsV2DiffusionForcingPipeline,
    SkyReelsV2Transformer3DModel,
    UniPCMultistepScheduler,
)
from torch import Tensor, nn

from malt.diffusion.caption import Caption
from malt.models.transformer import MaltTransformer3DModel
from malt.models.weight_layout import lay_out_by_input
from malt.rollouts.malt import MaltRollout

# Width, depth and tokens a frame are those of the model that this project ships, for 64x64 pixels.
HEADS, HEAD_DIM = 8, 32
CHANNELS, SIDE, PATCH = 4, 8, 2  # of the latents; a frame is (SIDE / PATCH)^2 = 16 tokens
CAPTION_TOKENS, CAPTION_DIM = 16, 128
PIXELS_A_LATENT = 8  # what the pipelines are told of the codec in space; in time it does nothing
PIXELS = SIDE * PIXELS_A_LATENT


Network = TypeVar("Network", bound=nn.Module)


@dataclass(frozen=True)
class System:
    """A way to make a video. make: takes a number of frames, hands back how many it made, perhaps more."""

    transformer: ModelMixin
    make: Callable[[int], int]
    settings: dict


class HandsOn:
    """A codec that does nothing: frames are latents. It answers to the names by which each pipeline asks."""

    dtype = torch.float32
    config = SimpleNamespace(scaling_factor=1.0)
    temporal_compression_ratio, spatial_compression_ratio = 1, PIXELS_A_LATENT
    temperal_downsample = (False, False, False)  # one halving in space each, none in time
    time_compression, space_compression, latent_channels, latent_group = 1, PIXELS_A_LATENT, CHANNELS, 1

    def encode(self, frames: Tensor, cache: None = None) -> Any:
        latents = frames[:, :1, :, ::PIXELS_A_LATENT, ::PIXELS_A_LATENT].expand(-1, CHANNELS, -1, -1, -1)
        return SimpleNamespace(latent_dist=SimpleNamespace(sample=lambda generator: latents))

    def decode(self, latents: Tensor, cache: None = None, return_dict: bool = False) -> tuple[Tensor, None]:
        return latents, None

    def frames_of(self, num_latents: int, first: bool) -> int:
        return num_latents


class NoImageEncoder:
    """Stands for Framepack's image encoder and its feature extractor: one embedding for any image."""

    dtype = torch.float32

    def __call__(self, **_: Any) -> Any:
        return SimpleNamespace(to=lambda **_: {}, last_hidden_state=torch.zeros(1, 1, CAPTION_DIM))


def malt(
    steps: int,
    num_frames: int,
    segment_frames: int = 4,
    context_frames: int = 1,
    memory: str = "recurrent",
    layers: int = 6,
    modulation_dim: int = 128,
) -> System:
    """This project's rollout; segments are handed to a caller who lets them go, as `malt generate` does.

    `slots` have weights of their own, which work once a segment and not in every step, so there are fewer layers beside. A wide
    modulation works once a frame and not for every token of it, as the modulation does that is 36 % of Framepack's weights.
    """
    model = MaltTransformer3DModel(
        in_channels=CHANNELS,
        patch_size=PATCH,
        num_layers=layers,
        num_attention_heads=HEADS,
        attention_head_dim=HEAD_DIM,
        caption_dim=CAPTION_DIM,
        modulation_dim=modulation_dim,
        memory=memory,
        segment_frames=segment_frames,
        context_frames=context_frames,
    )
    caption = Caption(_caption(), torch.ones(1, CAPTION_TOKENS, dtype=torch.bool))
    lay_out_by_input(_ready(model))
    rollout = MaltRollout(
        transformer=model,
        codec=HandsOn(),
        scheduler=FlowMatchEulerDiscreteScheduler(),
        caption=caption,
        uncaptioned=caption,
        latent_size=(SIDE, SIDE),
        num_steps=steps,
    )

    def make(frames: int) -> int:
        return sum(segment.latents.shape[1] for segment in rollout.stream(frames, rollout.begin(seed=0)))

    window = {"new_frames": segment_frames, "context_frames": context_frames, "memory": model.config.memory}
    return System(model, make, {"window": window, "scheduler": "FlowMatchEuler"})


def skyreels(steps: int, num_frames: int, base: int = 25, overlap: int = 5) -> System:
    """Diffusion forcing in overlapping windows; 97 and 17 frames are its defaults, 25 and 5 latent frames."""
    model = SkyReelsV2Transformer3DModel(
        patch_size=(1, PATCH, PATCH),
        num_attention_heads=HEADS,
        attention_head_dim=HEAD_DIM,
        in_channels=CHANNELS,
        out_channels=CHANNELS,
        text_dim=CAPTION_DIM,
        ffn_dim=440,
        num_layers=6,
    )
    scheduler = UniPCMultistepScheduler(prediction_type="flow_prediction", use_flow_sigmas=True)
    pipe = _quiet(SkyReelsV2DiffusionForcingPipeline(None, None, _ready(model), HandsOn(), scheduler))

    def make(frames: int) -> int:
        video = pipe(
            prompt=None,
            prompt_embeds=_caption(),
            height=PIXELS,
            width=PIXELS,
            num_frames=frames - 1,  # it adds one where the codec has no compression in time
            base_num_frames=base,
            overlap_history=overlap,
            addnoise_condition=20,
            num_inference_steps=steps,
            guidance_scale=1.0,
            output_type="latent",
            generator=torch.Generator().manual_seed(0),
        ).frames
        return video.shape[2]

    window = {"new_frames": base - overlap, "context_frames": overlap}
    return System(model, make, {"window": window, "scheduler": "UniPCMultistep", "addnoise_condition": 20})


def framepack(steps: int, num_frames: int, window: int = 9) -> System:
    """Windows behind a history packed into ever larger patches. Its latent output keeps one copy of the video a window,
    which would count against it, so it is asked for frames and given a codec that does nothing."""
    model = HunyuanVideoFramepackTransformer3DModel(
        in_channels=CHANNELS,
        out_channels=CHANNELS,
        num_attention_heads=HEADS,
        attention_head_dim=HEAD_DIM,
        num_layers=1,
        num_single_layers=2,
        num_refiner_layers=1,
        mlp_ratio=1.7,
        patch_size=PATCH,
        guidance_embeds=False,
        text_embed_dim=CAPTION_DIM,
        pooled_projection_dim=CAPTION_DIM,
        rope_axes_dim=(8, 12, 12),
        has_image_proj=True,
        image_proj_dim=CAPTION_DIM,
        has_clean_x_embedder=True,
    )
    scheduler = FlowMatchEulerDiscreteScheduler(shift=7.0)
    parts = (None, None, _ready(model), HandsOn(), scheduler, None, None, NoImageEncoder(), NoImageEncoder())
    pipe = _quiet(HunyuanVideoFramepackPipeline(*parts))

    def make(frames: int) -> int:
        video = pipe(
            image=torch.zeros(1, 3, PIXELS, PIXELS),
            prompt_embeds=_caption(),
            pooled_prompt_embeds=_caption()[:, 0],
            prompt_attention_mask=torch.ones(1, CAPTION_TOKENS),
            height=PIXELS,
            width=PIXELS,
            num_frames=frames,
            latent_window_size=window,
            num_inference_steps=steps,
            output_type="pt",
            generator=torch.Generator().manual_seed(0),
        ).frames
        return video.shape[1] - 1  # the first frame was given

    return System(
        model,
        make,
        {"window": {"new_frames": window, "context_frames": 20}, "scheduler": "FlowMatchEuler"},
    )


def latte(steps: int, num_frames: int) -> System:
    """All frames of the video denoised jointly, attention within frames and along time by turns."""
    model = LatteTransformer3DModel(
        num_attention_heads=10,
        attention_head_dim=24,  # its feed-forward layers have one ratio, so the width makes the parameters equal
        in_channels=CHANNELS,
        out_channels=2 * CHANNELS,
        num_layers=3,
        cross_attention_dim=240,
        attention_bias=True,
        sample_size=SIDE,
        patch_size=PATCH,
        activation_fn="gelu-approximate",
        num_embeds_ada_norm=1000,
        norm_type="ada_norm_single",
        norm_elementwise_affine=False,
        norm_eps=1e-6,
        caption_channels=CAPTION_DIM,
        video_length=num_frames,
    )
    pipe = _quiet(LattePipeline(None, None, None, _ready(model), DDIMScheduler(clip_sample=False)))

    def make(frames: int) -> int:
        video = pipe(
            prompt_embeds=_caption(),
            negative_prompt="",
            height=PIXELS,
            width=PIXELS,
            video_length=frames,
            num_inference_steps=steps,
            guidance_scale=1.0,
            mask_feature=False,
            output_type="latent",
            generator=torch.Generator().manual_seed(0),
        ).frames
        return video.shape[2]

    return System(model, make, {"window": {"new_frames": "all", "context_frames": 0}, "scheduler": "DDIM"})


def _caption() -> Tensor:
    return torch.randn(1, CAPTION_TOKENS, CAPTION_DIM, generator=torch.Generator().manual_seed(1))


def _ready(model: Network) -> Network:
    """The model with every matrix drawn anew, so that no branch is silent, and set to evaluation."""
    chance = torch.Generator().manual_seed(0)
    for parameter in model.parameters():
        if parameter.ndim > 1:
            parameter.data = torch.randn(parameter.shape, generator=chance) * parameter[0].numel() ** -0.5
    return model.eval()


def _quiet(pipe: DiffusionPipeline) -> DiffusionPipeline:
    pipe.set_progress_bar_config(disable=True)
    return pipe
