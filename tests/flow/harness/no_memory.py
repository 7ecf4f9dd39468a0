"""A bridge whose Nth allocation fails (preload/no_memory.c)."""
import collections
import itertools
import json
import mmap
import pathlib
import shutil
import struct
import subprocess
import tempfile

import msgpack

from . import metrics
from .client import Closed
from .raw import BINARY, CLOSE, TEXT
from .timing import wait_until

SOURCE = pathlib.Path(__file__).resolve().parents[1] / "preload" / "no_memory.c"
ROOMY = {"history_bytes": 1 << 28, "queue_bytes": 1 << 28, "max_event_bytes": 1 << 24, "max_message_bytes": 1 << 24,
         "client_messages_per_minute": 0}
JSON_FORM, MSGPACK_FORM = "agent_chat", "agent_chat.msgpack"
Answer = collections.namedtuple("Answer", "how client said")
_LEFT, _MADE, _FAILED = 0, 8, 16


class NoMemory:
    """The library, built anew, and the numbers that it shares with one bridge. `with` arms it."""

    def __init__(self):
        self._directory = pathlib.Path(tempfile.mkdtemp(prefix="flow-no-memory-"))
        library = self._directory / "no_memory.so"
        subprocess.run(["cc", "-std=c17", "-O2", "-Wall", "-Wextra", "-Wconversion", "-Wshadow", "-Werror", "-shared", "-fPIC",
                        "-o", library, SOURCE, "-ldl"], check=True)
        control = self._directory / "control"
        control.write_bytes(bytes(24))
        with control.open("r+b") as file:
            self._numbers = mmap.mmap(file.fileno(), 24)
        self.env = {"LD_PRELOAD": str(library), "NO_MEMORY_CONTROL": str(control),
                    "ASAN_OPTIONS": "detect_leaks=1:abort_on_error=1:verify_asan_link_order=0"}
        self.number = 0
        self.hit = False  # did the last armed failure come?

    def _get(self, at):
        return struct.unpack_from("=Q", self._numbers, at)[0]

    def _arm(self, number):
        struct.pack_into("=Q", self._numbers, _LEFT, number)

    @property
    def made(self):
        """Allocations so far."""
        return self._get(_MADE)

    @property
    def failed(self):
        """Those of them that failed."""
        return self._get(_FAILED)

    def walk(self, step=1):
        """Again and again, so that in the `with` of the first turn the first allocation fails, in that of the next turn
        the second, and so on until one ends before the failure is reached."""
        for self.number in itertools.count(1, step):
            assert self.number < 10000, "the walk has no end"
            self.hit = None
            yield self.number
            assert self.hit is not None, "a turn without its `with`"
            if not self.hit:
                return

    def __enter__(self):
        self._arm(self.number)
        return self

    def __exit__(self, *_):
        self.hit = self._get(_LEFT) == 0
        self._arm(0)

    def close(self):
        """Remove what was built."""
        self._numbers.close()
        shutil.rmtree(self._directory, ignore_errors=True)


class World:
    """A bridge that can be made to run out of memory, and two clients beside what is tested: `healthy`, who must never
    notice anything, and a canary that tells when the bridge has handled what was sent before, and may fall."""

    def __init__(self, stack, no_memory, **options):
        self.stack = stack
        self.memory = no_memory
        self.runtime = stack.runtime()
        self.bridge = stack.bridge(self.runtime, env=no_memory.env, **{**ROOMY, **options})
        self.healthy = stack.connect("healthy")
        self.canary = stack.connect("canary")
        self._count = self._tokens = 0

    def emit(self, user, number, **fields):
        """One event."""
        self.runtime.emit(user, {"type": "stream_chunk", "n": number, **fields})

    def passed(self):
        """Wait until all events that were sent so far have been handled."""
        self._count += 1
        self.emit("canary", self._count)
        try:
            assert next_event(self.canary)["n"] == self._count
        except Closed:
            assert self.canary.closed[0] == 1011

    def check(self, clients=()):
        """What must hold after each failure; `clients` are those that have to be there besides our own two."""
        if self.canary.closed:
            self.canary = self.stack.connect("canary")
        self._count += 1
        self.emit("healthy", self._count)
        assert next_event(self.healthy)["n"] == self._count
        users = 2 + len({client.user for client in clients})
        wait_until(lambda: self._gauges() == (2 + len(clients), users, 0), poll=0.005,
                   what=f"connections, users, queued bytes: {2 + len(clients)}, {users}, 0")

    def _gauges(self):
        samples = self.bridge.metrics()
        assert metrics.value(samples, "state_transition_errors_total") == 0
        assert metrics.value(samples, "isolation_violations_total") == 0
        return (metrics.total(samples, "connections"), metrics.value(samples, "users"),
                metrics.value(samples, "outbound_queue_bytes"))

    def attempt(self, user="alice", form=JSON_FORM, target="/ws", token=None):
        """Connect; what came of it, whatever it is. Each time with another token, whose signature has to be verified."""
        client = self.stack.raw(self.bridge)
        self._tokens += 1
        token = token or self.stack.keys.token(user, jti=str(self._tokens))
        headers = {"Authorization": f"Bearer {token}", "Sec-WebSocket-Protocol": form}
        answer = client.upgrade(target, headers)
        if answer is None:
            return Answer("cut", client, None)
        if answer.status != 101:
            return Answer("http", client, (answer.status, json.loads(answer.body)))
        said = read_frame(client)
        if said is None:
            return Answer("cut", client, None)
        if isinstance(said, int):
            return Answer("closed", client, said)
        return Answer("established" if said["type"] == "connection_established" else "refused", client, said)


def next_event(client):
    """The next one that is no resync, which everybody gets when events are lost."""
    event = client.recv_event()
    return event if event["type"] != "resync" else next_event(client)


def read_frame(client):
    """The next frame of a raw client, decoded; the code of a close frame; None at the end."""
    frame = client.recv_frame()
    if frame is None or frame.payload is None:
        return None
    if frame.opcode == CLOSE:
        return int.from_bytes(frame.payload[:2], "big")
    assert frame.opcode in (TEXT, BINARY), frame
    return json.loads(frame.payload) if frame.opcode == TEXT else msgpack.unpackb(frame.payload)


class Follower:
    """A client that remembers what it has seen, and comes back from there when its connection has ended."""

    def __init__(self, world, user, form=JSON_FORM):
        self.world, self.user, self.form = world, user, form
        self.client = world.stack.connect(user, subprotocols=[form])
        self.epoch, self.offset = resume_of(self.client)
        self.seen = 0  # number of the last event, for those who count by it

    def take(self, number):
        """The event with this number is next, or the end."""
        try:
            event = self.client.recv_event()
        except Closed:
            assert self.client.closed[0] == 1011, self.client.closed
            return
        assert (event["n"], event["_offset"]) == (number, self.offset + 1)
        self.offset += 1

    def back(self):
        """(recovered, recovery_error) of a new connection that goes on from here."""
        path = f"/ws?epoch={self.epoch}&offset={self.offset}"
        self.client = self.world.stack.connect(self.user, path=path, subprotocols=[self.form])
        data = self.client.established["data"]
        return data["recovered"], data["recovery_error"]


def resume_of(client):
    """(epoch, offset) as connection_established told them."""
    resume = client.established["data"]["resume"]
    return resume["epoch"], resume["offset"]
