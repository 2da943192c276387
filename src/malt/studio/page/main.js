// The page as a whole: what it begins with, its model, and its keys.
import { changed, composing, current, find, onChange, say, state } from "./state.js";
import { connect, get, onScene } from "./visit.js";
import { toggle } from "./player.js";
import { press as pressTimeline } from "./timeline.js";
import { step } from "./prompt.js";
import { learn } from "./welcome.js";
import { press as pressHand } from "./hand.js";
import { fillWays } from "./panel.js";
import "./map.js";

const model = find("model");

async function begin() {
  try {
    const { models, rollouts } = await get("models");
    model.replaceChildren(...models.map((name) => new Option(name)));
    fillWays(rollouts);
    Object.assign(state, { models, model: models[0] });
    model.value = state.model;
    learn(state.model);
  } catch (error) {
    setTimeout(begin, 1_000);
  }
}

function compose(name) {
  Object.assign(state, { composing: true, model: name });
  model.value = name;
  learn(name);
  changed();
  if (!find("prompt").hidden) find("prompt").focus({ preventScroll: true });
}

model.addEventListener("change", () => compose(model.value));
find("new").addEventListener("click", () => compose(current()?.model ?? state.model));

onScene((before, scene) => {
  const take = current();
  if (take && !composing()) {
    if (!state.facts[take.model]) learn(take.model);
    if (before?.current !== scene.current && state.models.includes(take.model)) {
      state.model = model.value = take.model;
    }
  }
});
onChange(() => {
  document.body.classList.toggle("composing", composing());
  document.body.classList.toggle("acts", Boolean(!composing() && state.scene.acts));
});

const isTyping = (element) => element.matches("input:not([type=checkbox]), textarea, select");
addEventListener("keydown", (event) => {
  const { target } = event;
  if ((event.ctrlKey || event.metaKey) && event.key.toLowerCase() === "z" && !isTyping(target)) {
    event.preventDefault();
    return step(event.shiftKey ? "redo" : "undo");
  }
  if (event.ctrlKey || event.metaKey || event.altKey) return undefined;
  if (target === find("timeline") && pressTimeline(event)) return undefined;
  if (isTyping(target)) return undefined;
  if (event.key === " " && !target.matches("button, a, summary, input")) {
    event.preventDefault();
    return toggle();
  }
  if (pressHand(event)) return undefined;
  if (["ArrowLeft", "ArrowRight", "Home", "End"].includes(event.key) && !composing()) pressTimeline(event);
  return undefined;
});
addEventListener("error", (event) => event.error && say("Something on this page went wrong; load it again. What was made is safe.", "problem"));

begin();
connect();
