// The screen: hears over a WebSocket what there is, fetches the frames that it shows, and tells what is seen and steered.
// `element` and `props` and `watch` are given by Gradio; `props.value` becomes {key} once the visit has begun.
const find = (name) => element.querySelector(name);
const stage = find(".stage"), takesBox = find(".takes"), timeline = find(".timeline"), play = find(".play");
const STRIPS_KEPT = 48, RETRY_MS = 1500, LOOK_MS = 150;

let scene = null, socket = null, key = null, at = 0, playing = true, dragging = false, last = 0, lookedAt = 0, seenTake = null;
const strips = new Map(), figures = new Map(), held = new Set();

const takeOf = (number) => scene && scene.takes.find((take) => take.number === number);
const current = () => scene && takeOf(scene.current);
const shown = () => (find(".compare").checked ? scene.takes : scene.takes.filter((take) => take.number === scene.current));
const say = (event) => socket && socket.readyState === 1 && socket.send(JSON.stringify(event));
const megabytes = (bytes) => (bytes / 1e6).toFixed(bytes < 1e7 ? 1 : 0) + " MB";
const place = (take) => `${base()}/studio/${key}/${take.number}`;
const base = () => window.location.pathname.replace(/\/$/, "");

// What the page's buttons ask for: the frame that is seen.
window.maltFrame = () => Math.floor(at);

function connect() {
  const address = window.location.origin.replace(/^http/, "ws") + base() + "/studio/" + key;
  socket = new WebSocket(address);
  socket.onmessage = (message) => update(JSON.parse(message.data));
  socket.onclose = (event) => {
    if (event.code === 4404 || event.code === 1001) return complain(event.reason || "the studio has closed");
    complain("The connection to the studio is gone; trying again.");
    setTimeout(connect, RETRY_MS);
  };
}

function complain(sentence) {
  const problem = find(".problem");
  problem.hidden = !sentence;
  if (problem.textContent !== sentence) problem.textContent = sentence;
}

function update(next) {
  const before = scene;
  scene = next;
  const take = current();
  if (take && seenTake !== take.number) {
    const known = before && before.takes.some((each) => each.number === take.number);
    if (!known && !take.parent) at = 0;  // a new video is seen from its beginning
    seenTake = take.number;
  }
  if (take && before && takeOfScene(before, take.number) && take.made < takeOfScene(before, take.number).made) at = take.made;
  if (take) at = Math.min(at, take.made);
  for (const name of strips.keys()) {
    const owner = takeOf(Number(name.split("/")[0]));
    if (!owner || String(owner.revision) !== name.split("/")[1]) forgetStrip(name);
  }
  layOut();
  tell(take);
  complain(scene.problem);
}

const takeOfScene = (other, number) => other.takes.find((take) => take.number === number);

function layOut() {
  const visible = shown(), numbers = visible.map((take) => take.number);
  for (const [number, figure] of figures) if (!numbers.includes(number)) { figure.remove(); figures.delete(number); }
  for (const take of visible) {
    if (!figures.has(take.number)) figures.set(take.number, newFigure(take));
    const figure = figures.get(take.number), caption = figure.querySelector("figcaption");
    takesBox.append(figure);
    figure.classList.toggle("current", take.number === scene.current);
    const origin = take.parent ? `, from take ${take.parent[0]} at ${(take.parent[1] / take.rate).toFixed(1)} s` : "";
    caption.textContent = visible.length > 1 ? `Take ${take.number}${origin}` : "";
    caption.hidden = visible.length < 2;
  }
  takesBox.classList.toggle("several", visible.length > 1);
  find(".hint").hidden = scene.takes.length > 0;
  find(".hint").style.display = scene.takes.length ? "none" : "";
}

function newFigure(take) {
  const figure = document.createElement("figure");
  figure.dataset.take = take.number;
  figure.innerHTML = '<canvas width="64" height="64"></canvas><figcaption></figcaption>';
  figure.addEventListener("click", () => take.number !== scene.current && say({ type: "choose", take: take.number }));
  return figure;
}

