// What there is before anything is made: prompts to click, with what the model makes of them.
import { changed, composing, find, onChange, say, state } from "./state.js";
import { base, get } from "./visit.js";
import { newMaze } from "./panel.js";
import { begin, busily, isBlocked } from "./prompt.js";
import { drawFrame } from "./strips.js";

const still = matchMedia("(prefers-reduced-motion: reduce)");
let shown = "", clips = [];

// What is known of a model; loading it may take a while.
export async function learn(name) {
  if (state.facts[name]) return;
  try {
    state.facts[name] = await get(`models/${encodeURIComponent(name)}`);
  } catch (error) {
    say(error.message, "problem");
  }
  changed();
}

function words(facts) {
  if (facts.walks) return ["Walk where you like", "Turn and walk with the arrow keys. A room that was seen is the same when you come back."];
  if (facts.actions.length) return ["Take the wheel", "Drive with the arrow keys. The road is made as you go."];
  return ["What shall it show?", "Write it below, or begin with one of these. It plays while it is made; change it, rewind it, branch it."];
}

function tile(facts, example, title) {
  const button = document.createElement("button"), caption = document.createElement("span");
  Object.assign(button, { type: "button", className: "tile" });
  if (example.clip) {
    const canvas = document.createElement("canvas");
    Object.assign(canvas, { width: facts.size[1], height: facts.size[0] });
    button.append(canvas);
    load(canvas, example, facts.rate);
  }
  caption.textContent = title;
  button.append(caption);
  button.addEventListener("click", () => {
    if (!facts.actions.length) find("prompt").value = example.prompt;
    busily(() => begin(facts.actions.length ? { maze: example.maze } : { prompt: example.prompt, seed: example.seed }));
  });
  return button;
}

async function load(canvas, example, rate) {
  const answer = await fetch(`${base.replace(/studio$/, "")}page/examples/${example.clip}`);
  clips.push({ canvas, rate, length: example.length, image: await createImageBitmap(await answer.blob()) });
}

function tilesFor(facts) {
  const none = { clip: "" }, [first = none, second = none] = facts.examples;
  if (facts.walks) {
    return [
      tile(facts, { ...first, maze: newMaze() }, "A true maze: its first 3 s are true frames, and there is a map"),
      tile(facts, { ...second, maze: null }, "A maze that the model makes up"),
    ];
  }
  if (facts.actions.length) return [tile(facts, first, "Drive")];
  return facts.examples.map((example) => tile(facts, example, example.prompt));
}

onChange(() => {
  const facts = state.facts[state.model], isOn = Boolean(state.scene) && composing();
  find("welcome").hidden = !isOn || !facts;
  if (!facts || shown === state.model) return;
  shown = state.model;
  clips = [];
  const [title, about] = words(facts);
  find("welcome").querySelector("h2").textContent = title;
  find("welcome").querySelector("p").textContent = about;
  find("welcome").querySelector(".tiles").replaceChildren(...tilesFor(facts));
  find("ideas").replaceChildren(...facts.examples.filter((each) => each.prompt).map((each) => new Option(each.prompt)));
  find("length").value = facts.actions.length ? "" : "16";
});
onChange(() => {
  for (const button of find("welcome").querySelectorAll(".tile")) button.disabled = isBlocked();
});

function play(now) {
  requestAnimationFrame(play);
  if (find("welcome").hidden) return;
  for (const { canvas, rate, length, image } of clips) {
    const isStill = still.matches && !canvas.parentElement.matches(":hover, :focus-visible");
    const frame = isStill ? Math.floor(length / 2) : Math.floor((now / 1000) * rate) % length;
    if (canvas.shown !== frame) drawFrame(canvas, image, frame, length);
    canvas.shown = frame;
  }
}
requestAnimationFrame(play);
