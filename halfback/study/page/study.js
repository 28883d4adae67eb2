// ---- State: lies in the address, as far as it differs from the page's first look ---------------------

const first = {y: ups[0] || "loss", x: "step", logx: "", logy: "", sort: "run", down: "",
  color: axes.find(name => name !== "seed" && labels.get(name).length > 1) || axes[0] || "status"};
const choices = {y: ups, x: acrosses, color: filters};
const state = {};
let numShown = 200, written = "";

function readAddress() {
  const words = new URLSearchParams(location.hash.slice(1));
  for (const name in first) {
    const word = words.get(name);
    state[name] = word === null || (choices[name] && !choices[name].includes(word)) ? first[name] : word;
  }
  state.off = new Set(words.getAll("off"));
  state.not = new Map(filters.map(name => [name, new Set(words.getAll("not." + name))]));
}
function writeAddress() {
  const words = new URLSearchParams();
  for (const name in first) if (state[name] !== first[name]) words.set(name, state[name]);
  for (const label of state.off) words.append("off", label);
  for (const [name, without] of state.not) for (const label of without) words.append("not." + name, label);
  written = String(words);
  if (written !== location.hash.slice(1)) location.replace("#" + written);
}
function change(values) {
  Object.assign(state, values);
  writeAddress();
  render();
}

// ---- What a point says ------------------------------------------------------------------------------

const write = value => value >= 1e9 ? short(value) : String(+value.toPrecision(6));
const commandOf = run => `<code>${escaped(run.row.command ?? "")}</code>`;

// The value of each run of a point, and the command of the one in the middle.
function runsOf(point) {
  const sorted = [...point.all].sort((a, b) => a.y - b.y), middle = sorted[(sorted.length - 1) >> 1];
  const texts = sorted.slice(0, 10).map(one => `run ${one.run.row.run}${one.run.at.has("seed") ? ` (seed ${escaped(one.run.at.get("seed"))})` : ""} ${write(one.y)}`);
  if (sorted.length > 10) texts.push(`${sorted.length - 10} more`);
  return [`<span class="soft">${texts.join(", ")}</span>`, `run ${middle.run.row.run}: ${commandOf(middle.run)}`];
}
const spreadOf = point => point.n === 1 ? "n = 1"
  : `median, ${point.n < 4 ? "range" : "quartiles"} ${write(point.low)} to ${write(point.high)}, n = ${point.n}`;

const describeSimilarity = (title, more) => (point, series) => [`<b>${escaped(series.place)}</b>`, `${title} <b>${write(point.mid)}</b>, ${spreadOf(point)}`, ...more(point), ...runsOf(point)];
const CKA = "CKA with backprop", ANGLE = "mean angle to backprop (radians)";
const largestOf = ({all}) => [`largest angle ${write(summarize(all.map(({run}) => run.row.first_layer_largest_angle)).mid)}`];

const plots = {
  cka: makePlot("cka", describeSimilarity(CKA, () => [])),
  angle: makePlot("angle", describeSimilarity(ANGLE, largestOf)),
  curves: makePlot("curves", (point, series) => [`<b>${escaped(series.place)}</b>`,
    `${UP[state.y]} <b>${write(point.mid)}</b>, ${spreadOf(point)}${point.isPart ? ` of ${series.n}` : ""}`,
    `step ${point.step}` + (state.x === "step" ? "" : `, ${ACROSS[state.x].title} ${write(point.x)}`), ...runsOf(point)]),
  cost: makePlot("cost", ({run, x, mid}) => [`<b>run ${run.row.run}</b> ${escaped(placeOf(run, []))}`,
    `${COMPUTE.title} <b>${write(x)}</b>, ${TIME.title} <b>${write(mid)}</b>, n = 1`, `${run.row.steps} steps`, commandOf(run)]),
  cosines: makePlot("cosines", (point, series) => [`<b>${escaped(state.color)} ${escaped(series.label)}</b>`,
    `stage ${point.x}: cosine <b>${write(point.mid)}</b>, ${spreadOf(point)}`, ...runsOf(point)]),
  scaling: makePlot("scaling", (point, series) => [`<b>${escaped(series.place)}</b>`, `${point.x} samples a step`,
    `<b>${write(point.mid)}</b> steps, ${spreadOf(point)}${point.isPart ? ` of ${point.of} seeds; the others did not get there` : ""}`,
    ...(series.fit ? [`fit ${write(series.fit.c1)} / batch size + ${write(series.fit.c2)}, knee ${series.fit.knee === null ? "none" : write(series.fit.knee)}`] : []), ...runsOf(point)])};

