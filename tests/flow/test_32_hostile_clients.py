"""Clients that attack: with requests that do not end, sockets that do not read, floods, faults in number and noise. Each time a
client that has done nothing gets its events, memory and descriptors come back, and every refusal is counted."""
import collections
import concurrent.futures
import os
import random
import re
import select
import shutil
import socket
import subprocess
import time

import pytest
from harness import scaled, wait_until
from harness.conformance import close_payload, fragments
from harness.raw import BINARY, CLOSE, CONTINUATION, PING, PONG, TEXT, RawClient, encode_frame, upgrade_head
from harness.siege import SANITIZED, siege

QUICK = {"http_timeout_s": 2, "max_connections_per_user": 1000, "client_messages_per_minute": 0}
MANY = 60 if SANITIZED else 300


def each(job, items, at_once=8):
    """Run a job for each item, some at once; the results in order."""
    with concurrent.futures.ThreadPoolExecutor(at_once) as pool:
        return list(pool.map(job, items))


def closed(bridge, reason):
    """Connections that ended for it."""
    return bridge.metric("connections_closed_total", reason=reason)


def raw_client(stack, bridge, user="mallory", **options):
    """A `raw` connection that this module's threads may make; the caller ends it."""
    client = RawClient(bridge, **options)
    answer = client.upgrade(changes={"Authorization": f"Bearer {stack.keys.token(user)}", "Sec-WebSocket-Protocol": "raw"})
    assert answer and answer.status == 101, answer
    return client


def drip(clients, data, seconds):
    """A byte to each of them now and then, until they are closed or the time is over; {client: what it was told}."""
    told, open_ones = {client: b"" for client in clients}, {client.socket: client for client in clients}
    deadline, at = time.monotonic() + scaled(seconds), 0
    while open_ones and time.monotonic() < deadline:
        for sock in list(open_ones):
            try:
                sock.send(data[at % len(data):][:1])
            except OSError:
                pass  # closed on the other side: what it said is read below
        at += 1
        for sock in select.select(list(open_ones), [], [], 0.05)[0]:
            told[open_ones[sock]] += (got := read_some(sock))
            if not got:
                del open_ones[sock]
    assert not open_ones, f"{len(open_ones)} are still open"
    return told


def read_some(sock):
    """What is there; nothing at the end."""
    try:
        return sock.recv(4096)
    except ConnectionResetError:
        return b""


@pytest.mark.parametrize("port", ["public", "admin"])
def test_slowloris(runtime, stack, port):
    """Heads that come a byte at a time: 408 after http-timeout-s, however many they are."""
    bridge = stack.bridge(runtime, **QUICK)
    with siege(stack, runtime, bridge):
        clients = [stack.raw(bridge, port=port) for _ in range(MANY)]
        told = drip(clients, b"GET /ws HTTP/1.1\r\nHost: a\r\nX-Slow: " + b"z" * 1000, 20)
        assert {answer[:12] for answer in told.values()} == {b"HTTP/1.1 408"}
    assert bridge.metric("http_requests_total", **{"class": "4xx"}) == MANY


def test_silent(runtime, stack):
    """Peers that connect and say nothing are closed without an answer, and those that go at once leave nothing."""
    bridge = stack.bridge(runtime, **QUICK)
    with siege(stack, runtime, bridge):
        silent = [stack.raw(bridge) for _ in range(MANY)]
        for number in range(MANY):
            client = stack.raw(bridge)
            (client.reset if number % 2 else client.close)()
        assert {client.rest() for client in silent} == {b""}
    assert [bridge.metric("http_requests_total", **{"class": kind}) for kind in ("4xx", "5xx")] == [0, 0]
    assert bridge.total("connections_closed_total") == 1  # the witness


def test_slow_read_of_pages(runtime, stack):
    """Peers that ask for the largest page and do not read it are closed after http-timeout-s."""
    bridge = stack.bridge(runtime, **QUICK)
    with siege(stack, runtime, bridge):
        slow = [stack.raw(bridge, port="admin", receive_buffer=1) for _ in range(50)]
        for client in slow:
            client.send(b"GET /metrics HTTP/1.1\r\nHost: a\r\n\r\n")


