"""Laws of the transformer, on tiny random models."""

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from peft import LoraConfig
from torch import Tensor

import tiny
from malt.memory.protocol import ContextMemory
from malt.memory.registry import KINDS
from malt.memory.state import Memory, join, select
from malt.models.blocks import Gelu, MaltBlock
from malt.models.transformer import MaltTransformer3DModel

MEMORIES = [kind for kind in KINDS if kind != "none"]
OPTIONS = {"hierarchical": {"num_pooled": 0, "sink": 1, "archive": 2}, "adaptive": {"merge": 0.5, "threshold": -1}}


def gradients(model: MaltTransformer3DModel) -> dict[str, Tensor]:
    """Gradients of a loss over three segments, each denoised with the memory of those before it."""
    memory, loss = None, torch.zeros(())
    for n in range(3):
        velocity = model(memory=memory, **tiny.segment(n)).velocity
        loss = loss + velocity.square().mean()
        memory = model(memory=memory, **tiny.segment(20 + n, level=0.0)).memory
    loss.backward()
    return {name: p.grad for name, p in model.named_parameters() if p.grad is not None}


def jolted(latents: Tensor, *place: int | slice) -> Tensor:
    """The latents, otherwise at one place (frames, rows, columns)."""
    changed = latents.clone()
    frame, row, column = place
    changed[:, frame, :, row, column] += 1.0
    return changed


@pytest.mark.parametrize("kind", KINDS)
def test_a_model_that_was_saved_is_the_model_that_is_loaded(kind: str, tmp_path: Path) -> None:
    model = tiny.transformer(memory=kind, window_size=(2, 2), attention=("space_time", "space"))
    model.save_pretrained(tmp_path, max_shard_size="20KB")
    assert len(list(tmp_path.glob("*.safetensors"))) > 1
    loaded = MaltTransformer3DModel.from_pretrained(tmp_path)
    memory = tiny.remember(model, 1)
    assert torch.equal(model(memory=memory, **tiny.segment())[0], loaded(memory=memory, **tiny.segment())[0])


@pytest.mark.parametrize("kind", MEMORIES)
def test_a_fresh_memory_is_the_identity(kind: str) -> None:
    model = tiny.transformer(memory=kind)
    forgetful = tiny.transformer(memory="none")
    forgetful.load_state_dict({k: v for k, v in model.state_dict().items() if k in forgetful.state_dict()})
    given = tiny.segment()
    expected = forgetful(memory=None, **given)[0]
    torch.testing.assert_close(model(memory=None, **given)[0], expected)
    torch.testing.assert_close(model(memory=model.empty_memory(tiny.BATCH, tiny.SIDE, tiny.SIDE), **given)[0], expected)


def test_an_untrained_model_says_nothing() -> None:
    model = MaltTransformer3DModel(
        in_channels=3, num_layers=1, num_attention_heads=1, attention_head_dim=8, caption_dim=12
    )
    assert not model(memory=None, **tiny.segment())[0].any()


@pytest.mark.parametrize("kind", KINDS)
def test_gradients_with_checkpointing_are_those_without_over_three_segments(kind: str) -> None:
    model = tiny.transformer(memory=kind, memory_config=OPTIONS.get(kind)).train()
    expected = gradients(model)
    model.zero_grad(set_to_none=True)
    model.enable_gradient_checkpointing()
    found = gradients(model)
    assert expected.keys() == found.keys()
    assert ("blocks.0.memory_mark" in found) == isinstance(model.blocks[0].memory, ContextMemory)
    for name, gradient in expected.items():
        torch.testing.assert_close(found[name], gradient, rtol=1e-4, atol=1e-6, msg=name)


def test_every_latent_frame_has_a_noise_level_of_its_own() -> None:
    model = tiny.transformer(num_layers=1, attention=("space",), memory="none")
    given = tiny.segment(frames=3, level=0.5)
    other = given | {"timestep": torch.tensor([[0.5, 0.9, 0.5]] * tiny.BATCH)}
    difference = (model(memory=None, **given)[0] - model(memory=None, **other)[0]).abs().amax(dim=(0, 2, 3, 4))
    assert difference[1] > 1e-3
    assert not difference[[0, 2]].any()


@pytest.mark.parametrize("kind", KINDS)
def test_a_video_does_not_depend_on_its_neighbours_in_the_batch(kind: str) -> None:
    model = tiny.transformer(memory=kind, memory_config=OPTIONS.get(kind))
    memory, given = tiny.remember(model, 4), tiny.segment()
    whole = model(memory=memory, **given)
    alone = [
        model(memory=select(memory, slice(n, n + 1)), **{name: value[n : n + 1] for name, value in given.items()})
        for n in range(tiny.BATCH)
    ]
    torch.testing.assert_close(torch.cat([each.velocity for each in alone]), whole.velocity)
    torch.testing.assert_close(join(each.memory for each in alone), whole.memory)


