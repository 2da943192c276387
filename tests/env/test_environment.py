"""Laws of environments: batches and bits, forks, states, frames that go by singly, and every refusal."""

from typing import Any

import numpy as np
import pytest
import torch

import malt
import tiny_pipeline
from malt.env.environment import Environment
from malt.env.model_simulator import ModelSimulator
from malt.env.true_simulator import TrueSimulator
from malt.errors import MaltError, UsageError
from malt.models.transformer import MaltTransformer3DModel
from malt.models.video_model import TransformerOutput
from malt.pipelines.malt import MaltPipeline
from malt.rollouts.base import held_bytes
from malt.sessions.session import Session
from malt.worlds.maze.maze_world import Maze
from tiny_steered_world import PushedLamp
from tiny_world import Lamp

ROUNDING = 1  # of 255 levels, that a frame may differ by between batches of different sizes
LEFT, RIGHT = np.array([-1.0, 0.5]), np.array([1.0, 0.5])


@pytest.fixture(scope="module")
def pipe() -> MaltPipeline:
    return tiny_pipeline.pipeline(action_dim=8)


def begun(pipe: MaltPipeline, num_envs: int = 1, seed: Any = 3, **settings: Any) -> Environment:
    env = malt.make(pipe, num_envs, **settings)
    env.reset(seed)
    return env


def held(env: Environment, action: np.ndarray) -> np.ndarray:
    return np.tile(action, (env.num_envs, 1))


def far_apart(one: np.ndarray, other: np.ndarray) -> int:
    return int(np.abs(one.astype(int) - other.astype(int)).max())


def true_world(num_envs: int = 1, **settings: Any) -> Environment:
    env = Environment(TrueSimulator(PushedLamp(), 1 if settings.get("by_frame") else 8), num_envs, **settings)
    env.reset(3)
    return env


def test_a_step_shows_a_segment_of_every_session_as_uint8(pipe: MaltPipeline) -> None:
    env = malt.make(pipe, 3)
    shape = (3, tiny_pipeline.SEGMENT, tiny_pipeline.SIDE, tiny_pipeline.SIDE, 3)
    assert env.reset(1).shape == env.step(held(env, LEFT)).shape == shape
    assert env.step(held(env, LEFT)).dtype == np.uint8


def test_an_environment_shows_what_a_session_of_its_seed_shows(pipe: MaltPipeline) -> None:
    env, session = malt.make(pipe), Session.begin(pipe, seed=3)
    idle = torch.zeros(tiny_pipeline.SEGMENT, 2)
    first, second = env.reset(3), env.step(held(env, LEFT))
    assert (first[0] == malt.to_pixels(session.advance(idle).frames[0])).all()
    moved = torch.tensor(LEFT, dtype=torch.float32).expand(tiny_pipeline.SEGMENT, -1)
    assert (second[0] == malt.to_pixels(session.advance(moved).frames[0])).all()


def test_a_session_in_a_batch_is_the_one_that_it_would_be_alone_up_to_rounding(pipe: MaltPipeline) -> None:
    env, alone = begun(pipe, 3, seed=(5, 6, 7)), begun(pipe, seed=6)
    for action in (LEFT, RIGHT, LEFT):
        together, single = env.step(held(env, action)), alone.step(held(alone, action))
        assert far_apart(together[1], single[0]) <= ROUNDING
        assert far_apart(together[1], together[0]) > ROUNDING


def test_sessions_at_different_segments_share_a_forward_pass(
    pipe: MaltPipeline, monkeypatch: pytest.MonkeyPatch
) -> None:
    unguided: dict[str, Any] = {"guidance_scale": 1.0, "memory_guidance_scale": 1.0}
    env, alone = begun(pipe, 3, seed=(5, 6, 7), **unguided), begun(pipe, seed=9, **unguided)
    env.step(held(env, LEFT))
    env.reset((8, 9, 10), mask=[False, True, False])
    assert [session.progress.index for session in env.sessions] == [2, 1, 2]
    batches, forward = list[int](), MaltTransformer3DModel.forward

    def counted(self: MaltTransformer3DModel, latents: torch.Tensor, *rest: Any, **named: Any) -> TransformerOutput:
        batches.append(len(latents))
        return forward(self, latents, *rest, **named)

    monkeypatch.setattr(MaltTransformer3DModel, "forward", counted)
    together = env.step(held(env, LEFT))
    assert set(batches) == {3}
    assert far_apart(together[1], alone.step(held(alone, LEFT))[0]) <= ROUNDING


