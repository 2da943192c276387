"""Laws of the named experiments."""

import json
from dataclasses import FrozenInstanceError, asdict, replace
from pathlib import Path

import pytest
import torch

import tiny_pipeline
from malt.codecs.malt import MaltCodec
from malt.errors import UsageError
from malt.memory.protocol import Layout
from malt.memory.registry import build_memory
from malt.memory.state import num_bytes
from malt.models.autoencoder import AutoencoderMalt
from malt.training.config import Experiment, TransformerSize, stretched
from malt.training.engine.optimizer import Optimization
from malt.training.objectives.curriculum import Stage
from malt.training.objectives.denoising import CaptionedTransformer
from malt.training.objectives.objective import Objective
from malt.training.options import differences, from_json
from malt.training.pipeline_export import build_captioned
from malt.training.recipes import RECIPES, default, drive, find_recipe, resolve, tiny
from malt.worlds.passage.captions import vocabulary

EXPERIMENTS = Path(__file__).parents[2] / "experiments"
CODEC = MaltCodec(AutoencoderMalt(channels=(4, 8, 8)))


def stages(*ends: int) -> tuple[Stage, ...]:
    return tuple(Stage(until=end, objectives=(Objective(),)) for end in ends)


def ends(experiment: Experiment) -> list[int]:
    return [stage.until for stage in experiment.curriculum]


def build(experiment: Experiment) -> CaptionedTransformer:
    num_actions, seed = len(experiment.actions), experiment.seed
    return build_captioned(experiment.transformer, vocabulary(), CODEC, num_actions=num_actions, seed=seed)


@pytest.mark.parametrize("name", RECIPES)
def test_every_recipe_is_an_experiment_that_json_can_keep(name: str) -> None:
    experiment = RECIPES[name]()
    assert isinstance(experiment, Experiment)
    assert RECIPES[name]() == experiment
    assert from_json(Experiment, json.loads(json.dumps(asdict(experiment)))) == experiment


@pytest.mark.parametrize("field", ["seed", "curriculum", "transformer"])
def test_an_experiment_is_frozen(field: str) -> None:
    with pytest.raises(FrozenInstanceError):
        setattr(tiny(), field, None)


def without_memory(experiment: Experiment) -> Experiment:
    return replace(experiment, transformer=replace(experiment.transformer, memory="none"))


@pytest.mark.parametrize("file", ["ablations", "baselines", "kinds", "place_kinds"])
def test_every_experiment_of_a_file_can_be_built_and_kept(file: str) -> None:
    path = EXPERIMENTS / f"{file}.py"
    with pytest.raises(UsageError, match="has the recipes") as refused:
        find_recipe(str(path))
    names = str(refused.value).partition("has the recipes ")[2].partition(";")[0].split(", ")
    assert len(names) >= 5
    for name in names:
        experiment = find_recipe(f"{path}:{name.replace('_', '-')}")()
        assert from_json(Experiment, json.loads(json.dumps(asdict(experiment)))) == experiment, name


@pytest.mark.parametrize(
    "name", ["sink", "archive", "adaptive", "multimodal", "state_space", "slots", "bank", "short_context"]
)
def test_the_kinds_that_are_compared_hold_as_many_bytes(name: str) -> None:
    assert (
        bytes_of(name) == bytes_of("hierarchical") == 12 * bytes_of("recurrent") // 4 == 12 * bytes_of("context") // 80
    )


@pytest.mark.parametrize("name", ["archive", "adaptive", "state_space", "slots"])
def test_kinds_for_places_hold_as_many_bytes_as_one_that_is_read_by_place_but_for_a_token(name: str) -> None:
    one_frame = bytes_of("context", "place_kinds") // 80
    assert bytes_of(name, "place_kinds") == 34 * one_frame == bytes_of("places", "place_kinds") - one_frame // 16
    assert bytes_of("short_context", "place_kinds") == 32 * one_frame


