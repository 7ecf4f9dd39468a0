/** What goes wrong, with a `code` that a program can compare and a text that says what to do. */
export class AgentSocketError extends Error {
  constructor(code, message, details = {}) {
    super(message);
    this.name = "AgentSocketError";
    this.code = code;
    this.details = details;
  }
}
