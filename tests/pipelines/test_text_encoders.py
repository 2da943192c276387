"""The pipeline takes the text encoders of transformers as they are."""

import pytest
import torch
from transformers import CLIPTextConfig, CLIPTextModel, T5Config, T5EncoderModel, UMT5Config, UMT5EncoderModel

import tiny_pipeline
from malt.models.text import build_tokenizer
from malt.worlds.passage.captions import vocabulary

SIZE = {"d_model": 16, "d_kv": 8, "d_ff": 16, "num_layers": 1, "num_heads": 2, "vocab_size": 64}


def clip() -> CLIPTextModel:
    sizes = {"hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2}
    return CLIPTextModel(CLIPTextConfig(vocab_size=64, max_position_embeddings=20, eos_token_id=2, **sizes))


ENCODERS = {
    "clip": clip,
    "t5": lambda: T5EncoderModel(T5Config(**SIZE)),
    "umt5": lambda: UMT5EncoderModel(UMT5Config(**SIZE)),
}


@pytest.mark.parametrize("name", ENCODERS)
def test_a_text_encoder_of_transformers_gives_the_captions(name: str) -> None:
    pipe = tiny_pipeline.pipeline()
    pipe.register_modules(text_encoder=ENCODERS[name]().eval())
    states, counts, *_ = pipe.encode_prompt(["a red circle", "two shapes at night"])
    assert states.shape == (2, 12, 16)
    assert counts.sum(dim=1).tolist() == [4, 5]
    assert not torch.equal(states[0], states[1])


def test_a_tokenizer_without_a_bound_does_not_pad_for_ever() -> None:
    pipe = tiny_pipeline.pipeline()
    pipe.register_modules(tokenizer=build_tokenizer(vocabulary(), max_length=10**30))
    assert pipe.encode_prompt(["a red circle"])[0].shape[1] == 256
