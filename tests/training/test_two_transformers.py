"""Laws of learning for a base of two transformers: each has an adapter, learns it at its own noise levels, and is taught."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from malt.adapters.adapted_transformer import AdaptedTransformer3DModel
from malt.adapters.experts import NAMES, TwoExperts
from malt.cli import main
from malt.diffusion.caption import Caption
from malt.media.files import file_sha256
from malt.pipelines.adapted_loading import load_adapted
from malt.sessions.session import Session
from malt.training.objectives.denoising_loss import denoising_loss
from malt.training.objectives.distillation import DistillationObjective
from malt.training.objectives.objective import Objective, UnrollConfig
from malt.training.objectives.rng import Generators, StepRandom
from malt.training.objectives.segment_passes import TeacherPasses
from malt.training.objectives.segments import SegmentedSequence
from tiny_base_folder import save_base
from tiny_stop import stop_at

BOUNDARY = 0.6  # the two steps of `distill-tiny` are at 1 and 0.5
PROMPT = "a red circle passes behind a wall"


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_base(tmp_path_factory.mktemp("bases") / "wan", boundary=BOUNDARY)


def adapt(base: Path, out: Path, *options: str) -> int:
    return main(["adapt", "adapt-tiny", "--base", str(base), "--out", str(out), "--device", "cpu", *options])


def distill(teacher: Path, base: Path, out: Path, *options: str) -> int:
    chosen = ["--base", str(base), "--recipe", "distill-tiny", "--device", "cpu"]
    return main(["distill", str(teacher), "--out", str(out), *chosen, *options])


@pytest.fixture(scope="module")
def teacher(base: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("teachers") / "run"
    assert adapt(base, folder) == 0
    return folder / "adapter"


@pytest.fixture(scope="module")
def finished(base: Path, teacher: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("students") / "run"
    assert distill(teacher, base, folder) == 0
    return folder


def weights(adapter: Path) -> dict[str, torch.Tensor]:
    """Those of both adapters, by their place and name."""
    files = sorted(adapter.rglob("*.safetensors"))
    return {f"{file.relative_to(adapter)} {name}": t for file in files for name, t in load_file(file).items()}


def passes_of_both(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, torch.Tensor, bool]]:
    """Of every pass from now on: which of the two makes it, at which noise levels of the segment, and whether it writes."""
    passes, whole = list[tuple[str, torch.Tensor, bool]](), TwoExperts.__init__

    def watched(self: TwoExperts, *given: Any) -> None:
        whole(self, *given)
        for name, expert in (("high", self.high), ("low", self.low)):
            expert.register_forward_pre_hook(
                lambda _, given, name=name: passes.append((name, given[1][:, given[6] :], given[8]))
            )

    monkeypatch.setattr(TwoExperts, "__init__", watched)
    return passes


def test_each_learns_an_adapter_of_its_own_and_the_base_stays_as_it_is(base: Path, tmp_path: Path) -> None:
    before = {path: file_sha256(path) for path in base.rglob("*") if path.is_file()}
    assert adapt(base, tmp_path / "run") == 0
    assert {path: file_sha256(path) for path in base.rglob("*") if path.is_file()} == before
    first, second = (load_file(tmp_path / "run" / "adapter" / name / "lora.safetensors") for name in NAMES)
    for learned in (first, second):
        assert any("lora_B" in name and bool(tensor.any()) for name, tensor in learned.items())
    assert any(not torch.equal(first[name], second[name]) for name in first)


def test_each_learns_at_the_noise_levels_at_which_it_makes_steps(
    base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    passes = passes_of_both(monkeypatch)
    own = [f"--curriculum.{stage}.objectives.0.self-forcing.prob" for stage in (0, 1)]
    assert adapt(base, tmp_path / "run", own[0], "0.9", own[1], "0.9", "--monitors.validate-every", "0") == 0
    made = [(name, levels) for name, levels, writes in passes if not writes]
    assert {name for name, _ in made} == {"high", "low"}
    assert all(bool((levels >= BOUNDARY - 1e-6).all()) for name, levels in made if name == "high")
    assert all(bool((levels < BOUNDARY).all()) for name, levels in made if name == "low")


def test_only_the_memory_of_the_one_that_learns_is_written(
    base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    passes = passes_of_both(monkeypatch)
    unwatched = ["--monitors.validate-every", "0", "--monitors.sample-every", "0"]
    assert adapt(base, tmp_path / "run", *unwatched, "--optimization.num-steps", "12") == 0
    steps, writes = list[tuple[str, list[str]]](), list[str]()
    for name, _, is_written in passes:
        if is_written:
            writes.append(name)
        else:
            steps.append((name, writes))
            writes = []
    assert {name for name, written in steps if written} == {"high", "low"}
    assert all(written == len(written) * [name] for name, written in steps)


@pytest.mark.parametrize("is_high", [True, False])
def test_one_learns_the_same_whether_the_others_memory_is_written_or_not(
    base: Path, teacher: Path, monkeypatch: pytest.MonkeyPatch, is_high: bool
) -> None:
    monkeypatch.setattr(StepRandom, "shared", lambda _: torch.tensor(0.0 if is_high else 0.9))
    alone, only = what_is_learned(base, teacher), TwoExperts.only
    monkeypatch.setattr(TwoExperts, "only", lambda _self, memory, _is_high: memory)
    both = what_is_learned(base, teacher)
    assert alone.keys() == both.keys() and all(torch.equal(alone[name], both[name]) for name in both)
    assert {name.split(".")[0] for name in both} == {"loss", "high" if is_high else "low"}
    monkeypatch.setattr(TwoExperts, "only", lambda self, memory, is_high: only(self, memory, not is_high))
    assert not torch.equal(what_is_learned(base, teacher)["loss"], both["loss"])  # it does learn by what it remembers


def what_is_learned(base: Path, teacher: Path) -> dict[str, torch.Tensor]:
    """The loss of a step over three segments, and every gradient by its name."""
    model = load_adapted(base, teacher, dtype=torch.float32).transformer
    assert isinstance(model, TwoExperts)
    model.train()
    for name, weight in model.named_parameters():
        weight.requires_grad_("adapter" in name or "lora" in name)
    generator = torch.Generator().manual_seed(0)
    num_frames = model.context_frames + 3 * model.segment_frames
    sequence = SegmentedSequence(
        latents=torch.randn(2, num_frames, 4, 8, 8, generator=generator),
        caption=Caption(torch.randn(2, 6, 16, generator=generator), torch.ones(2, 6, dtype=torch.bool)),
        begins=torch.tensor([True, False]),
        actions=None,
        segment_frames=model.segment_frames,
        context_frames=model.context_frames,
        boundary=model.boundary,
    )
    objective = Objective(batch_size=2, unroll=UnrollConfig(num_segments=3))
    rng = StepRandom(Generators.on(torch.device("cpu")).begin(0, 0), 2)
    loss = denoising_loss(model, sequence, objective, rng).errors.mean()
    loss.backward()
    found = {name: weight.grad for name, weight in model.named_parameters() if weight.grad is not None}
    return {"loss": loss.detach()} | found


def test_both_learn_from_the_teachers_that_are_at_their_side_of_the_boundary(teacher: Path, finished: Path) -> None:
    learned, taught = weights(finished / "adapter"), weights(teacher)
    assert learned.keys() == taught.keys()
    for name in NAMES:
        part = [key for key in taught if key.startswith(f"{name}/")]
        assert part and any(not torch.equal(learned[key], taught[key]) for key in part)


def test_each_of_a_students_adapters_says_what_it_was_made_for(teacher: Path, finished: Path) -> None:
    for name in NAMES:
        student = json.loads((finished / "adapter" / name / "adapter.json").read_text())
        by = json.loads((teacher / name / "adapter.json").read_text())
        assert student["base"] == by["base"] and student["adapter"] == by["adapter"]
        assert student["settings"]["distilled"] == {"num_inference_steps": [2], "shift": 1.0}


def test_a_student_makes_each_step_in_one_pass_by_the_transformer_of_its_noise_level(
    base: Path, finished: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    passes = passes_of_both(monkeypatch)
    pipe = load_adapted(base, finished / "adapter", dtype=torch.float32)
    session = Session.begin(pipe, PROMPT, seed=1)
    session.advance()
    session.advance()
    segment = [("high", 1.0, False), ("low", 0.5, False), ("high", 0.05, True), ("low", 0.05, True)]
    found = [(name, float(levels.max()), len(levels), writes) for name, levels, writes in passes]
    assert [(name, writes) for name, *_, writes in found] == 2 * [(name, writes) for name, _, writes in segment]
    assert [level for _, level, _, writes in found if not writes] == [1.0, 0.5, 1.0, 0.5]
    assert {count for _, _, count, _ in found} == {1}


@pytest.mark.parametrize(("scale", "late"), [(3.0, 1.5), (1.0, 2.0), (3.0, 1.0), (3.0, None)])
def test_a_teacher_teaches_by_the_guidance_of_both_that_its_own_videos_are_made_by(
    base: Path, teacher: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, scale: float, late: float | None
) -> None:
    by = tmp_path / "teacher"
    shutil.copytree(teacher, by)
    for name in NAMES:
        path = by / name / "adapter.json"
        said = json.loads(path.read_text())
        said["settings"] |= {"guidance_scale": scale} | ({} if late is None else {"guidance_scale_2": late})
        path.write_text(json.dumps(said))
    taught = list[tuple[TeacherPasses, tuple[Any, ...]]]()
    whole = TeacherPasses.__init__

    def watched(self: TeacherPasses, *given: Any, **named: Any) -> None:
        whole(self, *given, **named)
        taught.append((self, given))

    monkeypatch.setattr(TeacherPasses, "__init__", watched)
    assert distill(by, base, tmp_path / "run", "--optimization.num-steps", "1") == 0
    passes, (model, memory, captions, before, _) = taught[0]
    guidance = load_adapted(base, by, dtype=torch.float32).rollout(PROMPT).guidance
    noisy = torch.randn(len(before.context), model.segment_frames, 4, 8, 8)
    clip, count = torch.cat([before.context, noisy], dim=1), before.context.shape[1]

    def predict(latents: torch.Tensor, levels: torch.Tensor, memory: Any, caption: Caption) -> torch.Tensor:
        told = {"num_context_frames": count, "update_memory": False, **caption.arguments}
        found: torch.Tensor = model(latents, levels, memory, **told).velocity
        return found

    guided = guidance.prepare(memory, *captions)
    for level, weights in ((0.9, guided.weights), (0.3, guided.late_weights or guided.weights)):
        levels = torch.cat([before.levels, torch.full(noisy.shape[:2], level)], dim=1)
        times = len(weights)
        made = predict(clip.repeat(times, 1, 1, 1, 1), levels.repeat(times, 1), guided.memory, guided.caption)
        wanted = sum(weight * part for weight, part in zip(weights, made[:, count:].chunk(times), strict=True))
        torch.testing.assert_close(passes.velocity(noisy, level), wanted)
    learned = json.loads((tmp_path / "run" / "adapter" / NAMES[1] / "adapter.json").read_text())["settings"]
    assert (learned["guidance_scale"], learned.get("guidance_scale_2")) == (scale, late)
    student = load_adapted(base, tmp_path / "run" / "adapter", dtype=torch.float32)
    assert not student.rollout(PROMPT).guidance.heeds_text  # it is guided already


def test_a_video_of_a_student_is_made_from_the_command_line(base: Path, finished: Path, tmp_path: Path) -> None:
    options = ["--base", str(base), "--adapter", str(finished / "adapter"), "--frames", "20", "--device", "cpu"]
    assert main(["generate", PROMPT, *options, "--out", str(tmp_path / "red.mp4")]) == 0
    assert (tmp_path / "red.mp4").stat().st_size > 0


def test_a_student_that_was_stopped_ends_as_if_it_never_had_been(
    base: Path, teacher: Path, finished: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stop_at(DistillationObjective, 2, monkeypatch)
    run = tmp_path / "run"
    with pytest.raises(SystemExit):
        distill(teacher, base, run)
    assert main(["distill", "--resume", "--out", str(run), "--device", "cpu"]) == 0
    whole = weights(finished / "adapter")
    assert [name for name, tensor in weights(run / "adapter").items() if not torch.equal(tensor, whole[name])] == []


def test_the_newest_state_of_a_student_can_be_written_as_adapters(finished: Path, tmp_path: Path) -> None:
    assert main(["export", str(finished), "--out", str(tmp_path / "adapter")]) == 0
    whole, kept = weights(finished / "adapter"), weights(tmp_path / "adapter")
    assert kept.keys() == whole.keys() and all(torch.equal(kept[name], whole[name]) for name in whole)


@pytest.mark.slow  # counts every pass of a whole curriculum
def test_a_plan_counts_both(base: Path, teacher: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    trained = sum(tensor.numel() for tensor in weights(teacher).values())
    assert adapt(base, tmp_path / "run", "--plan") == 0
    assert f"{trained:,} parameters are trained" in capsys.readouterr().out
    assert distill(teacher, base, tmp_path / "run", "--plan") == 0
    assert f"{trained:,} parameters are trained" in capsys.readouterr().out
    assert not (tmp_path / "run").exists()


def test_where_a_video_begins_the_noise_before_it_does_not_choose_the_transformer(base: Path, teacher: Path) -> None:
    model = load_adapted(base, teacher, dtype=torch.float32).transformer
    assert isinstance(model, TwoExperts) and model.context_frames == 1
    noise, levels = torch.randn(1, 5, 4, 8, 8), torch.tensor([[1.0, 0.3, 0.3, 0.3, 0.3]])
    text = torch.randn(1, 6, 16), torch.ones(1, 6, dtype=torch.bool), None, 1, None, False
    made = model(noise, levels, model.empty_memory(1, 8, 8), *text)
    low = model.low
    assert isinstance(low, AdaptedTransformer3DModel)
    assert torch.equal(made.velocity, low(noise, levels, low.empty_memory(1, 8, 8), *text).velocity)


def test_one_adapter_teaches_no_two(
    base: Path, teacher: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert distill(teacher / NAMES[0], base, tmp_path / "run") == 2
    assert "the base has two transformers, and" in capsys.readouterr().err


def test_a_base_that_does_not_say_who_makes_which_step_is_refused(
    base: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    index = json.loads((base / "model_index.json").read_text()) | {"boundary_ratio": None}
    for path in base.iterdir():
        (tmp_path / path.name).symlink_to(path)
    (tmp_path / "model_index.json").unlink()
    (tmp_path / "model_index.json").write_text(json.dumps(index))
    assert adapt(tmp_path, tmp_path / "run") == 2
    assert "two transformers, and no boundary_ratio in its model_index.json" in capsys.readouterr().err


def test_a_step_of_two_is_no_cuda_graph(base: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert adapt(base, tmp_path / "run", "--cuda-graphs", "true") == 2
    assert "a step of two transformers is never the same twice" in capsys.readouterr().err
