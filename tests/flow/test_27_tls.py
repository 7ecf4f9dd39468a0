"""TLS on the public port: everything works as without it, for clients of several makes."""
import json
import shutil
import signal
import socket
import ssl
import subprocess
import threading
import time

import pytest
from harness import connect_many, key_pem, run_program, scaled, wait_until
from harness.raw import CLOSE, TEXT
from test_02_golden_path import FIVE
from test_10_slow_reader import starve

V1_1, V1_2, V1_3 = ssl.TLSVersion.TLSv1_1, ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3
ROOMY = {"queue_bytes": 64 << 20, "history_bytes": 64 << 20}


@pytest.fixture(name="bridge")
def bridge_fixture(secure):
    """With default limits."""
    return secure.start()


def tool(name):
    """The path of a program that these tests can do without."""
    path = shutil.which(name)
    if not path:
        pytest.skip(f"{name} is not installed")
    return path


# --- what it is for


def test_conversation(secure, bridge, runtime):
    """A message byte for byte, five events, the peer's own address, close code, numbers."""
    client = secure.connect(subprotocols=["agent_chat"], origin=f"https://127.0.0.1:{bridge.ports['public']}")
    assert "127.0.0.1" in runtime.wait_command("CONNECT").headers["remote"]
    text = '{"type" : "user_message",\t"text":"h\\u00e9 \U0001f600"}'
    client.send(text)
    assert runtime.wait_command("MESSAGE").body == text.encode()
    for event in FIVE:
        runtime.emit("alice", {**event, "timestamp": time.time()})
    got = client.recv_events(5)
    assert [{k: v for k, v in event.items() if k not in ("_offset", "timestamp")} for event in got] == FIVE
    assert bridge.metric("tls_connections") == 1
    client.close(4001, "bye")
    gone = runtime.wait_command("DISCONNECT")
    assert (gone.headers["code"], gone.headers["reason"]) == (4001, "bye")
    secure.all_gone()
    assert bridge.metric("tls_handshakes_total", result="ok") == bridge.total("tls_handshakes_total") == 1
    assert bridge.metric("tls_faults_total") == 0
    assert bridge.metric("tls_certificate_expiry_timestamp_seconds") == secure.pair.expires
    assert bridge.logs("LISTENING", listener="public")[0]["tls"] is True
    assert bridge.logs("LISTENING", listener="admin")[0]["tls"] is False


@pytest.mark.parametrize("version", [V1_2, V1_3], ids=["1.2", "1.3"])
@pytest.mark.parametrize("form", ["agent_chat", "agent_chat.msgpack"])
def test_large_messages(secure, runtime, version, form):
    """Many records: 1 MB down, several at once, and 4 MB up, byte for byte."""
    secure.start(max_message_bytes=8 << 20, max_event_bytes=2 << 20, **ROOMY)
    secure.trust.minimum_version = secure.trust.maximum_version = version
    client = secure.connect(subprotocols=[form])
    for number in range(4):
        runtime.emit("alice", {"type": "blob", "n": number, "text": chr(97 + number) * (1 << 20)})
    for number in range(4):
        event = client.recv_event(30)
        assert (event["n"], event["text"]) == (number, chr(97 + number) * (1 << 20))
    for number in range(3):
        client.send({"type": "user_message", "n": number, "text": chr(97 + number) * (4 << 20)})
    for number, message in enumerate(runtime.wait_commands("MESSAGE", 3, timeout=30)):
        assert message.headers["seq"] == number + 1
        assert len(message.body) > 4 << 20 and message.body.count(chr(97 + number).encode()) >= 4 << 20
    client.ping()


def test_both_ways_at_once(secure, runtime):
    """Bytes of both directions do not get into each other's way."""
    secure.start(max_message_bytes=1 << 20, client_messages_per_minute=0, **ROOMY)
    client = secure.connect()
    for number in range(100):
        client.send({"type": "user_message", "n": number, "text": "u" * 50000})
        runtime.emit("alice", {"type": "blob", "n": number, "text": "d" * 50000})
    assert [event["n"] for event in client.recv_events(100, timeout=30)] == list(range(100))
    bodies = [json.loads(command.body) for command in runtime.wait_commands("MESSAGE", 100, timeout=30)]
    assert [body["n"] for body in bodies] == list(range(100)) and all(body["text"] == "u" * 50000 for body in bodies)


def test_resume(secure, bridge, runtime):
    """A client that comes back gets what it has missed."""
    client = secure.connect()
    resume = client.established["data"]["resume"]
    client.abort()
    assert runtime.wait_command("DISCONNECT").headers["code"] == 1006
    for number in range(10):
        runtime.emit("alice", {"type": "stream_chunk", "n": number})
    bridge.wait_metric("history_events", 10)
    client = secure.connect(path=f"/ws?epoch={resume['epoch']}&offset={resume['offset']}")
    assert client.established["data"]["recovered"] is True
    assert [event["n"] for event in client.recv_events(10)] == list(range(10))
    client.quiet(runtime)


