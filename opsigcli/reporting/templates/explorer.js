// Examples, one by one: search, filter, sort, and the loss curve of each.
const held = window.opsigExamples || JSON.parse(document.getElementById("opsig-examples").textContent);
const curve = ([low, high, text]) => Array.from({ length: text.length / 2 }, (_, i) => {
  const level = 64 * held.letters.indexOf(text[2 * i]) + held.letters.indexOf(text[2 * i + 1]);
  return level === 4095 ? NaN : low + (high - low) * level / 4094;
});
const pictures = {};
all("img[data-example]").forEach((image) => { pictures[image.dataset.example] = image.src; });
const examples = held.examples.map(([id, label, name, roles, loss, delta, curvature, series, picture]) => ({
  id, name, loss, delta, curvature, series, src: picture || pictures[id] || "",
  label: label === null ? "" : held.classes[label] || String(label),
  roles: roles.map((role) => held.roles[role]), role: roles.map((role) => held.roles[role].words).join("; "),
}));
const parts = {};
window.opsigPart = (number, curves) => { parts[number] = curves; };
const byId = new Map(examples.map((example) => [example.id, example]));

// One example, large, with its curve beside those of its group and of all.
const dialog = document.querySelector("dialog"), [words, sheet, ...steps] = dialog.children, picture = make("img", {}, dialog);
dialog.prepend(picture);
let list = [], now = 0, back = null, own = null;
const address = (hash) => history.replaceState(null, "", hash || location.href.split("#")[0]);

function chartOf(example) {
  charts.splice(0, charts.length, ...charts.filter((chart) => chart !== own));
  own = null;
  sheet.textContent = "";
  if (!example) return;
  sheet.append(part("example"));
  const [facts, legend, svg] = all("p, .legend, .chart", sheet);
  facts.textContent = `${example.role}. Loss ${written(example.loss, 3)} at the end, largest delta ${written(example.delta, 3)}${held.unit}`
    + (example.curvature === null ? "." : `, curvature ${written(example.curvature, 3)} at ${held.axis} ${held.sharpest}.`);
  if (finite(example.series) && !parts[example.series]) {
    parts[example.series] = {};
    on(make("script", { src: held.parts[example.series] }, document.body), "load", () => { if (list[now].id === example.id) chartOf(example); });
  }
  const series = finite(example.series) ? parts[example.series][example.id] : example.series;
  if (!series) {
    facts.textContent += " Its curve is not in this file.";
    [legend, svg].forEach((node) => node.remove());
    return;
  }
  const group = example.roles.find((role) => role.curve), height = 180;
  const lines = [series, group && group.curve, held.mean].map((line) => line ? curve(line) : []);
  const values = lines.flat().filter(finite).sort((p, q) => p - q);
  const least = values.find((v) => v > 0), log = values[0] >= 0 && values[values.length - 1] > 100 * least;
  const [low, high] = [log ? least : values[0], values[values.length - 1]], air = log ? 0 : 0.06 * (high - low) || 0.1;
  const scale = log ? { log, bottom: low / 1.2, top: high * 1.2 } : { bottom: low - air, top: high + air };
  const down = (v) => height * (1 - level(scale, Math.max(v, low)));
  Object.assign(svg.dataset, { low: whole[0], high: whole[1], ...scale });
  set(svg, { "aria-label": "Loss of " + words.textContent });
  held.spikes.forEach((step) => {
    const x = 100 * share(step) + "%";
    make("line", { x1: x, x2: x, y1: 0, y2: height, "class": "s-limit", "stroke-dasharray": "1.5 3.5" }, svg);
  });
  const paths = all("path", svg).reverse(), keys = all("li", legend);
  if (group) {
    [paths[1], keys[1].querySelector("line")].forEach((node) => set(node, { "class": "s-" + group.side }));
    keys[1].querySelector("span").textContent = "mean of " + group.words;
  } else keys[1].remove();
  lines.forEach((line, i) => {
    const at = (v, t) => (finite(line[t - 1]) ? "L" : "M") + (1000 * share(held.steps[t])).toFixed(1) + "," + down(v).toFixed(2);
    set(paths[i], { d: line.map((v, t) => finite(v) ? at(v, t) : "").join("") });
  });
  own = adopt(svg);
  own.names = [held.axis, "loss", "group", "all examples"];
  own.rows = held.steps.map((step, t) => ({ step, cells: [spelled(step), ...lines.map((line) => written(line[t], 3))] }));
  draw(own);
}

