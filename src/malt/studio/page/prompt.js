// The prompt, the words that a model knows, and the one button beside it that does what comes next.
import { changed, composing, current, find, onChange, resting, say, snap, state, takes, target } from "./state.js";
import { ask, onScene } from "./visit.js";
import { settings } from "./panel.js";

const MOST_TAKES = 8;
const text = find("prompt"), length = find("length");
let busy = false, chips = "", early = false;

const takesWords = () => !target()?.actions.length || target().words.length > 0;
const frames = (rate) => (length.value ? Math.round(Number(length.value) * rate) : null);
export const isBlocked = () => !state.linked || busy; // nothing can be asked for just now
const isSaid = () => !takesWords() || text.value.trim() === (current()?.text ?? "").trim();

// Words of the prompt that the model has never seen, times left out.
function unknown() {
  const known = new Set(target()?.words ?? []);
  if (!known.size) return [];
  const words = text.value.toLowerCase().replace(/\[[^\]]*\]/g, " ").match(/[\p{L}\p{N}]+/gu) ?? [];
  return [...new Set(words)].filter((word) => !known.has(word));
}

export async function make() {
  if (busy || find("make").disabled) return;
  early = false;
  const prompt = takesWords() ? text.value.trim() : "";
  await busily(() => (composing() ? begin({ prompt }) : ask("go-on", { prompt, frames: frames(current().rate) })));
  if (!composing()) state.playing = true;
  changed();
}

export async function begin(wanted) {
  const facts = state.facts[state.model];
  say("");
  const done = await ask("begin", { model: state.model, frames: frames(facts.rate), ...settings(), ...wanted });
  if (done) Object.assign(state, { composing: false, playing: true });
  changed();
}

function caption() {
  if (composing()) return target()?.walks ? "Walk" : target()?.actions.length ? "Drive" : "Make video";
  if (!resting()) return isSaid() ? "Making…" : "Change to this";
  return isSaid() ? (target()?.actions.length ? "Go on" : "Make more") : "Go on with this";
}

function chipsFor(words) {
  if (chips === words.join()) return;
  chips = words.join();
  find("words").replaceChildren(...words.map((word) => {
    const chip = document.createElement("button");
    Object.assign(chip, { type: "button", className: "chip", textContent: word });
    chip.addEventListener("click", () => add(word));
    return chip;
  }));
}

// A word goes where the cursor is, with spaces around it.
function add(word) {
  const from = text.selectionStart ?? text.value.length, to = text.selectionEnd ?? from;
  const before = text.value.slice(0, from).replace(/\s*$/, ""), after = text.value.slice(to).replace(/^\s*/, "");
  text.value = [before, word, after].filter(Boolean).join(" ");
  const place = (before ? before.length + 1 : 0) + word.length;
  text.focus({ preventScroll: true });
  text.setSelectionRange(place, place);
  changed();
}

onChange(() => {
  const words = takesWords(), take = current(), facts = target(), making = !resting();
  text.hidden = !words;
  chipsFor(words ? facts?.words ?? [] : []);
  const strange = unknown();
  find("unknown").hidden = !strange.length;
  find("unknown").textContent = strange.length ? `The model does not know ${strange.join(", ")}; it knows the words below.` : "";
  const button = find("make");
  button.textContent = caption();
  const hasPrompt = !words || text.value.trim() !== "";
  button.disabled = isBlocked() || !facts || !hasPrompt || (composing() ? takes().length >= MOST_TAKES : making && isSaid());
  find("stop").disabled = !state.linked || !making || composing();
  find("new").disabled = !facts || composing() || takes().length >= MOST_TAKES;
  const at = take && !composing() ? snap(take) : undefined, cut = (word) => (at === undefined ? "" : ` ${word} ${(at / take.rate).toFixed(1)} s`);
  find("rewind").textContent = `Rewind${cut("to")}`;
  find("branch").textContent = `Branch${cut("from")}`;
  find("rewind").disabled = isBlocked() || at === undefined || at >= take.made;
  find("branch").disabled = isBlocked() || at === undefined || !take.made || !hasPrompt || takes().length >= MOST_TAKES;
  for (const name of ["undo", "redo"]) {
    const step = state.scene?.[name] ?? "";
    find(name).disabled = isBlocked() || !step;
    find(name).title = step ? `${name === "undo" ? "Undo" : "Redo"}: ${step}` : `Nothing to ${name}`;
  }
  if (early && !button.disabled) make();
});

onScene((before, scene) => {
  const take = scene.takes.find((each) => each.number === scene.current);
  if (take && before?.current !== scene.current && !state.composing) text.value = take.text;
});

export async function busily(work) {
  busy = true;
  changed();
  const done = await work();
  busy = false;
  changed();
  return done;
}

export async function step(name) {
  if (find(name).disabled) return;
  const what = find(name).title;
  if (await busily(() => ask(name))) say(`${what}.`);
}

find("ask").addEventListener("submit", (event) => {
  event.preventDefault();
  make();
});
text.addEventListener("input", () => {
  early = false;
  changed();
});
// Enter before the model is known, or while there is no link, is done as soon as it can be.
text.addEventListener("keydown", (event) => {
  if (event.key === "Enter") early = find("make").disabled && text.value.trim() !== "" && (!state.linked || !target());
});
find("stop").addEventListener("click", () => ask("stop"));
find("rewind").addEventListener("click", async () => {
  const take = current(), done = await busily(() => ask("rewind", { frame: snap(take) }));
  if (!done) return;
  state.at = done.frame;
  state.playing = false;
  say(`Cut to ${(done.frame / take.rate).toFixed(1)} s; undo brings the rest back.`);
  changed();
});
find("branch").addEventListener("click", async () => {
  const take = current(), from = snap(take), prompt = takesWords() ? text.value.trim() : "";
  const done = await busily(() => ask("branch", { frame: from, prompt, frames: frames(take.rate) }));
  if (done === undefined) return;
  state.at = from;
  state.playing = true;
  changed();
});
for (const name of ["undo", "redo"]) find(name).addEventListener("click", () => step(name));
