"""Laws of what `--plan` prints."""

from pathlib import Path

import pytest
import torch

from malt.cli import main
from malt.training.planning.gpus import Gpus, parse_gpus
from malt.training.planning.report import lines_of
from malt.training.planning.run_plan import RunPlan
from malt.training.planning.stage_plan import StagePlan, Steps, Weights

GIB = 2**30
SMALL = parse_gpus("4090")


def said(
    plain: int,
    checkpointed: int,
    standing: int = 1,
    gpus: Gpus = SMALL,
    precision: torch.dtype = torch.bfloat16,
) -> list[str]:
    """What is printed of a stage that takes so many GiB."""
    weights = Weights(trained=9, frozen=1, weights=standing * GIB, average=0, optimizer=0, gradients=0)
    steps = [Steps(stages=((1000, 4.2e15),), kept=size * GIB, peak=size * GIB) for size in (plain, checkpointed)]
    stage = StagePlan(
        name="transformer", num_steps=1000, weights=weights, plain=steps[0], checkpointed=steps[1], session=3 * 2**20
    )
    return list(lines_of(RunPlan(gpus=gpus, precision=precision, stages=(stage,))))


def test_a_plan_says_weights_memory_operations_and_hours() -> None:
    assert said(10, 5) == [
        "plan for 1 x 4090: 24 GiB each, 165 TFLOP/s in bfloat16, of which 35% is assumed",
        "transformer: 9 parameters are trained, 1 frozen",
        "  memory of a session: 3.0 MiB",
        "  on each GPU: weights 1.0 GiB, average 0.0 KiB, optimizer 0.0 KiB, gradients 0.0 KiB",
        "  dearest step: activations 10.0 GiB, together 11.0 GiB",
        "  with activation checkpointing: activations 5.0 GiB, together 6.0 GiB",
        "  1,000 steps of 4.2 PFLOP on average: 4.2 EFLOP, about 20 hours on 1 x 4090",
    ]


@pytest.mark.parametrize(
    ("sizes", "advice"),
    [
        ((30, 5, 1), "give --parallel.activation-checkpointing true"),
        ((40, 30, 1), "lower the batch sizes, denoise-segments or --frame-size, or share the batch"),
        ((40, 30, 20), "spread them over more GPUs with --parallel.fsdp true"),
    ],
)
def test_what_does_not_fit_is_said_with_what_to_lower(sizes: tuple[int, int, int], advice: str) -> None:
    *_, last = said(*sizes)
    assert last.startswith(
        f"the transformer does not fit: it needs {sizes[0] + sizes[2]}.0 GiB and one 4090 has 24.0 GiB"
    )
    assert advice in last


def test_a_larger_gpu_has_room_for_it() -> None:
    assert not any("does not fit" in line for line in said(40, 30, 1, parse_gpus("h100")))


def test_hours_of_what_computes_in_float32_are_said_to_be_too_few() -> None:
    assert "--precision bfloat16" in said(1, 1, precision=torch.float32)[-1]


@pytest.mark.slow
def test_the_command_plans_a_recipe_and_makes_nothing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["train", "videos", "--plan", "--gpus", "4090", "--out", str(tmp_path / "run"), *SMALLER]) == 0
    printed = capsys.readouterr().out
    assert printed.startswith("plan for 1 x 4090")
    assert "transformer: " in printed
    assert not (tmp_path / "run").exists()


SMALLER = ["--transformer.num-layers", "1", "--precision", "bfloat16", "--optimization.num-steps", "5"]