def test_the_same_batch_makes_the_same_bits(pipe: MaltPipeline) -> None:
    one, other = begun(pipe, 2), begun(pipe, 2)
    assert (one.step(held(one, RIGHT)) == other.step(held(other, RIGHT))).all()


def test_forks_that_do_the_same_show_the_same_and_others_part(pipe: MaltPipeline) -> None:
    env = begun(pipe, 2)
    forks = env.fork(1, copies=3)
    seen = forks.step(np.stack([LEFT, LEFT, RIGHT]))
    assert (seen[0] == seen[1]).all() and far_apart(seen[0], seen[2]) > ROUNDING


def test_a_fork_leaves_what_it_came_from_as_it_was(pipe: MaltPipeline) -> None:
    env, untouched = begun(pipe), begun(pipe)
    fork = env.fork(0, copies=1)
    ahead = fork.step(held(fork, LEFT))
    assert (env.step(held(env, LEFT)) == ahead).all()
    assert (untouched.step(held(untouched, LEFT)) == ahead).all()


def test_a_state_is_gone_on_with_to_the_bit(pipe: MaltPipeline) -> None:
    env, other = begun(pipe, 2), malt.make(pipe, 2)
    state = env.state()
    expected = env.step(held(env, LEFT))
    other.restore(state)
    assert (other.step(held(other, LEFT)) == expected).all()
    env.restore(state)
    assert (env.step(held(env, LEFT)) == expected).all()


def test_a_state_of_one_session_takes_the_place_of_another(pipe: MaltPipeline) -> None:
    env = begun(pipe, 2)
    env.restore(env.state(0), index=1)
    seen = env.step(held(env, LEFT))
    assert (seen[0] == seen[1]).all()


@pytest.mark.parametrize("memory", ["hierarchical", "recurrent", "none"])
def test_the_bytes_of_a_session_are_known_before_anything_runs(memory: str) -> None:
    env = malt.make(tiny_pipeline.pipeline(action_dim=8, memory=memory))
    spec = env.memory_spec()
    env.reset(0)
    env.step(held(env, LEFT))
    assert held_bytes(env.sessions[0].progress) == spec.session_bytes
    assert spec.frames_per_step == tiny_pipeline.SEGMENT


def test_frames_that_go_by_singly_end_where_a_whole_step_does(pipe: MaltPipeline) -> None:
    whole, single = malt.make(pipe), malt.make(pipe, by_frame=True)
    first = whole.reset(3)
    assert (single.reset(3)[0, 0] == first[0, 0]).all()
    for _ in range(tiny_pipeline.SEGMENT - 1):
        single.step(np.zeros((1, 2)))
    actions = np.random.default_rng(0).uniform(-1, 1, (1, tiny_pipeline.SEGMENT, 2))
    shown = [single.step(actions[:, frame]) for frame in range(tiny_pipeline.SEGMENT)]
    seen = whole.step(actions)
    assert shown[0].shape == (1, 1, *seen.shape[2:])
    assert (shown[-1][0, 0] == seen[0, -1]).all()
    assert single.state() == whole.state()


def test_an_action_shows_in_its_own_frame(pipe: MaltPipeline) -> None:
    env = begun(pipe, by_frame=True)
    env.step(held(env, LEFT))
    fork = env.fork(0, 2)
    seen = fork.step(np.stack([LEFT, RIGHT]))
    assert far_apart(seen[0], seen[1]) > ROUNDING


def test_a_state_within_a_step_is_gone_on_with(pipe: MaltPipeline) -> None:
    env, other = begun(pipe, by_frame=True), malt.make(pipe, by_frame=True)
    env.step(held(env, LEFT))
    other.restore(env.state())
    assert (env.step(held(env, LEFT)) == other.step(held(other, LEFT))).all()
    with pytest.raises(UsageError, match="within a step; restore it where steps are frames"):
        malt.make(pipe).restore(env.state())


