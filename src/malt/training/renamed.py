"""What the fields of an experiment were called in earlier versions: stored runs and typed options keep working."""

import re
from collections.abc import Iterator, Mapping

Json = dict[str, object]

# Of an objective of the curriculum.
OBJECTIVE = {
    "num_segments": "unroll.num_segments",
    "bptt_segments": "unroll.bptt_segments",
    "denoise_segments": "unroll.denoise_segments",
    "start_share": "unroll.first_segment_prob",
    "memory_regularisation": "unroll.memory_regularisation",
    "normalize_memory": "unroll.normalize_memory",
    "draws": "noise.num_noise_samples",
    "level_mean": "noise.logit_mean",
    "context_noise": "noise.context_noise",
    "remembered_noise": "noise.memory_write_noise",
    "memory_noise": "noise.memory_noise",
    "caption_dropout": "dropout.caption_dropout",
    "memory_dropout": "dropout.memory_dropout",
    "context_dropout": "dropout.context_dropout",
    "own_share": "self_forcing.prob",
    "own_steps": "self_forcing.num_steps",
    "own_noise": "self_forcing.noise_range",
    "frame_stride": "baseline.frame_stride",
    "known_first": "baseline.num_prefix_frames",
    "known_last": "baseline.num_suffix_frames",
    "level_per_frame": "baseline.level_per_frame",
}
# Of the experiment; a name that ends in a dot stands for all fields below it.
FIELDS = {
    "watching.save_seconds": "checkpoint.save_seconds",
    "watching.keep_states": "checkpoint.keep_states",
    "watching.": "monitors.",
    "scale.sharded": "parallel.fsdp",
    "scale.copies": "parallel.num_replicas",
    "scale.checkpointing": "parallel.activation_checkpointing",
    "bank_videos": "world_videos",
    "bank_frames": "world_frames",
    "bank_return_share": "world_return_share",
}
RECIPES = {"further": "finetune"}


def current_name(name: str) -> str:
    """The dotted name of a field today, from that of this version or of an earlier one."""
    within = re.fullmatch(r"(curriculum\.\d+\.objectives\.\d+\.)(\w+)", name)
    if within:
        return within[1] + OBJECTIVE.get(within[2], within[2])
    group, dot, field = name.partition(".")
    return FIELDS.get(name) or FIELDS.get(group + dot, group + dot) + field


def with_current_names(saved: Mapping[str, object]) -> Json:
    """An experiment as JSON keeps it, with the names of today."""
    renamed: Json = {}
    for name, value in _leaves(saved):
        *path, leaf = current_name(name).split(".")
        place = renamed
        for key in path:
            inner = place.setdefault(key, {})
            assert isinstance(inner, dict)
            place = inner
        place[leaf] = value
    return {key: _with_lists(value) for key, value in renamed.items()}


def _leaves(value: Mapping[str, object], prefix: str = "") -> Iterator[tuple[str, object]]:
    """Every value that is no object and no list of objects, by its dotted name."""
    for key, item in value.items():
        inner = item
        if isinstance(item, list) and all(isinstance(one, dict) for one in item):
            inner = dict(enumerate(item))
        if isinstance(inner, dict) and inner:
            yield from _leaves({str(name): one for name, one in inner.items()}, f"{prefix}{key}.")
        else:
            yield prefix + str(key), item


def _with_lists(value: object) -> object:
    """Objects whose keys are numbers as the lists that they were."""
    if not isinstance(value, dict) or not value:
        return value
    items = {key: _with_lists(item) for key, item in value.items()}
    return list(items.values()) if all(key.isdecimal() for key in items) else items
