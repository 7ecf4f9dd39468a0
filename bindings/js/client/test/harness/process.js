/** A program that a test starts and ends by its pid; its lines are kept. */
import { spawn } from "node:child_process";
import { createInterface } from "node:readline";
import { fileURLToPath } from "node:url";
import { SCALE, until } from "./wait.js";

export const ROOT = fileURLToPath(new URL("../../../../../", import.meta.url));

export class Process {
  lines = []; // of standard output and standard error
  #waiting = new Set();

  constructor(command, args, env = cleanEnv()) {
    this.name = command;
    this.child = spawn(command, args, { cwd: ROOT, env, stdio: ["pipe", "pipe", "pipe"] });
    this.exited = new Promise((resolve) => this.child.on("close", (code, signal) => resolve({ code, signal })));
    this.child.on("error", (fault) => this.lines.push(String(fault)));
    this.child.stdin.on("error", () => {}); // it may be gone
    for (const pipe of [this.child.stdout, this.child.stderr])
      createInterface({ input: pipe }).on("line", (line) => this.onLine(line));
  }

  onLine(line) {
    this.lines.push(line);
  }

  get running() {
    return this.child.exitCode === null && this.child.signalCode === null;
  }

  /** The first match of a pattern in its lines. */
  async line(pattern) {
    const find = () => this.lines.map((line) => pattern.exec(line)).find(Boolean);
    return until(() => {
      if (!find() && !this.running) throw new Error(`${this.name} ended:\n${this.lines.slice(-20).join("\n")}`);
      return find();
    }, `${pattern} in the lines of ${this.name}`);
  }

  async kill(signal = "SIGKILL") {
    if (!this.running) return this.exited;
    this.child.kill(signal);
    const late = setTimeout(() => this.child.kill("SIGKILL"), 15_000 * SCALE);
    const end = await this.exited;
    clearTimeout(late);
    return end;
  }
}

/** Without settings of the bridge that the caller's shell may hold. */
function cleanEnv() {
  return Object.fromEntries(Object.entries(process.env).filter(([name]) =>
    !name.startsWith("AGENTBRIDGE_") && name !== "ENVIRONMENT" && name !== "E2E_OAUTH_SIMULATION_KEY"));
}
