/* Polls /status.json each second and shows it; says when the bridge does not answer, and when another one does. */
import { Charts } from "./charts.js";
import * as format from "./format.js";
import { showTables } from "./tables.js";
import { startTabs } from "./tabs.js";
import { startTry } from "./try.js";

const EVERY_MS = 1000;
const PATIENCE_MS = 4000;
const LIVE = ["connecting", "accepted", "authenticated", "services_ready", "processing_ready", "processing", "idle", "degraded", "reconnecting"];
const HEALTH = { healthy: "Healthy", degraded: "Degraded", unhealthy: "Unhealthy" };

const at = (id) => document.getElementById(id);
const charts = new Charts();
let doc = null, last = 0, lostSince = null, tryTab = null;

/* --- what is shown --- */

function liveNumbers() {
  const sample = doc.recent.samples.at(-1);
  const rate = (n) => sample && sample[1] > 0 ? n / sample[1] : null;
  const before = doc.live ?? {};
  return { connections: LIVE.reduce((n, state) => n + doc.connections.states[state], 0),
    received: sample ? rate(sample[2]) : before.received, delivered: sample ? rate(sample[3]) : before.delivered };
}

function showValues() {
  for (const node of document.querySelectorAll("[data-value]")) {
    const value = node.dataset.value.split(".").reduce((part, key) => part?.[key], doc);
    const text = typeof value === "string" ? value : format[node.dataset.format ?? "count"](value);
    if (node.textContent !== text) node.textContent = text;
  }
}

function showHealth(state, text) {
  const pill = at("health");
  pill.dataset.health = state;
  if (pill.textContent !== text) pill.textContent = text;
}

function showReasons(reasons) {
  const list = at("reasons");
  list.hidden = !reasons.length;
  if (list.dataset.key === reasons.join("\n")) return;
  list.dataset.key = reasons.join("\n");
  list.replaceChildren(...reasons.map((reason) => Object.assign(document.createElement("li"), { textContent: reason })));
}

function chosen(row) {
  const words = at("config-filter").value.trim().toLowerCase();
  return (!at("config-changed").checked || row.changed) && `${row.name} ${row.value}`.toLowerCase().includes(words);
}

function show() {
  showHealth(doc.health.status, HEALTH[doc.health.status] ?? doc.health.status);
  showReasons(doc.health.readyz.reasons);
  showValues();
  showTables(doc, chosen);
  document.title = `${doc.bridge.id}: ${doc.health.status}`;
}

/* --- contact --- */

function lost(error) {
  lostSince ??= new Date();
  showHealth("lost", "No contact");
  at("contact").hidden = false;
  at("contact").textContent = `No answer from the bridge since ${lostSince.toLocaleTimeString()}; trying again each second. What is shown is what was there then.`;
  document.body.classList.add("stale");
  document.title = "agentbridge: no contact";
  console.debug("status.json:", error);
}

function found() {
  lostSince = null;
  at("contact").hidden = true;
  document.body.classList.remove("stale");
}

/* Another process answers: nothing of the old one counts, and its samples have other numbers. */
function restarted(next) {
  const version = next.bridge.version === doc.bridge.version ? "" : ` Its version is ${next.bridge.version} now: reload this page.`;
  at("restarted").hidden = false;
  at("restarted").textContent = `The bridge has restarted at ${format.clock(next.bridge.started_at)}.${version}`;
  charts.clear();
  last = 0;
}

function take(next) {
  const other = doc && doc.bridge.started_at !== next.bridge.started_at;
  if (other) restarted(next);
  const before = other ? undefined : doc?.live;
  doc = next;
  doc.live = before;
  doc.live = liveNumbers();
  if (!other) {
    last = doc.recent.last;
    charts.add(doc.recent.samples);
  }
  found();
  show();
  if (TRY) tryTab ??= startTry(doc.try);
}

async function poll() {
  try {
    const answer = await fetch(`status.json?after=${last}`, { cache: "no-store", signal: AbortSignal.timeout(PATIENCE_MS) });
    if (!answer.ok) throw new Error(`HTTP ${answer.status}`);
    take(await answer.json());
  } catch (error) {
    lost(error);
  }
}

/* One at a time; not while nobody looks: the bridge keeps the samples. */
async function run() {
  for (;;) {
    if (document.hidden) await new Promise((resolve) => document.addEventListener("visibilitychange", resolve, { once: true }));
    await poll();
    await new Promise((resolve) => setTimeout(resolve, EVERY_MS));
  }
}

at("config-form").addEventListener("submit", (event) => event.preventDefault());
at("config-form").addEventListener("input", () => doc && showTables(doc, chosen));
startTabs();
run();
