"""Memory runs out at any one place: each allocation on a path fails once. The bridge lives on, at most one connection
ends, what is lost is told, everybody else is served, and nothing is left behind."""
import collections
import http.client
import json
import os
import signal

import msgpack
import pytest
from harness import SCALE, Closed, metrics, wait_until
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


# from runtime to client


class Follower:
    """A client that remembers what it has seen, and comes back from there when its connection has ended."""

    def __init__(self, world, user, form=JSON_FORM):
        self.world, self.user, self.form = world, user, form
        self.client = world.stack.connect(user, subprotocols=[form])
        self.epoch, self.offset = resume_of(self.client)

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


def test_event(stack, no_memory):
    """Each of the user's connections gets it, or ends and gets it when it comes back; at most one ends. The larger ones
    want a larger buffer each time. When all has expired, nothing is left in the gauges of the history."""
    world = World(stack, no_memory, history_ttl_s=int(3 * SCALE))
    followers = [Follower(world, "alice", form) for form in (JSON_FORM, JSON_FORM, MSGPACK_FORM)]
    ended = 0
    for number in world.memory.walk():
        world.emit("alice", number)
        for follower in followers:
            follower.take(number)
        with world.memory:
            world.emit("alice", number, text="x" * (2000 << number))
            for follower in followers:
                follower.take(number)
        gone = [follower for follower in followers if follower.client.closed]
        assert len(gone) <= 1
        ended += len(gone)
        for follower in gone:
            assert follower.back() == (True, None)
            follower.take(number)
        world.check([follower.client for follower in followers])
    assert not gone and ended == 3
    assert world.bridge.metric("connections_closed_total", reason="internal_error") == ended
    world.bridge.wait_metric("history_events", 0)
    assert world.bridge.metric("history_bytes") == 0


def test_event_of_the_absent(world):
    """Who comes back gets it or is told that it cannot be had; what was lost of a user whom the bridge did not even know
    is in a metric."""
    counted = 0
    for number in world.memory.walk():
        world.emit(f"absent-{number}", 1)
        world.passed()
        follower = Follower(world, f"absent-{number}")
        follower.client.close()
        with world.memory:
            world.emit(f"absent-{number}", 2, text="x" * (100 << number))
            world.emit(f"stranger-{number}", 1)
            world.passed()
        told = follower.back()
        assert told in ((True, None), (False, "expired"), (False, "unknown_epoch"))
        if told[0]:
            follower.take(2)
        stranger = world.stack.connect(f"stranger-{number}")
        offset = resume_of(stranger)[1]
        if not told[0] or offset != 1:
            before, counted = counted, lost_events(world.bridge)
            assert counted > before
        world.check([follower.client, stranger])
        follower.client.close()
        stranger.close()
    assert told[0] and offset == 1 and counted >= 4


def lost_events(bridge):
    """Those that memory did not suffice for."""
    return (bridge.metric("events_dropped_total", reason="no_memory")
            + bridge.metric("history_evicted_total", reason="memory"))


@pytest.mark.parametrize("form", [JSON_FORM, MSGPACK_FORM])
def test_resume(world, form):
    """Replay: all events in order, or an end after the first of them; never a hole."""
    seen = collections.Counter()
    for number in range(1, 41):
        world.emit("alice", number, text="x" * (10 * number))
    world.passed()
    with_epoch = world.stack.connect("alice")
    epoch, offset = resume_of(with_epoch)
    assert offset == 40
    for _ in world.memory.walk():
        numbers = []
        with world.memory:
            answer = world.attempt(form=form, target=f"/ws?epoch={epoch}&offset=0")
            while answer.how == "established" and len(numbers) < 40:
                event = read_frame(answer.client)
                if not isinstance(event, dict):
                    assert event == 1011
                    break
                numbers.append(event["n"])
        assert answer.how != "established" or answer.said["data"]["recovered"] is True
        assert numbers == list(range(1, len(numbers) + 1))
        seen[answer.how, len(numbers)] += 1
        answer.client.close()
        world.check([with_epoch])
    assert numbers[-1] == 40 and sum(how == "established" and 0 < count < 40 for how, count in seen) > 30


@pytest.mark.parametrize("headers, body", [({}, {"type": "note", "n": 1}), ({"opcode": "text"}, b"as it is")])
def test_send(world, headers, body):
    """A frame for one connection arrives, or the connection ends and the metric has it."""
    client = world.stack.connect("alice")
    ended = 0
    for _ in world.memory.walk():
        with world.memory:
            world.runtime.send("SEND", client.connection_id, "alice", headers, body)
            wait_until(lambda: client.closed or client._frames)  # pylint: disable=protected-access
        if client.closed:
            assert client.closed[0] == 1011
            ended += 1
            client = world.stack.connect("alice")
        else:
            assert client.recv() == (body.decode() if headers else json.dumps(body, separators=(",", ":")))
        world.check([client])
    assert ended >= 1
    assert world.bridge.metric("runtime_commands_dropped_total", reason="no_memory") == ended
    assert world.bridge.metric("runtime_commands_dropped_total", reason="malformed") == 0


