// The same with the Node binding.
//   node binding.mjs COMMANDS EVENTS
import { Runtime } from "../../../bindings/js/runtime/src/index.js";

const [commands, events] = process.argv.slice(2);
const runtime = new Runtime({ name: "bench", commands, events });

runtime.on("message", async (message) => {
  const order = message.json();
  await runtime.run(order.user, {}, async (run) => {
    for (let number = 0; number < order.events - 2; number++) await run.thinking("a few words of it "); // started and completed are events too
  });
});

process.once("SIGTERM", () => runtime.stop());
await runtime.start();
