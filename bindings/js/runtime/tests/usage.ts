// Checked by tsc only: what the types promise, and what they refuse.
import { readFile } from "node:fs/promises";
import {
  AgentBridgeError, AgentError, CancelledError, ExtData, Runtime, VERSION, readCertificate,
  type Abandoned, type Connection, type Disconnect, type ErrorCode, type Message, type Run, type RuntimeOptions, type Stats, type ToolCall,
} from "@agentbridge/runtime";

const options: RuntimeOptions = { commands: "@tcp://127.0.0.1:5555", events: "@tcp://127.0.0.1:5556", name: "typed", replayEvents: 100,
                                  log: (level: "error" | "warn", text) => console.log(level, text.length) };
const runtime: Runtime = await new Runtime(options).start();

runtime.on("message", async (message: Message) => {
  const { text } = message.json() as { text: string };
  const length: number = await runtime.run(message.user, { threadId: "t", task: text }, async (run) => {
    await run.thinking("…", { step: 1, whole: true, fields: { mood: "calm" } });
    const found: string = await run.tool("read", { path: text }, async (call: ToolCall) => readFile(text, { encoding: "utf8", signal: call.signal }));
    await run.chunk(found);
    await run.progress({ percent: 50 });
    await run.emit("note", { at: new Date(), own: new ExtData(5, Uint8Array.of(1, 2)) });
    return found.length;
  });
  await runtime.send(message, { type: "length", length });
  await runtime.sendFrame(message.connection, new Uint8Array([1]));
  await runtime.close(message.connection, { code: 4000, reason: "done" });
});
runtime.on("connect", (connection: Connection) => console.log(connection.claims["sub"], connection.subprotocol?.length));
runtime.on("disconnect", ({ code, remaining }: Disconnect) => console.log(code + remaining));
runtime.on("abandoned", ({ runs, cancelled }: Abandoned) => console.log(runs.length - cancelled.length));
runtime.on("bridge", ({ name }) => console.log(name.length)).off("bridge", () => {});

async function explicit(): Promise<void> {
  await using run: Run = await runtime.startRun("alice", { signal: AbortSignal.timeout(1000), fields: { message_id: "m" } });
  await using call = await run.startTool("search", { q: "x" });
  await call.fail(new AgentError("NOT_FOUND", "There is nothing."));
  if (!run.ended) await run.fail("NOT_FOUND", "There is nothing.");
  const outcome: null | "completed" | "failed" | "cancelled" = run.outcome;
  run.cancel("no more");
  await run.complete({ structured: true }, { status: outcome ?? "none" });
}

try {
  await explicit();
} catch (error) {
  if (error instanceof CancelledError || error instanceof AgentBridgeError) console.log(error.code satisfies ErrorCode);
}

const { publicKey, secretKey } = readCertificate("runtime.secret");
new Runtime({ curve: { publicKey, secretKey: secretKey ?? "", peerKeys: [publicKey] } });
const stats: Stats = runtime.stats;
console.log(VERSION.length, stats.commandsMalformed, runtime.publisher, runtime.endpoints.commands[0], runtime.runs.get("r")?.user, runtime.connections.length);
console.log(runtime.cancelRuns("alice", { threadId: "t", reason: "stop" }) + 1);
await runtime.emit("alice", "hello", { n: 1n });
await runtime.kick("alice", { reason: "signed out" });
await runtime.stop({ graceMs: 1000 });

// @ts-expect-error no such event
runtime.on("mesage", () => {});
// @ts-expect-error no such option
new Runtime({ comands: "x" });
// @ts-expect-error an event has a type
await runtime.send({} as Connection, { text: "x" });
// @ts-expect-error user ids are strings
await runtime.run(7, () => {});
