// A run as it happens. The page holds the drawn state (#run-state) and the id of the job at work; its events come from the
// listener (Server-Sent Events), or, where that cannot be reached, by asking /live/jobs/ID every 2 s. Metrics move the curve
// and the meter in place; whenever a station begins or ends, the drawn state is fetched again. Without this, reload.
import { startPlots } from "./plot.js";

const ASK_MS = 2000;
const IDLE_MS = 8000; // while no job is at work: somebody may press "run"
const KINDS = ["state", "stage", "progress", "metrics", "sample", "warning", "error", "log", "sandbox"];
const REDRAW = new Set(["state", "stage", "sample", "warning", "error", "sandbox"]);

const state = () => document.getElementById("run-state");
let source = null;
let followed = "";
let last = 0;
let redrawing = null;

function writeDuration(seconds) {
  if (seconds < 60) return `${Math.round(seconds)} s`;
  if (seconds < 3600) return `${Math.floor(seconds / 60)} min ${Math.round(seconds % 60)} s`;
  return `${Math.floor(seconds / 3600)} h ${Math.floor((seconds % 3600) / 60)} min`;
}

// The plots of a run in their order on the page: loss, then for pairs of answers who wins, and by how much.
function append(plot, name, step, value) {
  const figure = document.querySelectorAll("#curve figure[data-plot]")[plot];
  if (value != null && figure) figure.dispatchEvent(new CustomEvent("plot:append", { detail: { name, points: [[step, value]] } }));
}

function showMetrics(data) {
  if (!document.querySelector("#curve figure[data-plot]")) return redraw();
  append(0, "loss", data.step, data.loss);
  append(1, "learnt from", data.step, data.reward_accuracy);
  append(2, "lead", data.step, data.reward_margin);
  showProgress({ sentence: `Step ${data.step.toLocaleString("en")} of ${data.steps.toLocaleString("en")}`, done: data.step, total: data.steps, eta_s: data.eta_s });
  const write = (id, text) => { const place = document.getElementById(id); if (place) place.textContent = text; };
  write("now-rate", Number(data.learning_rate.toPrecision(3)));
  if (data.grad_norm != null) write("now-norm", data.grad_norm.toFixed(3));
  write("now-speed", `${Number(data.tokens_per_s.toPrecision(3)).toLocaleString("en")} tokens a second`);
}

function showProgress({ sentence, done, total, eta_s }) {
  const box = document.querySelector("[data-progress]");
  if (!box) return;
  if (sentence) box.querySelector("[data-now]").textContent = sentence;
  let meter = box.querySelector("progress");
  if (total && !meter) {
    meter = Object.assign(document.createElement("progress"), { className: "meter" });
    box.prepend(meter);
  }
  if (total) Object.assign(meter, { max: total, value: done ?? 0 });
  const eta = box.querySelector("[data-eta]");
  if (eta && eta_s != null) eta.textContent = `about ${writeDuration(eta_s)} left`;
}

function addLine(text) {
  const log = document.querySelector("[data-log]");
  if (!log || !text) return;
  const isAtEnd = log.scrollHeight - log.scrollTop - log.clientHeight < 40;
  const line = Object.assign(document.createElement("span"), { className: "log__line", textContent: `${new Date().toISOString().slice(11, 19)} ${text}\n` });
  log.append(line);
  if (isAtEnd) log.scrollTop = log.scrollHeight;
}

function take(kind, data) {
  if (kind === "metrics") showMetrics(data);
  else if (kind === "progress") {
    showProgress(data);
    addLine(data.sentence);
    append(0, "kept aside", data.step, data.held_out_loss);
    append(1, "kept aside", data.step, data.held_out_reward_accuracy);
  }
  if (REDRAW.has(kind)) redraw();
}

// The drawn state again, at most once a second; what the reader had opened stays open.
function redraw() {
  redrawing ??= setTimeout(async () => {
    redrawing = null;
    const root = state();
    try {
      const answer = await fetch(`/runs/${root.dataset.run}/state?seen=${root.dataset.seen}`);
      if (answer.status === 200) exchange(root, await answer.text());
    } catch {
      // A server that restarts is asked again later.
    }
    follow();
  }, 900);
}

function exchange(root, html) {
  const open = new Map([...root.querySelectorAll("details[id]")].map((item) => [item.id, item.open]));
  const scroll = root.querySelector("[data-log]")?.scrollTop;
  root.outerHTML = html;
  for (const [id, isOpen] of open) {
    const item = document.getElementById(id);
    if (item) item.open = isOpen;
  }
  const log = state().querySelector("[data-log]");
  if (log) log.scrollTop = scroll > 0 ? scroll : log.scrollHeight;
  startPlots(state());
}

function follow() {
  const { job, ticket, listener, after } = state().dataset;
  if (job === followed) return;
  source?.close();
  source = null;
  followed = job;
  last = Number(after) || 0;
  if (!job) return void setTimeout(() => { if (!followed) redraw(); }, IDLE_MS);
  if (listener && ticket) listen(job, `${listener}/live/jobs/${job}?ticket=${encodeURIComponent(ticket)}&after=${last}`);
  else ask(job);
}

function listen(job, address) {
  source = new EventSource(address);
  let hasSpoken = false;
  for (const kind of KINDS) {
    source.addEventListener(kind, (event) => {
      if (event.data === undefined) return; // the connection's own "error"
      hasSpoken = true;
      last = Number(event.lastEventId) || last;
      take(kind, JSON.parse(event.data));
    });
  }
  source.addEventListener("end", () => { source?.close(); redraw(); });
  source.addEventListener("error", (event) => {
    if (event.data !== undefined || (hasSpoken && source?.readyState === EventSource.CONNECTING)) return;
    source?.close();
    source = null;
    if (followed === job) ask(job);
  });
}

async function ask(job) {
  while (followed === job && !source) {
    if (!document.hidden) {
      try {
        const answer = await (await fetch(`/live/jobs/${job}?after=${last}`, { headers: { Accept: "application/json" } })).json();
        for (const { id, kind, data } of answer.events ?? []) {
          last = id;
          take(kind, data);
        }
        if (answer.progress?.sentence) showProgress(answer.progress);
        if (answer.ended !== false) return redraw();
      } catch {
        // Asked again at the next turn.
      }
    }
    await new Promise((done) => setTimeout(done, ASK_MS));
  }
}

if (state()) {
  const log = state().querySelector("[data-log]");
  if (log) log.scrollTop = log.scrollHeight;
  follow();
}
