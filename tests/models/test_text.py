"""Laws of the small text encoder and its tokenizer."""

from pathlib import Path

import pytest
import torch
from transformers import PreTrainedTokenizerFast, T5EncoderModel

from malt.models.text import END, PAD, UNKNOWN, build_text_encoder, build_tokenizer

WORDS = ("a", "red", "circle", "and", "blue", "square")


@pytest.fixture(scope="module")
def tokenizer() -> PreTrainedTokenizerFast:
    return build_tokenizer(WORDS, max_length=6)


@pytest.fixture(scope="module")
def encoder() -> T5EncoderModel:
    torch.manual_seed(0)
    return build_text_encoder(len(WORDS) + 3, width=16, num_layers=1, num_heads=2).eval()


def read(tokenizer: PreTrainedTokenizerFast, text: str) -> list[str]:
    return tokenizer.convert_ids_to_tokens(tokenizer(text).input_ids)


def test_known_words_are_read_in_any_case_and_punctuation(tokenizer: PreTrainedTokenizerFast) -> None:
    assert read(tokenizer, "A red, CIRCLE!") == ["a", "red", "circle", END]


def test_an_unknown_word_is_read_as_unknown_alone(tokenizer: PreTrainedTokenizerFast) -> None:
    assert read(tokenizer, "a mauve circle") == ["a", UNKNOWN, "circle", END]


def test_the_empty_caption_is_its_end(tokenizer: PreTrainedTokenizerFast) -> None:
    assert read(tokenizer, "") == [END]


def test_captions_are_brought_to_one_length_and_still_end(tokenizer: PreTrainedTokenizerFast) -> None:
    batch = tokenizer(
        ["a circle", "a red circle and a blue square"], padding="max_length", truncation=True, return_tensors="pt"
    )
    short, long = (tokenizer.convert_ids_to_tokens(ids) for ids in batch.input_ids)
    assert short == ["a", "circle", END, PAD, PAD, PAD]
    assert long == ["a", "red", "circle", "and", "a", END]
    assert batch.attention_mask.sum(dim=1).tolist() == [3, 6]


def test_a_tokenizer_that_was_saved_is_the_one_that_is_loaded(
    tokenizer: PreTrainedTokenizerFast, tmp_path: Path
) -> None:
    tokenizer.save_pretrained(tmp_path)
    loaded = PreTrainedTokenizerFast.from_pretrained(tmp_path)
    assert loaded.model_max_length == 6
    assert loaded("A mauve, square").input_ids == tokenizer("A mauve, square").input_ids


def test_an_encoder_that_was_saved_is_the_one_that_is_loaded(encoder: T5EncoderModel, tmp_path: Path) -> None:
    encoder.save_pretrained(tmp_path)
    loaded = T5EncoderModel.from_pretrained(tmp_path)
    ids = torch.tensor([[3, 4, 5, 2]])
    assert torch.equal(loaded(ids).last_hidden_state, encoder(ids).last_hidden_state)


def test_padding_does_not_change_what_is_read(encoder: T5EncoderModel) -> None:
    ids, mask = torch.tensor([[3, 4, 2, 0, 0]]), torch.tensor([[1, 1, 1, 0, 0]])
    padded = encoder(ids, attention_mask=mask).last_hidden_state[:, :3]
    torch.testing.assert_close(padded, encoder(ids[:, :3]).last_hidden_state)
    assert padded.shape == (1, 3, 16)


def test_the_order_of_words_matters(encoder: T5EncoderModel) -> None:
    one, other = (encoder(torch.tensor([ids])).last_hidden_state[:, -1] for ids in ([4, 5, 7, 2], [7, 5, 4, 2]))
    assert not torch.allclose(one, other, atol=1e-4)
