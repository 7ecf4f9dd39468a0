import { decode } from "./msgpack.js";
import { AgentError } from "./errors.js";

/** One WebSocket of a user at one bridge; stays the same object from CONNECT to DISCONNECT. */
export class Connection {
  /** @internal */
  constructor(peer, id, user) {
    this.id = id;
    this.user = user;
    this.bridge = peer.name;
    this.bridgeKey = peer.key;
    this.claims = {};
    this.subprotocol = undefined;
    this.remote = undefined;
    this.origin = undefined;
    this.traceparent = undefined;
    this.resumed = false;
    this.open = true;
  }

  /** @internal what CONNECT says */
  learn({ claims = {}, subprotocol, remote, origin, traceparent, resumed = false }) {
    Object.assign(this, { claims, subprotocol, remote, origin, traceparent, resumed });
  }
}

/** What a client sent, byte for byte. */
export class Message {
  /** @internal */
  constructor(connection, { seq, ts, opcode = "text", traceparent }, body) {
    this.connection = connection;
    this.user = connection.user;
    this.seq = seq;
    this.time = ts;
    this.opcode = opcode;
    this.traceparent = traceparent;
    this.body = body;
  }

  text() {
    return this.body.toString("utf8");
  }

  json() {
    const packed = this.opcode === "binary" && this.connection.subprotocol === "agent_chat.msgpack";
    try {
      return packed ? decode(this.body) : JSON.parse(this.text());
    } catch (error) {
      throw new AgentError("BAD_MESSAGE", `The message is no ${packed ? "MessagePack" : "JSON"}.`, { cause: error });
    }
  }
}

/** The connections that bridges told of, bounded. */
export class Connections {
  #all = new Map();    // bridge key + id -> Connection, oldest first
  #former = new Map(); // those from before a bridge's last HELLO; each comes back with a CONNECT if it lives
  #limit;
  evicted = 0;

  constructor(limit) {
    this.#limit = limit;
  }

  get size() {
    return this.#all.size;
  }

  [Symbol.iterator]() {
    return this.#all.values();
  }

  get(peer, id, user) {
    const key = `${peer.key} ${id}`;
    const known = this.#all.get(key) ?? this.#former.get(key);
    const connection = known?.user === user ? known : new Connection(peer, id, user);
    this.#former.delete(key);
    this.#all.set(key, connection);
    if (this.#all.size > this.#limit) this.#evict();
    return connection;
  }

  remove(connection) {
    connection.open = false;
    this.#all.delete(`${connection.bridgeKey} ${connection.id}`);
  }

  /** A bridge said HELLO: every connection that it still has follows as CONNECT. */
  begin(peer) {
    for (const [key, connection] of this.#former) {
      if (connection.bridgeKey !== peer.key) continue;
      connection.open = false;
      this.#former.delete(key);
    }
    for (const [key, connection] of this.#all) {
      if (connection.bridgeKey !== peer.key) continue;
      this.#all.delete(key);
      this.#former.set(key, connection);
    }
  }

  /** Keys of the bridges at which this user has connections. */
  bridgesOf(user) {
    return new Set([...this.#all.values()].filter((connection) => connection.user === user).map(({ bridgeKey }) => bridgeKey));
  }

  /** A bridge is gone, and its connections with it. */
  forget(bridgeKey) {
    for (const connection of this.#all.values()) if (connection.bridgeKey === bridgeKey) this.remove(connection);
  }

  #evict() {
    this.#all.delete(this.#all.keys().next().value);
    this.evicted++;
  }
}
