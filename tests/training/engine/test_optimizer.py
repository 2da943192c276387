"""Laws of the plan by which weights are learned: which optimizer takes which weight, and how fast."""

from typing import Any

import pytest
from torch import nn
from torch.optim import AdamW

import tiny
import tiny_pipeline
from malt.training.engine.muon import Muon
from malt.training.engine.optimizer import Optimization, build_optimizers, set_rate

PLAN = Optimization(num_steps=1000, warmup_steps=100, decay_from=0.6, learning_rate=1e-3, muon_learning_rate=2e-2)


def test_the_rate_warms_up_stays_and_falls_to_a_hundredth() -> None:
    rates = [PLAN.rate(step) for step in range(1000)]
    assert rates[0] == pytest.approx(0.01)
    assert rates[:100] == sorted(rates[:100])
    assert set(rates[99:601]) == {1.0}
    assert rates[600:] == sorted(rates[600:], reverse=True)
    assert rates[800] == pytest.approx(0.5)
    assert rates[-1] == 0.01


def test_a_run_shorter_than_its_warm_up_is_slow_but_never_stands_still() -> None:
    plan = Optimization(num_steps=4)
    assert all(0 < plan.rate(step) <= 0.04 for step in range(4))


def test_every_weight_that_learns_has_one_optimizer() -> None:
    module = tiny.transformer()
    module.patch_embed.requires_grad_(False)
    groups = [group for optimizer in build_optimizers(module, PLAN) for group in optimizer.param_groups]
    taken = [id(parameter) for group in groups for parameter in group["params"]]
    assert len(taken) == len(set(taken))
    assert set(taken) == {id(p) for p in module.parameters() if p.requires_grad}


@pytest.mark.parametrize(
    "module", [tiny.transformer(), tiny_pipeline.autoencoder()], ids=["transformer", "autoencoder"]
)
def test_muon_takes_the_matrices_inside_and_nothing_else(module: nn.Module) -> None:
    _, muon = build_optimizers(module, PLAN)
    assert isinstance(muon, Muon)
    taken = {id(p) for p in muon.param_groups[0]["params"]}
    names = {name for name, p in module.named_parameters() if id(p) in taken}
    assert names
    assert all(name.split(".")[0] in ("blocks", "encoder", "decoder", "to_pixels") for name in names)
    assert all(p.ndim == 2 for p in muon.param_groups[0]["params"])
    assert not any("patch_embed" in name or "proj_out" in name or "latents" in name for name in names)


def test_the_text_encoder_is_left_to_adamw() -> None:
    encoder = tiny_pipeline.pipeline().text_encoder
    assert any(".encoder." in f".{name}" for name, _ in encoder.named_parameters())
    (only,) = build_optimizers(nn.ModuleDict({"text_encoder": encoder}), PLAN)
    assert isinstance(only, AdamW)


def test_without_a_rate_for_muon_there_is_no_muon() -> None:
    (only,) = build_optimizers(tiny.transformer(), Optimization(num_steps=1))
    assert isinstance(only, AdamW)


def test_vectors_and_scalars_do_not_decay() -> None:
    adamw, muon = build_optimizers(tiny.transformer(), PLAN)
    decays = {p.ndim >= 2: group["weight_decay"] for group in adamw.param_groups for p in group["params"]}
    assert decays == {True: PLAN.weight_decay, False: 0.0}
    assert muon.param_groups[0]["weight_decay"] == PLAN.weight_decay


def test_a_rate_is_a_factor_on_every_groups_own() -> None:
    optimizers = build_optimizers(tiny.transformer(), PLAN)
    for factor in (0.5, 0.25):  # of the base rate, not of the rate before
        set_rate(optimizers, factor)
        rates = {type(optimizer): {group["lr"] for group in optimizer.param_groups} for optimizer in optimizers}
        assert rates == {AdamW: {1e-3 * factor}, Muon: {2e-2 * factor}}


@pytest.mark.parametrize(
    ("setting", "sentence"),
    [
        ({"num_steps": 0}, "num_steps is 0; give at least 1"),
        ({"decay_from": 1.5}, "decay_from is 1.5; give a share between 0 and 1"),
        ({"learning_rate": -1e-3}, "learning_rate is -0.001; give a number above 0"),
        ({"max_gradient_norm": 0.0}, "max_gradient_norm is 0.0; give a number above 0"),
        ({"weight_decay": -0.1}, "weight_decay is -0.1; give 0 or more"),
        ({"betas": (0.9, 2.0)}, r"betas is \(0.9, 2.0\); give from 0 to just below 1"),
        ({"ema_decay": 1.0}, "ema_decay is 1.0; give from 0 to just below 1"),
    ],
)
def test_a_plan_that_makes_no_sense_is_refused_in_a_sentence(setting: dict[str, Any], sentence: str) -> None:
    with pytest.raises(ValueError, match=sentence):
        Optimization(**{"num_steps": 10} | setting)


def test_low_rank_factors_are_left_to_adamw() -> None:
    factors = nn.ModuleDict({"lora_A": nn.Linear(4, 2, bias=False), "lora_B": nn.Linear(2, 4, bias=False)})
    (only,) = build_optimizers(nn.ModuleDict({"blocks": factors}), PLAN)
    assert isinstance(only, AdamW)
