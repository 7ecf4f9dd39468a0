"""What stands behind the status page: its document, its policy, tokens for its Try tab, and none of that in production."""
import base64
import gzip
import hashlib
import json
import re
import subprocess
import time

import pytest
from harness import run_program, wait_until
from harness.browser import PAGE, need_packages

SECTIONS = ["bridge", "health", "connections", "events", "latency", "runs", "queues", "history", "runtime", "auth", "log", "config",
            "try", "recent"]


def document(bridge, after=0):
    """/status.json, of the samples those behind number `after`."""
    status, value = bridge.get_json(f"/status.json?after={after}")
    assert status == 200
    return value


def emit(runtime, user, kind, run):
    """An event of this run."""
    runtime.emit(user, {"type": kind, "run_id": run, "timestamp": time.time()})


@pytest.fixture(name="known")
def known_fixture(bridge, runtime, stack):
    """Three connections of two users, a run that ended and one that did not, five events, a refusal; the clients."""
    clients = stack.connect_all(["alice", "alice", "bob"])
    for kind in ("agent_started", "agent_thinking", "agent_completed"):
        emit(runtime, "alice", kind, "r1")
    for kind in ("agent_started", "tool_executing"):
        emit(runtime, "bob", kind, "r2")
    for client, events in zip(clients, (3, 3, 2)):
        client.recv_events(events)
    assert stack.client("carol", token="nonsense").open().wait_closed()[0] == 1008
    bridge.wait_metric("connections_closed_total", 1, reason="auth_failed")
    return clients


def test_document(bridge, known, stack):
    """Every number of a known situation; no id, no user and no secret."""
    value = document(bridge)
    assert list(value) == SECTIONS
    assert value["health"] == {"status": "healthy", "readyz": {"ready": True, "reasons": []}}
    states = {state: n for state, n in value["connections"]["states"].items() if n}
    assert states == {"idle": 2, "processing": 1}
    assert value["connections"]["users"] == 2 and value["connections"]["limit"] == 10000
    assert {code: n for code, n in value["connections"]["handshakes"].items() if n} == {"ok": 3, "JWT_FORMAT_INVALID": 1}
    assert (value["events"]["received"], value["events"]["delivered"]) == (5, 8)
    assert {kind: n for kind, n in value["events"]["types"].items() if n} == {
        "agent_started": 2, "agent_thinking": 1, "tool_executing": 1, "agent_completed": 1}
    assert (value["runs"]["active"], value["runs"]["stalled"], value["runs"]["looked_at"]) == (1, 0, 1)
    assert sum(value["runs"]["ages"].values()) == 1 and value["runs"]["ended"]["completed"] == 1
    assert value["history"]["events"] == 5 and value["queues"]["bytes"] == 0
    assert value["runtime"]["commands"] == [{"endpoint": bridge.options["runtime_commands"], "up": True}]
    assert value["runtime"]["events_up"] is True and value["runtime"]["sent_and_received"]["CONNECT"] == 3
    assert value["auth"]["keys"] == 1 and value["auth"]["breaker"] == "closed" and value["auth"]["jwks"] is False
    p50, p95, p99 = value["latency"]["event_delivery"]
    assert 0 < p50 <= p95 <= p99 <= 10
    assert value["try"] == {"port": bridge.ports["public"], "path": "/ws", "tls": False, "tokens": True}
    text = json.dumps(value)
    assert not any(word in text for word in ["alice", "bob", "r1", stack.keys.secret, *(c.connection_id for c in known)])


def test_log_tally(bridge, known):
    """Ids of warnings and errors with their lines and the time of the last; nothing milder."""
    assert known
    rows = {row["id"]: row for row in document(bridge)["log"]}
    assert set(rows) == {"SECRET_IN_FLAG", "HANDSHAKE_REFUSED"}
    assert (rows["HANDSHAKE_REFUSED"]["level"], rows["HANDSHAKE_REFUSED"]["lines"]) == ("warn", 1)
    assert abs(rows["HANDSHAKE_REFUSED"]["last"] - time.time()) < 120


