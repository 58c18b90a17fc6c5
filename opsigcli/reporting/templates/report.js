"use strict";
const all = (selector, root = document) => Array.from(root.querySelectorAll(selector));
const value = (text) => parseFloat(text.replace(/\u2212/g, "-").replace(/[, +%]/g, ""));
const clamp = (v, low, high) => Math.min(high, Math.max(low, v));
const finite = Number.isFinite, spelled = (v) => v.toLocaleString("en");
const written = (v, digits = 4) => finite(v) ? String(+v.toPrecision(digits)).replace("-", "\u2212") : "\u2013";
const set = (node, attributes) => Object.entries(attributes).forEach(([key, to]) => node.setAttribute(key, to));
const make = (name, attributes, parent, text) => {
  const node = document.createElementNS(parent.namespaceURI, name);
  set(node, attributes);
  if (text !== undefined) node.textContent = text;
  return parent.appendChild(node);
};
const button = (parent, words, run, attributes) => {
  const node = make("button", { type: "button", ...attributes }, parent, words);
  on(node, "click", run);
  return node;
};
const on = (node, name, run) => node.addEventListener(name, run);
const part = (name) => document.getElementById(name + "-parts").content.cloneNode(true);

// Charts over steps share one view. They are zoomed by where their marks stand: nothing else is known here.
const charts = [];
const many = +document.body.dataset.checkpoints;
const { low: begin, high: end } = document.querySelector("#loss svg.chart").dataset, whole = [+begin, +end];
let view = whole;
const share = (step) => (step - whole[0]) / (whole[1] - whole[0] || 1);
const level = ({ log, bottom, top }, v) => log ? Math.log(v / bottom) / Math.log(top / bottom) : (v - bottom) / (top - bottom);

function adopt(svg) {
  const figure = svg.closest("figure"), data = svg.dataset;
  const chart = { svg, figure, mode: data.steps, low: +data.low, high: +data.high, height: +data.height, at: -1,
    bottom: +data.bottom, top: +data.top, log: "log" in data, right: +data.right,
    axes: svg.querySelector(".axes"), planes: all(".plane", svg), slots: all("[data-column]", figure),
    names: all("thead th", figure).map((head) => head.textContent) };
  chart.view = [chart.low, chart.high];
  chart.drawn = chart.axes.innerHTML;
  chart.rows = all("tbody tr", figure).map((row) => Array.from(row.cells, (cell) => cell.textContent))
    .map((cells) => ({ step: value(cells[0]), cells }));
  chart.marks = all("line, text, circle, svg:not(.plane)", svg).filter((node) => !node.closest(".axes, .plane")).map((node) => {
    const x = ["x", "x1", "cx"].find((name) => /%$/.test(node.getAttribute(name) || ""));
    const y = node.tagName !== "line" ? (node.tagName === "circle" ? "cy" : "y") : x ? "" : "y1";
    return { node, x, y, at: x && parseFloat(node.getAttribute(x)) / 100, down: y && +node.getAttribute(y) };
  });
  const [area, chosen, line, tag] = part("cursor").firstElementChild.children;
  [area, chosen, line].forEach((node) => set(node, { height: chart.height, y2: chart.height }));
  svg.append(area, chosen, line, tag);
  Object.assign(chart, { chosen, line, tag });
  set(svg, { tabindex: 0 });
  listen(chart);
  charts.push(chart);
  return chart;
}

function listen(chart) {
  const { svg } = chart;
  let from = null;
  const at = (event, box = svg.getBoundingClientRect()) => clamp((event.clientX - box.left) / box.width, 0, 1);
  const step = (share) => chart.view[0] + share * (chart.view[1] - chart.view[0]);
  on(svg, "pointerdown", (event) => {
    if (!chart.mode || event.button || event.pointerType === "touch") return;
    from = at(event);
    svg.setPointerCapture(event.pointerId);
  });
  on(svg, "pointermove", (event) => {
    if (chart.rows.length) show(chart.rows[nearest(chart, step(at(event)))].step);
    if (from === null) return;
    const low = Math.min(from, at(event)), wide = Math.abs(from - at(event));
    set(chart.chosen, { visibility: wide > 0.01 ? "visible" : "hidden", x: 100 * low + "%", width: 100 * wide + "%" });
  });
  on(svg, "pointerup", (event) => {
    set(chart.chosen, { visibility: "hidden" });
    const to = at(event);
    if (from !== null && Math.abs(from - to) > 0.01) zoom(step(Math.min(from, to)), step(Math.max(from, to)));
    from = null;
  });
  on(svg, "dblclick", () => { if (chart.mode) zoom(...whole); });
  on(svg, "pointerleave", () => show(NaN));
  on(svg, "blur", () => show(NaN));
  on(svg, "keydown", (event) => {
    if (chart.mode && moves[event.key]) moves[event.key]();
    if (event.key === "Escape") show(NaN);
    const last = chart.rows.length - 1;
    const to = { ArrowLeft: chart.at - 1, ArrowRight: chart.at + 1, Home: 0, End: last,
      PageUp: chart.at - 10, PageDown: chart.at + 10 }[event.key];
    if (to === undefined || last < 0) return;
    event.preventDefault();
    const row = chart.rows[clamp(to, 0, last)];
    if (chart.mode && (row.step < view[0] || row.step > view[1])) zoom(...whole);
    show(row.step);
    document.getElementById("status").textContent = chart.names.map((name, i) => name + " " + row.cells[i]).join(", ");
  });
}

