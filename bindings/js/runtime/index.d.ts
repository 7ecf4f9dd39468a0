/** @agentbridge/runtime: an agent program behind agentbridge. README.md has the first program and the whole picture. */

/** Version of this package. */
export const VERSION: string;

/**
 * Fields of an event. `type`, `user_id`, `event_id`, `timestamp`, in a run also `run_id`, `thread_id`, `agent_name`, and names
 * that begin with `_` are set by others and refused (RESERVED_FIELD). `connection_id` narrows an event to one connection of
 * the user; such an event is not kept for a client that comes back. What a value may be: README.md, "What a field may hold".
 */
export type Fields = { [name: string]: unknown };

/** `error.code` of what this package refuses. */
export type ErrorCode =
  /** The run was cancelled (CancelledError). */
  | "CANCELLED"
  /** The run has ended: nothing can follow. */
  | "RUN_ENDED"
  /** The tool call has its tool_completed already. */
  | "TOOL_ENDED"
  /** A field or type that this package or the bridge sets. */
  | "RESERVED_FIELD"
  /** A field that has no form on the wire: a function, a promise, an Error, an invalid Date, a cycle. */
  | "BAD_VALUE"
  /** More than `maxEventBytes`. */
  | "EVENT_TOO_LARGE"
  /** A queue is full: await what you send. Nothing was sent, no number was used. */
  | "QUEUE_FULL"
  /** The connection has closed (DISCONNECT has come). */
  | "CONNECTION_GONE"
  /** The bridge of this connection is not connected to this runtime. */
  | "BRIDGE_GONE"
  /** The bridge has not read its commands for ten seconds. */
  | "BRIDGE_BUSY"
  /** Before start(), or while or after stop(). */
  | "NOT_RUNNING"
  /** An argument or option is wrong; the message says which and what is allowed. */
  | "BAD_ARGUMENT";

/** Whatever this package refuses. */
export class AgentBridgeError extends Error {
  constructor(code: ErrorCode, message: string, options?: ErrorOptions);
  readonly code: ErrorCode;
}

/** A run was cancelled: `run.signal.reason`, and what its emits reject with from then on. */
export class CancelledError extends AgentBridgeError {
  constructor(message: string);
}

/**
 * The one error that clients get to see: thrown in a run, it becomes `agent_error` with this code and text. Of every other
 * error clients only learn that there was one (`AGENT_FAILED`); the details go to the log.
 */
export class AgentError extends Error {
  /** @param code such as `QUOTA_EXCEEDED`, for programs. @param message for people. */
  constructor(code: string, message: string, options?: ErrorOptions);
  readonly code: string;
}

/** A MessagePack extension value (that of `@msgpack/msgpack`). JSON clients get `{"_ext": type, "data": base64}`. */
export class ExtData {
  /** @param type from -128 to 127 */
  constructor(type: number, data: Uint8Array);
  readonly type: number;
  readonly data: Uint8Array;
}

/** Keys of CURVE, Z85 in 40 characters each. Needed for endpoints that are neither loopback nor ipc. */
export interface Curve {
  /** This runtime's public key. */
  publicKey: string;
  /** This runtime's secret key. */
  secretKey: string;
  /** Public keys of the bridges. Where the runtime binds, only these are let in; where it connects, the first one is the server's. */
  peerKeys: string[];
}

/** Keys of a certificate file as czmq's zcert writes it (the bridge's `curve-secret-file`). Throws when there are none. */
export function readCertificate(path: string): { publicKey: string; secretKey: string | undefined };

