"""Laws of captions that are stored beside the shards: each once, trimmed to its tokens, and given back as the base expects."""

from collections.abc import Callable, Generator
from pathlib import Path

import pytest
import torch

import tiny_pretrained
from malt.data.stored_captions import FOLDER, StoredCaptions, store_caption, store_missing
from malt.data.text_fingerprint import TextIdentity, identify_text
from malt.diffusion.caption import Caption
from malt.errors import CheckpointError, UsageError
from malt.pipelines.caption_encoding import CaptionEncoder

RED, LONG = (
    "a red circle passes behind a wall",
    "a red circle and a blue square and a green triangle pass behind a wall",
)
TEXT = TextIdentity("somebody/base", "0123456789abcdef")


def caption(length: int = 6, counted: int = 3, seed: int = 1) -> Caption:
    """A caption of one text encoder, and what a second and a third one would add."""
    chance = torch.Generator().manual_seed(seed)
    mask, states = torch.arange(length)[None] < counted, torch.randn(1, length, 4, generator=chance)
    second = {"encoder_hidden_states_2": states.flip(1) * mask[..., None], "encoder_attention_mask_2": mask}
    return Caption(states * mask[..., None], mask, second | {"pooled_projections": states[:, 0]})


def equal(one: Caption, other: Caption) -> bool:
    tensors = [{"states": each.states, "mask": each.mask, **each.added} for each in (one, other)]
    return tensors[0].keys() == tensors[1].keys() and all(torch.equal(t, tensors[1][k]) for k, t in tensors[0].items())


def test_what_is_stored_comes_back_padded_and_by_name(tmp_path: Path) -> None:
    captions = {"": caption(counted=1), RED: caption(counted=4, seed=2), "nothing counts": caption(counted=0, seed=3)}
    for text, encoded in captions.items():
        store_caption(tmp_path, text, encoded, TEXT)
    stored = StoredCaptions(tmp_path)
    assert equal(stored([RED, ""]), Caption.join([captions[RED], captions[""]]))
    assert equal(stored(["nothing counts"]), captions["nothing counts"])


@pytest.mark.parametrize(
    "build", [tiny_pretrained.wan, tiny_pretrained.ltx, tiny_pretrained.cogvideox, tiny_pretrained.hunyuan]
)
def test_looking_up_is_encoding(tmp_path: Path, build: Callable[[Path], Path]) -> None:
    encode = CaptionEncoder(build(tmp_path / "base"))
    list(store_missing(tmp_path, [RED, LONG], lambda: encode, TEXT))
    encoded, looked_up = encode([LONG, "", RED]), StoredCaptions(tmp_path)([LONG, "", RED])
    assert torch.equal(looked_up.mask, encoded.mask)
    assert torch.equal(looked_up.states[looked_up.mask], encoded.states[encoded.mask])
    assert looked_up.states.shape == encoded.states.shape
    assert (
        build is tiny_pretrained.ltx
        or build is tiny_pretrained.hunyuan
        or torch.equal(looked_up.states, encoded.states)
    )
    assert {name: tensor.tolist() for name, tensor in looked_up.added.items()} == {
        name: tensor.tolist() for name, tensor in encoded.added.items()
    }


def test_a_stored_caption_is_as_large_as_its_tokens(tmp_path: Path) -> None:
    store_caption(tmp_path, RED, caption(length=512, counted=8), TEXT)
    assert sum(file.stat().st_size for file in (tmp_path / FOLDER).iterdir()) < 2500


def test_a_caption_is_encoded_once_and_the_encoders_are_brought_up_only_for_what_is_missing(tmp_path: Path) -> None:
    loaded = []

    def load() -> Callable[[list[str]], Caption]:
        loaded.append(True)
        return lambda texts: caption()

    assert list(store_missing(tmp_path, [RED, RED, LONG], load, TEXT)) == ["", RED, LONG]
    assert list(store_missing(tmp_path, [LONG, RED], load, TEXT)) == []
    assert list(store_missing(tmp_path, [RED, "new"], load, TEXT)) == ["new"]
    assert len(loaded) == 2


def test_a_run_that_was_killed_goes_on_with_the_caption_it_was_at(tmp_path: Path) -> None:
    begun = store_missing(tmp_path, [RED, LONG], lambda: lambda texts: caption(), TEXT)
    assert [next(begun), next(begun)] == ["", RED]
    assert isinstance(begun, Generator)
    begun.close()
    assert list(store_missing(tmp_path, [RED, LONG], lambda: lambda texts: caption(), TEXT)) == [LONG]


def test_what_is_not_stored_or_damaged_is_said_in_a_sentence(tmp_path: Path) -> None:
    assert not StoredCaptions(tmp_path)
    store_caption(tmp_path, "", caption(), TEXT)
    assert StoredCaptions(tmp_path)
    with pytest.raises(UsageError, match="the caption 'a red .* is not stored in .*; run malt encode --base again"):
        StoredCaptions(tmp_path)([RED])
    [file] = (tmp_path / FOLDER).iterdir()
    file.write_bytes(file.read_bytes()[:-3])
    with pytest.raises(
        UsageError, match="the caption's file .* is damaged; delete it and run malt encode --base again"
    ):
        StoredCaptions(tmp_path)([""])


def test_captions_of_another_bases_text_encoders_are_refused(tmp_path: Path) -> None:
    store_caption(tmp_path, "", caption(), TEXT)
    StoredCaptions(tmp_path).check(TextIdentity("the/same-base-elsewhere", TEXT.digest))
    with pytest.raises(
        UsageError,
        match=r"were encoded by somebody/base \(0123.*\), and the base is other/base \(fedc.*\); encode the videos",
    ):
        StoredCaptions(tmp_path).check(TextIdentity("other/base", "fedc"))


def test_text_encoders_are_known_by_their_files_wherever_they_lie_and_whatever_transformer_they_serve(
    tmp_path: Path,
) -> None:
    wan, deeper = (tiny_pretrained.wan(tmp_path / str(n), num_layers=n) for n in (1, 2))
    assert identify_text(wan).digest == identify_text(deeper, "somebody/base").digest
    assert identify_text(tiny_pretrained.ltx(tmp_path / "ltx")).digest != identify_text(wan).digest
    weights = deeper / "text_encoder" / "model.safetensors"
    content = bytearray(weights.read_bytes())
    content[-1] ^= 1
    begin = int.from_bytes(content[:8], "little") + 8
    content[begin] ^= 1
    weights.write_bytes(content)
    assert identify_text(wan).digest != identify_text(deeper).digest
    weights.write_bytes(content[:-3])
    with pytest.raises(CheckpointError, match=r"model\.safetensors is damaged; copy the base again"):
        identify_text(deeper)
