// Uploading from the browser: files go up one after another, each in pieces that are asked for again after a failure,
// then one commit takes them all. Without this script the page is an ordinary form.

const TRIES = 6;
const form = document.querySelector("form[data-upload]");
if (form) start(form);

function start(form) {
  const drop = form.querySelector("[data-drop]");
  const input = form.querySelector('input[type="file"]');
  const list = form.querySelector("[data-files]");
  const chosen = new Map(); // path -> {file, row}
  form.querySelector("[data-drop-hint]").hidden = false;
  input.required = false;

  input.addEventListener("change", () => {
    for (const file of input.files) add(file.webkitRelativePath || file.name, file);
    input.value = "";
  });
  for (const kind of ["dragenter", "dragover"]) drop.addEventListener(kind, (event) => { event.preventDefault(); drop.classList.add("is-over"); });
  for (const kind of ["dragleave", "drop"]) drop.addEventListener(kind, () => drop.classList.remove("is-over"));
  drop.addEventListener("drop", async (event) => {
    event.preventDefault();
    for (const [path, file] of await readDropped(event.dataTransfer)) add(path, file);
  });
  form.addEventListener("submit", (event) => {
    event.preventDefault();
    send(form, chosen).catch((problem) => tell(form, problem.message, true));
  });

  function add(path, file) {
    chosen.get(path)?.row.remove();
    const row = document.createElement("div");
    row.className = "upload-file";
    row.innerHTML = '<span class="upload-file__path"></span><span class="upload-file__state"></span><progress class="meter" max="1" value="0"></progress>';
    row.querySelector(".upload-file__path").textContent = path;
    row.querySelector("progress").setAttribute("aria-label", `Progress of ${path}`);
    const remove = Object.assign(document.createElement("button"), { type: "button", className: "link-button", textContent: "remove" });
    remove.setAttribute("aria-label", `Remove ${path}`);
    remove.addEventListener("click", () => { row.remove(); chosen.delete(path); list.hidden = !chosen.size; });
    const part = Object.assign(document.createElement("span"), { className: "upload-file__remove" });
    part.append(" · ", remove);
    row.querySelector(".upload-file__state").append(writeSize(file.size), part);
    list.append(row);
    list.hidden = false;
    chosen.set(path, { file, row });
  }
}