export interface RuntimeOptions {
  /** Command endpoints (ROUTER): `@` or nothing binds, `>` connects, comma list. Default `@tcp://127.0.0.1:5555`. */
  commands?: string;
  /** Event endpoints (PUB), same notation. Default `@tcp://127.0.0.1:5556`. */
  events?: string;
  /** Name of this runtime, 1 to 64 characters; the publisher's name begins with it. Default `agent`. */
  name?: string;
  /** `agent_name` of runs. Default: `name`. */
  agentName?: string;
  /** Events kept for a bridge that missed some. Default 10,000. */
  replayEvents?: number;
  /** Their bytes. Default 64 MiB. */
  replayBytes?: number;
  /** Largest event, bytes of MessagePack; no more than the bridge's `max-event-bytes`. Default 1 MiB. */
  maxEventBytes?: number;
  /** Largest frame that a bridge may send, bytes; above the bridge's `max-message-bytes`. A larger one cuts the link. Default 16 MiB. */
  maxCommandBytes?: number;
  /** Events that may wait in ZeroMQ for one bridge, and that may be emitted in one go without awaiting. Default 10,000. */
  sendQueue?: number;
  /** Commands (SEND, CLOSE, …) that may wait for one bridge. Default 1,000. */
  commandQueue?: number;
  /** Their bytes. Default 16 MiB. */
  commandQueueBytes?: number;
  /** Handlers at work at the same time. Default 1,000. */
  maxHandlers?: number;
  /** Messages that wait for a handler. When there are as many, no commands are read until there is room. Default 1,000. */
  maxWaiting?: number;
  /** Runs open at the same time. Default 10,000. */
  maxRuns?: number;
  /** Connections whose CONNECT is remembered. Default 100,000. */
  maxConnections?: number;
  /** How long what was sent may take to leave after stop(), milliseconds. Default 2,000. */
  lingerMs?: number;
  /** Cancel runs that nobody reads any more (ABANDONED). Default true. */
  cancelAbandoned?: boolean;
  curve?: Curve;
  /** Where log lines go. Never holds what clients or runs said, but for the stack of an error. Default: stderr. */
  log?: (level: "error" | "warn", text: string) => void;
}

export interface RunOptions {
  /** Conversation (`thread_id`). */
  threadId?: string;
  /** `run_id`, at most 255 bytes. Default: a new one. */
  runId?: string;
  /** `agent_name` of this run. Default: the runtime's. */
  agentName?: string;
  /** `task_description` of agent_started. */
  task?: string;
  /** More fields of agent_started. */
  fields?: Fields;
  /** Cancels the run when it aborts. */
  signal?: AbortSignal;
}

/** One WebSocket of a user. Made by this package. */
export class Connection {
  private constructor();
  /** `ws_…` */
  readonly id: string;
  readonly user: string;
  /** Name of the bridge that has it. */
  readonly bridge: string;
  /** Claims of the token it came with. */
  readonly claims: { [name: string]: unknown };
  /** Undefined for a connection of which only a message has come yet, from before this runtime's start. */
  readonly subprotocol: string | undefined;
  /** The client's address. */
  readonly remote: string | undefined;
  readonly origin: string | undefined;
  readonly traceparent: string | undefined;
  /** It was there before (this runtime or the client came back). */
  readonly resumed: boolean;
  /** False once it has closed. */
  readonly open: boolean;
}

/** What a client sent. */
export class Message {
  private constructor();
  readonly connection: Connection;
  readonly user: string;
  /** Number on its connection, from 1, none left out. */
  readonly seq: number;
  /** When the bridge had it, Unix seconds. */
  readonly time: number;
  readonly opcode: "text" | "binary";
  readonly traceparent: string | undefined;
  /** The frame, byte for byte. */
  readonly body: Buffer;
  /** The body as text. */
  text(): string;
  /**
   * The message, parsed: JSON, or MessagePack on an `agent_chat.msgpack` connection (integers beyond 2^53 are BigInts, bin is a
   * Buffer on the memory of `body`, ext an ExtData; the key `__proto__`, keys that are bytes, lists or maps, and str that is no
   * UTF-8 are refused). Throws AgentError BAD_MESSAGE.
   */
  json(): any;
}

export interface Disconnect {
  connection: Connection;
  user: string;
  /** WebSocket close code; 1006 when there was no close frame. */
  code: number;
  reason: string;
  /** The user's other connections at this bridge. */
  remaining: number;
}

export interface Abandoned {
  user: string;
  /** Run ids that nobody reads any more. */
  runs: string[];
  /** Those of them that were cancelled here. Empty while the user is connected to another bridge. */
  cancelled: string[];
  /** Name of the bridge that said so. */
  bridge: string;
}

