/* A chat over agentbridge. The page's query may name a user (?user=bob) and another bridge (?url=wss://…). */
import { AgentSocket } from "../../client/src/index.js";

const query = new URLSearchParams(location.search);
const user = query.get("user") ?? "alice";
const at = (id) => document.getElementById(id);

/** The badge's words by state. */
const WORDS = { connecting: "Connecting", online: "Online", reconnecting: "Reconnecting", offline: "No network", closed: "Closed",
  failed: "Disconnected" };

/** How an event changes what its run shows. */
const DRAW = {
  agent_started: ({ task }, event) => (task.textContent = event.task_description),
  agent_thinking: ({ steps }, event) => {
    const line = step(steps, "thought", event.step_number ?? 0);
    if (event.delta === undefined) line.textContent = event.reasoning ?? "";
    else line.append(event.delta);
  },
  tool_executing: ({ steps }, event) =>
    step(steps, "tool", event.execution_id).append(`${event.tool_name} ${JSON.stringify(event.tool_args)}`),
  tool_completed: ({ steps }, event) =>
    step(steps, "tool", event.execution_id).append(event.success ? ` → ${JSON.stringify(event.results)}` : " failed"),
  agent_completed: ({ answer }, event) => {
    answer.textContent = String(event.final_response);
    answer.dataset.status = event.status;
  },
  agent_error: ({ answer }, event) => {
    answer.textContent = event.error_message ?? event.error_code;
    answer.dataset.status = "failed";
  },
};

const socket = new AgentSocket(query.get("url") ?? "/ws", {
  token: async () => {
    const answer = await fetch(`/token?user=${encodeURIComponent(user)}`); // serve.js; in real life, your session
    if (!answer.ok) throw new Error(`no token: ${answer.status}`);
    return answer.text();
  },
});
socket.on("run", show);
socket.on("state", badge);
socket.on("resync", () => notice("Some of the conversation may be missing: the connection broke, and not everything could be had again."));
socket.on("error", (fault) => console.warn(fault));
badge(socket.status);

at("form").addEventListener("submit", async (submit) => {
  submit.preventDefault();
  const text = at("text").value;
  at("text").value = "";
  try {
    await socket.send({ type: "user_message", text });
  } catch (fault) {
    notice(`Not sent: ${text} (${fault.code})`);
  }
});
at("stop").addEventListener("click", () => {
  for (const run of socket.runs.open)
    socket.send({ type: "stop_agent", run_id: run.id }, { buffer: false }).catch((fault) => notice(`Not stopped (${fault.code})`));
});
at("again").addEventListener("click", () => socket.connect());

// the connection

function badge({ state, reason, draining }) {
  const words = draining ? "Online, server restarts soon" : WORDS[state];
  at("badge").textContent = state === "failed" ? `${words}: ${reason}` : words;
  at("badge").dataset.state = state;
  at("again").hidden = state !== "failed" && state !== "closed";
}

setInterval(() => {
  const { nextAttemptAt } = socket.status;
  const seconds = Math.ceil((nextAttemptAt - Date.now()) / 1000);
  at("countdown").textContent = nextAttemptAt !== null && seconds > 0 ? `in ${seconds} s` : "";
}, 500);

// the conversation

function element(name, className, text = "") {
  const made = document.createElement(name);
  made.className = className;
  made.textContent = text;
  return made;
}

function notice(text) {
  const line = element("li", "notice", text);
  line.setAttribute("role", "alert");
  at("log").append(line);
}

/** The line of a thought or a tool, known by its number or id. */
function step(steps, kind, id) {
  const known = [...steps.children].find((line) => line.className === kind && line.dataset.id === String(id));
  const line = known ?? steps.appendChild(element("li", kind));
  line.dataset.id = id;
  return line;
}

/** A run: the question, what the agent thinks, its tools, the answer. */
function show(run) {
  const item = element("li", "run");
  const parts = { item, task: element("p", "task", run.joined ? "A run in progress" : ""), work: element("div", "work"),
    steps: element("ul", "steps"), answer: element("p", "answer") };
  item.dataset.run = run.id;
  parts.steps.setAttribute("aria-label", "Thoughts and tools");
  parts.steps.setAttribute("aria-live", "off"); // word by word it would drown everything
  parts.work.append(parts.steps, parts.answer);
  item.append(parts.task, parts.work);
  at("log").append(item);
  run.on("event", (event) => {
    DRAW[event.type]?.(parts, event);
    at("stop").disabled = socket.runs.open.length === 0;
    item.scrollIntoView({ block: "end" });
  });
}
