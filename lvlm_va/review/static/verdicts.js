// The list of images, the image that is looked at, and the verdicts on its segments.

import { $, ANSWERS, WORDS, announce, make, many } from "./dom.js";
import { askAbout } from "./ask.js";
import { edit, explain, get, onChange, state } from "./store.js";

const KEYS = { s: "spurious", r: "relevant", u: "unsure" };
const ANSWER_KEYS = Object.fromEntries(
  Object.entries(ANSWERS).flatMap(([content, { keys }]) => [...keys].map((key) => [key, content])));
let queue = []; // [image, segment], both counted as the server does, in the order of j
let current = null; // one of them
let detail = null; // what the server says of the current image
let picture = "segments";

export function startVerdicts() {
  for (const name of ["class", "show", "order"]) $(`filter-${name}`).addEventListener("change", () => choose(null));
  for (const button of document.querySelectorAll("[data-picture]")) {
    button.addEventListener("click", () => showPicture(button.dataset.picture));
  }
  $("ask-shown").addEventListener("click", () => askAbout(shownImages()));
  $("ask-image").addEventListener("click", () => askAbout([current[0]]));
  document.addEventListener("keydown", onKey);
  onChange((changes) => {
    if (changes === null) {
      fillClasses();
      choose(current);
    } else {
      for (const index of new Set(changes.map((change) => indexOf(change.name)))) updateRow(index);
      if (changes.some((change) => change.kind === "critique" && indexOf(change.name) === current?.[0])) loadDetail();
      showCounts();
      showImage();
    }
  });
}

const indexOf = (id) => state.images.findIndex((image) => image.id === id);
const shownImages = () => [...new Set(queue.map(([image]) => image))];
const fits = {
  all: () => true,
  unsure: (segment) => segment.verdict === "unsure",
  spurious: (segment) => segment.verdict === "spurious",
  relevant: (segment) => segment.verdict === "relevant",
  open: (segment) => segment.source !== "human",
  human: (segment) => segment.source === "human",
};
const share = (image, word) => image.segments.reduce(
  (sum, segment) => sum + (segment.verdict === word ? segment.share : 0), 0);

function fillClasses() {
  const chosen = $("filter-class").value;
  const options = state.classes.map((name) => make("option", { value: name }, name));
  $("filter-class").replaceChildren(make("option", { value: "" }, "all classes"), ...options);
  $("filter-class").value = state.classes.includes(chosen) ? chosen : "";
}

// Make the list by the filters, and go to `wanted`, or to the first segment in it.
function choose(wanted) {
  const [label, show, order] = ["class", "show", "order"].map((name) => $(`filter-${name}`).value);
  let images = [...state.images.keys()].filter((i) => !label || state.images[i].label === label);
  const word = { unsure: "unsure", share: "spurious" }[order];
  if (word) images = images.sort((a, b) => share(state.images[b], word) - share(state.images[a], word));
  queue = images.flatMap((i) => state.images[i].segments
    .map((segment, k) => (fits[show](segment) ? [i, k + 1] : null))
    .filter(Boolean));
  $("images").replaceChildren(...shownImages().map(makeRow));
  const found = wanted && queue.find(([image, segment]) => image === wanted[0] && segment === wanted[1]);
  go(found ?? queue[0] ?? null, { focus: false });
  showCounts();
}

function makeRow(index) {
  const image = state.images[index];
  const row = make("li", {}, make("button", { type: "button", on: { click: () => go(queue.find(([i]) => i === index)) } },
    make("img", { src: `pictures/${index}/thumb.png`, alt: "", loading: "lazy", decoding: "async", width: "40", height: "40" }),
    make("span", { class: "name" }, image.id),
    make("small", {}, image.label),
    make("span", { class: "marks" })));
  row.dataset.image = index;
  fillMarks(row, image);
  return row;
}

function fillMarks(row, image) {
  row.querySelector(".marks").replaceChildren(...image.segments.map((segment) => make(
    "span",
    { class: `mark ${segment.verdict} ${segment.source === "human" ? "human" : ""}`, title: segment.verdict },
    WORDS[segment.verdict][0],
    make("span", { class: "unseen" }, `${segment.verdict} `),
  )));
}

const rowOf = (index) => $("images").querySelector(`[data-image="${index}"]`);

function updateRow(index) {
  const row = index >= 0 && rowOf(index);
  if (row) fillMarks(row, state.images[index]);
}

