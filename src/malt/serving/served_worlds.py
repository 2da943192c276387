"""The worlds that visitors act in: begun, stepped, forked, kept as bytes, deleted; as many as there is room for."""

import secrets
import threading
import time
from concurrent.futures import Future
from dataclasses import replace
from functools import cached_property

from malt.env.action_check import check_actions
from malt.env.model_simulator import ModelSimulator
from malt.env.simulated_session import SimulatedSession
from malt.env.state_bytes import read_state, write_state
from malt.errors import UsageError
from malt.serving.engine.work_queue import BusyError
from malt.serving.engine.worker import Worker
from malt.serving.metrics import Metrics
from malt.serving.refusals import MissingError
from malt.serving.requests import DRAWN_SEEDS, RequestValidator
from malt.serving.world_schemas import World, WorldRequest, WorldSpec, WorldStepRequest
from malt.serving.world_steps import Frames, ServedWorld, WorldStep, WorldSteps
from malt.wording import counted


class Worlds:
    """All worlds of a server, in main memory: they go with it."""

    def __init__(self, worker: Worker, validator: RequestValidator, metrics: Metrics) -> None:
        limits = validator.limits
        self.simulator = ModelSimulator(validator.pipe, validator.name)
        self._validator, self._worlds, self._lock = validator, dict[str, ServedWorld](), threading.Lock()
        self.steps = WorldSteps(worker, self.simulator, limits.world_batch, limits.world_steps)
        metrics.gauge("malt_worlds", "Worlds that there are.", lambda: len(self._worlds))
        metrics.gauge("malt_world_steps", "Steps of worlds that were made.", lambda: self.steps.num_steps)
        metrics.gauge("malt_world_passes", "Passes in which they were made.", lambda: self.steps.num_passes)

    @cached_property
    def _session_bytes(self) -> int:
        return self.simulator.state_bytes()

    @property
    def _most(self) -> int:
        """How many worlds there may be."""
        limits = self._validator.limits
        return max(1, min(limits.worlds, limits.world_bytes // max(1, self._session_bytes)))

    @property
    def spec(self) -> WorldSpec:
        """What holds of all worlds here."""
        height, width = self.simulator.frame_size
        return WorldSpec(
            action_names=list(self.simulator.action_names),
            frames_per_step=self.simulator.frames_per_step,
            frame_rate=self.simulator.frame_rate,
            size=f"{width}x{height}",
            session_bytes=self._session_bytes,
            max_worlds=self._most,
            max_batch=self._validator.limits.world_batch,
        )

    def all(self) -> list[ServedWorld]:
        """The worlds, latest first."""
        return sorted(self._worlds.values(), key=lambda world: world.created_at, reverse=True)

    def get(self, name: str) -> ServedWorld:
        """The world of this id.

        Raises:
            MissingError: there is none.
        """
        if name not in self._worlds:
            raise MissingError("there is no such world; it may have been deleted, as those are that nobody steps")
        return self._worlds[name]

    def create(self, asked: WorldRequest) -> ServedWorld:
        """A world in which nothing has happened. On the computing thread.

        Raises:
            BusyError: there are as many as there may be.
            UsageError: it does not fit the model.
        """
        self._check_request(asked.model, asked.prompt)
        if asked.by_frame and not self.simulator.action_names:
            raise UsageError("this model takes no actions; leave by_frame out")
        seed = secrets.randbelow(DRAWN_SEEDS) if asked.seed is None else asked.seed
        session = SimulatedSession(self.simulator.begin(seed, asked.prompt), asked.prompt)
        (world,) = self._put([_new(session, seed, asked.by_frame)])
        return world

    def step(self, world: ServedWorld, asked: WorldStepRequest) -> Future[tuple[int, Frames]]:
        """The frames of a world's next step, and the number of the first, once they are there.

        Raises:
            UsageError: the actions or the prompt do not fit.
            BusyError: too many steps of this world wait.
        """
        if asked.prompt is not None:
            self._check_request(None, asked.prompt)
        num_frames = 1 if world.by_frame else self.simulator.frames_per_step
        given = None if asked.actions is None else [asked.actions]
        step = WorldStep(world, check_actions(given, 1, num_frames, self.simulator.action_names), asked.prompt)
        world.used_at = time.time()
        self.steps.add(step)
        return step.made

    def fork(self, world: ServedWorld, copies: int) -> list[ServedWorld]:
        """So many worlds that stand where this one does.

        Raises:
            UsageError: more than there may ever be.
            BusyError: there is no room now.
        """
        if copies > self._most:
            raise UsageError(
                f"asked for {counted(copies, 'fork')}; this server holds at most {counted(self._most, 'world')} (max_worlds)"
            )
        session = world.session
        return self._put([_new(session, world.seed, world.by_frame, world.id) for _ in range(copies)])

    def snapshot(self, world: ServedWorld) -> bytes:
        """Where a world stands, as bytes."""
        return write_state(self.simulator, [world.session])

    def restore(self, world: ServedWorld, state: bytes) -> None:
        """Let a world stand where a state says. On the computing thread.

        Raises:
            UsageError: it is one of another model, or of several worlds.
            MaltError: it is damaged.
        """
        found = read_state(self.simulator, state, self.most_state_bytes)
        if len(found) != 1:
            raise UsageError(f"the state is one of {len(found)} worlds; send that of one")
        if found[0].taken is not None and not world.by_frame:
            raise UsageError("the state stands within a step; restore it in a world that was begun with by_frame")
        world.session, world.used_at = replace(found[0], foreseen=None), time.time()

    @property
    def most_state_bytes(self) -> int:
        """How large a state may be that is sent, and what it unfolds to."""
        return 2 * self._session_bytes + 2**20

    def remove(self, world: ServedWorld) -> None:
        """Delete a world; a step of it in the making is made for nobody."""
        self._worlds.pop(world.id, None)

    def sweep(self) -> None:
        """Delete the worlds that nobody has stepped for long enough."""
        oldest = time.time() - self._validator.limits.world_seconds
        for world in list(self._worlds.values()):
            if world.used_at < oldest:
                self.remove(world)

    def describe(self, world: ServedWorld) -> World:
        """What the server says of a world."""
        return World(
            id=world.id,
            model=self.simulator.name,
            prompt=world.session.prompt,
            seed=world.seed,
            by_frame=world.by_frame,
            num_frames=world.session.num_frames,
            created_at=int(world.created_at),
            expires_at=int(world.used_at + self._validator.limits.world_seconds),
            forked_from=world.parent,
        )

    def _put(self, worlds: list[ServedWorld]) -> list[ServedWorld]:
        """Take worlds on, all or none."""
        self.sweep()
        with self._lock:
            room = self._most - len(self._worlds)
            if len(worlds) > room:
                raise BusyError(f"there is room for {room} more of {self._most} (max_worlds); delete some")
            self._worlds |= {world.id: world for world in worlds}
        return worlds

    def _check_request(self, model: str | None, prompt: str) -> None:
        self._validator.check_model(model)
        self._validator.limits.check_prompt(prompt)


def _new(session: SimulatedSession, seed: int, by_frame: bool, parent: str | None = None) -> ServedWorld:
    now = time.time()
    return ServedWorld(f"world_{secrets.token_hex(12)}", session, seed, by_frame, now, now, parent)