def test_many_at_once(secure, runtime, stack):
    """200 handshakes at once; each connection gets its own events, and all are gone at the end."""
    bridge = secure.start()
    users = [f"user-{number}" for number in range(200)]
    clients = connect_many([stack.client(user, tls=secure.trust) for user in users])
    assert bridge.metric("tls_connections") == 200
    for user in users:
        runtime.emit(user, {"type": "stream_chunk", "for": user})
    assert [client.recv_event()["for"] for client in clients] == users
    for client in clients:
        client.close()
    secure.all_gone()
    assert bridge.metric("tls_handshakes_total", result="ok") == bridge.total("tls_handshakes_total") == 200


# --- slow clients


@pytest.mark.long
def test_slow_consumer(secure, runtime):
    """Back-pressure comes through: the queue fills, 4008; the user's other connection gets every event."""
    bridge = secure.start(queue_bytes=262144)
    watcher = secure.connect()
    slow = secure.raw_connect(receive_buffer=4096)
    starve(bridge, runtime, watcher, lambda: runtime.commands("DISCONNECT"))
    gone = runtime.wait_command("DISCONNECT")
    assert (gone.connection_id, gone.headers["code"]) == (slow.established["data"]["connection_id"], 4008)
    assert bridge.metric("connections_closed_total", reason="slow_consumer") == 1
    watcher.quiet(runtime)
    bridge.wait_metric("tls_connections", 1, timeout=20)


def test_slow_consumer_is_told(secure, runtime):
    """One that reads again within the grace of the close handshake gets whole frames in order, then 4008."""
    bridge = secure.start(queue_bytes=262144)
    watcher = secure.connect()
    slow = secure.raw_connect(receive_buffer=4096)
    starve(bridge, runtime, watcher, lambda: runtime.commands("DISCONNECT"))
    numbers, frame = [], slow.recv_frame()
    while frame.opcode == TEXT:
        numbers.append(json.loads(frame.payload)["n"])
        frame = slow.recv_frame()
    assert numbers == list(range(len(numbers))) and numbers
    assert (frame.opcode, int.from_bytes(frame.payload[:2], "big")) == (CLOSE, 4008)


def test_slow_then_reading_again(secure, runtime):
    """A client that only pauses, within its queue, loses nothing."""
    bridge = secure.start(queue_bytes=32 << 20)
    watcher = secure.connect()
    slow = secure.raw_connect(receive_buffer=4096)
    count = starve(bridge, runtime, watcher, lambda: bridge.metric("outbound_queue_bytes") > 0)
    assert [slow.recv_json()["n"] for _ in range(count)] == list(range(count))
    bridge.wait_metric("outbound_queue_bytes", 0)
    assert bridge.total("connections_closed_total") == 0


@pytest.mark.long
def test_send_timeout(secure, runtime):
    """A socket that takes nothing for send-timeout-s is closed, and so is its relay."""
    bridge = secure.start(queue_bytes=64 << 20, send_timeout_s=1)
    watcher = secure.connect()
    secure.raw_connect(receive_buffer=4096)
    starve(bridge, runtime, watcher, lambda: bridge.metric("outbound_queue_bytes") > 0)
    bridge.wait_metric("connections_closed_total", 1, reason="send_timeout")
    bridge.wait_metric("tls_connections", 1, timeout=20)
    watcher.quiet(runtime)


# --- ends


def test_close_by_the_runtime(secure, bridge, runtime):
    """CLOSE and KICK reach the client with code and reason; behind them TLS ends in good form."""
    first, second = secure.raw_connect("alice"), secure.raw_connect("bob")
    first_id = first.established["data"]["connection_id"]
    runtime.send("CLOSE", first_id, "alice", {"code": 4321, "reason": "that was all"})
    runtime.send("KICK", "", "bob", {"reason": "out"})
    assert first.recv_close() == (4321, "that was all")
    assert second.recv_close() == (4009, "out")
    for client in (first, second):
        assert client.socket.read() == b""  # close_notify; without one this raises
        client.socket.close()
    secure.all_gone()
    assert bridge.metric("tls_faults_total") == 0