function open(entries, at) {
  [list, now] = [entries, at];
  const { id, src, alt } = list[now], example = byId.get(id);
  picture.hidden = !src;
  if (src) picture.src = src;
  picture.alt = words.textContent = alt || [`example ${id}`, example.name, example.label].filter(Boolean).join(", ");
  if (!dialog.open) dialog.showModal();
  chartOf(example);
  address(example && "#example-" + id);
}
const move = (by) => open(list, (now + by + list.length) % list.length);
[() => move(-1), () => move(1), () => dialog.close()].forEach((run, i) => on(steps[i], "click", run));
if (zooms.length) tools(dialog);
on(dialog, "keydown", (event) => {
  if (event.target.closest(".chart")) return;
  if (event.key === "ArrowLeft") move(-1);
  if (event.key === "ArrowRight") move(1);
});
on(dialog, "click", (event) => { if (event.target === dialog) dialog.close(); });
on(dialog, "close", () => {
  if (back) back.focus();
  address();
});
all(".tiles img").forEach((image) => {
  const show = () => {
    const tiles = all("img", image.closest(".tiles"));
    back = image;
    open(tiles.map((tile) => ({ id: tile.dataset.example, src: tile.src, alt: tile.alt })), tiles.indexOf(image));
  };
  set(image, { tabindex: 0, role: "button" });
  on(image, "click", show);
  on(image, "keydown", (event) => {
    if (event.key !== "Enter" && event.key !== " ") return;
    event.preventDefault();
    show();
  });
});
const follow = () => {
  const example = byId.get(location.hash.replace("#example-", ""));
  if (example) open([example], 0);
};
on(window, "hashchange", follow);

// The table of them.
const place = document.getElementById("explorer");
place.append(part("explorer"));
const [search, label, role, side, counted, save, body, more] = all("input, select, [role=status], .controls button, tbody, .more", place);
let sorted = "", falling = true, room = 25, found = [];
const columns = all("[data-key]", place).map((head) => head.dataset.key);
function choose() {
  const wanted = search.value.trim().toLowerCase();
  found = examples.filter((example) => (example.id.startsWith(wanted) || example.name.toLowerCase().includes(wanted))
    && (!label.value || example.label === label.value)
    && (!role.value && !side.value || example.roles.some(({ words }) => words.startsWith(role.value) && words.includes(side.value))));
  const size = (example) => sorted === "delta" && example.delta !== null ? Math.abs(example.delta) : example[sorted];
  if (sorted) found.sort((a, b) => {
    const p = size(a), q = size(b), order = sorted === "label" ? p.localeCompare(q, "en", { numeric: true }) : p - q;
    return (p === null) - (q === null) || (falling ? -order : order);
  });
  room = 25;
  fill();
}
function fill() {
  body.textContent = "";
  found.slice(0, room).forEach((example, at) => {
    const line = make("tr", {}, body), first = make("th", { scope: "row" }, line);
    if (example.src) make("img", { src: example.src, alt: "" }, first);
    const link = make("a", { href: "#example-" + example.id }, first, example.id);
    on(link, "click", (event) => {
      event.preventDefault();
      back = link;
      open(found, at);
    });
    make("span", { "class": "path" }, first, example.name);
    ["label", "role"].forEach((key) => make("td", {}, line, example[key]));
    columns.slice(1).forEach((key) => make("td", {}, line, written(example[key] === null ? NaN : example[key], 3)));
  });
  counted.textContent = spelled(found.length) + " of " + spelled(examples.length);
  more.hidden = room >= found.length;
}
all("[data-key]", place).forEach((head) => on(head, "click", () => {
  const { key } = head.dataset;
  falling = sorted === key ? !falling : key !== "label";
  sorted = key;
  all("th", place).forEach((other) => other.removeAttribute("aria-sort"));
  set(head.parentNode, { "aria-sort": falling ? "descending" : "ascending" });
  choose();
}));
on(more, "click", () => {
  room += 100;
  fill();
});
on(save, "click", () => {
  const cell = (entry) => {
    const text = typeof entry === "string" && /^[=+@\t-]/.test(entry) ? "'" + entry : String(entry === null ? "" : entry);
    return /[",\r\n]/.test(text) ? `"${text.replace(/"/g, '""')}"` : text;
  };
  const keys = ["id", "name", "role", ...columns];
  const lines = [["example", "path", "role", held.kind, ...columns.slice(1)], ...found.map((example) => keys.map((key) => example[key]))];
  const link = document.createElement("a");
  link.href = URL.createObjectURL(new Blob([lines.map((line) => line.map(cell).join(",") + "\r\n").join("")], { type: "text/csv" }));
  link.download = "examples.csv";
  link.click();
});
[search, label, role, side].forEach((entry) => on(entry, "input", choose));
choose();
follow();
