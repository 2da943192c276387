"""Laws of a caption: what a base wants beside the text goes wherever the text goes."""

import torch

from malt.diffusion.caption import Caption
from malt.diffusion.guidance import Guidance


def caption(value: float, batch: int = 2) -> Caption:
    added = {"pooled": torch.full((batch, 7), value), "image": torch.full((batch, 2, 3), value)}
    return Caption(torch.full((batch, 5, 4), value), torch.ones(batch, 5, dtype=torch.bool), added)


def test_every_pass_of_guidance_sees_its_own_added_conditions() -> None:
    guided = Guidance(text=2.0).prepare((), caption(1.0), caption(-1.0))
    for tensor in (guided.caption.states, *guided.caption.added.values()):
        assert tensor.flatten(1)[:, 0].tolist() == [1.0, 1.0, -1.0, -1.0]


def test_a_batch_said_twice_is_twice_the_batch_in_every_part() -> None:
    said, twice = caption(3.0), caption(3.0).repeat(2)
    assert len(twice) == 2 * len(said)
    assert torch.equal(twice.added["image"], torch.cat([said.added["image"]] * 2))


def test_a_caption_without_more_adds_nothing_to_a_call() -> None:
    assert Caption(torch.zeros(1, 2, 3), torch.ones(1, 2, dtype=torch.bool)).arguments["added_conditions"] is None
