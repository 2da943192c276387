// The map of a walk: the true maze where there is one, else the way that was walked, reckoned from turns and steps.
import { changed, composing, current, find, onChange, state } from "./state.js";
import { onMove } from "./player.js";
import { place } from "./visit.js";

const figure = find("map"), canvas = figure.querySelector("canvas"), box = find("map-on");
let walk = { take: 0, revision: -1, plan: null, path: [] }, coming = false;

const walks = () => !composing() && current() && state.facts[current().model]?.walks;

async function refresh() {
  const take = current();
  if (figure.hidden || coming) return;
  const isSame = walk.take === take.number;
  if (isSame && walk.revision !== take.revision) walk.path.length = Math.min(walk.path.length, take.untouched);
  walk.revision = take.revision;
  if (!isSame) walk = { take: take.number, revision: take.revision, plan: null, path: [] };
  if (walk.path.length >= take.made) return draw();
  coming = true;
  try {
    const found = await (await fetch(`${place(take)}/map.json?start=${walk.path.length}`)).json();
    if (walk.take === take.number && walk.revision === current()?.revision && found.start === walk.path.length) {
      walk.plan = found.plan;
      walk.path.push(...found.path);
    }
  } finally {
    coming = false;
  }
  draw();
}

// From where one stands to where that is on the picture.
function view() {
  const side = canvas.width;
  if (walk.plan) return { scale: side / walk.plan.side, left: 0, top: walk.plan.side };
  const seen = walk.path.length ? walk.path : [[0, 0, 0]];
  const [xs, ys] = [0, 1].map((axis) => seen.map((pose) => pose[axis]));
  const span = Math.max(8, Math.max(...xs) - Math.min(...xs) + 3, Math.max(...ys) - Math.min(...ys) + 3);
  const [midX, midY] = [xs, ys].map((each) => (Math.max(...each) + Math.min(...each)) / 2);
  return { scale: side / span, left: midX - span / 2, top: midY + span / 2 };
}

function draw() {
  const brush = canvas.getContext("2d"), { scale, left, top } = view(), style = getComputedStyle(figure);
  const at = ([x, y]) => [(x - left) * scale, (top - y) * scale];
  brush.clearRect(0, 0, canvas.width, canvas.height);
  brush.lineJoin = brush.lineCap = "round";
  for (const [x, y, colour] of walk.plan?.cells ?? []) {
    const [[l, t], [r, b]] = [at([x, y + 1]), at([x + 1, y])].map((corner) => corner.map(Math.round));
    brush.fillStyle = colour ?? style.getPropertyValue("--soft");
    brush.globalAlpha = colour ? 0.6 : 0.3;
    brush.fillRect(l, t, r - l, b - t);
  }
  brush.globalAlpha = 1;
  for (const [x, y, colour] of walk.plan?.objects ?? []) {
    const [l, t] = at([x, y]);
    brush.fillStyle = colour;
    brush.strokeStyle = "#0008";
    brush.beginPath();
    brush.arc(l, t, scale * 0.3, 0, 7);
    brush.fill();
    brush.stroke();
  }
  const seen = walk.path.slice(0, Math.floor(state.at) + 1), now = seen.at(-1);
  brush.strokeStyle = style.getPropertyValue("--text");
  brush.lineWidth = 2;
  brush.beginPath();
  seen.forEach((pose) => brush.lineTo(...at(pose)));
  brush.stroke();
  if (now) arrow(brush, at(now), now[2], style.getPropertyValue("--accent"));
}

function arrow(brush, [x, y], heading, colour) {
  brush.save();
  brush.translate(x, y);
  brush.rotate(-heading);
  brush.fillStyle = colour;
  brush.strokeStyle = "#fff";
  brush.beginPath();
  for (const point of [[10, 0], [-7, 6], [-4, 0], [-7, -6]]) brush.lineTo(...point);
  brush.closePath();
  brush.fill();
  brush.stroke();
  brush.restore();
}

onChange(() => {
  find("map-label").hidden = !walks();
  figure.hidden = !walks() || !box.checked;
  if (figure.hidden) return;
  figure.querySelector("figcaption").textContent =
    current().maze !== null ? "The true maze. Where you are is counted from your turns and steps." : "Your way, counted from your turns and steps. This maze is made up.";
  refresh();
});
onMove(() => figure.hidden || refresh());
box.checked = localStorage.getItem("malt-map") !== "0";
box.addEventListener("change", () => {
  localStorage.setItem("malt-map", box.checked ? "1" : "0");
  changed();
});
