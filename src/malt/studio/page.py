"""The page: what to make on one side, the screen on the other."""

import random
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

import gradio as gr

from malt.errors import MaltError, UsageError
from malt.rollouts.registry import ROLLOUTS
from malt.serving.moments import Change, MemoryChange
from malt.studio.visitor import GenerationSettings, Visitor
from malt.studio.visitors import Studio

if TYPE_CHECKING:
    from malt.pipelines.video_pipeline import VideoPipeline

HERE = Path(__file__).parent
EXAMPLE = "a red circle and a blue square pass behind a wall"
LENGTHS = {"4 s": 4.0, "16 s": 16.0, "60 s": 60.0, "until stopped": None}
FRAME = "(...given) => [...given.slice(0, -1), window.maltFrame()]"  # the frame that is seen takes the last place
MOST_SEED = 2**31 - 1
Settings = tuple[str, str, float, float, float, str | None]  # model, rollout, seed, steps, guidance, first picture
Result = TypeVar("Result")


def theme() -> gr.themes.Base:
    """Colours and letters that need nothing from another server."""
    return gr.themes.Soft(
        primary_hue="orange", font=["system-ui", "sans-serif"], font_mono=["ui-monospace", "monospace"]
    )


def build_page(studio: Studio) -> gr.Blocks:
    """The page of a studio."""
    page: gr.Blocks
    with gr.Blocks(title="malt studio", analytics_enabled=False, fill_width=True, delete_cache=(600, 600)) as page:
        key, frame = gr.State(), gr.Number(visible=False)
        gr.Markdown(
            "# malt studio\nVideos of any length that you watch, change, rewind and branch while they are made."
        )
        with gr.Row():
            with gr.Column(scale=3, min_width=320):
                screen = _screen()
            with gr.Column(scale=2, min_width=320):
                prompt = gr.Textbox(
                    value=_fitting(studio, studio.models.names[0], EXAMPLE),
                    label="What the video shows",
                    info="One thing, or several in turn: a red circle [4s] | a blue square [8s]. Enter goes on with it.",
                    max_lines=1,
                    elem_id="prompt",
                )
                with gr.Row():
                    new = gr.Button("New video", variant="primary", min_width=100)
                    stop = gr.Button("Stop", variant="stop", min_width=100)
                on = gr.Button("Go on with this prompt")
                length = gr.Radio(list(LENGTHS), value="16 s", label="How much to make")
                with gr.Row():
                    rewind = gr.Button("Rewind to here", min_width=100)
                    branch = gr.Button("Branch from here", min_width=100)
                name, hands = _hands()
                model, others = _settings(studio)
                wanted = [prompt, length, model, *others]
        act = _acting(studio)
        model.change(lambda name, text: _fitting(studio, name, text), [model, prompt], prompt, show_progress="hidden")
        gr.on([new.click], act(_begin), [key, *wanted], show_progress="minimal")
        gr.on([on.click, prompt.submit], act(_go_on), [key, *wanted], show_progress="hidden")
        stop.click(act(lambda visitor, studio: visitor.stop()), [key], show_progress="hidden")
        rewind.click(act(_rewind), [key, frame], js=FRAME, show_progress="minimal")
        branch.click(act(_branch), [key, prompt, length, frame], js=FRAME, show_progress="minimal")
        for change, button in hands.items():
            button.click(act(_change_memory(change)), [key, name], show_progress="minimal")

        def welcome() -> tuple[str, dict[str, str]]:
            visitor = _as_a_sentence(studio.welcome)
            return visitor.key, {"key": visitor.key}

        page.load(welcome, None, [key, screen], show_progress="hidden")
    return page


def _screen() -> gr.HTML:
    html, css, js = ((HERE / f"screen.{kind}").read_text(encoding="utf-8") for kind in ("html", "css", "js"))
    return gr.HTML(html_template=html, css_template=css, js_on_load=js, apply_default_css=False, elem_id="screen")


def _hands() -> tuple[gr.Textbox, dict[Change, gr.Button]]:
    """A name, and what can be done with the moment that is called so."""
    with gr.Accordion("Memory by name", open=False):
        about = "Keep what the video remembers and shows now; recall it whenever you like, and go on from there."
        name = gr.Textbox(label="Name", placeholder="the yard", info=about, max_lines=1, elem_id="moment")
        with gr.Row():
            keep, recall, forget = (gr.Button(each, min_width=80) for each in ("Keep", "Recall", "Forget"))
    return name, {"keep": keep, "recall": recall, "forget": forget}


