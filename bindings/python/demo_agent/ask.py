#!/usr/bin/python3
"""Ask the agent behind the bridge one question over a WebSocket and print the run's events as they arrive.

Ends with 0 when the five events of a run came, in order, with rising offsets. Needs Debian's python3-websockets."""

import argparse
import asyncio
import datetime
import json
import os
import uuid

import websockets

FIVE = ["agent_started", "agent_thinking", "tool_executing", "tool_completed", "agent_completed"]


class Wrong(Exception):
    """The conversation did not go as it must."""


def options():
    parser = argparse.ArgumentParser(prog="ask.py", description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("question", nargs="?", default="What is (17 + 4) * 2?")
    parser.add_argument("--url", default="ws://127.0.0.1:8080/ws", help="(default: %(default)s)")
    parser.add_argument("--token", default=os.environ.get("ASK_TOKEN"), help="JWT (default: variable ASK_TOKEN)")
    parser.add_argument("--timeout-s", type=float, default=20, metavar="N", help="(default: %(default)s)")
    chosen = parser.parse_args()
    if not chosen.token:
        parser.error("a token is needed: --token or ASK_TOKEN")
    return chosen


def plain(value):
    """One line of printable text, whatever came in."""
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    return "".join(c if c.isprintable() else "\N{REPLACEMENT CHARACTER}" for c in text)[:160]


def describe(event):
    kind = event["type"]
    if kind == "agent_started":
        return f"{plain(event['run_id'])}: {plain(event.get('task_description', ''))}"
    if kind == "agent_thinking":
        return plain(event.get("delta", event.get("reasoning", "")))
    if kind == "tool_executing":
        return f"{plain(event['tool_name'])} {plain(event['tool_args'])}"
    if kind == "tool_completed":
        return f"{plain(event['tool_name'])} {'gives' if event['success'] else 'fails'} {plain(event['results'])}"
    if kind == "agent_completed":
        return f"{plain(event['status'])} after {plain(event['duration_ms'])} ms: {plain(event['final_response'])}"
    return plain(event)


def show(event):
    clock = datetime.datetime.now().strftime("%H:%M:%S.%f")[:-3]
    print(f"  {clock}  {event['type']:<16}  {describe(event)}", flush=True)


async def conversation(chosen):
    """Returns the events of the run that the question started."""
    async with websockets.connect(chosen.url, subprotocols=[f"jwt.{chosen.token}", "agent_chat"]) as socket:
        first = json.loads(await socket.recv())
        if first.get("type") != "connection_established":
            raise Wrong(f"the first frame is {plain(first)}")
        print(f"  connected as {plain(first['data']['user_id'])}, {plain(first['data']['connection_id'])}", flush=True)
        message_id = uuid.uuid4().hex
        await socket.send(json.dumps({"type": "user_message", "message_id": message_id, "text": chosen.question}))
        run = []
        while not run or run[-1]["type"] not in ("agent_completed", "agent_error"):
            event = json.loads(await socket.recv())
            if event.get("type") == "error_message":
                raise Wrong(plain(event))
            ours = event.get("run_id") == run[0]["run_id"] if run else event.get("message_id") == message_id
            if ours:
                run.append(event)
                show(event)
        return run


def check(run):
    kinds = [event["type"] for event in run]
    in_order = [kind for at, kind in enumerate(kinds) if at == 0 or kind != kinds[at - 1]]
    if list(dict.fromkeys(kinds)) != FIVE or in_order[:4] != FIVE[:4]:
        raise Wrong(f"expected {', '.join(FIVE)}; got {', '.join(in_order)}")
    offsets = [event["_offset"] for event in run]
    if any(later <= earlier for earlier, later in zip(offsets, offsets[1:])):
        raise Wrong(f"the offsets do not rise: {offsets}")


def main():
    chosen = options()
    try:
        check(asyncio.run(asyncio.wait_for(conversation(chosen), chosen.timeout_s)))
    except asyncio.TimeoutError:
        raise SystemExit(f"ask: no answer within {chosen.timeout_s:g} s")
    except (Wrong, OSError, ValueError, KeyError, websockets.WebSocketException) as fault:
        raise SystemExit(f"ask: {fault or fault!r}")
    print("  all five events arrived, in order")


if __name__ == "__main__":
    main()
