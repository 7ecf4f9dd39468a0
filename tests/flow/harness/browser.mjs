/* Chromium for a test in Python: reads {"code", "options"} a line, runs the code as the body of an async function of
 * `page`, and answers {"value"} or {"error"} a line. With "options" it first opens a new page of that kind. */
import { readFileSync } from "node:fs";
import { createRequire } from "node:module";
import { createInterface } from "node:readline";

const [packages, executablePath] = process.argv.slice(2);
const require = createRequire(packages);
const { chromium } = require("playwright-core");
const axe = readFileSync(require.resolve("axe-core/axe.min.js"), "utf8");
const FLAGS = ["--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
  "--disable-component-update", "--disable-sync"];
const AsyncFunction = (async () => {}).constructor;

const browser = await chromium.launch({ executablePath, headless: true, args: FLAGS });
let page = null;
const faults = []; // what the page's console and its exceptions say

async function open(options) {
  await page?.context().close();
  page = await (await browser.newContext(options)).newPage();
  faults.length = 0;
  page.on("pageerror", (error) => faults.push(`exception: ${error}`));
  page.on("console", (message) => { if (message.type() === "error") faults.push(message.text()); });
  page.setDefaultTimeout(options.timeout);
}

/* Not by a script element, which the page's policy refuses. */
async function audit(rules) {
  await page.evaluate(axe);
  const result = await page.evaluate((options) => globalThis.axe.run(options), { resultTypes: ["violations"], ...(rules ? { runOnly: rules } : {}) });
  return result.violations.map((fault) => `${fault.id}: ${fault.help}: ${fault.nodes.map((node) => node.html).join(" | ")}`);
}

for await (const line of createInterface({ input: process.stdin })) {
  const { code, options } = JSON.parse(line);
  try {
    if (options) await open(options);
    const value = await new AsyncFunction("page", "audit", "faults", code)(page, audit, faults);
    console.log(JSON.stringify({ value: value ?? null }));
  } catch (error) {
    console.log(JSON.stringify({ error: String(error.stack ?? error) }));
  }
}
await browser.close();
