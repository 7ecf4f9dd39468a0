"""Limits per address and per user, who the client is behind a proxy, and what happens when descriptors run out."""
import contextlib
import itertools
import json
import os
import resource
import shutil
import signal
import socket
import time

import pytest
from harness import SCALE, wait_until
from harness.raw import upgrade_head
from harness.tables import error_codes

CODES = error_codes()
PROXY, DIRECT = "127.0.0.1", "127.0.0.2"  # in these tests the first is a trusted proxy, the second is not


def ask(stack, user="alice", source=None, target="/ws", **headers):
    """One upgrade request: the raw client and the answer. X_Forwarded_For=... is the header X-Forwarded-For."""
    client = stack.raw(source=source)
    changes = {name.replace("_", "-"): value for name, value in headers.items()}
    answer = client.upgrade(target, {"Authorization": "Bearer " + stack.keys.token(user), **changes})
    assert answer is not None
    return client, answer


def let_in(stack, user="alice", source=None, **headers):
    """A raw client that has seen connection_established."""
    client, answer = ask(stack, user, source, **headers)
    assert answer.status == 101, answer
    assert client.recv_json()["type"] == "connection_established"
    return client


def refused(stack, code, mode="close", **how):
    """One upgrade request that is refused with this code."""
    client, answer = ask(stack, **how)
    if mode == "http":
        assert (answer.status, json.loads(answer.body)["error_code"]) == (CODES[code].status, code)
        assert answer.headers["retry-after"] == "1"
        return
    assert answer.status == 101
    frame = client.recv_json()
    assert (frame["type"], frame["error_code"], frame["retry_allowed"]) == ("connection_error", code, True)
    assert client.recv_close() == (1013, "Try again later")


# --- connections per address


@pytest.mark.parametrize("mode", ["close", "http"])
def test_connections_per_address(runtime, stack, mode):
    """Two of one address, whoever the user; the third is refused, other addresses are not, and who goes makes room."""
    bridge = stack.bridge(runtime, auth_failure=mode, max_connections_per_address=2)
    first = stack.connect("alice")
    let_in(stack, "bob")
    refused(stack, "ADDRESS_CONNECTION_LIMIT", mode, user="carol")
    let_in(stack, "carol", source=DIRECT)
    first.close()
    runtime.wait_command("DISCONNECT", connection_id=first.connection_id)
    let_in(stack, "carol")
    refused(stack, "ADDRESS_CONNECTION_LIMIT", mode, user="dave")
    assert bridge.metric("handshakes_total", result="address_connection_limit") == 2
    assert bridge.metric("handshakes_total", result="ok") == 4
    assert bridge.wait_log("HANDSHAKE_REFUSED", error_code="ADDRESS_CONNECTION_LIMIT", remote=PROXY)


def test_no_limit_by_default(bridge, stack):
    """An ingress or NAT, one address for all, is not held back: 60 users, as fast as they come."""
    clients = stack.connect_all([f"user-{number}" for number in range(60)])
    assert len({client.connection_id for client in clients}) == 60
    assert bridge.metric("handshakes_total", result="ok") == 60
    assert bridge.total("rates_tracked") == 0


def test_refused_tokens_hold_no_place(runtime, stack):
    """Connections that end at once, refused for their token, do not count against the address."""
    bridge = stack.bridge(runtime, max_connections_per_address=1)
    for _ in range(3):
        client = stack.raw()
        assert client.upgrade(changes={"Authorization": "Bearer x"}).status == 101
        assert client.recv_json()["error_code"] == "JWT_FORMAT_INVALID"
    let_in(stack)
    assert bridge.metric("handshakes_total", result="address_connection_limit") == 0


# --- handshakes per second and address

BURST = 10  # seconds' worth


def quick_burst(stack, count, proxy=None):
    """So many requests of one address within a second, in which nothing exact can come back to its bucket: (address,
    answers, refused in all). An attempt that took longer proves nothing; the next one has another address. Behind a proxy
    the address stands in its header."""
    turned_away = 0
    for number in itertools.count(10):
        address = f"127.0.0.{number}"
        how = {"source": proxy, "X_Forwarded_For": address} if proxy else {"source": address}
        start = time.monotonic()
        answers = [ask(stack, f"user-{number}-{turn}", **how)[1] for turn in range(count)]
        turned_away += sum(answer.status == 429 for answer in answers)
        if time.monotonic() - start < 0.9:
            return address, answers, turned_away


