"""The bypass for tests of a deployment: what it does where it is on, and that nothing brings it into production."""
import json
import signal
import urllib.parse

import pytest
from harness import run_program, wait_until
from harness.raw import CLOSE, TEXT

KEY = "bypass-key-0123456789"
SECRET = "s" * 40
FALLBACK = "E2E_OAUTH_SIMULATION_KEY"
OFF = "token (the bypass is off)"


def by_header(user="alice", key=KEY):
    """Headers that ask for the bypass; None leaves one out."""
    return {"X-E2E-Bypass-Key": key, "X-E2E-User-ID": user}


def by_entry(user="alice", key=KEY, *others):
    """The same as entries of the subprotocol list."""
    return {"Sec-WebSocket-Protocol": ", ".join([*others, f"e2e.{key}", f"e2e-user.{user}"])}


@pytest.fixture(name="open_bridge")
def open_bridge_fixture(runtime, stack):
    """A bridge with a bypass that writes down everything."""
    return stack.bridge(runtime, e2e_bypass_key=KEY, log_level="debug")


def ask(stack, changes, target="/ws"):
    """An upgrade without a token: (answer, first frame)."""
    client = stack.raw()
    answer = client.upgrade(target, changes)
    assert answer and answer.status == 101, answer
    return answer, client.recv_json(), client


def refusal(stack, changes, target="/ws"):
    """The error code of an upgrade that is refused, after which the connection closes 1008."""
    _, frame, client = ask(stack, changes, target)
    assert frame["type"] == "authentication_error", frame
    assert client.recv_close() == (1008, "Authentication failed")
    return frame["error_code"]


def expect_refused(bridge, *expected):
    """The lines of all refusals so far: (error code, check)."""
    wait_until(lambda: len(bridge.logs("HANDSHAKE_REFUSED")) >= len(expected), what="the lines of the refusals")
    lines = bridge.logs("HANDSHAKE_REFUSED")
    assert [(line["error_code"], line["check"]) for line in lines] == list(expected)


# where it is on

@pytest.mark.parametrize("way", [by_header, by_entry])
def test_lets_in(open_bridge, runtime, stack, way):
    """As any user, at once; the runtime sees whose claims these are, the operator that it was used."""
    answer, frame, client = ask(stack, way())
    assert "sec-websocket-protocol" not in answer.headers
    assert (frame["type"], frame["data"]["user_id"]) == ("connection_established", "alice")
    connect = runtime.wait_command("CONNECT")
    assert connect.user_id == "alice" and connect.headers["claims"] == {"sub": "alice", "e2e_bypass": True}
    line = open_bridge.wait_log("AUTH_BYPASS_USED")
    assert (line["user"], line["conn"], line["remote"]) == ("alice", frame["data"]["connection_id"], "127.0.0.1")
    assert open_bridge.metric("auth_bypass_total") == 1
    runtime.emit("alice", {"type": "progress_update", "n": 1})
    assert client.recv_json()["n"] == 1
    client.send_frame(TEXT, b'{"type":"user_message"}')
    assert runtime.wait_command("MESSAGE").user_id == "alice"


def test_tokens_show_no_bypass(open_bridge, runtime, stack):
    """A connection by token is no use of the bypass, whatever its claims pretend."""
    stack.connect("alice")
    assert "e2e_bypass" not in runtime.wait_command("CONNECT").headers["claims"]
    assert open_bridge.metric("auth_bypass_total") == 0 and not open_bridge.logs("AUTH_BYPASS_USED")


def test_users(open_bridge, stack):
    """Any valid user id: in a header as it is, in an entry percent-encoded where it is no token."""
    assert open_bridge
    for user in ("alice@example.com", "zoë", "a b", "50%", "u" * 128):
        _, frame, _ = ask(stack, by_header(user))
        assert frame["data"]["user_id"] == user
        _, frame, _ = ask(stack, by_entry(urllib.parse.quote(user, safe="")))
        assert frame["data"]["user_id"] == user


def test_users_are_apart(open_bridge, runtime, stack):
    """The bypass is one user's connection like every other: nobody else's events."""
    _, _, alice = ask(stack, by_header("alice"))
    bob = stack.connect("bob")
    runtime.emit("bob", {"type": "progress_update", "n": 1})
    runtime.emit("alice", {"type": "progress_update", "n": 2})
    assert alice.recv_json()["n"] == 2 and bob.recv_event()["n"] == 1
    assert open_bridge.metric("isolation_violations_total") == 0