def test_slow_read(runtime, stack):
    """Connections that take their events a byte at a time, or none: 4008 at the full queue; no more than the queues is held."""
    bridge = stack.bridge(runtime, **QUICK, queue_bytes=262144, history_bytes=65536)
    with siege(stack, runtime, bridge):
        slow = each(lambda _: raw_client(stack, bridge, receive_buffer=4096), range(20))
        most = 0

        def all_closed():
            nonlocal most
            runtime.emit_plain("mallory", {"type": "flood", "pad": "x" * 30000})
            for client in slow[:10]:
                read_some_byte(client.socket)
            most = max(most, bridge.metric("outbound_queue_bytes"))
            return closed(bridge, "slow_consumer") == len(slow)
        wait_until(all_closed, 60, "all closed")
        assert most <= len(slow) * (262144 + 30100)
        for client in slow:
            client.close()
    assert bridge.total("connections_closed_total") == len(slow) + 1


def read_some_byte(sock):
    """One byte, if there is one."""
    if select.select([sock], [], [], 0)[0]:
        try:
            sock.recv(1)
        except ConnectionResetError:
            pass


# name: (the header, result)
FLOODS = {
    "malformed-token": (lambda keys: "Bearer a.b.c", "jwt_format_invalid"),
    "no-token": (lambda keys: None, "jwt_token_missing"),
    "expired": (lambda keys: "Bearer " + keys.token("mallory", ttl=-1000), "token_expired"),
    "wrong-signature": (lambda keys: "Bearer " + keys.token("mallory")[:-10] + "AAAAAAAAAA", "validation_failed"),
    "good": (lambda keys: "Bearer " + keys.token("mallory"), "ok"),
}


@pytest.mark.parametrize("kind", FLOODS)
def test_flood_of_handshakes(runtime, stack, kind):
    """Handshakes without pause; half of the peers vanish before they read the answer."""
    bridge = stack.bridge(runtime, **QUICK)
    make, result = FLOODS[kind]
    token = make(stack.keys)

    def shake(number):
        client = RawClient(bridge)
        client.send(upgrade_head(client.port, changes={"Authorization": token}))
        if number % 2:
            assert client.response().status == 101
        client.reset()
    with siege(stack, runtime, bridge):
        before = bridge.metric("handshakes_total", result=result)
        each(shake, range(MANY))
        # One that is reset before it was read was never seen: at least those that were answered are counted.
        wait_until(lambda: bridge.metric("handshakes_total", result=result) - before >= MANY / 2, what="all counted")
    assert bridge.metric("handshakes_total", result=result) - before <= MANY
    assert bridge.total("handshakes_total") == bridge.metric("handshakes_total", result=result) + (result != "ok")
    assert bridge.metric("users") == 0


def test_flood_over_the_limits(runtime, stack):
    """A user who opens more than max-connections-per-user: the rest is refused one by one, and counted."""
    bridge = stack.bridge(runtime, **{**QUICK, "max_connections_per_user": 10})
    with siege(stack, runtime, bridge):
        clients = each(lambda _: raw_client(stack, bridge), range(MANY))
        bridge.wait_metric("handshakes_total", MANY - 10, result="user_connection_limit")
        assert bridge.metric("handshakes_total", result="ok") == 11
        for client in clients:
            client.reset()
    assert closed(bridge, "try_later") == MANY - 10


