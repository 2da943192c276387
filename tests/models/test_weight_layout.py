"""Laws of how weights lie in memory."""

from pathlib import Path

import torch

import tiny
from malt.models.transformer import MaltTransformer3DModel
from malt.models.weight_layout import lay_out_by_input


def test_a_model_laid_out_by_input_makes_what_it_made() -> None:
    model = tiny.transformer()
    before = model(memory=None, **tiny.segment())
    lay_out_by_input(model)
    after = model(memory=None, **tiny.segment())
    torch.testing.assert_close(after.velocity, before.velocity)
    torch.testing.assert_close(after.memory, before.memory)


def test_the_weights_of_one_input_lie_side_by_side() -> None:
    model = tiny.transformer()
    shape = model.proj_out.weight.shape
    lay_out_by_input(model)
    assert model.proj_out.weight.shape == shape and model.proj_out.weight.stride() == (1, shape[0])


def test_a_model_laid_out_by_input_is_saved_as_any_other(tmp_path: Path) -> None:
    model, laid_out = tiny.transformer(), tiny.transformer()
    lay_out_by_input(laid_out)
    model.save_pretrained(tmp_path / "one")
    laid_out.save_pretrained(tmp_path / "other")
    weights = "diffusion_pytorch_model.safetensors"
    assert (tmp_path / "one" / weights).read_bytes() == (tmp_path / "other" / weights).read_bytes()
    again = MaltTransformer3DModel.from_pretrained(tmp_path / "other")
    assert all(torch.equal(weight, again.state_dict()[name]) for name, weight in model.state_dict().items())
