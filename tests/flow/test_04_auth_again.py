"""A token that comes again within seconds: its signature is not verified again, and everything else is."""
import hashlib
import time

from harness import wait_until
from test_14_program import accepted, reload_with

HITS = "token_cache_hits_total"


def test_second_connection(bridge, runtime, stack):
    """Other tabs and refresh_token with the same token are hits; the runtime is told the same claims."""
    token, other = stack.keys.token("alice", role="editor"), stack.keys.token("bob")
    first = stack.connect("alice", token=token)
    assert bridge.metric(HITS) == 0
    second = stack.connect("alice", token=token)
    assert bridge.metric(HITS) == 1
    claims = [command.headers["claims"] for command in runtime.wait_commands("CONNECT", 2)]
    assert claims[0] == claims[1] and claims[0]["role"] == "editor"
    for client in (first, second):
        client.send({"type": "refresh_token", "token": token})
        client.recv_type("token_refreshed")
    assert bridge.metric(HITS) == 3
    stack.connect("bob", token=other)
    assert bridge.metric(HITS) == 3
    first.send({"type": "refresh_token", "token": other})
    assert first.recv_type("error_message")["error_code"] == "TOKEN_REFUSED"
    assert bridge.metric(HITS) == 4  # good, but another user's
    assert bridge.metric("handshakes_total", result="ok") == 3


def test_reload_forgets(runtime, stack, tmp_path):
    """SIGHUP: under another secret the token is refused at once; under the same one it is verified again."""
    secret, file = tmp_path / "secret", tmp_path / "bridge.cfg"
    secret.write_text("a" * 64)
    bridge = stack.bridge(runtime, config=file.touch() or file, jwt_secret=None, jwt_secret_file=secret, auth_failure="http")
    token = stack.keys.token("alice", key="a" * 64)
    assert accepted(stack, token) and accepted(stack, token)
    assert bridge.metric(HITS) == 1
    secret.write_text("b" * 64)
    assert reload_with(bridge, file, "") == "RELOADED"
    assert not accepted(stack, token)
    secret.write_text("a" * 64)
    assert reload_with(bridge, file, "") == "RELOADED"
    assert accepted(stack, token)
    assert bridge.metric(HITS) == 1
    assert accepted(stack, token)
    assert bridge.metric(HITS) == 2


def test_expires_all_the_same(runtime, stack):
    """A token that runs out within the time that it is remembered for is refused from then on."""
    bridge = stack.bridge(runtime, jwt_leeway_s=0, auth_failure="http", max_connections_per_user=1000)
    expires = int(time.time()) + 2
    token = stack.keys.token("alice", exp=expires)
    assert accepted(stack, token)
    wait_until(lambda: not accepted(stack, token), what="the end of the token")
    assert time.time() >= expires
    assert bridge.metric("handshakes_total", result="token_expired") == 1
    assert bridge.metric(HITS) == bridge.metric("handshakes_total", result="ok")  # all but the first, and the refused one


def test_nothing_is_shown(bridge, stack):
    """Neither the token nor a hash of it is in the log."""
    token = stack.keys.token("alice")
    for _ in range(2):
        stack.connect("alice", token=token)
    assert bridge.metric(HITS) == 1
    parts = [*token.split("."), hashlib.sha256(token.encode()).hexdigest()]
    assert not any(part in "\n".join(bridge.text) for part in parts)