function tell(take) {
  const files = [find(".video"), find(".session")], has = Boolean(take && take.made);
  for (const file of files) file.hidden = !has;
  find(".drop").hidden = !take;
  find(".wheel").hidden = !scene.acts;
  timeline.disabled = !has;
  if (!take) { find(".status").textContent = "Nothing has been made yet."; find(".said").replaceChildren(); return; }
  files[0].href = `${place(take)}/video.mp4`;
  files[1].href = `${place(take)}/session.zip`;
  const about = [`Take ${take.number} (${take.model}, ${take.rollout}): ${take.made} frames, ${(take.made / take.rate).toFixed(1)} s`];
  if (scene.state === "waiting") about.push("waiting for its turn");
  if (scene.state === "making") about.push(scene.rate ? `${scene.rate.toFixed(1)} frames/s` : "being made");
  if (scene.state === "resting") about.push("at rest");
  about.push(`its memory ${megabytes(take.memory)}`, `the studio ${megabytes(scene.resident)}`);
  if (take.moments.length) {
    const names = take.moments.map(([name, frame]) => `${name} (${(frame / take.rate).toFixed(1)} s)`);
    about.push(`keeps ${names.join(", ")}`);
  }
  find(".status").textContent = about.join(" · ");
  find(".status").dataset.state = scene.state;
  find(".status").dataset.made = take.made;
  const lines = take.prompts.map(([frame, text]) => [frame, text || "(no words)"]);
  const now = lines.filter(([frame]) => frame <= at).length - 1;
  find(".said").replaceChildren(...lines.map(([frame, text], index) => {
    const line = document.createElement("li"), time = document.createElement("time");
    time.textContent = `${(frame / take.rate).toFixed(1)} s`;
    line.append(time, text);
    line.classList.toggle("now", index === now);
    return line;
  }));
}

function forgetStrip(name) {
  const strip = strips.get(name);
  if (strip && strip.image) strip.image.close();
  strips.delete(name);
}

// The strip that holds a frame of a take; undefined while it is on its way.
function stripAt(take, frame) {
  const name = `${take.number}/${take.revision}/`;
  for (const [known, strip] of strips) {
    if (known.startsWith(name) && strip.image && strip.start <= frame && frame < strip.start + strip.count) {
      strips.delete(known); strips.set(known, strip);  // the last that was used goes last
      return strip;
    }
  }
  fetchStrip(take, frame);
  return undefined;
}

async function fetchStrip(take, frame) {
  const name = `${take.number}/${take.revision}/${frame}`, folder = `${take.number}/${take.revision}/`;
  for (const [known, strip] of strips) if (known.startsWith(folder) && !strip.image) return;  // one at a time
  strips.set(name, { image: null, start: frame, count: 0 });
  try {
    const answer = await fetch(`${place(take)}/${take.revision}/${frame}.jpg`);
    if (!answer.ok) throw new Error(answer.statusText);
    const image = await createImageBitmap(await answer.blob());
    if (!strips.has(name)) return image.close();
    strips.set(name, { image, start: Number(answer.headers.get("X-Start")), count: Number(answer.headers.get("X-Count")) });
    if (strips.size > STRIPS_KEPT) forgetStrip(strips.keys().next().value);
  } catch (error) {
    setTimeout(() => strips.delete(name), 300);
  }
}

function draw(take) {
  if (!take.made) return true;
  const frame = Math.min(Math.floor(at), take.made - 1), strip = stripAt(take, frame);
  if (!strip) return false;
  const canvas = figures.get(take.number)?.querySelector("canvas");
  if (!canvas) return true;
  const width = strip.image.width / strip.count, height = strip.image.height;
  const side = Math.max(1, Math.round(512 / width));
  if (canvas.width !== width * side) { canvas.width = width * side; canvas.height = height * side; }
  const brush = canvas.getContext("2d");
  brush.imageSmoothingQuality = "high";
  brush.drawImage(strip.image, (frame - strip.start) * width, 0, width, height, 0, 0, canvas.width, canvas.height);
  canvas.dataset.frame = frame;
  const next = strip.start + strip.count;
  if (playing && next < take.made && frame > strip.start + strip.count / 2) stripAt(take, next);
  return true;
}

