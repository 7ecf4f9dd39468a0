"""Keys by URL: fetched beside the loop, kept fresh, kept when the server fails, and never asked too often."""
import json
import pathlib
import re
import signal
import threading
import time

import pytest
from harness import metrics, run_program, scaled, wait_until
from harness.client import LOOP, gather
from harness.jwks_server import PATH, IssuerKey, JwksServer, make_certificate
from test_14_program import reload_with

FRESH_1S = {"jwks_min_age_s": 1, "jwks_max_age_s": 1}        # fetched again within a second
IMPATIENT = {"jwks_retry_ms": 50, "jwks_breaker_failures": 1000}
REFRESHES = "jwks_refreshes_total"
EMPTY = "no keys from jwks-url yet"
TOO_OLD = "the keys from jwks-url are too old"


@pytest.fixture(name="server")
def server_fixture(tmp_path):
    """A server with one key that listens."""
    server = JwksServer(tmp_path)
    server.keys = [IssuerKey("first")]
    yield server.start()
    server.stop()


def verdict(stack, token):
    """"ok", or the error code of the refusal (auth-failure=http)."""
    client = stack.raw()
    answer = client.upgrade(changes={"Authorization": f"Bearer {token}"})
    client.close()
    return "ok" if answer.status == 101 else json.loads(answer.body)["error_code"]


def not_ready(bridge):
    """The reasons of /readyz."""
    status, answer = bridge.get_json("/readyz")
    assert (status == 200) == answer["ready"]
    return answer["reasons"]


def failures(bridge):
    """Fetches that brought nothing. All from one scrape: they go on meanwhile."""
    samples = bridge.metrics()
    good = sum(metrics.value(samples, REFRESHES, result=result) for result in ("ok", "not_modified"))
    return metrics.total(samples, REFRESHES) - good


def wait_fetches(bridge, count, result="ok"):
    """Until so many fetches, or more, have ended like this."""
    wait_until(lambda: bridge.metric(REFRESHES, result=result) >= count, 20, f"{count} fetches with result {result}")


# fetching

def test_first_fetch(server, runtime, stack):
    """One fetch, and the bridge is ready; its keys are judged like those of a file."""
    bridge = stack.bridge(runtime, **server.options())
    key, stranger = server.keys[0], IssuerKey("first")
    before = time.time()
    assert verdict(stack, key.token(stack.keys)) == "ok"
    assert verdict(stack, stranger.token(stack.keys)) == "VALIDATION_FAILED"
    assert verdict(stack, stack.keys.token(alg="HS256")) == "VALIDATION_FAILED"
    assert bridge.metric(REFRESHES, result="ok") == bridge.total(REFRESHES) == 1
    assert before - 60 < bridge.metric("jwks_last_success_timestamp_seconds") <= time.time()
    assert bridge.metric("auth_breaker_state") == 0
    fetched = bridge.wait_log("JWKS_FETCHED")
    assert (fetched["changed"], fetched["keys"], fetched["fresh_s"]) == (True, 1, 300)
    assert [path for path, _ in server.requests] == [PATH]
    assert server.requests[0][1]["user-agent"].startswith("agentbridge/")
    assert bridge.get_json("/ws/health")[1]["checks"]["auth_keys"] is True


def test_http_to_loopback(runtime, stack, tmp_path):
    """Without TLS it works to loopback, in production too."""
    server = JwksServer(tmp_path, tls=False)
    server.keys = [IssuerKey("first")]
    server.start()
    try:
        stack.bridge(runtime, environment="production", **server.options())
        assert verdict(stack, server.keys[0].token(stack.keys)) == "ok"
    finally:
        server.stop()


