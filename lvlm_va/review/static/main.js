// Start the page.

import { $ } from "./dom.js";
import { startAlign } from "./align.js";
import { startAsking } from "./ask.js";
import { showHistory, startHistory } from "./history.js";
import { startJobs } from "./job.js";
import { edit, explain, onChange, refresh, state } from "./store.js";
import { showChanged, startVerdicts } from "./verdicts.js";
import { startWords } from "./words.js";

const VIEWS = ["verdicts", "descriptions", "examples", "align", "history"];

function showView() {
  const wanted = location.hash.slice(1);
  const name = VIEWS.includes(wanted) ? wanted : VIEWS[0];
  for (const view of VIEWS) {
    $(view).hidden = view !== name;
    const link = document.querySelector(`[data-view="${view}"]`);
    if (view === name) link.setAttribute("aria-current", "page");
    else link.removeAttribute("aria-current");
  }
  if (name === "history") showHistory();
}

// The token in the link was exchanged for a cookie; it need not stay in the history.
history.replaceState(null, "", `${location.pathname}${location.hash}`);
addEventListener("hashchange", showView);
$("undo").addEventListener("click", async () => showChanged(await edit("api/undo", {}, "Undone.")));
$("redo").addEventListener("click", async () => showChanged(await edit("api/redo", {}, "Made again.")));
onChange(() => {
  $("undo").disabled = !state.undo;
  $("redo").disabled = !state.redo;
  $("saved").textContent = `All changes saved · revision ${state.revision}`;
});
startVerdicts();
startWords();
startAlign();
startAsking();
startHistory();
showView();
try {
  await refresh();
  startJobs();
} catch (error) {
  explain(error);
}
