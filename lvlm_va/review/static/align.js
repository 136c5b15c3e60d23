// Align again, and compare.

import { $, make, many } from "./dom.js";
import { follow } from "./job.js";
import { explain, onChange, post, state } from "./store.js";

export function startAlign() {
  $("align-start").addEventListener("click", async () => {
    try {
      await post("api/realign");
      $("align-start").disabled = true;
      follow();
    } catch (error) {
      explain(error);
    }
  });
  onChange(show);
}

function show() {
  const spurious = state.images.flatMap((image) => image.segments).filter((segment) => segment.verdict === "spurious").length;
  $("align-what").textContent = `The classifier is trained anew from before its alignment, so that it no longer relies on the `
    + `${many(spurious, "segment")} now judged spurious. The critic is not asked; this takes as long as the first alignment.`;
  $("align-reason").textContent = state.command.reason ?? "";
  $("align-reason").hidden = !state.command.reason;
  $("align-details").hidden = Boolean(state.command.reason);
  $("align-command").textContent = `cd ${state.command.folder}\n${state.command.text}`;
  $("align-start").disabled = Boolean(state.command.reason) || state.job?.status === "running";
  $("figures").replaceChildren(...(state.alignments.length ? [table()] : [make("p", { class: "quiet" },
    "Nothing was measured: the run has no test images, or was aligned again elsewhere.")]));
}

const shown = (name) => name.replaceAll("_", " ");
const two = (value) => (value === undefined || value === null ? "–" : value.toFixed(3));

function table() {
  const [first] = state.alignments;
  const columns = [
    { title: "before alignment", small: "", figures: first.before },
    ...state.alignments.map((found, i) => ({
      title: found.first ? "as the review began" : "aligned again",
      small: found.first ? "" : `${found.by}, ${new Date(found.at).toLocaleString()}, revision ${found.revision}`,
      figures: found.after,
    })),
  ];
  const head = columns.map(({ title, small }) => make("th", { scope: "col" }, title, make("small", {}, small)));
  const rows = Object.keys(first.after).map((name) => make("tr", {},
    make("th", { scope: "row" }, shown(name)),
    ...columns.map(({ figures }, i) => {
      const change = i > 0 ? figures[name] - columns[i - 1].figures[name] : 0;
      const sign = change > 0.0005 ? "up" : change < -0.0005 ? "down" : "";
      const delta = sign && make("small", { class: sign }, `${sign === "up" ? "▲ +" : "▼ −"}${Math.abs(change).toFixed(3)}`);
      return make("td", {}, two(figures[name]), " ", delta);
    })));
  return make("table", {},
    make("caption", {}, `On ${state.measured}; differences to the column before`),
    make("thead", {}, make("tr", {}, make("th", { scope: "col" }, "measure"), ...head)),
    make("tbody", {}, ...rows));
}
