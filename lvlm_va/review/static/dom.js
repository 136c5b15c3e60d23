// Elements are made of text and attributes only: whatever a model or a file name holds stays text.

export const $ = (id) => document.getElementById(id);

export function make(tag, attributes = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (name === "class") element.className = value;
    else if (name === "on") for (const [event, act] of Object.entries(value)) element.addEventListener(event, act);
    else if (name in element && typeof value !== "string") element[name] = value;
    else element.setAttribute(name, value);
  }
  element.append(...children);
  return element;
}

export function announce(text) {
  $("live").textContent = "";
  requestAnimationFrame(() => { $("live").textContent = text; });
}

export function notice(text) {
  $("notice").textContent = text;
  $("notice").hidden = !text;
}

export const many = (n, noun) => `${n.toLocaleString("en")} ${noun}${n === 1 ? "" : "s"}`;

export const WORDS = { spurious: "✕ spurious", relevant: "✓ relevant", unsure: "? unsure" };

// What a segment may show, with the keys that say so.
export const ANSWERS = {
  artefact: { name: "Artefact", keys: "1a", words: "a foreign thing, such as a letter, a ruler or a patch" },
  object: { name: "Object", keys: "2o", words: "the object itself, which should count" },
  surroundings: { name: "Surroundings", keys: "3b", words: "plain surroundings (background), such as empty ground" },
  mixed: { name: "Mixed", keys: "4m", words: "a good part of both, a foreign thing and the object" },
};
