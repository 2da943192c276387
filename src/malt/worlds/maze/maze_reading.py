"""Names the room and the object in pictures by painting all that could be there, and taking what is nearest by pixels."""

from collections.abc import Mapping
from dataclasses import replace
from functools import partial

import torch
from jaxtyping import Float
from torch import Tensor

from malt.worlds.maze.floor_plan import COLOURS, KINDS, FloorPlan, Standing
from malt.worlds.maze.ray_casting import paint
from malt.worlds.maze.scene_tables import scene_tables


def read_room(
    frames: Float[Tensor, "t 3 h w"], poses: Float[Tensor, "t 3"], plan: FloorPlan, thing: Standing
) -> dict[str, str]:
    """What the room and the object of `thing` look like, seen from these poses: `place` and `object`."""
    looks = {f"{look.wall} {look.pattern}": look for look in plan.looks.values()}
    rooms = {name: replace(plan, looks={**plan.looks, thing.room: look}) for name, look in looks.items()}
    place = _nearest(frames, poses, rooms)
    others = tuple(other for other in plan.objects if other != thing)
    put = partial(replace, thing)
    things = {f"{colour} {kind}": (*others, put(kind=kind, colour=colour)) for colour in COLOURS for kind in KINDS}
    objects = {name: replace(rooms[place], objects=objects) for name, objects in things.items()}
    return {"place": place, "object": _nearest(frames, poses, objects)}


def _nearest(frames: Tensor, poses: Tensor, plans: Mapping[str, FloorPlan]) -> str:
    """The plan whose true pictures are nearest, by its name."""
    maze = torch.arange(len(plans)).repeat_interleave(len(poses))
    true = paint(
        scene_tables(list(plans.values())), maze, poses.repeat(len(plans), 1), (frames.shape[-2], frames.shape[-1])
    )
    distance = (true.unflatten(0, (len(plans), -1)) - frames).square().flatten(1).mean(dim=1)
    return list(plans)[int(distance.argmin())]
