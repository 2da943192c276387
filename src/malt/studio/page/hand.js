// The hand: arrow keys, a thumb, and the time from a key to the first picture that follows it.
import { changed, composing, current, find, onChange, resting, state, target } from "./state.js";
import { tell } from "./visit.js";

const KEYS = { ArrowLeft: "left", ArrowRight: "right", ArrowUp: "up", ArrowDown: "down" };
const PUSH = { left: [-1, 0], right: [1, 0], up: [0, 1], down: [0, -1] };
const held = new Set();
let turns = []; // those that are not followed yet, in their order: {number, pressed}

export const steers = () => Boolean(state.scene?.acts) && !composing() && !resting();
// Whether a turn is still to be followed; with a number, whether that one follows it.
export const pending = (number = Infinity) => turns.length > 0 && number >= turns[0].number;

// A frame was drawn: if it follows a turn, that took so long.
export function drawn(frame) {
  const [number, from] = state.scene.followed;
  if (!pending(number) || frame < from || current().made <= from) return;
  const lag = performance.now() - turns[0].pressed;
  turns = turns.filter((turn) => turn.number > number);
  Object.assign(find("lag").dataset, { lag: Math.round(lag), number });
  find("lag").textContent = `key to picture ${(lag / 1000).toFixed(2)} s`;
}

function steer() {
  const push = [...held].map((way) => PUSH[way]);
  const [steering, throttle] = [0, 1].map((axis) => push.reduce((sum, each) => sum + each[axis], 0));
  const number = Math.round(performance.timeOrigin + performance.now());
  turns.push({ number, pressed: performance.now() });
  if (!state.playing) {
    state.playing = true;
    changed();
  }
  tell({ type: "steer", steering, throttle, number, frame: Math.floor(state.at) });
}

function hold(way, isDown) {
  if (isDown === held.has(way)) return;
  if (isDown) held.add(way);
  else held.delete(way);
  document.querySelector(`[data-way=${way}]`).classList.toggle("held", isDown);
  if (steers()) steer();
}

function release() {
  for (const way of [...held]) hold(way, false);
}

// Whether a key was for the hand.
export function press(event) {
  const way = KEYS[event.key];
  if (!way || !steers() || event.ctrlKey || event.metaKey || event.altKey) return false;
  event.preventDefault();
  if (event.type === "keydown" && !event.repeat) hold(way, true);
  return true;
}

addEventListener("keyup", (event) => KEYS[event.key] && hold(KEYS[event.key], false));
addEventListener("blur", release);
for (const button of document.querySelectorAll("[data-way]")) {
  const way = button.dataset.way;
  button.addEventListener("pointerdown", (event) => {
    event.preventDefault();
    button.setPointerCapture(event.pointerId);
    hold(way, true);
  });
  for (const name of ["pointerup", "pointercancel", "lostpointercapture"]) button.addEventListener(name, () => hold(way, false));
  button.addEventListener("keydown", (event) => [" ", "Enter"].includes(event.key) && (event.preventDefault(), hold(way, true)));
  for (const name of ["keyup", "blur"]) button.addEventListener(name, () => hold(way, false));
  button.addEventListener("contextmenu", (event) => event.preventDefault());
}

onChange(() => {
  const acts = Boolean(target()?.actions.length);
  find("hand").hidden = !acts;
  if (!acts) return;
  const walks = target().walks;
  for (const [way, name] of [["up", walks ? "Ahead" : "Faster"], ["down", walks ? "Back" : "Slower"]]) {
    document.querySelector(`[data-way=${way}]`).setAttribute("aria-label", name);
  }
  for (const button of document.querySelectorAll("[data-way]")) button.disabled = !steers();
  if (!steers()) {
    held.clear();
    turns = [];
    for (const button of document.querySelectorAll("[data-way].held")) button.classList.remove("held");
  }
  if (!find("lag").dataset.lag) find("lag").textContent = steers() ? "steer with the arrow keys" : "";
});
