// ---- What the rows say ------------------------------------------------------------------------------

const data = JSON.parse(byId("data").textContent);
const number = value => typeof value === "number" ? value : NaN;
const isNumber = Number.isFinite;

// Each run has the label of each axis of the grid under "at", and what its trial has drawn under "drawn".
const runs = data.rows.map(row => {
  const trial = row.place.findIndex(([name]) => name === "trial"), end = trial < 0 ? row.place.length : trial + 1;
  return {row, at: new Map([...row.place.slice(0, end), ["status", row.status]]), drawn: new Map(row.place.slice(end))};
}).sort((a, b) => a.row.run - b.row.run);
const namesIn = maps => [...new Set(maps.flatMap(map => [...map.keys()]))];
const axes = namesIn(runs.map(run => run.at)).filter(name => name !== "status"), drawn = namesIn(runs.map(run => run.drawn));
const filters = [...axes, "status"];
const labels = new Map(filters.map(name => [name, [...new Set(runs.filter(run => run.at.has(name)).map(run => run.at.get(name)))]]));

function groupBy(list, keyOf) {
  const groups = new Map();
  for (const one of list) {
    const key = keyOf(one);
    groups.has(key) ? groups.get(key).push(one) : groups.set(key, [one]);
  }
  return [...groups.values()];
}
const keyWithout = (run, left) => JSON.stringify(axes.map(name => left.includes(name) ? null : run.at.get(name) ?? null));
const placeOf = (run, left) => axes.filter(name => !left.includes(name) && run.at.has(name)).map(name => `${name} ${run.at.get(name)}`).join(", ");

// The median of some values, with their quartiles, or their range if they are fewer than four.
function summarize(values) {
  const sorted = [...values].sort((a, b) => a - b), n = sorted.length;
  const at = part => {
    const place = part * (n - 1), i = Math.floor(place);
    return i + 1 < n ? sorted[i] + (place - i) * (sorted[i + 1] - sorted[i]) : sorted[i];
  };
  return {n, mid: at(.5), low: n < 4 ? sorted[0] : at(.25), high: n < 4 ? sorted[n - 1] : at(.75)};
}

const UP = {validation_loss: "validation loss", loss: "training loss", validation_accuracy: "validation accuracy"};
// The cosines of a validation are those of the stages; each stage makes a curve.
for (const {row} of runs) {
  (row.curve?.cosines?.[0] || []).forEach((_, stage) => {
    UP[`cosine_${stage}`] = `cosine with backprop, stage ${stage}`;
    row.curve[`cosine_${stage}`] = row.curve.cosines.map(all => all[stage]);
  });
}
const hasCosines = runs.some(({row}) => row.curve?.cosines?.length);
const ACROSS = {step: {title: "step", at: (row, step) => step},
  samples: {title: "samples", at: (row, step) => step * number(row.samples_per_step)},
  seconds: {title: "seconds", at: (row, step) => step * number(row.step_seconds)},
  flops: {title: "FLOPs", at: (row, step) => number(row.flops) * step / row.steps},
  ideal: {title: "FLOPs of the longest chain", at: (row, step) => number(row.parallel_flops) * step / row.steps}};
const ups = Object.keys(UP).filter(name => runs.some(({row}) => row.curve?.[name]?.some(isNumber)));
const acrosses = Object.keys(ACROSS).filter(name => runs.some(({row}) => isNumber(ACROSS[name].at(row, 1))));

// A line for runs that differ in the seed only. Its points are medians over the runs that have a value at the step, of x too.
function curveLines(shown, up, across, color) {
  const left = color === "seed" ? [] : ["seed"];
  return groupBy(shown, run => keyWithout(run, left)).map(members => {
    const steps = new Map();
    for (const run of members) {
      (run.row.curve?.step || []).forEach((step, i) => {
        const one = {run, x: ACROSS[across].at(run.row, step), y: number(run.row.curve[up]?.[i])};
        if (!steps.has(step)) steps.set(step, []);
        if (isNumber(one.x) && isNumber(one.y)) steps.get(step).push(one);
      });
    }
    const points = [...steps].sort(([a], [b]) => a - b).map(([step, all]) => all.length &&
      {step, x: summarize(all.map(one => one.x)).mid, ...summarize(all.map(one => one.y)), all});
    const n = new Set(points.flatMap(point => point ? point.all.map(one => one.run) : [])).size;
    points.forEach(point => { if (point) point.isPart = point.n < n; });
    return {label: members[0].at.get(color), place: placeOf(members[0], left), n, points};
  }).filter(line => line.n);
}