def bytes_of(name: str, file: str = "kinds") -> int:
    """What a layer remembers of a video by a recipe of a file in experiments."""
    size = find_recipe(f"{EXPERIMENTS / file}.py:{name}")().transformer
    width = size.num_attention_heads * size.attention_head_dim
    memory = build_memory(size.memory, width, size.num_attention_heads, size.memory_size, size.memory_config)
    return num_bytes((memory.empty(1, Layout(size.segment_frames, 4, 4), torch.zeros(1)),))


def test_a_recipe_that_is_not_there_is_refused_in_a_sentence(tmp_path: Path) -> None:
    with pytest.raises(
        UsageError, match="there is no recipe 'finetun', did you mean 'finetune'; choose one of default"
    ):
        find_recipe("finetun")
    with pytest.raises(UsageError, match="there is no file .*nothing.py; check the name"):
        find_recipe("nothing.py:full")
    (tmp_path / "own.py").write_text("")
    with pytest.raises(UsageError, match="own.py has the recipes none"):
        find_recipe(f"{tmp_path / 'own.py'}:full")


def test_the_ablation_differs_in_nothing_but_its_memory() -> None:
    full, ablation = default(), find_recipe(f"{EXPERIMENTS / 'ablations.py'}:no-memory")()
    assert ablation.transformer.memory == "none"
    assert replace(ablation, transformer=full.transformer) == full
    assert replace(full.transformer, memory="none") == ablation.transformer


def test_the_ablation_has_the_same_network_beside_its_memory() -> None:
    models = [tiny_pipeline.network(build(experiment)) for experiment in (tiny(), without_memory(tiny()))]
    sizes = [{name: p.shape for name, p in model.named_parameters() if ".memory." not in name} for model in models]
    assert sizes[0] == sizes[1]


def test_the_sizes_of_an_experiment_are_those_that_the_models_have_by_themselves() -> None:
    config = tiny_pipeline.network(build(replace(tiny(), transformer=TransformerSize()))).config
    for name, value in vars(TransformerSize()).items():
        assert config[name] == value, name
    bare = AutoencoderMalt(channels=(4, 8, 8)).config
    for name, value in vars(replace(default().autoencoder, channels=(4, 8, 8))).items():
        assert tuple(bare[name]) == value if isinstance(value, tuple) else bare[name] == value, name


def test_a_model_that_drives_takes_what_is_done_in_every_frame_of_a_latent_frame() -> None:
    small = replace(drive(), transformer=tiny().transformer)
    assert tiny_pipeline.network(build(small)).config.action_dim == 4 * len(small.actions) == 8
    assert tiny_pipeline.network(build(tiny())).config.action_dim is None


def test_the_same_seed_begins_with_the_same_weights_and_another_with_others() -> None:
    one, same, other = (build(replace(tiny(), seed=seed)).state_dict() for seed in (0, 0, 1))
    assert all(torch.equal(value, same[name]) for name, value in one.items())
    for part in ("transformer.patch_embed.weight", "text_encoder.shared.weight"):
        assert not torch.equal(one[part], other[part])


@pytest.mark.parametrize("name", ["default", "finetune", "tiny"])
def test_the_longest_lesson_fits_into_the_films_of_the_bank(name: str) -> None:
    experiment = RECIPES[name]()
    size = experiment.transformer
    assert 4 * (experiment.longest_unroll * size.segment_frames + size.context_frames) <= experiment.world_frames


@pytest.mark.parametrize(
    ("ends", "num_steps", "sentence"),
    [
        ((2, 4), 5, "the curriculum ends at step 4 and the optimization at 5; make them equal"),
        ((4, 2), 2, r"the stages of the curriculum end at steps \[4, 2\]; give at least one, each later than the last"),
        ((2, 2), 2, r"end at steps \[2, 2\]"),
        ((), 2, r"end at steps \[\]; give at least one"),
    ],
)
def test_an_experiment_that_makes_no_sense_is_refused_in_a_sentence(
    ends: tuple[int, ...], num_steps: int, sentence: str
) -> None:
    with pytest.raises(ValueError, match=sentence):
        Experiment(curriculum=stages(*ends), optimization=Optimization(num_steps=num_steps))


