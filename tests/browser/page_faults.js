// What is wrong with this page, as sentences. Plain rules on purpose: each can be checked by looking.
() => {
  const faults = [];
  const all = (query) => [...document.querySelectorAll(query)];
  const say = (what, element) => faults.push(`${what}: ${element.outerHTML.slice(0, 160).replace(/\s+/g, " ")}`);
  const textOf = (id) => document.getElementById(id)?.textContent ?? "";

  if (!document.documentElement.lang) faults.push("the page names no language");
  if (!document.title.trim()) faults.push("the page has no title");
  if (all("main").length !== 1) faults.push("the page has not exactly one main part");

  // Text that people wrote (.prose) has headings of its own.
  const first = all("h1:not(.prose *)");
  if (first.length !== 1) faults.push(`the page has ${first.length} h1: ${first.map((item) => item.textContent.trim()).join(" | ")}`);
  let level = 1;
  for (const heading of all("main :is(h1, h2, h3, h4):not(.prose *)")) {
    const now = Number(heading.tagName[1]);
    if (now > level + 1) say(`a heading jumps from h${level} to h${now}`, heading);
    level = now;
  }

  const nameOf = (element) => {
    const labels = [...(element.labels ?? [])].map((label) => label.textContent);
    const named = (element.getAttribute("aria-labelledby") ?? "").split(" ").filter(Boolean).map(textOf);
    const said = element.matches("input, select, textarea") ? [] : [element.textContent];
    const drawn = [...element.querySelectorAll("img[alt], [aria-label]")].map((item) => item.alt || item.getAttribute("aria-label"));
    return [element.getAttribute("aria-label"), ...labels, ...named, ...said, ...drawn].join(" ").trim();
  };
  for (const image of all("img:not([alt])")) say("an image without a text", image);
  for (const drawing of all("svg:not([aria-hidden])")) if (!nameOf(drawing)) say("a drawing without a name", drawing);
  for (const field of all("input:not([type=hidden], [hidden]), select, textarea")) if (!nameOf(field)) say("a field without a label", field);
  for (const thing of all("a[href], button, summary")) if (!nameOf(thing)) say("nothing says what this does", thing);
  for (const group of all("fieldset")) if (!group.querySelector("legend")) say("a group of fields without a name", group);
  for (const table of all("main table:not(.prose *, .source *, .diff *)")) if (!table.querySelector("th")) say("a table without heads", table);

  const ids = all("[id]").map((element) => element.id);
  for (const id of new Set(ids.filter((id, index) => ids.indexOf(id) !== index))) faults.push(`the id ${id} is there twice`);
  for (const link of all('a[href^="#"]:not(.prose *)')) {
    const id = decodeURIComponent(link.hash.slice(1));
    if (id && !document.getElementById(id)) say("a link to nowhere on this page", link);
  }
  return faults;
}