async function readDropped(transfer) {
  const entries = [...transfer.items].map((item) => item.webkitGetAsEntry?.()).filter(Boolean);
  if (!entries.length) return [...transfer.files].map((file) => [file.name, file]);
  const found = [];
  const walk = async (entry) => {
    if (entry.isFile) {
      found.push([entry.fullPath.replace(/^\//, ""), await new Promise((done, fail) => entry.file(done, fail))]);
      return;
    }
    const reader = entry.createReader();
    for (;;) { // a folder is read in batches until one comes empty
      const batch = await new Promise((done, fail) => reader.readEntries(done, fail));
      if (!batch.length) return;
      for (const inner of batch) await walk(inner);
    }
  };
  for (const entry of entries) await walk(entry);
  return found;
}

async function send(form, chosen) {
  if (!chosen.size) throw new Error("Choose a file first.");
  const button = form.querySelector("button.button--primary");
  const folder = form.elements.folder.value.trim().replace(/^\/+|\/+$/g, "");
  button.disabled = true;
  form.classList.add("is-sending");
  try {
    const files = [];
    let done = 0;
    for (const [path, { file, row }] of chosen) {
      tell(form, `Uploading ${++done} of ${chosen.size}: ${path}`);
      files.push(await sendFile(form, folder ? `${folder}/${path}` : path, file, row));
    }
    tell(form, "Writing the commit …");
    const answer = await ask(form, "/commit", {
      branch: form.dataset.branch,
      title: form.elements.title.value,
      description: form.elements.description.value,
      goes_to: form.elements.goes_to.value,
      files,
    });
    tell(form, "Done.");
    location.href = answer.address;
  } finally {
    button.disabled = false;
    form.classList.remove("is-sending");
  }
}

async function sendFile(form, path, file, row) {
  const about = { path, size: file.size, modified: String(file.lastModified) };
  const [bar, state] = [row.querySelector("progress"), row.querySelector(".upload-file__state")];
  const { part_bytes, part_count, have } = await ask(form, "/start", about);
  const arrived = new Set(have);
  if (arrived.size && arrived.size < part_count) state.textContent = `going on after ${arrived.size} of ${part_count} pieces`;
  for (let number = 1; number <= part_count; number++) {
    if (!arrived.has(number)) {
      const piece = file.slice((number - 1) * part_bytes, Math.min(number * part_bytes, file.size));
      await putPart(form, about, number, piece, (sent) => show((number - 1) * part_bytes + sent));
    }
    show(Math.min(number * part_bytes, file.size));
  }
  function show(bytes) {
    bar.value = file.size ? bytes / file.size : 1;
    state.textContent = `${writeSize(bytes)} of ${writeSize(file.size)}`;
  }
  bar.value = 1;
  state.textContent = "checking …";
  const { sha256 } = await ask(form, "/finish", about);
  state.textContent = `${writeSize(file.size)}, uploaded`;
  return { ...about, ...(sha256 && { sha256 }) };
}

function putPart(form, about, number, piece, onProgress) {
  const address = `${form.dataset.upload}/parts/${number}?${new URLSearchParams(about)}`;
  const once = () => new Promise((done, fail) => {
    const request = new XMLHttpRequest(); // fetch tells no progress of what it sends
    request.open("PUT", address);
    request.setRequestHeader("X-CSRFToken", form.elements.csrfmiddlewaretoken.value);
    request.setRequestHeader("Content-Type", "application/octet-stream");
    request.setRequestHeader("Accept", "application/json");
    request.upload.onprogress = ({ loaded }) => onProgress(loaded);
    request.onload = () => (request.status < 300 ? done() : fail(refusal(request.status, request.responseText)));
    request.onerror = () => fail(new Error("The connection was cut."));
    request.send(piece);
  });
  return persist(form, once);
}

function ask(form, what, data) {
  return persist(form, async () => {
    const answer = await fetch(form.dataset.upload + what, {
      method: "POST",
      headers: { "Content-Type": "application/json", Accept: "application/json", "X-CSRFToken": form.elements.csrfmiddlewaretoken.value },
      body: JSON.stringify(data),
    });
    if (!answer.ok) throw refusal(answer.status, await answer.text());
    return answer.json();
  });
}

// A refusal (4xx) is final; a cut connection or a restarting server is tried again, a little later each time.
async function persist(form, once) {
  for (let attempt = 1; ; attempt++) {
    try {
      return await once();
    } catch (problem) {
      if (problem.isFinal || attempt === TRIES) throw problem;
      tell(form, `${problem.message} Trying again (${attempt + 1} of ${TRIES}) …`);
      await new Promise((done) => setTimeout(done, 500 * 2 ** attempt));
    }
  }
}

function refusal(status, text) {
  let message = `The hub answered ${status}.`;
  try {
    message = JSON.parse(text).error;
  } catch {
    const page = new DOMParser().parseFromString(text, "text/html");
    message = page.querySelector("main h1 + p, main p")?.textContent.trim() || message;
  }
  return Object.assign(new Error(message), { isFinal: status >= 400 && status < 500 });
}

function tell(form, message, isProblem = false) {
  const state = form.querySelector("[data-upload-state]");
  state.textContent = message;
  state.className = isProblem ? "field__error" : "muted small";
}

function writeSize(bytes) {
  const units = ["B", "kB", "MB", "GB", "TB"];
  let [value, unit] = [bytes, 0];
  while (value >= 999.5 && unit < units.length - 1) { value /= 1000; unit++; }
  return `${Number(value.toPrecision(3))} ${units[unit]}`;
}
