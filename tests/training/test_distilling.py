"""Laws of `malt distill`, by the command line: from a model of many passes to one of few."""

import json
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

import malt
from malt.cli import main
from malt.errors import UsageError
from malt.pipelines.loading import load_pipeline
from malt.training.distilled_transformer import with_teacher
from malt.training.engine.optimizer import Optimization
from malt.training.objectives.curriculum import Stage
from malt.training.objectives.distillation import StudentConfig
from malt.training.objectives.objective import DistillationConfig, Objective, UnrollConfig
from malt.training.planning.gpus import parse_gpus
from malt.training.planning.run_plan import plan_run
from malt.training.recipes import distill_tiny

ASSETS = Path(malt.__file__).parent / "assets"
ONE_STEP = Objective(batch_size=1, distillation=DistillationConfig(student_steps=1))
OPTIONS = ["--recipe", "distill-tiny", "--device", "cpu"]


def distill(teacher: Path, out: Path, *options: str) -> int:
    return main(["distill", str(teacher), "--out", str(out), *OPTIONS, *options])


@pytest.fixture(scope="module")
def teacher(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("teachers") / "teacher"
    assert main(["train", "tiny", "--out", str(folder), "--device", "cpu"]) == 0
    return folder / "pipeline"


@pytest.fixture(scope="module")
def finished(teacher: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("students") / "student"
    assert distill(teacher, folder) == 0
    return folder


def test_a_student_is_a_pipeline_that_says_what_it_was_made_for(finished: Path, teacher: Path) -> None:
    student, by = load_pipeline(finished / "pipeline"), load_pipeline(teacher)
    assert student.transformer.config.distilled == {
        "guidance_scale": [1.0, 5.0],
        "memory_guidance_scale": [1.0, 3.0],
        "num_inference_steps": [2],
    }
    names = ("guidance_scale", "memory_guidance_scale", "context_noise")
    assert [student.config[name] for name in names] == [by.config[name] for name in names]
    assert student.config.num_inference_steps == 2 and student.scheduler.config.shift == by.scheduler.config.shift
    passes: list[int] = []
    student.transformer.register_forward_pre_hook(lambda _module, given: passes.append(len(given[0])))
    list(student.stream("a red circle passes behind a wall", 16))
    assert passes == [1, 1, 1]


def test_all_but_the_transformer_is_the_teachers(finished: Path, teacher: Path) -> None:
    for part in ("vae", "text_encoder"):
        (one,), (other,) = ((folder / part).glob("*.safetensors") for folder in (finished / "pipeline", teacher))
        expected = load_file(other)
        assert all(torch.equal(tensor, expected[name]) for name, tensor in load_file(one).items())


def test_another_run_can_start_from_a_student_and_has_no_steps_to_be_told(finished: Path, tmp_path: Path) -> None:
    assert (
        main(["train", "tiny", "--out", str(tmp_path), "--device", "cpu", "--start", str(finished / "pipeline")]) == 0
    )
    assert load_pipeline(tmp_path / "pipeline").transformer.config.distilled is None


def test_a_stopped_run_goes_on_and_its_newest_state_can_be_exported(finished: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    shutil.copytree(finished, run)
    assert main(["distill", "--resume", "--out", str(run), "--device", "cpu"]) == 0
    assert main(["export", str(run), "--out", str(tmp_path / "model")]) == 0
    one, other = (load_pipeline(folder).transformer.state_dict() for folder in (run / "pipeline", tmp_path / "model"))
    assert all(torch.equal(one[name], other[name]) for name in one)


def test_a_run_keeps_who_taught_it_and_how_far_every_step_was_off(finished: Path, teacher: Path) -> None:
    assert json.loads((finished / "experiment.json").read_text())["teacher"] == str(teacher.resolve())
    (line,) = (finished / "transformer" / "journal.jsonl").read_text().splitlines()
    assert {"2_steps_0", "2_steps_1"} <= json.loads(line).keys()


def test_an_experiment_takes_size_pictures_and_guidance_from_its_teacher(teacher: Path) -> None:
    experiment = with_teacher(distill_tiny(), teacher)
    assert experiment.transformer.num_layers == 2 and experiment.frame_size == (64, 64)
    assert experiment.sampling.num_inference_steps == 2


def test_a_student_of_a_model_that_walks_learns_where_one_walks_and_is_told_no_guidance_that_is_not_used() -> None:
    experiment = with_teacher(distill_tiny(), ASSETS / "maze")
    assert experiment.world == "maze" and experiment.actions == ("turn", "walk")
    assert experiment.student.guidance_scales == (1.0, 1.0) and experiment.student.memory_guidance_scales == (1.0, 3.0)
    assert with_teacher(replace(distill_tiny(), world="doom"), ASSETS / "maze").world == "doom"
    assert with_teacher(distill_tiny(), ASSETS / "teacher").student.guidance_scales == (1.0, 5.0)


def test_the_plan_of_a_student_counts_its_teacher(teacher: Path) -> None:
    once = Stage(until=1, objectives=(replace(ONE_STEP, unroll=UnrollConfig(first_segment_prob=1.0)),))
    short = replace(distill_tiny(), curriculum=(once,), optimization=Optimization(num_steps=1))
    costs = dict[int, float]()
    for taught in (1, 2, 4):
        experiment = replace(short, student=StudentConfig(teacher_steps=taught))
        (stage,) = plan_run(with_teacher(experiment, teacher), parse_gpus("h100")).stages
        costs[taught] = stage.steps.flops
    assert costs[4] - costs[2] == 2 * (costs[2] - costs[1]) > 0
    by = load_pipeline(teacher)
    taught, words = (sum(p.numel() for p in part.parameters()) for part in (by.transformer, by.text_encoder))
    assert stage.weights.trained > taught and stage.weights.frozen == taught + words


def refused(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    assert main(["distill", *arguments]) in (1, 2)
    error: str = capsys.readouterr().err
    assert error.count("\n") == 1
    return error


def test_what_cannot_be_distilled_is_refused_in_a_sentence(
    finished: Path, teacher: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = ["--out", str(tmp_path / "out"), *OPTIONS]
    assert "a student has a teacher; name a model" in refused(capsys, *out)
    assert "there is no model 'nobody'" in refused(capsys, "nobody", *out)
    (tmp_path / "empty").mkdir()
    assert "is not a checkpoint" in refused(capsys, str(tmp_path / "empty"), *out)
    assert "was distilled itself: its steps are few" in refused(capsys, str(finished / "pipeline"), *out)
    assert "a student begins as its teacher; leave start and codec out" in refused(
        capsys, str(teacher), *out, "--codec", str(teacher)
    )


@pytest.mark.parametrize(
    ("option", "value"),
    [
        ("--transformer.memory", "slots"),  # takes other settings than the teacher's
        ("--transformer.memory-config.archive", "2"),
        ("--transformer.num-layers", "2"),
        ("--transformer.patch-size", "3"),  # does not suit the pictures
        ("--adapter.memory", "slots"),
        ("--autoencoder.latent-channels", "8"),
    ],
)
def test_a_student_keeps_what_its_teacher_is(
    option: str, value: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    kept = "a student keeps the autoencoder, the memory and the size of its teacher"
    error = refused(capsys, "teacher", "--out", str(tmp_path / "out"), *OPTIONS, option, value)
    assert error == f"malt: {kept}; leave {option} out\n"


def test_what_the_teacher_is_may_be_said_again(teacher: Path, tmp_path: Path) -> None:
    again = ["--transformer.memory", "recurrent", "--transformer.num_layers", "2"]
    assert distill(teacher, tmp_path / "out", *again, "--plan") == 0


def test_an_experiment_of_a_student_that_is_not_like_its_teacher_is_refused(teacher: Path) -> None:
    experiment = with_teacher(distill_tiny(), teacher)
    other = replace(experiment, transformer=replace(experiment.transformer, memory="slots"))
    with pytest.raises(UsageError, match="leave --transformer.memory out"):
        plan_run(other, parse_gpus("h100"))


def test_a_recipe_for_students_without_a_teacher_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["train", "distill-tiny", "--out", str(tmp_path / "out")]) == 2
    assert "name it with --teacher" in capsys.readouterr().err