/**
 * Handlers. What they return is awaited. What they throw is logged, counted, and ends the runs that they have started and left
 * open; an AgentError that a run's client was told, and a CancelledError, are not logged.
 */
export interface Handlers {
  message: (message: Message) => unknown;
  connect: (connection: Connection) => unknown;
  disconnect: (event: Disconnect) => unknown;
  abandoned: (event: Abandoned) => unknown;
  /** A bridge has said HELLO: it is new, or has come back. */
  bridge: (bridge: { name: string }) => unknown;
}

/** Counters since start(), and levels. */
export interface Stats {
  eventsPublished: number;
  bytesPublished: number;
  /** Events refused with QUEUE_FULL. */
  eventsRefused: number;
  /** Sent again because a bridge asked. */
  eventsReplayed: number;
  /** A bridge asked for them and they were no longer held. */
  eventsLost: number;
  replaysRefused: number;
  commandsReceived: number;
  /** Commands that were not as the wire wants them, dropped. */
  commandsMalformed: number;
  /** Commands to bridges refused with QUEUE_FULL. */
  commandsRefused: number;
  /** Messages answered with RUNTIME_UNAVAILABLE: while stopping, or without a handler. */
  messagesRefused: number;
  handlerErrors: number;
  /** Calls that were rejected, whether somebody awaited them or not; those into cancelled runs do not count. */
  callsRefused: number;
  /** Peers turned away for their CURVE key. */
  peersRefused: number;
  /** Held for replay now. */
  eventsHeld: number;
  bytesHeld: number;
  /** Open now. */
  runs: number;
  connections: number;
  /** Connections forgotten because there were more than `maxConnections`. */
  connectionsEvicted: number;
  handlersRunning: number;
  handlersWaiting: number;
}

export class Runtime implements AsyncDisposable {
  /** Throws BAD_ARGUMENT. Opens nothing yet. */
  constructor(options?: RuntimeOptions);

  /** Binds and connects. Rejects with BAD_ARGUMENT when an endpoint cannot be had. Once per Runtime. */
  start(): Promise<this>;

  /**
   * Ends in order: new messages are refused, open runs may end by themselves for `graceMs` (default 0), the others are cancelled
   * (`agent_error`, CANCELLED), handlers get a second to notice, what was sent leaves within `lingerMs`. Never rejects.
   */
  stop(options?: { graceMs?: number }): Promise<void>;

  /** stop(). */
  [Symbol.asyncDispose](): Promise<void>;

  /** Add a handler. Those of one event start in the order in which they were added, events in the order in which they came. */
  on<Name extends keyof Handlers>(name: Name, handler: Handlers[Name]): this;
  off<Name extends keyof Handlers>(name: Name, handler: Handlers[Name]): this;

  /**
   * A run around `body`: agent_started before it, exactly one end after it. What it returns becomes `final_response` (nothing:
   * an empty text), what it throws `agent_error`. Resolves with what body returned; rejects with what it threw, or with the
   * CancelledError when the run was cancelled, whatever body did then.
   */
  run<Result>(user: string, options: RunOptions, body: (run: Run) => Result | PromiseLike<Result>): Promise<Result>;
  run<Result>(user: string, body: (run: Run) => Result | PromiseLike<Result>): Promise<Result>;

  /** A run that you end yourself: complete(), fail(), cancel(), or the end of an `await using` block. */
  startRun(user: string, options?: RunOptions): Promise<Run>;

  /** Cancel this user's open runs: the one named, those of a thread, or all. How many there were. */
  cancelRuns(user: string, which?: { runId?: string; threadId?: string; reason?: string }): number;

  /** An event outside of runs, to all connections of the user. */
  emit(user: string, type: string, fields?: Fields): Promise<void>;

  /** An event for one connection only. It is not kept for a client that comes back. */
  send(to: Connection | Message, event: { type: string } & Fields): Promise<void>;

  /** A frame for one connection as it is: a string as text, bytes as binary. */
  sendFrame(to: Connection | Message, data: string | Uint8Array): Promise<void>;

