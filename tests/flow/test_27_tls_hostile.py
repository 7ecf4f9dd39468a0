"""TLS: what is sent to the port that is no TLS, half of it, or too much of it costs that connection and nothing else."""
import collections
import contextlib
import os
import resource
import socket
import ssl
import struct
import threading

import pytest
from harness import Records, scaled
from harness.raw import TEXT, encode_frame

AT_ONCE = 1024  # handshakes (edge/tls.c)
HELLO_HEAD = struct.pack("!BHH", 22, 0x0301, 512) + b"\x01\x00\x01\xfc\x03\x03"  # the beginning of a ClientHello
FOREIGN = {
    "zeros": bytes(4096),
    "record of an unknown type": struct.pack("!BHH", 99, 0x0303, 5) + b"hello",
    "record of an unknown version": struct.pack("!BHH", 22, 0x0909, 5) + b"hello",
    "record over the limit": struct.pack("!BHH", 22, 0x0301, 65535) + bytes(65535),
    "hello over the limit": struct.pack("!BHH", 22, 0x0301, 16384) + b"\x01\xff\xff\xff" + bytes(16380),
    "application data first": struct.pack("!BHH", 23, 0x0303, 32) + bytes(32),
    "alert first": struct.pack("!BHH", 21, 0x0303, 2) + b"\x02\x28",
    "SSH": b"SSH-2.0-OpenSSH_9.2\r\n",
    "HTTP/2": b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    "random": os.urandom(5000),
}


def read_all(client):
    """Everything until the end, a reset included."""
    data = b""
    with contextlib.suppress(ConnectionResetError):
        while chunk := client.recv(65536):
            data += chunk
    return data


@pytest.fixture(name="bridge")
def bridge_fixture(secure):
    """With default limits."""
    return secure.start()


@pytest.mark.parametrize("name", FOREIGN)
def test_foreign_bytes(secure, bridge, name):
    """Closed, counted, logged; others notice nothing."""
    witness = secure.connect()
    with secure.tcp() as client:
        with contextlib.suppress(ConnectionResetError, BrokenPipeError):
            client.sendall(FOREIGN[name])
        assert b"HTTP" not in read_all(client)
    bridge.wait_metric("tls_handshakes_total", 1, result="failed")
    line = bridge.wait_log("TLS_HANDSHAKE_FAILED")
    assert line["why"] and line["remote"] == "127.0.0.1"
    bridge.wait_metric("tls_connections", 1)
    witness.ping()


@pytest.mark.parametrize("method", ["GET", "POST", "HEAD"])
def test_plain_http(secure, bridge, method):
    """Answered 400 in plain HTTP."""
    with secure.tcp() as client:
        client.sendall(f"{method} /ws HTTP/1.1\r\nHost: a\r\n\r\n".encode())
        head, body = read_all(client).split(b"\r\n\r\n", 1)
    assert head.startswith(b"HTTP/1.1 400 Bad Request\r\n") and b"this port speaks TLS" in body
    assert bridge.metric("tls_handshakes_total", result="plain_http") == 1
    assert bridge.metric("http_requests_total", **{"class": "4xx"}) == 1
    assert bridge.wait_log("REQUEST_BAD")["why"] == "this port speaks TLS"
    secure.all_gone()


@pytest.mark.parametrize("sent", [b"", b"\x16", HELLO_HEAD], ids=["nothing", "a byte", "half a hello"])
def test_stalled_handshake(secure, sent):
    """Ends after http-timeout-s."""
    bridge = secure.start(http_timeout_s=1)
    with secure.tcp() as client:
        client.sendall(sent)
        assert read_all(client) == b""
    bridge.wait_metric("tls_handshakes_total", 1, result="timeout")
    secure.all_gone()


