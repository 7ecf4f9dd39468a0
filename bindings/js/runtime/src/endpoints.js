// Endpoints in czmq notation, seen from the runtime: `@` binds (also without a sign), `>` connects, comma list.
import { isIP } from "node:net";
import { fault } from "./errors.js";

const LOOPBACK = /^(127(\.\d{1,3}){3}|localhost|lo|\[?::1\]?)$/;

/** "@tcp://a:1,>tcp://b:2" as [{bind, address}]; throws BAD_ARGUMENT. */
export function parseEndpoints(option, text) {
  if (typeof text !== "string" || text.trim() === "")
    throw fault("BAD_ARGUMENT", `${option}: at least one endpoint, such as "@tcp://127.0.0.1:5555"`);
  return text.split(",").map((word) => parseEndpoint(option, word.trim()));
}

function parseEndpoint(option, word) {
  const [, sign, address] = /^([@>]?)(.*)$/s.exec(word);
  if (!/^(tcp|ipc):\/\/.+/.test(address))
    throw fault("BAD_ARGUMENT", `${option}: "${word}" is no endpoint; write tcp://HOST:PORT or ipc://PATH behind @ (bind) or > (connect)`);
  return { bind: sign !== ">", address };
}

/** Whether nobody beyond this machine can reach it. */
export function isLocal(address) {
  if (address.startsWith("ipc://")) return true;
  const host = address.slice("tcp://".length, address.lastIndexOf(":"));
  return LOOPBACK.test(host) && (isIP(host.replace(/[[\]]/g, "")) !== 0 || !/\d/.test(host));
}

/** Bind and connect. Returns the addresses bound, with the port that a wildcard became. */
export async function attach(socket, option, endpoints) {
  const bound = [];
  for (const { bind, address } of endpoints) {
    try {
      if (bind) await socket.bind(address);
      else socket.connect(address);
    } catch (error) {
      throw fault("BAD_ARGUMENT", `${option}: cannot ${bind ? "bind" : "connect"} ${address}: ${error.message}${hint(error)}`);
    }
    if (bind) bound.push(socket.lastEndpoint);
  }
  return bound;
}

function hint(error) {
  return error.code === "EADDRINUSE" ? " (another runtime has it: end that one, or give this one endpoints of its own)" : "";
}
