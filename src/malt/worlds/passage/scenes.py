"""`passage`: coloured shapes travel to and fro and pass behind a wall that hides them for longer than a context lasts.

A scene is a handful of numbers, and where everything is at frame t follows from them in closed form. So any window of
any length can be rendered on its own, on any device, for many scenes at once, and a film of it never ends.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from einops import rearrange
from jaxtyping import Bool, Float, Int
from torch import Tensor

KINDS = ("circle", "square", "triangle", "cross")
COLOURS = {
    "red": (0.92, 0.12, 0.12),
    "green": (0.10, 0.80, 0.20),
    "blue": (0.12, 0.25, 0.95),
    "yellow": (0.98, 0.90, 0.10),
    "pink": (0.98, 0.25, 0.80),
    "cyan": (0.10, 0.90, 0.95),
}
SIZES = {"small": 7.5, "big": 9.0}
PLACES = {  # colour at the top and at the bottom of the picture
    "night": ((0.05, 0.06, 0.16), (0.14, 0.13, 0.26)),
    "day": ((0.55, 0.68, 0.80), (0.80, 0.86, 0.90)),
    "desert": ((0.86, 0.78, 0.66), (0.74, 0.62, 0.48)),
    "meadow": ((0.55, 0.66, 0.55), (0.34, 0.45, 0.33)),
}
WALLS = {  # colour of the blocks and of the joints between them
    "brick": ((0.50, 0.34, 0.30), (0.64, 0.54, 0.50)),
    "stone": ((0.48, 0.48, 0.50), (0.36, 0.36, 0.38)),
    "wooden": ((0.42, 0.32, 0.22), (0.30, 0.22, 0.15)),
}
BLOCKS = {"brick": (8.0, 4.0), "stone": (14.0, 8.0), "wooden": (5.0, 64.0)}  # width and height of a block, pixels
SPEEDS = (0.55, 1.1)  # pixels a frame
LANES = (17.0, 47.0)  # height of the two shapes' paths, pixels from the top
SIZE = 64  # height and width of the picture
FRAME_RATE = 16.0
CLEAR = 3.0  # pixels between a shape and the wall at frame 0, where there is room for so much
TRIANGLE = 1.4  # circumradius of a triangle over the radius of the circle that is as large to the eye
SQUARE = 0.886  # half the side of a square as large as the circle


@dataclass(frozen=True, kw_only=True)
class Scenes:
    """A batch of scenes, as numbers. Per-shape fields have axes (scene, lane), upper lane first.

    `behind` is how far a shape goes on, out of sight, behind a wall at the picture's edge (pixels beyond the edge).
    """

    kind: Int[Tensor, "b 2"]
    colour: Int[Tensor, "b 2"]
    size: Int[Tensor, "b 2"]
    y: Float[Tensor, "b 2"]
    speed: Float[Tensor, "b 2"]
    phase: Float[Tensor, "b 2"]
    wall: Int[Tensor, " b"]
    wall_left: Float[Tensor, " b"]
    wall_right: Float[Tensor, " b"]
    place: Int[Tensor, " b"]
    behind: Float[Tensor, "b 2"]

    def __len__(self) -> int:
        return self.wall.shape[0]

    def __getitem__(self, index: slice | Tensor) -> "Scenes":
        return Scenes(**{name: value[index] for name, value in vars(self).items()})

    def to(self, device: torch.device | str) -> "Scenes":
        """The same scenes on another device."""
        return Scenes(**{name: value.to(device) for name, value in vars(self).items()})


def sample_scenes(num_scenes: int, seed: int) -> Scenes:
    """Draw scenes `seed`, `seed + 1`, ..."""
    return scenes_of(range(seed, seed + num_scenes))


def scenes_of(seeds: Sequence[int]) -> Scenes:
    """Draw a scene from each of these seeds, so that a scene never depends on its batch.

    At frame 0 both shapes stand in full sight: a film begins with what it is about.
    """
    u = torch.stack([torch.rand(20, generator=torch.Generator().manual_seed(seed)) for seed in seeds])
    pair = rearrange(u[:, :14], "b (field lane) -> field b lane", lane=2)
    left, right = _draw_wall(*u[:, 14:17].unbind(dim=1))
    scenes = Scenes(
        kind=(pair[0] * len(KINDS)).long(),
        colour=(pair[1] * len(COLOURS)).long(),
        size=(pair[2] * len(SIZES)).long(),
        y=torch.tensor(LANES) + 4 * (pair[3] - 0.5),
        speed=SPEEDS[0] + (SPEEDS[1] - SPEEDS[0]) * pair[4],
        phase=pair[5],
        wall=(u[:, 17] * len(WALLS)).long(),
        wall_left=left,
        wall_right=right,
        place=(u[:, 18] * len(PLACES)).long(),
        behind=(2 + 10 * u[:, 19])[:, None].expand(-1, 2),
    )
    return in_sight(scenes, pair[5], pair[6])


def _draw_wall(width: Tensor, position: Tensor, shift: Tensor) -> tuple[Tensor, Tensor]:
    """Left and right side of walls at the left edge, near the middle or at the right edge, from uniform draws."""
    wide = 27 + 2 * width
    third = (position * 3).long()
    aside = (6.5 + 2 * torch.remainder(2 * shift, 1)) * torch.where(shift < 0.5, -1, 1)
    left = torch.where(third == 0, 0.0, torch.where(third == 1, (SIZE - wide) / 2 + aside, SIZE - wide))
    beyond = torch.where(third == 2, 2.0 * SIZE, left + wide)
    return torch.where(third == 0, -float(SIZE), left), beyond  # a wall at the edge goes on beyond it


def in_sight(scenes: Scenes, place: Float[Tensor, "b 2"], direction: Float[Tensor, "b 2"]) -> Scenes:
    """The scenes with every shape at the share `place` of the wider clear stretch beside the wall, going either way."""
    half = half_widths(scenes)
    wall_left, wall_right = scenes.wall_left[:, None].clamp(min=0), scenes.wall_right[:, None].clamp(max=SIZE)
    on_left = wall_left > SIZE - wall_right
    stretch = torch.where(on_left, wall_left, SIZE - wall_right)
    clear = (stretch - 2 * half - 1).clamp(max=CLEAR)
    first = torch.where(on_left, half + 1, wall_right + half + clear)
    last = torch.where(on_left, wall_left - half - clear, SIZE - 1 - half)
    low, span = _path(scenes)
    along = (first + (last - first) * place - low) / (2 * span)
    return replace(scenes, phase=torch.where(direction < 0.5, along, 1 - along))


def radii(scenes: Scenes) -> Float[Tensor, "b 2"]:
    """Radius of every shape in pixels."""
    return torch.tensor(list(SIZES.values()), device=scenes.size.device)[scenes.size]


def half_widths(scenes: Scenes) -> Float[Tensor, "b 2"]:
    """Half of what every shape measures from left to right, in pixels."""
    factor = torch.tensor([1.0, SQUARE, TRIANGLE * 0.866, 1.0], device=scenes.kind.device)
    return radii(scenes) * factor[scenes.kind]


def positions(scenes: Scenes, start: int, num_frames: int) -> Float[Tensor, "b t 2"]:
    """Horizontal centre of every shape at frames `start` ... `start + num_frames - 1`, in pixels.

    A shape turns round at the edge of the picture, or out of sight behind a wall that stands there.
    """
    low, span = _path(scenes)
    time = torch.arange(start, start + num_frames, device=low.device, dtype=torch.float64)
    travelled = scenes.phase * 2 * span + scenes.speed * time[:, None, None]
    along = torch.remainder(travelled, 2 * span.double())
    return rearrange(low + torch.minimum(along, 2 * span - along), "t b lane -> b t lane").float()


def _path(scenes: Scenes) -> tuple[Float[Tensor, "b 2"], Float[Tensor, "b 2"]]:
    """Leftmost centre of every shape, and how far it is from there to the rightmost."""
    half, beyond = half_widths(scenes), scenes.behind
    low = torch.where(scenes.wall_left[:, None] < 0, -beyond, half + 1)
    high = torch.where(scenes.wall_right[:, None] > SIZE, SIZE + beyond, SIZE - 1 - half)
    return low, high - low


def hidden(scenes: Scenes, start: int, num_frames: int) -> Bool[Tensor, "b t 2"]:
    """Whether every shape is wholly out of sight."""
    x, half = positions(scenes, start, num_frames), half_widths(scenes)[:, None] + 0.5  # edges are a pixel wide
    behind_left = (x - half >= scenes.wall_left[:, None, None]) | (scenes.wall_left < 0)[:, None, None]
    behind_right = (x + half <= scenes.wall_right[:, None, None]) | (scenes.wall_right > SIZE)[:, None, None]
    return behind_left & behind_right  # a wall at the edge has no end beyond it


def fully_visible(scenes: Scenes, start: int, num_frames: int, margin: float = 2.0) -> Bool[Tensor, "b t 2"]:
    """Whether every shape stands clear of the wall and of the picture's edge by `margin` pixels."""
    x, half = positions(scenes, start, num_frames), half_widths(scenes)[:, None]
    beside = (x + half + margin <= scenes.wall_left[:, None, None]) | (
        x - half - margin >= scenes.wall_right[:, None, None]
    )
    return beside & (x - half >= 0) & (x + half <= SIZE)