@pytest.mark.parametrize("num_steps", [3, 4, 27, 2700, 27_000])
def test_stretched_stages_keep_their_shares_and_end_with_the_run(num_steps: int) -> None:
    longer = stretched(default().curriculum, num_steps)
    found = [stage.until for stage in longer]
    assert found == sorted(set(found)) and found[-1] == num_steps
    assert [stage.objectives for stage in longer] == [stage.objectives for stage in default().curriculum]
    whole = default().optimization.num_steps
    assert abs(found[0] - num_steps * default().curriculum[0].until / whole) <= 1


def test_fewer_steps_than_stages_are_refused() -> None:
    with pytest.raises(UsageError, match="num_steps is 1; give at least 2, one for each stage of the curriculum"):
        resolve(default(), {"optimization.num-steps": ["1"]})


def test_settings_of_a_memory_are_set_by_their_names_and_kept_with_the_run() -> None:
    sunk = resolve(default(), {"transformer.memory-config.sink": ["2"]})
    assert sunk.transformer == replace(default().transformer, memory_config={"sink": 2})
    both = resolve(sunk, {"transformer.memory-config.num-pooled": ["4"]})
    assert both.transformer.memory_config == {"sink": 2, "num_pooled": 4}
    assert from_json(Experiment, json.loads(json.dumps(asdict(both)))) == both
    assert differences(sunk, both) == ["--transformer.memory-config.num-pooled"]
    assert resolve(both, {"transformer.memory-config": ["none"]}) == default()
    assert tiny_pipeline.network(build(replace(tiny(), transformer=both.transformer))).config.memory_config == {
        "sink": 2,
        "num_pooled": 4,
    }


@pytest.mark.parametrize(
    ("option", "word", "sentence"),
    [
        ("transformer.memory-config.snk", "2", "no setting 'snk', did you mean 'sink'; it takes num_pooled, sink, "),
        (
            "transformer.memory-config.sink",
            "2.5",
            "sink of a memory of the kind hierarchical is 2.5; give a whole number",
        ),
        ("transformer.memory-config", "2", "give --transformer.memory-config.NAME VALUE, or none"),
        ("transformer.memory", "hierarchic", "no memory called 'hierarchic', did you mean 'hierarchical'"),
    ],
)
def test_settings_that_a_memory_has_not_are_refused(option: str, word: str, sentence: str) -> None:
    with pytest.raises(UsageError, match=sentence):
        resolve(default(), {option: [word]})


def test_a_field_of_a_field_is_set_and_nothing_else() -> None:
    options = {
        "optimization.learning-rate": ["1e-4"],
        "transformer.num_layers": ["4"],
        "transformer.memory-size": ["none"],
        "curriculum.1.objectives.1.batch-size": ["5"],
        "curriculum.1.objectives.0.noise.logit-mean": ["0.25"],
        "frame-size": ["32", "48"],
        "actions": ["steering", "throttle"],
        "compile": ["false"],
        "data": ["films"],
    }
    found = resolve(default(), options)
    assert found.optimization == replace(default().optimization, learning_rate=1e-4)
    assert found.transformer == replace(default().transformer, num_layers=4, memory_size=None)
    assert found.curriculum[1].objectives[1] == replace(default().curriculum[1].objectives[1], batch_size=5)
    assert found.curriculum[1].objectives[0].noise.logit_mean == 0.25
    assert found.curriculum[:1] == default().curriculum[:1]
    assert (found.frame_size, found.actions, found.compile) == ((32, 48), ("steering", "throttle"), False)


