// One card for each model version: its answer, where the time went, and what it is.

import { STAGES, stageBar } from "./charts.js";
import { bar, count, h, percent, ratio, seconds } from "./dom.js";

const STATE_TEXT = { READY: "ready", LOADING: "loading", FAILED: "failed" };

/**
 * @param {object[]} models entries of /api/models
 * @param {Map<string, object>} answers by model name: {labels, timings, batch_size}, {waiting: true} or {failed: sentence}
 * @param {string} baseline the model's name that ratios are to
 */
export function renderCards(models, answers, baseline) {
  const totals = [...answers.values()].map((answer) => answer.timings?.total ?? 0);
  const longest = Math.max(...totals, 1e-6);
  const reference = { name: baseline, total: answers.get(baseline)?.timings?.total };
  return models.map((model) => card(model, model.state === "READY" ? answers.get(model.name) : undefined, longest, reference));
}

function card(model, answer, longest, reference) {
  const title = `card-${model.name}-${model.version}`;
  return h(
    "article",
    { class: `card ${model.state.toLowerCase()}`, "aria-labelledby": title, "data-model": model.name },
    heading(model, title),
    h("div", { class: "answer", "aria-busy": answer?.waiting ? "true" : "false" }, ...answerPart(model, answer)),
    h("div", { class: "timing" }, ...timingPart(model, answer, longest, reference)),
    facts(model),
  );
}

function heading(model, id) {
  return h(
    "header",
    {},
    h("h3", { id }, model.name, " ", h("small", {}, `v${model.version}`)),
    h("p", {},
      model.untrained ? h("span", { class: "pill untrained", title: "Random weights: for latency only, its labels mean nothing" }, "untrained") : null,
      h("span", { class: `pill ${model.state.toLowerCase()}` }, STATE_TEXT[model.state] ?? model.state)),
  );
}

function answerPart(model, answer) {
  if (model.state !== "READY") return [h("p", { class: "reason" }, model.reason || "No reason was given.")];
  if (answer?.failed) return [h("p", { class: "reason" }, answer.failed)];
  if (!answer?.labels) return [h("p", { class: "empty" }, answer?.waiting ? "Asked…" : "No picture yet.")];
  const items = answer.labels.map((label) =>
    h("li", {},
      h("span", { class: "label", title: label.name }, label.name),
      h("span", { class: "number" }, percent(label.probability)),
      h("span", { class: "track", "aria-hidden": "true" }, bar("span", {}, 100 * label.probability))));
  return [h("ol", {}, ...items)];
}

function timingPart(model, answer, longest, reference) {
  if (!answer?.timings) return [];
  const { timings } = answer;
  const times = timings.total / reference.total;
  const compared = model.name !== reference.name && Number.isFinite(times) ? ` · ${ratio(times)} ${reference.name}` : "";
  return [
    h("p", { class: "total" }, h("b", {}, seconds(timings.total)), compared),
    stageBar(timings, longest),
    h("p", { class: "stage-text", "aria-hidden": "true" }, ...STAGES.map((stage) => h("span", {}, `${stage} ${seconds(timings[stage])}`))),
    h("p", { class: "stage-text" }, h("span", {}, `batch of ${answer.batch_size}`)),
  ];
}

function facts(model) {
  const [height, width] = model.input ?? [];
  const { top1 } = model.metrics ?? {};
  const rows = [
    ["architecture", model.architecture],
    ["parameters", model.parameters && count(model.parameters)],
    ["multiply-adds", model.multiply_adds && count(model.multiply_adds)],
    ["precision", model.precision],
    ["device", model.device && `${model.device} · ${(model.provider ?? "").replace("ExecutionProvider", "")}`],
    ["input", height && `${height} × ${width}`],
    ["classes", model.labels_count],
    ["top-1", top1 !== undefined && `${percent(top1)}${model.metrics_data ? ` · ${model.metrics_data}` : ""}`],
    ["plan", model.plan],
  ];
  return h("dl", {}, ...rows.filter(([, value]) => value).map(([name, value]) =>
    h("div", {}, h("dt", {}, name), h("dd", {}, String(value)))));
}
