/* The tables: rows from the document, written anew only when they change. */
import { bytes, clock, count, delay, moment, words } from "./format.js";

const entries = (map) => Object.entries(map);
const counted = (map) => entries(map).map(([label, n]) => [words(label), { text: count(n), look: n ? "" : "zero" }]);
const upDown = (up) => ({ text: up ? "up" : "down", look: up ? "good" : "bad" });

const LATENCY = { event_delivery: "Event to socket", connection_setup: "Connection set-up", runtime_round_trip: "Runtime round trip",
  run_first_event: "Message to first event", run_duration: "Run" };
const AGES = { under_10s: "under 10 s", under_1m: "10 s to 1 min", under_5m: "1 to 5 min", under_15m: "5 to 15 min",
  under_1h: "15 min to 1 h", over_1h: "over 1 h" };
const BREAKERS = { closed: "good", "half-open": "warn", open: "bad" };

function auth(doc) {
  const rows = [["Keys in force", { text: count(doc.auth.keys), look: doc.auth.keys ? "" : "bad" }]];
  if (doc.auth.jwks) rows.push(["Key set fetched", moment(doc.auth.jwks_last_success)], ["Fault", doc.auth.jwks_fault ?? "none"],
    ["Breaker", { text: doc.auth.breaker, look: BREAKERS[doc.auth.breaker] }]);
  if (doc.auth.certificate_expires) rows.push(["Certificate expires", moment(doc.auth.certificate_expires)]);
  rows.push(["Connections refused", count(entries(doc.connections.handshakes).reduce((n, [label, more]) => label === "ok" ? n : n + more, 0))]);
  return rows;
}

function memory(doc) {
  return [["Bytes waiting for clients", bytes(doc.queues.bytes)],
    ["Limit of each connection", `${count(doc.queues.limit_messages_each)} frames, ${bytes(doc.queues.limit_bytes_each)}`],
    ["Events merged for slow clients", count(doc.events.coalesced)], ["Events kept for resume", count(doc.history.events)],
    ["Bytes kept for resume", `${bytes(doc.history.bytes)} of ${bytes(doc.history.limit_bytes)}`],
    ...entries(doc.history.evicted).filter(([, n]) => n).map(([label, n]) => [`No longer kept: ${words(label)}`, count(n)]),
    ...entries(doc.history.resumes).map(([label, n]) => [`Resumes: ${words(label)}`, count(n)])];
}

function trouble(doc) {
  const kinds = [["Events lost", { lost: doc.events.lost }], ["Isolation violations", { "": doc.events.isolation_violations }],
    ["Connection refused", { ...doc.connections.handshakes, ok: 0 }], ["Event dropped", doc.events.dropped],
    ["Command dropped", doc.runtime.dropped], ["Connection closed", doc.connections.closed]];
  const rows = kinds.flatMap(([what, map]) => entries(map).filter(([, n]) => n).map(([label, n]) => [what, { text: words(label), look: "text" }, count(n)]));
  return rows.length ? rows : [["Nothing", "", ""]];
}

const TABLES = {
  states: { rows: (doc) => counted(doc.connections.states) },
  ages: { rows: (doc) => entries(doc.runs.ages).map(([age, n]) => [AGES[age], { text: count(n), look: n ? "" : "zero" }]) },
  links: { rows: (doc) => [...doc.runtime.commands.map((lane) => [`commands ${lane.endpoint}`, upDown(lane.up)]),
    [`events ${doc.runtime.events_endpoints}`, upDown(doc.runtime.events_up)]] },
  latency: { head: ["", "p50", "p95", "p99"], rows: (doc) => entries(LATENCY).map(([key, name]) => [name, ...doc.latency[key].map(delay)]) },
  auth: { rows: auth },
  memory: { rows: memory },
  ended: { rows: (doc) => counted(doc.runs.ended) },
  messages: { rows: (doc) => counted(doc.events.client_messages) },
  log: { head: ["Id", "Lines", "Last"], none: "None", rows: (doc) => [...doc.log].sort((a, b) => b.last - a.last)
    .map((row) => [{ text: row.id, look: row.level === "error" ? "bad" : "warn" }, count(row.lines), clock(row.last)]) },
  trouble: { head: ["What", "Which", "Times"], text: [1], rows: trouble },
  config: { head: ["Option", "Value"], text: [1], none: "None", rows: (doc, filter) => doc.config.filter(filter)
    .map((row) => [{ text: row.name, look: row.changed ? "changed" : "" }, { text: row.value, look: row.changed ? "text changed" : "text" }]) },
};

function element(name, text, look) {
  const node = document.createElement(name);
  node.textContent = text;
  if (look) node.className = look;
  return node;
}

function rowOf(cells) {
  const row = document.createElement("tr");
  cells.forEach((cell, i) => {
    const { text, look } = typeof cell === "object" ? cell : { text: cell };
    const node = element(i ? "td" : "th", text, look);
    if (!i) node.scope = "row";
    row.append(node);
  });
  return row;
}

function headOf({ head, text = [] }) {
  const row = document.createElement("tr");
  head.forEach((name, i) => {
    const node = element(name ? "th" : "td", name, i && !text.includes(i) ? "right" : "");
    if (name) node.scope = "col";
    row.append(node);
  });
  const part = document.createElement("thead");
  part.append(row);
  return part;
}

function write(table, kind, rows) {
  const key = JSON.stringify(rows);
  if (table.dataset.key === key) return;
  table.dataset.key = key;
  const body = document.createElement("tbody");
  body.append(...(rows.length || !kind.none ? rows : [[kind.none]]).map(rowOf));
  table.replaceChildren(...(kind.head && rows.length ? [headOf(kind)] : []), body);
}

export function showTables(doc, filter) {
  for (const table of document.querySelectorAll("table[data-rows]")) {
    const kind = TABLES[table.dataset.rows];
    write(table, kind, kind.rows(doc, filter));
  }
  const note = document.getElementById("ages-note");
  note.hidden = doc.runs.looked_at >= doc.runs.active;
  note.textContent = `Of the ${count(doc.runs.looked_at)} that have been silent for the longest time.`;
}
