// ---- Plots ------------------------------------------------------------------------------------------

// Three cues of a label: as many inks as the page has colors; dashes and marks repeat after five, so that forty differ.
const NUM_INKS = 8, DASHES = ["", "7 3", "2 3", "9 3 2 3", "14 4"];
const MARKS = ["M-3.5 0a3.5 3.5 0 1 0 7 0a3.5 3.5 0 1 0 -7 0", "M-3.2 -3.2h6.4v6.4h-6.4z", "M0 -4.2L4 3H-4z", "M0 -4.6L4 0L0 4.6L-4 0z", "M0 4.2L4 -3H-4z"];
const MARGIN = {left: 58, right: 16, top: 24, bottom: 42};
const inkOf = index => `color:var(--ink${index % NUM_INKS})`;
const dashOf = index => DASHES[index % DASHES.length];
const escaped = text => String(text).replace(/[&<>"]/g, c => ({"&": "&amp;", "<": "&lt;", ">": "&gt;", '"': "&quot;"})[c]);

function short(value) {
  if (!value || (Math.abs(value) >= 1e-3 && Math.abs(value) < 1e5)) return String(+value.toPrecision(6));
  const [digits, power] = (+value.toPrecision(4)).toExponential().split("e");
  const raised = [...power.replace("+", "")].map(c => c === "-" ? "\u207b" : "\u2070\u00b9\u00b2\u00b3\u2074\u2075\u2076\u2077\u2078\u2079"[c]).join("");
  return (digits === "1" ? "" : digits + "\u00b7") + "10" + raised;
}

// From all digits to powers of ten: as many ticks as there is room for. On a short axis they are even.
function logTicks(low, high, count) {
  if (high / low < 4) return multiples(tidyStep(high - low, count), low, high);
  const [first, last] = [low, high].map(value => Math.floor(Math.log10(value)));
  for (const [digits, every] of [["123456789", 1], ["125", 1], ["13", 1], ["1", 1], ["1", 2], ["1", 3], ["1", 6], ["1", 12]]) {
    const ticks = [];
    for (let power = first; power <= last; ++power) {
      if (power % every === 0) ticks.push(...[...digits].map(digit => Number(digit + "e" + power)));
    }
    const inside = ticks.filter(tick => tick >= low && tick <= high);
    if (inside.length <= count) return inside;
  }
  return [low, high];
}

function scaleOf({low, high}, {isLog, isTight, isWhole, ticks, names}, [begin, end], count) {
  if (names) {
    const room = (end - begin) / names.length, most = Math.max(3, Math.floor(room / 6.5));
    const fitted = name => escaped(name.length > most ? name.slice(0, most - 1) + "\u2026" : name);
    return {at: value => begin + (value + .5) * room, ticks: names.map((name, i) => [i, fitted(name)])};
  }
  if (isLog) {
    const room = low < high ? (high / low) ** .04 : 1.5, [a, b] = [low / room, high * room];
    const at = value => begin + Math.log(Math.max(value, a) / a) / Math.log(b / a) * (end - begin);
    return {at, ticks: (ticks || logTicks(a, b, count)).map(tick => [tick, short(tick)])};
  }
  if (isTight) low = Math.min(0, low);
  if (low === high) [low, high] = [low - (Math.abs(low) || 1) / 10, high + (Math.abs(high) || 1) / 10];
  const step = Math.max(tidyStep(high - low, count), isWhole ? 1 : 0);
  if (!isTight) [low, high] = [Math.floor(low / step + 1e-9) * step, Math.ceil(high / step - 1e-9) * step];
  const write = Math.max(Math.abs(low), Math.abs(high)) < 1e9 ? writerOf(Math.max(Math.abs(low), Math.abs(high))) : short;
  return {at: value => begin + (value - low) / (high - low) * (end - begin), ticks: multiples(step, low, high).map(tick => [tick, write(tick)])};
}

// Neighbors of a line that are there, as paths: one of them for what all of its runs have, one for what a part has.
function pathsOf(points) {
  const paths = {whole: "", part: ""};
  let end = {};
  for (let i = 0; i < points.length; ++i) {
    const [from, to] = [points[i - 1], points[i]];
    if (!to) continue;
    if (!from) {
      if (!points[i + 1]) paths.whole += `M${to.px.toFixed(1)} ${to.py.toFixed(1)}h.01`;
      continue;
    }
    const which = to.isPart || from.isPart ? "part" : "whole";
    if (end.point !== from || end.which !== which) paths[which] += `M${from.px.toFixed(1)} ${from.py.toFixed(1)}`;
    paths[which] += `L${to.px.toFixed(1)} ${to.py.toFixed(1)}`;
    end = {point: to, which};
  }
  return paths;
}

// Series are {index, label, points, line, band, whisker, dots, dash, isSilent}; points are {x, mid, low, high, isPart}, or 0 for a gap.
function drawPlot(plot) {
  const {svg, x, y} = plot, right = svg.clientWidth - MARGIN.right, bottom = svg.clientHeight - MARGIN.bottom;
  const isDrawable = point => point && (!x.isLog || point.x > 0) && (!y.isLog || point.mid > 0);
  const range = {x: {low: Infinity, high: -Infinity}, y: {low: Infinity, high: -Infinity}};
  const widen = (axis, value) => { if (!axis.isLog || value > 0) range[axis.name].low = Math.min(range[axis.name].low, value), range[axis.name].high = Math.max(range[axis.name].high, value); };
  plot.drawn = plot.series.map(series => ({...series, points: series.points.map(point => isDrawable(point) ? {...point} : 0)}));
  for (const {points} of plot.drawn) {
    for (const point of points) if (point) widen(x, point.x), widen(y, point.mid), widen(y, point.low ?? point.mid), widen(y, point.high ?? point.mid);
  }
  plot.spots = [];
  plot.chosen = null;
  svg.classList.toggle("many", plot.series.length > 24);
  plot.tip.hidden = true;
  if (range.x.low > range.x.high) return void (svg.innerHTML = make("text", "No run that is shown has these numbers.", {x: right / 2, y: bottom / 2}));
  const across = scaleOf(range.x, x, [MARGIN.left, right], Math.max(2, (right - MARGIN.left) / 75));
  const up = scaleOf(range.y, y, [bottom, MARGIN.top], Math.max(2, (bottom - MARGIN.top) / 45));
  const parts = [[], [], []];
  up.ticks.forEach(([value, text]) => parts[0].push(make("path", "", {class: "grid", d: `M${MARGIN.left} ${up.at(value)}H${right}`}),
    make("text", text, {class: "value", "data-value": value, x: MARGIN.left - 7, y: up.at(value) + 4})));
  across.ticks.forEach(([value, text]) => parts[0].push(make("path", "", {class: "grid", d: `M${across.at(value)} ${MARGIN.top}V${bottom}`}),
    make("text", text, {class: "step", "data-value": value, x: across.at(value), y: bottom + 16})));
  parts[0].push(make("text", y.title + (y.isLog ? " (log)" : ""), {class: "title begin", x: 2, y: 12}),
    make("text", x.title + (x.isLog ? " (log)" : ""), {class: "title", x: (MARGIN.left + right) / 2, y: bottom + 35}));
  plot.drawn.forEach((series, number) => {
    const style = inkOf(series.index), tags = {style, "data-series": number, "data-label": escaped(series.label)};
    for (const point of series.points) if (point) point.px = across.at(point.x), point.py = up.at(point.mid);
    if (series.band) {
      const corner = (point, side) => `${point.px.toFixed(1)} ${up.at(point[side]).toFixed(1)}`;
      const stretches = series.points.reduce((found, point) => (point ? found.at(-1).push(point) : found.push([]), found), [[]]);
      const d = stretches.filter(list => list.some(point => point.n > 1)).map(list => "M" + list.map(point => corner(point, "low")).join("L") +
        "L" + [...list].reverse().map(point => corner(point, "high")).join("L") + "Z").join("");
      if (d) parts[0].push(make("path", "", {class: "band", ...tags, d}));
    }
    if (series.whisker) {
      parts[1].push(...series.points.filter(Boolean).map(point =>
        make("path", "", {class: "whisker", ...tags, d: `M${point.px.toFixed(1)} ${up.at(point.low).toFixed(1)}L${point.px.toFixed(1)} ${up.at(point.high).toFixed(1)}`})));
    }
    if (series.line) {
      const paths = pathsOf(series.points);
      for (const which of ["whole", "part"]) {
        if (paths[which]) parts[1].push(make("path", "", {class: `${series.line} ${which}`, ...tags, "stroke-dasharray": series.dash ?? dashOf(series.index), d: paths[which]}));
      }
    }
    const mark = MARKS[series.index % MARKS.length];
    if (series.dots) parts[2].push(...series.points.filter(Boolean).map(point => make("path", "", {class: point.isPart ? "mark open" : "mark", style,
      "data-runs": point.run ? point.run.row.run : "", transform: `translate(${point.px.toFixed(1)} ${point.py.toFixed(1)})`, d: mark})));
    if (!series.isSilent) plot.spots.push(...series.points.filter(Boolean).map(point => ({point, series, number})));
  });
  svg.innerHTML = parts.flat().join("") + make("circle", "", {class: "cursor", r: 0});
}

// Says what a point stands for; null ends that.
function pointOut(plot, index) {
  const {svg, tip} = plot, cursor = svg.querySelector(".cursor");
  plot.chosen = index;
  tip.hidden = index === null;
  svg.querySelectorAll(".chosen").forEach(path => path.classList.remove("chosen"));
  if (!cursor) return;
  cursor.setAttribute("r", index === null ? 0 : 6);
  if (index === null) return;
  const {point, series, number} = plot.spots[index];
  svg.querySelectorAll(`[data-series="${number}"]`).forEach(path => path.classList.add("chosen"));
  cursor.setAttribute("cx", point.px);
  cursor.setAttribute("cy", point.py);
  tip.innerHTML = plot.describe(point, series).join("<br>");
  Object.assign(tip.dataset, {x: point.x, y: point.mid, low: point.low ?? "", high: point.high ?? "", n: point.n});
  const room = svg.clientWidth, left = point.px + 14 + tip.offsetWidth > room ? point.px - 14 - tip.offsetWidth : point.px + 14;
  tip.style.left = Math.max(0, Math.min(left, room - tip.offsetWidth)) + "px";
  tip.style.top = point.py + 14 + "px";
}

function nearestSpot(plot, px, py, wanted) {
  let best = null, least = Infinity;
  plot.spots.forEach(({point, number}, i) => {
    const far = Math.hypot(point.px - px, point.py - py);
    if (far < least && (wanted === undefined || number === wanted)) [best, least] = [i, far];
  });
  return wanted === undefined && least > 40 ? null : best;
}

function stepAlong(plot, key) {
  const spots = plot.spots, last = spots.length - 1;
  if (last < 0) return;
  if (plot.chosen === null) return pointOut(plot, key === "ArrowLeft" ? last : 0);
  const {point, number} = spots[plot.chosen];
  const by = {ArrowLeft: -1, ArrowRight: 1}[key];
  if (by) return pointOut(plot, Math.min(Math.max(plot.chosen + by, 0), last));
  const others = [...new Set(spots.map(spot => spot.number))], other = others[others.indexOf(number) + (key === "ArrowDown" ? 1 : -1)];
  if (other !== undefined) pointOut(plot, nearestSpot(plot, point.px, point.py, other));
}

function makePlot(id, describe) {
  const figure = byId(id), svg = figure.querySelector("svg"), plot = {id, figure, svg, tip: figure.querySelector(".tip"), describe, series: [], spots: [], chosen: null};
  svg.addEventListener("pointermove", event => {
    const box = svg.getBoundingClientRect(), index = nearestSpot(plot, event.clientX - box.left, event.clientY - box.top);
    if (index !== plot.chosen) pointOut(plot, index);
  });
  for (const name of ["pointerleave", "blur"]) svg.addEventListener(name, () => pointOut(plot, null));
  svg.addEventListener("keydown", event => {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    if (event.key === "Escape") return pointOut(plot, null);
    if (!event.key.startsWith("Arrow")) return;
    stepAlong(plot, event.key);
    event.preventDefault();
  });
  return plot;
}
