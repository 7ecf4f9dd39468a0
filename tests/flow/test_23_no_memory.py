"""Memory runs out at any one place: each allocation on a path fails once. The bridge lives on, at most one connection
ends, what is lost is told, everybody else is served, and nothing is left behind."""
import collections
import http.client
import json
import signal

import msgpack
import pytest
from harness import metrics, wait_until
from harness.bridge import run_program
from harness.no_memory import JSON_FORM, MSGPACK_FORM, World, read_frame
from harness.raw import BINARY, TEXT

PINGS = {JSON_FORM: b'{"type":"ping"}', MSGPACK_FORM: msgpack.packb({"type": "ping"})}


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


def test_connect_again(world):
    """The same of a token that the bridge remembers: never called bad, and it stays good."""
    token = world.stack.keys.token("alice")
    for _ in world.memory.walk():
        reminder = world.attempt(token=token)
        assert reminder.how == "established"
        reminder.client.close()
        world.check()
        with world.memory:
            answer = world.attempt(token=token)
        if answer.how == "refused":
            assert answer.said["retry_allowed"] is True, answer.said
        else:
            assert answer.how != "http" or answer.said[0] == 503
        answer.client.close()
        world.check()
    assert answer.how == "established"
    assert world.bridge.metric("token_cache_hits_total") >= world.memory.failed > 15


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
    runtime = stack.runtime(answer_hello=False)  # the bridge may be gone by then
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
