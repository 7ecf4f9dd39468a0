"""Tokens on a live connection: expiry and refresh; and the commands that make and check tokens."""
import time

import pytest
from harness import run_program, wait_until
from test_04_auth_refusals import flip


def short_lived(stack, seconds=2):
    """A client whose token ends soon, and when."""
    expires = int(time.time()) + seconds + 1
    return stack.connect("alice", token=stack.keys.token("alice", exp=expires)), expires


def test_expiry_closes(runtime, stack):
    """At `exp`: token_expired, then 1008."""
    bridge = stack.bridge(runtime, jwt_leeway_s=0)
    client, expires = short_lived(stack)
    client.recv_type("token_expired")
    assert time.time() >= expires - 1
    assert client.wait_closed()[0] == 1008
    assert runtime.wait_command("DISCONNECT").headers["code"] == 1008
    bridge.wait_metric("connections_closed_total", 1, reason="token_expired")


def test_refresh_extends(runtime, stack):
    """refresh_token in time: token_refreshed, and the old end passes unnoticed."""
    stack.bridge(runtime, jwt_leeway_s=0)
    client, expires = short_lived(stack)
    client.send({"type": "refresh_token", "token": stack.keys.token("alice")})
    client.recv_type("token_refreshed")
    wait_until(lambda: time.time() > expires + 1, what="the old end")
    client.ping()
    assert not runtime.commands("MESSAGE")


@pytest.mark.parametrize("fault", ["other-user", "bad-signature", "expired", "no-token"])
def test_refresh_refused(bridge, runtime, stack, fault):
    """A token of another user or a bad one: error_message, and the connection lives as it was."""
    assert bridge
    client = stack.connect("alice")
    keys = stack.keys
    tokens = {"other-user": keys.token("bob"), "bad-signature": flip(keys.token("alice")),
              "expired": keys.token("alice", ttl=-300), "no-token": None}
    client.send({"type": "refresh_token", "token": tokens[fault]})
    client.recv_type("error_message")
    client.quiet(runtime)
    assert not runtime.commands("MESSAGE")


def test_token_command(stack):
    """`token` makes what `verify` accepts, and is refused in production."""
    secret = stack.keys.secret
    made = run_program("token", "--user", "alice", "--ttl", "60", jwt_secret=secret, environment="test")
    assert made.returncode == 0, made
    checked = run_program("verify", stdin=made.stdout, jwt_secret=secret, environment="test")
    assert (checked.returncode, checked.stdout.strip()) == (0, "OK alice")
    refused = run_program("token", "--user", "alice", jwt_secret=secret, environment="production")
    assert refused.returncode != 0 and not refused.stdout.strip()


def test_verify_command(stack):
    """One line for each token, in order; exit 0 only when all are good."""
    keys = stack.keys
    tokens = [keys.token("alice"), "rubbish", flip(keys.token()), keys.token(ttl=-300), keys.token(drop=("sub",)),
              keys.sign(b"[1]"), keys.token("bob", alg="RS256"), keys.token("zoë")]
    result = run_program("verify", stdin="\n".join(tokens) + "\n", jwt_secret=keys.secret, environment="test")
    assert result.returncode not in (0, 2), result
    lines = result.stdout.splitlines()
    assert [line.split(":")[0] for line in lines] == [
        "OK alice", "JWT_FORMAT_INVALID", "VALIDATION_FAILED", "TOKEN_EXPIRED", "MISSING_USER_ID", "JWT_FORMAT_INVALID",
        "VALIDATION_FAILED", "OK zoë"]
    assert lines[2] == "VALIDATION_FAILED: signature"
    assert lines[5] == "JWT_FORMAT_INVALID: claims"
    assert not any(part in result.stdout + result.stderr for token in tokens for part in token.split(".")[2:])
