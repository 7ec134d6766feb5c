// Elements without a framework, and the numbers in them as people read them.

const SVG = "http://www.w3.org/2000/svg";

function fill(element, attributes, children) {
  for (const [name, value] of Object.entries(attributes)) {
    if (value !== undefined && value !== false) element.setAttribute(name, value === true ? "" : value);
  }
  element.append(...children.filter((child) => child !== undefined && child !== null));
  return element;
}

/** An HTML element. Text is always text: nothing that a server says is read as markup. */
export const h = (tag, attributes = {}, ...children) => fill(document.createElement(tag), attributes, children);

/** An SVG element. */
export const svg = (tag, attributes = {}, ...children) => fill(document.createElementNS(SVG, tag), attributes, children);

/** Like h, with a width in percent: the page's policy forbids style attributes, not the style object. */
export function bar(tag, attributes, percent) {
  const element = h(tag, attributes);
  element.style.width = `${percent}%`;
  return element;
}

/** Three significant digits, no exponent. */
const digits = (value) => (value >= 100 ? value.toFixed(0) : value >= 10 ? value.toFixed(1) : value.toFixed(2));

export function seconds(value) {
  if (!Number.isFinite(value)) return "–";
  if (value >= 1) return `${digits(value)} s`;
  return value >= 0.001 ? `${digits(value * 1e3)} ms` : `${(value * 1e6).toFixed(0)} µs`;
}

export function count(value) {
  for (const [size, unit] of [[1e9, "G"], [1e6, "M"], [1e3, "k"]]) {
    if (value >= size) return `${digits(value / size)} ${unit}`;
  }
  return String(value);
}

export const ratio = (value) => (Number.isFinite(value) ? `${digits(value)}×` : "");

export const percent = (value) => `${(value * 100).toFixed(1)} %`;

export const bytes = (value) => (value >= 2 ** 20 ? `${digits(value / 2 ** 20)} MiB` : `${Math.ceil(value / 1024)} KiB`);