function step(now) {
  if (!element.isConnected) return socket && socket.close();
  requestAnimationFrame(step);
  const passed = Math.min(now - last, 250) / 1000;
  last = now;
  const take = current();
  if (!scene || !take) return;
  const ready = shown().map(draw).every(Boolean), end = Math.max(...shown().map((each) => each.made));
  if (playing && !dragging && ready && at < end) {
    const behind = scene.acts ? end - at : 0;  // what is steered is seen as soon as may be
    at = Math.min(at + passed * take.rate * (behind > 24 ? 1.5 : 1), end);
  }
  const total = Math.max(scene.state !== "resting" && scene.goal && scene.goal < take.made * 20 + 64 ? scene.goal : 0, end);
  timeline.max = Math.max(0, total - 1);
  if (!dragging) timeline.value = Math.min(Math.floor(at), Math.max(0, end - 1));
  timeline.style.background = `linear-gradient(to right, var(--color-accent-soft) ${(100 * end) / Math.max(1, total)}%, transparent 0)`;
  find(".clock").textContent = `${(at / take.rate).toFixed(1)} / ${(take.made / take.rate).toFixed(1)} s`;
  if (now - lookedAt > LOOK_MS) { lookedAt = now; say({ type: "look", frame: Math.floor(at) }); }
}

function setPlaying(value) {
  playing = value;
  play.textContent = playing ? "❚❚" : "▶";
  play.setAttribute("aria-label", playing ? "Pause" : "Play");
}

play.addEventListener("click", () => {
  const take = current();
  if (!playing && take && at >= take.made && scene.state === "resting") at = 0;
  setPlaying(!playing);
});
timeline.addEventListener("input", () => {
  dragging = true;
  const take = current();
  at = Math.min(Number(timeline.value), take ? Math.max(0, take.made - 1) : 0);
  setPlaying(false);
});
timeline.addEventListener("change", () => { dragging = false; });
find(".compare").addEventListener("change", () => scene && layOut());
find(".drop").addEventListener("click", () => scene && say({ type: "drop", take: scene.current }));

const KEYS = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, 1], ArrowDown: [0, -1] };
function steer() {
  const sum = [...held].reduce(([s, t], [ds, dt]) => [s + ds, t + dt], [0, 0]);
  say({ type: "steer", steering: sum[0], throttle: sum[1] });
}
const isTyping = (target) => target.closest && target.closest("input, textarea, select, [contenteditable]");
document.addEventListener("keydown", (event) => {
  if (!element.isConnected || isTyping(event.target)) return;
  if (scene && scene.acts && KEYS[event.key]) {
    event.preventDefault();
    if (!event.repeat) { held.add(KEYS[event.key]); steer(); }
  } else if (event.key === " " && event.target === stage) {
    event.preventDefault();
    play.click();
  }
});
document.addEventListener("keyup", (event) => { if (KEYS[event.key] && held.delete(KEYS[event.key])) steer(); });
window.addEventListener("blur", () => { if (held.size) { held.clear(); steer(); } });
for (const button of element.querySelectorAll(".wheel button")) {
  const push = [Number(button.dataset.steering || 0), Number(button.dataset.throttle || 0)];
  const hold = () => { held.add(push); button.classList.add("held"); steer(); };
  const release = () => { if (held.delete(push)) { button.classList.remove("held"); steer(); } };
  button.addEventListener("pointerdown", hold);
  for (const name of ["pointerup", "pointerleave", "pointercancel"]) button.addEventListener(name, release);
  button.addEventListener("keydown", (event) => event.key === "Enter" && hold());
  button.addEventListener("keyup", release);
}

function begin() {
  if (!props.value || props.value.key === key) return;
  key = props.value.key;
  find(".status").dataset.visit = "begun";
  connect();
  requestAnimationFrame(step);
}
watch("value", begin);
begin();