// ---- What is drawn ----------------------------------------------------------------------------------

const indexOf = label => labels.get(state.color).indexOf(label);
const between = (numbers, text) => Math.min(...numbers) === Math.max(...numbers) ? `${text} = ${numbers[0]}` : `${text} = ${Math.min(...numbers)} to ${Math.max(...numbers)}`;

// The legend says how many runs each figure has of a label, and switches the label off and on.
function drawLegend(plot, shown, countOf) {
  const list = plot.figure.querySelector(".legend"), index = label => indexOf(label);
  const present = labels.get(state.color).filter(label => shown.some(run => run.at.get(state.color) === label));
  list.innerHTML = present.map(label => {
    const sample = `<svg width="30" height="12" style="${inkOf(index(label))}" aria-hidden="true"><path d="M1 6H29" stroke-dasharray="${dashOf(index(label))}"/>` +
      `<path class="mark" transform="translate(15 6)" d="${MARKS[index(label) % MARKS.length]}"/></svg>`;
    return `<button class="key" data-label="${escaped(label)}" aria-pressed="${!state.off.has(label)}">${sample}<span>${escaped(label)}</span> <small>${countOf(label)}</small></button>`;
  }).join("");
}

function drawCurves(shown, on) {
  const lines = curveLines(shown, state.y, state.x, state.color), plot = plots.curves;
  plot.x = {name: "x", title: ACROSS[state.x].title, isLog: Boolean(state.logx), isTight: true};
  plot.y = {name: "y", title: UP[state.y], isLog: Boolean(state.logy)};
  plot.series = lines.filter(line => on(line.label)).map(line =>
    ({...line, index: indexOf(line.label), line: "curve", band: true, dots: line.points.length === 1}));
  drawLegend(plot, shown, label => {
    const of = lines.filter(line => line.label === label);
    return of.length ? (of.length > 1 ? `${of.length} lines, ` : "") + between(of.map(line => line.n), "n") : "n = 0";
  });
  const without = shown.length - lines.reduce((sum, line) => sum + line.n, 0);
  plot.figure.querySelector(".note").textContent = "Lines are medians over the seeds, n of them; bands are quartiles, or the range where n is below 4. " +
    "A line is faint where some of its runs have no value" + (without ? `; ${without} of the runs have none at all.` : ".");
}

function drawCost(shown, on) {
  const points = costPoints(shown), plot = plots.cost, visible = points.filter(point => on(point.run.at.get(state.color)));
  plot.figure.hidden = !points.length;
  plot.x = {name: "x", title: COMPUTE.title, isLog: true};
  plot.y = {name: "y", title: TIME.title, isLog: true};
  const groups = groupBy(visible, point => point.run.at.get(state.color));
  const named = list => ({label: list[0].run.at.get(state.color), index: indexOf(list[0].run.at.get(state.color))});
  plot.series = [...groups.map(list => ({...named(list), points: list, dots: true})),
    ...groups.map(list => ({...named(list), points: frontOf(list), line: "front", dash: "", isSilent: true})),
    {label: "all", index: -1, points: frontOf(visible), line: "front_all", dash: "5 4", isSilent: true}];
  drawLegend(plot, shown, label => `n = ${points.filter(point => point.run.at.get(state.color) === label).length}`);
  plot.figure.querySelector(".note").textContent = `Complete runs, ${visible.length} of them. Lines join what no other run of the color beats in both; ` +
    "the dashed one does so for all.";
}

