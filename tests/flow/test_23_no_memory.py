"""Memory runs out at any one place: each allocation on a path fails once. The bridge lives on, at most one connection
ends, what is lost is told, everybody else is served, and nothing is left behind."""
import collections
import json
import os
import signal

import msgpack
import pytest
from harness import Closed, metrics, wait_until
from harness.bridge import run_program
from harness.no_memory import NoMemory
from harness.raw import BINARY, CLOSE, TEXT

pytestmark = pytest.mark.skipif(os.environ.get("AGENTBRIDGE_BUILD") == "tsan",
                                reason="the thread sanitizer takes no other allocator before its own")

ROOMY = {"history_bytes": 1 << 28, "queue_bytes": 1 << 28, "max_event_bytes": 1 << 24, "max_message_bytes": 1 << 24,
         "client_messages_per_minute": 0}
JSON_FORM, MSGPACK_FORM = "agent_chat", "agent_chat.msgpack"
Answer = collections.namedtuple("Answer", "how client said")


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
        self._count = 0

    def emit(self, user, number, **fields):
        """One event."""
        self.runtime.emit(user, {"type": "stream_chunk", "n": number, **fields})

    def passed(self):
        """Wait until all events that were sent so far have been handled."""
        self._count += 1
        self.emit("canary", self._count)
        try:
            assert self.canary.recv_event()["n"] == self._count
        except Closed:
            assert self.canary.closed[0] == 1011

    def check(self, clients=()):
        """What must hold after each failure; `clients` are those that have to be there besides our own two."""
        if self.canary.closed:
            self.canary = self.stack.connect("canary")
        self._count += 1
        self.emit("healthy", self._count)
        assert self.healthy.recv_event()["n"] == self._count
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
        """Connect; what came of it, whatever it is."""
        client = self.stack.raw(self.bridge)
        headers = {"Authorization": f"Bearer {token or self.stack.keys.token(user)}", "Sec-WebSocket-Protocol": form}
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


def read_frame(client):
    """The next frame of a raw client, decoded; the code of a close frame; None at the end."""
    frame = client.recv_frame()
    if frame is None or frame.payload is None:
        return None
    if frame.opcode == CLOSE:
        return int.from_bytes(frame.payload[:2], "big")
    assert frame.opcode in (TEXT, BINARY), frame
    return json.loads(frame.payload) if frame.opcode == TEXT else msgpack.unpackb(frame.payload)


@pytest.fixture(name="no_memory")
def no_memory_fixture():
    """The failing allocator."""
    no_memory = NoMemory()
    yield no_memory
    no_memory.close()


@pytest.fixture(name="world")
def world_fixture(stack, no_memory):
    """A bridge under it."""
    return World(stack, no_memory)


# handshake


@pytest.mark.parametrize("form", [JSON_FORM, MSGPACK_FORM])
def test_connect(world, form):
    """A good token is welcome or told to come again, never called bad; the form is the one that was asked for."""
    seen = collections.Counter()
    for _ in world.memory.walk():
        with world.memory:
            answer = world.attempt(form=form)
        seen[answer.how] += 1
        if answer.how == "http":
            assert answer.said[0] == 503
        elif answer.how == "closed":
            assert answer.said == 1011
        elif answer.how == "refused":
            assert answer.said["retry_allowed"] is True, answer.said
            assert read_frame(answer.client) == 1013
        elif answer.how == "established":
            answer.client.send_frame(TEXT if form == JSON_FORM else BINARY, PINGS[form])
            assert read_frame(answer.client)["type"] == "pong"
        answer.client.close()
        world.check()
    assert answer.how == "established"
    assert world.memory.failed == sum(seen.values()) - 1 > 20
    assert seen["refused"] and seen["http"]
    connects = world.runtime.commands("CONNECT")
    world.runtime.wait_commands("DISCONNECT", len(connects) - 2)
    assert {command.connection_id for command in world.runtime.commands("DISCONNECT")} == {
        command.connection_id for command in connects if command.user_id == "alice"}


PINGS = {JSON_FORM: b'{"type":"ping"}', MSGPACK_FORM: msgpack.packb({"type": "ping"})}




@pytest.mark.parametrize("auth_failure", ["close", "http"])
@pytest.mark.parametrize("fault", ["signature", "user", "expired"])
def test_refused(stack, no_memory, auth_failure, fault):
    """A bad token stays outside, however short memory is."""
    world = World(stack, no_memory, auth_failure=auth_failure)
    token, code = {"signature": (stack.keys.token(key="another secret, long enough to be one"), "VALIDATION_FAILED"),
                   "user": (stack.keys.token(user="\n"), "MISSING_USER_ID"),
                   "expired": (stack.keys.token(ttl=-3600), "TOKEN_EXPIRED")}[fault]
    for _ in world.memory.walk():
        with world.memory:
            answer = world.attempt(token=token)
        assert answer.how in ("cut", "http", "closed", "refused"), answer
        if answer.how == "refused":
            known = answer.said["error_code"] == code
            assert known or answer.said["retry_allowed"] is True, answer.said
            assert read_frame(answer.client) == (1008 if known else 1013)
        answer.client.close()
        world.check()
    told = answer.said if auth_failure == "close" else answer.said[1]
    assert told["error_code"] == code
    assert not world.runtime.commands("CONNECT", user_id="alice")


# from client to runtime


@pytest.mark.parametrize("form", [JSON_FORM, MSGPACK_FORM])
def test_message(world, form):
    """Byte for byte at the runtime, or refused by name, or the connection ends; never two of these, and never a part."""
    client = world.stack.connect("alice", subprotocols=[form])
    for number in world.memory.walk():
        mark = world.runtime.mark()
        message = {"type": "user_message", "message_id": number, "text": "x" * 3000}
        with world.memory:
            client.send(message)
            wait_until(lambda: has_come(world, client, mark) or client.closed or client._frames)  # pylint: disable=W0212
        world.check([] if client.closed else [client])
        arrived = world.runtime.commands("MESSAGE", mark)
        if client.closed:
            assert client.closed[0] == 1011 and not arrived
            client = world.stack.connect("alice", subprotocols=[form])
        elif arrived:
            assert (msgpack.unpackb if form == MSGPACK_FORM else json.loads)(arrived[0].body) == message
            assert len(arrived) == 1
            client.ping()
        else:
            error = client.recv_type("error_message")
            assert (error["error_code"], error["details"]) == ("RUNTIME_UNAVAILABLE", {"message_id": number})
    assert arrived and world.memory.failed > 5
    for connection in {command.connection_id for command in world.runtime.commands("MESSAGE")}:
        numbers = [command.headers["seq"] for command in world.runtime.commands("MESSAGE", connection_id=connection)]
        assert numbers == list(range(1, len(numbers) + 1))


def has_come(world, client, mark):
    """Has a message of this client arrived?"""
    return world.runtime.commands("MESSAGE", mark, connection_id=client.connection_id)