@pytest.mark.parametrize("kind", KINDS)
def test_a_mask_that_leaves_nothing_out_may_be_left_out(kind: str) -> None:
    """Making videos drops such masks; learning, which does not look, keeps them."""
    model = tiny.transformer(memory=kind, window_size=(2, 2))
    memory, given = tiny.remember(model, 3), tiny.segment()
    given["encoder_attention_mask"] = torch.ones_like(given["encoder_attention_mask"])
    learning = model(memory=memory, **given)
    with torch.no_grad():
        making = model(memory=memory, update_memory=False, **given)
        again = model(memory=memory, cache=making.cache, update_memory=False, **given)
    assert making.cache[0].caption.valid is None
    torch.testing.assert_close(making.velocity, learning.velocity)
    assert torch.equal(again.velocity, making.velocity)


def test_a_memory_that_is_not_to_be_updated_comes_back_as_it_was_with_a_cache() -> None:
    model = tiny.transformer()
    memory = tiny.remember(model, 1)
    denoised = model(memory=memory, update_memory=False, **tiny.segment())
    assert denoised.memory == memory
    assert denoised.cache is not None
    assert model(memory=memory, cache=denoised.cache, **tiny.segment(level=0.0)).cache is None


def test_gelu_is_its_tanh_approximation() -> None:
    x = torch.linspace(-12, 12, 4001)
    torch.testing.assert_close(Gelu()(x), F.gelu(x, approximate="tanh"), rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(Gelu()(x.bfloat16()), F.gelu(x.bfloat16(), approximate="tanh"))


def test_context_frames_are_not_remembered_again() -> None:
    model = tiny.transformer(num_layers=1)
    given = tiny.segment(frames=1 + tiny.FRAMES, level=0.0)
    memory = model(memory=None, num_context_frames=1, **given).memory
    assert [state.tokens.shape for state in memory] == [state.tokens.shape for state in tiny.remember(model, 1)]
    assert all(state.valid.all() for state in memory)


def test_only_how_far_the_past_lies_behind_matters_not_when_it_was() -> None:
    """A segment behind a context frame sees the memory from where that frame was remembered."""
    model = tiny.transformer(memory="recurrent", num_layers=1)
    memory = tiny.remember(model, 1)
    given = tiny.segment(frames=1 + tiny.FRAMES)
    here, shifted = (model(memory=memory, num_context_frames=n, **given)[0] for n in (1, 0))
    assert (here - shifted).abs().max() > 1e-4
    empty = [model(memory=None, num_context_frames=n, **given)[0] for n in (1, 0)]
    torch.testing.assert_close(*empty)


def test_an_adapter_trains_alone(tmp_path: Path) -> None:
    model = tiny.transformer().train()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    model.add_adapter(LoraConfig(r=2, target_modules=["to_q", "to_k", "to_v", "to_out"], init_lora_weights="gaussian"))
    optimizer = torch.optim.SGD([p for p in model.parameters() if p.requires_grad], lr=0.1)
    losses = []
    for _ in range(3):
        optimizer.zero_grad()
        loss = model(memory=None, **tiny.segment())[0].square().mean()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[0] > losses[1] > losses[2]
    assert all(("lora" in name) == (p.grad is not None) for name, p in model.named_parameters())
    assert all(
        torch.equal(v, before[k.replace(".base_layer", "")]) for k, v in model.state_dict().items() if "lora" not in k
    )
    model.save_lora_adapter(tmp_path)
    again = tiny.transformer()
    again.load_lora_adapter(tmp_path, prefix=None, weight_name="pytorch_lora_weights.safetensors")
    torch.testing.assert_close(again(memory=None, **tiny.segment())[0], model.eval()(memory=None, **tiny.segment())[0])


def test_the_attention_backend_can_be_set_and_reset() -> None:
    model = tiny.transformer()
    memory = tiny.remember(model, 1)
    expected = model(memory=memory, **tiny.segment())[0]
    model.set_attention_backend("native")
    assert all(str(p._attention_backend) == "AttentionBackendName.NATIVE" for p in model.attn_processors.values())
    torch.testing.assert_close(model(memory=memory, **tiny.segment())[0], expected)
    model.reset_attention_backend()
    assert all(processor._attention_backend is None for processor in model.attn_processors.values())
    assert torch.equal(model(memory=memory, **tiny.segment())[0], expected)


def test_projections_that_cannot_be_fused_are_left_alone() -> None:
    model = tiny.transformer()
    expected = model(memory=None, **tiny.segment())[0]
    model.fuse_qkv_projections()
    assert torch.equal(model(memory=None, **tiny.segment())[0], expected)


def test_half_precision_gives_nearly_the_same() -> None:
    model = tiny.transformer()
    memory, given = tiny.remember(model, 2), tiny.segment()
    expected = model(memory=memory, **given)[0]
    model.to(torch.bfloat16)
    found, renewed, _ = model(
        memory=memory, **given | {"encoder_hidden_states": given["encoder_hidden_states"].bfloat16()}
    )
    assert found.dtype == torch.bfloat16
    assert all(state.tokens.dtype == torch.bfloat16 for state in renewed)
    assert (found.float() - expected).abs().mean() < 0.05 * expected.abs().mean()


COMPILED = """
import sys, tiny, torch
model = tiny.transformer(memory=sys.argv[1], attention=("space_time", "space"), window_size=(2, 2))
memory, given = tiny.remember(model, 1), tiny.segment()
compiled = torch.compile(model, fullgraph=True)
for settings in ({}, {"update_memory": False}):
    found, expected = (each(memory=memory, **settings, **given) for each in (compiled, model))
    torch.testing.assert_close(found.velocity, expected.velocity, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(found.memory, expected.memory, rtol=1e-4, atol=1e-5)
again = compiled(memory=memory, cache=expected.cache, update_memory=False, **given)
torch.testing.assert_close(again.velocity, expected.velocity, rtol=1e-4, atol=1e-5)
"""


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
def test_compiled_as_one_graph_equals_eager(kind: str) -> None:
    """In a process of its own: what checks shapes and types in the tests cannot be traced."""
    paths = {"PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}
    command = [sys.executable, "-c", COMPILED, kind]
    done = subprocess.run(command, env=os.environ | paths, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize(
    "kind", [kind for kind in MEMORIES if isinstance(tiny.transformer(memory=kind).memory_modules()[0], ContextMemory)]
)
@pytest.mark.parametrize("window", [None, (2, 2)])
def test_what_no_video_has_written_makes_no_keys_and_changes_nothing(kind: str, window: tuple[int, int] | None) -> None:
    model = tiny.transformer(memory=kind, window_size=window)
    given, written = tiny.segment(), tiny.remember(model, 1)
    for memory in (model.empty_memory(2, tiny.SIDE, tiny.SIDE), written):
        with torch.no_grad():
            asked = model(memory=memory, **given, update_memory=False)
        masked = model(memory=memory, **given, update_memory=False)  # learning asks nothing
        torch.testing.assert_close(asked.velocity, masked.velocity)
        for left, whole in zip(asked.cache, masked.cache, strict=True):
            count = 0 if left.memory is None else left.memory.keys.shape[1]
            assert count == int(whole.memory.counting().any(dim=0).sum())


@pytest.mark.parametrize("window", [(4, 4), (9, 9)])
def test_a_window_as_large_as_the_frame_is_whole_attention(window: tuple[int, int]) -> None:
    whole, windowed = tiny.transformer(), tiny.transformer(window_size=window)
    memory = tiny.remember(whole, 2)
    assert torch.equal(windowed(memory=memory, **tiny.segment())[0], whole(memory=memory, **tiny.segment())[0])


@pytest.mark.parametrize("kind", KINDS)
def test_what_lies_outside_a_window_has_no_say_within_a_layer(kind: str) -> None:
    model = tiny.transformer(num_layers=1, window_size=(2, 2), memory=kind)
    memory, given = tiny.remember(model, 1), tiny.segment()
    changed = given | {"latents": jolted(given["latents"], 0, 0, 0)}
    difference = (model(memory=memory, **given)[0] - model(memory=memory, **changed)[0]).abs().amax(dim=(0, 2))
    assert difference[:, :4, :4].amin() > 0  # the window: two by two tokens of two by two latent pixels, in all frames
    assert not difference[:, 4:].any()
    assert not difference[:, :, 4:].any()


def test_a_window_remembers_what_it_saw_itself() -> None:
    model = tiny.transformer(num_layers=1, window_size=(2, 2))
    past = tiny.segment(7, level=0.0)
    memory = model(memory=None, **past).memory
    other = model(memory=None, **past | {"latents": jolted(past["latents"], 1, 7, 7)}).memory
    difference = (
        (model(memory=memory, **tiny.segment())[0] - model(memory=other, **tiny.segment())[0]).abs().amax(dim=(0, 1, 2))
    )
    assert difference[4:, 4:].amin() > 0
    assert not difference[:4].any()
    assert not difference[:, :4].any()


@pytest.mark.parametrize(("attention", "reaches"), [("space", False), ("space_time", True)])
def test_attention_in_space_stays_within_its_frame(attention: str, reaches: bool) -> None:
    model = tiny.transformer(num_layers=1, attention=(attention,))
    given = tiny.segment()
    changed = given | {"latents": jolted(given["latents"], 0, 0, 0)}
    difference = (model(memory=None, **given)[0] - model(memory=None, **changed)[0]).abs()
    assert difference[:, 0, :, -1, -1].amin() > 0
    assert bool(difference[:, 1].any()) == reaches


def test_layers_of_space_and_of_space_time_take_turns_and_only_the_latter_remember() -> None:
    model = tiny.transformer(num_layers=3, attention=("space", "space_time"))
    assert [state.tokens.shape[1] > 0 for state in tiny.remember(model, 1)] == [False, True, False]


def test_actions_change_their_frame() -> None:
    model = tiny.transformer(action_dim=2, num_layers=1, attention=("space",))
    actions = torch.zeros(tiny.BATCH, tiny.FRAMES, 2)
    other = actions.clone()
    other[:, 1] = 1.0
    still, moved = (model(memory=None, actions=a, **tiny.segment())[0] for a in (actions, other))
    assert torch.equal(still[:, 0], moved[:, 0])
    assert (still[:, 1] - moved[:, 1]).abs().max() > 1e-3


def test_captions_are_read_as_far_as_they_count() -> None:
    model, given = tiny.transformer(), tiny.segment()
    words = given["encoder_hidden_states"]
    ignored, read = words.clone(), words.clone()
    ignored[1, 3:] += 1.0
    read[1, :3] += 1.0
    expected = model(memory=None, **given)[0]
    assert torch.equal(model(memory=None, **given | {"encoder_hidden_states": ignored})[0], expected)
    assert not torch.allclose(model(memory=None, **given | {"encoder_hidden_states": read})[0][1], expected[1])


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        (
            {"memory": "elephant"},
            "there is no memory called 'elephant'; choose one of recurrent, hierarchical, .*, none",
        ),
        ({"attention": ("time",)}, "there is no attention called 'time'; choose space_time or space"),
        ({"memory_config": {"size": 3}}, "a memory of the kind recurrent has no setting 'size'; it takes none"),
        ({"memory": "bank", "memory_size": 17}, "a bank of 17 tokens cannot be filled 16 at a time; give a multiple"),
        ({"attention_head_dim": 6}, "a head of 6 channels cannot turn with time, height and width"),
        ({"attention_head_dim": 9}, "a head of 9 channels cannot turn with time, height and width"),
    ],
)
def test_settings_that_make_no_model_are_refused_in_a_sentence(settings: dict[str, Any], sentence: str) -> None:
    with pytest.raises(ValueError, match=sentence):
        tiny.transformer(**settings)


@pytest.mark.parametrize(
    ("settings", "given", "sentence"),
    [
        ({}, tiny.segment(side=7), "latents of 7x7 cannot be cut into patches of 2; pad or resize"),
        ({"window_size": (3, 3)}, tiny.segment(), "4x4 tokens cannot be cut into windows of 3x3"),
        ({"action_dim": 2}, tiny.segment(), "this model needs actions"),
        ({}, tiny.segment() | {"actions": torch.zeros(tiny.BATCH, tiny.FRAMES, 2)}, "this model takes no actions"),
    ],
)
def test_input_that_does_not_fit_is_refused_in_a_sentence(
    settings: dict[str, Any], given: dict[str, Tensor], sentence: str
) -> None:
    with pytest.raises(ValueError, match=sentence):
        tiny.transformer(**settings)(memory=None, **given)


def test_a_memory_of_another_model_is_refused() -> None:
    model = tiny.transformer(num_layers=2)
    memory: Memory = tiny.remember(tiny.transformer(num_layers=1), 1)
    with pytest.raises(ValueError, match="argument"):
        model(memory=memory, **tiny.segment())


def test_what_marks_remembered_tokens_is_stored_as_it_always_was() -> None:
    """Checkpoints, training states and the identities in sessions hold this name."""
    model = tiny.transformer()
    block = model.blocks[0]
    assert isinstance(block, MaltBlock)
    assert model.state_dict()["blocks.0.memory_mark"].data_ptr() == block.memory_embedding.data_ptr()
