// The page's small pictures: stages as one stacked bar, quantiles over time, a ratio as a bar from 1×.

import { bar, h, ratio, seconds, svg } from "./dom.js";

export const STAGES = ["decode", "queue", "compute", "respond"];
export const QUANTILES = ["p50", "p95", "p99"];

const WIDTH = 320;
const HEIGHT = 84;
const LEFT = 50;
const EDGE = 6;

/** One answer's time by stage; `longest` seconds fill the whole width, so that bars of several models compare. */
export function stageBar(timings, longest) {
  const text = STAGES.map((stage) => `${stage} ${seconds(timings[stage])}`).join(", ");
  return h(
    "div",
    { class: "stages", role: "img", "aria-label": text, title: text },
    ...STAGES.map((stage) => bar("span", { class: stage }, (100 * timings[stage]) / longest)),
  );
}

/** The logarithmic scale that holds every quantile of every series: [lowest, highest] seconds, on 1-2-5 steps. */
export function sharedScale(allSeries) {
  const values = allSeries.flat().flatMap((point) => QUANTILES.map((name) => point[name])).filter(Number.isFinite);
  if (values.length === 0) return [0.001, 0.1];
  const low = step(Math.min(...values), Math.floor);
  const high = step(Math.max(...values), Math.ceil);
  return [low, high > low ? high : low * 2];
}

const STEPS = [1, 2, 5];

/** The neighbouring value of 1, 2, 5, 10, 20, 50 … in the direction of `round`. */
function step(value, round) {
  const decade = 10 ** Math.floor(Math.log10(value));
  const scaled = value / decade;
  const found = round === Math.floor ? STEPS.findLast((s) => s <= scaled) : [...STEPS, 10].find((s) => s >= scaled);
  return (found ?? 1) * decade;
}

/**
 * Quantiles over time.
 *
 * @param {{age: number, p50: number, p95: number, p99: number}[]} series age in seconds before now
 * @param {{age: number, p50: number}[]} baseline drawn dotted
 * @param {[number, number]} scale seconds at the bottom and the top
 * @param {number} span seconds from left to right
 */
export function quantileChart(name, series, baseline, scale, span) {
  const [low, high] = scale.map(Math.log);
  const x = (age) => WIDTH - EDGE - (age / span) * (WIDTH - LEFT - EDGE);
  const y = (value) => HEIGHT - EDGE - ((Math.log(value) - low) / (high - low)) * (HEIGHT - 2 * EDGE);
  const line = (points, key) => path(points.map((point) => [x(point.age), y(point[key])]));
  const middle = step(Math.sqrt(scale[0] * scale[1]), Math.floor);
  const ticks = [...new Set([scale[0], middle, scale[1]])];
  const last = series.at(-1) ?? {};
  const text = QUANTILES.map((key) => `${key} ${seconds(last[key])}`).join(", ");
  return svg(
    "svg",
    { viewBox: `0 0 ${WIDTH} ${HEIGHT}`, class: "quantiles", role: "img", "aria-label": `${name}: ${text}` },
    ...ticks.flatMap((tick) => [
      svg("line", { x1: LEFT, x2: WIDTH - EDGE, y1: y(tick), y2: y(tick), class: "grid" }),
      svg("text", { x: LEFT - 6, y: y(tick) + 3.5 }, tickText(tick)),
    ]),
    svg("path", { class: "base", d: line(baseline, "p50") }),
    ...QUANTILES.toReversed().map((key) => svg("path", { class: key, d: line(series, key) })),
  );
}

const tickText = (value) => (value >= 1 ? `${+value.toPrecision(1)} s` : `${+(value * 1e3).toPrecision(1)} ms`);

/** An SVG path through the finite points; a gap where there was no request. */
function path(points) {
  let pen = "M";
  let d = "";
  for (const [x, y] of points) {
    if (Number.isFinite(y)) d += `${pen}${x.toFixed(1)} ${y.toFixed(1)}`;
    pen = Number.isFinite(y) ? "L" : "M";
  }
  return d;
}

/** From the middle (1×) to the right when slower than the baseline, to the left when faster; the ends are 8×. */
export function ratioBar(value) {
  const half = Number.isFinite(value) ? Math.min(Math.abs(Math.log2(value)) / 3, 1) * 50 : 0;
  const filled = bar("span", { class: value > 1 ? "slower" : "faster" }, half);
  filled.style.left = value > 1 ? "50%" : `${50 - half}%`;
  return h("div", { class: "ratio" }, h("div", { class: "ratio-track", "aria-hidden": "true" }, filled), h("b", {}, ratio(value) || "–"));
}