def test_handshakes_per_second(runtime, stack):
    """One a second, ten at once: the eleventh is answered 429 with Retry-After; later it goes on. Others are not held."""
    bridge = stack.bridge(runtime, handshakes_per_second_per_address=1)
    source, answers, turned_away = quick_burst(stack, BURST + 1)
    assert [answer.status for answer in answers] == [101] * BURST + [429]
    last = answers[-1]
    assert last.headers["retry-after"] == "1" and last.headers["content-type"] == "application/json"
    assert json.loads(last.body) == {"error_code": "TOO_MANY_HANDSHAKES",
                                     "error_message": CODES["TOO_MANY_HANDSHAKES"].message}
    assert bridge.metric("handshakes_total", result="too_many_handshakes") == turned_away
    assert bridge.wait_log("HANDSHAKES_LIMITED", remote=source)
    let_in(stack, source=DIRECT)
    assert bridge.metric("rates_tracked", of="addresses") >= 2
    wait_until(lambda: ask(stack, source=source)[1].status == 101, what="a new token")


def test_rate_comes_first(runtime, stack):
    """Over the rate nothing else is looked at: neither the token nor the form of the request."""
    bridge = stack.bridge(runtime, handshakes_per_second_per_address=1, auth_failure="http")
    source, _, _ = quick_burst(stack, BURST + 1)
    before = bridge.total("handshakes_total"), bridge.metric("handshakes_total", result="too_many_handshakes")
    statuses = []
    while 429 not in statuses:  # in a second one of these may get further
        client = stack.raw(source=source)
        statuses.append(client.upgrade(changes={"Sec-WebSocket-Version": "8", "Authorization": "Bearer x"}).status)
    after = bridge.total("handshakes_total"), bridge.metric("handshakes_total", result="too_many_handshakes")
    assert statuses == [426] * (len(statuses) - 1) + [429]
    assert (after[0] - before[0], after[1] - before[1]) == (1, 1)
    health = stack.raw(source=source)
    health.send(b"GET /ws/health HTTP/1.1\r\nHost: a\r\n\r\n")
    assert health.response().status == 200


def test_rate_behind_a_proxy(runtime, stack):
    """The proxy's clients have their own buckets; one of them that is over it takes nothing from the others."""
    stack.bridge(runtime, handshakes_per_second_per_address=1, trusted_proxies=PROXY)
    _, answers, _ = quick_burst(stack, BURST + 1, PROXY)
    assert [answer.status for answer in answers] == [101] * BURST + [429]
    let_in(stack, "bob", X_Forwarded_For="198.51.100.1")
    let_in(stack, "bob")


# --- messages per minute and user


def handled(bridge):
    """Messages that the bridge has dealt with."""
    return sum(bridge.metric("client_messages_total", result=result) for result in ("forwarded", "user_rate_limited"))


def test_messages_per_user(runtime, stack):
    """60 a minute, six at once, over all connections of a user; what comes then is refused on whichever connection. A new
    connection brings no new six, and another user has his own."""
    bridge = stack.bridge(runtime, client_messages_per_minute_per_user=60)
    for attempt in itertools.count(1):  # one that took longer proves nothing: a message more may pass each second
        user = f"user-{attempt}"
        clients = [stack.connect(user), stack.connect(user)]
        start = time.monotonic()
        for number in range(6):
            clients[number % 2].send({"type": "user_message", "message_id": "early"})
        wait_until(lambda sent=9 * attempt - 3: handled(bridge) == sent, what="the first six")
        clients.append(stack.connect(user))
        for client in clients:
            client.send({"type": "user_message", "message_id": "late"})
        wait_until(lambda sent=9 * attempt: handled(bridge) == sent, what="all of them")
        if time.monotonic() - start < 0.9:
            break
    for client in clients:
        frame = client.recv_type("error_message")
        assert (frame["error_code"], frame["details"]) == ("RATE_LIMITED", {"message_id": "late"})
    assert len(runtime.wait_commands("MESSAGE", 6, user_id=user)) == 6
    assert bridge.metric("client_messages_total", result="rate_limited") == 0
    assert len(bridge.logs("MESSAGE_REFUSED", user=user, error_code="RATE_LIMITED",
                           limit="client-messages-per-minute-per-user")) == 3
    assert bridge.metric("rates_tracked", of="users") >= 1
    other = stack.connect("other")
    other.send({"type": "user_message"})
    runtime.wait_command("MESSAGE", user_id="other")