@pytest.mark.parametrize("how", ["reset", "close", "unwrap"])
def test_client_without_close_frame(secure, bridge, runtime, how):
    """A reset, a FIN without close_notify and a close_notify alone: 1006 for the runtime, nothing left."""
    client = secure.raw_connect()
    if how == "unwrap":
        client.socket.unwrap()
    getattr(client, {"unwrap": "close"}.get(how, how))()
    assert runtime.wait_command("DISCONNECT").headers["code"] == 1006
    secure.all_gone()
    assert bridge.metric("tls_faults_total") == 0


def test_half_closed_request(secure, bridge):
    """A client that sends its request and ends its side still gets the whole answer."""
    plain = secure.tcp()
    with plain.dup() as tcp, secure.trust.wrap_socket(plain, server_hostname="127.0.0.1") as client:
        client.sendall(b"GET /ws/health HTTP/1.1\r\nHost: a\r\n\r\n")
        tcp.shutdown(socket.SHUT_WR)
        answer = b""
        while chunk := client.recv(65536):
            answer += chunk
    head, body = answer.split(b"\r\n\r\n", 1)
    assert head.startswith(b"HTTP/1.1 200 OK") and json.loads(body)["status"] == "healthy"
    assert bridge.metric("tls_faults_total") == 0


def test_drain(secure, runtime, stack):
    """SIGTERM: every client is told and closed with 1012, TLS ends in good form, exit 0."""
    bridge = secure.start()
    clients = connect_many([stack.client(f"user-{number}", tls=secure.trust) for number in range(20)])
    raw = secure.raw_connect("raw")
    bridge.signal(signal.SIGTERM)
    for client in clients:
        client.recv_type("bridge_draining")
        assert client.wait_closed(20)[0] == 1012
    assert raw.recv_close() == (1012, "Service restart")
    assert raw.socket.read() == b""
    assert bridge.wait_exit() == 0
    assert len(runtime.wait_commands("DISCONNECT", 21)) == 21


# --- the handshake


@pytest.mark.parametrize("offered, chosen", [(["h2", "http/1.1"], "http/1.1"), (["http/1.1"], "http/1.1"), (None, None)])
def test_alpn(secure, bridge, offered, chosen):
    """http/1.1 is chosen when protocols are offered."""
    with secure.handshake(secure.authority.context(alpn=offered)) as client:
        assert client.selected_alpn_protocol() == chosen
    bridge.wait_metric("tls_handshakes_total", 1, result="ok")


def test_alpn_of_other_protocols(secure, bridge):
    """A client that speaks nothing but HTTP/2 is told so by an alert."""
    with pytest.raises(ssl.SSLError, match="(?i)no.application.protocol"):
        secure.handshake(secure.authority.context(alpn=["h2"], most=V1_2))
    bridge.wait_metric("tls_handshakes_total", 1, result="failed")
    assert bridge.wait_log("TLS_HANDSHAKE_FAILED")["remote"] == "127.0.0.1"
    secure.all_gone()


@pytest.mark.filterwarnings("ignore:ssl.TLSVersion.TLSv1_1")
@pytest.mark.parametrize("least, version, fits", [
    (None, V1_1, False), (None, V1_2, True), (None, V1_3, True), ("1.3", V1_2, False), ("1.3", V1_3, True)],
    ids=lambda value: getattr(value, "name", str(value)))
def test_versions(secure, least, version, fits):
    """1.2 and 1.3, or 1.3 alone."""
    bridge = secure.start(tls_min_version=least)
    context = secure.authority.context(least=version, most=version)
    if fits:
        with secure.handshake(context) as client:
            assert client.version() == version.name.replace("_", ".")
    else:
        with pytest.raises(ssl.SSLError):
            secure.handshake(context)
    bridge.wait_metric("tls_handshakes_total", 1, result="ok" if fits else "failed")


def test_session_tickets(secure, bridge):
    """A client that comes back need not do the whole handshake again (version 1.2: the ticket is in the handshake)."""
    context = secure.authority.context(most=V1_2)
    with secure.handshake(context) as client:
        session = client.session
        assert session.has_ticket and not client.session_reused
    with context.wrap_socket(secure.tcp(), server_hostname="127.0.0.1", session=session) as client:
        assert client.session_reused
    bridge.wait_metric("tls_handshakes_total", 2, result="ok")


def root_file(secure):
    """What clients trust, as a file."""
    path = secure.folder / "root.pem"
    path.write_text(secure.authority.root_pem)
    return path


def s_client(secure, *words, dialogue):
    """What `openssl s_client` prints: after each of the words in `dialogue` has come, what stands behind it is typed."""
    command = [tool("openssl"), "s_client", "-connect", f"127.0.0.1:{secure.bridge.ports['public']}", "-CAfile",
               root_file(secure), "-verify_return_error", *words]
    said = ""
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as run:
        end = threading.Timer(scaled(20), run.kill)
        end.start()
        for word, line in dialogue:
            while word not in said and (more := run.stdout.readline()):
                said += more
            run.stdin.write(line)
            run.stdin.flush()
        said += run.stdout.read()
        end.cancel()
    return said