function drawCosines(shown, on) {
  const lines = cosineLines(shown, state.color), plot = plots.cosines;
  plot.figure.hidden = !hasCosines;
  plot.x = {name: "x", title: "stage", isTight: true, isWhole: true};
  plot.y = {name: "y", title: "cosine of the angle between the gradients"};
  plot.series = lines.filter(line => on(line.label)).map(line => ({...line, index: indexOf(line.label), line: "curve", band: true, dots: true}));
  drawLegend(plot, shown, label => `n = ${lines.find(line => line.label === label)?.n ?? 0}`);
  plot.figure.querySelector(".note").textContent = "1: the layers of a stage have the gradient of backprop; 0: one at a right angle to it. Of each run the median over " +
    "its validations; lines are medians over n runs, bands quartiles, or the range where n is below 4.";
}

function drawScaling(shown, on) {
  const lines = scalingLines(shown, state.color), plot = plots.scaling;
  const sizes = [...new Set(lines.flatMap(line => line.points.map(point => point.x)))];
  plot.figure.hidden = sizes.length < 2;
  plot.x = {name: "x", title: "samples a step", isLog: true, ticks: sizes.length < 9 ? sizes : undefined};
  plot.y = {name: "y", title: "steps to the result", isLog: true};
  const drawn = lines.filter(line => on(line.label)).map(line => ({...line, index: indexOf(line.label), line: "curve", band: true, dots: true}));
  const fits = drawn.filter(line => line.fit).map(line => ({...line, points: fitPoints(line.fit), line: "fit", dash: "1 3", band: false, dots: false, isSilent: true}));
  plot.series = [...drawn, ...fits];
  drawLegend(plot, shown, label => {
    const counts = lines.filter(line => line.label === label).flatMap(line => line.points.map(point => point.n));
    return counts.length ? between(counts, "n") : "n = 0";
  });
  const trials = axes.includes("trial") ? " Of the trials of a seed, the one with the fewest steps counts." : "";
  plot.figure.querySelector(".note").textContent = "Steps of complete runs: medians over the seeds, n of them at each point, with quartiles, or the range where n is below 4." +
    " Points are open where some of the seeds have no complete run." + trials +
    (fits.length ? " Dotted: c1 / batch size + c2, fitted to all runs of a line." : "");
}

function drawSimilarity(plot, name, title, shown, on) {
  const lines = similarityLines(shown.filter(run => on(run.at.get(state.color))), name, state.color);
  plot.figure.hidden = !runs.some(({row}) => isNumber(row[name]));
  plot.x = {name: "x", title: state.color, names: lines.map(line => line.label ?? "")};
  plot.y = {name: "y", title};
  plot.series = lines.map(line => ({...line, index: indexOf(line.label), whisker: true, dots: true}));
  drawLegend(plot, shown, label => `n = ${shown.filter(run => run.at.get(state.color) === label && isNumber(run.row[name])).length}`);
}

// Filters of a run side by side, each in grays from black to white.
function drawFilters(canvas, run) {
  const filters = filtersOf(run), {width, height} = run.row.filters, across = Math.ceil(Math.sqrt(filters.length));
  canvas.width = across * (width + 1) - 1;
  canvas.height = Math.ceil(filters.length / across) * (height + 1) - 1;
  canvas.style.width = canvas.width * Math.max(1, Math.round(220 / canvas.width)) + "px";
  filters.forEach((bytes, i) => {
    const pixels = new ImageData(width, height);
    bytes.forEach((byte, at) => pixels.data.set([byte, byte, byte, 255], 4 * at));
    canvas.getContext("2d").putImageData(pixels, i % across * (width + 1), Math.floor(i / across) * (height + 1));
  });
}

