// Pictures, films and sounds into a comment: chosen, dropped or pasted, they are uploaded and named where the cursor is.

const KINDS = "image/png,image/jpeg,image/gif,image/webp,video/mp4,video/quicktime,video/webm,audio/mpeg,audio/wav";

for (const area of document.querySelectorAll("textarea[data-attach]")) prepare(area);

function prepare(area) {
  const chooser = Object.assign(document.createElement("input"), { type: "file", accept: KINDS, multiple: true, hidden: true });
  const button = Object.assign(document.createElement("button"), { type: "button", className: "button button--quiet button--small", textContent: "Attach a file" });
  const state = Object.assign(document.createElement("span"), { className: "field__help" });
  state.setAttribute("role", "status");
  const line = Object.assign(document.createElement("div"), { className: "cluster" });
  line.append(button, state, chooser);
  area.after(line);
  const take = (files) => attachAll(area, state, [...files]);
  button.addEventListener("click", () => chooser.click());
  chooser.addEventListener("change", async () => {
    await take(chooser.files);
    chooser.value = "";
  });
  area.addEventListener("dragover", (event) => event.preventDefault());
  for (const name of ["drop", "paste"]) {
    area.addEventListener(name, (event) => {
      const files = (event.dataTransfer ?? event.clipboardData)?.files;
      if (!files?.length) return; // words
      event.preventDefault();
      take(files);
    });
  }
}

async function attachAll(area, state, files) {
  for (const file of files) {
    tell(state, false);
    state.textContent = `Uploading ${file.name} …`;
    try {
      insert(area, name(file, await upload(area.form, file)));
      state.textContent = `${file.name} is attached.`;
    } catch (problem) {
      tell(state, true);
      state.textContent = problem.message;
      return;
    }
  }
}

function tell(state, isProblem) {
  state.className = isProblem ? "field__error" : "field__help";
  state.setAttribute("role", isProblem ? "alert" : "status");
}

async function upload(form, file) {
  let answer;
  try {
    const headers = { "Content-Type": file.type || "application/octet-stream", "X-CSRFToken": form.elements.csrfmiddlewaretoken.value };
    answer = await fetch("/uploads", { method: "POST", body: file, headers });
  } catch {
    throw new Error(`${file.name} did not arrive: the connection was cut. Try again.`);
  }
  const text = await answer.text();
  if (answer.ok) return text.trim();
  let reason = "the hub did not say why.";
  try {
    reason = JSON.parse(text).error;
  } catch {} // a proxy in between has answered
  throw new Error(`${file.name} was not attached: ${reason}`);
}

// As HfApi.upload_attachment tells people to write it.
function name(file, address) {
  if (/\.(mp4|mov|webm)$/.test(address)) return `\n\n${address}\n\n`;
  if (/\.(mp3|wav)$/.test(address)) return `\n\n<audio controls src="${address}"></audio>\n\n`;
  return `![${file.name.replace(/[\[\]\\\n]/g, " ")}](${address})`;
}

function insert(area, text) {
  area.setRangeText(text, area.selectionStart, area.selectionEnd, "end");
  area.dispatchEvent(new Event("input", { bubbles: true })); // a draft is kept of it
  area.focus();
}