def test_openssl(secure, bridge):
    """The chain is sent whole, nothing is compressed; a key update before the request changes nothing."""
    request = "GET /nowhere HTTP/1.1\r\nHost: a\r\n\r\n"
    said = s_client(secure, "-alpn", "http/1.1", "-tls1_3", dialogue=[("Verify return code", "K\n"), ("KEYUPDATE", request)])
    for line in ("Verification: OK", "ALPN protocol: http/1.1", "Compression: NONE", "HTTP/1.1 404 Not Found"):
        assert line in said, said
    secure.all_gone()
    assert (bridge.metric("tls_handshakes_total", result="ok"), bridge.metric("tls_faults_total")) == (1, 0)


def test_renegotiation(secure, bridge):
    """Refused."""
    said = s_client(secure, "-tls1_2", dialogue=[("Verify return code", "R\n")])
    assert "RENEGOTIATING" in said and "no renegotiation" in said, said
    secure.all_gone()
    assert bridge.metric("tls_handshakes_total", result="ok") == 1


def test_curl(secure, bridge):
    """curl, which offers h2 as well."""
    url = f"https://127.0.0.1:{bridge.ports['public']}/ws/health"
    done = subprocess.run([tool("curl"), "--silent", "--show-error", "--cacert", root_file(secure), "--write-out", "\n%{http_version}", url],
                          capture_output=True, text=True, timeout=scaled(20), check=False)
    assert done.returncode == 0, done.stderr
    body, version = done.stdout.rsplit("\n", 1)
    assert (json.loads(body)["status"], version) == ("healthy", "1.1")


def test_http(secure, bridge):
    """The plain paths of the public port, over TLS; the admin port stays plain."""
    assert secure.https("/ws").status == 426
    assert secure.https("/nowhere").status == 404
    assert json.loads(secure.https("/ws/health").body)["status"] == "healthy"
    for path in ("/livez", "/startupz", "/readyz", "/metrics", "/ws/health"):
        assert bridge.http("GET", path).status == 200


# --- configuration


def test_faulty_pairs(secure, tmp_path, keys):
    """What does not fit stops the start with 2 and a line that names the option."""
    other = secure.authority.pair()
    (tmp_path / "other.pem").write_bytes(other.key_pem)
    (tmp_path / "locked.pem").write_bytes(key_pem(other.key, b"secret"))
    (tmp_path / "empty.pem").touch()
    cert, key = secure.options["tls_cert_file"], secure.options["tls_key_file"]
    rows = [
        ({"tls_cert_file": cert}, "tls-cert-file", "is given without tls-key-file"),
        ({"tls_key_file": key}, "tls-key-file", "is given without tls-cert-file"),
        ({"tls_cert_file": cert, "tls_key_file": tmp_path / "other.pem"}, "tls-key-file", "fits the certificate"),
        ({"tls_cert_file": cert, "tls_key_file": tmp_path / "locked.pem"}, "tls-key-file", "fits the certificate"),
        ({"tls_cert_file": tmp_path / "empty.pem", "tls_key_file": key}, "tls-cert-file", "no certificate chain"),
        ({"tls_cert_file": key, "tls_key_file": key}, "tls-cert-file", "no certificate chain"),
        ({"tls_cert_file": tmp_path / "none", "tls_key_file": key}, "tls-cert-file", "readable file"),
        ({"tls_cert_file": cert, "tls_key_file": key, "tls_min_version": "1.1"}, "tls-min-version", "1.2, 1.3"),
    ]
    for command in ("serve", "check-config"):
        for options, option, why in rows:
            done = run_program(command, listen="127.0.0.1:0", admin_listen="127.0.0.1:0", environment="test",
                               jwt_secret=keys.secret, **options)
            assert done.returncode == 2 and "option " + option in done.stderr and why in done.stderr, (options, done)
    done = run_program("check-config", environment="test", jwt_secret=keys.secret, **secure.options)
    assert done.returncode == 0 and str(cert) in done.stdout, done


def test_descriptors(secure, stack, runtime):
    """A connection takes three descriptors: max-connections is what the limit has room for."""
    limit = [tool("prlimit"), "--nofile=1112:1112"]
    bridge = stack.bridge(runtime, wrap=limit, max_connections=1000, **secure.options)
    line = bridge.wait_log("LIMITED")
    assert (line["descriptors"], line["now"]) == (1112, (1112 - 512) // 3)
    wait_until(lambda: bridge.metric("process_max_fds") == 1112, what="the limit in the metrics")
