"""What users of diffusers expect of a pipeline, each in a test named after it, on tiny random models."""

import copy
import inspect
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from accelerate.hooks import CpuOffload
from diffusers import (
    AutoencoderKL,
    DiffusionPipeline,
    FlowMatchHeunDiscreteScheduler,
    UniPCMultistepScheduler,
    WanPipeline,
)
from diffusers.callbacks import MultiPipelineCallbacks, PipelineCallback
from peft import LoraConfig
from peft.utils import get_peft_model_state_dict
from PIL import Image
from torch import Tensor

import tiny
import tiny_pipeline
from malt.errors import CheckpointError, UsageError
from malt.pipelines.loading import load_pipeline
from malt.pipelines.malt import MaltPipeline
from malt.pipelines.packaged import packaged_models
from tiny_pipeline import PROMPT, SEGMENT, SIDE, STEPS

GUIDED = {"guidance_scale": 2.0}


@pytest.fixture(scope="module")
def shared() -> MaltPipeline:
    pipe = tiny_pipeline.pipeline()
    pipe.set_progress_bar_config(disable=True)
    return pipe


@pytest.fixture
def pipe(shared: MaltPipeline) -> MaltPipeline:
    own = copy.deepcopy(shared)
    own.set_progress_bar_config(disable=True)
    return own


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def frames_of(pipe: Any, *given: Any, **asked: Any) -> Any:
    return pipe(*given, **asked).frames


def make(pipe: MaltPipeline, prompt: Any = PROMPT, **asked: Any) -> Tensor:
    made = frames_of(pipe, prompt, **{"num_frames": SEGMENT + 3, "generator": seeded(), "output_type": "pt"} | asked)
    assert isinstance(made, Tensor)
    return made


def lora(pipe: MaltPipeline, folder: Path, scale: float = 1.0) -> Path:
    """A LoRA of a pipeline's transformer with random weights, saved as users save theirs."""
    model = copy.deepcopy(pipe.transformer)
    model.add_adapter(LoraConfig(r=2, target_modules=["to_q", "to_v"], init_lora_weights="gaussian"))
    layers = get_peft_model_state_dict(model)
    layers = {name: scale * (tensor + 0.1) for name, tensor in layers.items()}
    MaltPipeline.save_lora_weights(folder, transformer_lora_layers=layers)
    return folder


def test_arguments_are_named_and_ordered_as_in_diffusers_own_video_pipelines() -> None:
    ours, theirs = (list(inspect.signature(kind.__call__).parameters) for kind in (MaltPipeline, WanPipeline))
    shared = [name for name in theirs if name in ours]
    assert [name for name in ours if name in theirs] == shared
    assert set(theirs) - set(shared) == {"guidance_scale_2", "attention_kwargs", "max_sequence_length"}


def test_prompt_none_is_refused_in_a_sentence(pipe: Any) -> None:
    for asked in ({}, {"prompt": None}):
        with pytest.raises(UsageError, match="there is no prompt; say what the video shows, or give prompt_embeds"):
            pipe(**asked)
    with pytest.raises(UsageError, match="the prompt is 3; give a text, or a list of texts"):
        pipe(3)
    with pytest.raises(UsageError, match=r"the prompt 'a red \\udce9' is not UTF-8"):
        pipe("a red \udce9")
    with pytest.raises(UsageError, match="the negative_prompt is 64; give a text"):
        pipe(PROMPT, 64)


def test_a_keyword_that_is_not_there_is_refused_and_not_left_out(pipe: Any) -> None:
    with pytest.raises(UsageError, match="no setting 'memory_guidance', did you mean memory_guidance_scale"):
        pipe(PROMPT, memory_guidance=2.0)


def test_negative_prompt(pipe: MaltPipeline) -> None:
    usual = make(pipe, **GUIDED)
    away = make(pipe, negative_prompt="a blue square", **GUIDED)
    assert not torch.allclose(away, usual, atol=1e-3)
    assert torch.equal(make(pipe, negative_prompt="", **GUIDED), usual)
    assert torch.equal(make(pipe, negative_prompt="a blue square", guidance_scale=1.0), make(pipe, guidance_scale=1.0))
    two = make(pipe, [PROMPT] * 2, negative_prompt=["a blue square", ""], generator=[seeded(), seeded()], **GUIDED)
    torch.testing.assert_close(two, torch.cat([away, usual]), rtol=0, atol=1e-3)
    with pytest.raises(UsageError, match="got 2 negative prompts for 1 prompt; give one for each"):
        pipe([PROMPT], negative_prompt=["", ""])