def test_start_without_the_server(server, runtime, stack):
    """The bridge starts, says that it is not ready and why, and becomes ready when the first set is there."""
    server.stop()
    bridge = stack.bridge(**runtime.options, **server.options(**IMPATIENT))
    runtime.wait_subscribed()
    wait_until(lambda: not_ready(bridge) == [EMPTY], what="no other reason left")
    status, health = bridge.get_json("/ws/health")
    assert (status, health["status"], health["checks"]["auth_keys"]) == (503, "unhealthy", False)
    answer = stack.raw().upgrade(changes={"Authorization": f"Bearer {server.keys[0].token(stack.keys)}"})
    assert (answer.status, json.loads(answer.body)["error_code"]) == (503, "AUTH_KEYS_UNAVAILABLE")
    assert "retry-after" in answer.headers
    assert bridge.wait_log("JWKS_FAILED")["result"] == "unreachable"
    assert bridge.metric("jwks_last_success_timestamp_seconds") == 0
    server.start()
    bridge.wait_ready()
    assert verdict(stack, server.keys[0].token(stack.keys)) == "ok"


def test_beside_other_keys(server, runtime, stack, tmp_path):
    """The union counts: a secret, a file and the URL. A secret in the fetched set does not count."""
    file = tmp_path / "jwks.json"
    in_file, published = IssuerKey("file"), "p" * 64
    file.write_text(json.dumps({"keys": [in_file.jwk()]}))
    server.keys.append({"kty": "oct", "kid": "published", "k": "cHBw" * 21 + "cA"})
    bridge = stack.bridge(runtime, **server.options(jwt_secret=stack.keys.secret, jwks_file=file))
    for token in (stack.keys.token(), in_file.token(stack.keys), server.keys[0].token(stack.keys)):
        assert verdict(stack, token) == "ok"
    assert verdict(stack, stack.keys.token(key=published, kid="published")) == "VALIDATION_FAILED"
    assert "kid published" in bridge.wait_log("KEY_SKIPPED")["why"]
    assert len(server.requests) == 1


def test_other_keys_while_the_url_fails(server, runtime, stack):
    """Tokens under the secret count; those that the missing set may know can try again; the bridge is not ready."""
    server.answer_with = (500, {}, b"")
    bridge = stack.bridge(**runtime.options, **server.options(jwt_secret=stack.keys.secret, **IMPATIENT))
    runtime.wait_subscribed()
    bridge.wait_log("JWKS_FAILED")
    wait_until(lambda: not_ready(bridge) == [EMPTY], what="no other reason left")
    assert verdict(stack, stack.keys.token()) == "ok"
    assert verdict(stack, stack.keys.token(key="x" * 64)) == "VALIDATION_FAILED"
    assert verdict(stack, server.keys[0].token(stack.keys)) == "AUTH_KEYS_UNAVAILABLE"


# headers of the cache

@pytest.mark.parametrize("headers, fresh_s", [
    ({"Cache-Control": "public, max-age=600"}, 600),
    ({"Cache-Control": "max-age=600", "Age": "100"}, 500),
    ({"Cache-Control": "max-age=5"}, 200),
    ({"Cache-Control": "no-store"}, 200),
    ({"Expires": "Thu, 01 Jan 1970 00:00:00 GMT"}, 200),
    ({"Cache-Control": "max-age=31536000"}, 900),
    ({"Date": "Sun, 06 Nov 1994 08:49:37 GMT", "Expires": "Sun, 06 Nov 1994 08:59:37 GMT"}, 600),
    ({}, 300)])
def test_cache_headers(server, stack, headers, fresh_s):
    """Between the floor and the ceiling the server says how long its set is fresh."""
    server.headers = headers
    bridge = stack.bridge(**server.options(jwks_min_age_s=200, jwks_max_age_s=900))
    assert bridge.wait_log("JWKS_FETCHED")["fresh_s"] == fresh_s


