// The page: takes a picture, asks every model that is ready, and keeps the live part moving.

import { classify, fetchMetrics, fetchModels, ServiceError } from "./api.js";
import { renderCards } from "./cards.js";
import { bytes, h, percent, seconds } from "./dom.js";
import { defaultBaseline, Live } from "./live.js";
import { command, copy, snippet } from "./snippets.js";

const MAX_BYTES = 20 * 2 ** 20;
const MODELS_EVERY = 3000;
const METRICS_EVERY = 1000;

const $ = (id) => document.getElementById(id);
const live = new Live();
const answers = new Map();
let models = [];
let grpcPort = 8001;
let picture = null;
let round = 0;

const ready = () => models.filter((model) => model.state === "READY");

// ---- the picture ----

function take(file, more = 0) {
  if (!file) return say("That was not a file; drop, paste or choose a picture.");
  if (file.size > MAX_BYTES) return say(`${file.name} has ${bytes(file.size)}; the service reads pictures up to 20 MiB.`);
  picture = file;
  URL.revokeObjectURL($("preview").src);
  $("preview").src = URL.createObjectURL(file);
  $("drop-title").textContent = `${file.name} · ${bytes(file.size)}`;
  say(more > 0 ? `Only the first of ${more + 1} files is shown: one picture at a time.` : "");
  stopKeeping();
  renderCalls();
  return ask({ announce: true });
}

$("preview").addEventListener("load", () => ($("preview").hidden = false));
$("preview").addEventListener("error", () => ($("preview").hidden = true));
$("file").addEventListener("change", () => {
  const [file] = $("file").files;
  if (file) take(file);
  $("file").value = ""; // the same file may be chosen again
});
document.addEventListener("dragover", (event) => {
  event.preventDefault();
  $("drop").classList.add("over");
});
document.addEventListener("dragleave", (event) => event.relatedTarget ?? $("drop").classList.remove("over"));
document.addEventListener("drop", (event) => {
  event.preventDefault();
  $("drop").classList.remove("over");
  const { files } = event.dataTransfer;
  take(files[0], files.length - 1);
});
document.addEventListener("paste", (event) => {
  const [file] = event.clipboardData.files;
  if (file) take(file);
  else say("The clipboard holds no picture.");
});

function say(sentence) {
  $("message").textContent = sentence;
}

// ---- asking ----

/** Ask the models one after the other, so that none competes with another; a newer round ends an older one. */
async function ask({ announce = false } = {}) {
  const mine = ++round;
  if (announce) answers.clear();
  for (const { name } of ready()) {
    if (announce) answers.set(name, { waiting: true });
    renderAnswers();
    const answer = await classify(picture, name).catch(failure);
    if (mine !== round) return;
    answers.set(name, answer);
    if (answer.code === "INVALID_ARGUMENT") {
      refuse(answer.failed);
      return;
    }
  }
  $("again").disabled = $("keep").disabled = false;
  renderAnswers();
  if (announce) $("announcer").textContent = ready().map(({ name }) => spoken(name, answers.get(name))).join(" ");
}

function failure(error) {
  if (!(error instanceof ServiceError)) throw error;
  return { failed: error.message, code: error.code };
}

/** A picture that one model cannot read, none can: say it once, in the picture's place. */
function refuse(sentence) {
  answers.clear();
  stopKeeping();
  $("again").disabled = $("keep").disabled = true;
  say(`${picture.name}: ${sentence}`);
  renderAnswers();
}

function spoken(name, answer) {
  if (!answer?.labels) return `${name}: ${answer?.failed ?? "no answer"}.`;
  const [best] = answer.labels;
  return `${name}: ${best.name}, ${percent(best.probability)}, in ${seconds(answer.timings.total)}.`;
}

$("again").addEventListener("click", () => ask({ announce: true }));

const keeping = () => $("keep").getAttribute("aria-pressed") === "true";
const stopKeeping = () => $("keep").setAttribute("aria-pressed", "false");

$("keep").addEventListener("click", async () => {
  if (keeping()) return stopKeeping();
  $("keep").setAttribute("aria-pressed", "true");
  while (keeping()) {
    await ask();
    if ([...answers.values()].some((answer) => answer.failed)) stopKeeping();
    await new Promise((resume) => setTimeout(resume, document.hidden ? 1000 : 0));
  }
});

// ---- drawing ----

function renderAnswers() {
  $("cards").replaceChildren(...renderCards(models, answers, $("baseline").value));
}

function renderLive() {
  $("live").tBodies[0].replaceChildren(...live.rows(ready(), $("baseline").value));
}

function renderCalls() {
  const target = `${location.hostname}:${grpcPort}`;
  const file = picture?.name ?? "photo.jpg";
  $("command").textContent = command(file, $("call-model").value, target);
  $("snippet").textContent = snippet(file, $("call-model").value, target);
}

function renderState() {
  const waiting = models.length - ready().length;
  const text = `${ready().length} ready${waiting ? `, ${waiting} not` : ""}`;
  if ($("service-state").textContent !== text) $("service-state").textContent = text;
  $("service-state").className = `pill ${waiting ? "loading" : "ready"}`;
}

/** Offer the names, keeping the choice while it is still offered. */
function offer(select, names, preferred) {
  const chosen = names.includes(select.value) ? select.value : preferred;
  if (names.join() !== [...select.options].map((option) => option.value).join()) {
    select.replaceChildren(...names.map((name) => h("option", { value: name }, name)));
  }
  select.value = chosen;
}

$("baseline").addEventListener("change", () => {
  renderAnswers();
  renderLive();
});
$("call-model").addEventListener("change", renderCalls);
document.querySelectorAll(".copy").forEach((button) => button.addEventListener("click", () => copy(button)));

// ---- keeping up with the service ----

async function refreshModels() {
  const state = await fetchModels();
  if (JSON.stringify(state.models) === JSON.stringify(models) && state.grpc_port === grpcPort) return renderState();
  models = state.models;
  grpcPort = state.grpc_port;
  const names = [...new Set(ready().map((model) => model.name))];
  offer($("baseline"), names, defaultBaseline(ready()));
  offer($("call-model"), names, names[0]);
  renderState();
  renderAnswers();
  renderCalls();
}

async function refreshMetrics() {
  live.add(await fetchMetrics(), ready(), performance.now() / 1000);
  renderLive();
}

/** Run it again and again while the page is seen; a service that is away is said so, and met again. */
async function every(milliseconds, refresh) {
  for (;;) {
    if (!document.hidden) {
      await refresh().catch((error) => {
        if (!(error instanceof ServiceError)) throw error;
        $("service-state").textContent = "not answering";
        $("service-state").className = "pill failed";
      });
    }
    await new Promise((resume) => setTimeout(resume, milliseconds));
  }
}

every(MODELS_EVERY, refreshModels);
every(METRICS_EVERY, refreshMetrics);
