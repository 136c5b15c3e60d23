// What was done, and the file of verdicts.

import { $, make, many } from "./dom.js";
import { edit, explain, get, onChange, refresh } from "./store.js";

const ACTIONS = {
  start: "The review began", edit: "Changed", import: "Imported", ask: "The critic was asked again",
  undo: "Undone", redo: "Made again", realign: "Aligned again",
};
const MOST_SHOWN = 5;

export function startHistory() {
  onChange(() => { if (!$("history").hidden) showHistory(); });
  $("import").addEventListener("change", async (event) => {
    const [file] = event.target.files;
    if (!file) return;
    const table = await file.text();
    event.target.value = "";
    if (await edit("api/import", { table }, "Imported.")) await refresh();
  });
}

export async function showHistory() {
  try {
    const { entries } = await get("api/journal");
    $("entries").replaceChildren(...entries.map(makeEntry));
  } catch (error) {
    explain(error);
  }
}

function makeEntry(entry) {
  const lines = entry.action === "start" ? [] : entry.changes.slice(0, MOST_SHOWN).map((change) => make("li", {}, describe(change)));
  if (entry.action !== "start" && entry.n_changes > MOST_SHOWN) lines.push(make("li", {}, `and ${many(entry.n_changes - MOST_SHOWN, "more change")}`));
  return make("li", {},
    make("p", {}, make("strong", {}, ACTIONS[entry.action]), ` by ${entry.by}, `,
      make("time", { datetime: entry.at }, new Date(entry.at).toLocaleString()), ` (revision ${entry.revision})`),
    lines.length ? make("ul", {}, ...lines) : "");
}

function said(value) {
  if (!value) return "nothing";
  const shows = value.content && value.content !== value.verdict ? `${value.content}, ` : "";
  return shows + value.verdict + (value.reason ? ` (${value.reason})` : "");
}

function describe({ kind, name, segment, from, to }) {
  if (kind === "verdict") return `${name}, segment ${segment}: ${said(from)} → ${said(to)}`;
  if (kind === "description") return `Class ${name}: “${from ?? ""}” → “${to ?? ""}”`;
  if (kind === "examples") return `${many(from?.length ?? 0, "example")} → ${many(to?.length ?? 0, "example")}`;
  return `New critique of ${name}`;
}
