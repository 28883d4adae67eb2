// ---- Curves over the steps of the run -------------------------------------------------------------

const [FIRST, LAST, MEAN, LEAST, MOST, BAD] = [0, 1, 2, 3, 4, 5];
// Of curve i of a chart: between two colors if there are more than two.
const inkOf = (chart, i) => `color-mix(in oklab, var(--second) ${100 * i / Math.max(1, chart.curves.length - 1)}%, var(--curve))`;
const PLOT = {left: 54, right: 14, top: 12, bottom: 26, height: 200};
const midOf = point => (point[FIRST] + point[LAST]) / 2;
const isNumber = point => point[MEAN] !== null;
const stepsOf = point => point[FIRST] === point[LAST] ? `step ${point[FIRST]}` : `steps ${point[FIRST]} to ${point[LAST]}`;

const charts = (data.charts || []).filter(chart => chart.curves.length);
for (const chart of charts) {
  for (const curve of chart.curves) {  // of a single value only that is written
    curve.points = curve.points.map(point => point.length > 2 ? point
      : [point[0], point[0], point[1], point[1], point[1], point[1] === null ? 1 : 0]);
  }
}
const steps = charts.flatMap(chart => chart.curves.flatMap(curve => [curve.points[0][FIRST], curve.points.at(-1)[LAST]]));
const firstStep = Math.min(...steps), lastStep = Math.max(...steps);

// The first and the last step have labels, tidy ones between them where there is room.
function stepTicks(room) {
  const write = writerOf(lastStep);
  const ends = [...new Set([firstStep, lastStep])].map((step, i) => [step, (i ? "" : "step ") + (step % 1000 ? step : write(step))]);
  const isClear = ([step, text]) => ends.every(([end, label]) =>
    Math.abs(step - end) / (lastStep - firstStep) * room > 3.5 * (text.length + label.length) + 8);
  const tidy = multiples(tidyStep(lastStep - firstStep, Math.max(1, room / 70), 1), firstStep, lastStep);
  return ends.concat(tidy.map(step => [step, write(step)]).filter(isClear));
}

function valueTicks(chart) {
  const numbers = chart.curves.flatMap(curve => curve.points.filter(isNumber).flatMap(point => [point[LEAST], point[MOST]]));
  let [low, high] = numbers.length ? [Math.min(...numbers), Math.max(...numbers)] : [0, 1];
  if (chart.starts_at_zero) low = Math.min(low, 0);
  const size = Math.max(Math.abs(low), Math.abs(high));
  if (high - low <= 1e-9 * size) [low, high] = size ? [low - size / 10, high + size / 10] : [0, 1];
  const step = tidyStep(high - low, 5);
  return multiples(step, Math.floor(low / step + 1e-9) * step, Math.ceil(high / step - 1e-9) * step);
}

// Neighbors that are numbers: a line breaks at a value that is not.
function runsOf(points) {
  const runs = [[]];
  for (const point of points) isNumber(point) ? runs.at(-1).push(point) : runs.push([]);
  return runs.filter(run => run.length);
}

function drawChart(chart) {
  const svg = chart.svg, across = svg.clientWidth, right = across - PLOT.right, bottom = PLOT.height - PLOT.bottom;
  const values = valueTicks(chart), low = values[0], high = values.at(-1), write = writerOf(Math.max(Math.abs(low), Math.abs(high)));
  chart.x = step => firstStep === lastStep ? (PLOT.left + right) / 2
    : PLOT.left + (step - firstStep) / (lastStep - firstStep) * (right - PLOT.left);
  const y = value => bottom - (value - low) / (high - low) * (bottom - PLOT.top);
  const at = (point, which) => `${chart.x(midOf(point)).toFixed(1)} ${y(point[which]).toFixed(1)}`;
  const parts = values.map(value => make("path", "", {class: "grid", d: `M${PLOT.left} ${y(value)}H${right}`}) +
    make("text", write(value), {class: "value", x: PLOT.left - 7, y: y(value) + 4}));
  for (const [step, text] of stepTicks(right - PLOT.left)) {
    parts.push(make("path", "", {class: "grid", d: `M${chart.x(step)} ${bottom}v4`}), make("text", text, {class: "step", x: chart.x(step), y: bottom + 17}));
  }
  chart.curves.forEach((curve, i) => {
    const runs = runsOf(curve.points), few = curve.points.length <= 60, style = `color:${inkOf(chart, i)}`;
    const dots = runs.flatMap(run => few || run.length === 1 ? run : []);
    if (curve.values_per_point > 1) {
      parts.push(make("path", "", {class: "band", style, d: runs.map(run => "M" + run.map(point => at(point, MOST)).join("L") +
        "L" + [...run].reverse().map(point => at(point, LEAST)).join("L") + "Z").join("")}));
    }
    parts.push(make("path", "", {class: "curve", style, "data-points": runs.flat().length,
      d: runs.map(run => "M" + run.map(point => at(point, MEAN)).join("L")).join("")}));
    parts.push(make("path", "", {class: "dots", style, d: dots.map(point => `M${at(point, MEAN)}h0`).join("")}));
    const bad = curve.points.filter(point => point[BAD]);
    if (bad.length) {
      parts.push(make("path", "", {class: "dots bad", "data-points": bad.length, d: bad.map(point => `M${chart.x(midOf(point)).toFixed(1)} ${PLOT.top}h0`).join("")}));
    }
  });
  svg.innerHTML = parts.join("") + make("path", "", {class: "cursor", d: ""});
}

