"""Laws of captions through a pretrained pipeline's own text encoders: what the pipeline itself would give its transformer."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from diffusers import DiffusionPipeline
from torch import nn

import tiny_pretrained
import tiny_pretrained_behind as behind
from malt.data.text_fingerprint import identify_text
from malt.diffusion.caption import Caption
from malt.errors import CheckpointError, UsageError
from malt.pipelines.adapted_loading import load_adapted
from malt.pipelines.caption_encoding import CaptionEncoder, base_parts

RED = "a red circle passes behind a wall"
BASES = [tiny_pretrained.wan, tiny_pretrained.ltx, tiny_pretrained.cogvideox, tiny_pretrained.hunyuan]


@pytest.fixture(scope="module")
def wan(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_pretrained.wan(tmp_path_factory.mktemp("base") / "wan")


@pytest.mark.parametrize(
    ("build", "length"),
    list(zip(BASES, (512, 128, 226, 256), strict=True)),
    ids=lambda value: getattr(value, "__name__", ""),
)
def test_captions_are_what_the_pipeline_gives_its_transformer(
    tmp_path: Path, build: Callable[[Path], Path], length: int
) -> None:
    folder = build(tmp_path / "base")
    caption, pipe = CaptionEncoder(folder)([RED, ""]), DiffusionPipeline.from_pretrained(folder)
    given = pipe.encode_prompt(prompt=[RED, ""], max_sequence_length=length, device=torch.device("cpu"))
    torch.testing.assert_close(caption.states, given[0], rtol=1e-5, atol=1e-5)
    assert caption.states.shape[:2] == caption.mask.shape == (2, length)
    if build is tiny_pretrained.hunyuan:
        torch.testing.assert_close(caption.added["pooled_projections"], given[1], rtol=1e-5, atol=1e-5)
        assert torch.equal(caption.mask, given[2].bool())
    if build is tiny_pretrained.ltx:
        assert torch.equal(caption.mask, given[1].bool())


def test_a_base_that_was_told_fewer_tokens_says_so_in_its_index(wan: Path, tmp_path: Path) -> None:
    folder = shutil.copytree(wan, tmp_path / "base")
    index = folder / "model_index.json"
    settings = json.loads(index.read_text(encoding="utf-8"))
    index.write_text(json.dumps(settings | {"_max_sequence_length": 20}), encoding="utf-8")
    pipe = DiffusionPipeline.from_pretrained(folder)
    given = pipe.encode_prompt([RED], max_sequence_length=20)[0]
    assert given.shape[1] == 20
    torch.testing.assert_close(CaptionEncoder(folder)([RED]).states, given, rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(
        load_adapted(folder, dtype=torch.float32).parts.encode([RED], None)[0].states, given, rtol=1e-5, atol=1e-5
    )
    assert identify_text(folder).digest != identify_text(wan).digest
    for wrong in (0, "20", True):
        index.write_text(json.dumps(settings | {"_max_sequence_length": wrong}), encoding="utf-8")
        with pytest.raises(CheckpointError, match=f"_max_sequence_length in .* is {wrong}; give a number of tokens"):
            CaptionEncoder(folder)


def test_zeros_that_pad_a_caption_do_not_count(wan: Path, tmp_path: Path) -> None:
    assert CaptionEncoder(wan)([RED, ""]).mask.sum(dim=1).tolist() == [len(RED.split()) + 1, 1]
    assert CaptionEncoder(tiny_pretrained.cogvideox(tmp_path / "base"))([RED]).mask.all()


def test_size_and_rate_are_known_before_any_network_is_loaded(wan: Path, tmp_path: Path) -> None:
    parts = base_parts(wan)
    assert (parts.frame_size, parts.frame_rate) == ((480, 832), 16.0)
    assert (parts.pipe.text_encoder, parts.pipe.vae) == (None, None)
    for build in (tiny_pretrained.cogvideox, behind.hunyuan15):
        folder = build(tmp_path / build.__name__)
        parts, loaded = base_parts(folder), load_adapted(folder).parts
        assert (parts.frame_size, parts.frame_rate) == (loaded.frame_size, loaded.frame_rate)


def test_a_caption_does_not_depend_on_those_beside_it(wan: Path) -> None:
    encode = CaptionEncoder(wan)
    assert torch.equal(encode([RED, ""]).states, Caption.join([encode([RED]), encode([""])]).states)


def test_nothing_but_the_text_encoders_is_loaded(wan: Path) -> None:
    pipe = CaptionEncoder(wan).pipe
    assert [name for name, part in pipe.components.items() if isinstance(part, nn.Module)] == ["text_encoder"]


def test_a_base_whose_captions_are_not_known_is_refused_with_those_that_are(tmp_path: Path) -> None:
    (tmp_path / "model_index.json").write_text(
        '{"_class_name": "OtherPipeline", "transformer": ["diffusers", "Other"]}'
    )
    with pytest.raises(UsageError, match="does not know how OtherPipeline makes video; it knows WanPipeline, .*"):
        CaptionEncoder(tmp_path)


def test_pickled_and_missing_text_encoders_are_refused_in_a_sentence(tmp_path: Path) -> None:
    folder = tiny_pretrained.wan(tmp_path / "base")
    weights = folder / "text_encoder" / "model.safetensors"
    weights.rename(folder / "text_encoder" / "pytorch_model.bin")
    with pytest.raises(CheckpointError, match="pytorch_model.bin is pickled, .* give the base with safetensors"):
        CaptionEncoder(folder)
    (folder / "text_encoder" / "pytorch_model.bin").unlink()
    with pytest.raises(CheckpointError, match="text encoders of .* cannot be loaded .* copy it again"):
        CaptionEncoder(folder)
