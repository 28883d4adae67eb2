// ---- Saving a figure as SVG -------------------------------------------------------------------------

// The file has no style sheet, so each element says how it is painted.
const PAINT = ["fill", "fill-opacity", "stroke", "stroke-opacity", "stroke-width", "stroke-dasharray", "stroke-linecap", "opacity", "font-size", "font-weight",
  "text-anchor", "text-decoration-line"];
const paintOf = element => {
  const style = getComputedStyle(element);
  return Object.fromEntries(PAINT.map(name => [name, style.getPropertyValue(name)]));
};

function createSvg(name, attributes, text = "") {
  const element = document.createElementNS(document.querySelector("svg").namespaceURI, name);
  for (const [attribute, value] of Object.entries(attributes)) element.setAttribute(attribute, value);
  element.textContent = text;
  return element;
}

// Returns the text of a file with the title, the legend and the plot of a figure, each where the page has it.
function svgOf(figure) {
  const outer = figure.getBoundingClientRect(), {fontFamily, backgroundColor} = getComputedStyle(document.body);
  const placeOf = element => {
    const {left, top, width, height} = element.getBoundingClientRect();
    return {x: left - outer.left, y: top - outer.top, width, height};
  };
  // The controls between the caption and the plot are left out.
  const plot = figure.querySelector("svg[role]"), place = {...placeOf(plot), y: placeOf(figure.querySelector("figcaption")).height};
  const {width} = outer, height = place.y + place.height;
  const file = createSvg("svg", {width, height, viewBox: `0 0 ${width} ${height}`, "font-family": fontFamily});
  file.append(createSvg("rect", {width, height, fill: backgroundColor}));
  for (const from of figure.querySelectorAll("h2, .legend span, .legend small")) {
    const {x, y, height} = placeOf(from), fill = getComputedStyle(from).color;
    file.append(createSvg("text", {...paintOf(from), fill, x, y: y + height / 2, "dominant-baseline": "central"}, from.textContent));
  }
  for (const from of figure.querySelectorAll("svg")) {
    const copy = createSvg("svg", from === plot ? place : placeOf(from));
    for (const part of from.querySelectorAll(":scope > :not(.cursor)")) {
      const at = [...part.attributes].filter(({name}) => ["d", "x", "y", "transform"].includes(name)).map(({name, value}) => [name, value]);
      copy.append(createSvg(part.localName, {...paintOf(part), ...Object.fromEntries(at)}, part.textContent));
    }
    file.append(copy);
  }
  return new XMLSerializer().serializeToString(file) + "\n";
}

function addSaving() {
  for (const caption of document.querySelectorAll("figure:has(svg[role]) > figcaption")) {
    const button = document.createElement("button"), figure = caption.parentElement;
    button.textContent = "save SVG";
    button.className = "save";
    button.addEventListener("click", () => {
      const link = document.createElement("a");
      link.href = URL.createObjectURL(new Blob([svgOf(figure)], {type: "image/svg+xml"}));
      link.download = `${figure.id}.svg`;
      link.click();
      setTimeout(() => URL.revokeObjectURL(link.href), 60000);
    });
    caption.append(button);
  }
}

