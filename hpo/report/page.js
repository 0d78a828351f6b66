// The report's page: trials in pages of a table that sorts, and figures that show, mark and filter trials.
// Names are hostile: text goes in by textContent only. Without this script the page shows the same figures and rows.
"use strict";
const { columns, states, workers, rows, best, links, figures } = JSON.parse(document.getElementById("data").textContent);
const PAGE = 100, NEAR = 14, SVG = "http://www.w3.org/2000/svg";
const [STATE, STEPS, TIME, WORKER] = [1, columns.length - 3, columns.length - 2, columns.length - 1];
const COLOUR = { complete: "blue", pruned: "amber", infeasible: "ink", failed: "vermilion", running: "muted",
  discarded: "muted" };
const tied = new Set(best), byTrial = new Map(rows.map(row => [row[0], row]));
const view = { column: 0, down: false, page: 0, filter: null, marked: null };

const make = (tag, words = "", name = "") => {
  const element = document.createElement(tag);
  element.textContent = words;
  element.className = name;
  return element;
};
const draw = (parent, tag, attributes) => {
  const element = document.createElementNS(SVG, tag);
  for (const [key, value] of Object.entries(attributes)) element.setAttribute(key, value);
  return parent.appendChild(element);
};
const duration = seconds => {
  if (seconds === null) return "";
  const whole = Math.round(seconds), two = number => String(number).padStart(2, "0");
  if (seconds < 60) return seconds.toFixed(2) + " s";
  if (whole < 3600) return `${Math.floor(whole / 60)} min ${two(whole % 60)} s`;
  return `${Math.floor(whole / 3600)} h ${two(Math.floor(whole / 60) % 60)} min`;
};
const text = (row, column) => column === STATE ? states[row[column]] : column === WORKER ? workers[row[column]]
  : column === TIME ? duration(row[column]) : String(row[column]);

// The table ------------------------------------------------------------------------------------------------------
const table = document.querySelector("table.sortable"), pager = document.getElementById("pager");
let shown = rows;

function arrange() {
  const key = row => [TIME, STEPS].includes(view.column) ? row[view.column] ?? "" : text(row, view.column);
  const missing = one => one === "" || one === "nan";
  const compare = (a, b) => !isNaN(a) && !isNaN(b) ? a - b : String(a).localeCompare(String(b));
  shown = rows.filter(row => !view.filter || view.filter.has(row[0])).sort((one, two) => {
    const a = key(one), b = key(two);
    if (missing(a) || missing(b)) return missing(a) - missing(b);  // what is missing stays at the end
    return view.down ? compare(b, a) : compare(a, b);
  });
}

function list() {
  if (!table) return;
  const start = view.page * PAGE;
  table.tBodies[0].replaceChildren(...shown.slice(start, start + PAGE).map(row => {
    const line = make("tr", "", (tied.has(row[0]) ? "best " : "") + (row[0] === view.marked ? "marked" : ""));
    columns.forEach((_, column) => {
      const cell = make("td", "", column === WORKER ? "next" : column > STATE ? "number" : "");
      cell.append(column === STATE ? make("span", text(row, column), "state " + text(row, column)) : text(row, column));
      if (column === 0) for (const [words, address] of Object.entries(links[row[0]] ?? {})) {
        cell.append(" ", Object.assign(make("a", words), { href: address }));
      }
      line.append(cell);
    });
    line.addEventListener("click", () => mark(row[0]));
    return line;
  }));
  pager.hidden = shown.length <= PAGE;
  pager.querySelector("span").textContent = `${start + 1} to ${Math.min(start + PAGE, shown.length)} of ${shown.length}`;
  pager.querySelector(".before").disabled = start === 0;
  pager.querySelector(".after").disabled = start + PAGE >= shown.length;
}

if (table) {
  const heads = [...table.tHead.rows[0].cells];
  heads.forEach((head, column) => head.querySelector("button").addEventListener("click", () => {
    view.down = head.getAttribute("aria-sort") === "ascending";
    heads.forEach(other => other.removeAttribute("aria-sort"));
    head.setAttribute("aria-sort", view.down ? "descending" : "ascending");
    Object.assign(view, { column, page: 0 });
    arrange();
    list();
  }));
  for (const [name, step] of [[".before", -1], [".after", 1]])
    pager.querySelector(name).addEventListener("click", () => { view.page += step; list(); });
  arrange();
  list();
}

// Figures --------------------------------------------------------------------------------------------------------
const tip = document.body.appendChild(make("div", "", "tip"));
const status = document.getElementById("filter");
const drawings = Object.entries(figures).map(([name, panels]) => {
  const svg = document.querySelector(`#figure-${name} svg`);
  return { svg, panels, over: draw(svg, "g", { class: "over" }) };
});

// A pointer's place in the units of a figure, and how many of them are a pixel.
function place(svg, event) {
  const matrix = svg.getScreenCTM().inverse(), { x, y } = new DOMPoint(event.clientX, event.clientY).matrixTransform(matrix);
  return { x, y, unit: matrix.a };
}

