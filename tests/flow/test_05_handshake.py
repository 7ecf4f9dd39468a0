"""What comes in at the HTTP port: only a proper WebSocket upgrade on a ws-path gets through."""
import contextlib
import os
import resource
import socket

import pytest
from harness import SCALE, wait_until
from harness.raw import TEXT, encode_frame, upgrade_head


def auth(stack):
    """A good token as a header."""
    return {"Authorization": "Bearer " + stack.keys.token()}


def status_of(client):
    """Status of the next response; None when the connection ends without one."""
    answer = client.response()
    return answer and answer.status


@pytest.mark.parametrize("path", ["/ws", "/api/v1/websocket"])
def test_get_without_upgrade(bridge, path):
    """426 with the protocol to upgrade to."""
    answer = bridge.http("GET", path, "public")
    assert answer.status == 426
    assert answer.headers["upgrade"].lower() == "websocket"


@pytest.mark.parametrize("path", ["/ws", "/ws?x=1", "/api/v1/websocket"])
def test_paths(bridge, stack, path):
    """Both default paths take upgrades."""
    assert bridge
    assert stack.raw().upgrade(path, auth(stack)).status == 101


@pytest.mark.parametrize("path", ["/", "/nope", "/ws/", "/wsx", "/ws/health/x", "/metrics", "/WS", "/drain", "/livez"])
def test_unknown_path(bridge, stack, path):
    """404, with or without upgrade; the admin's pages are not here."""
    assert bridge.http("GET", path, "public").status == 404
    answer = stack.raw().upgrade(path, auth(stack))
    assert answer is None or answer.status == 404


# name: (arguments of RawClient.upgrade, statuses that are a proper refusal; None: closed without an answer)
REFUSED = {
    "old-version": ({"changes": {"Sec-WebSocket-Version": "8"}}, (400, 426)),
    "no-version": ({"changes": {"Sec-WebSocket-Version": None}}, (400, 426)),
    "short-key": ({"changes": {"Sec-WebSocket-Key": "AAAA"}}, (400,)),
    "long-key": ({"changes": {"Sec-WebSocket-Key": "A" * 40}}, (400,)),
    "no-key": ({"changes": {"Sec-WebSocket-Key": None}}, (400,)),
    "two-keys": ({"changes": {"Sec-WebSocket-Key": ["dGhlIHNhbXBsZSBub25jZQ==", "AAAAAAAAAAAAAAAAAAAAAA=="]}}, (400,)),
    "two-hosts": ({"changes": {"Host": ["127.0.0.1", "evil.example"]}}, (400,)),
    "no-host": ({"changes": {"Host": None}}, (400,)),
    "post": ({"method": "POST", "changes": {"Content-Length": "0"}}, (400, 405)),
    "put": ({"method": "PUT", "changes": {"Content-Length": "0"}}, (400, 405)),
    "http-1.0": ({"version": "HTTP/1.0"}, (400, 426, 505)),
    "h2c": ({"changes": {"Upgrade": "h2c", "Connection": "Upgrade, HTTP2-Settings", "HTTP2-Settings": "AAMAAABk"}},
            (400, 426)),
    "foo": ({"changes": {"Upgrade": "foo"}}, (400, 426)),
}


@pytest.mark.parametrize("case", REFUSED)
def test_refused_upgrade(bridge, stack, case):
    """Refused, whatever the token; the bridge goes on serving others."""
    arguments, statuses = REFUSED[case]
    changes = {**auth(stack), **arguments.get("changes", {})}
    answer = stack.raw().upgrade(**{**arguments, "changes": changes})
    assert answer is None or answer.status in statuses
    stack.connect("alice").ping()
    assert bridge.metric("handshakes_total", result="ok") == 1


