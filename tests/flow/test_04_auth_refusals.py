"""Who is kept out: every error code, in `close` and in `http` mode, with its counter."""
import json
import time

import pytest
from harness import wait_until
from harness.tables import error_codes
from harness.tokens import b64url

CODES = error_codes()


def flip(token):
    """The token with another signature."""
    head, body, signature = token.split(".")
    return f"{head}.{body}.{('B' if signature[0] == 'A' else 'A') + signature[1:]}"


def unsigned(keys):
    """A token with algorithm none."""
    body = keys.token().split(".")[1]
    return b64url(b'{"alg":"none","typ":"JWT"}') + "." + body + "."


def bearer(token):
    """As a header."""
    return {"Authorization": f"Bearer {token}"}


# name: (expected code, headers made from the keys)
TOKENS = {
    "none": ("JWT_TOKEN_MISSING", lambda keys: {}),
    "basic": ("JWT_TOKEN_MISSING", lambda keys: {"Authorization": "Basic YTpi"}),
    "no-entry": ("JWT_TOKEN_MISSING", lambda keys: {"Sec-WebSocket-Protocol": "agent_chat"}),
    "text": ("JWT_FORMAT_INVALID", lambda keys: bearer("rubbish")),
    "two-parts": ("JWT_FORMAT_INVALID", lambda keys: bearer("a.b")),
    "not-base64": ("JWT_FORMAT_INVALID", lambda keys: bearer("!.!.!")),
    "no-exp": ("JWT_FORMAT_INVALID", lambda keys: bearer(keys.token(drop=("exp",)))),
    "exp-text": ("JWT_FORMAT_INVALID", lambda keys: bearer(keys.sign(b'{"sub":"alice","exp":"9999999999"}'))),
    "no-object": ("JWT_FORMAT_INVALID", lambda keys: bearer(keys.sign(b'["alice"]'))),
    "expired": ("TOKEN_EXPIRED", lambda keys: bearer(keys.token(ttl=-120))),
    "not-yet": ("TOKEN_NOT_YET_VALID", lambda keys: bearer(keys.token(nbf=int(time.time()) + 600))),
    "signature": ("VALIDATION_FAILED", lambda keys: bearer(flip(keys.token()))),
    "other-secret": ("VALIDATION_FAILED", lambda keys: bearer(keys.token(key="x" * 64))),
    "alg-none": ("VALIDATION_FAILED", lambda keys: bearer(unsigned(keys))),
    "other-family": ("VALIDATION_FAILED", lambda keys: bearer(keys.token(alg="RS256"))),
    "no-user": ("MISSING_USER_ID", lambda keys: bearer(keys.token(drop=("sub",)))),
    "empty-user": ("MISSING_USER_ID", lambda keys: bearer(keys.token(""))),
    "number-user": ("MISSING_USER_ID", lambda keys: bearer(keys.token(sub=7))),
    "long-user": ("MISSING_USER_ID", lambda keys: bearer(keys.token("x" * 129))),
    "control-user": ("MISSING_USER_ID", lambda keys: bearer(keys.token("a\nb"))),
    "origin": ("ORIGIN_DENIED", lambda keys: {**bearer(keys.token()), "Origin": "https://evil.example"}),
}


def check_frame(client, code):
    """The one error frame and the close that follow a refusal in `close` mode."""
    frame = client.recv_json()
    row = CODES[code]
    assert abs(frame.pop("timestamp") - time.time()) < 60
    assert frame == {"type": "connection_error" if row.ours else "authentication_error", "error_code": code,
                     "error_message": row.message, "retry_allowed": row.retry}
    assert client.recv_close() == ((1013, "Try again later") if row.ours else (1008, "Authentication failed"))


def check_answer(answer, code):
    """The response of a refusal in `http` mode."""
    row = CODES[code]
    assert answer.status == row.status
    assert answer.headers["content-type"].startswith("application/json")
    assert json.loads(answer.body) == {"error_code": code, "error_message": row.message}
    assert ("retry-after" in answer.headers) == (row.status == 503)
    if row.status == 503:
        assert int(answer.headers["retry-after"]) > 0


def refuse(stack, mode, headers, code):
    """One upgrade that has to be refused with this code in this mode."""
    client = stack.raw()
    answer = client.upgrade(changes=headers)
    assert answer is not None
    if mode == "http":
        check_answer(answer, code)
        return
    assert answer.status == 101
    check_frame(client, code)


@pytest.mark.parametrize("mode", ["close", "http"])
@pytest.mark.parametrize("case", TOKENS)
def test_bad_token(runtime, stack, case, mode):
    """Exact shape, exact counter, and the log tells which check failed."""
    code, headers = TOKENS[case]
    bridge = stack.bridge(runtime, auth_failure=mode)
    refuse(stack, mode, headers(stack.keys), code)
    bridge.wait_metric("handshakes_total", 1, result=code.lower())
    assert bridge.total("handshakes_total") == 1
    bridge.wait_total("connections", 0)
    assert bridge.wait_log("HANDSHAKE_REFUSED")
    assert not runtime.commands("CONNECT")