def test_library_client(open_bridge, stack):
    """As a browser asks: a list of subprotocols, one of which it has to get back."""
    client = stack.client("alice", subprotocols=["e2e-testing", f"e2e.{KEY}", "e2e-user.alice"])
    client._headers.clear()  # pylint: disable=protected-access
    client.open().establish()
    assert client.subprotocol == "e2e-testing" and client.established["data"]["user_id"] == "alice"
    client.ping()
    assert open_bridge.metric("auth_bypass_total") == 1


WRONG = {"empty": "", "other": "x" * len(KEY), "shorter": KEY[:-1], "longer": KEY + "9", "case": KEY.upper(),
         "quoted": f'"{KEY}"', "masked": "***", "huge": "k" * 4000, "jwt": "eyJhbGciOiJub25lIn0.e30."}


@pytest.mark.parametrize("name", WRONG)
def test_wrong_key(open_bridge, stack, name):
    """VALIDATION_FAILED and a line in the log, without the key that was sent; nobody comes in."""
    for way in (by_header, by_entry):
        assert refusal(stack, way(key=WRONG[name])) == "VALIDATION_FAILED"
    expect_refused(open_bridge, *[("VALIDATION_FAILED", "bypass: key")] * 2)
    assert open_bridge.metric("handshakes_total", result="validation_failed") == 2
    assert open_bridge.metric("auth_bypass_total") == 0 and not open_bridge.logs("AUTH_BYPASS_USED")
    assert not WRONG[name] or WRONG[name] not in "".join(open_bridge.text)


def test_wrong_key_by_http(runtime, stack):
    """auth-failure=http: 401."""
    bridge = stack.bridge(runtime, e2e_bypass_key=KEY, auth_failure="http")
    answer = stack.raw().upgrade(changes=by_header(key="x"))
    assert answer.status == 401 and json.loads(answer.body)["error_code"] == "VALIDATION_FAILED"
    assert stack.raw().upgrade(changes=by_header()).status == 101
    assert bridge.metric("auth_bypass_total") == 1


@pytest.mark.parametrize("user", [None, "", "u" * 129, "a\tb", ["alice", "bob"]])
def test_no_usable_user(open_bridge, stack, user):
    """The right key with no user id, a bad one or two: MISSING_USER_ID."""
    assert refusal(stack, by_header(user)) == "MISSING_USER_ID"
    expect_refused(open_bridge, ("MISSING_USER_ID", "bypass: user"))
    assert open_bridge.metric("auth_bypass_total") == 0


def test_two_keys(open_bridge, stack):
    """Two key headers are no key, even with the right one among them; a header counts before an entry."""
    assert refusal(stack, by_header(key=[KEY, "x"])) == "VALIDATION_FAILED"
    assert refusal(stack, by_header(key=[KEY, KEY])) == "VALIDATION_FAILED"
    assert refusal(stack, {**by_entry(), "X-E2E-Bypass-Key": "x"}) == "VALIDATION_FAILED"
    assert open_bridge.metric("auth_bypass_total") == 0


# every way to ask that is none: (headers, target)
NONE = {"user-only": (by_header(key=None), "/ws"),
        "user-entry-only": ({"Sec-WebSocket-Protocol": "e2e-testing, e2e-user.alice"}, "/ws"),
        "query": (by_header(key=None), f"/ws?e2e={KEY}&X-E2E-Bypass-Key={KEY}&e2e-bypass-key={KEY}&e2e-user=alice"),
        "cookie": ({"Cookie": f"X-E2E-Bypass-Key={KEY}", "X-E2E-User-ID": "alice"}, "/ws"),
        "entry-case": ({"Sec-WebSocket-Protocol": f"E2E.{KEY}, E2E-User.alice"}, "/ws"),
        "entry-blank": ({"Sec-WebSocket-Protocol": f"e2e .{KEY}, e2e-user.alice"}, "/ws"),
        "other-header": ({"X-E2E-Bypass": KEY, "X-E2E-Key": KEY, "X-E2E-User-ID": "alice"}, "/ws"),
        "underscores": ({"X_E2E_Bypass_Key": KEY, "X_E2E_User_ID": "alice"}, "/ws"),
        "basic": ({"Authorization": f"Basic {KEY}", "X-E2E-User-ID": "alice"}, "/ws")}


