"""A LoRA that was trained on the base works with the adapter attached, in either order."""

from pathlib import Path
from typing import Any

import pytest
import torch
from peft import LoraConfig

from malt.adapters import remove_memory
from malt.errors import UsageError
from malt.memory.none import NoMemory
from tiny_bases import TINY_BASES, TinyBase, remember, run

FILE = "lora.safetensors"


@pytest.fixture(params=TINY_BASES)
def tiny(request: pytest.FixtureRequest) -> TinyBase:
    return TINY_BASES[request.param]


@torch.no_grad()
def test_a_lora_of_the_base_works_beside_an_adapter_in_either_order(tiny: TinyBase, tmp_path: Path) -> None:
    trained = tiny.base()
    save_lora(trained, tmp_path)
    given = tiny.given()
    first, later = tiny.base(), tiny.base()
    first.load_lora_adapter(tmp_path, prefix=None, weight_name=FILE)
    before, after = tiny.adapted(first), tiny.adapted(later)
    later.load_lora_adapter(tmp_path, prefix=None, weight_name=FILE)
    later.requires_grad_(False)  # as what was there before the adapter; what may learn is multiplied in another order
    want = tiny.alone(trained, given)
    assert not torch.equal(want, tiny.alone(tiny.base(), given))
    assert torch.equal(run(before, given).velocity, want) and torch.equal(run(after, given).velocity, want)
    memory = remember(tiny, before)
    assert torch.equal(run(before, given, memory).velocity, run(after, given, memory).velocity)


@torch.no_grad()
def test_a_lora_of_the_base_works_beside_the_one_of_the_adapter_in_either_order(tiny: TinyBase, tmp_path: Path) -> None:
    save_lora(tiny.base(), tmp_path)
    made = []
    for order in ((load, adapt), (adapt, load)):
        base = tiny.base()
        model = [step(tiny, base, tmp_path) for step in order][order.index(adapt)]
        made.append(run(model, tiny.given(), remember(tiny, model)).velocity)
    ours = adapt(tiny, tiny.base(), tmp_path)
    assert torch.allclose(*made, atol=1e-5)  # two sums, one behind the other
    assert not torch.allclose(made[0], run(ours, tiny.given(), remember(tiny, ours)).velocity, atol=1e-2)
    remove_memory(model)
    loaded = tiny.base()
    load(tiny, loaded, tmp_path)
    assert torch.equal(tiny.alone(model.base, tiny.given()), tiny.alone(loaded, tiny.given()))


def test_a_lora_of_every_second_layer_stands_in_the_layers_that_remember(tiny: TinyBase) -> None:
    model = tiny.adapted(memory="hierarchical", memory_size=2, every=2, lora_rank=2, lora_every=2)
    blocks = [block for name in model.family.lists for block in getattr(model.base, name)]
    remembering = [not isinstance(layer.memory, NoMemory) for layer in model.adapter.each]
    assert [any(".lora_A" in name for name, _ in block.named_modules()) for block in blocks] == remembering
    assert 0 < sum(remembering) < len(blocks)


def test_a_lora_in_no_layer_of_the_base_is_refused() -> None:
    with pytest.raises(UsageError, match="asked for a LoRA every 9 of 3 layers; give 1 to 3"):
        TINY_BASES["wan"].adapted(lora_rank=2, lora_every=9)


def load(tiny: TinyBase, base: Any, folder: Path) -> None:
    base.load_lora_adapter(folder, prefix=None, weight_name=FILE)


def adapt(tiny: TinyBase, base: Any, folder: Path) -> Any:
    """With a LoRA of its own that has learned something."""
    model = tiny.adapted(base, lora_rank=2)
    torch.manual_seed(6)
    for name, parameter in base.named_parameters():
        if ".malt." in name:
            torch.nn.init.normal_(parameter, std=0.1)
    return model


def save_lora(base: Any, folder: Path) -> None:
    """A LoRA on self-attention whose every weight says something."""
    torch.manual_seed(5)
    base.add_adapter(LoraConfig(r=2, lora_alpha=4, target_modules=["to_q", "to_k", "to_v"], init_lora_weights=False))
    base.save_lora_adapter(folder, weight_name=FILE)
