#!/usr/bin/python3
"""Has a runtime emit events through a real bridge, and measures the runtime until the bridge has all of them.

The order goes as a client's message; the events are for a user who is not there, so that the bridge does little. Prints one line
of JSON: events_per_s, cpu_us_per_event (of --pid with all its threads), lost."""

import argparse
import asyncio
import json
import pathlib
import subprocess
import sys
import tempfile
import time
import urllib.request

import websockets

SECRET = "0123456789abcdef0123456789abcdef"
POLL_S = 0.005
FAULTS = ("malformed", "foreign", "repeated", "lost", "refused")


def options():
    parser = argparse.ArgumentParser(prog="measure.py", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--bridge", required=True, help="the program")
    for name in ("public", "admin", "commands", "events"):
        parser.add_argument(f"--{name}-port", type=int, required=True)
    parser.add_argument("--events", type=int, default=100_000, help="how many (default: %(default)s)")
    parser.add_argument("--pid", type=int, required=True, help="of the runtime")
    parser.add_argument("--patience-s", type=float, default=120, help="(default: %(default)s)")
    return parser.parse_args()


def start_bridge(chosen, folder):
    secret = pathlib.Path(folder) / "secret"
    secret.write_text(SECRET, encoding="ascii")
    common = ["--environment", "test", "--jwt-secret-file", str(secret)]
    bridge = subprocess.Popen([chosen.bridge, "serve", *common, "--listen", f"127.0.0.1:{chosen.public_port}",
                               "--admin-listen", f"127.0.0.1:{chosen.admin_port}", "--log-level", "error",
                               "--runtime-commands", f">tcp://127.0.0.1:{chosen.commands_port}",
                               "--runtime-events", f">tcp://127.0.0.1:{chosen.events_port}"])
    token = subprocess.run([chosen.bridge, "token", *common, "--user", "bench"], capture_output=True, text=True, check=True)
    return bridge, token.stdout.strip()


def get(chosen, path):
    """The body, or "" while it cannot be had."""
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{chosen.admin_port}{path}", timeout=10) as answer:
            return answer.read().decode()
    except OSError:
        return ""


def total(text, name):
    """The sum over all labels."""
    lines = (line.split() for line in text.splitlines() if line.startswith(f"agentbridge_{name}"))
    return sum(float(words[-1]) for words in lines if words[0].split("{")[0] == f"agentbridge_{name}")


def wait_until(chosen, condition, what):
    end = time.monotonic() + chosen.patience_s
    while not condition():
        if time.monotonic() > end:
            raise SystemExit(f"measure: not within {chosen.patience_s:g} s: {what}")
        time.sleep(POLL_S)


def cpu_ns(pid):
    """Of all threads; those that have ended do not count."""
    return sum(int(path.read_text("ascii").split()[0]) for path in pathlib.Path(f"/proc/{pid}/task").glob("*/schedstat"))


async def order(chosen, token):
    async with websockets.connect(f"ws://127.0.0.1:{chosen.public_port}/ws", subprotocols=[f"jwt.{token}", "agent_chat"]) as socket:
        await socket.recv()
        before = cpu_ns(chosen.pid), time.monotonic()
        await socket.send(json.dumps({"type": "emit", "user": "nobody", "events": chosen.events}))
        await asyncio.to_thread(wait_until, chosen, lambda: total(get(chosen, "/metrics"), "events_received_total") >= chosen.events,
                                f"{chosen.events} events at the bridge")
        return cpu_ns(chosen.pid) - before[0], time.monotonic() - before[1]


def main():
    chosen = options()
    with tempfile.TemporaryDirectory(prefix="bench-emit-") as folder:
        bridge, token = start_bridge(chosen, folder)
        try:
            wait_until(chosen, lambda: get(chosen, "/readyz"), "the bridge is ready")
            cpu, seconds = asyncio.run(order(chosen, token))
            text = get(chosen, "/metrics")
        finally:
            bridge.terminate()
            bridge.wait(20)
    faults = dict.fromkeys(FAULTS, 0)
    faults["lost"] = int(total(text, "events_lost_total"))
    faults["repeated"] = int(total(text, "events_received_total")) - chosen.events
    print(json.dumps({**faults, "events_per_s": chosen.events / seconds, "cpu_us_per_event": cpu / 1000 / chosen.events,
                      "repaired": int(total(text, "events_repaired_total"))}))
    return 1 if any(faults.values()) else 0


if __name__ == "__main__":
    sys.exit(main())