def test_foo_on_a_used_connection(bridge, stack):
    """A strange upgrade as the second request of a keep-alive connection (CVE-2025-11677)."""
    for _ in range(20):
        client = stack.raw()
        client.send(f"GET /ws/health HTTP/1.1\r\nHost: 127.0.0.1:{client.port}\r\n\r\n".encode())
        assert client.response().status in (200, 503)
        client.send(upgrade_head(client.port, changes={**auth(stack), "Upgrade": "foo"}))
        assert status_of(client) in (None, 400, 426)
    stack.connect("alice").ping()
    assert bridge.http("GET", "/livez").status == 200


def test_upgrade_on_a_used_connection(bridge, stack):
    """A proper upgrade as the second request works, or the connection was closed after the first."""
    assert bridge
    client = stack.raw()
    client.send(f"GET /ws/health HTTP/1.1\r\nHost: 127.0.0.1:{client.port}\r\n\r\n".encode())
    first = client.response()
    if first.headers.get("connection", "").lower() == "close":
        client.wait_eof()
        return
    assert client.upgrade(changes=auth(stack)).status == 101
    assert client.recv_json()["type"] == "connection_established"


@pytest.mark.parametrize("head", ["one-line", "many-lines"])
def test_head_too_big(bridge, stack, head):
    """Over max-header-bytes: 431, or closed."""
    client = stack.raw()
    big = {"X-Big": "x" * 40000} if head == "one-line" else {f"X-{n}": "y" * 400 for n in range(100)}
    try:
        answer = client.upgrade(changes={**auth(stack), **big})
    except (BrokenPipeError, ConnectionResetError):
        answer = None
    assert answer is None or answer.status == 431
    stack.connect("alice").ping()
    assert bridge.metric("handshakes_total", result="ok") == 1


@pytest.mark.parametrize("data", [b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + b"\xaa" * 200, b"\r\n\r\n\r\n\r\n",
                                  b"GET\r\n\r\n", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", b"\0" * 300, b"A" * 5000 + b"\r\n\r\n",
                                  b"GET /ws HTTP/9.9\r\nHost: a\r\n\r\n", b"GET /ws HTTP/1.1\r\nno colon here\r\n\r\n"],
                         ids=["tls", "newlines", "get", "h2-preface", "zeros", "long-word", "version", "no-colon"])
def test_garbage(bridge, stack, data):
    """Bytes that are no request: a 4xx or 5xx, or the end; never an upgrade, never a fault."""
    client = stack.raw()
    client.send(data)
    client.socket.shutdown(1)
    status = status_of(client)
    assert status is None or 400 <= status < 600
    stack.connect("alice").ping()
    assert bridge


def test_random_garbage(bridge, stack):
    """Noise on many connections."""
    for _ in range(100):
        client = stack.raw()
        client.send(os.urandom(200))
        client.close()
    stack.connect("alice").ping()
    wait_until(lambda: bridge.total("connections") == 1, what="one connection")


def test_slow_head(runtime, stack):
    """A peer that does not finish its request is closed after http-timeout-s."""
    bridge = stack.bridge(runtime, http_timeout_s=1)
    silent, slow = stack.raw(), stack.raw()
    slow.send(b"GET /ws HTTP/1.1\r\nHost: a\r\nX-Slow: ")
    assert 0.5 < silent.wait_eof() < 5 * SCALE
    slow.wait_eof()
    stack.connect("alice").ping()
    assert [bridge.metric("http_timeouts_total", phase=phase) for phase in ("silent", "head", "answer")] == [1, 1, 0]
    assert bridge.wait_log("REQUEST_TIMEOUT")["why"] == "no request came"


def test_long_token(bridge, stack):
    """A token of 6 KB, in the header and as a subprotocol entry."""
    assert bridge
    token = stack.keys.token("alice", groups="g" * 4400)
    assert len(token) > 6000
    for changes in ({"Authorization": f"Bearer {token}"}, {"Sec-WebSocket-Protocol": f"agent_chat, jwt.{token}"}):
        client = stack.raw()
        assert client.upgrade(changes=changes).status == 101
        assert client.recv_json()["data"]["user_id"] == "alice"


