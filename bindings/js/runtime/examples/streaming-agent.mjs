// An agent around a language model that streams: text as it comes, tools when the model asks for one, a stop button.
//   node streaming-agent.mjs [COMMANDS EVENTS]
// The model is a plain async generator; put a call of your provider's streaming API in its place.
import { setTimeout as pause } from "node:timers/promises";
import { AgentError, Runtime } from "@agentbridge/runtime";

const [commands = "@tcp://127.0.0.1:5555", events = "@tcp://127.0.0.1:5556"] = process.argv.slice(2);
const PACE_MS = Number(process.env.PACE_MS ?? 40);

/** Yields {thinking}, {text} and {tool, args}; the result of a tool comes back from `yield`. */
async function* model(question, signal) {
  const say = async (kind, words) => ({ [kind]: words, ...(await pause(PACE_MS, {}, { signal })) });
  yield await say("thinking", "Is there something to ");
  yield await say("thinking", "calculate in this? ");
  const expression = /[\d(][\d\s.+\-*/()]*/.exec(question)?.[0].trim();
  if (!expression) {
    yield await say("thinking", "No. I count its words instead.");
    const { words } = yield { tool: "word_count", args: { text: question } };
    yield await say("text", `Your message has ${words} words.`);
    return;
  }
  const { value, error } = yield { tool: "calculator", args: { expression } };
  for (const word of error ? ["I cannot ", "work that out."] : [`${expression} `, "is ", `${value}.`]) yield await say("text", word);
}

const tools = {
  word_count: async ({ text }) => ({ words: text.split(/\s+/).filter(Boolean).length }),
  calculator: async ({ expression }) => ({ value: calculate(expression) }),
};

/** + - * / and parentheses, by recursive descent. */
function calculate(expression) {
  const tokens = expression.match(/\d+(\.\d+)?|[-+*/()]/g) ?? [];
  const chain = (next, operators) => {
    let value = next();
    while (tokens[0] in operators) value = operators[tokens.shift()](value, next());
    return value;
  };
  const atom = () => {
    const token = tokens.shift();
    if (token === "-") return -atom();
    const value = token === "(" ? sum() : Number(token);
    if (Number.isNaN(value) || (token === "(" && tokens.shift() !== ")")) throw new AgentError("BAD_EXPRESSION", `${expression} is no expression.`);
    return value;
  };
  const product = () => chain(atom, { "*": (a, b) => a * b, "/": (a, b) => a / b });
  const sum = () => chain(product, { "+": (a, b) => a + b, "-": (a, b) => a - b });
  const value = sum();
  if (tokens.length || !Number.isFinite(value)) throw new AgentError("BAD_EXPRESSION", `${expression} has no value.`);
  return value;
}

/** What the model yields, as events of the run. A tool that fails is told to the model, which goes on. */
async function answer(run, question) {
  const stream = model(question, run.signal);
  let [text, result] = ["", undefined];
  for (;;) {
    const { done, value: step } = await stream.next(result);
    if (done) return text;
    result = undefined;
    if (step.thinking) await run.thinking(step.thinking);
    if (step.text) {
      await run.chunk(step.text);
      text += step.text;
    }
    if (step.tool) result = await run.tool(step.tool, step.args, () => tools[step.tool](step.args)).catch(toldToModel);
  }
}

function toldToModel(error) {
  if (!(error instanceof AgentError)) throw error;
  return { error: error.message };
}

const runtime = new Runtime({ commands, events, name: "streaming-agent" });

runtime.on("message", async (message) => {
  const { type, text, thread_id: threadId, run_id: runId, message_id } = message.json();
  if (type === "stop_agent") return runtime.cancelRuns(message.user, { runId, threadId, reason: "Stopped on request." });
  if (type !== "user_message" || typeof text !== "string")
    return runtime.send(message, { type: "not_understood", received: type });
  await runtime.run(message.user, { threadId, task: text.slice(0, 200), fields: { message_id } }, (run) => answer(run, text));
});

process.once("SIGTERM", () => runtime.stop({ graceMs: 5000 }));
process.once("SIGINT", () => runtime.stop());
await runtime.start();
console.log(`streaming-agent on ${runtime.endpoints.commands} and ${runtime.endpoints.events}`);