def test_a_model_without_actions_is_stepped_by_prompts() -> None:
    env = malt.make(tiny_pipeline.pipeline(), 2)
    env.reset(1, "a red circle")
    before = env.state()
    plain = env.step()
    env.restore(before)
    env.set_prompt("a blue square", index=1)
    other = env.step()
    assert far_apart(plain[0], other[0]) <= ROUNDING < far_apart(plain[1], other[1])


def test_a_true_world_offers_the_same_interface() -> None:
    env = true_world(2)
    dark, bright = env.fork(0).step([[0.0, -1.0]]), env.fork(1).step([[0.0, 1.0]])
    assert dark[0, -1, 0, 0, 0] == 0 and bright[0, -1, 0, 0, 0] == 255
    state = env.state()
    seen = env.step(np.zeros((2, 2)))
    env.restore(state)
    assert (env.step(np.zeros((2, 2))) == seen).all()
    assert env.memory_spec().session_bytes < 100


def test_a_true_world_goes_by_frame() -> None:
    env = true_world(by_frame=True)
    assert [int(env.step([[0.0, 1.0]])[0, 0, 0, 0, 0]) for _ in range(3)] == [143, 159, 175]


@pytest.mark.parametrize(
    ("actions", "said"),
    [
        (np.zeros((2, 3)), r"got actions of shape \(2, 3\); give 2 numbers from -1 to 1"),
        (np.zeros((1, 2)), r"got actions of shape \(1, 2\)"),
        (np.zeros((2, 5, 2)), "for each of 8 frames"),
        (np.full((2, 2), 1.5), "outside -1 to 1"),
        (np.full((2, 2), np.nan), "or no numbers"),
        ([["left", "right"]] * 2, "the actions are of type <U5"),
        (np.zeros((2, 2), bool), "the actions are of type bool"),
        ([[0.0, 0.0], [0.0]], "the actions form no array"),
        (None, "a step needs actions"),
    ],
)
def test_actions_that_do_not_fit_are_refused_and_nothing_is_lost(
    pipe: MaltPipeline, actions: object, said: str
) -> None:
    env = begun(pipe, 2)
    before = env.state()
    with pytest.raises(UsageError, match=said):
        env.step(actions)
    assert env.state() == before


def test_a_state_of_another_model_is_refused(pipe: MaltPipeline) -> None:
    env, other = begun(pipe), malt.make(tiny_pipeline.pipeline(action_dim=8, segment_frames=3))
    with pytest.raises(UsageError, match="of other weights or settings"):
        other.restore(env.state())
    with pytest.raises(UsageError, match="of other weights or settings"):
        malt.make(pipe, num_inference_steps=3).restore(env.state())
    with pytest.raises(UsageError, match="one of the true pushed"):
        env.restore(true_world().state())


def test_a_damaged_state_is_refused_and_nothing_is_lost(pipe: MaltPipeline) -> None:
    env = begun(pipe)
    state = env.state()
    for damaged in (b"", b"no state", state[:-40], state[:-9] + bytes([state[-9] ^ 1]) + state[-8:]):
        with pytest.raises(MaltError, match="the state is damaged, or none"):
            env.restore(damaged)
    assert env.state() == state


def test_a_state_of_another_number_of_sessions_is_refused(pipe: MaltPipeline) -> None:
    with pytest.raises(UsageError, match="one of 2 sessions, and 3 are to be restored"):
        begun(pipe, 3).restore(begun(pipe, 2).state())


def test_a_thousand_forks_are_refused_by_a_limit_that_is_told_before(pipe: MaltPipeline) -> None:
    env = begun(pipe, max_sessions=64)
    assert env.memory_spec().max_sessions == 64
    with pytest.raises(UsageError, match="asked to fork 1000 sessions; an environment here holds 1 to 64"):
        env.fork(0, copies=1000)
    with pytest.raises(UsageError, match="asked to make 65 sessions"):
        malt.make(pipe, 65, max_sessions=64)