# --- who the client is

# headers of a request that a trusted proxy has sent: the client's address, None when they are unusable
NAMED = {
    "none": ({}, PROXY),
    "x": ({"X_Forwarded_For": "203.0.113.9"}, "203.0.113.9"),
    "x-port": ({"X_Forwarded_For": "203.0.113.9:4711"}, "203.0.113.9"),
    "x-v6": ({"X_Forwarded_For": "[2001:DB8::9]:4711"}, "2001:db8::9"),
    "x-rightmost": ({"X_Forwarded_For": "8.8.8.8, 203.0.113.9, 127.0.0.1"}, "203.0.113.9"),
    "x-client-garbage": ({"X_Forwarded_For": "\", \x01evil\\, for=8.8.8.8, 203.0.113.9".replace("\x01", "\xff")},
                         "203.0.113.9"),
    "x-lines": ({"X_Forwarded_For": ["8.8.8.8", "203.0.113.9"]}, "203.0.113.9"),
    "forwarded": ({"Forwarded": "for=203.0.113.9;proto=https"}, "203.0.113.9"),
    "forwarded-v6": ({"Forwarded": 'proto=https; For="[2001:db8::9]:_p"'}, "2001:db8::9"),
    "forwarded-quotes": ({"Forwarded": 'for="8.8.8.8, for=203.0.113.9;host="a,b\\"", for="127.0.0.1"'}, "203.0.113.9"),
    "both": ({"X_Forwarded_For": "8.8.8.8", "Forwarded": "for=203.0.113.9"}, "203.0.113.9"),
    "forwarded-bad-x-good": ({"X_Forwarded_For": "203.0.113.9", "Forwarded": "nonsense"}, None),
    "x-empty": ({"X_Forwarded_For": ""}, None),
    "x-unknown": ({"X_Forwarded_For": "203.0.113.9, unknown"}, None),
    "x-word": ({"X_Forwarded_For": "client.example"}, None),
    "forwarded-hidden": ({"Forwarded": "for=_hidden"}, None),
    "forwarded-open-quote": ({"Forwarded": 'for="203.0.113.9'}, None),
}


@pytest.mark.parametrize("case", NAMED)
def test_named_by_a_proxy(runtime, stack, case):
    """CONNECT and the log say whom the trusted proxy names; what is unusable is counted, and the proxy's own address
    stands. From anybody else the same headers say nothing."""
    headers, client = NAMED[case]
    bridge = stack.bridge(runtime, trusted_proxies="10.0.0.0/8, 127.0.0.1/32")
    let_in(stack, source=PROXY, **headers)
    assert runtime.wait_command("CONNECT").headers["remote"] == (client or PROXY)
    assert bridge.wait_log("CONN_OPEN")["remote"] == (client or PROXY)
    assert bridge.metric("forwarded_unusable_total") == (client is None)
    assert len(bridge.logs("FORWARDED_UNUSABLE", remote=PROXY)) == (client is None)
    let_in(stack, source=DIRECT, **headers)
    assert runtime.wait_commands("CONNECT", 2)[1].headers["remote"] == DIRECT
    assert bridge.metric("forwarded_unusable_total") == (client is None)


def test_nobody_is_trusted_by_default(bridge, runtime, stack):
    """Without trusted-proxies headers say nothing, not even from loopback."""
    let_in(stack, X_Forwarded_For="203.0.113.9", Forwarded="for=203.0.113.9")
    assert runtime.wait_command("CONNECT").headers["remote"] == PROXY
    assert bridge.metric("forwarded_unusable_total") == 0


@pytest.mark.parametrize("header, remote", [("any", "203.0.113.2"), ("forwarded", "203.0.113.2"),
                                            ("x-forwarded-for", "203.0.113.1")])