@pytest.mark.parametrize("offer, chosen", [
    ("agent_chat", "agent_chat"),
    ("agent_chat.msgpack", "agent_chat.msgpack"),
    ("raw", "raw"),
    ("jwt-auth, agent_chat", "jwt-auth"),
    ("agent_chat, jwt-auth", "agent_chat"),
    ("unknown, bearer, agent_chat", "bearer"),
    ("chat, superchat", None),
    ("AGENT_CHAT", None),
    (None, None),
])
def test_subprotocol_choice(bridge, stack, offer, chosen):
    """The first known one that the client offers; no header when there is none."""
    assert bridge
    answer = stack.raw().upgrade(changes={**auth(stack), "Sec-WebSocket-Protocol": offer})
    assert answer.status == 101
    assert answer.headers.get("sec-websocket-protocol") == chosen


def test_default_subprotocol(runtime, stack):
    """A client that offers none is treated as default-subprotocol says."""
    stack.bridge(runtime, default_subprotocol="agent_chat.msgpack")
    client = stack.client("alice").open()
    assert client.subprotocol is None
    assert isinstance(client.recv(), bytes)


def test_no_extensions(bridge, stack):
    """permessage-deflate is offered by every browser and not accepted."""
    assert bridge
    offer = {"Sec-WebSocket-Extensions": "permessage-deflate; client_max_window_bits"}
    answer = stack.raw().upgrade(changes={**auth(stack), **offer})
    assert answer.status == 101
    assert "sec-websocket-extensions" not in answer.headers


def test_frames_with_the_handshake(bridge, runtime, stack):
    """Frames that come in one packet with the request are not lost, in order, and more may follow."""
    assert bridge
    client = stack.raw()
    bodies = [b'{"type":"one"}', b'{"type":"%s"}' % (b"x" * 1000), b'{"type":"three"}']
    client.send(upgrade_head(client.port, changes=auth(stack)) + b"".join(encode_frame(TEXT, body) for body in bodies[:2]))
    assert client.response().status == 101
    client.send_frame(TEXT, bodies[2])
    assert client.recv_json()["type"] == "connection_established"
    assert [command.body for command in runtime.wait_commands("MESSAGE", 3)] == bodies


def test_accept_key(bridge, stack):
    """The answer to the RFC's own example key."""
    assert bridge
    answer = stack.raw().upgrade(changes={**auth(stack), "Sec-WebSocket-Key": "dGhlIHNhbXBsZSBub25jZQ=="})
    assert answer.headers["sec-websocket-accept"] == "s3pPLMBiTxaQ9kYGzzhZRbK+xOo="


def test_ipv6(runtime, stack):
    """[::1] as public address."""
    with open("/proc/net/if_inet6", encoding="ascii") as interfaces:
        if not any(line.startswith("0" * 31 + "1") for line in interfaces):
            pytest.skip("no IPv6 loopback here")
    bridge = stack.bridge(runtime, listen="[::1]:0")
    assert bridge.http("GET", "/ws", "public", host="::1").status == 426


PENDING = 2048  # max-open-requests


@pytest.mark.parametrize("room", [True, False])
def test_many_at_once(runtime, stack, room):
    """A storm of half-sent requests: while all may get in nobody is turned away; otherwise a log line says so."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard < 2 * PENDING:
        pytest.skip(f"{hard} descriptors are too few for this test")
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, 2 * PENDING), hard))
    bridge = stack.bridge(runtime, max_connections=4 * PENDING if room else 10, http_timeout_s=60)
    with contextlib.ExitStack() as sockets:
        for _ in range(PENDING + 100):
            client = sockets.enter_context(socket.create_connection(("127.0.0.1", bridge.ports["public"]), timeout=10))
            client.sendall(b"GET /ws HTTP/1.1\r\n")
        if room:
            stack.connect("alice")
            assert not bridge.logs("ACCEPT_FAILED")
        else:
            bridge.wait_log("ACCEPT_FAILED", listener="public", why="too many open requests")
