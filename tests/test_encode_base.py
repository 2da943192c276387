"""Laws of `malt encode --base`, through the command line: latents and captions by a pretrained pipeline's own parts."""

import weakref
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from diffusers import DiffusionPipeline

import tiny_pretrained
from malt.cli import main
from malt.codecs.registry import codec_of
from malt.data.codec_fingerprint import identify
from malt.data.shard_dataset import ShardDataset
from malt.data.stored_captions import FOLDER, StoredCaptions
from malt.data.text_fingerprint import identify_text
from malt.errors import UsageError
from malt.pipelines import caption_encoding
from malt.pipelines.autoencoder_loading import load_autoencoder
from malt.pipelines.caption_encoding import CaptionEncoder
from tiny_videos import write_video

RED = "a red circle passes behind a wall"


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    for name in ("a", "b", "c"):
        write_video(Path("videos") / f"{name}.mp4", 17)
    Path("videos/a.txt").write_text(RED)
    Path("videos/b.txt").write_text(RED)
    tiny_pretrained.wan(Path("base"))
    return tmp_path


def encode(*options: str, base: str = "base", out: str = "shards") -> int:
    sizes = ("--height", "16", "--width", "24", "--device", "cpu", "--precision", "float32")
    return main(["encode", "videos", "--base", base, "--out", out, *sizes, *options])


@pytest.mark.parametrize(
    "build", [tiny_pretrained.wan, tiny_pretrained.ltx, tiny_pretrained.cogvideox, tiny_pretrained.hunyuan]
)
def test_videos_become_what_the_bases_own_parts_make_of_them(folder: Path, build: Callable[[Path], Path]) -> None:
    base = build(Path("other"))
    assert encode(base="other", out="out") == 0
    dataset, pipe = ShardDataset.open(Path("out")), DiffusionPipeline.from_pretrained(base)
    codec = codec_of(pipe.vae.eval())
    assert dataset.codec == identify(load_autoencoder(base))
    assert dataset.latent_size == (4, 16 // codec.space_compression, 24 // codec.space_compression)
    batch = dataset(0, num_videos=2, num_frames=3, context_frames=0, start_share=1.0)
    encoded, stored = CaptionEncoder(base)(batch.captions), StoredCaptions(Path("out"))(batch.captions)
    assert torch.equal(stored.mask, encoded.mask)
    assert torch.equal(stored.states[stored.mask], encoded.states[encoded.mask])
    assert stored.added.keys() == encoded.added.keys()


def test_a_caption_is_stored_once_and_the_empty_one_with_it(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert encode() == 0
    assert "encoded 2 captions by the text encoders of base" in capsys.readouterr().out
    assert len(list((folder / "shards" / FOLDER).iterdir())) == 2
    StoredCaptions(folder / "shards").check(identify_text(folder / "base"))


def test_the_same_command_again_loads_no_text_encoder_and_a_new_caption_only_what_is_missing(
    folder: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert encode() == 0
    before = {path: path.stat().st_mtime_ns for path in (folder / "shards" / FOLDER).iterdir()}
    write_video(Path("videos/d.mp4"), 17)
    Path("videos/d.txt").write_text("a blue square")
    assert encode() == 0
    assert "encoded 1 caption " in capsys.readouterr().out
    assert {path: path.stat().st_mtime_ns for path in before} == before

    def load(*given: Any) -> None:
        raise AssertionError("text encoders were loaded")

    monkeypatch.setattr(caption_encoding, "CaptionEncoder", load)
    assert encode() == 0
    assert len(ShardDataset.open(folder / "shards").videos) == 4


def test_the_autoencoder_is_loaded_when_the_text_encoders_are_gone(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    alive = []
    real = CaptionEncoder.__init__

    def counted(self: CaptionEncoder, *given: Any) -> None:
        alive.append(weakref.ref(self))
        real(self, *given)

    def checked(path: Path) -> Any:
        assert [ref() for ref in alive] == [None]
        return load_autoencoder(path)

    monkeypatch.setattr(CaptionEncoder, "__init__", counted)
    monkeypatch.setattr("malt.pipelines.autoencoder_loading.load_autoencoder", checked)
    assert encode() == 0


def test_ranks_store_the_captions_of_their_own_videos(folder: Path) -> None:
    Path("videos/b.txt").write_text("a blue square")
    assert encode("--rank", "0", "--world-size", "2") == 0
    stored = StoredCaptions(folder / "shards")
    assert (stored.has(RED), stored.has("a blue square")) == (True, False)
    assert encode("--rank", "1", "--world-size", "2") == 0
    assert stored.has("a blue square")


def test_shards_of_another_base_are_refused(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert encode() == 0
    other = tiny_pretrained.ltx(Path("other"))
    with pytest.raises(
        UsageError, match="the shards were encoded by AutoencoderKLWan .* and the model is for Auto.*LTX"
    ):
        ShardDataset.open(folder / "shards", identify(load_autoencoder(other)))
    with pytest.raises(UsageError, match="the captions in .* were encoded by base .*, and the base is other"):
        StoredCaptions(folder / "shards").check(identify_text(other))
    assert encode(base="other") == 2
    assert "were made with another text_encoder" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--codec", "base"], "--base and --codec were given; give one of them"),
        (["--height", "18"], "24x18 does not fit this autoencoder; give sides that are multiples of 4"),
        (["--base", "nowhere"], "there is no base nowhere; give a folder of diffusers, or an identifier"),
        (["--base", "videos"], "holds no base; give a folder of diffusers with its model_index.json"),
    ],
)
def test_what_cannot_be_done_is_said_before_anything_is_begun(
    folder: Path, capsys: pytest.CaptureFixture[str], options: list[str], words: str
) -> None:
    assert encode(*options) in (1, 2)
    assert words in capsys.readouterr().err
    assert not (folder / "shards").exists()


def test_a_base_with_another_autoencoder_is_refused_with_those_there_are_codecs_for(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config = folder / "base" / "vae" / "config.json"
    config.write_text(config.read_text().replace("AutoencoderKLWan", "AutoencoderKLAllegro"))
    assert encode() == 1
    assert (
        "holds AutoencoderKLAllegro, for which there is no codec; give one of AutoencoderMalt"
        in capsys.readouterr().err
    )
    assert not (folder / "shards").exists()


def test_a_pickled_autoencoder_is_refused(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    weights = folder / "base" / "vae" / "diffusion_pytorch_model.safetensors"
    weights.rename(weights.with_suffix(".bin"))
    assert encode() == 1
    assert "diffusion_pytorch_model.bin is pickled, and loading it could run any code" in capsys.readouterr().err
    assert not (folder / "shards").exists()
