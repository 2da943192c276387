"""Laws of a run's plan."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from malt.codecs.registry import codec_of
from malt.errors import UsageError
from malt.models.autoencoder import AutoencoderMalt
from malt.training.config import Experiment, TransformerSize
from malt.training.engine.parallel import ParallelConfig
from malt.training.objectives.curriculum import Stage
from malt.training.objectives.denoising import DenoisingObjective
from malt.training.objectives.objective import Objective, UnrollConfig
from malt.training.pipeline_export import build_captioned
from malt.training.planning import transformer_plan
from malt.training.planning.gpus import parse_gpus
from malt.training.planning.run_plan import RunPlan, plan_run
from malt.training.planning.stage_plan import steps_of
from malt.training.planning.step_cost import as_planned, measure_step, planned
from malt.training.planning.transformer_plan import PlannedExamples
from malt.training.recipes import tiny
from malt.worlds.passage.captions import vocabulary

SHORT = (Stage(until=4, objectives=(Objective(batch_size=2),)),)
SIZE = TransformerSize(num_layers=1, num_attention_heads=2, attention_head_dim=16, segment_frames=2)


def small(**changes: Any) -> Experiment:
    return replace(replace(tiny(), curriculum=SHORT, transformer=SIZE), **changes)


@pytest.fixture(scope="module")
def plan() -> RunPlan:
    return plan_run(small(), parse_gpus("h100"))


def test_both_stages_have_the_weights_that_the_run_has(plan: RunPlan) -> None:
    autoencoder = AutoencoderMalt(**vars(tiny().autoencoder))
    captioned = build_captioned(SIZE, vocabulary(), codec_of(autoencoder))
    counts = [sum(p.numel() for p in module.parameters()) for module in (autoencoder, captioned)]
    assert [stage.weights.trained for stage in plan.stages] == counts
    assert [stage.weights.frozen for stage in plan.stages] == [0, 0]
    weights = plan.stages[1].weights
    assert weights.weights == weights.average == weights.gradients == 4 * counts[1]
    assert weights.average < weights.optimizer < 2 * weights.average  # Muon keeps one moment, AdamW two


def test_a_session_is_told_as_large_as_its_memory_is(plan: RunPlan) -> None:
    assert plan.stages[0].session is None
    assert plan.stages[1].session == 2 * 4 * 4 * (2 * 32 + 1)  # tokens of a segment, in halves, and which of them count


def test_a_ready_autoencoder_is_neither_trained_nor_loaded(plan: RunPlan, tmp_path: Path) -> None:
    AutoencoderMalt(channels=(8, 16, 16)).save_pretrained(tmp_path)
    next(tmp_path.glob("*.safetensors")).unlink()
    (stage,) = plan_run(small(codec=str(tmp_path)), parse_gpus("h100")).stages
    assert stage == plan.stages[1]


def test_more_gpus_share_the_operations_and_the_weights_of_a_sharded_model(plan: RunPlan) -> None:
    sharded = small(parallel=ParallelConfig(fsdp=True))
    one, two = plan.stages[1], plan_run(sharded, parse_gpus("h100:2")).stages[1]
    assert two.plain.flops == pytest.approx(one.plain.flops, rel=0.01)
    assert two.plain.kept < one.plain.kept
    assert 2 * two.weights.weights == one.weights.weights
    assert two.weights.gathered > 0


def test_a_batch_that_the_gpus_cannot_share_is_refused_in_a_sentence() -> None:
    with pytest.raises(UsageError, match="a batch of 2 videos cannot be shared equally by 3; give a multiple of 3"):
        plan_run(small(), parse_gpus("h100:3"))


def test_a_long_unroll_costs_what_two_shorter_ones_say() -> None:
    unroll = UnrollConfig(num_segments=6, denoise_segments=1, bptt_segments=1)
    objective = Objective(batch_size=1, unroll=unroll)
    examples = PlannedExamples(latent_size=(16, 8, 8), caption="")
    with torch.device("meta"):
        captioned = build_captioned(SIZE, (), codec_of(AutoencoderMalt(latent_channels=16, channels=(4, 8, 8))))

    def make(objective: Objective) -> DenoisingObjective:
        stage = Stage(until=1, objectives=(objective,))
        return DenoisingObjective(captioned, examples, (stage,), 0, torch.float32)

    with planned():
        as_planned(captioned)
        cost = measure_step(make(objective))
        steps = steps_of(lambda each: measure_step(make(each)), (Stage(until=5, objectives=(objective,)),), 1)
    assert steps.flops == 5 * cost.flops
    assert steps.kept == pytest.approx(cost.kept, rel=0.01)
    assert steps.peak == pytest.approx(cost.peak, rel=0.01)


def test_a_deep_transformer_costs_what_shallow_ones_say(monkeypatch: pytest.MonkeyPatch) -> None:
    deep = small(transformer=replace(SIZE, num_layers=6))
    found = plan_run(deep, parse_gpus("h100")).stages[1]
    monkeypatch.setattr(transformer_plan, "_steps", lambda _, measure: measure())
    measured = plan_run(deep, parse_gpus("h100")).stages[1]
    assert found.plain.flops == measured.plain.flops
    assert found.checkpointed is not None
    assert measured.checkpointed is not None
    for one, other in [(found.plain, measured.plain), (found.checkpointed, measured.checkpointed)]:
        assert one.kept == pytest.approx(other.kept, rel=0.01)
        assert one.peak == pytest.approx(other.peak, rel=0.05)