def test_proxy_header(runtime, stack, header, remote):
    """proxy-header names the one that the proxy writes, so that clients cannot smuggle the other past it."""
    stack.bridge(runtime, trusted_proxies=PROXY, proxy_header=header)
    let_in(stack, X_Forwarded_For="203.0.113.1", Forwarded="for=203.0.113.2")
    assert runtime.wait_command("CONNECT").headers["remote"] == remote


def test_limit_by_named_address(runtime, stack):
    """Behind a proxy the limit is per client, IPv6 per /64; a client of its own cannot get around it by headers."""
    bridge = stack.bridge(runtime, trusted_proxies=PROXY, max_connections_per_address=1, max_connections_per_user=100)
    for address in ("203.0.113.1", "203.0.113.2", "2001:db8::1", "2001:db8:0:1::1"):
        let_in(stack, source=PROXY, X_Forwarded_For=address)
    for address in ("203.0.113.1", "8.8.8.8, 203.0.113.2", "2001:db8::ffff:1:2:3", "::ffff:203.0.113.1"):
        refused(stack, "ADDRESS_CONNECTION_LIMIT", source=PROXY, X_Forwarded_For=address)
    let_in(stack, source=DIRECT, X_Forwarded_For="203.0.113.50")
    for address in ("203.0.113.51", "127.0.0.1", "2001:db8:9::1"):
        refused(stack, "ADDRESS_CONNECTION_LIMIT", source=DIRECT, X_Forwarded_For=address, Forwarded=f'for="{address}"')
    assert bridge.metric("handshakes_total", result="address_connection_limit") == 7
    assert [line["remote"] for line in bridge.logs("HANDSHAKE_REFUSED")][-3:] == [DIRECT] * 3


HOSTILE = {
    "10000-empty": "," * 10000,
    "10000-proxies": ",".join(["127.0.0.1"] * 1600),
    "one-quote": '"',
    "quotes": '"' * 10001,
    "backslashes": "\\" * 10000 + '"',
    "open-with-escapes": 'for="' + '\\"' * 5000,
    "semicolons": ";" * 10000,
    "pairs": "for=1.1.1.1;" * 1000,
    "long-node": 'for="' + "1" * 10000 + '"',
    "brackets": "[" * 10000,
    "colons": ":" * 10000,
    "percent": "::1%" + "x" * 5000,
    "high-bytes": "\xff\xfe\x80" * 1000,
}


@pytest.mark.parametrize("case", HOSTILE)
def test_hostile_headers(runtime, stack, case):
    """Whatever stands there, in one header or the other: the client is let in as somebody, never as one of its choice."""
    bridge = stack.bridge(runtime, trusted_proxies=PROXY, max_header_bytes=32768)
    value = HOSTILE[case].encode("latin-1").decode("utf-8", "surrogateescape")
    for header in ("X_Forwarded_For", "Forwarded"):
        let_in(stack, **{header: value})
        let_in(stack, **{header: value + ", for=203.0.113.9" if header == "Forwarded" else value + ", 203.0.113.9"})
    remotes = [command.headers["remote"] for command in runtime.wait_commands("CONNECT", 4)]
    assert remotes == [PROXY, "203.0.113.9"] * 2
    unusable = 1 if case == "10000-proxies" else 2  # a list of nothing but proxies names the first of them
    assert bridge.metric("forwarded_unusable_total") == unusable


def test_reload(runtime, stack, tmp_path):
    """SIGHUP applies all of it."""
    file = tmp_path / "bridge.conf"
    file.write_text("log-level = info\n")
    bridge = stack.bridge(runtime, config=file)
    let_in(stack, X_Forwarded_For="203.0.113.9")
    file.write_text('trusted-proxies = "127.0.0.1"\nmax-connections-per-address = 1\n')
    bridge.signal(signal.SIGHUP)
    bridge.wait_log("RELOADED")
    let_in(stack, X_Forwarded_For="203.0.113.9")
    assert [command.headers["remote"] for command in runtime.wait_commands("CONNECT", 2)] == [PROXY, "203.0.113.9"]
    refused(stack, "ADDRESS_CONNECTION_LIMIT", X_Forwarded_For="203.0.113.9")
    refused(stack, "ADDRESS_CONNECTION_LIMIT")  # the first one is still there


