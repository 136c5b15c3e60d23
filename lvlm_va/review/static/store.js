// What the server told us, and the edits that wait to be sent to it, one at a time.

import { announce, notice } from "./dom.js";

export const state = {};
const listeners = [];
let queue = Promise.resolve();

// `listener` gets the changes of an edit, or null when all may have changed.
export const onChange = (listener) => listeners.push(listener);

function tell(changes) {
  for (const listener of listeners) listener(changes);
}

async function answer(response) {
  if (response.ok) return response.json();
  let reason = await response.text();
  try { reason = JSON.parse(reason).error; } catch { /* plain text */ }
  throw Object.assign(new Error(reason), { status: response.status });
}

export const get = async (path) => answer(await fetch(path, { cache: "no-store" }));

export const post = async (path, content = {}) => answer(await fetch(path, {
  method: "POST",
  headers: { "Content-Type": "application/json" },
  body: JSON.stringify(content),
}));

export async function refresh() {
  Object.assign(state, await get("api/state"));
  tell(null);
}

export function explain(error) {
  if (error.status === undefined) {
    notice("The review does not answer, so the last change was not saved. Start lvlm-va review again and open its new link; all that was saved is there.");
  } else {
    notice(error.message);
  }
}

// Send an edit made on the present revision; resolves to the changes that were saved, or to null.
export function edit(path, content, said) {
  const sent = queue.then(async () => {
    try {
      const done = await post(path, { ...content, revision: state.revision });
      const { changes, ...more } = done;
      Object.assign(state, more);
      for (const change of changes) put(change);
      notice("");
      tell(changes);
      announce(changes.length ? `${said} Saved.` : "Nothing to change.");
      return changes;
    } catch (error) {
      if (error.status === 409) {
        await refresh();
        notice("Something was changed elsewhere in the meantime, so your last change was not made. The page shows the present state.");
      } else {
        explain(error);
      }
      return null;
    }
  });
  queue = sent;
  return sent;
}

function put({ kind, name, segment, to }) {
  if (kind === "description") {
    if (to === null) delete state.descriptions[name];
    else state.descriptions[name] = to;
  } else if (kind === "examples") {
    state.examples = to ?? [];
  } else if (kind === "verdict") {
    const image = state.images.find((found) => found.id === name);
    if (image) Object.assign(image.segments[segment - 1], { content: "" }, to ?? { verdict: "unsure", reason: "", source: "" });
  }
}
