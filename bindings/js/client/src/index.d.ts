/** Client of agentbridge for browsers and Node. README.md has the whole picture; this file says what each part means. */

/** What a client that comes back hands in, so that it gets every later event once. */
export interface Cursor {
  /** Opaque: compare for equality, nothing else. */
  epoch: string;
  /** `_offset` of the last event that was handled. */
  offset: number;
}

/** Fields that events usually have. Everything beyond `type` is up to the runtime. */
export interface EventFields {
  event_id?: string;
  /** Unix time in seconds. */
  timestamp?: number;
  user_id?: string;
  thread_id?: string | null;
  run_id?: string;
  agent_name?: string | null;
  /** Rises strictly; absent in what was sent to this connection alone. */
  _offset?: number;
  /** Made by the bridge, not by the runtime. */
  _synthetic?: boolean;
}

export interface AgentStarted extends EventFields { type: "agent_started"; task_description?: string; message_id?: string }
/** Either a piece to be appended (`delta`) or the whole text (`reasoning`). */
export interface AgentThinking extends EventFields { type: "agent_thinking"; delta?: string; reasoning?: string; step_number?: number }
export interface ToolExecuting extends EventFields { type: "tool_executing"; tool_name: string; tool_args?: unknown; execution_id?: string }
/** `execution_time` in seconds. */
export interface ToolCompleted extends EventFields {
  type: "tool_completed"; tool_name: string; results?: unknown; success?: boolean; execution_time?: number; execution_id?: string;
}
export interface AgentCompleted extends EventFields { type: "agent_completed"; status?: string; final_response?: unknown; duration_ms?: number }
/** `error_code` `RUNTIME_LOST`: the runtime is gone, the bridge says so in its place. */
export interface AgentError extends EventFields { type: "agent_error"; error_code?: string; error_message?: string }
export interface ProgressUpdate extends EventFields { type: "progress_update"; [field: string]: unknown }
export interface StreamChunk extends EventFields { type: "stream_chunk"; delta?: string; [field: string]: unknown }
/** The run has been silent for `silent_s` seconds. */
export interface RunStalled extends EventFields { type: "run_stalled"; silent_s: number }

/** The named events by their type. */
export interface NamedEvents {
  agent_started: AgentStarted;
  agent_thinking: AgentThinking;
  tool_executing: ToolExecuting;
  tool_completed: ToolCompleted;
  agent_completed: AgentCompleted;
  agent_error: AgentError;
  progress_update: ProgressUpdate;
  stream_chunk: StreamChunk;
  run_stalled: RunStalled;
}

/** An event of one of the named types. */
export type AgentEvent = NamedEvents[keyof NamedEvents];
/** An event of any other type: `switch (event.type)` tells the named ones apart after a cast to AgentEvent. */
export interface CustomEvent extends EventFields { type: string; [field: string]: unknown }
/** What ends a run. */
export type EndEvent = AgentCompleted | AgentError;

/** Whether an event is the last one of its run. */
export function endsRun(event: { type: string }): event is EndEvent;

/**
 * | `code` | meaning |
 * |---|---|
 * | `BAD_OPTION`, `BAD_MESSAGE`, `BAD_TOKEN` | a fault of the program: the text says what is wrong |
 * | `TOO_BIG` | over `maxMessageBytes` |
 * | `OVERFLOW` | too much is waiting to be sent |
 * | `OFFLINE` | `{buffer: false}` and not online |
 * | `CLOSED` | the socket has ended |
 * | `WITHDRAWN` | by its signal, before it was sent |
 * | `UNCONFIRMED` | it was on the wire when the connection broke: it may or may not have reached the runtime |
 * | `RUNTIME_UNAVAILABLE`, `RATE_LIMITED`, `INVALID_MESSAGE` | of the bridge: not handed over |
 * | `EVENTS_LOST` | of an iterator: events of the run are missing here |
 * | `FORGOTTEN` | of a run: more runs are in progress than are followed |
 * | `NO_TOKEN`, `SAME_TOKEN`, `TOKEN_REFUSED` | `token()` failed, gave the old one again, or one that the bridge did not take |
 * | `UNREAD_FRAME` | a frame that is no event, and nobody listens for "frame" |
 */
export class AgentSocketError extends Error {
  constructor(code: string, message: string, details?: object);
  readonly code: string;
  /** `message_id` of a message, `cause` of a failed token(). */
  readonly details: { message_id?: string | null; cause?: unknown; [name: string]: unknown };
}

export interface RunListeners {
  /** Each event. */
  event: (event: AgentEvent) => void;
  /** The last one. */
  end: (event: EndEvent) => void;
  /** Events may be missing here. */
  gap: (reason: ResyncReason) => void;
}