def distances(x: Tensor, y: Tensor, radius: Tensor) -> Float[Tensor, "kind *grid"]:
    """Signed distance in pixels from points (x, y) to each kind of shape of this radius at the origin; inside < 0."""
    circle = torch.hypot(x, y) - radius
    square = torch.maximum(x.abs(), y.abs()) - SQUARE * radius
    y_down = y - 0.25 * TRIANGLE * radius  # the triangle's box is centred, not its centroid
    slope = 0.866 * x.abs() - 0.5 * y_down - 0.5 * TRIANGLE * radius
    triangle = torch.maximum(slope, y_down - 0.5 * TRIANGLE * radius)
    arm, reach = 0.4 * radius, radius
    upright = torch.maximum(x.abs() - arm, y.abs() - reach)
    cross = torch.minimum(upright, torch.maximum(x.abs() - reach, y.abs() - arm))
    return torch.stack(torch.broadcast_tensors(circle, square, triangle, cross))


def render(scenes: Scenes, start: int, num_frames: int) -> Float[Tensor, "b t 3 64 64"]:
    """Paint frames `start` ... `start + num_frames - 1` of every scene, anti-aliased, in [-1, 1], on their device."""
    device = scenes.wall.device
    x, y = _pixels(device)
    frames = backgrounds(scenes.place)[:, None].repeat(1, num_frames, 1, 1, 1)
    centre, radius = positions(scenes, start, num_frames), radii(scenes)
    paint = torch.tensor(list(COLOURS.values()), device=device)[scenes.colour]
    for lane, band in enumerate((slice(0, SIZE // 2), slice(SIZE // 2, SIZE))):
        dx = x - centre[:, :, lane, None, None]
        dy = (y[band] - scenes.y[:, lane, None, None])[:, None]
        distance = distances(dx, dy, radius[:, lane, None, None, None])
        mine = distance[scenes.kind[:, lane], torch.arange(len(scenes), device=device)]
        coverage = (0.5 - mine).clamp_(0, 1)[:, :, None]
        frames[..., band, :].lerp_(paint[:, lane, None, :, None, None], coverage)
    wall, cover = _walls(scenes, x, y)
    return frames.lerp_(wall[:, None], cover[:, None]).mul_(2).sub_(1)


def backgrounds(place: Int[Tensor, " b"]) -> Float[Tensor, "b 3 64 64"]:
    """Each place in [0, 1]: a vertical gradient with a faint pattern of its own."""
    x, y = _pixels(place.device)
    ends = torch.tensor(list(PLACES.values()), device=place.device)[place]
    gradient = torch.lerp(ends[:, 0, :, None, None], ends[:, 1, :, None, None], y / SIZE)
    waves = (
        torch.where(torch.sin(0.9 * x + 5 * torch.sin(0.61 * y)) * torch.sin(1.3 * y) > 0.93, 4.0, 0.0),  # stars
        torch.sin(0.11 * x + 1.2 * torch.sin(0.13 * y)) * torch.sin(0.17 * y),  # clouds
        torch.sin(0.45 * y + 1.5 * torch.sin(0.1 * x)),  # dunes
        torch.sin(0.8 * x) * torch.sin(0.25 * y),  # grass
    )
    pattern = torch.stack([wave.expand(SIZE, SIZE) for wave in waves])[place]
    return (gradient + 0.035 * pattern[:, None]).clamp(0, 1)


def _pixels(device: torch.device) -> tuple[Float[Tensor, "1 w"], Float[Tensor, "h 1"]]:
    """Across and down, the middles of the picture's pixels."""
    pixel = torch.arange(SIZE, device=device, dtype=torch.float32) + 0.5
    return pixel[None, :], pixel[:, None]


def _walls(scenes: Scenes, x: Tensor, y: Tensor) -> tuple[Float[Tensor, "b 3 h w"], Float[Tensor, "b 1 h w"]]:
    """What the wall looks like, and how far it covers each pixel (0 ... 1)."""
    tones = torch.tensor(list(WALLS.values()), device=x.device)[scenes.wall]
    block = torch.tensor(list(BLOCKS.values()), device=x.device)[scenes.wall]
    width, height = block[:, 0, None, None], block[:, 1, None, None]
    left = scenes.wall_left[:, None, None]
    row = torch.floor(y / height)
    across = torch.remainder(x - left + 0.5 * width * torch.remainder(row, 2), width)
    joint = torch.maximum(_joint(across), _joint(torch.remainder(y.expand(1, SIZE, SIZE), height)))
    colour = torch.lerp(tones[:, 0, :, None, None], tones[:, 1, :, None, None], joint[:, None])
    right = scenes.wall_right[:, None, None]
    cover = (x - left + 0.5).clamp(0, 1) * (right - x + 0.5).clamp(0, 1)
    return colour, cover.expand(-1, SIZE, SIZE)[:, None]


def _joint(distance: Tensor) -> Tensor:
    """How much of a pixel whose centre is `distance` beyond a block's border belongs to the joint, one pixel wide."""
    return (1.0 - (distance - 0.5).abs()).clamp(0, 1)