@pytest.mark.parametrize("command", ["CLOSE", "KICK"])
def test_close(world, command):
    """The connection ends, by another code or none at worst, and the runtime gets DISCONNECT or the metric says why not."""
    codes = collections.Counter()
    for _ in world.memory.walk():
        client = world.stack.connect("alice")
        with world.memory:
            if command == "CLOSE":
                world.runtime.send("CLOSE", client.connection_id, "alice", {"code": 4321, "reason": "bye"})
            else:
                world.runtime.send("KICK", "", "alice", {"reason": "bye"})
            codes[client.wait_closed()[0]] += 1
        world.check()
        dropped = world.bridge.metric("runtime_commands_dropped_total", reason="no_memory")
        world.runtime.wait_commands("DISCONNECT", int(sum(codes.values()) - dropped))
    wanted = 4321 if command == "CLOSE" else 4009
    assert client.closed == (wanted, "bye")
    assert set(codes) <= {wanted, 1011, 1006} and codes[1006] and codes[wanted] > 3 and dropped >= 5


# the bridge itself


def test_http(world):
    """Whole answers or none, and never a good word too many."""
    for path in ("/metrics", "/readyz", "/ws/health"):
        for _ in world.memory.walk():
            with world.memory:
                answer = ask(world.bridge, path)
            if answer and answer.status == 200 and path == "/metrics":
                assert metrics.parse(answer.body.decode()).keys() >= world.bridge.metrics().keys()
            elif answer and answer.status == 200:
                assert json.loads(answer.body).get("ready", True) is True
            else:
                assert answer is None or answer.status in (500, 503)
            world.check()
        assert answer.status == 200


def ask(bridge, path):
    """The answer; None when the bridge closes instead."""
    try:
        return bridge.http("GET", path)
    except (http.client.RemoteDisconnected, ConnectionResetError):
        return None


def test_not_ready_stays_not_ready(stack, no_memory):
    """A bridge without a runtime does not call itself ready because it cannot say why it is not."""
    bridge = stack.bridge(env=no_memory.env)
    for _ in no_memory.walk():
        with no_memory:
            answer = ask(bridge, "/readyz")
        assert answer is None or answer.status in (500, 503)
    assert len(json.loads(answer.body)["reasons"]) == 2


def test_drain(stack, no_memory):
    """SIGTERM ends the bridge with 0; the client gets 1012, or at worst another end."""
    codes = collections.Counter()
    runtime = stack.runtime()
    for _ in no_memory.walk():
        bridge = stack.bridge(runtime, env=no_memory.env)
        client = stack.connect()
        with no_memory:
            bridge.signal(signal.SIGTERM)
            codes[client.wait_closed()[0]] += 1
            assert bridge.wait_exit() == 0
        wait_until(lambda: runtime._subscriptions == 0)  # pylint: disable=protected-access
    assert client.closed[0] == 1012 and set(codes) <= {1012, 1011, 1006} and codes[1011]


def test_reload(world):
    """SIGHUP: the new configuration or the old one, and a token is as good as before."""
    def reloads():
        return [len(world.bridge.logs(name)) for name in ("RELOADED", "RELOAD_FAILED")]
    for _ in world.memory.walk():
        before = sum(reloads())
        with world.memory:
            world.bridge.signal(signal.SIGHUP)
            wait_until(lambda: sum(reloads()) > before, poll=0.005)
        answer = world.attempt()
        assert answer.how == "established"
        answer.client.close()
        world.check()
    reloaded, failed = reloads()
    assert reloaded and failed > 20


def without_leaks(no_memory):
    """OpenSSL forgets what it has set up so far when that fails: not for the sanitizer to complain of here."""
    return {**no_memory.env, "ASAN_OPTIONS": no_memory.env["ASAN_OPTIONS"].replace("detect_leaks=1", "detect_leaks=0")}


def test_check_config(stack, no_memory):
    """The whole configuration is printed, or one says in words why not."""
    options = {"environment": "test", "jwt_secret": stack.keys.secret, "env": without_leaks(no_memory)}
    whole = run_program("check-config", **options).stdout
    for _ in no_memory.walk(step=37):
        with no_memory:
            run = run_program("check-config", **options)
        assert (run.returncode == 0) == (run.stdout == whole), run
        assert run.returncode in (0, 1, 2) and (run.returncode == 0 or run.stderr), run
    assert run.returncode == 0


def test_start(stack, no_memory):
    """A bridge starts, or leaves with words and its exit code."""
    runtime = stack.runtime()
    for _ in no_memory.walk(step=83):
        bridge = stack.bridge(start=False, env=without_leaks(no_memory), **runtime.options)
        with no_memory:
            try:
                bridge.start()
            except AssertionError:
                assert bridge.wait_exit() in (1, 2) and bridge.text, bridge.tail()
                assert "broken assumption" not in bridge.tail()
                bridge.noise.clear()
        bridge.stop()
    assert bridge.process.returncode == 0
