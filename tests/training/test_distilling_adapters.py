"""Laws of `malt distill ADAPTER`: a base with a memory learns to make its segments in few passes."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from malt.cli import main
from malt.errors import UsageError
from malt.media.files import file_sha256
from malt.pipelines.adapted_loading import load_adapted
from malt.sessions.session import Session
from malt.training.distilled_adapter import student_of_adapter, with_adapter
from malt.training.objectives.curriculum import Stage
from malt.training.objectives.distillation import DistillationObjective
from malt.training.objectives.objective import DistillationConfig, Objective
from malt.training.recipes import distill_tiny
from tiny_base_folder import save_base
from tiny_stop import stop_at

OPTIONS = ["--recipe", "distill-tiny", "--device", "cpu"]
PROMPT = "a red circle passes behind a wall"


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_base(tmp_path_factory.mktemp("bases") / "wan")


@pytest.fixture(scope="module")
def teacher(base: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("teachers") / "run"
    assert main(["adapt", "adapt-tiny", "--base", str(base), "--out", str(folder), "--device", "cpu"]) == 0
    return folder / "adapter"


@pytest.fixture(scope="module")
def finished(base: Path, teacher: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("students") / "run"
    assert distill(teacher, base, folder) == 0
    return folder


def distill(teacher: Path, base: Path, out: Path, *options: str) -> int:
    return main(["distill", str(teacher), "--base", str(base), "--out", str(out), *(options or OPTIONS)])


def weights(adapter: Path) -> dict[str, torch.Tensor]:
    files = sorted(adapter.glob("*.safetensors"))
    return {f"{file.name} {name}": tensor for file in files for name, tensor in load_file(file).items()}


def test_a_student_is_an_adapter_of_the_same_base_that_says_what_it_was_made_for(teacher: Path, finished: Path) -> None:
    by, student = (json.loads((folder / "adapter.json").read_text()) for folder in (teacher, finished / "adapter"))
    assert student["base"] == by["base"] and student["adapter"] == by["adapter"]
    assert student["settings"]["distilled"] == {"num_inference_steps": [2], "shift": 1.0}
    names = ("guidance_scale", "memory_guidance_scale", "frame_size", "frame_rate")
    assert [student["settings"][name] for name in names] == [by["settings"][name] for name in names]
    assert student["settings"]["num_inference_steps"] == 2
    learned, taught = weights(finished / "adapter"), weights(teacher)
    assert learned.keys() == taught.keys() and any(not torch.equal(learned[name], taught[name]) for name in taught)


def test_its_base_stays_as_it_is(base: Path, teacher: Path, tmp_path: Path) -> None:
    before = {path: file_sha256(path) for path in base.rglob("*") if path.is_file()}
    assert distill(teacher, base, tmp_path / "run") == 0
    assert {path: file_sha256(path) for path in base.rglob("*") if path.is_file()} == before


def test_a_step_is_one_pass_of_one_video(base: Path, finished: Path) -> None:
    pipe = load_adapted(base, finished / "adapter", dtype=torch.float32)
    passes: list[int] = []
    pipe.adapted.register_forward_pre_hook(lambda _module, given: passes.append(len(given[0])))
    Session.begin(pipe, PROMPT, seed=1).advance()
    assert passes == [1, 1, 1]  # two steps, and one that remembers


def test_another_guidance_than_was_learned_is_refused_and_other_steps_are_warned_of(
    base: Path, finished: Path, caplog: pytest.LogCaptureFixture
) -> None:
    pipe = load_adapted(base, finished / "adapter", dtype=torch.float32)
    with pytest.raises(UsageError, match="the guidance scale is 2, and this distilled adapter has learned 3; leave"):
        pipe.rollout(PROMPT, guidance_scale=2.0)
    with pytest.raises(UsageError, match="the memory guidance scale is 2, and this distilled adapter has learned 1;"):
        pipe.rollout(PROMPT, memory_guidance_scale=2.0)
    with pytest.raises(UsageError, match="is guided already; leave the negative prompt out, or use its teacher"):
        pipe.rollout(PROMPT, negative_prompt="a wall")
    pipe.rollout(PROMPT, num_inference_steps=7)
    assert "made for 2 steps, not for 7" in caplog.text


def test_a_run_that_was_stopped_ends_as_if_it_never_had_been(
    base: Path, teacher: Path, finished: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stop_at(DistillationObjective, 2, monkeypatch)
    run = tmp_path / "run"
    with pytest.raises(SystemExit):
        distill(teacher, base, run)
    assert main(["distill", "--resume", "--out", str(run), "--device", "cpu"]) == 0
    whole = weights(finished / "adapter")
    assert [name for name, tensor in weights(run / "adapter").items() if not torch.equal(tensor, whole[name])] == []


def test_it_is_planned_without_loading_anything(
    base: Path, teacher: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert distill(teacher, base, tmp_path / "run", "--plan", *OPTIONS) == 0
    assert "transformer" in capsys.readouterr().out and not (tmp_path / "run").exists()


def test_a_student_teaches_none(base: Path, finished: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert distill(finished / "adapter", base, tmp_path / "run") == 2
    assert "was distilled itself: its steps are few; give what taught it" in capsys.readouterr().err


def test_a_base_alone_is_no_teacher(base: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["distill", "default", "--base", str(base), "--out", str(tmp_path / "run"), *OPTIONS]) == 2
    assert "--base is of an adapter that teaches" in capsys.readouterr().err


def test_what_a_base_cannot_be_told_is_not_learned(base: Path, teacher: Path) -> None:
    one = with_adapter(distill_tiny(), teacher, base)
    four = Objective(batch_size=2, distillation=DistillationConfig(student_steps=4))
    stage = Stage(until=4, objectives=(*one.curriculum[0].objectives, four))
    with pytest.raises(UsageError, match="2 and 4 steps are practised; give one number"):
        student_of_adapter(replace(one, curriculum=(stage,)))
    scales = replace(one.student, guidance_scales=(1.0, 3.0))
    with pytest.raises(UsageError, match="give --student.guidance-scales one value twice"):
        student_of_adapter(replace(one, student=scales))
    with pytest.raises(UsageError, match="give --student.method trajectory"):
        student_of_adapter(replace(one, student=replace(one.student, method="shortcut")))


@pytest.mark.parametrize(
    ("option", "value"),
    [("--adapter.memory", "slots"), ("--adapter.segment-frames", "2"), ("--transformer.memory", "slots")],
)
def test_a_student_keeps_what_its_teacher_is(
    base: Path, teacher: Path, tmp_path: Path, option: str, value: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert distill(teacher, base, tmp_path / "run", *OPTIONS, option, value) == 2
    kept = "a student keeps the autoencoder, the memory and the size of its teacher"
    assert f"{kept}; leave {option} out" in capsys.readouterr().err


def test_an_experiment_of_a_student_that_is_not_like_its_teacher_is_refused(base: Path, teacher: Path) -> None:
    one = with_adapter(distill_tiny(), teacher, base)
    with pytest.raises(UsageError, match="leave --adapter.lora-rank out"):
        student_of_adapter(replace(one, adapter=replace(one.adapter, lora_rank=7)))


def test_a_base_that_is_gone_is_asked_for(teacher: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["distill", str(teacher), "--out", str(tmp_path / "run"), *OPTIONS]) == 2
    assert "made for the base wan, which lies in a folder; say where, with --base" in capsys.readouterr().err


def test_the_recipe_learns_from_videos(
    base: Path, teacher: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert distill(teacher, base, tmp_path / "run", "--device", "cpu") == 2
    assert (
        "the recipe distill-adapter learns from your own videos; name their folder with --data"
        in capsys.readouterr().err
    )
