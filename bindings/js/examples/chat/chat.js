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
  agent_thinking: ({ thinking }, event) => {
    const step = String(event.step_number ?? 0);
    const known = [...thinking.children].find((line) => line.dataset.step === step);
    const line = known ?? thinking.appendChild(element("p", ""));
    line.dataset.step = step;
    if (event.delta === undefined) line.textContent = event.reasoning ?? "";
    else line.append(event.delta);
  },
  tool_executing: ({ tools }, event) => {
    const line = tools.appendChild(element("li", "", `${event.tool_name} ${JSON.stringify(event.tool_args)}`));
    line.dataset.execution = event.execution_id;
  },
  tool_completed: ({ tools }, event) => {
    const known = [...tools.children].find((line) => line.dataset.execution === event.execution_id);
    const line = known ?? tools.appendChild(element("li", "", event.tool_name));
    line.append(event.success ? ` → ${JSON.stringify(event.results)}` : " failed");
  },
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
socket.on("resync", () => notice("Some of the conversation may be missing: the connection to the agent was lost for too long."));
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

/** A run: the question, what the agent thinks, its tools, the answer. */
function show(run) {
  const item = element("li", "run");
  const parts = { item, task: element("p", "task", run.joined ? "A run in progress" : ""), work: element("div", "work"),
    thinking: element("div", "thinking"), tools: element("ul", "tools"), answer: element("p", "answer") };
  item.dataset.run = run.id;
  parts.thinking.setAttribute("aria-live", "off"); // word by word it would drown everything
  parts.tools.setAttribute("aria-label", "Tools");
  parts.work.append(parts.thinking, parts.tools, parts.answer);
  item.append(parts.task, parts.work);
  at("log").append(item);
  run.on("event", (event) => {
    DRAW[event.type]?.(parts, event);
    at("stop").disabled = socket.runs.open.length === 0;
    item.scrollIntoView({ block: "end" });
  });
}
