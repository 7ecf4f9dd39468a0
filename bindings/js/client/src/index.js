export { AgentSocketError } from "./errors.js";
export { endsRun } from "./runs.js";
export { AgentSocket } from "./socket.js";