function drawFirstLayer(shown, on) {
  const section = byId("first_layer"), pictured = shown.filter(run => run.row.filters && on(run.at.get(state.color)));
  section.hidden = !runs.some(({row}) => row.filters || isNumber(row.first_layer_cka));
  byId("filters_of_schemes").innerHTML = pictured.map(run => `<figure><canvas role="img" aria-label="Filters of run ${run.row.run}" data-run="${run.row.run}"></canvas>` +
    `<figcaption><b>${escaped(run.at.get("scheme") ?? "")}</b> <span class="soft">${escaped(["run " + run.row.run, placeOf(run, ["scheme"])].filter(Boolean).join(", "))}</span></figcaption></figure>`).join("");
  pictured.forEach((run, i) => drawFilters(section.querySelectorAll("canvas")[i], run));
  drawSimilarity(plots.cka, "first_layer_cka", CKA, shown, on);
  drawSimilarity(plots.angle, "first_layer_angle", ANGLE, shown, on);
  section.querySelector(".note").textContent = "Pictures show the weights of the first run of each scheme, those of the largest norm first: black is negative, white positive, each as far as its largest weight. " +
    "Points are medians over the seeds, with quartiles, or the range where n is below 4: each run beside that of backprop at the same place, and backprop beside its next seed, which shows what the seed alone does.";
}

// ---- The table --------------------------------------------------------------------------------------

const KNOWN = ["steps", "samples_per_step", "loss", "validation_loss", "validation_accuracy", "step_seconds", "seconds", "flops", "parallel_flops"];
const isCell = value => value === null || typeof value === "number" || (Array.isArray(value) && value.every(one => typeof one === "number"));
const found = [...new Set(runs.flatMap(({row}) => Object.keys(row).filter(name => !["run", "place"].includes(name) && isCell(row[name]))))];
const columns = [{id: "run", of: ({row}) => row.run},
  ...axes.map(name => ({id: "at." + name, title: name, of: run => run.at.get(name)})),
  ...drawn.map(name => ({id: "drawn." + name, title: name, of: run => run.drawn.get(name)})),
  {id: "status", of: ({row}) => row.status},
  ...[...KNOWN, ...found.filter(name => !KNOWN.includes(name)).sort()].filter(name => found.includes(name)).map(name => ({id: name, of: ({row}) => row[name]})),
  {id: "command", of: ({row}) => row.command}].map(column => ({title: column.id.replaceAll("_", " "), ...column}));
const cellOf = value => value === null ? "not finite" : value === undefined ? "" : Array.isArray(value) ? value.join(", ") : String(value);

function compare(a, b) {
  const [left, right] = [a, b].map(value => Array.isArray(value) ? Math.max(...value) : value === "" || isNaN(value) ? value : Number(value));
  return typeof left === "number" && typeof right === "number" ? left - right : String(left).localeCompare(String(right), "en", {numeric: true});
}
function drawTable(shown) {
  const column = columns.find(({id}) => id === state.sort) || columns[0], sign = state.down ? -1 : 1;
  const isLast = run => column.of(run) === null || column.of(run) === undefined;  // either way
  const sorted = [...shown].sort((a, b) => isLast(a) - isLast(b) || (isLast(a) ? 0 : sign * compare(column.of(a), column.of(b))) || a.row.run - b.row.run);
  const head = columns.map(({id, title, of}) => `<th scope="col"${runs.some(run => typeof of(run) === "string") ? ' class="word"' : ""} aria-sort="${id !== column.id ? "none" : state.down ? "descending" : "ascending"}">` +
    `<button data-sort="${escaped(id)}">${escaped(title)}</button></th>`).join("");
  byId("table").tHead.innerHTML = `<tr>${head}</tr>`;
  byId("table").tBodies[0].innerHTML = sorted.slice(0, numShown).map(run => "<tr>" + columns.map(({id, of}) => {
    const value = of(run), kind = id === "command" ? ' class="command"' : typeof value === "string" ? ' class="word"' : "";
    return `<td${kind}>${escaped(cellOf(value))}</td>`;
  }).join("") + "</tr>").join("");
  byId("more").hidden = sorted.length <= numShown;
  byId("more").textContent = `show all ${sorted.length} runs`;
}

// ---- Controls ---------------------------------------------------------------------------------------