// A line over the stages for each color: medians over its runs, each of which has the median of its validations.
function cosineLines(shown, color) {
  return groupBy(shown.filter(({row}) => row.curve?.cosines?.length), run => run.at.get(color)).map(members => {
    const numStages = Math.max(...members.map(({row}) => row.curve.cosines[0].length));
    const points = Array.from({length: numStages}, (_, stage) => {
      const all = members.map(run => ({run, y: summarize(run.row.curve.cosines.map(stages => stages[stage]).filter(isNumber)).mid})).filter(({y}) => isNumber(y));
      return all.length && {x: stage, ...summarize(all.map(one => one.y)), all};
    });
    return {label: members[0].at.get(color), n: members.length, points};
  });
}

const complete = runs.filter(({row}) => row.status === "complete");
const all = name => complete.length && complete.every(({row}) => isNumber(number(row[name])));
const COMPUTE = all("flops") ? {title: "FLOPs", of: row => row.flops}
  : {title: "steps \u00d7 samples", of: row => row.steps * number(row.samples_per_step)};
const TIME = all("parallel_flops") ? {title: "FLOPs of the longest chain", of: row => row.parallel_flops}
  : {title: "seconds", of: row => number(row.seconds)};

const costPoints = shown => shown.filter(({row}) => row.status === "complete")
  .map(run => ({run, x: COMPUTE.of(run.row), mid: TIME.of(run.row), n: 1})).filter(point => point.x > 0 && point.mid > 0);

// The points that no other equals or beats in both costs and beats in one; of equal ones the first.
function frontOf(points) {
  const sorted = [...points].sort((a, b) => a.x - b.x || a.mid - b.mid);
  let least = Infinity;
  return sorted.filter(point => point.mid < least && (least = point.mid, true));
}

// Axes that change the samples of a step while the others stay the same.
const batchAxes = axes.filter(name => name !== "seed" && name !== "trial" &&
  groupBy(runs, run => keyWithout(run, [name, "seed", "trial"])).some(group => new Set(group.map(run => run.row.samples_per_step)).size > 1));

// A line for what differs in the batch size, the seed and the trial only. Of the trials of a seed, the one with the fewest steps counts.
function scalingLines(shown, color) {
  const left = ["seed", "trial", ...batchAxes].filter(name => name !== color);
  return groupBy(shown, run => keyWithout(run, left)).map(members => {
    const points = groupBy(members, run => run.row.samples_per_step).map(here => {
      const seeds = groupBy(here, run => run.at.get("seed"));
      const best = seeds.map(trials => trials.filter(({row}) => row.status === "complete" && row.steps > 0)
        .reduce((least, run) => least && least.row.steps <= run.row.steps ? least : run, null)).filter(Boolean);
      const found = best.map(run => ({run, y: run.row.steps}));
      return best.length && {x: here[0].row.samples_per_step, ...summarize(found.map(one => one.y)), all: found,
        of: seeds.length, isPart: best.length < seeds.length};
    }).filter(point => point && point.x > 0).sort((a, b) => a.x - b.x);
    return {label: members[0].at.get(color), place: placeOf(members[0], left), n: Math.max(...points.map(point => point.n)), points,
      fit: batchAxes.join() === "batch-size" && color !== "batch-size" && color !== "seed" ? fitOf(members[0]) : undefined};
  }).filter(line => line.points.length);
}

// A point for runs that differ in the seed and the trial only, of a number that compares their first layers with others.
function similarityLines(shown, name, color) {
  const left = ["seed", "trial"].filter(axis => axis !== color);
  return groupBy(shown.filter(({row}) => isNumber(row[name])), run => keyWithout(run, left)).map((members, i) => {
    const all = members.map(run => ({run, y: run.row[name]}));
    return {label: members[0].at.get(color), place: placeOf(members[0], left), points: [{x: i, ...summarize(all.map(one => one.y)), all}]};
  });
}

// The bytes of a run's filters, by filter; 128 is 0.
function filtersOf({row: {filters: {width, height, data}}}) {
  const bytes = Uint8Array.from(atob(data), c => c.charCodeAt(0)), size = width * height;
  return Array.from({length: bytes.length / size}, (_, i) => bytes.subarray(i * size, (i + 1) * size));
}

// The fit of the line of a run, made from all of its runs.
const fitOf = run => data.fits.find(({place}) => place.every(([name, label]) => run.at.get(name) === label));
const fitPoints = ({low, high, c1, c2}) => Array.from({length: 33}, (_, i) => low * (high / low) ** (i / 32)).map(x => ({x, mid: c1 / x + c2}));
