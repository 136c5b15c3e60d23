"use strict";
(() => {
  const root = document.documentElement;
  const byId = (id) => document.getElementById(id);
  const fields = { label: byId("f-class"), verdict: byId("f-verdict"), share: byId("f-share"), order: byId("f-order") };
  const views = [...document.querySelectorAll("input[name=view]")];
  const list = byId("cards");
  const cards = [...list.children];
  const rows = [...byId("ranking").tBodies[0].rows];
  root.classList.add("js");

  const fits = (segment, verdict, share) =>
    (!verdict || segment.dataset.verdict === verdict) && Number(segment.dataset.share) >= share;

  function filter() {
    const label = fields.label.value, verdict = fields.verdict.value, share = fields.share.value / 100;
    byId("f-share-says").textContent = fields.share.value + " %";
    const all = !verdict && !share;
    let shown = 0;
    for (const card of cards) {
      const segments = [...card.querySelectorAll(".segments li")];
      card.hidden = (label && card.dataset.label !== label) || !(all || segments.some((a) => fits(a, verdict, share)));
      shown += !card.hidden;
    }
    for (const row of rows) {
      row.hidden = (label && row.dataset.label !== label) || !fits(row, verdict, share);
    }
    byId("count").textContent = `${shown} of ${cards.length} images`;
  }

  function order() {
    const key = fields.order.value;
    const down = key === "number" ? 1 : -1;
    const value = (card) => down * Number(card.dataset[key]);
    list.append(...[...cards].sort((a, b) => value(a) - value(b)));
  }

  function view(name) {
    root.dataset.view = name;
    for (const choice of views) choice.checked = choice.value === name;
  }

  function reset() {
    fields.label.value = fields.verdict.value = "";
    fields.share.value = 0;
    filter();
  }

  function theme() {
    const dark = root.dataset.theme ? root.dataset.theme === "dark" : matchMedia("(prefers-color-scheme: dark)").matches;
    root.dataset.theme = dark ? "light" : "dark";
  }

  function step(by) {
    const shown = [...list.children].filter((card) => !card.hidden);
    const at = shown.indexOf(document.activeElement.closest(".card"));
    const next = shown[at < 0 ? (by > 0 ? 0 : -1) : at + by] ?? (at < 0 ? shown.at(-1) : undefined);
    if (next) { next.focus({ preventScroll: true }); next.scrollIntoView({ block: "center" }); }
  }

  const keys = {
    j: () => step(1), k: () => step(-1), a: reset, t: theme,
    1: () => view("overlay"), 2: () => view("image"), 3: () => view("map"),
  };
  document.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey || /^(INPUT|SELECT|TEXTAREA)$/.test(event.target.tagName)) return;
    if (keys[event.key]) { event.preventDefault(); keys[event.key](); }
  });
  for (const name of ["label", "verdict", "share"]) fields[name].addEventListener("input", filter);
  fields.order.addEventListener("input", order);
  for (const choice of views) choice.addEventListener("input", () => view(choice.value));
  byId("reset").addEventListener("click", reset);
  byId("theme").addEventListener("click", theme);
  filter();
  order();
})();