  /** Close one connection: `code` 1000 (default) to 1003, 1007 to 1014 or 3000 to 4999; `reason` at most 123 bytes. */
  close(to: Connection | Message, options?: { code?: number; reason?: string }): Promise<void>;

  /** Close all connections of a user, at every bridge, with 4009. */
  kick(user: string, options?: { reason?: string }): Promise<void>;

  /** Name of this runtime's publisher, new at every start of the program. */
  readonly publisher: string;
  /** What was bound, with the port that a wildcard became. */
  readonly endpoints: { commands: string[]; events: string[] };
  readonly stats: Stats;
  /** Open runs by id; a copy. */
  readonly runs: ReadonlyMap<string, Run>;
  /** Connections that bridges have told of; a copy. */
  readonly connections: Connection[];
}

/**
 * One piece of an agent's work, from agent_started to its one end. Every verb sends in the order in which it is called, also
 * without await, and resolves when ZeroMQ has the event. Await it: that is what lets the bridge be answered while an agent
 * emits much. A verb that is refused and not awaited is logged and counted (`callsRefused`), it does not end the process.
 */
export class Run implements AsyncDisposable {
  private constructor();
  readonly id: string;
  readonly user: string;
  readonly threadId: string | undefined;
  readonly agentName: string;
  /** Aborts when the run is cancelled: by you, by the user, because nobody reads it, because the runtime stops. Hand it to fetch and the like. */
  readonly signal: AbortSignal;
  readonly ended: boolean;
  readonly outcome: null | "completed" | "failed" | "cancelled";

  /** `agent_thinking`: a piece of the text, or with `whole` all of it. `step` counts from 1, one more after every tool call. */
  thinking(text: string, options?: { whole?: boolean; step?: number; fields?: Fields }): Promise<void>;
  /** `stream_chunk`: a piece of the answer. */
  chunk(delta: string, fields?: Fields): Promise<void>;
  /** `progress_update`. */
  progress(fields: Fields): Promise<void>;
  /** Any other event of this run. */
  emit(type: string, fields?: Fields): Promise<void>;

  /**
   * Use a tool: `tool_executing`, `body`, exactly one `tool_completed`. What body returns are the `results`; what it throws makes
   * `success` false and is thrown on. Its text reaches the client only from an AgentError.
   */
  tool<Result>(name: string, args: unknown, body: (call: ToolCall) => Result | PromiseLike<Result>): Promise<Result>;
  /** A tool call that you end yourself: complete(), fail(), or the end of an `await using` block. The run's end ends it too. */
  startTool(name: string, args?: unknown, fields?: Fields): Promise<ToolCall>;

  /** `agent_completed`. When it cannot be sent (BAD_VALUE, EVENT_TOO_LARGE, …) the run ends with agent_error and this rejects. */
  complete(finalResponse?: unknown, options?: { status?: string; fields?: Fields }): Promise<void>;
  /** `agent_error`: with the words of an AgentError; of anything else the client learns AGENT_FAILED only, the log has it all. */
  fail(error: unknown): Promise<void>;
  fail(code: string, message: string): Promise<void>;
  /** `agent_error` CANCELLED with `reason` as its text; `signal` aborts. False when the run had ended. */
  cancel(reason?: string): boolean;
  /** Ends an open run with agent_error AGENT_FAILED. */
  [Symbol.asyncDispose](): Promise<void>;
}

/** One use of a tool. */
export class ToolCall implements AsyncDisposable {
  private constructor();
  readonly name: string;
  readonly args: unknown;
  readonly executionId: string;
  /** The run's. */
  readonly signal: AbortSignal;
  readonly ended: boolean;
  /** `tool_completed` with `success` true. Results that cannot be sent make it false, and this rejects. */
  complete(results?: unknown): Promise<void>;
  /** `tool_completed` with `success` false. An AgentError gives its words, another Error none; an object goes as the results. */
  fail(error: unknown): Promise<void>;
  /** fail() when it is open. */
  [Symbol.asyncDispose](): Promise<void>;
}