function showCounts() {
  const all = state.images.flatMap((image) => image.segments);
  const checked = all.filter(fits.human).length;
  $("counts").textContent = `${many(shownImages().length, "image")} shown, ${many(queue.length, "segment")}; `
    + `${checked.toLocaleString("en")} of ${all.length.toLocaleString("en")} checked by a person`;
  $("ask-shown").disabled = Boolean(state.critic.reason) || !queue.length;
  $("ask-image").disabled = Boolean(state.critic.reason) || !current;
  $("ask-shown").title = $("ask-image").title = state.critic.reason ?? "";
}

// Look at a segment.
async function go(place, { focus = true } = {}) {
  const moved = !current || !place || current[0] !== place[0];
  current = place;
  document.querySelector("#images [aria-current]")?.removeAttribute("aria-current");
  if (!place) {
    $("image-title").textContent = "No segment fits the filters";
    for (const id of ["image-label", "image-description", "critique-text"]) $(id).textContent = "";
    for (const id of ["picture-original", "picture-view", "picture-enlarged"]) $(id).removeAttribute("src");
    $("figure-enlarged").hidden = true;
    $("segments").replaceChildren();
    return;
  }
  const button = rowOf(place[0])?.querySelector("button");
  button?.setAttribute("aria-current", "true");
  button?.scrollIntoView({ block: "nearest" });
  if (moved) {
    detail = null;
    showImage();
    await loadDetail();
  } else {
    showImage();
  }
  const card = $("segments").querySelector("[aria-current]");
  card?.scrollIntoView({ block: "nearest" });
  if (focus) card?.focus({ preventScroll: true });
}

async function loadDetail() {
  const [index] = current;
  try {
    const found = await get(`api/images/${index}`);
    if (current?.[0] === index) {
      detail = found;
      showImage();
    }
  } catch (error) {
    explain(error);
  }
}

function showImage() {
  if (!current) return;
  const [index, number] = current;
  const image = state.images[index];
  $("image-title").textContent = image.id;
  $("image-label").textContent = `class ${image.label} · image ${index + 1} of ${state.images.length}`;
  $("image-description").textContent = state.descriptions[image.label] ?? "nothing was said of this class";
  $("critique-text").textContent = detail?.text ?? "";
  show("picture-original", `pictures/${index}/original.png`);
  $("picture-original").alt = `Image ${image.id}, class ${image.label}`;
  showPicture(picture);
  const active = document.activeElement;
  const kept = active?.closest?.("#segments li")?.dataset.segment;
  const { dataset: { part } = {}, value } = active ?? {};
  $("segments").replaceChildren(...image.segments.map((segment, k) => makeCard(index, k + 1, segment, k + 1 === number)));
  if (kept) {
    const card = $("segments").querySelector(`[data-segment="${kept}"]`);
    const again = card?.querySelector(`[data-part="${part}"]`) ?? card;
    if (part === "reason" && again !== card) again.value = value; // what is being written stays
    again?.focus({ preventScroll: true });
  }
}

// Look at what an undo or redo has changed.
export function showChanged(changes) {
  const change = changes?.find(({ kind }) => kind === "verdict");
  if (change && !$("verdicts").hidden) go([indexOf(change.name), change.segment]);
}

// A picture that the critic was shown of a segment.
const tile = (index, segment, enlarged = false) => `pictures/${index}/segment-${segment}${enlarged ? "-enlarged" : ""}.png`;

function show(id, source) {
  if ($(id).getAttribute("src") !== source) $(id).src = source;
}

function showPicture(name) {
  picture = name;
  for (const button of document.querySelectorAll("[data-picture]")) {
    button.setAttribute("aria-pressed", String(button.dataset.picture === name));
  }
  if (!current) return;
  const [index, segment] = current;
  const version = name === "after" ? `?alignment=${state.alignments.length}` : "";
  show("picture-view", name === "segments" ? tile(index, segment) : `pictures/${index}/${name}.png${version}`);
  $("figure-enlarged").hidden = name !== "segments" || !detail?.segments[segment - 1].enlarged;
  if (!$("figure-enlarged").hidden) show("picture-enlarged", tile(index, segment, true));
  $("picture-enlarged").alt = `Segment ${segment}, enlarged`;
  $("picture-view").alt = {
    segments: `Segment ${segment} in its own colours inside a thin line, the rest shaded blue`,
    effect: `What spoke ${state.direction} the class before alignment, in orange`,
    after: `What speaks ${state.direction} the class after alignment, in orange`,
  }[name];
}

