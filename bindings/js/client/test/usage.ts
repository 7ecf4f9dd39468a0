/* What TypeScript users write; never run, only checked. */
import { AgentSocket, AgentSocketError, endsRun } from "@agentbridge/client";
import type { AgentEvent, Cursor, Run, State } from "@agentbridge/client";

const kept: Cursor | null = JSON.parse(localStorage.getItem("cursor") ?? "null");
const socket = new AgentSocket(new URL("wss://agents.example/ws"), {
  token: async ({ reason }) => (await fetch(`/token?${reason satisfies "connect" | "expired" | "refresh"}`)).text(),
  cursor: kept,
  comeBack: ({ code, again }) => again && code !== 1013,
});

const off: () => void = socket.on("state", ({ state, nextAttemptAt }, before: State) => {
  const seconds: number | null = nextAttemptAt && Math.ceil((nextAttemptAt - Date.now()) / 1000);
  console.log(state, before, seconds);
});
off();
socket.on("resync", ({ reason, runs }) => console.log(reason, runs.map((run) => run.id)));
socket.on("frame", (data) => console.log(typeof data === "string" ? data.length : data.byteLength));
socket.onEvent("tool_completed", (event) => console.log(event.tool_name, event.success));
socket.onEvent("of_our_own", (event) => console.log(event["anything"]));

function text(event: AgentEvent): string {
  switch (event.type) {
    case "agent_thinking": return event.delta ?? event.reasoning ?? "";
    case "agent_error": return event.error_message ?? "";
    default: return endsRun(event) ? String(event.final_response) : "";
  }
}

async function follow(run: Run): Promise<void> {
  for await (const event of run) console.log(text(event));
  for await (const event of run.iterate({ onGap: "continue" })) console.log(event._offset);
  const end = await run.done;
  console.log(end.type === "agent_completed" ? end.duration_ms : end.error_code);
}
socket.on("run", follow);

try {
  const { id, confirmed } = await socket.send({ type: "user_message", text: "hello" }, { signal: AbortSignal.timeout(1000) });
  console.log(id, confirmed);
} catch (fault) {
  if (fault instanceof AgentSocketError && fault.code === "UNCONFIRMED") console.log(fault.details.message_id);
}
await socket.sendBinary(new Uint8Array([1, 2]), { buffer: false });

// @ts-expect-error: a message has a type
await socket.send({ text: "hello" });
// @ts-expect-error: there is no such thing to listen for
socket.on("mesage", () => {});
// @ts-expect-error: an option that is not there
new AgentSocket("wss://a.example/ws", { tokens: "x" });
// @ts-expect-error: what a run ends with has no tool
socket.runs.get("x")?.end?.tool_name;
// @ts-expect-error: state is not to be set
socket.state = "online";
