"use strict";
(function () {
  var each = function (selector, run, root) {
    Array.prototype.forEach.call((root || document).querySelectorAll(selector), run);
  };
  var value = function (text) {
    return parseFloat(text.replace(/\u2212/g, "-").replace(/[, +%]/g, ""));
  };

  // One crosshair over every chart; the numbers come from the chart's own table and stand in its legend.
  var charts = [];
  var make = function (name, attributes, parent) {
    var node = document.createElementNS(parent.namespaceURI, name);
    Object.keys(attributes).forEach(function (key) { node.setAttribute(key, attributes[key]); });
    return parent.appendChild(node);
  };
  each("svg.chart", function (svg) {
    var figure = svg.closest("figure");
    var chart = { svg: svg, low: +svg.dataset.low, high: +svg.dataset.high, slots: [], rows: [], at: -1 };
    each("[data-column]", function (slot) { chart.slots.push(slot); }, figure);
    each("tbody tr", function (row) {
      var cells = Array.prototype.map.call(row.cells, function (cell) { return cell.textContent; });
      chart.rows.push({ step: value(cells[0]), cells: cells });
    }, figure);
    if (!chart.rows.length) return;
    chart.unit = figure.querySelector("thead th").textContent;
    var height = +svg.dataset.height;
    var area = make("rect", { x: 0, y: 0, width: "100%", height: height, fill: "transparent" }, svg);
    make("title", {}, area);  // an empty one keeps the browser's own tooltip away
    chart.line = make("line", { y1: 0, y2: height, "class": "s-ink cursor", stroke: "#23211c", visibility: "hidden" }, svg);
    chart.tag = make("text", { y: 11, "class": "f-ink halo cursor", "font-weight": 600, stroke: "#fffdf8",
      "stroke-width": 4, "paint-order": "stroke", visibility: "hidden" }, svg);
    svg.setAttribute("tabindex", "0");
    svg.addEventListener("pointermove", function (event) {
      var box = svg.getBoundingClientRect();
      var share = Math.min(1, Math.max(0, (event.clientX - box.left) / box.width));
      show(chart.rows[nearest(chart, chart.low + share * (chart.high - chart.low))].step);
    });
    svg.addEventListener("pointerleave", hide);
    svg.addEventListener("blur", hide);
    svg.addEventListener("keydown", function (event) {
      var last = chart.rows.length - 1;
      var to = { ArrowLeft: chart.at - 1, ArrowRight: chart.at + 1, Home: 0, End: last,
        PageUp: chart.at - 10, PageDown: chart.at + 10 }[event.key];
      if (event.key === "Escape") hide();
      if (to === undefined) return;
      event.preventDefault();
      var row = chart.rows[Math.min(last, Math.max(0, to))];
      show(row.step);
      document.getElementById("status").textContent = Array.prototype.map.call(
        figure.querySelectorAll("thead th"), function (head, i) { return head.textContent + " " + row.cells[i]; }
      ).join(", ");
    });
    charts.push(chart);
  });
  function nearest(chart, step) {
    var best = 0;
    chart.rows.forEach(function (row, i) {
      if (Math.abs(row.step - step) < Math.abs(chart.rows[best].step - step)) best = i;
    });
    return best;
  }
  function show(step) {
    charts.forEach(function (chart) {
      var inside = step >= chart.low && step <= chart.high;
      chart.at = inside ? nearest(chart, step) : -1;
      var row = inside ? chart.rows[chart.at] : null;
      chart.line.setAttribute("visibility", row ? "visible" : "hidden");
      chart.tag.setAttribute("visibility", row ? "visible" : "hidden");
      chart.slots.forEach(function (slot) { slot.textContent = row ? row.cells[+slot.dataset.column] : ""; });
      if (!row) return;
      var share = chart.high > chart.low ? (row.step - chart.low) / (chart.high - chart.low) : 0.5;
      var right = share > 0.85;
      chart.line.setAttribute("x1", 100 * share + "%");
      chart.line.setAttribute("x2", 100 * share + "%");
      chart.tag.setAttribute("x", 100 * share + "%");
      chart.tag.setAttribute("dx", right ? -5 : 5);
      chart.tag.setAttribute("text-anchor", right ? "end" : "start");
      chart.tag.textContent = chart.unit + " " + row.cells[0];
    });
  }
  function hide() { show(NaN); }

  // Tables that can be sorted by a column.
  each("table.sortable", function (table) {
    each("thead th", function (head, column) {
      if (head.classList.contains("wide")) return;
      var button = document.createElement("button");
      button.type = "button";
      button.textContent = head.textContent;
      head.textContent = "";
      head.appendChild(button);
      button.addEventListener("click", function () {
        var down = head.getAttribute("aria-sort") === "ascending";
        each("thead th", function (other) { other.removeAttribute("aria-sort"); }, table);
        head.setAttribute("aria-sort", down ? "descending" : "ascending");
        var body = table.tBodies[0];
        Array.prototype.slice.call(body.rows).sort(function (a, b) {
          var x = a.cells[column].textContent, y = b.cells[column].textContent;
          var p = value(x), q = value(y);
          var order = isNaN(p) || isNaN(q) ? (isNaN(p) - isNaN(q)) || x.localeCompare(y) : p - q;
          return down ? -order : order;
        }).forEach(function (row) { body.appendChild(row); });
      });
    }, table);
  });

  // A picture, large.
  var dialog = document.createElement("dialog");
  if (!dialog.showModal) return;
  var picture = dialog.appendChild(document.createElement("img"));
  var words = dialog.appendChild(document.createElement("p"));
  var now = null;
  var open = function (image) {
    now = image;
    picture.src = image.src;
    picture.alt = image.alt;
    words.textContent = image.alt;
    if (!dialog.open) dialog.showModal();
  };
  var move = function (by) {
    var all = Array.prototype.slice.call(now.closest(".tiles").querySelectorAll("img"));
    open(all[(all.indexOf(now) + by + all.length) % all.length]);
  };
  [["Previous", function () { move(-1); }], ["Next", function () { move(1); }], ["Close", function () { dialog.close(); }]]
    .forEach(function (entry) {
      var button = dialog.appendChild(document.createElement("button"));
      button.type = "button";
      button.textContent = entry[0];
      button.addEventListener("click", entry[1]);
    });
  dialog.addEventListener("keydown", function (event) {
    if (event.key === "ArrowLeft") move(-1);
    if (event.key === "ArrowRight") move(1);
  });
  dialog.addEventListener("click", function (event) { if (event.target === dialog) dialog.close(); });
  dialog.addEventListener("close", function () { now.focus(); });
  document.body.appendChild(dialog);
  each(".tiles img", function (image) {
    image.tabIndex = 0;
    image.setAttribute("role", "button");
    image.addEventListener("click", function () { open(image); });
    image.addEventListener("keydown", function (event) {
      if (event.key === "Enter" || event.key === " ") { event.preventDefault(); open(image); }
    });
  });
})();
