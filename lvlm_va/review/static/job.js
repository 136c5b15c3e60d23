// The strip that shows work in progress, and the question to the server how things stand.

import { $, announce } from "./dom.js";
import { explain, get, post, refresh, state } from "./store.js";

const TITLES = { realign: "Aligning again", ask: "Asking the critic" };
const ENDS = { done: "done", failed: "failed", cancelled: "cancelled" };
const BUSY_MS = 400;
const IDLE_MS = 4000;
let timer = null;
let settled; // when the last job began that is known to have ended
let closed = null; // the ended job whose strip was closed

export function startJobs() {
  settled = state.job?.status === "running" ? undefined : state.job?.started;
  $("job-cancel").addEventListener("click", () => post("api/cancel").catch(explain));
  $("job-close").addEventListener("click", () => {
    closed = state.job?.started;
    $("job").hidden = true;
    $("main").focus();
  });
  document.addEventListener("visibilitychange", () => { if (!document.hidden) follow(); });
  follow();
}

// Ask now, and then again and again.
export async function follow() {
  clearTimeout(timer);
  let wait = IDLE_MS;
  try {
    const { revision, job } = await get("api/progress");
    state.job = job;
    show(job);
    const running = job?.status === "running";
    const ended = job && !running && job.started !== settled;
    if (running) wait = BUSY_MS;
    if (ended) {
      settled = job.started;
      announce(`${TITLES[job.kind]}: ${ENDS[job.status]}.`);
    }
    if (ended || revision !== state.revision) await refresh();
  } catch (error) {
    explain(error);
  }
  clearTimeout(timer);
  if (!document.hidden) timer = setTimeout(follow, wait);
}

function show(job) {
  $("job").hidden = !job || job.started === closed;
  if (!job) return;
  const running = job.status === "running";
  $("job").dataset.status = job.status;
  $("job-title").textContent = TITLES[job.kind];
  $("job-text").textContent = running ? `${job.text}, ${Math.round(job.seconds)} s` : ENDS[job.status];
  $("job-bar").hidden = !running;
  if (job.total) {
    $("job-bar").max = job.total;
    $("job-bar").value = job.done;
  } else {
    $("job-bar").removeAttribute("value");
  }
  $("job-cancel").hidden = !running;
  $("job-close").hidden = running;
  $("job-lines").textContent = job.lines.join("\n");
  $("job-details").hidden = !job.lines.length;
  if (job.status === "failed") $("job-details").open = true;
  $("align-start").disabled = running || Boolean(state.command?.reason);
}
