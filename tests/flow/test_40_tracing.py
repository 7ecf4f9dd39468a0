"""Traces: `traceparent` goes to the runtime as it came, and with log-trace into the log lines."""
import signal

import pytest
from harness import wait_until

OF_UPGRADE = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
OF_MESSAGE = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-00"


def traced(stack, value=OF_UPGRADE, **options):
    """A client whose upgrade names this trace."""
    return stack.connect("alice", headers={"traceparent": value}, **options)


def test_to_the_runtime(bridge, runtime, stack):
    """In the headers of CONNECT and MESSAGE; not in the log unless somebody wants it."""
    client = traced(stack)
    assert runtime.wait_command("CONNECT").headers["traceparent"] == OF_UPGRADE
    client.send({"type": "user_message"})
    client.send({"type": "user_message", "traceparent": OF_MESSAGE})
    first, second = runtime.wait_commands("MESSAGE", 2)
    assert "traceparent" not in first.headers and second.headers["traceparent"] == OF_MESSAGE
    client.close()
    assert "traceparent" not in bridge.wait_log("CONN_CLOSED")


@pytest.mark.parametrize("subprotocol", ["agent_chat", "agent_chat.msgpack"])
def test_in_the_log(runtime, stack, subprotocol):
    """Lines name the trace of the connection, and those about a message its own when it has one."""
    bridge = stack.bridge(runtime, log_trace="true", log_level="debug")
    client = traced(stack, subprotocols=[subprotocol])
    client.send({"type": "user_message"})
    client.send({"type": "user_message", "traceparent": OF_MESSAGE})
    client.send({"type": "refresh_token", "token": "bad", "traceparent": OF_MESSAGE})
    assert bridge.wait_log("MESSAGE_REFUSED")["traceparent"] == OF_MESSAGE
    client.close()
    for log_id in ("CONN_OPEN", "CONN_CLOSED"):
        assert bridge.wait_log(log_id)["traceparent"] == OF_UPGRADE
    forwarded = bridge.logs("MESSAGE_FORWARDED")
    assert [(line["seq"], line["traceparent"]) for line in forwarded] == [(1, OF_UPGRADE), (2, OF_MESSAGE)]


def test_a_refused_upgrade(runtime, stack):
    """A trace that ends at the bridge is found there."""
    bridge = stack.bridge(runtime, log_trace="true", auth_failure="http")
    client = stack.raw()
    assert client.upgrade(changes={"Authorization": "Bearer bad", "traceparent": OF_UPGRADE}).status == 401
    assert bridge.wait_log("HANDSHAKE_REFUSED")["traceparent"] == OF_UPGRADE


@pytest.mark.parametrize("value", ["00-zz", OF_UPGRADE.upper(), "ff" + OF_UPGRADE[2:], OF_UPGRADE + "-more", "x" * 3000])
def test_not_as_it_should_be(runtime, stack, value):
    """What is no traceparent goes to the runtime untouched, and not into the log."""
    bridge = stack.bridge(runtime, log_trace="true")
    client = traced(stack, value)
    assert runtime.wait_command("CONNECT").headers["traceparent"] == value
    client.send({"type": "refresh_token", "token": "bad", "traceparent": value})
    assert "traceparent" not in bridge.wait_log("MESSAGE_REFUSED")
    assert "traceparent" not in bridge.wait_log("CONN_OPEN")


def test_reload(runtime, stack, tmp_path):
    """The option is taken by SIGHUP, for messages at once and for connections from then on."""
    file = tmp_path / "bridge.cfg"
    file.write_text("log-trace = false\n")
    bridge = stack.bridge(runtime, config=file)
    client = traced(stack)
    file.write_text("log-trace = true\n")
    bridge.process.send_signal(signal.SIGHUP)
    bridge.wait_log("RELOADED")
    client.send({"type": "refresh_token", "token": "bad", "traceparent": OF_MESSAGE})
    assert bridge.wait_log("MESSAGE_REFUSED")["traceparent"] == OF_MESSAGE
    later = traced(stack)
    wait_until(lambda: len(bridge.logs("CONN_OPEN")) == 2, what="two lines")
    assert [line.get("traceparent") for line in bridge.logs("CONN_OPEN")] == [None, OF_UPGRADE]
    later.ping()