def test_refreshed_ahead(server, runtime, stack):
    """Before it is stale the set is fetched again, and what is no longer in it no longer counts, remembered or not."""
    bridge = stack.bridge(runtime, **server.options(**FRESH_1S))
    old, new = server.keys[0], IssuerKey("second")
    token = old.token(stack.keys)
    assert verdict(stack, token) == "ok"
    server.keys = [new]
    server.headers = {"Cache-Control": "max-age=3600"}  # over the ceiling
    wait_fetches(bridge, 3)
    assert verdict(stack, new.token(stack.keys)) == "ok"
    assert wait_until(lambda: verdict(stack, token) == "VALIDATION_FAILED")
    assert failures(bridge) == 0


def test_not_modified(server, runtime, stack):
    """The ETag goes back in If-None-Match, and a 304 makes the set at hand fresh again."""
    server.headers = {"ETag": '"v1"', "Cache-Control": "max-age=1"}
    bridge = stack.bridge(runtime, **server.options(**FRESH_1S, jwks_stale_s=int(scaled(3))))
    wait_fetches(bridge, int(scaled(5)), "not_modified")  # by then the first set would be too old
    assert verdict(stack, server.keys[0].token(stack.keys)) == "ok"
    assert "if-none-match" not in server.requests[0][1]
    assert {headers["if-none-match"] for _, headers in server.requests[1:]} == {'"v1"'}
    assert bridge.metric(REFRESHES, result="ok") == 1
    server.headers, server.keys = {"ETag": '"v2"'}, [IssuerKey("second")]
    wait_fetches(bridge, 2)
    assert verdict(stack, server.keys[0].token(stack.keys)) == "ok"


def test_the_same_bytes_again(server, runtime, stack):
    """Without an ETag the whole set comes each time; the same bytes are not judged again, and count as a fetch that brought
    the set."""
    weak = {"kty": "EC", "crv": "P-192", "kid": "weak", "x": "AA", "y": "AA"}
    server.keys.append(weak)
    bridge = stack.bridge(runtime, **server.options(**FRESH_1S, jwks_stale_s=int(scaled(3))))
    wait_fetches(bridge, int(scaled(5)))  # by then the first set would be too old
    assert verdict(stack, server.keys[0].token(stack.keys)) == "ok"
    assert [line["changed"] for line in bridge.logs("JWKS_FETCHED")][:2] == [True, False]
    assert len(bridge.logs("KEY_SKIPPED")) == 1
    server.keys = [IssuerKey("second"), weak]
    wait_until(lambda: verdict(stack, server.keys[0].token(stack.keys)) == "ok", what="the changed set in force")
    wait_until(lambda: len(bridge.logs("KEY_SKIPPED")) == 2, what="the changed set's word")
    assert failures(bridge) == 0


# rotation

def test_unknown_kid(server, runtime, stack):
    """A hundred tokens with a new kid have the set fetched once. While it is under way they may try again; then the new key
    counts, and a kid that is not in the fresh set is refused for good without another fetch."""
    bridge = stack.bridge(runtime, **server.options(jwks_kid_refresh_s=3600))
    old, new = server.keys[0], IssuerKey("second")
    server.keys = [old, new]
    server.gate.clear()
    assert verdict(stack, new.token(stack.keys)) == "AUTH_KEYS_UNAVAILABLE"
    server.wait_requests(2)

    async def refused(number):
        client = stack.client(token=new.token(stack.keys, f"user-{number}"))
        try:
            await client.open_async()
        except Exception as fault:  # pylint: disable=broad-except
            return getattr(fault, "status_code", fault)
        return 101
    assert LOOP.run(gather([refused(number) for number in range(99)])) == [503] * 99
    assert bridge.metric("handshakes_total", result="auth_keys_unavailable") == 100
    assert verdict(stack, old.token(stack.keys)) == "ok"
    server.gate.set()
    wait_fetches(bridge, 2)
    assert verdict(stack, new.token(stack.keys)) == "ok"
    assert verdict(stack, IssuerKey("nobody").token(stack.keys)) == "VALIDATION_FAILED"
    server.wait_requests(2)
    assert len(bridge.logs("JWKS_KID")) == 1