def test_stalled_request(secure):
    """After the handshake the request has its own time; half of one is answered 408."""
    bridge = secure.start(http_timeout_s=1)
    with secure.handshake() as client:
        client.sendall(b"GET /ws HTTP/1.1\r\n")
        assert client.recv(65536).startswith(b"HTTP/1.1 408")
    with secure.handshake() as client:
        assert read_all(client) == b""
    secure.all_gone()
    assert bridge.metric("tls_handshakes_total", result="ok") == 2


def test_probe(secure, bridge):
    """One that connects and goes is counted, but not worth a line."""
    with secure.tcp():
        pass
    bridge.wait_metric("tls_handshakes_total", 1, result="gone")
    secure.all_gone()
    assert not bridge.logs("TLS_HANDSHAKE_FAILED")


def test_half_open_handshakes(secure):
    """More of them than are done at once: who comes later waits, and gets in as soon as one has gone."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard < 3 * AT_ONCE:
        pytest.skip(f"{hard} descriptors are too few for this test")
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, 3 * AT_ONCE), hard))
    bridge = secure.start(http_timeout_s=600)
    witness = secure.connect()
    with contextlib.ExitStack() as sockets:
        for _ in range(AT_ONCE):
            sockets.enter_context(secure.tcp()).sendall(HELLO_HEAD)
        bridge.wait_metric("tls_connections", AT_ONCE + 1)
        late = secure.tcp()
        late.settimeout(scaled(60))
        late = secure.trust.wrap_socket(late, server_hostname="127.0.0.1", do_handshake_on_connect=False)
        handshake = threading.Thread(target=late.do_handshake, daemon=True)
        handshake.start()
        bridge.wait_metric("tls_connections", AT_ONCE + 2)
        witness.ping()
        assert bridge.metric("tls_handshakes_total", result="ok") == 1
    handshake.join(scaled(60))
    with late:
        late.sendall(b"GET /nowhere HTTP/1.1\r\nHost: a\r\n\r\n")
        assert late.recv(65536).startswith(b"HTTP/1.1 404")
    bridge.wait_metric("tls_handshakes_total", AT_ONCE, result="gone")
    bridge.wait_metric("tls_connections", 1)
    witness.ping()


def test_broken_record(secure, bridge, runtime):
    """Bytes under TLS that are no record: the connection is cut, 1006 for the runtime, counted and logged."""
    witness = secure.connect("bob")
    plain = secure.tcp()
    with plain.dup() as tcp, secure.trust.wrap_socket(plain, server_hostname="127.0.0.1"):
        tcp.sendall(struct.pack("!BHH", 23, 0x0303, 40) + os.urandom(40))
        read_all(tcp)
    bridge.wait_metric("tls_faults_total", 1)
    assert bridge.wait_log("TLS_BROKEN")["remote"] == "127.0.0.1"
    client = secure.raw_connect()
    with socket.socket(fileno=os.dup(client.socket.fileno())) as tcp:
        tcp.sendall(struct.pack("!BHH", 23, 0x0303, 40) + os.urandom(40))
        assert runtime.wait_command("DISCONNECT").headers["code"] == 1006
    bridge.wait_metric("tls_faults_total", 2)
    bridge.wait_metric("tls_connections", 1)
    witness.ping()


@pytest.fixture(name="keyed")
def keyed_fixture(secure, bridge):
    """An upgraded client and its records."""
    assert bridge
    log = secure.folder / "keys.log"
    secure.trust.keylog_filename = str(log)
    client = secure.raw_connect()
    with contextlib.closing(Records(client.socket, log, sent=1)) as records:
        yield client, records


KEY_UPDATE = b"\x18\x00\x00\x01"  # and one byte: 1 asks for an update of the other side


def test_half_a_key_update(keyed, secure, runtime, bridge):
    """Until the rest comes nothing can be sent; then everything is."""
    client, records = keyed
    witness = secure.connect()
    records.send(records.record(Records.HANDSHAKE, KEY_UPDATE))
    for number in range(100):
        runtime.emit("alice", {"type": "stream_chunk", "n": number, "text": "x" * 1000})
    assert [event["n"] for event in witness.recv_events(100)] == list(range(100))
    client.socket.settimeout(0)
    with pytest.raises((BlockingIOError, ssl.SSLWantReadError)):
        client.recv_frame()
    client.socket.settimeout(scaled(10))
    records.send(records.record(Records.HANDSHAKE, b"\x01"))
    assert [client.recv_json()["n"] for _ in range(100)] == list(range(100))
    assert bridge.metric("tls_faults_total") == 0


def test_many_key_updates(keyed, secure, runtime, bridge):
    """A client that does nothing but change its keys does not keep others from being served, nor itself."""
    client, records = keyed
    witness = secure.connect("bob")
    updates = []
    for _ in range(5000):
        updates.append(records.record(Records.HANDSHAKE, KEY_UPDATE + b"\x00"))
        records.update()
    sender = threading.Thread(target=records.send, args=(b"".join(updates),), daemon=True)
    sender.start()
    witness.ping()
    sender.join(scaled(30))
    assert not sender.is_alive()
    records.send(records.record(23, encode_frame(TEXT, b'{"type":"user_message"}')))
    assert runtime.wait_command("MESSAGE").body == b'{"type":"user_message"}'
    runtime.emit("alice", {"type": "stream_chunk"})
    assert client.recv_json()["type"] == "stream_chunk"
    assert bridge.metric("tls_faults_total") == 0


def test_client_that_refuses_the_certificate(secure, bridge):
    """Its alert stands in the log: this is how a wrong chain is noticed."""
    tcp = secure.tcp()
    held = tcp.dup()  # closed with unread bytes in it the connection would be reset, perhaps before the alert is read
    with pytest.raises(ssl.SSLCertVerificationError):
        ssl.create_default_context().wrap_socket(tcp, server_hostname="127.0.0.1")
    bridge.wait_metric("tls_handshakes_total", 1, result="failed")
    assert "unknown ca" in bridge.wait_log("TLS_HANDSHAKE_FAILED")["why"]
    held.close()
    secure.all_gone()


def attempt(secure, token):
    """Connect while memory may run out: what came of it."""
    try:
        client = secure.stack.raw(secure.bridge, tls=secure.trust)
        answer = client.upgrade(changes={"Authorization": f"Bearer {token}"})
        said = client.recv_frame() if answer and answer.status == 101 else None
        return "established" if said and said.opcode == TEXT and b"connection_established" in said.payload else "cut"
    except (ssl.SSLError, OSError):
        return "cut"


def test_out_of_memory(secure, no_memory, stack):
    """Wherever memory runs out between accept and connection_established: that client alone loses its connection."""
    bridge = secure.start(env=no_memory.env)
    healthy = secure.connect("healthy")
    outcomes = collections.Counter()
    for number in no_memory.walk(step=13):
        token = stack.keys.token(f"user-{number}")
        with no_memory:
            outcomes[attempt(secure, token)] += 1
        healthy.ping()
    assert outcomes["cut"] > 20 and outcomes["established"] > 0, outcomes
    assert bridge.total("tls_handshakes_total") == sum(outcomes.values()) + 1
    (secure.folder / "key.pem").touch()
    bridge.wait_metric("tls_reloads_total", 1, result="ok")
    secure.connect("late").ping()


def test_gone_in_the_middle_of_much(secure, runtime):
    """Clients that go while the relay holds bytes for them leave nothing behind."""
    bridge = secure.start(queue_bytes=64 << 20, max_event_bytes=8 << 20)
    for number in range(20):
        client = secure.raw_connect("alice", receive_buffer=4096)
        runtime.emit("alice", {"type": "blob", "n": number, "text": "x" * (4 << 20)})
        assert client.socket.recv(100)
        client.reset()
    bridge.wait_metric("tls_connections", 0)
    bridge.wait_metric("outbound_queue_bytes", 0)
    assert len(runtime.wait_commands("DISCONNECT", 20)) == 20
