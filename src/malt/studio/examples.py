"""What a visitor may begin with at a click: prompts that a model understands, and clips of those that it ships with."""

import json
from pathlib import Path
from typing import TYPE_CHECKING, TypedDict

if TYPE_CHECKING:
    from malt.pipelines.video_pipeline import VideoPipeline

CLIPS = Path(__file__).parent / "page" / "examples"
MOST = 6
PROMPTS = (
    "a red circle passes behind a wall",
    "a red circle and a blue square pass behind a wall",
    "a big yellow triangle passes behind a wooden wall",
    "a small pink cross passes behind a brick wall at night",
    "two shapes pass behind a stone wall in the desert",
    "a cyan square [4s] | a red cross at night",
)
ANY_PROMPTS = (
    "A red fox runs through tall grass, close up",
    "Waves break on a rocky shore at sunset",
    "A train crosses a stone viaduct in the mountains",
    "Rain on a window [4s] | the sun comes out and the street dries",
    "A paper boat drifts down a stream through a wood",
    "A busy market street at night, lanterns and steam",
)


class Example(TypedDict):
    """A prompt to click. clip: its first `length` frames side by side, by the clip's file; "" where there is none."""

    prompt: str
    seed: int
    clip: str
    length: int


def examples_for(name: str, pipe: "VideoPipeline") -> list[Example]:
    """At most six of them for a model: its own where it comes with the package, else prompts whose words it knows."""
    if (CLIPS / f"{name}.json").is_file():
        shipped: list[Example] = json.loads((CLIPS / f"{name}.json").read_text(encoding="utf-8"))
        return shipped
    if pipe.action_names:
        return []
    prompts = PROMPTS if pipe.known_words else ANY_PROMPTS
    known = [each for each in prompts if not pipe.unknown_words(each.replace("[4s]", ""))]
    return [Example(prompt=prompt, seed=0, clip="", length=0) for prompt in known[:MOST]]
