"""Laws of `MaltPipeline`, on tiny random models."""

from collections.abc import Callable
from itertools import chain
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from accelerate import cpu_offload_with_hook
from diffusers import AutoencoderKL, AutoencoderKLWan, DPMSolverMultistepScheduler, UniPCMultistepScheduler
from PIL.Image import Image
from torch import Tensor, nn

import tiny
import tiny_pipeline
from malt.errors import MaltError, UsageError
from malt.memory.registry import KINDS
from malt.pipelines.loading import load_pipeline
from malt.pipelines.malt import MaltPipeline
from malt.pipelines.video_output import MaltPipelineOutput
from malt.worlds.passage.captions import vocabulary
from tiny_pipeline import PROMPT, SEGMENT, SIDE


@pytest.fixture
def pipe() -> MaltPipeline:
    return tiny_pipeline.pipeline()


def frames_of(pipe: Any, *given: Any, **asked: Any) -> Any:
    return pipe(*given, **asked).frames


def make(
    pipe: MaltPipeline, num_frames: int = SEGMENT + 3, seed: int = 0, prompt: Any = PROMPT, **settings: Any
) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    frames = frames_of(pipe, prompt, num_frames=num_frames, generator=generator, output_type="pt", **settings)
    assert isinstance(frames, Tensor)
    return frames


def image() -> nn.Module:
    blocks = {"down_block_types": ("DownEncoderBlock2D",) * 2, "up_block_types": ("UpDecoderBlock2D",) * 2}
    sizes = {"block_out_channels": (4, 8), "norm_num_groups": 2, "latent_channels": tiny.CHANNELS}
    return tiny.randomised(AutoencoderKL(**blocks, **sizes).eval())


def wan() -> nn.Module:
    sizes = {"base_dim": 4, "z_dim": 4, "dim_mult": [1, 2, 2], "num_res_blocks": 1, "temperal_downsample": [True, True]}
    standard = {"latents_mean": [0.1, -0.2, 0.0, 0.3], "latents_std": [0.5, 1.0, 2.0, 1.5]}
    return tiny.randomised(AutoencoderKLWan(**sizes, **standard).eval())


def test_a_call_is_a_consumer_of_the_stream(pipe: MaltPipeline) -> None:
    segments = list(pipe.stream(PROMPT, 2 * SEGMENT + 3, generator=torch.Generator().manual_seed(0)))
    assert [segment.frames.shape[1] for segment in segments] == [SEGMENT, SEGMENT, 3]
    streamed = torch.cat([segment.frames for segment in segments], dim=1)
    torch.testing.assert_close(make(pipe, 2 * SEGMENT + 3), streamed / 2 + 0.5)


def test_a_stream_that_is_cut_off_and_asked_again_shows_the_same(pipe: MaltPipeline) -> None:
    begun = next(pipe.stream(PROMPT, 100 * SEGMENT, generator=torch.Generator().manual_seed(0)))
    assert torch.equal(begun.frames / 2 + 0.5, make(pipe, SEGMENT))


def test_the_same_seed_is_the_same_video_and_another_another(pipe: MaltPipeline) -> None:
    assert torch.equal(make(pipe), make(pipe))
    assert not torch.allclose(make(pipe), make(pipe, seed=1), atol=1e-3)


def test_a_video_of_a_batch_is_the_video_that_it_would_be_alone(pipe: MaltPipeline) -> None:
    prompts = [PROMPT, "a blue square", PROMPT]
    chances = [[torch.Generator().manual_seed(seed) for seed in (5, 6, 7)] for _ in range(2)]
    together = frames_of(pipe, prompts, num_frames=2 * SEGMENT, generator=chances[0], output_type="pt")
    for video, prompt, chance in zip(together, prompts, chances[1], strict=True):
        alone = frames_of(pipe, prompt, num_frames=2 * SEGMENT, generator=chance, output_type="pt")
        torch.testing.assert_close(alone[0], video, rtol=0, atol=1e-3)
    torch.testing.assert_close(make(pipe, 2 * SEGMENT, seed=5, prompt=prompts)[:1], together[:1], rtol=0, atol=1e-3)


def test_generators_that_are_not_one_a_video_are_refused(pipe: MaltPipeline) -> None:
    with pytest.raises(UsageError, match="got 1 generator for 2 videos; give one, or one for each"):
        pipe.stream([PROMPT, PROMPT], generator=[torch.Generator()])


