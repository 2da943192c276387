"""Laws of names of earlier versions: runs that were begun with them go on, and options may still be typed so."""

import json
from dataclasses import asdict
from pathlib import Path

import pytest

from malt.training.config import Experiment
from malt.training.engine.parallel import ParallelConfig
from malt.training.objectives.objective import DistillationConfig
from malt.training.options import from_json
from malt.training.recipes import default, resolve, tiny
from malt.training.renamed import current_name, with_current_names
from malt.training.run_folder import read_experiment

# As version 0.1 wrote it, with a value in every field of an objective that is not the default.
EARLIER = {
    "num_segments": 10,
    "batch_size": 12,
    "bptt_segments": 4,
    "denoise_segments": 2,
    "draws": 3,
    "level_mean": 0.9,
    "context_noise": 0.25,
    "remembered_noise": 0.15,
    "memory_noise": 0.35,
    "start_share": 0.1,
    "caption_dropout": 0.7,
    "memory_dropout": 0.2,
    "context_dropout": 0.02,
    "memory_regularisation": 0.1,
    "normalize_memory": False,
    "frame_stride": 2,
    "known_first": 1,
    "known_last": 1,
    "level_per_frame": True,
    "own_share": 0.5,
    "own_steps": 2,
    "own_noise": [0.4, 0.9],
}


def leaves(value: object) -> list[object]:
    return [leaf for item in value.values() for leaf in leaves(item)] if isinstance(value, dict) else [value]


def test_no_value_of_an_earlier_run_is_lost(tmp_path: Path) -> None:
    saved = {"recipe": "further", "curriculum": [{"until": 2700, "objectives": [EARLIER, {}]}]}
    (tmp_path / "experiment.json").write_text(json.dumps(saved))
    recipe, found = read_experiment(tmp_path)
    assert recipe == "finetune"
    now = json.loads(json.dumps(asdict(found.curriculum[0].objectives[0])))
    assert now["unroll"].pop("far_segments") == 0  # there were none then
    assert not now["unroll"].pop("begins_alone") and now["baseline"].pop("num_anchor_frames") == 0
    assert now.pop("distillation") == asdict(DistillationConfig())  # nor were there students
    assert sorted(map(str, leaves(now))) == sorted(map(str, leaves(EARLIER)))
    assert (found.curriculum[0].objectives[0].unroll.first_segment_prob, now["noise"]["logit_mean"]) == (0.1, 0.9)


def test_the_fields_of_an_earlier_run_are_found_under_their_names_of_today(tmp_path: Path) -> None:
    saved = {
        "watching": {"validate_every": 4, "save_seconds": 60.0, "keep_states": 3, "noise_levels": [0.5]},
        "scale": {"sharded": True, "copies": 2, "checkpointing": True},
        "bank_videos": 4,
        "bank_frames": 64,
        "bank_return_share": 0.5,
    }
    (tmp_path / "experiment.json").write_text(json.dumps(saved))
    found = read_experiment(tmp_path).experiment
    assert (found.monitors.validate_every, found.monitors.noise_levels) == (4, (0.5,))
    assert (found.checkpoint.save_seconds, found.checkpoint.keep_states) == (60.0, 3)
    assert found.parallel == ParallelConfig(fsdp=True, num_replicas=2, activation_checkpointing=True)
    assert (found.world_videos, found.world_frames, found.world_return_share) == (4, 64, 0.5)


@pytest.mark.parametrize("recipe", [tiny, default])
def test_what_this_version_writes_is_read_as_it_is(recipe: type[Experiment]) -> None:
    saved = json.loads(json.dumps(asdict(recipe())))
    assert with_current_names(saved) == saved
    assert from_json(Experiment, saved) == recipe()


def test_an_option_may_be_typed_by_its_earlier_name() -> None:
    options = {
        "curriculum.1.objectives.0.own-share": ["0.5"],
        "curriculum.0.objectives.0.draws": ["2"],
        "scale.copies": ["3"],
        "watching.sample-every": ["0"],
    }
    found = resolve(tiny(), options)
    assert found.curriculum[1].objectives[0].self_forcing.prob == 0.5
    assert found.curriculum[0].objectives[0].noise.num_noise_samples == 2
    assert (found.parallel.num_replicas, found.monitors.sample_every) == (3, 0)


def test_other_names_are_left_alone() -> None:
    for name in ("seed", "curriculum.0.until", "curriculum.0.objectives.0.noise.logit_mean", "num_segments"):
        assert current_name(name) == name