@pytest.mark.parametrize("name", NONE)
def test_no_way_round(open_bridge, stack, name):
    """Only the header and the entry are looked at: everything else is an upgrade without a token."""
    assert refusal(stack, *NONE[name]) == "JWT_TOKEN_MISSING"
    assert open_bridge.metric("auth_bypass_total") == 0


def test_key_is_no_token(open_bridge, stack):
    """The key in the place of a token is a bad token."""
    for changes in ({"Authorization": f"Bearer {KEY}"}, {"Sec-WebSocket-Protocol": f"jwt.{KEY}"}):
        assert refusal(stack, {**by_header(key=None), **changes}) == "JWT_FORMAT_INVALID"
    assert open_bridge.metric("auth_bypass_total") == 0


def test_together_with_a_token(open_bridge, stack):
    """The token counts and the bypass is not looked at: a bad one is not saved, a good one is its own user."""
    keys = stack.keys
    bad = {"TOKEN_EXPIRED": keys.token("alice", ttl=-300), "MISSING_USER_ID": keys.token(drop=("sub",)),
           "VALIDATION_FAILED": keys.token("alice", key="x" * 64), "JWT_FORMAT_INVALID": "e30.e30.e30"}
    for way in (by_header, by_entry):
        for code, token in bad.items():
            assert refusal(stack, {**way(), "Authorization": f"Bearer {token}"}) == code
        for key in (KEY, "wrong"):
            _, frame, _ = ask(stack, {**way("alice", key), "Authorization": f"Bearer {keys.token('bob')}"})
            assert frame["data"]["user_id"] == "bob"
    assert open_bridge.metric("auth_bypass_total") == 0 and not open_bridge.logs("AUTH_BYPASS_USED")


def test_limits_hold(runtime, stack):
    """Origin and the limit of connections are the same for the bypass; no token, no refresh of another user."""
    bridge = stack.bridge(runtime, e2e_bypass_key=KEY, max_connections_per_user=1)
    assert refusal(stack, {**by_header(), "Origin": "https://evil.example"}) == "ORIGIN_DENIED"
    _, _, client = ask(stack, by_header())
    client.send_frame(TEXT, json.dumps({"type": "refresh_token", "token": stack.keys.token("bob")}).encode())
    assert client.recv_json()["error_code"] == "TOKEN_REFUSED"
    _, frame, _ = ask(stack, by_header())
    assert (frame["type"], frame["error_code"]) == ("connection_error", "USER_CONNECTION_LIMIT")
    assert bridge.metric("connections", state="processing_ready") == 1


def test_health(runtime, stack):
    """/ws/health on both ports says whether the bypass can be used; the key stands nowhere."""
    for key, on in ((None, False), ("", False), (KEY, True)):
        bridge = stack.bridge(runtime, e2e_bypass_key=key, bridge_id=f"b-{on}-{key is None}")
        for port in ("public", "admin"):
            answer = bridge.http("GET", "/ws/health", port)
            assert json.loads(answer.body)["e2e_testing"] == {"enabled": on, "auth_bypass_active": on}
            assert KEY not in answer.body.decode()
        assert json.loads(answer.body)["config"]["pre_connection_auth_required"] is True
        assert bridge.stop() == 0


# subprotocols

@pytest.mark.parametrize("name", ["jwt-auth", "jwt", "bearer", "e2e-testing"])
def test_names_are_echoed_and_secrets_are_not(open_bridge, stack, name):
    """The bare names speak JSON and are echoed; entries with a secret never are, and are not logged."""
    token = stack.keys.token("alice")
    cases = [({"Authorization": f"Bearer {token}", "Sec-WebSocket-Protocol": name}, name),
             ({"Sec-WebSocket-Protocol": f"jwt.{token}, {name}"}, name),
             ({"Sec-WebSocket-Protocol": f"jwt-auth.{token}, bearer.{token}, {name}"}, name),
             (by_entry("alice", KEY, name), name), (by_entry("alice", KEY, "jwt.x.y", name), None),
             ({"Sec-WebSocket-Protocol": f"bearer.{token}"}, None), (by_entry(), None)]
    for changes, echoed in cases[:4] + cases[5:]:
        answer, frame, _ = ask(stack, changes)
        assert answer.headers.get("sec-websocket-protocol") == echoed
        assert frame["type"] == "connection_established", frame
    assert refusal(stack, cases[4][0]) == "JWT_FORMAT_INVALID"
    text = "".join(open_bridge.text)
    assert KEY not in text and token not in text and token.split(".")[2] not in text