@pytest.mark.parametrize("mode", ["close", "http"])
def test_user_connection_limit(runtime, stack, mode):
    """One more than max-connections-per-user is refused; other users and a later try are not."""
    bridge = stack.bridge(runtime, auth_failure=mode, max_connections_per_user=2)
    first, second = stack.connect("alice"), stack.connect("alice")
    refuse(stack, mode, bearer(stack.keys.token("alice")), "USER_CONNECTION_LIMIT")
    stack.connect("bob")
    first.close()
    runtime.wait_command("DISCONNECT", connection_id=first.connection_id)
    stack.connect("alice")
    second.ping()
    assert bridge.metric("handshakes_total", result="user_connection_limit") == 1
    assert bridge.metric("handshakes_total", result="ok") == 4


@pytest.mark.parametrize("mode", ["close", "http"])
def test_too_many_connections(runtime, stack, mode):
    """The bridge is full at max-connections, and no longer when one has gone."""
    bridge = stack.bridge(runtime, auth_failure=mode, max_connections=2)
    first, second = stack.connect("alice"), stack.connect("bob")
    refuse(stack, mode, bearer(stack.keys.token("carol")), "TOO_MANY_CONNECTIONS")
    first.close()
    bridge.wait_total("connections", 1)
    stack.connect("carol")
    second.ping()
    assert bridge.metric("handshakes_total", result="too_many_connections") == 1


@pytest.mark.parametrize("mode", ["close", "http"])
def test_runtime_not_ready(stack, mode):
    """No runtime within runtime-wait-ms."""
    bridge = stack.bridge(auth_failure=mode, runtime_wait_ms=0)
    refuse(stack, mode, bearer(stack.keys.token()), "SERVICE_NOT_READY")
    bridge.wait_metric("handshakes_total", 1, result="service_not_ready")
    bridge.wait_total("connections", 0)


def origin_headers(stack, origin, host=None):
    """A good token with this Origin."""
    changes = {**bearer(stack.keys.token()), "Origin": origin}
    return {**changes, "Host": host} if host else changes


def opens(stack, headers):
    """Does the bridge accept an upgrade with these headers? (auth-failure=http)"""
    status = stack.raw().upgrade(changes=headers).status
    assert status in (101, 403)
    return status == 101


def test_origin_same_host(runtime, stack):
    """Without a list: the same host, or no Origin at all."""
    bridge = stack.bridge(runtime, auth_failure="http")
    port = bridge.ports["public"]
    assert opens(stack, origin_headers(stack, None))
    assert opens(stack, origin_headers(stack, f"http://127.0.0.1:{port}"))
    assert opens(stack, origin_headers(stack, f"http://localhost:{port}", f"localhost:{port}"))
    for origin in (f"http://localhost:{port}", "http://evil.example", f"http://127.0.0.1:{port}.evil.example", "null",
                   f"http://evil.example@127.0.0.1:{port}"):
        assert not opens(stack, origin_headers(stack, origin)), origin


def test_origin_list(runtime, stack):
    """With a list: exactly its members."""
    stack.bridge(runtime, auth_failure="http", allowed_origins="https://app.example.com, http://localhost:3000")
    for origin in (None, "https://app.example.com", "http://localhost:3000"):
        assert opens(stack, origin_headers(stack, origin)), origin
    for origin in ("https://app.example.com.evil.example", "http://app.example.com", "https://app.example.com:8443",
                   "https://example.com", "null"):
        assert not opens(stack, origin_headers(stack, origin)), origin


def test_origin_any(runtime, stack):
    """`*` allows all."""
    stack.bridge(runtime, auth_failure="http", allowed_origins="*")
    for origin in (None, "https://evil.example", "null"):
        assert opens(stack, origin_headers(stack, origin)), origin


def test_refused_tokens_stay_out_of_the_log(runtime, stack):
    """Neither good nor bad tokens are logged, whole or in part."""
    bridge = stack.bridge(runtime, log_level="debug")
    tokens = [flip(stack.keys.token()), stack.keys.token(ttl=-120), stack.keys.token("x" * 129)]
    for token in tokens:
        stack.raw().upgrade(changes=bearer(token))
        stack.raw().upgrade(changes={"Sec-WebSocket-Protocol": f"jwt.{token}"})
        stack.raw().upgrade(f"/ws?token={token}")
    wait_until(lambda: bridge.total("handshakes_total") == 9, what="nine handshakes")
    shown = "\n".join(bridge.text)
    for token in tokens:
        assert not any(part in shown for part in token.split(".")[1:])