def test_kid_refresh_again(server, runtime, stack):
    """After jwks-kid-refresh-s a new kid has the set fetched again."""
    bridge = stack.bridge(runtime, **server.options(jwks_kid_refresh_s=1))
    for number in (2, 3):
        server.keys = [IssuerKey(f"number {number}")]
        token = server.keys[0].token(stack.keys)
        wait_until(lambda: verdict(stack, token) == "ok", what="the new key")  # pylint: disable=cell-var-from-loop
        assert bridge.metric(REFRESHES, result="ok") == number
    assert verdict(stack, stack.keys.token()) == "VALIDATION_FAILED"


def test_refresh_token_with_a_new_key(server, runtime, stack):
    """refresh_token with a new kid has the set fetched as well; the connection lives on."""
    stack.bridge(runtime, **server.options())
    client = stack.connect(token=server.keys[0].token(stack.keys))
    server.keys.append(IssuerKey("second"))
    answers = []
    while not answers or answers[-1] != "token_refreshed":
        client.send({"type": "refresh_token", "token": server.keys[1].token(stack.keys)})
        answers.append(client.recv_event()["type"])
        assert answers[-1] in ("token_refreshed", "error_message")
    assert answers[0] == "error_message"
    server.wait_requests(2)


class Crowd:
    """Connects again and again with the issuer's present key, and tries again only when it is told that it may."""

    def __init__(self, stack, key):
        self.stack, self.key = stack, key
        self.connected, self.refused = 0, []
        self._end = threading.Event()
        self._threads = [threading.Thread(target=self._run, args=(number,), daemon=True) for number in range(3)]
        for thread in self._threads:
            thread.start()

    def _run(self, number):
        while not self._end.is_set():
            outcome = verdict(self.stack, self.key.token(self.stack.keys, f"user-{number}"))
            if outcome == "ok":
                self.connected += 1
            elif outcome != "AUTH_KEYS_UNAVAILABLE":
                self.refused.append(outcome)

    def wait_more(self, count=20):
        """Until so many more were let in."""
        target = self.connected + count
        wait_until(lambda: self.connected >= target or self.refused, 30, "connections")

    def stop(self):
        """Nobody may have been turned away."""
        self._end.set()
        for thread in self._threads:
            thread.join()
        assert not self.refused, self.refused[:5]


@pytest.mark.long
def test_rotation(server, runtime, stack):
    """Keys change five times under a crowd that connects all the time: each new key stands beside the old one before it
    signs, and nobody is turned away. Nor is anybody who was connected before."""
    bridge = stack.bridge(runtime, **server.options(**FRESH_1S))
    client = stack.connect("bob", token=server.keys[0].token(stack.keys, "bob"))
    crowd = Crowd(stack, server.keys[0])
    try:
        for number in range(5):
            crowd.wait_more()
            new = IssuerKey(f"rotated-{number}")
            server.keys = [crowd.key, new]
            asked = len(server.requests)
            wait_until(lambda: len(server.requests) > asked + 1,  # pylint: disable=cell-var-from-loop
                       what="a fetch of both keys")
            crowd.key = new
            crowd.wait_more()
            server.keys = [new]
    finally:
        crowd.stop()
    client.ping()
    assert failures(bridge) == 0
    assert bridge.metric("handshakes_total", result="validation_failed") == 0


def test_rotation_at_once(server, runtime, stack):
    """An issuer that signs with its new key at once: everybody may try again, and is let in after one more fetch."""
    bridge = stack.bridge(runtime, **server.options())
    crowd = Crowd(stack, server.keys[0])
    try:
        crowd.wait_more()
        new = IssuerKey("second")
        server.keys = [crowd.key, new]
        crowd.key = new
        wait_fetches(bridge, 2)
        crowd.wait_more()
    finally:
        crowd.stop()
    server.wait_requests(2)
    assert bridge.metric("handshakes_total", result="auth_keys_unavailable") >= 1


# failures