def test_log_of_a_bad_request(runtime, stack):
    """The log names the client, not the proxy."""
    bridge = stack.bridge(runtime, trusted_proxies=PROXY)
    client = stack.raw()
    assert client.upgrade(changes={"Sec-WebSocket-Version": "8", "X-Forwarded-For": "203.0.113.9"}).status == 426
    assert bridge.wait_log("REQUEST_BAD", status=426)["remote"] == "203.0.113.9"


# --- privileges of loopback


def test_drain_is_for_the_real_peer(runtime, stack, outside_address):
    """No header makes a peer loopback, however much it is trusted."""
    bridge = stack.bridge(runtime, admin_listen="0.0.0.0:0", trusted_proxies="0.0.0.0/0, ::/0")
    for headers in ({"X-Forwarded-For": "127.0.0.1"}, {"Forwarded": "for=127.0.0.1"}, {"Forwarded": 'for="[::1]"'}):
        assert bridge.http("POST", "/drain", headers=headers, host=outside_address).status == 403
    assert bridge.metric("draining") == 0


def test_drain_from_loopback_whatever_headers(runtime, stack):
    """And none takes it away."""
    bridge = stack.bridge(runtime, trusted_proxies="127.0.0.0/8")
    assert bridge.http("POST", "/drain", headers={"X-Forwarded-For": "203.0.113.9"}).status == 200


# --- the request head


def padded_head(stack, bridge, size):
    """A good upgrade request of exactly so many bytes."""
    changes = {"Authorization": "Bearer " + stack.keys.token(), "X-Pad": ""}
    room = size - len(upgrade_head(bridge.ports["public"], changes=changes))
    return upgrade_head(bridge.ports["public"], changes={**changes, "X-Pad": "x" * room})


def test_head_size(runtime, stack):
    """max-header-bytes is let in, one byte more is 431, counted and logged."""
    bridge = stack.bridge(runtime, max_header_bytes=2000)
    for size, status in ((2000, 101), (2001, 431)):
        client = stack.raw()
        client.send(padded_head(stack, bridge, size))
        assert client.response().status == status
    assert bridge.metric("http_requests_total", **{"class": "4xx"}) == 1
    assert bridge.wait_log("REQUEST_BAD")["status"] == 431
    assert len(bridge.logs("REQUEST_BAD")) == 1


def test_number_of_headers(bridge, stack):
    """100 header lines are let in, 101 are not."""
    for count, status in ((100, 101), (101, 400)):
        filler = {f"X-{number}": "y" for number in range(count - 6)}  # five of the upgrade, one of the token
        assert ask(stack, **filler)[1].status == status
    assert bridge.wait_log("REQUEST_BAD")["why"] == "too many headers"
    assert bridge.metric("http_requests_total", **{"class": "4xx"}) == 1


def test_open_requests(runtime, stack):
    """max-open-requests may be on their way, one more is closed at once; who is answered makes room."""
    bridge = stack.bridge(runtime, max_open_requests=3, max_connections=1, http_timeout_s=600)
    open_ones = [stack.raw() for _ in range(3)]
    for client in open_ones:
        client.send(b"GET /nowhere HTTP/1.1\r\n")
    surplus = stack.raw()
    surplus.send(b"GET /nowhere HTTP/1.1\r\n\r\n")
    assert surplus.response() is None
    assert bridge.wait_log("ACCEPT_FAILED", why="too many open requests")["listener"] == "public"
    assert bridge.metric("accept_failures_total", reason="requests") == 1
    open_ones[0].send(b"\r\n")
    assert open_ones[0].response().status == 404
    open_ones[0].close()
    wait_until(lambda: answered(stack), what="room for a request")


def answered(stack):
    """Does a new request get an answer?"""
    client = stack.raw()
    client.send(b"GET /nowhere HTTP/1.1\r\n\r\n")
    return client.response() is not None


# --- messages


@pytest.mark.parametrize("opening, closing", [("[", "]"), ('{"a":', "}")])
def test_depth_of_messages(bridge, runtime, stack, opening, closing):
    """64 levels, the message's own object counted, go to the runtime; 65 are refused."""
    client = stack.connect()
    texts = ['{"type":"x","v":' + opening * inner + "0" * (opening != "[") + closing * inner + "}" for inner in (63, 64)]
    for text in texts:
        client.send(text)
    assert runtime.wait_command("MESSAGE").body.decode() == texts[0]
    assert client.recv_type("error_message")["error_code"] == "JSON_PARSE_ERROR"
    client.quiet(runtime)
    assert len(runtime.commands("MESSAGE")) == 1
    assert bridge.metric("client_messages_total", result="parse_error") == 1


