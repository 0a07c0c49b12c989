// Line plots without a library. Each <figure data-plot> holds the picture that the server drew (hub/web/plots.py) and its
// numbers as JSON; here the same picture is drawn at the width of the page, with a reading under the pointer, and live.
//
//   <figure class="plot" data-plot data-live-url="/runs/12/metrics"> ... <script type="application/json">
//     {"series": [{"name": "loss", "points": [[1, 4.2], [2, 4.0]]}], "x_label": "step", "y_label": "loss"}
//
// `data-live-url` is asked every 2 s with ?after=<last x of the first series>; it answers {"series": [{"name", "points"}], "ended": bool}
// with the points that are new. Scripts append by themselves with
//   figure.dispatchEvent(new CustomEvent("plot:append", { detail: { name: "loss", points: [[3, 3.9]] } }))

const HEIGHT = 240;
const [LEFT, TOP, BOTTOM] = [52, 26, 28];
const [RIGHT_MIN, LETTER] = [66, 6.6];
const LABEL_GAP = 14;
const MAX_POINTS = 800;
const LIVE_MS = 2000;

export function niceTicks(low, high, count = 5, isWhole = false) {
  if (high - low <= 1e-10 * Math.max(1, Math.abs(low), Math.abs(high))) high = low + Math.max(1, Math.abs(low));
  const rough = Math.max((high - low) / Math.max(count - 1, 1), isWhole ? 1 : 0);
  const power = 10 ** Math.floor(Math.log10(rough));
  const factors = isWhole ? [1, 2, 5, 10] : [1, 2, 2.5, 5, 10];
  const step = factors.map((factor) => factor * power).find((value) => value >= rough * 0.999);
  const ticks = [];
  for (let index = Math.floor(low / step + 1e-9); index <= Math.ceil(high / step - 1e-9); index++) {
    ticks.push(Number((index * step).toPrecision(12)));
  }
  return ticks;
}

export function writeNumber(value) {
  const size = Math.abs(value);
  if (size >= 1e9) return `${Number((value / 1e9).toPrecision(4))}B`;
  if (size >= 1e6) return `${Number((value / 1e6).toPrecision(4))}M`;
  if (size >= 1e4) return `${Number((value / 1e3).toPrecision(4))}k`;
  return `${Number(value.toPrecision(4))}`;
}

const isFinitePoint = ([x, y]) => Number.isFinite(x) && Number.isFinite(y);

function thinOut(points) {
  if (points.length <= MAX_POINTS) return points;
  const stride = Math.ceil(points.length / MAX_POINTS);
  const kept = points.filter((_, index) => index % stride === 0);
  if (kept.at(-1) !== points.at(-1)) kept.push(points.at(-1));
  return kept;
}

function element(name, attributes, text) {
  const made = document.createElementNS("http://www.w3.org/2000/svg", name);
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  if (text !== undefined) made.textContent = text;
  return made;
}

class Plot {
  constructor(figure) {
    this.figure = figure;
    this.picture = figure.querySelector(".plot__picture");
    this.data = JSON.parse(figure.querySelector('script[type="application/json"]').textContent);
    this.width = 0;
    figure.addEventListener("plot:append", ({ detail }) => this.append([detail]));
    new ResizeObserver(() => this.draw()).observe(this.picture);
    this.picture.addEventListener("pointermove", (event) => this.read(event));
    this.picture.addEventListener("pointerleave", () => this.draw(true));
    if (figure.dataset.liveUrl) this.follow();
  }

  append(series) {
    for (const { name, points } of series) {
      const known = this.data.series.find((line) => line.name === name);
      const fresh = points.filter(isFinitePoint);
      if (known) known.points.push(...fresh.filter(([x]) => !known.points.length || x > known.points.at(-1)[0]));
      else this.data.series.push({ name, points: fresh });
    }
    this.draw(true);
  }

  async follow() {
    while (this.figure.isConnected) {
      if (!document.hidden) {
        const last = this.data.series[0]?.points.at(-1)?.[0] ?? -1; // the first series is the one that grows
        const address = new URL(this.figure.dataset.liveUrl, location.href);
        address.searchParams.set("after", last);
        try {
          const answer = await (await fetch(address, { headers: { Accept: "application/json" } })).json();
          if (answer.series?.some((line) => line.points.length)) this.append(answer.series);
          if (answer.ended) return;
        } catch {
          // A server that restarts is asked again at the next turn.
        }
      }
      await new Promise((done) => setTimeout(done, LIVE_MS));
    }
  }