FAULTS = {
    "500": ((500, {}, b"{}"), "http_status"),
    "404": ((404, {}, b""), "http_status"),
    "204": ((204, {}, b""), "http_status"),
    "304": ((304, {}, b""), "http_status"),
    "garbage": ((200, {}, b"\x00\xff<html>"), "malformed"),
    "empty": ((200, {}, b""), "malformed"),
    "no-set": ((200, {}, b'{"keys":{}}'), "malformed"),
    "no-keys": ((200, {}, b'{"keys":[]}'), "no_keys"),
    "only-secrets": ((200, {}, b'{"keys":[{"kty":"oct","k":"' + b"A" * 43 + b'"}]}'), "no_keys"),
    "huge": ((200, {}, b'{"keys":[' + b" " * 70000 + b"]}"), "too_large"),
    "huge-in-chunks": ((200, {"Content-Length": "999999999"}, b" " * 70000), "too_large"),
    "huge-head": ((200, {f"X-{number}": "x" * 8000 for number in range(20)}, b"{}"), "too_large"),
    "cut-short": ((200, {"Content-Length": "2000", "Connection": "close"}, b'{"keys":['), "unreachable"),
    "to-http": ((302, {"Location": "http://127.0.0.1:1/keys"}, b""), "redirect"),
    "to-file": ((302, {"Location": "file:///etc/passwd"}, b""), "redirect"),
    "round-and-round": ((302, {"Location": PATH}, b""), "redirect"),
}


@pytest.mark.parametrize("case", FAULTS)
def test_bad_answers(server, runtime, stack, case):
    """Whatever the server says instead of a set: counted, logged, tried again; the last good set stays in force."""
    answer, result = FAULTS[case]
    bridge = stack.bridge(runtime, **server.options(**FRESH_1S, **IMPATIENT, jwks_max_bytes=65536))
    token = server.keys[0].token(stack.keys)
    server.answer_with = answer
    line = bridge.wait_log("JWKS_FAILED")
    assert (line["result"], line["kept"]) == (result, True) and line["why"] and 0 <= line["next_ms"] <= 50
    wait_fetches(bridge, 2, result)
    assert failures(bridge) >= 2
    assert verdict(stack, token) == "ok" and not_ready(bridge) == []
    assert {line["result"] for line in bridge.logs("JWKS_FAILED")} == {result}
    server.answer_with = None
    wait_fetches(bridge, 2)
    assert verdict(stack, server.keys[0].token(stack.keys)) == "ok"


def test_server_down(server, runtime, stack):
    """Nobody listens: the same."""
    bridge = stack.bridge(runtime, **server.options(**FRESH_1S, **IMPATIENT))
    server.stop()
    assert bridge.wait_log("JWKS_FAILED")["result"] == "unreachable"
    assert verdict(stack, server.keys[0].token(stack.keys)) == "ok"
    assert verdict(stack, IssuerKey("nobody").token(stack.keys)) == "AUTH_KEYS_UNAVAILABLE"  # nobody can know
    server.start()
    wait_fetches(bridge, 2)


def test_hanging_server(server, runtime, stack):
    """A fetch that hangs stops nobody."""
    bridge = stack.bridge(runtime, **server.options(**FRESH_1S, jwks_timeout_ms=60000))
    token = server.keys[0].token(stack.keys)
    client = stack.connect(token=token)
    server.gate.clear()
    server.wait_requests(2)
    client.ping()
    assert verdict(stack, token) == "ok" and not_ready(bridge) == []
    assert bridge.total(REFRESHES) == 1  # still under way
    server.gate.set()
    wait_fetches(bridge, 2)


def test_slow_server(server, runtime, stack):
    """A fetch ends with jwks-timeout-ms."""
    bridge = stack.bridge(runtime, **server.options(**FRESH_1S, **IMPATIENT, jwks_timeout_ms=int(scaled(500))))
    server.gate.clear()
    bridge.wait_log("JWKS_FAILED", result="timeout", kept=True)
    assert verdict(stack, server.keys[0].token(stack.keys)) == "ok"
    fetched = bridge.metric(REFRESHES, result="ok")
    server.gate.set()
    wait_fetches(bridge, fetched + 1)