# --- descriptors

SPARE = 512       # that main.c keeps for everything else
DESCRIPTORS = 520


@pytest.fixture(name="short")
def short_fixture(runtime, stack):
    """A bridge that may have no more than so many descriptors."""
    if not shutil.which("prlimit"):
        pytest.skip("there is no prlimit (util-linux)")
    return stack.bridge(runtime, wrap=["prlimit", f"--nofile={DESCRIPTORS}:{DESCRIPTORS}"], http_timeout_s=60)


def test_descriptors_limit_connections(short, runtime, stack):
    """The start says what the limit makes of max-connections; that many get in, one more does not, until one has gone."""
    room = DESCRIPTORS - SPARE
    line = short.wait_log("LIMITED")
    assert (line["max_connections"], line["descriptors"], line["now"]) == (10000, DESCRIPTORS, room)
    assert short.wait_log("START")["max_connections"] == room
    clients = [stack.connect(f"user-{number}") for number in range(room)]
    refused(stack, "TOO_MANY_CONNECTIONS", user="late")
    clients[0].close()
    runtime.wait_command("DISCONNECT", connection_id=clients[0].connection_id)
    short.wait_total("connections", room - 1)
    stack.connect("late").ping()
    assert short.metric("handshakes_total", result="too_many_connections") == 1


def test_enough_descriptors(bridge):
    """Nothing is said when there are enough."""
    if resource.getrlimit(resource.RLIMIT_NOFILE)[1] < 10000 + SPARE:
        pytest.skip("this machine allows fewer descriptors than max-connections wants")
    assert not bridge.logs("LIMITED")


def cpu_seconds(process):
    """What the process has used so far."""
    with open(f"/proc/{process.pid}/stat", encoding="ascii") as file:
        fields = file.read().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def test_out_of_descriptors(short, stack):
    """More peers than descriptors: the bridge says so, rests between its attempts, serves who is in, and goes on when they
    have gone."""
    client = stack.connect()
    with contextlib.ExitStack() as peers:
        for _ in range(DESCRIPTORS + 50):
            peer = peers.enter_context(socket.create_connection(("127.0.0.1", short.ports["public"]), timeout=10 * SCALE))
            peer.sendall(b"GET /ws HTTP/1.1\r\n")
        assert short.wait_log("ACCEPT_FAILED", listener="public", why="Too many open files")
        start, used = time.monotonic(), cpu_seconds(short.process)
        wait_until(lambda: len(short.logs("ACCEPT_FAILED")) >= 4, what="more attempts")
        assert cpu_seconds(short.process) - used < (time.monotonic() - start) / 2
        client.ping()
        assert not short.logs("SUPPRESSED")
    wait_until(lambda: short.http("GET", "/livez").status == 200, what="the admin port")
    stack.connect("late").ping()
    client.ping()
    assert short.metric("log_lines_suppressed_total") == 0
    assert short.metric("accept_failures_total", reason="descriptors") == len(short.logs("ACCEPT_FAILED"))


def test_too_often_holds_no_descriptor(runtime, stack):
    """Whoever is answered 429 and does not close holds nothing: more of them than there are descriptors do no harm."""
    if not shutil.which("prlimit"):
        pytest.skip("there is no prlimit (util-linux)")
    bridge = stack.bridge(runtime, wrap=["prlimit", f"--nofile={DESCRIPTORS}:{DESCRIPTORS}"],
                          handshakes_per_second_per_address=1)
    with contextlib.ExitStack() as peers:
        for _ in range(DESCRIPTORS + 100):
            peer = peers.enter_context(socket.create_connection((PROXY, bridge.ports["public"]), timeout=10 * SCALE))
            peer.sendall(b"GET /ws HTTP/1.1\r\nHost: a\r\n\r\n")
            assert peer.recv(12) in (b"HTTP/1.1 426", b"HTTP/1.1 429")
        assert bridge.metric("handshakes_total", result="too_many_handshakes") > DESCRIPTORS / 2
    assert not bridge.logs("ACCEPT_FAILED")