# production

GOOD = {"listen": "127.0.0.1:0", "admin_listen": "127.0.0.1:0", "jwt_secret": SECRET}

# name: (flags, variables, file)
CONFIGURED = {
    "flag": (["--environment", "production", "--e2e-bypass-key", KEY], {}, ""),
    "flag-equals": (["--environment=production", f"--e2e-bypass-key={KEY}"], {}, ""),
    "default-environment": (["--e2e-bypass-key", KEY], {}, ""),
    "variable": ([], {"AGENTBRIDGE_E2E_BYPASS_KEY": KEY}, ""),
    "fallback": ([], {FALLBACK: KEY}, ""),
    "both-fallbacks": ([], {FALLBACK: KEY, "ENVIRONMENT": "production"}, ""),
    "file": ([], {}, f"e2e-bypass-key = {KEY}\n"),
    "short-key": (["--e2e-bypass-key", "x"], {}, ""),
    "flag-over-variable": (["--environment", "production"], {"AGENTBRIDGE_ENVIRONMENT": "test", FALLBACK: KEY}, ""),
    "variable-over-file": ([], {"AGENTBRIDGE_ENVIRONMENT": "production", FALLBACK: KEY}, "environment = test\n"),
    "file-over-fallback": ([], {"ENVIRONMENT": "test", FALLBACK: KEY}, "environment = production\n"),
    "last-flag": (["--environment", "test", "--environment", "production", "--e2e-bypass-key", KEY], {}, ""),
}


@pytest.mark.parametrize("command", ["serve", "check-config"])
@pytest.mark.parametrize("case", CONFIGURED)
def test_production_refuses_the_key(tmp_path, case, command):
    """Exit 2 and one line, whichever way the key and the environment came; the key is not shown."""
    flags, env, text = CONFIGURED[case]
    (tmp_path / "bridge.cfg").write_text(text)
    result = run_program(command, *flags, env=env, config=tmp_path / "bridge.cfg", **GOOD)
    assert result.returncode == 2, result
    lines = (result.stderr + result.stdout).strip().splitlines()
    assert len(lines) == 1 and lines[0].startswith("option e2e-bypass-key: *** (") and "production" in lines[0], lines
    assert KEY not in result.stderr + result.stdout


@pytest.mark.parametrize("environment", ["Production", "PRODUCTION", "prod", " production", "production ", ""])
def test_misspelt_production_does_not_start(environment):
    """What is nearly production is not taken for something else."""
    for source in ({"env": {FALLBACK: KEY, "AGENTBRIDGE_ENVIRONMENT": environment}},
                   {"env": {FALLBACK: KEY, "ENVIRONMENT": environment}}):
        result = run_program("serve", **GOOD, **source)
        assert result.returncode == 2, result


@pytest.mark.parametrize("environment", ["staging", "development", "test"])
def test_elsewhere_it_may_be(environment):
    """By every source; shown as ***; 16 bytes are the least."""
    for source in ({"e2e_bypass_key": KEY}, {"env": {FALLBACK: KEY}}, {"env": {"AGENTBRIDGE_E2E_BYPASS_KEY": KEY}}):
        result = run_program("check-config", environment=environment, **GOOD, **source)
        assert result.returncode == 0 and 'e2e-bypass-key = "***"' in result.stdout, result
        assert KEY not in result.stdout + result.stderr
    for size, code in ((15, 2), (16, 0), (255, 0), (256, 2)):
        result = run_program("check-config", environment=environment, e2e_bypass_key="k" * size, **GOOD)
        assert result.returncode == code, (size, result)