def test_untrusted_certificate(server, stack, tmp_path):
    """An authority that is not in jwks-ca-file, or no jwks-ca-file: no set, and the reason."""
    for ca_file in (make_certificate(tmp_path), None):
        bridge = stack.bridge(**server.options(jwks_ca_file=ca_file))
        bridge.wait_log("JWKS_FAILED", result="tls")
        assert bridge.metric(REFRESHES, result="tls") >= 1
        assert EMPTY in not_ready(bridge)
    assert not server.requests


def test_certificate_of_another_host(stack, tmp_path):
    """A trusted certificate for another name: the same."""
    server = JwksServer(tmp_path, make_certificate(tmp_path, "keys.example"))
    server.start()
    try:
        bridge = stack.bridge(**server.options())
        bridge.wait_log("JWKS_FAILED", result="tls")
        assert not server.requests
    finally:
        server.stop()


def test_redirect_to_https(server, runtime, stack):
    """A redirect to https is followed, and only what stands behind it counts."""
    server.redirects = {"/a": "/b", "/b": server.url}
    server.headers = {"Cache-Control": "max-age=600"}
    bridge = stack.bridge(runtime, **server.options(jwks_url=server.url.replace(PATH, "/a")))
    assert [path for path, _ in server.requests] == ["/a", "/b", PATH]
    assert bridge.wait_log("JWKS_FETCHED")["fresh_s"] == 600
    assert verdict(stack, server.keys[0].token(stack.keys)) == "ok"


def test_stale_limit(server, runtime, stack):
    """After jwks-stale-s without a good fetch the keys no longer count; the bridge says so, and live connections stay."""
    bridge = stack.bridge(runtime, **server.options(**FRESH_1S, **IMPATIENT, jwks_stale_s=int(scaled(2))))
    token = server.keys[0].token(stack.keys)
    client = stack.connect(token=token)
    server.stop()
    bridge.wait_log("JWKS_TOO_OLD")
    assert verdict(stack, token) == "AUTH_KEYS_UNAVAILABLE"
    assert not_ready(bridge) == [TOO_OLD]
    assert bridge.get_json("/ws/health")[1]["checks"]["auth_keys"] is False
    client.ping()
    server.start()
    bridge.wait_ready()
    assert verdict(stack, token) == "ok"
    assert len(bridge.logs("JWKS_TOO_OLD")) == 1


# the breaker

def breaker_moves(bridge):
    """As logged."""
    return [(line["from"], line["to"]) for line in bridge.logs("JWKS_BREAKER")]


def wait_moves(bridge, moves):
    """Until the log, which is read a little later than metrics, has these and no others."""
    wait_until(lambda: len(breaker_moves(bridge)) >= len(moves), what="lines of the breaker")
    assert breaker_moves(bridge) == moves


def test_breaker(server, runtime, stack):
    """Closed, open after three failures in a row, half-open with one try, open again, half-open, closed. Known keys count
    all the time; while it is open nobody asks the server."""
    bridge = stack.bridge(runtime, **server.options(**FRESH_1S, jwks_retry_ms=50, jwks_breaker_failures=3,
                                                    jwks_breaker_open_s=int(scaled(3))))
    key, opened = server.keys[0], ("closed", "open")
    server.answer_with = (500, {}, b"")
    bridge.wait_metric("auth_breaker_state", 2)
    wait_moves(bridge, [opened])
    server.wait_requests(4)
    server.gate.clear()
    assert verdict(stack, key.token(stack.keys)) == "ok"
    assert verdict(stack, IssuerKey("nobody").token(stack.keys)) == "AUTH_KEYS_UNAVAILABLE"
    assert bridge.total(REFRESHES) == 4
    bridge.wait_metric("auth_breaker_state", 1)
    server.wait_requests(5)
    assert verdict(stack, key.token(stack.keys)) == "ok"
    server.gate.set()
    bridge.wait_metric("auth_breaker_state", 2)
    assert bridge.metric(REFRESHES, result="http_status") == 4
    moves = [opened, ("open", "half-open"), ("half-open", "open")]
    wait_moves(bridge, moves)
    server.answer_with = None
    bridge.wait_metric("auth_breaker_state", 0)
    wait_moves(bridge, moves + [("open", "half-open"), ("half-open", "closed")])
    assert bridge.metric(REFRESHES, result="ok") == 2