def test_without_a_generator_the_global_seed_decides(pipe: MaltPipeline) -> None:
    videos = []
    for seed in (5, 5, 6):
        torch.manual_seed(seed)
        videos.append(frames_of(pipe, PROMPT, num_frames=4, output_type="pt"))
    assert torch.equal(videos[0], videos[1])
    assert not torch.equal(videos[0], videos[2])


def test_frames_come_as_pictures_arrays_or_tensors(pipe: MaltPipeline) -> None:
    tensor = make(pipe, 5, prompt=[PROMPT, PROMPT])
    assert tensor.shape == (2, 5, 3, SIDE, SIDE)
    assert 0 <= tensor.min() < tensor.max() <= 1
    shapes: dict[str, Any] = {}
    for kind in ("np", "pil"):
        generator = torch.Generator().manual_seed(0)
        output = pipe([PROMPT, PROMPT], num_frames=5, generator=generator, output_type=kind)
        assert isinstance(output, MaltPipelineOutput)
        shapes[kind] = output.frames
    np.testing.assert_allclose(shapes["np"], tensor.permute(0, 1, 3, 4, 2).numpy(), atol=1e-6)
    assert [len(video) for video in shapes["pil"]] == [5, 5]
    assert all(isinstance(frame, Image) and frame.size == (SIDE, SIDE) for video in shapes["pil"] for frame in video)
    assert isinstance(pipe(PROMPT, num_frames=1, return_dict=False), tuple)


def test_a_pipeline_that_was_saved_is_the_pipeline_that_is_loaded(tmp_path: Path) -> None:
    settings = {"guidance_scale": 3.5, "memory_guidance_scale": 1.5, "context_noise": 0.1, "num_inference_steps": 3}
    pipe = tiny_pipeline.pipeline(settings=settings)
    pipe.save_pretrained(tmp_path)
    assert not [path for path in tmp_path.rglob("*") if path.suffix in (".bin", ".pt", ".pkl")]
    for loaded in (MaltPipeline.from_pretrained(tmp_path), load_pipeline(tmp_path)):
        assert {name: loaded.config[name] for name in settings} == settings
        assert torch.equal(make(loaded), make(pipe))


def test_a_pipeline_kept_in_half_precision_is_loaded_in_full(tmp_path: Path) -> None:
    pipe = tiny_pipeline.pipeline()
    expected = make(pipe, SEGMENT)
    pipe.to(torch.float16).save_pretrained(tmp_path)
    loaded = load_pipeline(tmp_path)
    assert {getattr(loaded, name).dtype for name in ("transformer", "vae", "text_encoder")} == {torch.float32}
    torch.testing.assert_close(make(loaded, SEGMENT), expected, rtol=0, atol=0.05)


def test_a_pipeline_in_bfloat16_makes_videos_too(pipe: MaltPipeline) -> None:
    expected = make(pipe, SEGMENT)
    torch.testing.assert_close(make(pipe.to(torch.bfloat16), SEGMENT), expected, rtol=0, atol=0.3)


@pytest.mark.parametrize("kind", KINDS)
def test_autocast_makes_the_same_video_but_for_rounding(kind: str) -> None:
    pipe = tiny_pipeline.pipeline(memory=kind, settings={"memory_guidance_scale": 1.5})
    expected = make(pipe, 2 * SEGMENT)
    with torch.autocast("cpu", torch.bfloat16):
        made = make(pipe, 2 * SEGMENT)
    assert made.dtype == torch.float32
    torch.testing.assert_close(made, expected, rtol=0, atol=0.3)
    assert (made - expected).abs().mean() < 0.03


def test_an_offloaded_model_is_handed_tensors_where_it_computes() -> None:
    def encode(tokens: Tensor, attention_mask: Tensor) -> SimpleNamespace:
        return SimpleNamespace(last_hidden_state=torch.zeros(*tokens.shape, tiny.CAPTION, device=tokens.device))

    pipe = tiny_pipeline.pipeline(action_dim=8)
    pipe.text_encoder.forward = encode
    for part in (pipe.text_encoder, pipe.transformer, pipe.vae):
        cpu_offload_with_hook(part, "meta")  # a device that every machine has
    assert pipe.device.type == "cpu"
    rollout = pipe.rollout(PROMPT)
    progress = rollout.begin(0)
    noise = rollout.generators(progress).draw(SEGMENT)
    done = rollout.pack_actions(torch.zeros(1, SEGMENT, 2), tiny.FRAMES, SEGMENT)
    handed = [
        rollout.caption.states,
        rollout.caption.mask,
        rollout.uncaptioned.states,
        rollout.uncaptioned.mask,
        *chain(*progress.memory),
        noise,
        done,
    ]
    assert {tensor.device.type for tensor in handed if tensor is not None} == {"meta"}