def test_prompt_embeds_and_negative_prompt_embeds(pipe: MaltPipeline) -> None:
    names = ("prompt_embeds", "prompt_attention_mask", "negative_prompt_embeds", "negative_prompt_attention_mask")
    embeds = dict(zip(names, pipe.encode_prompt(PROMPT, "a blue square"), strict=True))
    usual = make(pipe, negative_prompt="a blue square", **GUIDED)
    assert torch.equal(make(pipe, None, **embeds, **GUIDED), usual)
    shorter = {name: tensor[:, :9] for name, tensor in embeds.items() if not name.startswith("negative")}
    torch.testing.assert_close(make(pipe, None, **shorter, negative_prompt="a blue square", **GUIDED), usual)
    pipe.text_encoder = pipe.tokenizer = None
    assert torch.equal(make(pipe, None, **embeds, **GUIDED), usual)
    with pytest.raises(UsageError, match="has no text encoder; give prompt_embeds and negative_prompt_embeds"):
        pipe(PROMPT)


@pytest.mark.parametrize(
    ("asked", "sentence"),
    [
        ({"prompt": PROMPT}, "both prompt and prompt_embeds were given; give one of them"),
        ({"prompt_attention_mask": None}, "prompt_embeds lack prompt_attention_mask; encode_prompt gives both"),
        (
            {"prompt_attention_mask": torch.ones(1, 3)},
            r"have the shapes .* and \(1, 3\); give \(b, n, e\) and \(b, n\)",
        ),
        ({"prompt_embeds": torch.zeros(1, 12, 3)}, "are 3 and .* wide; give them one width"),
        (
            {"negative_prompt": "x", "negative_prompt_embeds": torch.zeros(1)},
            "both negative_prompt and negative_prompt_",
        ),
    ],
)
def test_prompt_embeds_that_do_not_fit_are_refused(pipe: MaltPipeline, asked: dict[str, Any], sentence: str) -> None:
    states, mask, *_ = pipe.encode_prompt(PROMPT)
    with pytest.raises(UsageError, match=sentence):
        pipe(**{"prompt_embeds": states, "prompt_attention_mask": mask} | asked)


def test_latents_are_refused_as_every_segment_draws_its_own_noise(pipe: MaltPipeline) -> None:
    with pytest.raises(UsageError, match="latents are not taken.*give a generator for the same noise"):
        pipe(PROMPT, latents=torch.zeros(1, tiny.CHANNELS, 2, 4, 4))


def test_num_videos_per_prompt(pipe: MaltPipeline) -> None:
    prompts, seeds = [PROMPT, "a blue square"], (5, 6, 7, 8)
    made = make(pipe, prompts, num_videos_per_prompt=2, generator=[seeded(seed) for seed in seeds])
    assert made.shape[0] == 4
    for video, prompt, seed in zip(made, [prompts[0], prompts[0], prompts[1], prompts[1]], seeds, strict=True):
        torch.testing.assert_close(make(pipe, prompt, generator=seeded(seed))[0], video, rtol=0, atol=1e-3)
    with pytest.raises(UsageError, match="asked for 0 videos per prompt; give at least 1"):
        pipe(PROMPT, num_videos_per_prompt=0)


