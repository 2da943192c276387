// The timeline: a lane for each take, as a tree; made and planned, prompts, where it can be cut, moments that are kept.
import { composing, current, find, onChange, resting, seconds, snap, state, takeOf, takes } from "./state.js";
import { onMove, seek } from "./player.js";
import { ask } from "./visit.js";

const RULER = 20, PAD = 14, STEPS = [0.5, 1, 2, 5, 10, 20, 30, 60, 120, 300];
const box = find("timeline"), svg = document.createElementNS("http://www.w3.org/2000/svg", "svg");
svg.setAttribute("aria-hidden", "true");
box.append(svg);
const coarse = matchMedia("(pointer: coarse)");
const lane = () => (coarse.matches ? 44 : 32);
let width = 0, total = 1;

// Takes in the order of the tree: each behind the one it branched off from.
function ordered(parent = null, found = []) {
  for (const take of takes()) {
    const from = take.parent && takeOf(take.parent[0]) ? take.parent[0] : null;
    if (from !== parent) continue;
    found.push(take);
    ordered(take.number, found);
  }
  return found;
}

const goal = (take) => (take.number === state.scene.current && !resting() ? state.scene.goal : null);
const isEndless = (take) => goal(take) !== null && goal(take) > take.made + 80 * take.rate;
const time = (frame, take) => frame / take.rate;
const planned = (take) => (goal(take) === null ? take.made : isEndless(take) ? take.made * 1.15 + take.rate : Math.max(goal(take), take.made));
const x = (frame, take) => PAD + (time(frame, take) / total) * (width - 2 * PAD);
const secondAt = (left) => ((left - PAD) / Math.max(1, width - 2 * PAD)) * total;

function node(name, attributes, text) {
  const made = document.createElementNS("http://www.w3.org/2000/svg", name);
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  if (text !== undefined) made.textContent = text;
  return made;
}

const defs = () => {
  const pattern = node("pattern", { id: "hatch", width: 7, height: 7, patternUnits: "userSpaceOnUse", patternTransform: "rotate(45)" });
  pattern.append(node("rect", { width: 3, height: 7, class: "hatch" }));
  const made = node("defs", {});
  made.append(pattern);
  return made;
};

function draw() {
  const lanes = ordered(), take = current();
  box.classList.toggle("empty", !lanes.length);
  if (!lanes.length) return svg.replaceChildren();
  width = box.clientWidth;
  total = Math.max(1, ...lanes.map((each) => time(Math.max(planned(each), each.made), each)));
  const height = RULER + lanes.length * lane() + 4;
  const parts = [defs(), ...ruler(height)];
  lanes.forEach((each, row) => parts.push(...connector(each, row, lanes), ...bar(each, row)));
  const group = node("g", { class: "head" });
  group.append(node("line", { y1: 4, y2: height }), node("circle", { cy: 8, r: 6 }));
  parts.push(node("line", { class: "snap", y1: RULER - 4, y2: height }), group);
  svg.setAttribute("viewBox", `0 0 ${width} ${height}`);
  svg.setAttribute("height", height);
  svg.setAttribute("width", width);
  svg.replaceChildren(...parts);
  move();
}

// Where one is, and where a cut there would be.
function move() {
  const take = current(), head = svg.querySelector(".head"), cut = svg.querySelector(".snap");
  if (!head) return;
  const at = take && !composing() ? snap(take) : undefined, isCut = at !== undefined && at < take.made;
  head.style.display = take && !composing() ? "" : "none";
  cut.style.display = isCut ? "" : "none";
  if (take) head.setAttribute("transform", `translate(${x(state.at, take)} 0)`);
  if (isCut) cut.setAttribute("transform", `translate(${x(at, take)} 0)`);
}

function ruler(height) {
  const at = (second) => x(second, { rate: 1 });
  const step = STEPS.find((each) => at(each) - at(0) > 64) ?? 600, marks = [];
  for (let second = 0; second <= total; second += step) {
    const left = at(second);
    marks.push(node("line", { class: "mark", x1: left, x2: left, y1: 12, y2: height }));
    if (left < width - 40) marks.push(node("text", { class: "time", x: left + 4, y: 13 }, `${Number(second.toFixed(1))} s`));
  }
  return marks;
}

// The way from the take it branched off from.
function connector(take, row, lanes) {
  const from = take.parent && lanes.findIndex((each) => each.number === take.parent[0]);
  if (!take.parent || from < 0) return [];
  const left = x(take.parent[1], take), top = RULER + from * lane() + lane() / 2, down = RULER + row * lane() + lane() / 2;
  return [node("path", { class: "way", d: `M${left} ${top} V${down - 6} q0 6 6 6 h4` })];
}

