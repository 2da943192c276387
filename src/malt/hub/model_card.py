"""Model cards: the README.md beside a pipeline or an adapter, which says what it is, of what licence, and how to use it."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from malt.hub.base_names import is_on_hub
from malt.media.files import write_whole

FILE = "README.md"
HERE = "THIS-REPOSITORY"  # stands for the name of one until the card is published
TAGS = ("malt", "video-generation")
NO_LICENCE = (
    "None is stated: without one, others may not use it. Add a line such as `license: apache-2.0` to this file's head."
)
PIPELINE = """# {title}

A video diffusion model with a memory of fixed size: it makes video of any length, segment by segment, in constant time and memory
a segment. A session can be saved, continued, rewound and branched.

{facts}

## Use

```bash
pip install malt-diffusion
```

```python
from malt import MaltPipeline, Session

pipe = MaltPipeline.from_pretrained("{here}")
session = Session.begin(pipe, {prompt!r}, seed=1)
for segment in session.stream(num_frames=128):
    print(segment.start, segment.frames.shape)
```

By diffusers alone, with malt installed:

```python
from diffusers import DiffusionPipeline
from huggingface_hub import snapshot_download

folder = snapshot_download("{here}")
pipe = DiffusionPipeline.from_pretrained(folder, custom_pipeline=folder, trust_remote_code=True)
```

## Licence

{licence}
"""
ADAPTER = """# {title}

A memory for {linked}: a small file beside that model, whose own weights stay as they are. With it
the model makes video of any length, segment by segment, and what went out of sight can come back as it was.

{facts}

## Use

```bash
pip install malt-diffusion
hf download {here} --local-dir memory
malt generate "{prompt}" --base {base} --adapter memory --frames 1000
```

It fits this base only; malt refuses another in a sentence. Without the adapter the base is what it was, bit for bit.

## Licence

{licence} The base has a licence of its own, which holds for what is made with both.
"""


def pipeline_card(
    title: str,
    facts: Mapping[str, object],
    *,
    licence: str | None = None,
    prompt: str = "a red circle passes behind a wall",
) -> str:
    """The card of a pipeline.

    Args:
        title: the model's name.
        facts: what is worth a row of the table, by name; a row of None is left out.
        licence: of the weights, as the hub spells it, such as `apache-2.0`; None where nobody has said so.
        prompt: an example.
    """
    head = _head({"library_name": "diffusers", "pipeline_tag": "text-to-video", "license": licence}, TAGS)
    return head + PIPELINE.format(title=title, facts=_table(facts), here=HERE, prompt=prompt, licence=_licence(licence))


def adapter_card(
    title: str, base: str, facts: Mapping[str, object], *, licence: str | None = None, prompt: str = "a red bus passes"
) -> str:
    """The card of an adapter of `base`, a repository's name or a folder; the rest as in `pipeline_card`."""
    on_hub = is_on_hub(base)
    base = base if on_hub else Path(base).name  # a folder's place says nothing to others
    about = {"library_name": "diffusers", "pipeline_tag": "text-to-video", "license": licence}
    head = _head(about | ({"base_model": base, "base_model_relation": "adapter"} if on_hub else {}), TAGS)
    linked = f"[{base}](https://huggingface.co/{base})" if on_hub else base
    return head + ADAPTER.format(
        title=title, base=base, linked=linked, facts=_table(facts), here=HERE, prompt=prompt, licence=_licence(licence)
    )


def write_card(folder: Path, card: str) -> None:
    """Write a card, unless there is one: what somebody wrote by hand stays."""
    if not (folder / FILE).exists():
        write_whole(folder / FILE, card)


def _head(about: Mapping[str, str | None], tags: Sequence[str]) -> str:
    """The lines that the hub reads."""
    lines = [f"{name}: {value}" for name, value in about.items() if value is not None]
    return "\n".join(["---", *lines, "tags:", *(f"- {tag}" for tag in tags), "---", "", ""])


def _table(facts: Mapping[str, object]) -> str:
    rows = [f"| {name} | {value} |" for name, value in facts.items() if value is not None]
    return "\n".join(["| | |", "|---|---|", *rows])


def _licence(licence: str | None) -> str:
    return NO_LICENCE if licence is None else f"Of the weights: `{licence}`."
