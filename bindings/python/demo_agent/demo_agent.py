#!/usr/bin/python3
"""A small agent runtime for the bridge: it answers questions with a real calculator.

It binds the two ZeroMQ sockets that agentbridge connects to, and runs one agent run for every user_message.
Needs Debian's python3-zmq and python3-msgpack."""

import argparse
import asyncio
import logging
import pathlib
import sys

sys.path.insert(1, str(pathlib.Path(__file__).resolve().parents[1]))  # the binding, as it lies in the clone

from agent import Agent  # noqa: E402
from agentbridge import Runtime, StartError  # noqa: E402

MAX_RUNS = 1_000


def options():
    parser = argparse.ArgumentParser(prog="demo_agent.py", description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--commands", default="tcp://127.0.0.1:5555", metavar="ENDPOINT",
                        help="bind the command socket (ROUTER) here; tcp://127.0.0.1:* takes a free port "
                             "(default: %(default)s)")
    parser.add_argument("--events", default="tcp://127.0.0.1:5556", metavar="ENDPOINT",
                        help="bind the event socket (PUB) here (default: %(default)s)")
    parser.add_argument("--pace-ms", type=int, default=60, metavar="N",
                        help="pause between two events of a run, milliseconds (default: %(default)s)")
    chosen = parser.parse_args()
    if not 0 <= chosen.pace_ms <= 60_000:
        parser.error("--pace-ms: 0 to 60000")
    return chosen


async def main(chosen):
    runtime = Runtime("demo-agent", commands=chosen.commands, events=chosen.events, max_handlers=MAX_RUNS, grace_s=0)
    Agent(runtime, chosen.pace_ms / 1000)
    async with runtime:
        print(f"demo agent ready: commands={runtime.commands_endpoints[0]} events={runtime.events_endpoints[0]}", flush=True)
        await runtime.serve(signals=True)


if __name__ == "__main__":
    logging.basicConfig(level=logging.INFO, format="demo agent: %(message)s")
    try:
        asyncio.run(main(options()))
    except StartError as fault:
        raise SystemExit(f"demo agent: {fault}") from None