def test_bad_tokens_do_not_open_it(server, runtime, stack):
    """A flood of bad tokens of every kind is no failure of the service; at most one fetch comes of it."""
    bridge = stack.bridge(runtime, **server.options(jwks_kid_refresh_s=3600, jwks_breaker_failures=1))
    key, stranger = server.keys[0], IssuerKey("first")
    token = key.token(stack.keys)
    bad = [stranger.token(stack.keys), stack.keys.token(alg="ES256"), stack.keys.token(alg="RS256", kid="first"),
           stack.keys.token(kid="nobody"), "rubbish", token[:-8] + "AAAAAAAA", key.token(stack.keys, ttl=-600)]
    for number in range(20):
        codes = [verdict(stack, one) for one in [*bad, IssuerKey(f"nobody-{number}").token(stack.keys)]]
        assert codes[:7] == ["VALIDATION_FAILED"] * 4 + ["JWT_FORMAT_INVALID", "VALIDATION_FAILED", "TOKEN_EXPIRED"]
        assert codes[7] in ("VALIDATION_FAILED", "AUTH_KEYS_UNAVAILABLE")
    wait_fetches(bridge, 2)
    server.wait_requests(2)
    assert failures(bridge) == 0 and not breaker_moves(bridge)
    assert bridge.metric("auth_breaker_state") == 0
    assert verdict(stack, token) == "ok"


# the program

def test_reload(server, runtime, stack, tmp_path):
    """SIGHUP: other keys change, fetched ones stay, though the server is gone; jwks-url itself wants a restart."""
    secret, file = tmp_path / "secret", tmp_path / "bridge.cfg"
    secret.write_text("a" * 64)
    options = server.options(jwt_secret_file=secret)
    file.write_text(f"jwks-url = {options.pop('jwks_url')}\n")
    bridge = stack.bridge(runtime, config=file, **options)
    fetched = server.keys[0].token(stack.keys)
    old, new = stack.keys.token(key="a" * 64), stack.keys.token(key="b" * 64)
    assert [verdict(stack, token) for token in (fetched, old, new)] == ["ok", "ok", "VALIDATION_FAILED"]
    server.stop()
    secret.write_text("b" * 64)
    assert reload_with(bridge, file, "jwks-url = https://127.0.0.1:1/other\njwt-algorithms = HS256,ES256\n") == "RELOADED"
    assert [verdict(stack, token) for token in (fetched, old, new)] == ["ok", "VALIDATION_FAILED", "ok"]
    assert bridge.logs("RELOADED")[0]["want_restart"] == "jwks-url"
    assert not_ready(bridge) == []
    assert reload_with(bridge, file, f"jwks-url = {server.url}\njwt-algorithms = HS256\n") == "RELOADED"
    assert [verdict(stack, token) for token in (fetched, new)] == ["VALIDATION_FAILED", "ok"]
    assert reload_with(bridge, file, f"jwks-url = {server.url}\n") == "RELOADED"
    assert verdict(stack, fetched) == "ok"


def test_end_during_a_fetch(server, stack):
    """The end waits neither for the server nor for jwks-timeout-ms."""
    server.gate.clear()
    bridge = stack.bridge(**server.options(jwks_timeout_ms=60000))
    server.wait_requests(1)
    assert bridge.stop() == 0
    assert not server.gate.is_set()


