"""What must hold while the bridge is attacked and after it: a client that has done nothing gets all of its events, in order,
and what the attack has taken is given back."""
import contextlib
import os
import threading
import time

from .timing import scaled, wait_until

SANITIZED = os.environ.get("AGENTBRIDGE_BUILD") in ("asan", "tsan")
SLACK = 24 << 20  # bytes that the allocator and the log may keep
PAUSE = 0.01


class Witness:
    """A client, and a thread that emits to it and takes what comes."""

    def __init__(self, stack, runtime, user="witness"):
        self._runtime = runtime
        self._client = stack.connect(user)
        self._stopped = threading.Event()
        self._emitter = threading.Thread(target=self._emit, daemon=True)
        self._taker = threading.Thread(target=self._take, daemon=True)
        self.seen = []
        self.count = None  # when the last one has been emitted
        self.worst = 0.0   # seconds from emit to the client

    def begin(self):
        """Start both."""
        self._emitter.start()
        self._taker.start()
        return self

    def _emit(self):
        number = 0
        while not self._stopped.wait(PAUSE):
            self._runtime.emit_plain(self._client.user, {"type": "tick", "n": number, "sent": time.monotonic()})
            number += 1
        self._runtime.emit_plain(self._client.user, {"type": "last", "n": number, "sent": time.monotonic()})
        self.count = number + 1

    def _take(self):
        kind = "tick"
        while kind == "tick":
            event = self._client.recv_event(timeout=60)
            kind = event["type"]
            self.seen.append(event["n"])
            self.worst = max(self.worst, time.monotonic() - event["sent"])

    def end(self):
        """All events came, once and in order."""
        self._stopped.set()
        self._emitter.join(scaled(10))
        self._taker.join(scaled(60))
        whole = self.count and self.seen == list(range(self.count))
        assert whole, (self.count, len(self.seen), self.seen[-5:], self._client.closed)
        self._client.close()


def held(bridge):
    """(bytes of memory, open descriptors)."""
    return tuple(bridge.metric("process_" + name) for name in ("resident_memory_bytes", "open_fds"))


@contextlib.contextmanager
def siege(stack, runtime, bridge, slack=SLACK):
    """The attack is the body. All of its connections must be over when it ends, or end by themselves."""
    memory, descriptors = held(bridge)
    witness = Witness(stack, runtime).begin()
    yield
    witness.end()
    bridge.wait_total("connections", 0, timeout=30)
    wait_until(lambda: held(bridge)[1] <= descriptors, 30, f"{descriptors} descriptors, not {held(bridge)[1]}")
    if not SANITIZED:  # those builds keep memory for purposes of their own
        wait_until(lambda: held(bridge)[0] <= memory + slack, 30, f"{memory + slack} bytes, not {held(bridge)[0]}")
    print(f"{witness.count} events, the slowest after {witness.worst * 1000:.1f} ms; "
          f"{held(bridge)[0] - memory:.0f} bytes more than before")