const nearest = (chart, step) => chart.rows.reduce(
  (best, row, i) => Math.abs(row.step - step) < Math.abs(chart.rows[best].step - step) ? i : best, 0);

// One crosshair over every chart; the numbers come from the chart's own table and stand in its legend.
function show(step) {
  charts.forEach((chart) => {
    const [low, high] = chart.view, inside = chart.rows.length && step >= low && step <= high;
    chart.at = inside ? nearest(chart, step) : -1;
    const row = inside ? chart.rows[chart.at] : null;
    [chart.line, chart.tag].forEach((node) => set(node, { visibility: row ? "visible" : "hidden" }));
    chart.slots.forEach((slot) => { slot.textContent = row ? row.cells[+slot.dataset.column] : ""; });
    if (!row) return;
    const share = high > low ? clamp((row.step - low) / (high - low), 0, 1) : 0.5, right = share > 0.85;
    const x = 100 * share + "%";
    set(chart.line, { x1: x, x2: x });
    set(chart.tag, { x, dx: right ? -5 : 5, "text-anchor": right ? "end" : "start" });
    chart.tag.textContent = chart.names[0] + " " + row.cells[0];
  });
}

const round = (low, high, count) => {
  const rough = (high - low) / count, power = 10 ** Math.floor(Math.log10(rough));
  const unit = power * [1, 2, 5, 10].find((m) => 1.4 * m * power >= rough), first = Math.ceil(low / unit - 1e-9);
  return Array.from({ length: Math.floor(high / unit + 1e-9) - first + 1 }, (_, i) => +((first + i) * unit).toPrecision(12));
};
const decades = (low, high) => {
  const of = (times) => Array.from({ length: Math.ceil(Math.log10(high / low)) + 1 }, (_, e) => 10 ** (e + Math.floor(Math.log10(low))))
    .flatMap((power) => times.map((m) => m * power)).filter((tick) => tick >= low && tick <= high);
  return [of([1]), of([1, 2, 5])].find((ticks, i) => ticks.length > 2 - i) || round(low, high, 4);
};

// What is drawn within a part of the width, from its upper to its lower end in pixels, with some air.
function extent(chart, from, to) {
  const seen = (node) => !node.closest("[data-off]");
  const places = all(".plane path", chart.svg).filter(seen)
    .flatMap((path) => (path.getAttribute("d").match(/[^MLZ]+/g) || []).map((place) => place.split(",").map(Number)));
  chart.marks.filter((mark) => mark.y && seen(mark.node)).forEach((mark) => places.push([1000 * (mark.x ? mark.at : from), mark.down]));
  const downs = places.filter(([x]) => x >= 1000 * from && x <= 1000 * to).map((place) => place[1]).sort((p, q) => p - q);
  if (!downs.length) return [0, chart.height];
  const top = downs[0], bottom = downs[downs.length - 1];
  const air = Math.max(0.08 * (bottom - top), chart.height / 1000);
  return [top - air, bottom + air];
}

