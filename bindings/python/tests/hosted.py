"""A runtime under test: one of asyncio runs in a loop in a thread, one of threads by itself."""
import asyncio
import pathlib
import threading

import agentbridge
from harness import scaled, wait_until

PYTHON = pathlib.Path(__file__).resolve().parents[1]  # the folder of the binding
ROOT = PYTHON.parents[1]
ENDS = ("agent_completed", "agent_error")


class Hosted:
    """start() after the handlers are there; `rt` is the runtime."""

    def __init__(self, runtime):
        self.rt = runtime
        self._loop = None
        self._thread = None
        self._started = False

    def start(self):
        """Bound and reading when this returns."""
        if isinstance(self.rt, agentbridge.Runtime):
            self._loop = asyncio.new_event_loop()
            self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
            self._thread.start()
        self._started = True
        self.do(self.rt.start)
        return self

    def do(self, method, *args, **options):
        """Call a method of the runtime, whichever kind it is."""
        if self._loop is None:
            return method(*args, **options)
        return asyncio.run_coroutine_threadsafe(method(*args, **options), self._loop).result(scaled(20))

    def spawn(self, coroutine):
        """Run a coroutine in the runtime's loop; a future."""
        return asyncio.run_coroutine_threadsafe(coroutine, self._loop)

    def stop(self, grace_s=None):
        """The runtime's end, which may have come already."""
        if not self._started:
            return
        self.do(self.rt.stop, grace_s)
        if self._loop and self._thread.is_alive():
            self._loop.call_soon_threadsafe(self._loop.stop)
            self._thread.join(scaled(10))
            self._loop.close()
        self._started = False

    @property
    def options(self):
        """By which a bridge finds it."""
        return {"runtime_commands": ">" + self.rt.commands_endpoints[0], "runtime_events": ">" + self.rt.events_endpoints[0]}


def linked(stack, *hosted, **options):
    """A bridge on these runtimes that has heard HELLO of each. What is emitted before the bridge has subscribed it asks for, at
    the latest after its next PING."""
    ends = {name: ",".join(one.options[name] for one in hosted) for name in ("runtime_commands", "runtime_events")}
    bridge = stack.bridge(None, **{"runtime_ping_s": 1, "queue_messages": 100_000, "queue_bytes": 1 << 28,
                                   "client_messages_per_minute": 0, **ends, **options})
    bridge.wait_ready()
    wait_until(lambda: len(bridge.logs("RUNTIME_HELLO")) >= len(hosted), what="HELLO of every runtime")
    return bridge


def until_end(client, runs=1):
    """Events until so many runs have ended."""
    events = []
    while sum(event["type"] in ENDS for event in events) < runs:
        events.append(client.recv_event(timeout=20))
    return events


def kinds(events):
    """Their types."""
    return [event["type"] for event in events]