function nearest({ panels }, { x, y, unit }) {
  let found = null, least = (NEAR * unit) ** 2;
  for (const { trials, paths } of panels) paths.forEach((path, index) => {
    for (let i = 0; i < path.length; i += 2) {
      const distance = (path[i] - x) ** 2 + (path[i + 1] - y) ** 2;
      if (distance < least) [least, found] = [distance, trials[index]];
    }
  });
  return found;
}

function inside({ panels }, from, to) {
  const [left, right] = [from.x, to.x].sort((a, b) => a - b), [top, bottom] = [from.y, to.y].sort((a, b) => a - b);
  const found = new Set();
  for (const { box, trials, paths } of panels) {
    if (from.x < box[0] || from.x > box[2] || from.y < box[1] || from.y > box[3]) continue;  // begun in another panel
    paths.forEach((path, index) => {
      for (let i = 0; i < path.length; i += 2)
        if (path[i] >= left && path[i] <= right && path[i + 1] >= top && path[i + 1] <= bottom) found.add(trials[index]);
    });
  }
  return found;
}

function paint() {
  for (const { svg, panels, over } of drawings) {
    over.replaceChildren();
    svg.classList.toggle("filtered", view.filter !== null);
    for (const { trials, paths } of panels) trials.forEach((trial, index) => {
      const marked = trial === view.marked;
      if (!marked && !view.filter?.has(trial)) return;
      const path = paths[index], row = byTrial.get(trial), colour = COLOUR[row ? states[row[STATE]] : "running"];
      const name = `${marked ? "marked" : "kept"} ${colour}`;
      if (path.length > 2) draw(over, "polyline", { points: path.join(" "), class: name });
      draw(over, "circle", { cx: path.at(-2), cy: path.at(-1), r: marked ? 5 : 2.5, class: name });
    });
    over.append(...over.querySelectorAll(".marked"));  // above all others
  }
  status.hidden = view.filter === null && view.marked === null;
  const marked = view.marked === null ? "" : `Trial ${view.marked} is marked. `;
  status.querySelector("span").textContent = marked + (view.filter ? `${view.filter.size} in the frame.` : "");
}

function mark(trial) {
  view.marked = view.marked === trial ? null : trial;
  if (view.marked !== null && view.filter && !view.filter.has(trial)) view.filter = null;
  arrange();
  const at = shown.findIndex(row => row[0] === view.marked);
  if (at >= 0) view.page = Math.floor(at / PAGE);
  list();
  paint();
  const line = table?.querySelector("tr.marked"), scroll = line?.closest(".scroll");
  if (line) scroll.scrollTop = line.offsetTop - scroll.clientHeight / 2;
}

function filter(trials) {
  Object.assign(view, { filter: trials, page: 0 });
  arrange();
  list();
  paint();
}

function show(trial, event) {
  tip.hidden = trial === null;
  if (trial === null) return;
  const row = byTrial.get(trial);
  tip.replaceChildren(make("b", `trial ${trial}`));
  const wanted = row ? columns.map((_, column) => column).slice(STATE, STATE + 14).filter(column => text(row, column)) : [];
  for (const column of wanted) tip.append(make("div", `${columns[column]}: ${text(row, column)}`));
  const { width, height } = tip.getBoundingClientRect();
  tip.style.left = Math.max(4, Math.min(event.clientX + 14, innerWidth - width - 4)) + "px";
  tip.style.top = Math.max(4, Math.min(event.clientY + 14, innerHeight - height - 4)) + "px";
}

for (const drawing of drawings) {
  const { svg } = drawing;
  let from = null, frame = null;
  svg.addEventListener("pointerdown", event => { if (event.button === 0) from = place(svg, event); });
  svg.addEventListener("pointermove", event => {
    const to = place(svg, event);
    if (from && event.buttons && event.pointerType !== "touch" && Math.hypot(to.x - from.x, to.y - from.y) > 5 * to.unit) {
      if (!frame) svg.setPointerCapture(event.pointerId);
      frame ??= draw(svg, "rect", { class: "frame" });
      const box = { x: Math.min(from.x, to.x), y: Math.min(from.y, to.y) };
      Object.entries({ ...box, width: Math.abs(to.x - from.x), height: Math.abs(to.y - from.y) })
        .forEach(([key, value]) => frame.setAttribute(key, value));
      show(null);
    } else if (!frame) show(nearest(drawing, to), event);
  });
  svg.addEventListener("pointerup", event => {
    if (!from) return;
    const to = place(svg, event), trial = nearest(drawing, to);
    if (frame) filter(inside(drawing, from, to));
    else if (trial !== null) mark(trial);
    frame?.remove();
    from = frame = null;
  });
  svg.addEventListener("pointercancel", () => { frame?.remove(); from = frame = null; });
  svg.addEventListener("pointerleave", () => show(null));
}

const clear = () => { view.marked = null; filter(null); };
status.querySelector("button").addEventListener("click", clear);
addEventListener("keydown", event => { if (event.key === "Escape") clear(); });
show(null);