/** One run of an agent. It stays usable after the socket has forgotten it. */
export interface Run extends AsyncIterable<AgentEvent> {
  readonly id: string;
  readonly threadId: string | null;
  readonly agentName: string | null;
  /** `task_description` of agent_started. */
  readonly task: string | null;
  /** Unix time in seconds. */
  readonly startedAt: number | null;
  /** The type of its last event. */
  readonly lastType: string | null;
  /** "unknown": events may be missing, and it has not been heard of since. */
  readonly status: "running" | "unknown" | "completed" | "failed";
  readonly ended: boolean;
  /** The last event, once it has ended. */
  readonly end: EndEvent | null;
  /** This client was not there when it began: its first events are not known. */
  readonly joined: boolean;
  /** Tools at work, by execution_id. */
  readonly openTools: ReadonlyMap<string, { tool_name: string; execution_id?: string }>;
  /** The events that are kept (`runBufferEvents`, `runBufferBytes`), oldest first. */
  readonly events: AgentEvent[];
  /** How many have left the buffer. */
  readonly dropped: number;
  /** How often events of it may have been lost. */
  readonly gaps: number;
  /** Resolves with the last event. Rejects with CLOSED or FORGOTTEN when that can no longer come. */
  readonly done: Promise<EndEvent>;
  /** Returns the function that ends it. */
  on<Name extends keyof RunListeners>(name: Name, listener: RunListeners[Name]): () => void;
  /**
   * The events from the oldest that is kept to the last, as they come. `for await (const event of run)` is iterate().
   * Where events may be missing, and when the reader is so slow that the buffer has left it behind, it throws
   * EVENTS_LOST, or goes on with `onGap: "continue"`. Throws CLOSED when the socket ends first.
   */
  iterate(options?: { onGap?: "throw" | "continue" }): AsyncGenerator<AgentEvent, void, void>;
}

/** The runs that are known: those in progress, and the last that have ended (`maxEndedRuns`). */
export interface Runs extends Iterable<Run> {
  readonly size: number;
  readonly open: Run[];
  get(id: string): Run | undefined;
}

export type State = "connecting" | "online" | "reconnecting" | "offline" | "closed" | "failed";

/** For a badge. */
export interface Status {
  /**
   * connecting: not online yet since connect(). reconnecting: was online. Both wait for `nextAttemptAt`, or try when that is null. offline: the browser
   * has no network; tried again as soon as it has. closed: by close() or the runtime. failed: for good, `reason` says why.
   */
  readonly state: State;
  /** Since when it is in this state; milliseconds, as Date.now(). */
  readonly since: number;
  /** Tries since it was online. */
  readonly attempt: number;
  /** When the next try begins, milliseconds as Date.now(); null when none is waited for. */
  readonly nextAttemptAt: number | null;
  /** Close code of the last end; null when there was none. */
  readonly code: number | null;
  /** An error code of the bridge, or a text for the log. */
  readonly reason: string | null;
  /** Online, but the bridge is going and will close soon; the client then comes back by itself. */
  readonly draining: boolean;
}

/** `unknown_epoch`: the bridge restarted; `expired`: away for too long; `events_lost`: lost on their way to the bridge. */
export type ResyncReason = "unknown_epoch" | "expired" | "events_lost" | (string & {});

/** Events may be missing: fetch the state of conversations by other means. Events that come later are complete again. */
export interface Resync {
  reason: ResyncReason;
  before: Cursor | null;
  cursor: Cursor;
  /** The runs that were open and are now "unknown". */
  runs: Run[];
}

/** A run in progress, as the bridge tells a client that joins it. */
export interface RunInProgress {
  run_id: string;
  thread_id: string | null;
  agent_name: string | null;
  started_at: number;
  last_type: string;
  open_tools: { tool_name: string; execution_id: string }[];
}

export interface SocketListeners {
  /** Each event of the runtime, once and in order. Cast to AgentEvent to narrow by `type`. */
  event: (event: CustomEvent) => void;
  /** A run that was not known; called before its first event. */
  run: (run: Run) => void;
  state: (status: Status, before: State) => void;
  resync: (resync: Resync) => void;
  /** Runs in progress when this client joined without a cursor or could not resume. */
  snapshot: (runs: RunInProgress[]) => void;
  /** What the runtime sent to this connection as it is, and is no event: text, or binary. */
  frame: (data: string | ArrayBuffer) => void;
  /** What failed in the background. Without a listener it goes to reportError() or the console. */
  error: (fault: AgentSocketError) => void;
}

export interface Outgoing {
  type: string;
  /** Given to it when it has none. */
  message_id?: string;
  [field: string]: unknown;
}

export interface SendOptions {
  /** Withdraws the message as long as it waits for a connection. */
  signal?: AbortSignal;
  /** false: reject with OFFLINE instead of waiting for a connection. Default true. */
  buffer?: boolean;
}

export interface Sent {
  /** The message_id; null for binary frames. */
  id: string | null;
  /** The bridge has handed it over to the runtime's link. False only with the option `confirm: false`. */
  confirmed: boolean;
}

export interface Clock {
  now(): number;
  random(): number;
  setTimeout(callback: () => void, ms: number): unknown;
  clearTimeout(timer: unknown): void;
}

