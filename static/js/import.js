// An archive goes up as the body itself, with a bar that says how far it is. Without this script the page is an ordinary form.

const form = document.querySelector("form[data-import]");
if (form) form.addEventListener("submit", (event) => { event.preventDefault(); send(); });

function send() {
  const file = form.elements.archive.files[0];
  const bar = form.querySelector("progress");
  const button = form.querySelector("button.button--primary");
  const fields = new URLSearchParams();
  for (const name of ["owner", "name", "visibility"]) fields.set(name, form.elements[name].value);
  const request = new XMLHttpRequest();
  request.open("POST", `/new/import?${fields}`);
  request.setRequestHeader("Content-Type", "application/x-tar");
  request.setRequestHeader("Accept", "application/json");
  request.setRequestHeader("X-CSRFToken", form.elements.csrfmiddlewaretoken.value);
  request.upload.addEventListener("progress", ({ loaded, total }) => {
    bar.value = loaded / total;
    tell(loaded < total ? `${Math.floor((100 * loaded) / total)}% is there` : "All is there; its history is being checked …");
  });
  const fail = (text) => { bar.hidden = true; button.disabled = false; tell(text, true); };
  request.addEventListener("error", () => fail("The connection was cut, or the hub refused the file before it was there. Check owner, name and room, and try again."));
  request.addEventListener("load", () => {
    let answer = {};
    try { answer = JSON.parse(request.responseText); } catch {} // a proxy in between has answered
    if (request.status < 400 && answer.address) location.assign(answer.address);
    else fail(answer.error ?? "The import failed, and the hub did not say why.");
  });
  bar.hidden = false;
  button.disabled = true;
  tell("Uploading …");
  request.send(file);
}

function tell(text, isProblem = false) {
  const state = form.querySelector("[data-import-state]");
  state.className = isProblem ? "field__error" : "muted small";
  state.setAttribute("role", isProblem ? "alert" : "status");
  state.textContent = text;
}