def test_nothing_is_done_after_the_end_or_before_the_beginning(pipe: MaltPipeline) -> None:
    env = malt.make(pipe)
    with pytest.raises(UsageError, match="reset the environment first"):
        env.step(held(env, LEFT))
    state = begun(pipe).state()
    env.reset(0)
    env.close()
    for late in (lambda: env.step(held(env, LEFT)), lambda: env.reset(0), lambda: env.restore(state), env.state):
        with pytest.raises(UsageError, match="the environment is closed; make another"):
            late()


def test_what_is_not_there_is_refused_by_name(pipe: MaltPipeline) -> None:
    with pytest.raises(UsageError, match="the model drive has no true world to act in"):
        malt.make("drive", true_world=True)
    with pytest.raises(UsageError, match="nobody can act in the true world passage"):
        malt.make("passage", true_world=True)
    with pytest.raises(UsageError, match="there is no world 'maize'"):
        malt.make("maize", true_world=True)
    with pytest.raises(UsageError, match="there is no model of the world passage here"):
        malt.make("passage")
    with pytest.raises(MaltError, match="no-such-model"):
        malt.make("no-such-model")
    with pytest.raises(UsageError, match="nobody can act"):
        TrueSimulator(Lamp())
    with pytest.raises(UsageError, match="there is no session 1; give one from 0 to 0"):
        begun(pipe).fork(1)


def test_seeds_prompts_and_marks_that_do_not_fit_are_refused(pipe: MaltPipeline) -> None:
    env = begun(pipe, 2)
    for refused, said in (
        ({"seed": (1, 2, 3)}, "3 seeds for 2 videos"),
        ({"prompt": ["a"]}, "1 prompt for 2 sessions"),
        ({"mask": [True]}, "1 marks for 2 sessions"),
    ):
        with pytest.raises(UsageError, match=said):
            env.reset(**refused)
    with pytest.raises(UsageError, match="the prompt is empty"):
        malt.make(tiny_pipeline.pipeline()).reset(0)


def test_the_packaged_model_steers() -> None:
    env = malt.make("drive", 2, num_inference_steps=2)
    env.reset(0)
    seen = env.fork(0, 2).step([[-1.0, 0.3], [1.0, 0.3]])
    assert seen.shape == (2, 16, 64, 96, 3) and far_apart(seen[0], seen[1]) > 30
    assert isinstance(env.simulator, ModelSimulator)
    assert env.memory_spec().session_bytes == held_bytes(env.sessions[0].progress)


@pytest.mark.parametrize("model", ["drive", "maze"])
def test_a_state_of_a_packaged_model_is_below_a_million_bytes_and_exact(model: str) -> None:
    env, other = (malt.make(model, num_inference_steps=1) for _ in range(2))
    env.reset(0)
    for _ in range(3):
        env.step([[0.5, 0.5]])
    state = env.state()
    assert len(state) < 1_000_000
    other.restore(state)
    assert other.state() == state
    assert (other.step([[0.5, 0.5]]) == env.step([[0.5, 0.5]])).all()


def test_walls_in_sight_stop_a_step_of_a_model_that_knows_where_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    settings: dict[str, Any] = {"action_names": ["turn", "walk"]}
    walker = tiny_pipeline.pipeline(settings=settings, action_dim=8, memory="places", motion=(0.1, 0.2))
    asked, ahead = list[torch.Tensor](), np.array([0.0, 1.0])

    def stopped(self: Maze, picture: Any, pose: Any, actions: torch.Tensor, walked: Any) -> torch.Tensor:
        asked.append(pose)
        return torch.zeros_like(actions)

    monkeypatch.setattr(Maze, "stopped", stopped)
    env, still = begun(walker, walls=True), begun(walker)
    assert (env.step(held(env, ahead)) == still.step(held(still, np.zeros(2)))).all()
    assert env.state() == still.state()
    assert len(asked) == 1 and asked[0].tolist() == [0, 0, 0]


def test_a_model_without_walls_is_refused_them(pipe: MaltPipeline) -> None:
    with pytest.raises(UsageError, match="has no walls that could be seen; leave walls out"):
        malt.make(pipe, walls=True)
    with pytest.raises(UsageError, match="the true maze has walls of its own; leave walls out"):
        malt.make("maze", true_world=True, walls=True)