def test_samples_add_up(bridge, known):
    """All events are in the samples once; `after` brings only what is new."""
    assert known
    value = wait_until(lambda: (lambda v: v if sum(s[2] for s in v["recent"]["samples"]) == 5 else None)(document(bridge)),
                       what="samples with all five events")
    samples = value["recent"]["samples"]
    assert sum(sample[3] for sample in samples) == 8 and samples[-1][4:6] == [3, 1]
    assert [len(sample[6]) for sample in samples] == [3] * len(samples)
    assert any(sample[6][0] for sample in samples if sample[3])
    assert value["recent"]["last"] == len(samples)
    last = value["recent"]["last"]
    later = wait_until(lambda: document(bridge, last)["recent"]["samples"], what="a new sample")
    assert later[0][0] > samples[-1][0]
    assert len(document(bridge, 10 ** 9)["recent"]["samples"]) > last, "whoever knows another process's numbers gets all"


def test_configuration(bridge):
    """As check-config prints it, whose secrets are masked."""
    shown = {row["name"]: row["value"] for row in document(bridge)["config"]}
    printed = run_program("check-config", **bridge.options).stdout
    assert shown == dict(re.findall(r'^(\S+) = "(.*)"$', printed, re.M))
    assert shown["jwt-secret"] == "***"
    changed = {row["name"] for row in document(bridge)["config"] if row["changed"]}
    assert changed == {name.replace("_", "-") for name in bridge.options}


def test_not_ready(stack):
    """Why it is not ready, as /readyz says."""
    value = document(stack.bridge())
    assert value["health"]["status"] == "degraded"
    assert value["health"]["readyz"]["reasons"] == ["no command link to the runtime", "no event link to the runtime"]
    assert [lane["up"] for lane in value["runtime"]["commands"]] == [False]


def policy_of(answer):
    """{directive: sources} of the Content-Security-Policy."""
    return dict(part.strip().split(" ", 1) for part in answer.headers["content-security-policy"].split(";"))


def test_page(bridge):
    """One document with nothing from elsewhere, under a policy that lets its own script and style in alone."""
    answer = bridge.http("GET", "/")
    html = answer.body.decode()
    assert answer.status == 200 and answer.headers["content-type"] == "text/html; charset=utf-8"
    policy = policy_of(answer)
    for kind, directive in (("script", "script-src"), ("style", "style-src")):
        (code,) = re.findall(f"<{kind}>(.*?)</{kind}>", html, re.S)
        digest = base64.b64encode(hashlib.sha256(code.encode()).digest()).decode()
        assert policy[directive] == f"'sha256-{digest}'"
    assert (policy["default-src"], policy["frame-ancestors"], policy["base-uri"]) == ("'none'", "'none'", "'none'")
    assert not re.search(r'(src|href)="(?!data:,"|#)', html), "something from elsewhere"
    assert answer.headers["x-content-type-options"] == "nosniff" and answer.headers["referrer-policy"] == "no-referrer"
    assert answer.headers["x-frame-options"] == "DENY"
    assert "Leon Sorokin" in html, "uPlot's licence"
    packed = bridge.http("GET", "/", headers={"Accept-Encoding": "br, gzip"})
    assert packed.headers["content-encoding"] == "gzip" and gzip.decompress(packed.body) == answer.body
    assert bridge.http("POST", "/").status == 405 and bridge.http("GET", "/", "public").status == 404


