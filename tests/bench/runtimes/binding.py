#!/usr/bin/python3
"""The same with the Python binding.

usage: binding.py COMMANDS EVENTS"""

import asyncio
import pathlib
import sys

sys.path.insert(1, str(pathlib.Path(__file__).resolve().parents[3] / "bindings" / "python"))

from agentbridge import Runtime  # noqa: E402  pylint: disable=wrong-import-position

BREATH = 64  # events, then others in the loop have their turn: PING, REPLAY


async def main(commands, events):
    """Serve until killed."""
    runtime = Runtime("bench", commands=commands, events=events)

    @runtime.on_message
    async def on_message(message):  # pylint: disable=unused-variable
        order = message.json()
        async with runtime.run(order["user"]) as run:
            for number in range(order["events"] - 2):  # started and completed are events too
                run.thinking("a few words of it ")
                if number % BREATH == 0:
                    await asyncio.sleep(0)

    async with runtime:
        await runtime.serve(signals=True)


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
