// The details: of the take, of its memory, and of a new video.
import { changed, composing, current, find, onChange, resting, say, seconds, state } from "./state.js";
import { ask, place } from "./visit.js";

const WAYS = {
  malt: "malt: segments with a memory",
  full: "full: all at once",
  sliding_window: "sliding window: the last frames only",
  keyframes: "keyframes, filled in",
  diffusion_forcing: "diffusion forcing",
};
const megabytes = (bytes) => `${(bytes / 1e6).toFixed(bytes < 1e7 ? 1 : 0)} MB`;
let hasFirst = false;

export const newMaze = () => Math.floor(Math.random() * 10_000);

// What a new video is to be like.
export function settings() {
  const number = (name) => (find(name).value.trim() === "" ? null : Number(find(name).value.replace(",", ".")));
  const seed = number("seed"), isTrue = find("maze").value === "true";
  return {
    rollout: find("rollout").value || "malt",
    seed,
    steps: number("steps"),
    guidance: number("guidance"),
    first: hasFirst,
    maze: state.facts[state.model].walks && isTrue && !hasFirst ? seed ?? newMaze() : null,
  };
}

function facts(take) {
  const made = take.made, going = !resting() && take.number === state.scene.current;
  const rate = state.scene.rate ? `, ${state.scene.rate.toFixed(1)} frames/s` : "";
  const parent = take.parent ? [["From", `take ${take.parent[0]} at ${seconds(take.parent[1], take)} s`]] : [];
  return [
    ["State", going ? (state.scene.state === "waiting" ? "waits for its turn" : `being made${rate}`) : "at rest"],
    ["Length", `${seconds(made, take)} s, ${made} frames`],
    ["Model", `${take.model}, ${take.rollout}`],
    ["Seed", take.maze === null ? take.seed : `${take.seed}, maze ${take.maze}`],
    ...parent,
    ["Memory", megabytes(take.memory)],
    ["Studio", megabytes(state.scene.resident)],
  ];
}

function moment([name, frame], take) {
  const line = document.createElement("li"), label = document.createElement("span");
  label.textContent = `${name}, ${seconds(frame, take)} s`;
  line.append(label);
  for (const [change, caption] of [["recall", "Recall"], ["forget", "Forget"]]) {
    const button = document.createElement("button");
    Object.assign(button, { type: "button", textContent: caption, disabled: !state.linked });
    button.setAttribute("aria-label", `${caption} ${name}`);
    button.addEventListener("click", () => changeMemory(change, name));
    line.append(button);
  }
  return line;
}

const DONE = { keep: "Kept", recall: "Recalled; the video goes on from there", forget: "Forgotten" };
async function changeMemory(change, name) {
  if ((await ask("memory", { change, name })) !== undefined) say(`${DONE[change]}: ${name}.`);
}

let told = "", listed = "", firstFor = "";
onChange(() => {
  if (firstFor !== state.model) {
    firstFor = state.model; // what was sent fits one model
    hasFirst = false;
    find("first").value = "";
    find("first-state").hidden = true;
  }
  find("first").disabled = !state.linked || !state.facts[state.model]; // what is sent is read for a model
  const take = composing() ? undefined : current();
  find("about").hidden = find("memory").hidden = !take;
  find("maze-label").hidden = !state.facts[state.model]?.walks;
  if (!take) return;
  find("about").querySelector("summary").textContent = `Take ${take.number}`;
  const lines = facts(take), text = JSON.stringify(lines);
  if (text !== told) {
    told = text;
    find("facts").replaceChildren(...lines.flatMap(([name, value]) => [["dt", name], ["dd", value]]).map(([tag, value]) => {
      const made = document.createElement(tag);
      made.textContent = value;
      return made;
    }));
  }
  for (const [id, file] of [["video", "video.mp4"], ["session", "session.zip"]]) {
    if (take.made) find(id).href = `${place(take)}/${file}`;
    else find(id).removeAttribute("href");
    find(id).setAttribute("aria-disabled", String(!take.made));
  }
  find("drop").disabled = !state.linked;
  find("keep").disabled = !state.linked || !take.made || !find("name").value.trim();
  const moments = JSON.stringify([take.number, take.moments, state.linked]);
  if (moments !== listed) {
    listed = moments;
    find("moments").replaceChildren(...take.moments.map((each) => moment(each, take)));
  }
});

find("drop").addEventListener("click", async () => {
  const { number } = current();
  if ((await ask("drop", { take: number })) !== undefined) say(`Take ${number} is deleted; undo brings it back.`);
});
find("name").addEventListener("input", changed);
find("keeping").addEventListener("submit", async (event) => {
  event.preventDefault();
  const name = find("name").value.trim();
  if (!name || find("keep").disabled) return;
  await changeMemory("keep", name);
  find("name").value = "";
  changed();
});
find("first").addEventListener("change", async () => {
  const [file] = find("first").files, line = find("first-state");
  hasFirst = false;
  line.hidden = !file;
  if (!file) return;
  line.textContent = "Being sent…";
  const done = await ask(`first?model=${encodeURIComponent(state.model)}`, file, "PUT");
  hasFirst = Boolean(done);
  line.textContent = done ? `The next new video begins with ${done.frames} frames of ${file.name}.` : "It cannot be used.";
  if (!done) find("first").value = "";
  changed();
});

find("settings").open = matchMedia("(min-width: 900px)").matches;

export function fillWays(names) {
  find("rollout").replaceChildren(...names.map((name) => new Option(WAYS[name] ?? name, name)));
}