@pytest.mark.parametrize("size, opcode", [(0, TEXT), (0, BINARY), (1, BINARY), (1000, TEXT)])
def test_fragments_without_end(runtime, stack, size, opcode):
    """Fragments, none of which is the last: 1009 at the limit; empty ones for as long as they come, for nothing."""
    bridge = stack.bridge(runtime, **QUICK, max_message_bytes=20000)
    with siege(stack, runtime, bridge, slack=8 << 20):
        client = raw_client(stack, bridge)
        client.send_frame(opcode, b"x" * size, fin=False)
        more = encode_frame(CONTINUATION, b"x" * size, fin=False)
        client.send(more * (100000 if size == 0 else 20000 // size - 1))
        client.send_frame(PING, b"still there")
        frame = client.recv_frame()
        assert (frame.opcode, frame.payload) == (PONG, b"still there")
        if size:
            client.send(encode_frame(CONTINUATION, b"x", fin=False))
            assert client.recv_close() == (1009, "Message too big")
        client.close()
    assert closed(bridge, "message_too_big") == (1 if size else 0)
    assert not runtime.commands("MESSAGE")


@pytest.mark.parametrize("reads", [True, False])
def test_flood_of_pings(runtime, stack, reads):
    """30,000 pings of the largest size: some are answered, in order; for one that does not read, nothing piles up."""
    bridge = stack.bridge(runtime, **QUICK)
    pings = [b"%08d" % number + b"p" * 117 for number in range(30000)]
    with siege(stack, runtime, bridge, slack=4 << 20):
        client = raw_client(stack, bridge, receive_buffer=None if reads else 4096)
        client.send(b"".join(encode_frame(PING, ping) for ping in pings) + encode_frame(TEXT, b"end"))
        assert runtime.wait_command("MESSAGE").body == b"end"
        if reads:
            check_pongs(client, pings)
        client.reset()


def check_pongs(client, pings):
    """They answer pings in their order, none twice."""
    client.send_frame(CLOSE, close_payload(1000))
    numbers = []
    while (frame := client.recv_frame()) and frame.opcode == PONG:
        numbers.append(int(frame.payload[:8]))
        assert frame.payload == pings[numbers[-1]]
    assert frame.opcode == CLOSE and numbers == sorted(set(numbers)) and numbers


# name: (frames, label under which their end is counted)
FAULTS = {
    "compressed": ([encode_frame(TEXT, b"\x0a\xcc\x48\x05\x00", rsv=4)], "protocol_error"),
    "opcode": ([encode_frame(7, b"x")], "protocol_error"),
    "text-in-three": (fragments(TEXT, [b"ok", b"\xe2\x82", b"x"]), "invalid_text"),
    "text": ([encode_frame(TEXT, b"\xed\xa0\x80")], "invalid_text"),
    "too-big": ([encode_frame(BINARY, b"x" * 70000)], "message_too_big"),
    "continuation": ([encode_frame(CONTINUATION, b"x")], "protocol_error"),
    "close-1": ([encode_frame(CLOSE, b"\x03")], "protocol_error"),
    "close-5000": ([encode_frame(CLOSE, close_payload(5000))], "protocol_error"),
    "close-not-text": ([encode_frame(CLOSE, close_payload(1000, b"\xff"))], "protocol_error"),
    "close": ([encode_frame(CLOSE, close_payload(1000))], "peer_closed"),
    "long-ping": ([b"\x89\xfe\x01\x00" + b"x" * 260], "peer_lost"),
}


def test_faults_in_number(runtime, stack):
    """All kinds of faulty frames from many connections at once: each is counted under its reason, none reaches the runtime."""
    bridge = stack.bridge(runtime, **QUICK)
    jobs = list(FAULTS.values()) * (3 if SANITIZED else 15)
    random.Random(32).shuffle(jobs)

    def err(job):
        client = raw_client(stack, bridge)
        client.send(b"".join(job[0]))
        client.recv_close()
        client.close()
    with siege(stack, runtime, bridge):
        each(err, jobs)
    expected = collections.Counter(reason for _, reason in jobs) + collections.Counter(peer_closed=1)
    assert {reason: closed(bridge, reason) for reason in expected} == expected
    assert bridge.total("connections_closed_total") == len(jobs) + 1
    assert not runtime.commands("MESSAGE")


GREETING = b"\xff" + bytes(8) + b"\x7f\x03\x01NULL" + bytes(48)
BEGINNINGS = {
    "public": [b"", b"GET /ws HTTP/1.1\r\nHost: a\r\n",
               b"GET /ws HTTP/1.1\r\nHost: a\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\n"
               b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nAuthorization: Bearer %(token)s\r\n\r\n"],
    "admin": [b"", b"GET /metrics HTTP/1.1\r\n", b"GET /", b"POST /drai"],
    "commands": [b"", GREETING, GREETING + b"\x04\x19\x05READY\x0bSocket-Type\x00\x00\x00\x06ROUTER"],
    "events": [b"", GREETING, GREETING + b"\x04\x16\x05READY\x0bSocket-Type\x00\x00\x00\x03PUB"],
}
STREAMS = 1000 if SANITIZED else 10000


def noise(address, beginnings, seed):
    """Send streams that begin well and go on by chance; how many were answered with an HTTP 4xx."""
    chance, refused = random.Random(seed), 0
    for _ in range(STREAMS):
        with socket.create_connection(address, timeout=scaled(30)) as sock:
            told = b""
            try:
                sock.sendall(chance.choice(beginnings) + chance.randbytes(chance.choice((1, 8, 60, 300)))
                             + chance.choice((b"", b"\r\n\r\n")))
                sock.shutdown(socket.SHUT_WR)
                while got := sock.recv(65536):
                    told += got
            except TimeoutError:
                raise
            except OSError:
                pass  # closed or reset before all was said
            refused += told.startswith(b"HTTP/1.1 4")
    return refused


@pytest.mark.long
def test_noise_on_every_port(runtime, stack):
    """10,000 streams of noise to each port that the bridge has open, all at once; NOISE_SEED makes the same again."""
    seed = int(os.environ.get("NOISE_SEED", random.SystemRandom().randrange(1 << 30)))
    print(f"NOISE_SEED={seed}")
    commands, events = stack.endpoints("tcp")
    bridge = stack.bridge(runtime, **QUICK, runtime_commands=f"{runtime.options['runtime_commands']},@{commands}",
                          runtime_events=f"{runtime.options['runtime_events']},@{events}")
    ports = {**bridge.ports, "commands": int(commands.rsplit(":", 1)[1]), "events": int(events.rsplit(":", 1)[1])}
    token = stack.keys.token("mallory").encode()
    with siege(stack, runtime, bridge):
        with concurrent.futures.ThreadPoolExecutor(len(ports)) as pool:
            beginnings = {name: [one.replace(b"%(token)s", token) for one in BEGINNINGS[name]] for name in ports}
            jobs = [pool.submit(noise, ("127.0.0.1", port), beginnings[name], seed + number)
                    for number, (name, port) in enumerate(ports.items())]
            refused = sum(job.result() for job in jobs)
    assert bridge.metric("http_requests_total", **{"class": "4xx"}) == refused


SLOW_ATTACKS = {
    "slow-headers": ["-H", "-i", "1", "-x", "10"],
    "slow-read": ["-X", "-n", "1", "-w", "1", "-y", "2", "-z", "1", "-k", "3"],
    "range": ["-R", "-a", "5", "-b", "500"],
}


@pytest.mark.parametrize("attack", SLOW_ATTACKS)
def test_slowhttptest(runtime, stack, attack):
    """The tool of that name, in the modes that concern a server of WebSockets."""
    tool = shutil.which("slowhttptest")
    if not tool:
        pytest.skip("slowhttptest is not installed")
    bridge = stack.bridge(runtime, **QUICK)
    with siege(stack, runtime, bridge):
        done = subprocess.run([tool, *SLOW_ATTACKS[attack], "-c", str(MANY), "-r", str(MANY), "-l", "4", "-p", "3",
                               "-u", f"http://127.0.0.1:{bridge.ports['public']}/ws/health"],
                              capture_output=True, text=True, timeout=scaled(60), check=False)
        assert done.returncode == 0, done.stdout + done.stderr
        told = re.sub(r"\x1b\[[\d;]*[A-Za-z]", "", done.stdout)
        assert set(re.findall(r"service available:\s*(\w+)", told)) == {"YES"}, told