def test_production_lets_nobody_in(runtime, stack):
    """Whatever a client sends: as if it had not; the refusal's line says that it was tried."""
    bridge = stack.bridge(runtime, environment="production", log_level="debug")
    asks = [by_header(), by_entry(), by_header(key=""), by_header(key="***"), by_header(key=stack.keys.secret),
            by_entry(key=""), by_entry("alice", KEY, "e2e-testing"), by_header(key=[KEY, KEY])]
    for changes in asks:
        assert refusal(stack, changes) == "JWT_TOKEN_MISSING"
    expect_refused(bridge, *[("JWT_TOKEN_MISSING", OFF)] * len(asks))
    for changes, target in NONE.values():
        assert refusal(stack, changes, target) == "JWT_TOKEN_MISSING"
    token = stack.keys.token("bob")
    _, frame, _ = ask(stack, {**by_header(), "Authorization": f"Bearer {token}"})
    assert frame["data"]["user_id"] == "bob"
    assert bridge.metric("auth_bypass_total") == 0 and not bridge.logs("AUTH_BYPASS_USED")
    assert bridge.get_json("/ws/health")[1]["e2e_testing"] == {"enabled": False, "auth_bypass_active": False}
    assert [command.user_id for command in runtime.wait_commands("CONNECT", 1)] == ["bob"]


def hang_up(bridge, file, text):
    """Write the file, have it read; the line that tells the outcome."""
    file.write_text(text)

    def outcomes():
        return [line for line in list(bridge.lines) if line["id"] in ("RELOADED", "RELOAD_FAILED")]
    before = len(outcomes())
    bridge.signal(signal.SIGHUP)
    return wait_until(lambda: outcomes()[before:], what="the outcome of the reload")[0]


RELOADS = {"test": f"environment = test\ne2e-bypass-key = {KEY}\n", "key": f"e2e-bypass-key = {KEY}\n",
           "production": f"environment = production\ne2e-bypass-key = {KEY}\n",
           "environment-alone": "environment = test\n", "rubbish": "environment = tset\n"}


@pytest.mark.parametrize("case", RELOADS)
def test_reload_brings_none_into_production(runtime, stack, tmp_path, case):
    """Every such file is refused whole; production stays production."""
    file = tmp_path / "bridge.cfg"
    file.write_text("log-level = debug\n")
    bridge = stack.bridge(runtime, environment=None, config=file)
    client = stack.connect("bob")
    line = hang_up(bridge, file, RELOADS[case] + "max-connections-per-user = 1\n")
    assert line["id"] == "RELOAD_FAILED" and KEY not in json.dumps(line)
    assert bridge.metric("reloads_total", result="failed") == 1
    assert refusal(stack, by_header()) == "JWT_TOKEN_MISSING"
    expect_refused(bridge, ("JWT_TOKEN_MISSING", OFF))
    stack.connect("bob").ping()  # a second one: nothing of the file was taken
    client.ping()
    health = bridge.get_json("/ws/health")[1]
    assert (health["environment"], health["e2e_testing"]["enabled"]) == ("production", False)
    assert hang_up(bridge, file, "max-connections-per-user = 2\n")["id"] == "RELOADED"


def test_reload_brings_no_weak_secret_into_production(runtime, stack, tmp_path):
    """A file that calls itself test is not judged by the rules of tests: a short secret stays out."""
    file = tmp_path / "bridge.cfg"
    file.write_text(f"jwt-secret = {SECRET}\n")
    bridge = stack.bridge(runtime, environment=None, config=file, jwt_secret=None)
    assert hang_up(bridge, file, "environment = test\njwt-secret = weak\n")["id"] == "RELOAD_FAILED"
    assert refusal(stack, {"Authorization": f"Bearer {stack.keys.token(key='weak')}"}) == "VALIDATION_FAILED"
    stack.connect("alice", token=stack.keys.token(key=SECRET)).ping()


def test_reload_keeps_the_key(runtime, stack, tmp_path):
    """Outside production too the key changes only with a restart, and the log says so."""
    file = tmp_path / "bridge.cfg"
    file.write_text(f"e2e-bypass-key = {KEY}\n")
    bridge = stack.bridge(runtime, config=file)
    other = "other-key-0123456789"
    assert hang_up(bridge, file, f"e2e-bypass-key = {other}\n")["want_restart"] == "e2e-bypass-key"
    assert refusal(stack, by_header(key=other)) == "VALIDATION_FAILED"
    _, frame, client = ask(stack, by_header())
    assert frame["data"]["user_id"] == "alice"
    client.send_frame(CLOSE, b"\x03\xe8")
