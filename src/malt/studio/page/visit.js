// The visit: its key, which this browser keeps; its scene over a WebSocket that comes back by itself; and what is asked for.
import { changed, find, say, state } from "./state.js";

const SILENT_MS = 5_000, RETRY_MS = [300, 600, 1_200, 2_000], UNKNOWN = 4404;
let key = localStorage.getItem("malt-visit"), socket = null, heard = 0, tries = 0;
const listeners = [];

export const base = location.pathname.replace(/\/$/, "") + "/studio";
export const place = (take) => `${base}/${key}/${take.number}`;
export const onScene = (listener) => listeners.push(listener);

export async function get(path) {
  return read(await fetch(`${base}/${path}`));
}

async function read(answer) {
  const content = await answer.json();
  if (!answer.ok) throw new Error(content.error?.message ?? answer.statusText);
  return content;
}

// Have something done; a sentence says why it was not.
export async function ask(what, body, method = "POST") {
  const isFile = body instanceof Blob;
  const headers = isFile ? {} : { "Content-Type": "application/json" };
  try {
    return await read(await fetch(`${base}/${key}/${what}`, { method, headers, body: isFile ? body : JSON.stringify(body ?? {}) }));
  } catch (error) {
    say(error instanceof TypeError ? "The studio cannot be reached, so that was not done." : capital(error.message), "problem");
    return undefined;
  }
}

export const tell = (event) => socket?.readyState === WebSocket.OPEN && socket.send(JSON.stringify(event));

export async function connect() {
  try {
    if (!key) await welcome();
    listen();
  } catch (error) {
    show(false);
    setTimeout(connect, RETRY_MS.at(-1));
  }
}

async function welcome() {
  key = (await read(await fetch(`${base}/visits`, { method: "POST" }))).key;
  localStorage.setItem("malt-visit", key);
}

function listen() {
  const opened = new WebSocket(location.origin.replace(/^http/, "ws") + `${base}/${key}`);
  socket = opened;
  heard = performance.now();
  opened.onmessage = (message) => {
    heard = performance.now();
    tries = 0;
    if (!state.linked) show(true);
    const before = state.scene;
    state.scene = JSON.parse(message.data);
    listeners.forEach((listener) => listener(before, state.scene));
    if (state.scene.problem && state.scene.problem !== before?.problem) say(capital(state.scene.problem), "problem");
    changed();
  };
  opened.onclose = (event) => {
    if (socket !== opened) return;
    if (event.code === UNKNOWN) {
      if (state.scene?.takes.length) say(capital(event.reason), "problem");
      key = null;
      state.scene = null;
      return connect();
    }
    show(false);
    setTimeout(() => socket === opened && connect(), RETRY_MS[Math.min(tries++, RETRY_MS.length - 1)]);
  };
}

// A cut network closes nothing: silence is what tells.
setInterval(() => {
  if (socket && state.linked && performance.now() - heard > SILENT_MS) {
    const silent = socket;
    show(false);
    silent.onclose({ code: 1006 });
    silent.close();
  }
}, 500);
addEventListener("online", () => !state.linked && connect());
addEventListener("storage", (event) => event.key === "malt-visit" && event.newValue !== key && location.reload());

function show(linked) {
  state.linked = linked;
  document.body.dataset.link = linked ? "there" : "gone";
  find("link").textContent = linked ? "" : "No connection. What was made is safe; trying again.";
  changed();
}

const capital = (sentence) => sentence.charAt(0).toUpperCase() + sentence.slice(1);
