// From the Prometheus text exposition to latency quantiles of the last seconds.

const SAMPLE = /^(\w+)(?:\{(.*)\})? (\S+)/;
const LABEL = /(\w+)="((?:[^"\\]|\\.)*)"/g;
const ESCAPES = { "\\n": "\n", '\\"': '"', "\\\\": "\\" };

const number = (text) => (text === "+Inf" ? Infinity : Number(text));

/** Every sample of one name, as {labels, value}. */
export function* samples(exposition, name) {
  for (const line of exposition.split("\n")) {
    if (!line.startsWith(name)) continue;
    const match = SAMPLE.exec(line);
    if (match?.[1] !== name) continue;
    const labels = {};
    for (const [, label, text] of (match[2] ?? "").matchAll(LABEL)) {
      labels[label] = text.replace(/\\[n"\\]/g, (escape) => ESCAPES[escape]);
    }
    yield { labels, value: number(match[3]) };
  }
}

/** Cumulative counts of answered requests by model: Map(model, Map(upper bound in seconds, count)). */
export function requestBuckets(exposition) {
  const models = new Map();
  for (const { labels, value } of samples(exposition, "resserve_request_seconds_bucket")) {
    if (labels.code !== "OK") continue;
    if (!models.has(labels.model)) models.set(labels.model, new Map());
    const buckets = models.get(labels.model);
    const bound = number(labels.le);
    buckets.set(bound, (buckets.get(bound) ?? 0) + value);
  }
  return models;
}

/**
 * The quantile of cumulative buckets, linear within a bucket, as Prometheus' histogram_quantile gives it.
 *
 * @param {number} q 0 to 1
 * @param {[number, number][]} buckets [upper bound, cumulative count], by rising bound, the last infinite
 * @returns {number} NaN when nothing was counted
 */
export function quantile(q, buckets) {
  const total = buckets.at(-1)?.[1] ?? 0;
  if (total <= 0) return NaN;
  const rank = q * total;
  const index = buckets.findIndex(([, cumulative]) => cumulative >= rank);
  const [bound, cumulative] = buckets[index];
  if (bound === Infinity) return buckets.at(-2)?.[0] ?? NaN;
  const [lower, before] = index > 0 ? buckets[index - 1] : [0, 0];
  return cumulative === before ? bound : lower + ((bound - lower) * (rank - before)) / (cumulative - before);
}

/** Scrapes of the last minutes, and what happened between them. */
export class History {
  #scrapes = [];

  /** @param {number} keep seconds that are remembered */
  constructor(keep) {
    this.keep = keep;
  }

  /** @param {number} now seconds, of any steady clock */
  add(exposition, now) {
    const models = requestBuckets(exposition);
    if (this.#restarted(models)) this.#scrapes = [];
    this.#scrapes.push({ now, models });
    while (now - this.#scrapes[0].now > this.keep) this.#scrapes.shift();
  }

  #restarted(models) {
    const last = this.#scrapes.at(-1)?.models ?? new Map();
    return [...last].some(([model, buckets]) => (models.get(model)?.get(Infinity) ?? 0) < buckets.get(Infinity));
  }

  /**
   * What one model did in the seconds up to the last scrape.
   *
   * @returns {{rate: number, p50: number, p95: number, p99: number}} requests a second, and seconds (NaN: no request)
   */
  recent(model, window) {
    const last = this.#scrapes.at(-1);
    const first = this.#scrapes.find((scrape) => last.now - scrape.now <= window);
    const elapsed = last ? last.now - first.now : 0;
    if (elapsed <= 0) return { rate: 0, p50: NaN, p95: NaN, p99: NaN };
    const before = first.models.get(model) ?? new Map();
    const buckets = [...(last.models.get(model) ?? [])]
      .map(([bound, cumulative]) => [bound, cumulative - (before.get(bound) ?? 0)])
      .sort(([a], [b]) => a - b);
    return {
      rate: (buckets.at(-1)?.[1] ?? 0) / elapsed,
      p50: quantile(0.5, buckets),
      p95: quantile(0.95, buckets),
      p99: quantile(0.99, buckets),
    };
  }
}