  draw(force = false) {
    const width = Math.max(260, Math.round(this.picture.clientWidth));
    const lines = this.data.series.map((line) => ({ ...line, points: line.points.filter(isFinitePoint) }));
    const points = lines.flatMap((line) => line.points);
    if (!points.length || (!force && width === this.width)) return;
    this.width = width;
    const names = lines.map((line) => (line.points.length ? `${line.name} ${writeNumber(line.points.at(-1)[1])}` : ""));
    const right = Math.max(RIGHT_MIN, 12 + LETTER * Math.max(...names.map((name) => name.length)));
    const spread = (values) => [Math.min(...values), Math.max(...values)];
    const xTicks = niceTicks(...(this.data.x_range ?? spread(points.map(([x]) => x))), width < 420 ? 4 : 5, points.every(([x]) => Number.isInteger(x)));
    const yTicks = niceTicks(...(this.data.y_range ?? spread(points.map(([, y]) => y))));
    this.placeX = (x) => LEFT + ((x - xTicks[0]) / (xTicks.at(-1) - xTicks[0])) * (width - LEFT - right);
    this.placeY = (y) => HEIGHT - BOTTOM - ((y - yTicks[0]) / (yTicks.at(-1) - yTicks[0])) * (HEIGHT - TOP - BOTTOM);
    const about = this.picture.querySelector("svg")?.getAttribute("aria-label") ?? this.data.title ?? "";
    const svg = element("svg", { viewBox: `0 0 ${width} ${HEIGHT}`, role: "img", "aria-label": about });
    for (const tick of yTicks) {
      const y = this.placeY(tick);
      svg.append(element("line", { class: "plot__grid", x1: LEFT, x2: width - right, y1: y, y2: y }));
      svg.append(element("text", { x: LEFT - 8, y: y + 4, "text-anchor": "end" }, writeNumber(tick)));
    }
    for (const tick of xTicks) svg.append(element("text", { x: this.placeX(tick), y: HEIGHT - BOTTOM + 18, "text-anchor": "middle" }, writeNumber(tick)));
    svg.append(element("text", { x: width - 2, y: HEIGHT - BOTTOM + 18, "text-anchor": "end" }, this.data.x_label ?? ""));
    svg.append(element("text", { x: LEFT - 44, y: TOP - 14 }, this.data.y_label ?? ""));
    const ends = [];
    lines.forEach((line, index) => {
      if (!line.points.length) return;
      const kind = `plot__series-${(index % 4) + 1}`;
      const places = thinOut(line.points).map(([x, y]) => `${this.placeX(x).toFixed(1)},${this.placeY(y).toFixed(1)}`);
      // A value alone is a line to itself, whose round ends make a dot.
      const look = places.length === 1 ? "plot__line plot__line--dot" : "plot__line";
      if (places.length === 1) places.push(places[0]);
      svg.append(element("polyline", { class: `${look} ${kind}`, points: places.join(" ") }));
      const [x, y] = line.points.at(-1);
      ends.push({ y: this.placeY(y), x: this.placeX(x), kind, text: names[index] });
    });
    let lowest = -Infinity;
    for (const end of ends.sort((a, b) => a.y - b.y)) {
      lowest = Math.max(end.y, lowest + LABEL_GAP);
      svg.append(element("text", { class: `plot__label ${end.kind}`, x: end.x + 6, y: lowest + 4 }, end.text));
    }
    this.picture.replaceChildren(svg);
  }

  // The reading under the pointer: each line's value at the nearest x.
  read(event) {
    const svg = this.picture.querySelector("svg");
    if (!svg || !this.placeX) return;
    const box = svg.getBoundingClientRect();
    const wanted = ((event.clientX - box.left) / box.width) * this.width;
    const all = this.data.series.flatMap((line) => line.points.map(([x]) => x));
    if (!all.length) return;
    const x = all.reduce((best, value) => (Math.abs(this.placeX(value) - wanted) < Math.abs(this.placeX(best) - wanted) ? value : best));
    const values = this.data.series.map((line) => [line.name, line.points.find((point) => point[0] === x)]).filter(([, point]) => point);
    svg.querySelector(".plot__cursor")?.remove();
    svg.append(element("line", { class: "plot__cursor", x1: this.placeX(x), x2: this.placeX(x), y1: TOP, y2: HEIGHT - BOTTOM }));
    const note = this.figure.querySelector(".plot__note");
    if (note) note.textContent = `${this.data.x_label || "x"} ${writeNumber(x)}: ${values.map(([name, [, y]]) => `${name} ${writeNumber(y)}`).join(", ")}`;
  }
}

const started = new WeakSet();
export function startPlots(root = document) {
  for (const figure of root.querySelectorAll("figure[data-plot]")) {
    if (started.has(figure) || !figure.querySelector('script[type="application/json"]')) continue;
    started.add(figure);
    new Plot(figure);
  }
}

if (typeof document !== "undefined") {
  startPlots();
  document.addEventListener("htmx:afterSettle", () => startPlots());
}
