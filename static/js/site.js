// What every page gains from JavaScript: copy buttons, keys, menus that close, marked lines, kept drafts, ticking clocks.

document.addEventListener("click", async (event) => {
  const button = event.target.closest("[data-copy]");
  if (!button) return;
  event.preventDefault();
  await copyText(button.dataset.copy);
  button.dataset.copied = "";
  const says = button.querySelector(".visually-hidden");
  const before = says?.textContent;
  if (says) says.textContent = "Copied";
  button.title = "Copied";
  setTimeout(() => {
    delete button.dataset.copied;
    if (says) says.textContent = before;
    button.title = before ?? "Copy";
  }, 1500);
});

async function copyText(text) {
  try {
    await navigator.clipboard.writeText(text);
  } catch {
    // Without https the clipboard is closed to scripts; the old way still works.
    const area = Object.assign(document.createElement("textarea"), { value: text });
    document.body.append(area);
    area.select();
    document.execCommand("copy");
    area.remove();
  }
}

// Menus are <details>: one at a time, closed by Escape or a click elsewhere.
document.addEventListener("click", (event) => {
  for (const menu of document.querySelectorAll("details.menu[open]")) if (!menu.contains(event.target)) menu.open = false;
  if (!event.target.closest(".top-bar__search")) clearInstant();
});

document.addEventListener("keydown", (event) => {
  if (event.key === "Escape") {
    for (const menu of document.querySelectorAll("details.menu[open]")) {
      menu.open = false;
      menu.querySelector("summary").focus();
    }
    clearInstant();
    return;
  }
  const isTyping = event.target.closest("input, textarea, select, [contenteditable]");
  if (isTyping || event.ctrlKey || event.metaKey || event.altKey) return;
  if (event.key === "/") {
    event.preventDefault();
    document.getElementById("search-box")?.focus();
  } else if (event.key === "t") {
    const place = document.querySelector("[data-names]");
    if (place) {
      event.preventDefault();
      findFile(place.dataset.names);
    }
  } else if (event.key === "y") {
    const link = document.querySelector("[data-permalink]");
    if (link) location.href = link.getAttribute("href") + location.hash;
  }
});

function clearInstant() {
  document.getElementById("instant")?.replaceChildren();
}

// File finder: all names of this revision, narrowed while typing.
let finder;
async function findFile(address) {
  const { base, paths } = await (await fetch(address)).json();
  finder?.remove();
  finder = document.createElement("dialog");
  finder.className = "card finder";
  finder.innerHTML = '<label for="finder-words"><strong>Find a file</strong></label><input id="finder-words" type="search" autocomplete="off"><div class="finder__found" role="listbox" aria-label="Files"></div>';
  document.body.append(finder);
  const [words, found] = [finder.querySelector("input"), finder.querySelector(".finder__found")];
  const show = () => {
    const parts = words.value.toLowerCase().split(/\s+/);
    const hits = paths.filter((path) => parts.every((part) => path.toLowerCase().includes(part))).slice(0, 30);
    found.replaceChildren(...hits.map((path) => {
      const href = `${base.replace(/\/$/, "")}/${path.split("/").map(encodeURIComponent).join("/")}`;
      return Object.assign(document.createElement("a"), { className: "menu__item", href, textContent: path });
    }));
  };
  words.addEventListener("input", show);
  words.addEventListener("keydown", (event) => {
    if (event.key === "Enter") found.querySelector("a")?.click();
  });
  finder.addEventListener("close", () => finder.remove());
  show();
  finder.showModal();
}

// Lines of a file: #L10 and #L10-L20. Shift-click on a number marks up to it.
function markLines() {
  const range = location.hash.match(/^#L(\d+)(?:-L(\d+))?$/);
  for (const row of document.querySelectorAll(".source tr.is-marked")) row.classList.remove("is-marked");
  if (!range) return;
  const [from, to] = [Number(range[1]), Number(range[2] ?? range[1])].sort((a, b) => a - b);
  for (let line = from; line <= Math.min(to, from + 5000); line++) document.getElementById(`L${line}`)?.classList.add("is-marked");
  if (range[2]) document.getElementById(`L${from}`)?.scrollIntoView({ block: "center" });
}
addEventListener("hashchange", markLines);
markLines();
document.addEventListener("click", (event) => {
  const number = event.target.closest(".source__number a");
  const start = location.hash.match(/^#L(\d+)/);
  if (!number || !event.shiftKey || !start) return;
  event.preventDefault();
  const line = Number(number.textContent);
  location.hash = `L${Math.min(line, Number(start[1]))}-L${Math.max(line, Number(start[1]))}`;
});

// Drafts: what was typed survives a reload, until it is sent.
for (const area of document.querySelectorAll("textarea[data-draft]")) {
  const key = `draft:${location.pathname}:${area.dataset.draft}`;
  if (!area.value) area.value = sessionStorage.getItem(key) ?? "";
  area.addEventListener("input", () => sessionStorage.setItem(key, area.value));
  area.form?.addEventListener("submit", () => sessionStorage.removeItem(key));
}

// Clocks of running work tick here, so that the server need not send the page again for them.
function writeDuration(seconds) {
  if (seconds < 60) return `${Math.round(seconds)} s`;
  if (seconds < 3600) return `${Math.floor(seconds / 60)} min ${Math.round(seconds % 60)} s`;
  return `${Math.floor(seconds / 3600)} h ${Math.floor((seconds % 3600) / 60)} min`;
}
setInterval(() => {
  for (const clock of document.querySelectorAll("[data-since]")) {
    clock.textContent = writeDuration((Date.now() - new Date(clock.dataset.since)) / 1000);
  }
}, 1000);

// A polled fragment is exchanged whole; what the reader had opened stays open.
document.addEventListener("htmx:beforeSwap", ({ detail }) => {
  const open = [...detail.target.querySelectorAll("details[id][open]")].map((element) => element.id);
  const closed = [...detail.target.querySelectorAll("details[id]:not([open])")].map((element) => element.id);
  const restore = () => {
    for (const id of open) document.getElementById(id)?.setAttribute("open", "");
    for (const id of closed) document.getElementById(id)?.removeAttribute("open");
  };
  document.addEventListener("htmx:afterSettle", restore, { once: true });
});