@pytest.mark.parametrize("kind", [UniPCMultistepScheduler, DPMSolverMultistepScheduler])
def test_schedulers_can_be_exchanged(pipe: MaltPipeline, kind: Any, tmp_path: Path) -> None:
    by_euler = make(pipe)
    pipe.scheduler = kind(prediction_type="flow_prediction", use_flow_sigmas=True)
    assert make(pipe).shape == by_euler.shape
    assert not torch.equal(make(pipe), by_euler)
    assert torch.equal(make(pipe), make(pipe))
    pipe.save_pretrained(tmp_path)
    assert torch.equal(make(MaltPipeline.from_pretrained(tmp_path)), make(pipe))


@pytest.mark.parametrize(
    "setting",
    [
        {"num_inference_steps": 3},
        {"guidance_scale": 4.0},
        {"memory_guidance_scale": 3.0},
        {"memory_update_interval": 2},
    ],
)
def test_a_setting_of_a_call_overrides_the_pipelines_own(pipe: MaltPipeline, setting: dict[str, Any]) -> None:
    usual = make(pipe, 3 * SEGMENT)
    assert not torch.allclose(make(pipe, 3 * SEGMENT, **setting), usual, atol=1e-4)
    own = {name: pipe.config[name] for name in setting if name in pipe.config}
    assert torch.equal(make(pipe, 3 * SEGMENT, **own), usual)


def test_a_size_of_a_call_overrides_the_models_own(pipe: MaltPipeline) -> None:
    assert make(pipe, 4, height=16, width=48).shape == (1, 4, 3, 16, 48)


def test_a_first_image_is_what_the_video_begins_with(pipe: MaltPipeline) -> None:
    first, other = tiny_pipeline.video(2)
    made = make(pipe, SEGMENT, image=first)
    shown = pipe.codec.decode(pipe.codec.encode(first.expand(1, 4, 3, SIDE, SIDE))[0])[0].clamp(-1, 1) / 2 + 0.5
    torch.testing.assert_close(made[:, :4], shown)
    assert made.shape[1] == SEGMENT
    assert not torch.allclose(made[:, 4:], make(pipe, SEGMENT, image=other)[:, 4:], atol=1e-3)


def test_a_first_video_is_what_the_video_begins_with(pipe: MaltPipeline) -> None:
    first = tiny_pipeline.video(2 * SEGMENT)
    made = make(pipe, 3 * SEGMENT, video=first)
    shown = pipe.codec.decode(pipe.codec.encode(first[None])[0])[0].clamp(-1, 1) / 2 + 0.5
    torch.testing.assert_close(made[:, : 2 * SEGMENT], shown)
    assert torch.equal(make(pipe, 3 * SEGMENT + 2, video=first)[:, : 3 * SEGMENT], made)


def test_a_first_video_that_is_too_long_is_cut(pipe: MaltPipeline) -> None:
    first = tiny_pipeline.video(3 * SEGMENT)
    segments = list(pipe.stream(PROMPT, SEGMENT + 2, video=first))
    assert [segment.frames.shape[1] for segment in segments] == [SEGMENT, 2]


def test_every_prompt_goes_on_from_the_given_frames(pipe: MaltPipeline) -> None:
    made = make(pipe, SEGMENT, prompt=["a red circle", "a blue square"], image=tiny_pipeline.video(1)[0])
    assert torch.equal(made[0, :4], made[1, :4])
    assert not torch.allclose(made[0, 4:], made[1, 4:], atol=1e-3)


@pytest.mark.parametrize(
    ("autoencoder", "channels", "lengths"),
    [(tiny_pipeline.autoencoder, 3, [8, 1]), (image, 3, [2, 2, 2, 2, 1]), (wan, 4, [5, 4])],
)
def test_any_codec_serves(autoencoder: Callable[[], nn.Module], channels: int, lengths: list[int]) -> None:
    pipe = tiny_pipeline.pipeline(vae=autoencoder(), in_channels=channels, settings={"num_inference_steps": 1})
    segments = list(pipe.stream(PROMPT, 9, height=SIDE, width=SIDE))
    assert [segment.frames.shape[1] for segment in segments] == lengths
    for name, first in (("image", tiny_pipeline.video(1)[0]), ("video", tiny_pipeline.video(6))):
        given: dict[str, Any] = {name: first}
        made = make(pipe, 9, height=SIDE, width=SIDE, **given)
        assert made.shape == (1, 9, 3, SIDE, SIDE)
        assert not torch.equal(made[:, 6:], make(pipe, 9, height=SIDE, width=SIDE)[:, 6:])


