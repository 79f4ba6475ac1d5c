"use strict";

/** Sort a table by a column: numbers by data-value, else by text; cells without either come last, both ways. */
function sortBy(table, column) {
  const heads = [...table.tHead.rows[0].cells], head = heads[column], body = table.tBodies[0];
  const cells = [...body.rows].map(row => row.cells[column]);
  const numeric = cells.some(cell => cell.dataset.value !== undefined);
  const first = numeric ? "descending" : "ascending", second = numeric ? "ascending" : "descending";
  const order = head.getAttribute("aria-sort") === first ? second : first;
  const sign = order === "ascending" ? 1 : -1;
  const value = row => numeric ? row.cells[column].dataset.value : row.cells[column].textContent.trim();
  const rows = [...body.rows].sort((one, other) => {
    const [a, b] = [value(one), value(other)];
    if (!a || !b) return !a - !b;
    return sign * (numeric ? a - b : a.localeCompare(b, "en", {numeric: true}));
  });
  body.append(...rows);
  for (const other of heads) other.setAttribute("aria-sort", other === head ? order : "none");
}

for (const table of document.querySelectorAll("table.sortable")) {
  [...table.tHead.rows[0].cells].forEach((head, column) => {
    head.querySelector("button").addEventListener("click", () => sortBy(table, column));
  });
}

/** What stands behind a figure, in one box for all cells. Texts only: nothing in them is read as HTML. */
const tip = document.createElement("div");
tip.id = "tip";
tip.setAttribute("role", "tooltip");
tip.hidden = true;
document.body.append(tip);

let explained = null;

function placeTip() {
  if (!explained) return;
  const place = explained.getBoundingClientRect(), size = tip.getBoundingClientRect();
  const below = place.bottom + size.height + 6 < innerHeight;
  tip.style.left = `${Math.max(4, Math.min(place.left, document.documentElement.clientWidth - size.width - 4))}px`;
  tip.style.top = `${below ? place.bottom + 4 : place.top - size.height - 4}px`;
}

function showTip(cell) {
  hideTip();
  explained = cell;
  tip.textContent = cell.dataset.tip;
  tip.hidden = false;
  cell.setAttribute("aria-describedby", "tip");
  placeTip();
}

function hideTip() {
  tip.hidden = true;
  explained?.removeAttribute("aria-describedby");
  explained = null;
}

for (const cell of document.querySelectorAll("[data-tip]")) {
  cell.addEventListener("focus", () => showTip(cell));
  // not mouseenter: a page that scrolls below a mouse at rest enters cells, too
  cell.addEventListener("mousemove", () => { if (explained !== cell) showTip(cell); });
  for (const event of ["mouseleave", "blur"]) cell.addEventListener(event, () => { if (explained === cell) hideTip(); });
}
addEventListener("keydown", event => { if (event.key === "Escape") hideTip(); });
addEventListener("scroll", placeTip, {capture: true, passive: true});  // a focus may scroll the page

/** Pictures: plotly's, from the file beside the page, in the page's colours and width. */
const figures = new Map();

function colours() {
  const style = getComputedStyle(document.documentElement);
  return Object.fromEntries(["ink", "grid", "ground"].map(name => [name, style.getPropertyValue(`--${name}`).trim()]));
}

/** The height that a legend above the picture needs: plotly puts as many entries in a line as fit. */
function legendHeight(figure, width) {
  const names = figure.data.filter(trace => trace.showlegend !== false).map(trace => trace.name ?? "");
  if (!figure.layout.showlegend) return 0;
  const longest = Math.max(...names.map(name => name.length));
  return 20 * Math.ceil(names.length / Math.max(1, Math.floor((width - 72) / (44 + 7 * longest))));
}

function layoutFor(figure, width) {
  const {ink, grid} = colours(), layout = structuredClone(figure.layout);
  layout.height += legendHeight(figure, width);
  layout.width = width;
  layout.font = {...layout.font, color: ink, size: width < 500 ? 11 : 12};
  layout.dragmode = false;
  for (const axis of Object.keys(layout).filter(key => /^[xy]axis/.test(key))) {
    Object.assign(layout[axis], {gridcolor: grid, zerolinecolor: grid, linecolor: grid, fixedrange: true});
    if (width < 500 && layout[axis].nticks) layout[axis].nticks = Math.min(layout[axis].nticks, 5);
  }
  return layout;
}

function draw(element) {
  const figure = figures.get(element), width = element.clientWidth;
  return Plotly.react(element, figure.data, layoutFor(figure, width), {displayModeBar: false});
}

function save(element, format) {
  const {data} = figures.get(element), {ground} = colours();
  const width = element.clientWidth, layout = layoutFor(figures.get(element), width);
  const shown = {data, layout: {...layout, paper_bgcolor: ground}};
  return Plotly.downloadImage(shown, {
    format, filename: element.dataset.name, width, height: layout.height, scale: format === "png" ? 2 : 1,
  });
}

function readFigures() {
  for (const element of document.querySelectorAll(".plotly-graph-div")) {
    if (!window.Plotly) {
      element.textContent = "No picture: the file plotly.min.js is not beside this page.";
      continue;
    }
    figures.set(element, JSON.parse(document.getElementById(`${element.id}-data`).textContent));
    for (const button of element.closest("figure").querySelectorAll("button[data-format]")) {
      button.addEventListener("click", () => save(element, button.dataset.format));
    }
  }
}

async function drawAll() {
  for (const element of figures.keys()) {
    await draw(element);
    await new Promise(resolve => setTimeout(resolve));  // the page stays responsive
  }
}

readFigures();
drawAll();
matchMedia("(prefers-color-scheme: dark)").addEventListener("change", drawAll);
let width = innerWidth, waiting;
addEventListener("resize", () => {
  if (innerWidth === width) return;
  width = innerWidth;
  clearTimeout(waiting);
  waiting = setTimeout(drawAll, 100);
});
