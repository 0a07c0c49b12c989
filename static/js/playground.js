// An answer as it is said: tokens from the listener, else by asking every second. When it is over the page is read again,
// so that what may be done with an answer is there. Without this the page refreshes itself.
const KINDS = ["state", "progress", "token", "answer"];
const ASK_MS = 1000;
const box = document.querySelector("#answer[data-job]");
let text = "";
let last = 0;
let isOver = false;

function take(kind, data) {
  if (kind === "token") text += data.text;
  else if (kind === "answer") text = data.text;
  else if (kind === "state" && data.state === "running") text = "";
  else if (kind === "progress") box.querySelector("[data-now]").textContent = `${data.sentence}…`;
  box.querySelector("[data-text]").textContent = text;
}

function finish() {
  if (isOver) return;
  isOver = true;
  location.reload();
}

async function ask() {
  while (!isOver) {
    try {
      const answer = await (await fetch(`/live/jobs/${box.dataset.job}?after=${last}`, { headers: { Accept: "application/json" } })).json();
      for (const { id, kind, data } of answer.events ?? []) {
        last = id;
        take(kind, data);
      }
      if (answer.ended) return finish();
    } catch {
      // Asked again at the next turn.
    }
    await new Promise((done) => setTimeout(done, ASK_MS));
  }
}

function listen() {
  const { listener, job, ticket } = box.dataset;
  const source = new EventSource(`${listener}/live/jobs/${job}?ticket=${encodeURIComponent(ticket)}&after=0`);
  for (const kind of KINDS) {
    source.addEventListener(kind, (event) => {
      if (event.data === undefined) return;
      last = Number(event.lastEventId) || last;
      take(kind, JSON.parse(event.data));
    });
  }
  source.addEventListener("end", () => { source.close(); finish(); });
  source.addEventListener("error", (event) => {
    if (event.data !== undefined) return;
    source.close();
    ask();
  });
}

if (box?.dataset.job) {
  if (box.dataset.listener && box.dataset.ticket) listen();
  else ask();
}

// Enter asks, Shift+Enter breaks the line.
document.getElementById("question")?.addEventListener("keydown", (event) => {
  if (event.key !== "Enter" || event.shiftKey || event.isComposing) return;
  event.preventDefault();
  event.target.form.requestSubmit();
});
