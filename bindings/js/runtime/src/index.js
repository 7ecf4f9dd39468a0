export { Runtime } from "./runtime.js";
export { Run } from "./run.js";
export { ToolCall } from "./tool.js";
export { Connection, Message } from "./connection.js";
export { AgentBridgeError, AgentError, CancelledError } from "./errors.js";
export { ExtData } from "@msgpack/msgpack";
export { readCertificate } from "./curve.js";
export { VERSION } from "./version.js";
