"""Laws of learning the autoencoder."""

import json
from pathlib import Path

import pytest
import torch
from torch import Tensor

import tiny_pipeline
from malt.codecs.malt import MaltCodec
from malt.models.autoencoder import AutoencoderMalt
from malt.training.engine.loop import fit
from malt.training.engine.optimizer import Optimization
from malt.training.objectives.autoencoding import (
    ReconstructionConfig,
    ReconstructionObjective,
    latent_statistics,
    reconstruction_loss,
    spectral_distance,
)
from malt.worlds.passage.scenes import render, sample_scenes

OBJECTIVE = ReconstructionConfig(batch_size=2)


def clips(step: int, count: int) -> Tensor:
    """Eight frames of one part of the picture."""
    return render(sample_scenes(count, step * count), 37 * step, 8)[..., 16:48, 16:48]


def task(
    module: AutoencoderMalt | None = None, seed: int = 0, dtype: torch.dtype = torch.float32
) -> ReconstructionObjective:
    return ReconstructionObjective(module or tiny_pipeline.autoencoder(), clips, OBJECTIVE, seed, dtype)


def test_the_loss_falls(tmp_path: Path) -> None:
    torch.manual_seed(0)
    learner = task(AutoencoderMalt(latent_channels=8, channels=(8, 16, 16)))
    plan = Optimization(num_steps=40, learning_rate=5e-3, muon_learning_rate=5e-3, warmup_steps=5)
    fit(learner, plan, tmp_path, log_every=1)
    lines = [json.loads(line) for line in (tmp_path / "journal.jsonl").read_text().splitlines()]
    first, last = lines[:5], lines[-5:]
    assert sum(line["loss"] for line in last) < 0.7 * sum(line["loss"] for line in first)
    assert sum(line["psnr"] for line in last) > sum(line["psnr"] for line in first) + 5 * 2


def test_the_step_alone_decides_what_is_drawn() -> None:
    one, other = task(), task()
    other.loss(2)
    loss, figures = one.loss(3)
    again, the_same = other.loss(3)
    assert torch.equal(loss, again)
    assert figures == the_same
    assert not torch.equal(loss, one.loss(4)[0])
    assert not torch.equal(loss, task(seed=1).loss(3)[0])


def test_reduced_precision_changes_little() -> None:
    loss, _ = task().loss(0)
    reduced, _ = task(dtype=torch.bfloat16).loss(0)
    assert reduced.dtype == torch.float32
    assert reduced.item() == pytest.approx(loss.item(), rel=0.05)


def test_a_compiled_task_is_the_same_task(monkeypatch: pytest.MonkeyPatch) -> None:
    compiled = list[object]()

    def leave(function: object) -> object:
        compiled.append(function)
        return function

    monkeypatch.setattr(torch, "compile", leave)
    learner = task()
    learner.compile()
    assert len(compiled) == 3
    assert torch.equal(learner.loss(0)[0], task().loss(0)[0])


def test_a_perfect_reconstruction_costs_nothing() -> None:
    frames = clips(0, 2)
    assert reconstruction_loss(frames, frames, OBJECTIVE).item() == pytest.approx(0, abs=1e-6)
    assert reconstruction_loss(frames + 0.1, frames, OBJECTIVE) > 0.05


def test_an_error_costs_more_where_the_picture_has_contrast() -> None:
    frames = torch.zeros(1, 4, 3, 32, 32)
    frames[..., :4, :4] = 1
    plain = ReconstructionConfig(contrast=0, edges=0)
    costs = {}
    for name, corner in (("busy", slice(0, 4)), ("calm", slice(28, 32))):
        wrong = frames.clone()
        wrong[..., corner, corner] += 0.5
        costs[name] = [reconstruction_loss(wrong, frames, o).item() for o in (plain, ReconstructionConfig(edges=0))]
    assert costs["busy"][0] == pytest.approx(costs["calm"][0], rel=1e-5)
    assert costs["busy"][1] > 2 * costs["calm"][1]


@pytest.mark.parametrize("axis", [1, 3, 4], ids=["time", "height", "width"])
def test_an_error_that_varies_costs_more_than_one_that_does_not(axis: int) -> None:
    frames = torch.zeros(1, 4, 3, 16, 16)
    size = frames.shape[axis]
    signs = (1 - 2 * (torch.arange(size) % 2)).reshape([size if n == axis else 1 for n in range(5)])
    steady, flickering = (reconstruction_loss(frames + 0.1 * s, frames, OBJECTIVE) for s in (torch.ones(()), signs))
    assert flickering > 1.2 * steady


def test_latents_standardised_by_their_statistics_are_standard() -> None:
    module, frames = tiny_pipeline.autoencoder(), clips(0, 4)
    mean, std = latent_statistics(module, frames)
    module.register_to_config(latent_mean=mean, latent_std=std)
    latents, _ = MaltCodec(module).encode(frames)
    torch.testing.assert_close(latents.mean(dim=(0, 1, 3, 4)), torch.zeros(3), rtol=0, atol=1e-5)
    torch.testing.assert_close(latents.std(dim=(0, 1, 3, 4)), torch.ones(3), rtol=0, atol=1e-2)


def test_blur_costs_by_its_spectrum_and_detail_that_is_slightly_out_of_place_little() -> None:
    chance = torch.Generator().manual_seed(0)
    frames = torch.rand(1, 2, 3, 32, 32, generator=chance) * 2 - 1
    blurred = torch.nn.functional.avg_pool2d(frames.flatten(0, 1), 3, 1, 1).view_as(frames)
    moved = frames.roll(1, dims=-1)
    assert spectral_distance(frames, frames).item() == 0
    assert spectral_distance(blurred, frames) > 1.5 * spectral_distance(moved, frames)
    assert (moved - frames).abs().mean() > (blurred - frames).abs().mean()


def test_what_is_not_weighed_changes_nothing() -> None:
    frames, decoded = clips(0, 2), clips(1, 2)
    plain, detailed = ReconstructionConfig(contrast=0), ReconstructionConfig(contrast=0, spectrum=0.5)
    more = reconstruction_loss(decoded, frames, detailed) - reconstruction_loss(decoded, frames, plain)
    assert more.item() == pytest.approx(0.5 * spectral_distance(decoded, frames).item(), rel=1e-4)


def test_the_prior_draws_latents_towards_nothing() -> None:
    losses = []
    for prior in (0.0, 2.0):
        objective = ReconstructionConfig(batch_size=2, prior=prior)
        learner = ReconstructionObjective(tiny_pipeline.autoencoder(), clips, objective, 0, torch.float32)
        losses.append(learner.loss(0)[0].item())
    latents, _ = tiny_pipeline.autoencoder().encode(clips(0, 2))
    assert losses[1] - losses[0] == pytest.approx(latents.square().mean().item(), rel=1e-4)


def test_the_mean_of_the_parts_is_the_loss_of_the_whole() -> None:
    whole, _ = task().loss(1)
    parts = [
        ReconstructionObjective(tiny_pipeline.autoencoder(), clips, OBJECTIVE, 0, torch.float32, (rank, 2))
        .loss(1)[0]
        .item()
        for rank in (0, 1)
    ]
    assert sum(parts) / 2 == pytest.approx(whole.item(), rel=1e-5)


@pytest.mark.parametrize("name", ["latent_noise", "contrast", "edges", "spectrum", "prior"])
def test_a_negative_weight_is_refused(name: str) -> None:
    with pytest.raises(ValueError, match=f"{name} is -1; give at least 0"):
        ReconstructionConfig(**{name: -1})