function makeCard(index, number, segment, isCurrent) {
  const more = detail?.segments[number - 1];
  const human = segment.source === "human";
  const answers = Object.entries(ANSWERS).map(([content, { name, keys, words }]) => make("button", {
    type: "button",
    class: `choice ${state.follows[content]}`,
    "aria-pressed": String(segment.content === content),
    "aria-keyshortcuts": [...keys].join(" "),
    "data-part": content,
    title: `${words}: ${state.follows[content]} (${[...keys].join(" or ")})`,
    on: { click: () => { go([index, number], { focus: false }); tell(index, number, content); } },
  }, make("kbd", { "aria-hidden": "true" }, keys[0]), name));
  const look = [false, ...(more?.enlarged ? [true] : [])].map((enlarged) => make("img", {
    src: tile(index, number, enlarged), width: "136", height: "136", loading: "lazy", decoding: "async",
    alt: enlarged ? `Segment ${number}, enlarged` : `Segment ${number} inside a thin line`,
  }));
  const choices = Object.values(KEYS).map((word) => make("button", {
    type: "button",
    class: `choice ${word}`,
    "aria-pressed": String(segment.verdict === word),
    "data-part": word,
    on: { click: () => { go([index, number], { focus: false }); give(index, number, word); } },
  }, WORDS[word]));
  const reason = make("input", {
    type: "text", maxLength: 2000, value: segment.reason, "data-part": "reason", "aria-label": `Why, for segment ${number}`,
    on: { change: (event) => give(index, number, segment.verdict, event.target.value) },
  });
  reason.value = segment.reason;
  return make("li", {
    class: "segment", tabIndex: -1, "data-segment": String(number), ...(isCurrent ? { "aria-current": "true" } : {}),
    on: { click: (event) => { if (!isCurrent && event.target.closest("button,input") === null) go([index, number]); } },
  },
  make("div", { class: "segment-head" },
    make("strong", {}, `Segment ${number}`),
    make("span", { class: "quiet" }, `${Math.round(segment.share * 100)} % of the effect${more ? `, ${more.position}` : ""}`),
    make("span", { class: `by ${human ? "human" : ""}` }, human ? "a person" : segment.source || "nobody")),
  make("div", { class: "look" }, ...look, human ? "" : make("p", { class: "said" }, segment.reason)),
  make("div", { class: "choices answers", role: "group", "aria-label": `What segment ${number} shows` }, ...answers),
  make("div", { class: "choices", role: "group", "aria-label": `Verdict on segment ${number}` }, ...choices),
  human ? make("label", { class: "reason" }, make("span", {}, "Why "), reason) : "",
  human ? make("button", { type: "button", class: "link", "data-part": "example", on: { click: () => promote(index, number) } }, "Use as example") : "");
}

async function give(index, number, verdict, reason) {
  const sent = { verdict, ...(reason === undefined ? {} : { reason }) };
  if (await enter(index, number, sent, verdict) && $("keys-advance").checked && reason === undefined) step(1);
}

// Say what a segment shows; the verdict follows.
async function tell(index, number, content) {
  if (await enter(index, number, { content }, `${content}, so ${state.follows[content]}`) && $("keys-advance").checked) step(1);
}

function enter(index, number, sent, said) {
  const image = state.images[index];
  return edit("api/verdict", { image: image.id, segment: number, ...sent }, `Segment ${number} of ${image.id}: ${said}.`);
}

function promote(index, number) {
  const image = state.images[index];
  return edit("api/promote", { image: image.id, segment: number }, `Segment ${number} of ${image.id} is an example for the judge.`);
}

function step(by) {
  if (!queue.length) return;
  const place = current ? queue.findIndex(([i, k]) => i === current[0] && k === current[1]) : -1;
  const next = place + by;
  if (next < 0 || next >= queue.length) announce(by > 0 ? "This is the last segment." : "This is the first segment.");
  else go(queue[next]);
}

function onKey(event) {
  if (event.ctrlKey || event.metaKey || event.altKey || !$("keys-on").checked) return;
  if (event.target.closest("input:not([type=checkbox]), textarea, select, dialog")) return;
  const key = event.key.toLowerCase();
  if (key === "z") {
    event.preventDefault();
    $(event.shiftKey ? "redo" : "undo").click();
  }
  if (event.shiftKey || $("verdicts").hidden || !current) return;
  const views = [...document.querySelectorAll("[data-picture]")].map((button) => button.dataset.picture);
  const act = {
    j: () => step(1),
    k: () => step(-1),
    e: () => promote(...current),
    v: () => showPicture(views[(views.indexOf(picture) + 1) % views.length]),
  }[key] ?? (KEYS[key] && (() => give(...current, KEYS[key]))) ?? (ANSWER_KEYS[key] && (() => tell(...current, ANSWER_KEYS[key])));
  if (!act) return;
  event.preventDefault();
  act();
}
