// What the expert says of each class, and the examples for the judge.

import { $, WORDS, make, many } from "./dom.js";
import { askAbout } from "./ask.js";
import { edit, onChange, state } from "./store.js";

export function startWords() {
  onChange((changes) => {
    if (changes === null || changes.some((change) => change.kind !== "examples")) showClasses(changes);
    if (changes === null || changes.some((change) => change.kind === "examples")) showExamples();
  });
}

// The images of a class with a verdict that no person gave, and how many such verdicts there are.
function touched(label) {
  const images = [...state.images.keys()].filter((i) => state.images[i].label === label);
  const verdicts = images.flatMap((i) => state.images[i].segments);
  const open = (segment) => segment.source !== "human";
  return {
    images: images.filter((i) => state.images[i].segments.some(open)),
    verdicts: verdicts.filter(open).length,
    human: verdicts.filter((segment) => !open(segment)).length,
  };
}

function showClasses(changes) {
  const old = new Map([...$("classes").children].map((card) => [card.dataset.label, card]));
  $("classes").replaceChildren(...state.classes.map((label) => {
    const card = old.get(label) ?? makeClass(label);
    const text = card.querySelector("textarea");
    // What is being written stays, unless this very description was changed.
    const changed = changes === null || changes.some((change) => change.kind === "description" && change.name === label);
    const saved = state.descriptions[label] ?? "";
    if (changed && (document.activeElement !== text || changes !== null)) text.value = saved;
    card.update();
    return card;
  }));
}

function makeClass(label) {
  const id = `description-${state.classes.indexOf(label)}`;
  const text = make("textarea", { id, rows: 3, maxLength: 10000, "aria-describedby": `${id}-note`, on: { input: () => card.update() } });
  const note = make("p", { id: `${id}-note`, class: "quiet" });
  const save = make("button", { type: "button", class: "primary", on: { click: () => edit("api/description", { label, text: text.value }, `Description of ${label}.`) } }, "Save");
  const undo = make("button", { type: "button", on: { click: () => { text.value = state.descriptions[label] ?? ""; card.update(); text.focus(); } } }, "As it was");
  const ask = make("button", { type: "button", on: { click: () => askAbout(touched(label).images) } }, "Ask the critic again …");
  const card = make("div", { class: "card" }, make("label", { for: id }, `Class ${label}`), text, note, make("div", { class: "buttons" }, save, undo, ask));
  card.dataset.label = label;
  card.update = () => {
    const { images, verdicts, human } = touched(label);
    const stay = human ? `; ${human.toLocaleString("en")} that a person gave stay` : "";
    const edited = text.value !== (state.descriptions[label] ?? "");
    note.textContent = edited
      ? `This change would touch ${many(verdicts, "verdict")} on ${many(images.length, "image")}${stay}.`
      : `${many(verdicts, "verdict")} on ${many(images.length, "image")} hang on these words${stay}.`;
    note.classList.toggle("edited", edited);
    save.disabled = undo.disabled = !edited;
    ask.disabled = edited || Boolean(state.critic.reason) || !images.length;
    ask.title = state.critic.reason ?? (edited ? "Save the description first." : "");
  };
  return card;
}

function showExamples() {
  const cards = state.examples.map(makeExample);
  $("example-list").replaceChildren(...(cards.length ? cards : [make("p", { class: "quiet" }, "There are no examples yet.")]));
}

function makeExample(example, number) {
  const id = `example-${number}`;
  const critique = make("textarea", { id: `${id}-critique`, rows: 4, maxLength: 10000 });
  critique.value = example.critique;
  const verdict = make("select", { id: `${id}-verdict` }, ...Object.entries(WORDS).map(([word, shown]) => make("option", { value: word }, shown)));
  verdict.value = example.verdict;
  const note = make("input", { id: `${id}-note`, type: "text", maxLength: 2000 });
  note.value = example.note;
  const send = (content, said) => edit("api/example", { number, example: content }, said);
  return make("div", { class: "card" },
    make("label", { for: `${id}-critique` }, `Example ${number + 1}: what the critic said`), critique,
    make("div", { class: "row" },
      make("label", {}, "Right verdict ", verdict),
      make("label", { class: "grow" }, "Why ", note)),
    make("div", { class: "buttons" },
      make("button", { type: "button", class: "primary", on: { click: () => send({ critique: critique.value, verdict: verdict.value, note: note.value }, `Example ${number + 1}.`) } }, "Save"),
      make("button", { type: "button", on: { click: () => send(null, `Example ${number + 1} removed.`) } }, "Remove")));
}