const optionsOf = (names, textOf) => names.map(name => `<option value="${escaped(name)}">${escaped(textOf(name))}</option>`).join("");

function addControls() {
  byId("y").innerHTML = optionsOf(ups, name => UP[name]);
  byId("x").innerHTML = optionsOf(acrosses, name => ACROSS[name].title);
  byId("color").innerHTML = optionsOf(filters, name => name);
  byId("filters").innerHTML = filters.map(name => `<fieldset data-axis="${escaped(name)}"><legend>${escaped(name)}</legend>` +
    labels.get(name).map(label => `<label><input type="checkbox" data-label="${escaped(label)}"> ${escaped(label)}</label>`).join("") +
    (labels.get(name).length > 2 ? '<span><button data-all="1">all</button> <button data-all="">none</button></span>' : "") + "</fieldset>").join("");
  for (const name of ["y", "x"]) byId(name).addEventListener("change", event => change({[name]: event.target.value}));
  byId("color").addEventListener("change", event => change({color: event.target.value, off: new Set()}));
  for (const name of ["logx", "logy"]) byId(name).addEventListener("change", event => change({[name]: event.target.checked ? "1" : ""}));
  byId("filters").addEventListener("change", ({target}) => {
    const without = state.not.get(target.closest("fieldset").dataset.axis), {label} = target.dataset;
    target.checked ? without.delete(label) : without.add(label);
    change({});
  });
  document.addEventListener("click", event => {
    const button = event.target.closest("button"), {all, label, sort} = button ? button.dataset : {};
    if (all !== undefined) {
      const {axis} = button.closest("fieldset").dataset;
      state.not.set(axis, new Set(all ? [] : labels.get(axis)));
      change({});
    } else if (label !== undefined) {
      const id = button.closest("figure").id;
      state.off.delete(label) || state.off.add(label);
      change({});
      [...byId(id).querySelectorAll(".legend button")].find(one => one.dataset.label === label)?.focus();
    } else if (sort !== undefined) {
      change({sort, down: state.sort === sort && !state.down ? "1" : ""});
      [...document.querySelectorAll("th button")].find(one => one.dataset.sort === sort).focus();
    }
  });
  byId("more").addEventListener("click", () => { numShown = Infinity; render(); });
  byId("reset").addEventListener("click", () => {
    location.replace("#");
    readAddress();
    change({});
  });
  byId("theme").addEventListener("click", toggleTheme);
  window.addEventListener("hashchange", () => {
    if (location.hash.slice(1) === written) return;  // ours
    readAddress();
    change({});
  });
}

function render() {
  const shown = runs.filter(run => filters.every(name => !state.not.get(name).has(run.at.get(name))));
  for (const name of ["y", "x", "color"]) byId(name).value = state[name];
  for (const name of ["logx", "logy"]) byId(name).checked = Boolean(state[name]);
  for (const box of byId("filters").querySelectorAll("input")) box.checked = !state.not.get(box.closest("fieldset").dataset.axis).has(box.dataset.label);
  const counts = labels.get("status").map(status => `${shown.filter(({row}) => row.status === status).length} ${status}`);
  byId("counts").textContent = `${shown.length} of ${runs.length} runs are shown: ${counts.join(", ")}`;
  const on = label => !state.off.has(label);
  drawCurves(shown, on);
  drawCost(shown, on);
  drawCosines(shown, on);
  drawScaling(shown, on);
  drawFirstLayer(shown, on);
  Object.values(plots).filter(plot => !plot.figure.hidden).forEach(drawPlot);
  drawTable(shown);
}

document.title = data.title;
byId("title").textContent = data.title;
readAddress();
addControls();
addSaving();
render();
let drawnWidth = document.body.clientWidth;
new ResizeObserver(() => {
  if (drawnWidth === (drawnWidth = document.body.clientWidth)) return;
  Object.values(plots).filter(plot => !plot.figure.hidden).forEach(drawPlot);
}).observe(document.body);
window.halfback = {data, state, plots};