def test_signals_are_the_loops(server, runtime, stack):
    """No other thread takes a signal, which would end its wait."""
    bridge = stack.bridge(runtime, **server.options())
    pid = bridge.process.pid
    for task in pathlib.Path(f"/proc/{pid}/task").iterdir():
        if task.name != str(pid):
            blocked = int(re.search(r"^SigBlk:\s*(\w+)$", (task / "status").read_text(), re.M)[1], 16)
            for number in (signal.SIGHUP, signal.SIGINT, signal.SIGTERM):
                assert blocked & 1 << (number - 1), (task.name, number)


def test_end_while_it_waits(server, stack):
    """Nor for the open breaker."""
    server.stop()
    bridge = stack.bridge(**server.options(jwks_breaker_failures=1, jwks_breaker_open_s=3600))
    bridge.wait_metric("auth_breaker_state", 2)
    bridge.signal(signal.SIGINT)
    assert bridge.wait_exit() == 0


URL_FAULTS = {
    "ftp": ({"jwks_url": "ftp://127.0.0.1/keys"}, ["jwks-url", "https"]),
    "no-host": ({"jwks_url": "https:///keys"}, ["jwks-url", "https"]),
    "bad-port": ({"jwks_url": "https://keys.example:99999/keys"}, ["jwks-url", "99999"]),
    "with-password": ({"jwks_url": "https://me:secret@keys.example/keys"}, ["jwks-url", "user"]),
    "blank": ({"jwks_url": "https://keys.example/a b"}, ["jwks-url"]),
    "http-in-production": ({"jwks_url": "http://keys.example/", "environment": "production"}, ["jwks-url", "loopback"]),
    "looks-like-loopback": ({"jwks_url": "http://127.0.0.1.example/", "environment": "production"}, ["jwks-url", "loopback"]),
    "ca-file-alone": ({"jwks_ca_file": __file__}, ["jwks-ca-file", "jwks-url"]),
    "floor-over-ceiling": ({"jwks_min_age_s": 5000}, ["jwks-min-age-s", "jwks-max-age-s"]),
    "ceiling-over-stale": ({"jwks_stale_s": 3599}, ["jwks-max-age-s", "jwks-stale-s"]),
}


@pytest.mark.parametrize("case", URL_FAULTS)
def test_faulty_options(case):
    """Exit 2 and one line that names option and fault."""
    options, words = URL_FAULTS[case]
    result = run_program("check-config", **{"environment": "test", "jwt_secret": "s" * 40, **options})
    assert result.returncode == 2 and len(result.stderr.splitlines()) == 1, result
    assert all(word in result.stderr for word in words), result.stderr


@pytest.mark.parametrize("url, environment", [
    ("https://keys.example/.well-known/jwks.json", "production"), ("https://keys.example:8443", "production"),
    ("http://localhost:80/x?y=z", "production"), ("http://[::1]/", "production"), ("http://keys.example/", "staging")])
def test_good_urls(url, environment):
    """The URL alone is source enough; check-config asks nobody."""
    result = run_program("check-config", environment=environment, jwks_url=url)
    assert result.returncode == 0 and url in result.stdout, result


def test_verify(server, stack):
    """`verify` fetches once, and says when it cannot."""
    options = {**server.options(), "environment": "test"}
    lines = f"{server.keys[0].token(stack.keys)}\n{IssuerKey('first').token(stack.keys)}\n{stack.keys.token()}\n"
    result = run_program("verify", stdin=lines, **options)
    assert (result.returncode, result.stderr) == (1, "")
    assert result.stdout.splitlines() == ["OK alice", "VALIDATION_FAILED: signature", "VALIDATION_FAILED: algorithm"]
    result = run_program("verify", stdin=stack.keys.token(), **{**options, "jwt_secret": stack.keys.secret})
    assert (result.returncode, result.stdout) == (0, "OK alice\n")
    server.wait_requests(2)
    server.stop()
    result = run_program("verify", stdin=lines, **options)
    assert result.returncode == 2 and "jwks-url" in result.stderr and not result.stdout
