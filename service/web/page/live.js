// The table of live latency: each model's quantiles now and over time, against the baseline.

import { QUANTILES, quantileChart, ratioBar, sharedScale } from "./charts.js";
import { h, ratio, seconds } from "./dom.js";
import { History } from "./exposition.js";

const WINDOW = 15;
const SPAN = 120;

export class Live {
  #history = new History(WINDOW + 5);
  #series = new Map();
  #now = 0;

  /** Take in a scrape. @param {number} now seconds */
  add(exposition, models, now) {
    this.#now = now;
    this.#history.add(exposition, now);
    for (const { name } of models) {
      const points = this.#series.get(name) ?? [];
      points.push({ now, ...this.#history.recent(name, WINDOW) });
      this.#series.set(name, points.filter((point) => now - point.now <= SPAN));
    }
  }

  /** The table's rows. @param {object[]} models those that are served */
  rows(models, baseline) {
    const series = new Map(models.map(({ name }) => [name, this.#aged(name)]));
    const scale = sharedScale([...series.values()]);
    const reference = series.get(baseline) ?? [];
    return models.map(({ name }) => row(name, series.get(name), name === baseline ? [] : reference, reference.at(-1), scale));
  }

  #aged(name) {
    return (this.#series.get(name) ?? []).map((point) => ({ ...point, age: this.#now - point.now }));
  }
}

function row(name, series, dotted, reference, scale) {
  const last = series.at(-1) ?? { rate: 0 };
  const cell = (label, ...content) => h("td", { role: "cell", "data-label": label, class: "number" }, ...content);
  return h(
    "tr",
    { role: "row", "data-model": name },
    h("th", { role: "rowheader", scope: "row" }, name),
    h("td", { role: "cell", class: "chart" }, quantileChart(name, series, dotted, scale, SPAN)),
    cell("requests/s", last.rate >= 10 ? last.rate.toFixed(0) : last.rate.toFixed(1)),
    ...QUANTILES.map((key) => cell(key, h("b", {}, seconds(last[key])), h("small", {}, ratio(last[key] / reference?.[key])))),
    h("td", { role: "cell", "data-label": "p50 ratio" }, ratioBar(last.p50 / reference?.p50)),
  );
}

/** The VGG to compare with: the paper's VGG-16 where it is served, else another VGG, else the first model. */
export function defaultBaseline(models) {
  for (const matches of [(a) => a === "vgg16", (a) => a === "vgg16_bn", (a) => a.startsWith("vgg"), () => true]) {
    const found = models.find(({ architecture }) => matches(architecture));
    if (found) return found.name;
  }
  return "";
}
