#!/usr/bin/env node
/* For trying the chat page: serves it on loopback, makes tokens for whoever asks, and passes /ws on to the bridge, so that page and
 * bridge have one origin. Never let anybody else reach it. */
import { createHmac } from "node:crypto";
import { readFileSync } from "node:fs";
import { readFile } from "node:fs/promises";
import { createServer } from "node:http";
import { connect } from "node:net";
import path from "node:path";
import { fileURLToPath } from "node:url";
import { parseArgs } from "node:util";

const { values: options } = parseArgs({ options: {
  port: { type: "string", default: "8000" },
  bridge: { type: "string", default: "127.0.0.1:8080" },
  "secret-file": { type: "string", default: "build/quickstart/secret" },
} });
const TOP = fileURLToPath(new URL("../../", import.meta.url)); // bindings/js
const OPEN = ["examples/chat/", "client/src/"];
const TYPES = { ".html": "text/html; charset=utf-8", ".js": "text/javascript; charset=utf-8" };
const TOKEN_SECONDS = 300;
const secret = readFileSync(options["secret-file"], "utf8").trimEnd();

function token(user) {
  const now = Math.floor(Date.now() / 1000);
  const part = (value) => Buffer.from(JSON.stringify(value)).toString("base64url");
  const text = `${part({ alg: "HS256", typ: "JWT" })}.${part({ sub: user, iat: now, exp: now + TOKEN_SECONDS })}`;
  return `${text}.${createHmac("sha256", secret).update(text).digest("base64url")}`;
}

async function answer(request) {
  const { pathname, searchParams } = new URL(request.url, "http://localhost");
  if (pathname === "/") return { status: 302, headers: { location: "/examples/chat/index.html" }, body: "" };
  if (pathname === "/token") return { status: 200, headers: { "content-type": "text/plain" }, body: token(searchParams.get("user") ?? "alice") };
  const name = path.posix.normalize(decodeURIComponent(pathname)).slice(1);
  const type = TYPES[path.extname(name)];
  if (!type || !OPEN.some((folder) => name.startsWith(folder))) return { status: 404, headers: {}, body: "not here\n" };
  return { status: 200, headers: { "content-type": type, "cache-control": "no-store" }, body: await readFile(path.join(TOP, name)) };
}

const server = createServer(async (request, response) => {
  const { status, headers, body } = await answer(request).catch(() => ({ status: 404, headers: {}, body: "not here\n" }));
  response.writeHead(status, headers).end(body);
});

/** The WebSocket goes through as it is. */
server.on("upgrade", (request, client, head) => {
  const cut = options.bridge.lastIndexOf(":");
  const bridge = connect(Number(options.bridge.slice(cut + 1)), options.bridge.slice(0, cut));
  const lines = [`GET ${request.url} HTTP/1.1`];
  for (let i = 0; i < request.rawHeaders.length; i += 2) lines.push(`${request.rawHeaders[i]}: ${request.rawHeaders[i + 1]}`);
  bridge.write(`${lines.join("\r\n")}\r\n\r\n`);
  bridge.write(head);
  bridge.pipe(client).pipe(bridge);
  for (const socket of [client, bridge]) {
    socket.on("error", () => {});
    socket.on("close", () => (client.destroy(), bridge.destroy()));
  }
});

server.listen(Number(options.port), "127.0.0.1", () => console.log(`chat: http://127.0.0.1:${server.address().port}/`));