@pytest.mark.parametrize(
    ("asked", "sentence"),
    [
        ({"num_frames": 0}, "asked for 0 frames; give at least 1"),
        ({"num_frames": -4}, "asked for -4 frames; give at least 1"),
        ({"prompt": ""}, "the prompt is empty; say what the video shows"),
        ({"prompt": "  \n"}, "the prompt is empty"),
        ({"prompt": []}, "the prompt is empty"),
        ({"prompt": [PROMPT, " "]}, "the prompt is empty"),
        ({"num_inference_steps": 0}, "asked for 0 denoising steps; give at least 1"),
        ({"memory_update_interval": 0}, "asked for a memory update every 0 segments; give at least 1"),
        ({"height": 40}, "32x40 does not fit this model; give sides that are multiples of 16"),
        ({"width": 0}, "0x32 does not fit this model"),
        ({"height": -16}, "32x-16 does not fit this model"),
        ({"image": torch.zeros(3, 16, 32)}, "got first frames of 32x16; this video is 32x32"),
        ({"video": torch.zeros(3, 3, 32, 32)}, "the first video has 3 frames; give at least 4"),
        ({"video": torch.zeros(8, 3, 32, 32), "image": torch.zeros(3, 32, 32)}, "an image or a video .*, not both"),
    ],
)
def test_what_cannot_be_done_is_refused_in_a_sentence_before_any_work(
    pipe: MaltPipeline, asked: dict[str, Any], sentence: str
) -> None:
    pipe.transformer.register_forward_pre_hook(lambda *given: pytest.fail("the model was run"))
    with pytest.raises(UsageError, match=sentence):
        streamed: Any = pipe.stream
        streamed(**{"prompt": PROMPT, "num_frames": SEGMENT} | asked)


def test_a_damaged_model_is_an_error_and_not_a_video(pipe: MaltPipeline) -> None:
    pipe.transformer.proj_out.bias.data.fill_(float("nan"))
    with pytest.raises(MaltError, match="the model's output in segment 0 is not finite"):
        make(pipe)


def test_the_pipeline_knows_the_words_it_learned(pipe: MaltPipeline) -> None:
    assert pipe.known_words == list(vocabulary())
    assert pipe.unknown_words("A red Circle, and a blue square pass behind a wall.") == []
    assert pipe.unknown_words("two dragons and a red dragon, dragons!") == ["dragons", "dragon"]


def test_a_pipeline_remarks_words_it_does_not_know_and_an_end_that_it_does_not_read(pipe: MaltPipeline) -> None:
    assert pipe.remarks(PROMPT) == []
    (unknown,) = pipe.remarks("a red dragon")
    assert unknown.startswith("the model does not know dragon; it knows: a, and, at")
    long = "a red circle and a blue square pass behind a wall and two shapes"
    (unread,) = pipe.remarks(long)
    assert unread == "the prompt is too long for the model, which does not read 'and two shapes'"
    read = pipe.encode_prompt("a red circle and a blue square pass behind a wall")[0]
    assert torch.equal(pipe.encode_prompt(long)[0], read)


def test_a_large_vocabulary_is_taken_to_know_every_word(pipe: MaltPipeline) -> None:
    pipe.tokenizer.add_tokens([f"word{n}" for n in range(1000)])
    assert pipe.known_words == []
    assert pipe.unknown_words("two dragons") == []


def test_the_words_of_the_prompt_are_heard_and_padding_is_not(pipe: MaltPipeline) -> None:
    states, mask, *_ = pipe.encode_prompt(["a red circle", "a red circle passes behind a wall"])
    assert mask.sum(dim=1).tolist() == [4, 8]  # the words and the end
    longer, *_ = tiny_pipeline.pipeline().encode_prompt(["a red circle"])
    torch.testing.assert_close(states[:1][mask[:1]], longer[mask[:1]])
    assert not torch.allclose(make(pipe, 4), make(pipe, 4, prompt="a blue square"), atol=1e-3)


def test_the_size_and_rate_are_those_of_the_autoencoder(pipe: MaltPipeline) -> None:
    assert (pipe.frame_size, pipe.frame_rate) == ((SIDE, SIDE), 8.0)