const nearest = (points, step) => points.reduce((best, point) => Math.abs(midOf(point) - step) < Math.abs(midOf(best) - step) ? point : best);
function written(value, unit) {
  if (value === null) return "not finite";
  const digits = +value.toPrecision(5);
  return (digits && Math.abs(digits) < 1e-3 ? digits.toExponential() : digits) + (unit ? " " + unit : "");
}

// Shows what the curves say at a point of the first one; null ends that.
function pointOut(chart, index) {
  chart.chosen = index;
  chart.tip.hidden = index === null;
  const cursor = chart.svg.lastChild;
  if (index === null) return cursor.setAttribute("d", "");
  const chosen = chart.curves[0].points[index], x = chart.x(midOf(chosen));
  cursor.setAttribute("d", `M${x} ${PLOT.top}V${PLOT.height - PLOT.bottom}`);
  const lines = chart.curves.map((curve, i) => {
    const point = i ? nearest(curve.points, midOf(chosen)) : chosen, single = point[FIRST] === point[LAST];
    return (curve.name ? `<i style="background:${inkOf(chart, i)}"></i>${curve.name} ` : "") +
      (single ? "" : "mean ") + written(point[MEAN], chart.unit) +
      (single || !isNumber(point) ? "" : `, from ${written(point[LEAST])} to ${written(point[MOST])}`) +
      (!single && point[BAD] ? `, ${point[BAD]} not finite` : "") +
      (stepsOf(point) === stepsOf(chosen) ? "" : ` (${stepsOf(point)})`);
  });
  chart.tip.innerHTML = [`<b>${stepsOf(chosen)}</b>`, ...lines].join("<br>");
  const room = chart.svg.clientWidth, left = x + 12 + chart.tip.offsetWidth > room ? x - 12 - chart.tip.offsetWidth : x + 12;
  chart.tip.style.left = Math.max(0, left) + "px";
}

function addChart(chart) {
  const last = curve => written(curve.points.at(-1)[MEAN], chart.unit);
  const key = (ink, text) => `<span class="key"><i style="background:${ink}"></i>${text}</span>`;
  const isBad = chart.curves.some(curve => curve.points.some(point => point[BAD]));
  const legend = chart.curves.map((curve, i) => curve.name ? key(inkOf(chart, i), `${curve.name} ${last(curve)}`) : `<span>${last(curve)}</span>`);
  const figure = document.createElement("figure");
  figure.innerHTML = `<figcaption><b>${chart.title}</b>${legend.join("")}${isBad ? key("var(--mark)", "not finite") : ""}</figcaption>` +
    `<div class="plot"><svg tabindex="0" role="img" height="${PLOT.height}" aria-label="${chart.title}; arrow keys go from point to point"></svg>` +
    '<div class="tip" role="status" hidden></div></div>';
  chart.svg = figure.querySelector("svg");
  chart.tip = figure.querySelector(".tip");
  chart.chosen = null;
  const points = chart.curves[0].points;
  chart.svg.addEventListener("pointermove", event => {
    const x = event.clientX - chart.svg.getBoundingClientRect().left;
    const far = point => Math.abs(chart.x(midOf(point)) - x);
    pointOut(chart, points.indexOf(points.reduce((best, point) => far(point) < far(best) ? point : best)));
  });
  chart.svg.addEventListener("pointerleave", () => pointOut(chart, null));
  chart.svg.addEventListener("blur", () => pointOut(chart, null));
  chart.svg.addEventListener("keydown", event => {
    const by = {ArrowLeft: -1, ArrowRight: 1}[event.key];
    if (event.key === "Escape") pointOut(chart, null);
    if (!by || event.ctrlKey || event.metaKey) return;
    const from = chart.chosen === null ? (by > 0 ? -1 : points.length) : chart.chosen;
    pointOut(chart, Math.min(Math.max(from + by, 0), points.length - 1));
    event.preventDefault();
  });
  return figure;
}

function addCurves() {
  if (!charts.length) return;
  const section = document.getElementById("curves");
  section.append(...charts.map(addChart));
  const most = Math.max(...charts.flatMap(chart => chart.curves.map(curve => curve.values_per_point)));
  document.getElementById("curves_note").textContent = most === 1
    ? "Over the steps of the run, each value a point. Beside the names: the last values."
    : `Over the steps of the run. A point stands for up to ${most} values: the line is their mean, the band their range; ` +
      "the first and the last value are points of their own. Beside the names: the last values.";
  charts.forEach(drawChart);
  new ResizeObserver(() => charts.forEach(chart => { pointOut(chart, null); drawChart(chart); })).observe(section);
}