function bar(take, row) {
  const top = RULER + row * lane() + 3, tall = lane() - 6, begin = take.parent ? take.parent[1] : 0;
  const isCurrent = take.number === state.scene.current && !composing();
  const group = node("g", { class: isCurrent ? "lane current" : "lane", "data-take": take.number });
  const plan = planned(take), parts = [group];
  group.append(node("rect", { class: "row", x: 0, y: top, width, height: tall }));
  if (plan > take.made) {
    const name = isEndless(take) ? "planned endless" : "planned";
    group.append(node("rect", { class: name, x: x(take.made, take), y: top, width: Math.max(2, x(plan, take) - x(take.made, take)), height: tall, rx: 5 }));
  }
  let isFirst = true;
  take.prompts.forEach(([frame, text], index) => {
    const next = Math.min(take.prompts[index + 1]?.[0] ?? Infinity, plan), from = Math.max(frame, begin);
    if (next <= from) return;
    const made = Math.min(next, take.made), left = x(from, take);
    if (made > from) group.append(node("rect", { class: `made tone${index % 2}`, x: left, y: top, width: x(made, take) - left, height: tall, rx: 5 }));
    if (frame > begin) group.append(node("line", { class: "said", x1: left, x2: left, y1: top - 2, y2: top + tall + 2 }));
    label(group, take, text, left, x(next, take) - left, top, tall, from < take.made, isFirst);
    isFirst = false;
  });
  if (isCurrent) borders(group, take, top + tall, begin);
  for (const [name, frame] of take.moments) {
    const left = x(frame, take), mid = top + 4, mark = node("path", { class: "moment", d: `M${left} ${mid - 6} l6 6 l-6 6 l-6 -6 z` });
    mark.append(node("title", {}, `${name}, ${seconds(frame, take)} s`));
    group.append(mark);
  }
  return parts;
}

// What a stretch shows, as far as it fits.
function label(group, take, text, left, wide, top, tall, isMade, isFirst) {
  const several = takes().length > 1 && isFirst;
  const words = (several ? `${take.number} · ` : "") + (text || (take.maze !== null ? `true maze ${take.maze}` : take.model));
  const letters = Math.floor((wide - 14) / 6.6);
  if (letters < 3) return;
  const shown = words.length > letters ? words.slice(0, letters - 1) + "…" : words;
  const made = node("text", { class: isMade ? "words" : "words coming", x: left + 8, y: top + tall / 2 + 4 }, shown);
  made.append(node("title", {}, words));
  group.append(made);
}

// Where the take can be cut.
function borders(group, take, bottom, begin) {
  const wide = take.borders.length > 1 ? x(take.borders[1], take) - x(take.borders[0], take) : 99;
  const every = Math.max(1, Math.ceil(5 / wide));
  take.borders.forEach((border, index) => {
    if (border > begin && border < take.made && index % every === 0) {
      group.append(node("line", { class: "border", x1: x(border, take), x2: x(border, take), y1: bottom - 4, y2: bottom }));
    }
  });
}

function tellWhere() {
  const take = current();
  if (!take) return box.setAttribute("aria-valuetext", "nothing yet");
  const at = Math.min(Math.floor(state.at), take.made), words = take.prompts.findLast(([frame]) => frame <= at)?.[1] ?? "";
  box.setAttribute("aria-valuemax", take.made);
  box.setAttribute("aria-valuenow", at);
  box.setAttribute("aria-valuetext", `${seconds(at, take)} of ${seconds(take.made, take)} s, take ${take.number}${words ? ", " + words : ""}`);
}

function pick(event) {
  const area = box.getBoundingClientRect();
  const row = Math.floor((event.clientY - area.top + box.scrollTop - RULER) / lane()), take = ordered()[row];
  if (event.type === "pointerdown" && take && (take.number !== state.scene.current || state.composing)) choose(take);
  const seen = event.type === "pointerdown" && take ? take : current();
  if (seen) seek(Math.min(Math.round(secondAt(event.clientX - area.left) * seen.rate), seen.made));
}

function choose(take) {
  state.composing = false;
  if (take.number !== state.scene.current) {
    state.scene.current = take.number;
    ask("choose", { take: take.number });
  }
}

box.addEventListener("pointerdown", (event) => {
  if (!takes().length || event.button) return;
  box.setPointerCapture(event.pointerId);
  pick(event);
});
box.addEventListener("pointermove", (event) => box.hasPointerCapture(event.pointerId) && pick(event));

// The timeline's own keys.
export function press(event) {
  const take = current();
  if (!take) return false;
  const at = Math.floor(state.at), lanes = ordered(), row = lanes.indexOf(take);
  const cuts = [...take.borders, take.made];
  const to = {
    ArrowLeft: () => seek(event.shiftKey ? cuts.findLast((border) => border < at) ?? 0 : at - 1),
    ArrowRight: () => seek(event.shiftKey ? cuts.find((border) => border > at) ?? take.made : at + 1),
    Home: () => seek(0),
    End: () => seek(take.made),
    ArrowUp: () => lanes[row - 1] && choose(lanes[row - 1]),
    ArrowDown: () => lanes[row + 1] && choose(lanes[row + 1]),
  }[event.key];
  if (!to) return false;
  event.preventDefault();
  to();
  return true;
}

function redraw() {
  draw();
  tellWhere();
}

onChange(redraw);
onMove(() => {
  move();
  tellWhere();
});
new ResizeObserver(() => requestAnimationFrame(redraw)).observe(box);
