/* Makes dist/ (or the folder that is named): NAME.html, the page with everything in it, and NAME.csp, the hashes of its
 * script and style. The same input gives the same bytes. */
import { createHash } from "node:crypto";
import { mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { build } from "esbuild";

const here = fileURLToPath(new URL(".", import.meta.url));
const out = process.argv[2] ?? join(here, "dist");
const text = (name) => readFileSync(join(here, name), "utf8").trim();
const TAB = '<button type="button" role="tab" id="tab-try" aria-controls="try" aria-selected="false" tabindex="-1">Try</button>';

async function bundle(entry, define) {
  const result = await build({ absWorkingDir: here, entryPoints: [entry], bundle: true, minify: true, write: false, format: "iife",
    target: ["es2022"], charset: "utf8", legalComments: "none", define, logLevel: "error" });
  return result.outputFiles[0].text.trim();
}

const hash = (code) => `'sha256-${createHash("sha256").update(code).digest("base64")}'`;

async function page(name, hasTry) {
  const script = await bundle("src/main.js", { TRY: String(hasTry) });
  const style = await bundle("src/page.css", {});
  const parts = { STYLE: style, SCRIPT: script, TAB: hasTry ? TAB : "", TRY: hasTry ? text("src/try.html") : "",
    LICENCE: text("node_modules/uplot/LICENSE") };
  if (/<\/script|<!--/i.test(script) || /<\/style/i.test(style) || parts.LICENCE.includes("--")) throw new Error("cannot stand in HTML");
  const html = text("src/page.html").replace(/@([A-Z]+)@/g, (_, part) => parts[part]);
  writeFileSync(join(out, `${name}.html`), `${html}\n`);
  writeFileSync(join(out, `${name}.csp`), `script-src ${hash(script)}; style-src ${hash(style)}`);
}

mkdirSync(out, { recursive: true });
await page("production", false);
await page("development", true);
