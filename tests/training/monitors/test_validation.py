"""Laws of the loss on held-out videos."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

import tiny
from malt.data.batch import Batch
from malt.models.text import build_text_encoder, build_tokenizer
from malt.training.engine.metric_log import MetricLogger
from malt.training.monitors.validation import Validation, validation_losses
from malt.training.objectives.denoising import CaptionedTransformer

SEGMENTS, LEVELS = 3, (0.2, 0.8)


def captioned(**settings: Any) -> CaptionedTransformer:
    tokenizer = build_tokenizer(("red",), max_length=4)
    encoder = build_text_encoder(len(tokenizer), width=tiny.CAPTION, num_layers=1, num_heads=2)
    return CaptionedTransformer(tiny.transformer(**settings), tiny.randomised(encoder.eval()), tokenizer)


def batch(frames: int = SEGMENTS * tiny.FRAMES + 1, seed: int = 0, actions: Tensor | None = None) -> Batch:
    chance = torch.Generator().manual_seed(seed)
    latents = torch.randn(2, frames, tiny.CHANNELS, tiny.SIDE, tiny.SIDE, generator=chance)
    return Batch(latents, ["red", ""], torch.tensor([False, True]), actions)


def losses(examples: Batch, **settings: Any) -> Tensor:
    with torch.no_grad():
        return validation_losses(captioned(**settings), examples, LEVELS)


def test_there_is_a_loss_for_every_segment_and_every_noise_level() -> None:
    found = losses(batch())
    assert found.shape == (SEGMENTS, len(LEVELS))
    assert found.isfinite().all() and (found > 0).all()


def test_the_same_model_has_the_same_losses_every_time() -> None:
    torch.manual_seed(1)
    first = losses(batch())
    torch.manual_seed(2)
    assert torch.equal(first, losses(batch()))


def test_what_is_remembered_decides_the_losses_after_it_and_none_before() -> None:
    other = batch()
    other.latents[:, :2] += 1.0  # the context and the first latent frame of the first segment
    changed = losses(batch()) != losses(other)
    assert changed.all()
    later = batch()
    later.latents[:, -1] += 1.0  # the last latent frame of the last segment
    assert (losses(batch()) != losses(later))[-1].all()
    assert torch.equal(losses(batch())[:-1], losses(later)[:-1])


def test_a_longer_look_begins_with_the_shorter_one() -> None:
    shorter = batch()._replace(latents=batch().latents[:, : 2 * tiny.FRAMES + 1])
    assert torch.equal(losses(batch())[:2], losses(shorter))


def test_what_is_done_is_told_to_a_model_that_acts() -> None:
    acts = torch.zeros(2, SEGMENTS * tiny.FRAMES + 1, 4)
    still, moved = losses(batch(actions=acts), action_dim=4), losses(batch(actions=acts + 1), action_dim=4)
    assert (still != moved).all()


def test_figures_go_to_a_journal_by_level_and_by_segment(tmp_path: Path) -> None:
    journal = MetricLogger(tmp_path, "validation")
    Validation(batch(), LEVELS, journal, torch.float32)(7, captioned())
    journal.close()
    line = json.loads((tmp_path / "validation.jsonl").read_text())
    found = losses(batch())
    assert line["step"] == 7
    assert line["loss"] == pytest.approx(float(found.mean()))
    assert [line[f"segment_{k}"] for k in range(SEGMENTS)] == pytest.approx(found.mean(dim=1).tolist())
    assert [line[f"level_{level}"] for level in LEVELS] == pytest.approx(found.mean(dim=0).tolist())