def _settings(studio: Studio) -> tuple[gr.Dropdown, list[gr.Component]]:
    with gr.Accordion("Model and settings", open=False):
        names = studio.models.names
        model = gr.Dropdown(names, value=names[0], label="Model", interactive=True)
        rollout = gr.Dropdown(list(ROLLOUTS), value="malt", label="Way to make a long video", interactive=True)
        with gr.Row():
            seed = gr.Number(value=0, precision=0, minimum=0, maximum=MOST_SEED, label="Seed", min_width=100)
            steps = gr.Number(value=0, precision=0, minimum=0, label="Steps (0: its own)", min_width=100)
            guidance = gr.Number(value=0, minimum=0, label="Guidance (0: its own)", min_width=100)
    with gr.Accordion("Begin with an own picture or video", open=False):
        first = gr.File(label="PNG, JPEG, WebP, MP4, WebM or GIF", type="filepath", height=120, elem_id="first")
    return model, [rollout, seed, steps, guidance, first]


def _acting(studio: Studio) -> Callable[..., Callable[..., None]]:
    """Turns what is to be done in a visit into what Gradio calls: errors become a sentence on the page."""

    def act(do: Callable[..., None]) -> Callable[..., None]:
        def handle(key: str | None, *given: object) -> None:
            _as_a_sentence(lambda: do(studio.find(key), studio, *given))

        return handle

    return act


def _as_a_sentence(do: Callable[[], Result]) -> Result:
    try:
        return do()
    except MaltError as error:
        raise gr.Error(str(error), print_exception=False, duration=None) from error


def _begin(visitor: Visitor, studio: Studio, prompt: str, length: str, *given: *Settings) -> None:
    name, rollout, seed, steps, guidance, first = given
    model = studio.models.get(name)
    _warn_of_unknown_words(model.pipe, prompt)
    frames = None
    if first is not None:
        with Path(first).open("rb") as file:
            frames = studio.read_first(file, model)
    visitor.begin(
        model,
        GenerationSettings(
            prompt=prompt,
            num_frames=_num_frames(length, model.pipe),
            seed=int(seed or 0),
            rollout=rollout,
            num_inference_steps=int(steps or 0) or None,
            guidance_scale=guidance or None,
            first=frames,
        ),
    )


def _go_on(visitor: Visitor, studio: Studio, prompt: str, length: str, *given: *Settings) -> None:
    if not visitor.takes:
        _begin(visitor, studio, prompt, length, *given)
        return
    pipe = studio.models.get(visitor.take.model).pipe
    _warn_of_unknown_words(pipe, prompt)
    visitor.go_on(prompt, _num_frames(length, pipe))


def _fitting(studio: Studio, name: str, prompt: str) -> str:
    """The prompt for a model that was chosen, which is loaded by the way: one that acts needs no words."""
    acts = bool(_as_a_sentence(lambda: studio.models.get(name)).pipe.action_names)
    if acts:
        return "" if prompt == EXAMPLE else prompt
    return prompt or EXAMPLE


def _rewind(visitor: Visitor, studio: Studio, frame: float) -> None:
    visitor.rewind(int(frame))


def _change_memory(change: Change) -> Callable[[Visitor, Studio, str], None]:
    return lambda visitor, studio, name: visitor.change_memory(MemoryChange(change=change, name=name))


def _branch(visitor: Visitor, studio: Studio, prompt: str, length: str, frame: float) -> None:
    pipe = studio.models.get(visitor.take.model).pipe
    visitor.branch(int(frame), random.randrange(MOST_SEED), prompt, _num_frames(length, pipe))


def _num_frames(length: str, pipe: "VideoPipeline") -> int | None:
    if length not in LENGTHS:
        raise UsageError(f"there is no length {length!r}; choose one of {', '.join(LENGTHS)}")
    seconds = LENGTHS[length]
    return None if seconds is None else round(seconds * pipe.frame_rate)


def _warn_of_unknown_words(pipe: "VideoPipeline", prompt: str) -> None:
    if unknown := pipe.unknown_words(prompt):
        known = ", ".join(pipe.known_words)
        gr.Warning(f"The model does not know {', '.join(unknown)}. It knows: {known}.", duration=15)
