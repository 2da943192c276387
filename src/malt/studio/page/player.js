// The player: the picture of the take that is worked on, or of all takes at the same moment.
import { changed, composing, current, find, onChange, resting, seconds, state, takes } from "./state.js";
import { drawFrame, forget, stripAt } from "./strips.js";
import { ask, onScene, tell } from "./visit.js";
import { drawn, pending } from "./hand.js";

const LOOK_MS = 100, LEAD = 24, HURRY = 2.5;
const screens = find("screens"), figures = new Map();
let last = 0, lookedAt = 0, looked = -1;

const several = () => find("several").checked && takes().length > 1;
const shown = () => (several() ? takes() : [current()]);

export function seek(frame) {
  const take = current();
  if (!take) return;
  state.at = Math.max(0, Math.min(frame, take.made));
  state.playing = false;
  changed();
}

export function toggle() {
  const take = current();
  if (!take) return;
  if (!state.playing && state.at >= take.made - 1 && resting()) state.at = 0;
  state.playing = !state.playing;
  changed();
}

onScene((before, scene) => {
  const take = current(), old = before?.takes.find((each) => each.number === take?.number);
  forget(before?.takes, scene.takes);
  if (!take) return;
  if (before && before.current !== scene.current) {
    const isNew = !before.takes.some((each) => each.number === take.number);
    if (isNew && !take.parent) state.at = 0; // a new video is seen from its beginning
    if (isNew) Object.assign(state, { composing: false, playing: true });
  }
  if (!before) state.at = Math.min(Number(sessionStorage.getItem("malt-at") ?? 0), take.made); // after a reload
  if (old && take.revision > old.revision) state.at = Math.min(state.at, take.made);
  state.at = Math.min(state.at, take.made);
  if (take.made && !composing()) stripAt(take, Math.min(Math.floor(state.at), take.made - 1)); // on its way before it is drawn
  const [number, frame] = scene.followed;
  if (pending(number) && take.made > frame && state.at < frame) state.at = frame; // what a key has done is seen at once
});

function layOut() {
  const visible = composing() ? [] : shown(), numbers = visible.map((take) => take.number);
  screens.hidden = !visible.length;
  screens.classList.toggle("several", visible.length > 1);
  screens.classList.toggle("crisp", find("crisp").checked);
  for (const [number, figure] of figures) if (!numbers.includes(number)) { figure.remove(); figures.delete(number); }
  for (const take of visible) {
    if (!figures.has(take.number)) figures.set(take.number, newFigure(take));
    const figure = figures.get(take.number);
    screens.append(figure);
    figure.classList.toggle("current", take.number === state.scene.current);
    const origin = take.parent ? `, from take ${take.parent[0]} at ${seconds(take.parent[1], take)} s` : "";
    figure.querySelector("figcaption").textContent = visible.length > 1 ? `Take ${take.number}${origin}` : "";
  }
}

function newFigure(take) {
  const figure = document.createElement("figure"), canvas = document.createElement("canvas");
  figure.dataset.take = take.number;
  Object.assign(canvas, { width: 64, height: 64 });
  canvas.setAttribute("role", "img");
  canvas.setAttribute("aria-label", `Take ${take.number}`);
  figure.append(canvas, document.createElement("figcaption"));
  figure.addEventListener("click", () => take.number !== state.scene.current && ask("choose", { take: take.number }));
  return figure;
}

// Whether the picture could be drawn.
function draw(take) {
  if (!take.made) return true;
  const at = state.at * (take.rate / current().rate), frame = Math.min(Math.floor(at), take.made - 1), strip = stripAt(take, frame);
  const canvas = figures.get(take.number)?.querySelector("canvas");
  if (!strip || !canvas) return !canvas;
  if (canvas.shown !== `${frame} ${strip.revision}`) drawFrame(canvas, strip.image, frame - strip.start, strip.count);
  canvas.shown = `${frame} ${strip.revision}`;
  figures.get(take.number).style.setProperty("--ratio", canvas.width / canvas.height);
  canvas.dataset.frame = frame;
  const next = strip.start + strip.count;
  if (state.playing && next < take.made) stripAt(take, next);
  return true;
}

function step(now) {
  requestAnimationFrame(step);
  const passed = Math.min(now - last, 250) / 1000, take = current();
  last = now;
  if (!take || composing()) return;
  const ready = shown().map(draw).every(Boolean), end = Math.max(...shown().map((each) => (each.made / each.rate) * take.rate));
  const making = !resting();
  if (ready) drawn(Math.min(Math.floor(state.at), take.made - 1));
  if (state.playing && ready && state.at < end) {
    const hurry = !state.scene.acts || !making ? 1 : pending() ? HURRY : end - state.at > LEAD ? 1.3 : 1;
    state.at = Math.min(state.at + passed * take.rate * hurry, end);
  } else if (state.playing && !making && state.at >= end && end) {
    state.playing = false;
    changed();
  }
  const told = `${seconds(state.at, take)} / ${seconds(take.made, take)} s`;
  if (find("clock").textContent !== told) find("clock").textContent = told;
  const frame = Math.floor(state.at);
  if (now - lookedAt > LOOK_MS && frame !== looked) {
    lookedAt = now;
    looked = frame;
    tell({ type: "look", frame });
    sessionStorage.setItem("malt-at", frame);
    moved.forEach((listener) => listener());
  }
}

const moved = [];
export const onMove = (listener) => moved.push(listener);

onChange(() => {
  layOut();
  const play = find("play");
  play.textContent = state.playing ? "❚❚" : "▶";
  play.setAttribute("aria-label", state.playing ? "Pause" : "Play");
  play.disabled = composing() || !current()?.made;
  find("several-label").hidden = takes().length < 2;
  if (!current()) find("clock").textContent = "0.0 / 0.0 s";
});

find("play").addEventListener("click", toggle);
for (const name of ["crisp", "several"]) {
  find(name).checked = localStorage.getItem(`malt-${name}`) === "1";
  find(name).addEventListener("change", (event) => {
    localStorage.setItem(`malt-${name}`, event.target.checked ? "1" : "0");
    changed();
  });
}
requestAnimationFrame(step);
