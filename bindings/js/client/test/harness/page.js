/** A real Chromium with the chat page; pictures go to build/. Importing this starts it when the tests begin. */
import { existsSync } from "node:fs";
import { mkdir, writeFile } from "node:fs/promises";
import path from "node:path";
import { after, before } from "node:test";
import { chromium } from "playwright-core";
import { Process, ROOT } from "./process.js";
import { SECRET } from "./stack.js";
import { SCALE } from "./wait.js";

const CHROMIUM = process.env.CHROMIUM ?? "/usr/bin/chromium";
const FLAGS = ["--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
  "--disable-component-update", "--disable-sync"];
export const PICTURES = path.join(ROOT, "build", "js");
export const skip = existsSync(CHROMIUM) ? false : `${CHROMIUM} is not there (CHROMIUM names another)`;

let browser;
before(async () => {
  if (!skip) browser = await chromium.launch({ executablePath: CHROMIUM, args: FLAGS });
  await mkdir(PICTURES, { recursive: true });
});
after(() => browser?.close());

/** The page behind the example's own server. */
export async function openPage(t, stack, options = {}) {
  const secret = path.join(stack.folder, "secret");
  await writeFile(secret, `${SECRET}\n`);
  const server = new Process(process.execPath, ["bindings/js/examples/chat/serve.js", "--port", "0", "--secret-file", secret,
    "--bridge", `127.0.0.1:${stack.proxy.port}`]);
  t.after(() => server.kill());
  const [, url] = await server.line(/^chat: (\S+)/);
  const page = await browser.newPage(options);
  t.after(() => page.close());
  page.setDefaultTimeout(30_000 * SCALE);
  const faults = [];
  page.on("pageerror", (fault) => faults.push(String(fault)));
  await page.goto(url);
  await page.getByRole("status").filter({ hasText: /^Online$/ }).waitFor();
  return { page, faults };
}