function draw(chart) {
  if (!chart.mode || !(chart.high > chart.low)) return;
  chart.view = view;
  const from = share(view[0]), wide = share(view[1]) - from, far = wide > 0.999;
  const [top, bottom] = far || chart.mode === "steps" ? [0, chart.height] : extent(chart, from, from + wide);
  const down = (y) => chart.height * (y - top) / (bottom - top);
  const near = chart.svg.clientWidth / (wide * many) > 5;
  chart.planes.forEach((plane) => {
    set(plane, { viewBox: [1000 * from, top, 1000 * wide, bottom - top].join(" "), overflow: far ? "visible" : "hidden" });
    all(".near, .far", plane).forEach((it) => set(it, { display: it.classList.contains("near") === near ? "inline" : "none" }));
  });
  chart.marks.forEach(({ node, x, y, at, down: place }) => {
    if (chart.mode === "steps" && y) return;
    const to = x ? (at - from) / wide : 0, inside = to > -1e-6 && to < 1.000001;
    set(node, { visibility: inside ? "inherit" : "hidden" });
    if (x) set(node, { [x]: 100 * to + "%", [x === "x1" ? "x2" : x]: 100 * to + "%" });
    if (y) set(node, { [y]: down(place), [y === "y1" ? "y2" : y]: down(place) });
  });
  chart.axes.innerHTML = far ? chart.drawn : "";
  if (far && chart.drawn) return;
  const { bottom: least, top: most, height } = chart;
  const tick = (x, y, words, anchor, role = "muted") => make("text", { x, y, "text-anchor": anchor, "class": `f-${role} halo`,
    "stroke-width": 3, "paint-order": "stroke", dx: role === "limit" ? 7 : 0 }, chart.axes, words);
  const rule = (x1, x2, y1, y2) => make("line", { "class": "s-grid", x1, x2, y1, y2 }, chart.axes);
  round(...view, Math.max(2, chart.svg.clientWidth / 130)).filter(Number.isInteger).forEach((step) => {
    const at = 100 * (share(step) - from) / wide, x = at + "%";
    rule(x, x, 0, height);
    tick(x, height + 15, spelled(step), at > 97 ? "end" : "middle");
  });
  if (chart.mode === "steps") return;
  const worth = (y) => chart.log ? least * (most / least) ** (1 - y / height) : least + (most - least) * (1 - y / height);
  const place = (v) => down(height * (1 - level(chart, v)));
  (chart.log ? decades : (p, q) => round(p, q, 4))(worth(bottom), worth(top)).forEach((v) => {
    rule(0, "100%", place(v), place(v));
    tick(-8, place(v) + 4, written(v), "end");
  });
  if (chart.right) round(worth(bottom) / chart.right, worth(top) / chart.right, 3).filter(Boolean).forEach((v) => {
    tick("100%", place(v * chart.right) + 4, written(v) + "\u00d7", "start", "limit");
  });
}

const zooms = [];
function zoom(from, to) {
  const most = whole[1] - whole[0], wide = clamp(to - from, 4 * most / Math.max(many - 1, 4), most);
  const low = clamp((from + to - wide) / 2, whole[0], whole[1] - wide);
  view = wide > 0.999 * most ? whole : [low, low + wide];
  charts.forEach(draw);
  show(NaN);
  zooms.forEach((words) => {
    const part = view.map((step) => spelled(Math.round(step))).join(" to ");
    words.textContent = `${document.body.dataset.axis} ${part}${view === whole ? ", whole run" : ""}`;
  });
}
const turn = (by, move) => {
  const middle = (view[0] + view[1]) / 2 + move * (view[1] - view[0]), half = by * (view[1] - view[0]) / 2;
  zoom(middle - half, middle + half);
};
const moves = { "+": () => turn(0.5, 0), "-": () => turn(2, 0), "[": () => turn(1, -0.5), "]": () => turn(1, 0.5), "0": () => zoom(...whole) };
function tools(parent) {
  parent.append(part("zoom"));
  const bar = parent.lastElementChild;
  zooms.push(bar.firstElementChild);
  all("button", bar).forEach((key) => on(key, "click", () => moves[key.dataset.key]()));
}

all("svg.chart[data-steps]").forEach(adopt);
all("li[data-series]").forEach((entry) => {
  const figure = entry.closest("figure"), series = entry.dataset.series;
  const toggle = button(entry, "", () => {
    const off = toggle.getAttribute("aria-pressed") === "true";
    set(toggle, { "aria-pressed": !off });
    all(`svg.chart [data-series="${series}"]`, figure).forEach((part) => {
      set(part, { display: off ? "none" : "inline" });
      part.toggleAttribute("data-off", off);
    });
    charts.filter((chart) => chart.figure === figure).forEach(draw);
  }, { "aria-pressed": true });
  toggle.append(...Array.from(entry.childNodes).filter((node) => node !== toggle));
});
if (many > 4) {
  all("nav, #loss figcaption").forEach(tools);
  const first = document.body.dataset.view;
  zoom(...(first ? first.split(",").map(Number) : whole));
}

// Tables that can be sorted by a column.
all("table.sortable").forEach((table) => all("thead th", table).forEach((head, column) => {
  if (head.classList.contains("wide")) return;
  const words = head.textContent;
  head.textContent = "";
  set(head, { "data-words": words });
  button(head, words, () => {
    const down = head.getAttribute("aria-sort") === "ascending";
    all("thead th", table).forEach((other) => other.removeAttribute("aria-sort"));
    set(head, { "aria-sort": down ? "descending" : "ascending" });
    const body = table.tBodies[0];
    Array.from(body.rows).sort((a, b) => {
      const x = a.cells[column].textContent, y = b.cells[column].textContent, p = value(x), q = value(y);
      const order = isNaN(p) || isNaN(q) ? (isNaN(p) - isNaN(q)) || x.localeCompare(y) : p - q;
      return down ? -order : order;
    }).forEach((row) => body.appendChild(row));
  });
}));
