// ---- What the pages share: elements, theme, ticks ---------------------------------------------------

const byId = id => document.getElementById(id);
const make = (tag, content, attributes) =>
  `<${tag} ${Object.entries(attributes).map(([name, value]) => `${name}="${value}"`).join(" ")}>${content}</${tag}>`;

function toggleTheme() {
  const root = document.documentElement;
  const dark = root.dataset.theme ? root.dataset.theme === "dark" : matchMedia("(prefers-color-scheme: dark)").matches;
  root.dataset.theme = dark ? "light" : "dark";
}

function tidyStep(length, count, least) {
  const rough = Math.max(length / count, least || 0), power = 10 ** Math.floor(Math.log10(rough));
  return [1, 2, 5, 10].map(n => n * power).find(n => n >= rough * (1 - 1e-9));
}
const multiples = (step, begin, end) => {
  const all = [];
  for (let i = Math.ceil(begin / step - 1e-9); i * step <= end + 1e-9 * step; ++i) all.push(+(i * step).toPrecision(12));
  return all;
};

// Returns how all labels of an axis are written, given its largest number.
function writerOf(most) {
  if (most >= 1e6) return value => value ? +(value / 1e6).toPrecision(6) + "M" : "0";
  if (most >= 1e4) return value => value ? +(value / 1e3).toPrecision(6) + "k" : "0";
  if (most < 1e-2) return value => value ? (+value.toPrecision(6)).toExponential() : "0";
  return value => String(+value.toPrecision(6));
}