def test_bundle_is_current():
    """bridge/page/build gives exactly what is committed."""
    need_packages()
    done = subprocess.run([PAGE / "build", "--check"], capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


# tokens

def ask(bridge, query, method="POST", **options):
    """POST /token."""
    return bridge.http(method, "/token?" + query, **options)


def test_token(bridge, runtime, stack):
    """A token for a loopback peer: it lets that user in; counted and logged, without the token."""
    answer = ask(bridge, "user=j%C3%BCrgen%20x&ttl=60")
    body = json.loads(answer.body)
    assert answer.status == 200 and set(body) == {"token", "expires_in"} and body["expires_in"] == 60
    client = stack.client("jürgen x", token=body["token"]).open().establish()
    assert runtime.wait_command("CONNECT").user_id == "jürgen x" and client.connection_id
    line = bridge.wait_log("TOKEN_MADE")
    assert (line["user"], line["ttl_s"], line["remote"]) == ("jürgen x", 60, "127.0.0.1")
    assert bridge.metric("tokens_total", result="made") == 1
    assert not any(body["token"] in line for line in bridge.text)


def test_token_refusals(bridge):
    """Each refusal has its status, counter and log line."""
    for query in ("", "user=", "user=%00", "user=%zz", "user=" + "x" * 129, "user=a&ttl=0", "user=a&ttl=86401", "user=a&ttl=x"):
        assert ask(bridge, query).status == 400, query
    for host in ("evil.example", f"evil.example:{bridge.ports['admin']}", "localhost.evil.example", "127.0.0.1.evil.example", ""):
        assert ask(bridge, "user=a", headers={"Host": host}).status == 403, host
    for host in ("localhost", "LOCALHOST:1", "127.0.0.1:9090", "[::1]:9090"):
        assert ask(bridge, "user=a", headers={"Host": host}).status == 200, host
    answer = ask(bridge, "user=a", method="GET")
    assert answer.status == 405 and answer.headers["allow"] == "POST"
    results = {result: bridge.metric("tokens_total", result=result) for result in ("made", "forbidden", "invalid")}
    assert results == {"made": 4, "forbidden": 5, "invalid": 8}
    assert len(bridge.logs("TOKEN_REFUSED")) == 13


def test_token_from_outside(stack, outside_address):
    """As strict as /drain: not without the key from a peer that is not loopback."""
    bridge = stack.bridge(admin_listen="0.0.0.0:0", drain_key="open sesame")
    for headers, status in (({}, 403), ({"X-Drain-Key": "wrong"}, 403), ({"X-Drain-Key": "open sesame"}, 200)):
        assert ask(bridge, "user=a", headers=headers, host=outside_address).status == status, headers


def test_no_token_without_a_secret(stack, keys, tmp_path):
    """Where the keys are public ones there is no such path."""
    pem = tmp_path / "keys.pem"
    pem.write_bytes(keys.pem())
    bridge = stack.bridge(jwt_secret=None, jwt_public_key_file=pem)
    assert ask(bridge, "user=a").status == 404 and document(bridge)["try"]["tokens"] is False


def page_opens(stack, bridge, origin):
    """Is an upgrade from this origin let in? (auth-failure=http)"""
    token = f"Bearer {stack.keys.token()}"
    status = stack.raw(bridge).upgrade(changes={"Authorization": token, "Origin": origin}).status
    assert status in (101, 403)
    return status == 101


@pytest.mark.parametrize("allowed", [None, "https://app.example.com"])
def test_page_may_connect(runtime, stack, allowed):
    """Outside production the page's own origin is let in, whatever allowed-origins says; no other port, host or scheme."""
    bridge = stack.bridge(runtime, auth_failure="http", allowed_origins=allowed)
    admin = bridge.ports["admin"]
    assert page_opens(stack, bridge, f"http://127.0.0.1:{admin}")
    for origin in (f"https://127.0.0.1:{admin}", f"http://127.0.0.1:{admin}0", f"http://localhost:{admin}", "http://127.0.0.1",
                   f"http://127.0.0.1:{admin}.evil.example", f"http://evil.example:{admin}"):
        assert not page_opens(stack, bridge, origin), origin


def test_production(runtime, stack):
    """No Try tab, no token, no origin of its own, no connection from the page: the secret alone changes nothing."""
    bridge = stack.bridge(runtime, environment="production", auth_failure="http")
    answer = bridge.http("GET", "/")
    assert answer.status == 200 and policy_of(answer)["connect-src"] == "'self'"
    html = answer.body.decode()
    assert not any(word in html for word in ('id="try', "WebSocket", "token?user", ">Try<"))
    for method in ("POST", "GET"):
        assert ask(bridge, "user=a", method=method).status == 404
    assert document(bridge)["try"] is None
    assert not page_opens(stack, bridge, f"http://127.0.0.1:{bridge.ports['admin']}")
    assert bridge.total("tokens_total") == 0
