"""Laws of frozen weights: a run neither changes nor keeps them."""

from pathlib import Path

import torch
from safetensors import safe_open
from torch import Tensor, nn

from malt.training.engine.checkpoint import load_average, saved_states
from malt.training.engine.loop import fit
from malt.training.engine.optimizer import Optimization
from malt.training.engine.trainable import trainable

PLAN = Optimization(num_steps=4, learning_rate=0.05, muon_learning_rate=0.02, warmup_steps=1)


class Adapted:
    """An objective: a small layer learns behind a frozen one."""

    def __init__(self) -> None:
        torch.manual_seed(0)
        self.module = nn.ModuleDict({"base": nn.Linear(4, 4), "blocks": nn.Linear(4, 4)})
        self.module["base"].requires_grad_(False)

    def loss(self, step: int) -> tuple[Tensor, dict[str, float]]:
        x = torch.randn(8, 4, generator=torch.Generator().manual_seed(step))
        return (self.module["blocks"](self.module["base"](x)) - x).square().mean(), {}


def test_only_what_asks_for_gradients_is_trainable() -> None:
    assert set(trainable(Adapted().module)) == {"blocks.weight", "blocks.bias"}


def test_frozen_weights_are_not_changed_and_the_others_are(tmp_path: Path) -> None:
    task = Adapted()
    before = {name: weight.detach().clone() for name, weight in task.module.named_parameters()}
    fit(task, PLAN, tmp_path, actions={1: lambda step, module: None})
    changed = {name for name, weight in task.module.named_parameters() if not torch.equal(weight, before[name])}
    assert changed == {"blocks.weight", "blocks.bias"}


def test_a_saved_state_and_the_average_hold_no_frozen_weight(tmp_path: Path) -> None:
    average = fit(Adapted(), PLAN, tmp_path)
    (state,) = saved_states(tmp_path)
    names = set[str]()
    for file in state.glob("*.safetensors"):
        with safe_open(file, framework="pt") as stored:
            names |= set(stored.keys())
    assert names and not [name for name in names if name.startswith("base")]
    assert set(average.whole()) == set(load_average(state)) == {"blocks.weight", "blocks.bias"}