export interface AgentSocketOptions {
  /**
   * The JWT, or the function that gets one: before every connection ("connect"; "expired": the last one was refused as expired) and
   * before the present one expires ("refresh"). null: none. A fixed string cannot be refreshed: when it expires, the socket fails.
   */
  token?: string | null | ((need: { reason: "connect" | "expired" | "refresh" }) => string | null | Promise<string | null>);
  /** Default "agent_chat"; the other JSON forms are taken too. */
  subprotocol?: string;
  /** Where another socket stood (`socket.cursor`), after a reload of the page. */
  cursor?: Cursor | null;
  /** false: wait for connect(). Default true. */
  autoConnect?: boolean;
  /** A WebSocket class where there is no global one: that of `ws` in Node 20. */
  WebSocket?: unknown;
  /** false: send() resolves when the frame is written, which says nothing of its arrival. Default true. */
  confirm?: boolean;
  /** Asked after every close: whether to come back. `again` is what the client would do. */
  comeBack?: ((end: { code: number; reason: string; why: string; again: boolean }) => boolean) | null;
  /** First limit of the back-off, which doubles up to maxDelayMs; each pause is anywhere below the limit. Default 1000. */
  minDelayMs?: number;
  /** Default 30000. */
  maxDelayMs?: number;
  /** A connection that lived so long was a success: the back-off begins anew. Default 10000. */
  stableMs?: number;
  /** From the attempt to connection_established. Default 15000. */
  connectTimeoutMs?: number;
  /** For token(). Default 15000. */
  tokenTimeoutMs?: number;
  /** When nothing came for so long, a ping is sent; 0: never. Default: what the bridge says. */
  heartbeatMs?: number | null;
  /** When then nothing comes for so long, the line is given up. Default 10000. */
  pongTimeoutMs?: number;
  /** Messages whose fate is not known yet, at most. Default 50, within the bridge's burst. */
  maxSends?: number;
  /** The same in bytes. Default 1 MiB. */
  maxSendBytes?: number;
  /** What the bridge takes (`max-message-bytes`). Default 65536. */
  maxMessageBytes?: number;
  /** Events kept per run. Default 1000. */
  runBufferEvents?: number;
  /** Characters of events kept per run. Default 1 MiB. */
  runBufferBytes?: number;
  /** Ended runs that are remembered. Default 20. */
  maxEndedRuns?: number;
  /** Runs in progress that are followed. Default 256. */
  maxOpenRuns?: number;
  /** Instead of JSON.parse: for integers beyond 2^53, say. */
  parse?: (text: string) => unknown;
  /** Time and chance, for tests. */
  clock?: Partial<Clock> | null;
  /** Where "online", "offline", "pageshow" and document.visibilitychange come from, for tests. */
  page?: object;
}

/** The connection to a bridge, for as long as the application wants it. */
export class AgentSocket {
  /** Connects at once (`autoConnect`). `url`: ws://, wss://, or in a page http(s):// or a path. Throws BAD_OPTION, BAD_TOKEN. */
  constructor(url: string | URL, options?: AgentSocketOptions);
  readonly state: State;
  readonly status: Status;
  /** While online. */
  readonly connection: { readonly id: string; readonly userId: string; readonly bridge: string } | null;
  /** A copy; includes the event that listeners are just being told of. null before the first connection. */
  readonly cursor: Cursor | null;
  readonly runs: Runs;
  readonly stats: {
    /** Told to listeners. */
    events: number;
    /** Came again and were left out. */
    repeats: number;
    resyncs: number;
    connections: number;
    /** Frames that are no events and that nobody listened for. */
    unreadFrames: number;
    unsettledSends: number;
    unsettledBytes: number;
  };
  /** Returns the function that takes the listener off again. */
  on<Name extends keyof SocketListeners>(name: Name, listener: SocketListeners[Name]): () => void;
  once<Name extends keyof SocketListeners>(name: Name, listener: SocketListeners[Name]): () => void;
  off<Name extends keyof SocketListeners>(name: Name, listener: SocketListeners[Name]): void;
  /** Events of one type only. */
  onEvent<Type extends keyof NamedEvents>(type: Type, listener: (event: NamedEvents[Type]) => void): () => void;
  onEvent(type: string, listener: (event: CustomEvent) => void): () => void;
  /** Try at once, instead of waiting; or begin anew after the end. */
  connect(): void;
  /** The end: what is not sent is rejected (CLOSED), iterators of open runs throw. */
  close(reason?: string): void;
  /**
   * Hands a message to the runtime. Resolves when the bridge has handed it over; rejects with an AgentSocketError that says what is
   * known of it. While away it waits (bounded), and goes out in order.
   */
  send(message: Outgoing, options?: SendOptions): Promise<Sent>;
  /** The same for a binary frame. Of several that are under way, the bridge cannot name the one that it refuses: they are UNCONFIRMED. */
  sendBinary(bytes: ArrayBuffer | ArrayBufferView, options?: SendOptions): Promise<Sent>;
}
