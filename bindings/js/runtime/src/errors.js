/** Everything that this package refuses. `code` is one of those listed in index.d.ts (ErrorCode). */
export class AgentBridgeError extends Error {
  constructor(code, message, options) {
    super(message, options);
    this.name = "AgentBridgeError";
    this.code = code;
  }
}

/** A run was cancelled. `run.signal.reason`, and what emitting into such a run rejects with. */
export class CancelledError extends AgentBridgeError {
  constructor(message) {
    super("CANCELLED", message);
    this.name = "CancelledError";
  }
}

/** The one error whose code and text reach the client. */
export class AgentError extends Error {
  constructor(code, message, options) {
    if (typeof code !== "string" || code === "" || typeof message !== "string")
      throw new TypeError("new AgentError(code, message) takes two strings, and the code is not empty");
    super(message, options);
    this.name = "AgentError";
    this.code = code;
  }
}

export function fault(code, message) {
  return new AgentBridgeError(code, message);
}
