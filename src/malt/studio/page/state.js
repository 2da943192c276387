// What all parts of the page share: the scene that the studio tells, and what is seen of it.

export const state = {
  scene: null, // what the studio tells of the visit
  models: [], // names
  facts: {}, // what is known of a model, by its name
  model: "", // the one that a new video is made with
  composing: false, // a new video is being thought of, though there are others
  linked: false,
  at: 0, // the frame that is seen, between frames too
  playing: true,
};

const listeners = [];
export const onChange = (listener) => listeners.push(listener);
export const changed = () => listeners.forEach((listener) => listener());

export const find = (id) => document.getElementById(id);
export const takes = () => state.scene?.takes ?? [];
export const takeOf = (number) => takes().find((take) => take.number === number);
export const current = () => (state.scene ? takeOf(state.scene.current) : undefined);
export const composing = () => state.composing || !current();
export const target = () => state.facts[composing() ? state.model : current().model]; // the model that is spoken to
export const resting = () => !state.scene || state.scene.state === "resting";
export const seconds = (frames, take) => (frames / take.rate).toFixed(1);

// Where a cut at the frame that is seen would be: the border at it or the last before; undefined within given frames.
export const snap = (take) => take.borders.findLast((border) => border <= Math.min(Math.floor(state.at), take.made));

// One line, which goes away by itself.
let clearing = 0;
export function say(sentence, kind = "") {
  const line = find("message");
  line.textContent = sentence;
  line.dataset.kind = kind;
  clearTimeout(clearing);
  if (sentence) clearing = setTimeout(say, kind === "problem" ? 10_000 : 6_000, "");
}