def test_callback_on_step_end_and_its_tensor_inputs(pipe: MaltPipeline) -> None:
    heard: list[tuple[int, float, list[str]]] = []

    def hear(pipeline: MaltPipeline, step: int, timestep: Tensor, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
        assert pipeline is pipe
        assert (pipe.num_timesteps, pipe.guidance_scale) == (STEPS, 2.0)
        heard.append((step, float(timestep), [*tensors]))
        return tensors

    usual = make(pipe, num_frames=2 * SEGMENT, **GUIDED)
    assert torch.equal(make(pipe, num_frames=2 * SEGMENT, callback_on_step_end=hear, **GUIDED), usual)
    assert [step for step, *_ in heard] == [*range(STEPS)] * 2
    assert heard[0][1] > heard[1][1] > 0
    assert all(names == ["latents"] for *_, names in heard)
    heard.clear()
    make(pipe, callback_on_step_end=hear, callback_on_step_end_tensor_inputs=[], **GUIDED)
    assert all(names == [] for *_, names in heard)
    with pytest.raises(UsageError, match="a callback of this pipeline cannot see prompt_embeds; it sees latents"):
        pipe(PROMPT, callback_on_step_end=hear, callback_on_step_end_tensor_inputs=["prompt_embeds"])


def test_callback_on_step_end_may_change_the_latents_or_say_nothing(pipe: MaltPipeline) -> None:
    def halve(pipe: MaltPipeline, step: int, timestep: Tensor, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
        return {"latents": tensors["latents"] / 2}

    assert not torch.allclose(make(pipe, callback_on_step_end=halve), make(pipe), atol=1e-3)
    assert torch.equal(make(pipe, callback_on_step_end=lambda *given: None), make(pipe))


def test_callback_on_step_end_may_be_one_of_diffusers_callbacks_or_several(pipe: MaltPipeline) -> None:
    class Halve(PipelineCallback):
        tensor_inputs = ["latents"]

        def callback_fn(self, pipeline: Any, step_index: int, timestep: Any, callback_kwargs: Any) -> Any:
            return {"latents": callback_kwargs["latents"] / 2}

    once = make(pipe, callback_on_step_end=Halve(), num_inference_steps=1)
    twice = make(pipe, callback_on_step_end=MultiPipelineCallbacks([Halve(), Halve()]), num_inference_steps=1)
    assert not torch.allclose(once, make(pipe, num_inference_steps=1), atol=1e-3)
    assert not torch.allclose(once, twice, atol=1e-3)


def test_a_callback_may_interrupt_and_what_was_made_is_kept(pipe: MaltPipeline) -> None:
    def stop(pipe: MaltPipeline, step: int, timestep: Tensor, tensors: dict[str, Tensor]) -> None:
        pipe._interrupt = True

    assert torch.equal(make(pipe, num_frames=5 * SEGMENT, callback_on_step_end=stop), make(pipe, num_frames=SEGMENT))
    assert make(pipe, num_frames=2 * SEGMENT).shape[1] == 2 * SEGMENT


def picture(seed: int = 0, size: tuple[int, int] = (SIDE, SIDE)) -> Image.Image:
    pixels = np.random.default_rng(seed).integers(0, 256, (*size, 3), dtype=np.uint8)
    return Image.fromarray(pixels)


def in_all_kinds(pixels: np.ndarray) -> list[Any]:
    """Pictures (..., h, w, 3) of bytes as every kind of array and tensor that pipelines take."""
    unit = pixels.astype(np.float32) / 255
    channels_first = torch.from_numpy(pixels).movedim(-1, -3)
    return [pixels, unit, channels_first, channels_first / 255, channels_first / 127.5 - 1]


def test_an_image_may_be_a_pillow_image_an_array_or_a_tensor_of_bytes_or_floats(pipe: MaltPipeline) -> None:
    image = picture()
    usual = make(pipe, image=image)
    assert not torch.allclose(usual, make(pipe), atol=1e-3)
    for same in in_all_kinds(np.asarray(image)):
        torch.testing.assert_close(make(pipe, image=same), usual, rtol=0, atol=1e-4)


def test_an_array_that_may_only_be_read_is_taken_without_a_warning(
    pipe: MaltPipeline, recwarn: pytest.WarningsRecorder
) -> None:
    pixels = np.array(picture())
    pixels.flags.writeable = False
    torch.set_warn_always(True)
    try:
        make(pipe, image=pixels)
    finally:
        torch.set_warn_always(False)
    assert [str(warning.message) for warning in recwarn if "writable" in str(warning.message)] == []


def test_a_pillow_image_of_another_size_covers_the_video_upright(pipe: MaltPipeline) -> None:
    large = picture(size=(2 * SIDE, 4 * SIDE))
    middle = large.crop((SIDE, 0, 3 * SIDE, 2 * SIDE)).resize((SIDE, SIDE), Image.Resampling.BOX)
    assert torch.equal(make(pipe, image=large), make(pipe, image=middle))
    assert make(pipe, image=picture().convert("L")).shape[2] == 3


def test_images_may_be_a_list_with_one_for_each_prompt(pipe: MaltPipeline) -> None:
    images, prompts = [picture(0), picture(1)], [PROMPT, "a blue square"]
    together = make(pipe, prompts, image=images, generator=[seeded(), seeded()])
    for video, prompt, image in zip(together, prompts, images, strict=True):
        torch.testing.assert_close(make(pipe, prompt, image=image)[0], video, rtol=0, atol=1e-3)
    batch = np.stack([np.asarray(image) for image in images])
    for same in in_all_kinds(batch):
        torch.testing.assert_close(
            make(pipe, prompts, image=same, generator=[seeded(), seeded()]), together, rtol=0, atol=1e-4
        )
    twice = make(pipe, prompts, image=images, num_videos_per_prompt=2, num_frames=4)
    assert torch.equal(twice[0, :4], twice[1, :4])
    assert torch.equal(twice[2, :4], twice[3, :4])
    assert not torch.equal(twice[0, :4], twice[2, :4])
    with pytest.raises(UsageError, match="got 2 first images for 3 videos; give one, or one for each"):
        pipe([PROMPT] * 3, image=images)


def test_a_video_may_be_a_list_of_pillow_images_an_array_or_a_tensor_of_bytes_or_floats(pipe: MaltPipeline) -> None:
    frames = [picture(seed) for seed in range(SEGMENT)]
    usual = make(pipe, num_frames=2 * SEGMENT, video=frames)
    pixels = np.stack([np.asarray(frame) for frame in frames])
    for same in [*in_all_kinds(pixels), [*pixels], [frames], pixels[None]]:
        torch.testing.assert_close(make(pipe, num_frames=2 * SEGMENT, video=same), usual, rtol=0, atol=1e-4)
    other = frames[::-1]
    both = make(pipe, [PROMPT] * 2, num_frames=2 * SEGMENT, video=[frames, other], generator=[seeded(), seeded()])
    torch.testing.assert_close(both[:1], usual, rtol=0, atol=1e-3)
    assert not torch.allclose(both[1:], usual, atol=1e-3)


@pytest.mark.parametrize("kind", ["pil", "np", "pt"])
def test_what_a_pipeline_made_may_be_what_it_goes_on_from(pipe: MaltPipeline, kind: str) -> None:
    made = frames_of(pipe, PROMPT, num_frames=SEGMENT, generator=seeded(), output_type=kind)
    shown = pipe.codec.decode(pipe.codec.encode(make(pipe, num_frames=SEGMENT) * 2 - 1)[0])[0].clamp(-1, 1) / 2 + 0.5
    near = 0.1 if kind == "pil" else 1e-4  # Pillow rounds to bytes
    torch.testing.assert_close(make(pipe, num_frames=SEGMENT, video=made[0]), shown, rtol=0, atol=near)


@pytest.mark.parametrize(
    ("asked", "sentence"),
    [
        ({"image": "first.png"}, "the image is str; give Pillow images, arrays"),
        ({"image": []}, "the image is an empty list"),
        (
            {"image": torch.full((3, SIDE, SIDE), 200.0)},
            "has values from 200 to 200; give floats from 0 to 1, or bytes",
        ),
        ({"image": torch.full((3, SIDE, SIDE), torch.nan)}, "has values from nan to nan"),
        ({"image": torch.zeros(3, SIDE, SIDE, dtype=torch.int64)}, r"holds int64; give bytes \(uint8\) or floats"),
        ({"image": np.zeros((SIDE, SIDE))}, r"the image is ndarray of the shape \(32, 32\); give Pillow images"),
        ({"image": np.zeros((2, 9, SIDE, SIDE, 3))}, r"the image has the shape \(2, 9, 3, 32, 32\); give one image"),
        ({"image": np.zeros((SIDE, 2 * SIDE, 3))}, "got first frames of 64x32; this video is 32x32"),
        ({"video": np.zeros((SIDE, SIDE, 3))}, r"the video has the shape \(3, 32, 32\); give its frames as a list"),
        ({"video": [torch.zeros(3, SIDE, SIDE), torch.zeros(3, 8, 8)]}, "of the video differ in size or kind"),
    ],
)
def test_first_frames_that_cannot_be_read_are_refused_in_a_sentence(
    pipe: MaltPipeline, asked: dict[str, Any], sentence: str
) -> None:
    with pytest.raises(UsageError, match=sentence):
        pipe(PROMPT, **asked)


@pytest.mark.parametrize("autoencoder", ["malt", "image"])
def test_output_type_latent(autoencoder: str) -> None:
    if autoencoder == "malt":
        pipe = tiny_pipeline.pipeline()
    else:
        sizes = {"block_out_channels": (4, 8), "norm_num_groups": 2, "latent_channels": tiny.CHANNELS}
        blocks = {"down_block_types": ("DownEncoderBlock2D",) * 2, "up_block_types": ("UpDecoderBlock2D",) * 2}
        pipe = tiny_pipeline.pipeline(vae=tiny.randomised(AutoencoderKL(**blocks, **sizes).eval()))
    for num_frames in (1, SEGMENT, SEGMENT + 3):
        asked = {"num_frames": num_frames, "height": SIDE, "width": SIDE}
        latents = frames_of(pipe, PROMPT, generator=seeded(), output_type="latent", **asked)
        fewest = next(n for n in range(1, 99) if pipe.codec.frames_of(n, first=True) >= num_frames)
        assert latents.shape[1] == fewest
        decoded = pipe.codec.decode(latents)[0].clamp(-1, 1) / 2 + 0.5
        torch.testing.assert_close(decoded[:, :num_frames], make(pipe, **asked), rtol=0, atol=1e-4)


def test_an_output_type_that_is_not_there_is_refused_before_anything_is_made(pipe: MaltPipeline) -> None:
    pipe.transformer.register_forward_pre_hook(lambda *given: pytest.fail("the model was run"))
    with pytest.raises(UsageError, match="there is no output type 'latents'; choose one of pil, np, pt, latent"):
        pipe(PROMPT, output_type="latents")


def test_set_progress_bar_config(pipe: MaltPipeline, capsys: pytest.CaptureFixture[str]) -> None:
    make(pipe)
    assert capsys.readouterr().err == ""
    pipe.set_progress_bar_config(desc="frames of a video")
    make(pipe)
    shown = capsys.readouterr().err
    assert "frames of a video: 100%" in shown
    assert f"{SEGMENT + 3}/{SEGMENT + 3}" in shown


def test_enable_model_cpu_offload(pipe: MaltPipeline, monkeypatch: pytest.MonkeyPatch) -> None:
    usual = make(pipe, **GUIDED)
    pipe.enable_model_cpu_offload(device="cpu")  # all of the machinery, on a device that every machine has
    parts = {id(getattr(pipe, name)): name for name in pipe.model_cpu_offload_seq.split("->")}
    loaded: list[str] = []
    before = CpuOffload.pre_forward

    def load(hook: CpuOffload, module: torch.nn.Module, *given: Any, **named: Any) -> Any:
        loaded.extend([parts[id(module)]] if loaded[-1:] != [parts[id(module)]] else [])
        return before(hook, module, *given, **named)

    monkeypatch.setattr(CpuOffload, "pre_forward", load)
    assert torch.equal(make(pipe, **GUIDED), usual)
    assert loaded == ["text_encoder", "transformer", "vae", "transformer", "vae", "transformer"]
    pipe.remove_all_hooks()


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_to_dtype(pipe: MaltPipeline, dtype: torch.dtype) -> None:
    usual = make(pipe, num_frames=SEGMENT)
    assert pipe.to(dtype).dtype == dtype
    torch.testing.assert_close(make(pipe, num_frames=SEGMENT).float(), usual, rtol=0, atol=0.3)
    pictures = frames_of(pipe, PROMPT, num_frames=2, generator=seeded(), image=picture())
    assert [len(video) for video in pictures] == [2]
    embeds: dict[str, Any] = dict(
        zip(("prompt_embeds", "prompt_attention_mask"), pipe.encode_prompt(PROMPT)[:2], strict=True)
    )
    frames_of(pipe, **embeds, num_frames=2)


@pytest.mark.parametrize("kind", [UniPCMultistepScheduler, FlowMatchHeunDiscreteScheduler])
def test_scheduler_swap_by_the_usual_line(pipe: MaltPipeline, kind: Any, tmp_path: Path) -> None:
    by_euler = make(pipe, num_inference_steps=16)
    pipe.scheduler = kind.from_config(pipe.scheduler.config)
    assert not torch.equal(make(pipe, num_inference_steps=16), by_euler)
    assert (make(pipe, num_inference_steps=16) - by_euler).abs().mean() < 0.02
    pipe.save_pretrained(tmp_path)
    assert torch.equal(make(MaltPipeline.from_pretrained(tmp_path)), make(pipe))


def test_load_lora_weights_and_unload_lora_weights(pipe: MaltPipeline, tmp_path: Path) -> None:
    usual = make(pipe)
    lora(pipe, tmp_path)
    pipe.load_lora_weights(tmp_path, adapter_name="style")
    told = make(pipe)
    assert not torch.allclose(told, usual, atol=1e-3)
    assert pipe.get_active_adapters() == ["style"]
    pipe.disable_lora()
    assert torch.equal(make(pipe), usual)
    pipe.enable_lora()
    pipe.set_adapters("style", 0.0)
    torch.testing.assert_close(make(pipe), usual)
    pipe.set_adapters("style", 1.0)
    pipe.fuse_lora()
    torch.testing.assert_close(make(pipe), told, rtol=0, atol=1e-3)
    pipe.unfuse_lora()
    pipe.unload_lora_weights()
    assert not any("lora" in name for name in pipe.transformer.state_dict())
    torch.testing.assert_close(make(pipe), usual, rtol=0, atol=1e-3)


def test_unload_lora_weights_gives_the_same_bits_back(pipe: MaltPipeline, tmp_path: Path) -> None:
    usual = make(pipe)
    pipe.load_lora_weights(lora(pipe, tmp_path))
    pipe.unload_lora_weights()
    assert torch.equal(make(pipe), usual)


def test_a_lora_of_something_else_or_pickled_is_refused(pipe: MaltPipeline, tmp_path: Path) -> None:
    foreign = {
        "unet.blocks.0.to_q.lora_A.weight": torch.zeros(2, 4),
        "unet.blocks.0.to_q.lora_B.weight": torch.zeros(4, 2),
    }
    with pytest.raises(CheckpointError, match="the LoRA of these tensors holds nothing of this transformer"):
        pipe.load_lora_weights(foreign)
    torch.save({}, tmp_path / "pytorch_lora_weights.bin")
    with pytest.raises(CheckpointError, match="cannot be loaded .*give safetensors that fit"):
        pipe.load_lora_weights(tmp_path)
    (tmp_path / "cut.safetensors").write_bytes(b"cut")
    with pytest.raises(CheckpointError, match="cannot be loaded"):
        pipe.load_lora_weights(tmp_path / "cut.safetensors")
    wider = tiny_pipeline.pipeline(attention_head_dim=16)
    with pytest.raises(CheckpointError, match="cannot be loaded .*; give safetensors that fit"):
        pipe.load_lora_weights(lora(wider, tmp_path / "wider"))


def test_from_pipe(pipe: MaltPipeline) -> None:
    again = MaltPipeline.from_pipe(pipe, num_inference_steps=3)
    assert again.transformer is pipe.transformer
    assert (again.config.guidance_scale, again.config.num_inference_steps) == (pipe.config.guidance_scale, 3)
    assert torch.equal(make(again), make(pipe, num_inference_steps=3))


def test_the_components_of_a_pipeline_make_a_pipeline_with_its_guidance() -> None:
    settings = {"guidance_scale": 3.5, "memory_guidance_scale": 1.5, "context_noise": 0.1, "num_inference_steps": 3}
    pipe = tiny_pipeline.pipeline(settings=settings)
    again = MaltPipeline(**pipe.components)
    assert {name: again.config[name] for name in settings} == settings
    assert torch.equal(make(again), make(pipe))
    other = MaltPipeline(**pipe.components, guidance_scale=1.0)
    assert (other.config.guidance_scale, other.config.num_inference_steps) == (1.0, 3)
    assert pipe.config.guidance_scale == MaltPipeline(**pipe.components).config.guidance_scale == 3.5
    acting = tiny_pipeline.pipeline(action_dim=8, settings={"action_names": ["steering", "throttle"]})
    assert MaltPipeline(**acting.components).action_names == ["steering", "throttle"]


def test_a_pipeline_without_settings_has_the_usual_ones() -> None:
    pipe = MaltPipeline(**{**tiny_pipeline.pipeline().components, "transformer": tiny.transformer()})
    assert (pipe.config.num_inference_steps, pipe.config.guidance_scale, pipe.config.action_names) == (12, 2.0, None)


def test_save_pretrained_round_trip_bit_for_bit(tmp_path: Path) -> None:
    settings = {"guidance_scale": 3.5, "memory_guidance_scale": 1.5, "context_noise": 0.1, "num_inference_steps": 3}
    pipe = tiny_pipeline.pipeline(settings=settings)
    pipe.save_pretrained(tmp_path)
    again = MaltPipeline.from_pretrained(tmp_path)
    for name in ("transformer", "vae", "text_encoder"):
        stored, had = (getattr(each, name).state_dict() for each in (again, pipe))
        assert stored.keys() == had.keys()
        assert all(torch.equal(stored[key], had[key]) for key in had)
    assert torch.equal(make(again), make(pipe))


def test_fp16_variants(pipe: MaltPipeline, tmp_path: Path) -> None:
    half = copy.deepcopy(pipe).to(torch.float16)
    half.save_pretrained(tmp_path, variant="fp16")
    again = MaltPipeline.from_pretrained(tmp_path, variant="fp16", dtype=torch.float16)
    assert again.dtype == torch.float16
    for name in ("transformer", "vae"):  # the text encoder's library keeps some weights of T5 in single precision
        stored, had = (getattr(each, name).state_dict() for each in (again, half))
        assert all(torch.equal(stored[key], had[key]) for key in had)
    torch.testing.assert_close(make(again), make(half), rtol=0, atol=1e-2)
    assert load_pipeline(tmp_path).dtype == torch.float32
    pipe.save_pretrained(tmp_path)
    assert torch.equal(make(load_pipeline(tmp_path)), make(pipe))


def test_from_pretrained_is_in_single_precision_unless_another_is_named(pipe: MaltPipeline, tmp_path: Path) -> None:
    copy.deepcopy(pipe).to(torch.float16).save_pretrained(tmp_path)
    for given, expected in (({}, torch.float32), ({"dtype": torch.bfloat16}, torch.bfloat16)):
        loaded = MaltPipeline.from_pretrained(tmp_path, **given)
        assert {getattr(loaded, name).dtype for name in ("transformer", "vae", "text_encoder")} == {expected}


def test_a_text_encoder_may_be_of_another_precision_than_the_transformer(pipe: MaltPipeline) -> None:
    usual = make(pipe, num_frames=4)
    pipe.text_encoder.to(torch.bfloat16)
    torch.testing.assert_close(make(pipe, num_frames=4), usual, rtol=0, atol=0.1)


@pytest.mark.parametrize("name", ["default", "drive", "maze", "teacher"])
def test_the_packaged_models_are_loaded_by_their_names(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    loaded: list[str] = []
    monkeypatch.setattr(
        DiffusionPipeline, "from_pretrained", classmethod(lambda cls, path, **options: loaded.append(str(path)))
    )
    MaltPipeline.from_pretrained(name)
    MaltPipeline.from_pretrained("somebody/else")
    assert loaded == [str(packaged_models()[name]), "somebody/else"]
