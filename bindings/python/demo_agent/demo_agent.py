#!/usr/bin/python3
"""A small agent runtime for the bridge: it answers questions with a real calculator.

It binds the two ZeroMQ sockets that agentbridge connects to, and runs one agent run for every user_message.
Needs Debian's python3-zmq and python3-msgpack."""

import argparse
import asyncio
import signal

import zmq
import zmq.asyncio

from agent import HISTORY_EVENTS, Agent

LINGER_MS = 500  # for the last events on the way out


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


def bind(socket, endpoint):
    socket.linger = LINGER_MS
    socket.sndhwm = 2 * HISTORY_EVENTS  # a whole REPLAY fits
    try:
        socket.bind(endpoint)
    except zmq.ZMQError as fault:
        raise SystemExit(f"demo agent: cannot bind {endpoint}: {fault}")
    return socket.getsockopt_string(zmq.LAST_ENDPOINT)


async def main(chosen):
    context = zmq.asyncio.Context()
    commands = context.socket(zmq.ROUTER)
    commands.router_handover = 1  # a bridge that comes back under its old id replaces the old connection
    events = zmq.Context.shadow(context.underlying).socket(zmq.PUB)
    agent = Agent(commands, events, chosen.pace_ms / 1000)
    bound = bind(commands, chosen.commands), bind(events, chosen.events)

    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    serving = asyncio.create_task(agent.serve())
    print(f"demo agent ready: commands={bound[0]} events={bound[1]}", flush=True)

    stopping = asyncio.create_task(stop.wait())
    await asyncio.wait({serving, stopping}, return_when=asyncio.FIRST_COMPLETED)
    serving.cancel()
    await agent.close()
    commands.close()
    events.close()
    context.term()
    return 0 if stop.is_set() else 1


if __name__ == "__main__":
    raise SystemExit(asyncio.run(main(options())))
