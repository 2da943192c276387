// Pictures: segments as one image each, fetched when a frame of theirs is shown, and let go of when they are old.
import { place } from "./visit.js";

const KEPT = 64, AGAIN_MS = 250;
const strips = new Map(); // by take and first frame: {take, revision, start, count, image}; the last that was used goes last
const coming = new Map(); // by take: {revision, frame, since}

// The strip that holds a frame of a take; undefined while it is on its way.
export function stripAt(take, frame) {
  for (const [name, strip] of strips) {
    if (strip.take === take.number && strip.start <= frame && frame < strip.start + strip.count) {
      strips.delete(name);
      strips.set(name, strip);
      return strip;
    }
  }
  fetchStrip(take, frame);
  return undefined;
}

// What a cut has changed, and takes that are gone, are forgotten.
export function forget(before, takes) {
  for (const [number, mine] of coming) {
    if (takes.find((take) => take.number === number)?.revision !== mine.revision) coming.delete(number);
  }
  for (const [name, strip] of strips) {
    const take = takes.find((each) => each.number === strip.take);
    const old = before?.find((each) => each.number === strip.take);
    const steps = take && old ? take.revision - old.revision : 0;
    const untouched = !take ? 0 : steps === 0 ? Infinity : steps === 1 ? take.untouched : 0;
    if (strip.start + strip.count > untouched) {
      strip.image.close();
      strips.delete(name);
    }
  }
}

async function fetchStrip(take, frame) {
  const under = coming.get(take.number);
  if (under && under.revision === take.revision) return; // one at a time
  const mine = { revision: take.revision };
  coming.set(take.number, mine);
  try {
    const answer = await fetch(`${place(take)}/${take.revision}/${frame}.jpg`);
    if (!answer.ok) throw new Error(answer.statusText);
    const image = await createImageBitmap(await answer.blob());
    if (coming.get(take.number) !== mine) return image.close();
    const start = Number(answer.headers.get("X-Start")), count = Number(answer.headers.get("X-Count"));
    strips.set(`${take.number}/${take.revision}/${start}`, { take: take.number, revision: mine.revision, start, count, image });
    if (strips.size > KEPT) drop(strips.keys().next().value);
    coming.delete(take.number);
  } catch (error) {
    setTimeout(() => coming.get(take.number) === mine && coming.delete(take.number), AGAIN_MS);
  }
}

function drop(name) {
  strips.get(name).image.close();
  strips.delete(name);
}

export function drawFrame(canvas, image, index, count) {
  const width = image.width / count, height = image.height;
  if (canvas.width !== width || canvas.height !== height) Object.assign(canvas, { width, height });
  canvas.getContext("2d").drawImage(image, index * width, 0, width, height, 0, 0, width, height);
}