def test_the_number_of_steps_alone_stretches_the_stages_and_with_the_stages_it_does_not() -> None:
    assert ends(resolve(tiny(), {"optimization.num-steps": ["40"]})) == [20, 40]
    both = {"optimization.num-steps": ["40"], "curriculum.0.until": ["3"], "curriculum.1.until": ["40"]}
    assert ends(resolve(tiny(), both)) == [3, 40]
    with pytest.raises(UsageError, match="make them equal"):
        resolve(tiny(), {"optimization.num-steps": ["40"], "curriculum.0.until": ["3"]})


@pytest.mark.parametrize(
    ("option", "words", "sentence"),
    [
        ("optimization.learning-rat", ["1"], "did you mean --optimization.learning-rate"),
        ("optimizer.learning-rate", ["1"], "did you mean --optimization.learning-rate"),
        ("optimizer.lr", ["1"], "did you mean --optimization.learning-rate"),
        ("autoencoder-optimization.lr", ["1"], "did you mean --autoencoder-optimization.learning-rate"),
        ("transformer.layers", ["1"], "did you mean --transformer.num-layers"),
        ("optimization.num-steps", ["many"], "--optimization.num-steps cannot be 'many'; give a whole number"),
        ("optimization.num-steps", [], "--optimization.num-steps lacks its value"),
        ("optimization.learning-rate", ["nan"], "cannot be 'nan'; give a number"),
        ("frame-size", ["64"], "--frame-size takes 2 values, not 1"),
        ("frame-size", ["60", "64"], "multiples of 16"),
        ("compile", ["perhaps"], "cannot be 'perhaps'; give true or false"),
        ("optimization.decay-from", ["7"], "optimization: decay_from is 7.0; give a share between 0 and 1"),
        ("precision", ["float8"], "choose auto, float32 or bfloat16"),
        ("autoencoder.channels", ["0", "8", "8"], "autoencoder: channels is (0, 8, 8); give at least 1"),
        ("transformer.attention-head-dim", ["15"], "transformer: a head of 15 channels cannot turn with time"),
        ("transformer.context-frames", ["-1"], "transformer: context_frames is -1; give at least 0"),
        ("transformer.memory-size", ["0"], "transformer: memory_size is 0; give at least 1"),
        ("sampling.num-inference-steps", ["0"], "sampling: num_inference_steps is 0; give at least 1"),
        ("caption-tokens", ["0"], "caption_tokens is 0; give at least 1"),
        ("checkpoint.keep-states", ["0"], "checkpoint: keep_states is 0; give at least 1"),
        ("watching.save-seconds", ["0"], "checkpoint: save_seconds is 0.0; give a number above 0"),
    ],
)
def test_a_wrong_field_is_a_sentence_that_says_what_to_do(option: str, words: list[str], sentence: str) -> None:
    with pytest.raises(UsageError) as refused:
        resolve(tiny(), {option: words})
    assert sentence in str(refused.value)
    assert "\n" not in str(refused.value)


def test_a_bank_that_cannot_be_filled_by_whole_segments_is_refused_before_anything_is_built() -> None:
    with pytest.raises(UsageError, match="a bank of 3 tokens cannot be filled 16 at a time; give a multiple"):
        resolve(tiny(), {"transformer.memory": ["bank"], "transformer.memory-size": ["3"]})


def test_a_run_that_an_earlier_version_began_is_read_with_the_defaults_of_what_is_new() -> None:
    earlier = {"autoencoder": {"channels": [8, 16, 16]}, "transformer": {}, "seed": 3}
    found = from_json(Experiment, earlier | {"curriculum": [{"until": 2700, "objectives": [{"batch_size": 2}]}]})
    assert (found.autoencoder.channels, found.seed, found.transformer) == ((8, 16, 16), 3, TransformerSize())
    assert found.curriculum[0].objectives[0] == Objective(batch_size=2)
