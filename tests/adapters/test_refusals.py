"""What a base cannot be given is refused in a sentence."""

from pathlib import Path
from typing import Any

import pytest
import torch
from diffusers import UNet2DModel

from malt.adapters import MemoryAdapter, add_memory
from malt.adapters.choose import FAMILIES
from malt.errors import UsageError
from tiny_bases import TINY_BASES, run

WAN = TINY_BASES["wan"]


def test_a_base_of_no_known_family_is_refused_with_those_that_are_known() -> None:
    with pytest.raises(UsageError, match="UNet2DModel cannot be given a memory; .*WanTransformer3DModel"):
        add_memory(
            UNet2DModel(block_out_channels=(32,), down_block_types=("DownBlock2D",), up_block_types=("UpBlock2D",))
        )


@pytest.mark.parametrize("known", FAMILIES)
def test_every_known_base_has_a_row_on_the_page_of_families(known: str) -> None:
    page = Path(__file__).parents[2] / "docs" / "guide" / "families.md"
    assert f"| `{known}` |" in page.read_text(encoding="utf-8")


def test_what_has_no_transformer_is_refused() -> None:
    with pytest.raises(UsageError, match="dict has no transformer; give a transformer or a pipeline that has one"):
        add_memory({})


def test_a_second_adapter_is_refused() -> None:
    base = WAN.base()
    WAN.adapted(base)
    with pytest.raises(UsageError, match="has an adapter already; detach it first"):
        WAN.adapted(base)


def test_an_adapter_of_another_base_is_refused() -> None:
    adapter = MemoryAdapter(family="wan", width=48, num_heads=2, num_layers=3)
    with pytest.raises(UsageError, match="made for 3 layers of 48 channels .* the base has 3 of 24"):
        add_memory(WAN.base(), adapter)


@pytest.mark.parametrize(
    ("more", "sentence"),
    [
        ({"added_conditions": {"pooled": torch.zeros(2, 3)}}, "takes no pooled; it takes encoder_hidden_states_image"),
        ({"actions": torch.zeros(2, 4, 1)}, "a pretrained base takes no actions"),
    ],
)
def test_what_a_base_cannot_be_told_is_refused(more: dict[str, Any], sentence: str) -> None:
    with pytest.raises(UsageError, match=sentence):
        run(WAN.adapted(), WAN.given(), **more)


@pytest.mark.parametrize(
    ("family", "setting", "sentence"),
    [
        ("hunyuan-video", {"image_condition_type": "token_replace"}, "cannot go on with one; give the base for text"),
        ("hunyuan-video-1.5", {"use_meanflow": True}, "makes no video by itself; give the base for text to video"),
    ],
)
def test_a_base_that_cannot_go_on_is_refused(family: str, setting: dict[str, Any], sentence: str) -> None:
    base = TINY_BASES[family].base()
    base.register_to_config(**setting)
    with pytest.raises(UsageError, match=sentence):
        add_memory(base)


@pytest.mark.parametrize("name", ["guidance", "pooled_projections"])
def test_what_a_base_must_be_told_is_asked_for(name: str) -> None:
    tiny = TINY_BASES["hunyuan-video"]
    given = tiny.given()
    del given["added_conditions"][name]
    with pytest.raises(UsageError, match=f"hunyuan-video needs {name}; give it among the added conditions"):
        run(tiny.adapted(), given)


def test_a_size_that_does_not_fit_the_patches_is_refused() -> None:
    given = WAN.given()
    given["latents"] = given["latents"][..., :7]
    with pytest.raises(UsageError, match="takes 2 columns of latents at a time, not 7; give a multiple"):
        run(WAN.adapted(), given)


def test_a_memory_of_places_is_refused_as_a_base_does_not_move() -> None:
    with pytest.raises(UsageError, match="a base is told no turns and steps"):
        MemoryAdapter(family="wan", width=48, num_heads=2, num_layers=3, memory="places")
