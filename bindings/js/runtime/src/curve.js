// CURVE: who may speak to this runtime when an endpoint is not loopback.
import { readFileSync } from "node:fs";
import * as zmq from "zeromq";
import { fault } from "./errors.js";

const KEY = /^[0-9a-zA-Z.\-:+=^!/*?&<>()[\]{}@%$#]{40}$/;

/** The keys of a certificate as czmq and the bridge write it (zcert, ZPL): {publicKey, secretKey?}. */
export function readCertificate(path) {
  const text = readFileSync(path, "utf8");
  const key = (name) => new RegExp(`^\\s*${name}\\s*=\\s*"?([^"\\s]{40})"?\\s*$`, "m").exec(text)?.[1];
  const publicKey = key("public-key");
  if (!publicKey) throw fault("BAD_ARGUMENT", `${path}: no public-key of 40 characters in it; make one with czmq's zcert`);
  return { publicKey, secretKey: key("secret-key") };
}

export function checkCurve(curve) {
  if (curve === undefined) return;
  const keys = [curve.publicKey, curve.secretKey, ...(Array.isArray(curve.peerKeys) ? curve.peerKeys : [null])];
  if (keys.length < 3 || !keys.every((key) => typeof key === "string" && KEY.test(key)))
    throw fault("BAD_ARGUMENT", "curve: publicKey, secretKey and peerKeys (a list, not empty) are Z85 keys of 40 characters; "
                              + "readCertificate(path) reads them from a zcert file");
}

/** Options of a socket with these endpoints. */
export function curveOptions(curve, option, endpoints) {
  if (!curve) return {};
  const { publicKey: curvePublicKey, secretKey: curveSecretKey, peerKeys } = curve;
  if (endpoints.every(({ bind }) => bind)) return { curveServer: true, curveSecretKey, curvePublicKey, zapDomain: "agentbridge" };
  if (endpoints.some(({ bind }) => bind)) throw fault("BAD_ARGUMENT", `${option}: with curve a list binds or connects, not both`);
  return { curveSecretKey, curvePublicKey, curveServerKey: peerKeys[0] };
}

/** Lets in peers with these keys only (ZAP, RFC 27), in its own context. `refused()` is called for every other. */
export class Gate {
  #socket;
  #keys;
  #refused;

  constructor(context, peerKeys, refused) {
    this.#socket = new zmq.Reply({ context, linger: 0 });
    this.#keys = new Set(peerKeys.map((key) => z85decode(key).toString("hex")));
    this.#refused = refused;
  }

  async open() {
    await this.#socket.bind("inproc://zeromq.zap.01");
    this.#serve();
  }

  close() {
    this.#socket.close();
  }

  async #serve() {
    for await (const [version, id, , , , mechanism, key] of this.#socket) {
      const good = mechanism?.toString() === "CURVE" && this.#keys.has(key?.toString("hex"));
      if (!good) this.#refused();
      await this.#socket.send([version, id, good ? "200" : "400", good ? "OK" : "No access", "", ""]).catch(() => {}); // closed meanwhile
    }
  }
}

const Z85 = "0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ.-:+=^!/*?&<>()[]{}@%$#";

function z85decode(text) {
  const bytes = Buffer.alloc((text.length / 5) * 4);
  for (let i = 0; i < text.length; i += 5) {
    let value = 0;
    for (const character of text.slice(i, i + 5)) value = value * 85 + Z85.indexOf(character);
    bytes.writeUInt32BE(value % 2 ** 32, (i / 5) * 4);
  }
  return bytes;
}
