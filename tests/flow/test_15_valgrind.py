"""A whole flow under valgrind: no invalid access, no leak."""
import shutil
import subprocess

import pytest
from harness.bridge import binary


def has_sanitizer():
    """Is the binary instrumented? valgrind cannot run it then."""
    symbols = subprocess.run(["nm", "-D", binary()], capture_output=True, text=True, check=False).stdout
    libraries = subprocess.run(["ldd", binary()], capture_output=True, text=True, check=False).stdout
    return any(word in symbols + libraries for word in ("__asan_", "__tsan_", "libasan", "libtsan", "libubsan"))


@pytest.fixture(name="checked")
def checked_fixture(stack, tmp_path):
    """(runtime, bridge under valgrind, path of valgrind's report)."""
    if not shutil.which("valgrind"):
        pytest.skip("valgrind is not installed")
    if has_sanitizer():
        pytest.skip("the binary is built with a sanitizer")
    report = tmp_path / "valgrind.log"
    wrap = ["valgrind", "--error-exitcode=99", "--leak-check=full", "--errors-for-leak-kinds=definite",
            f"--log-file={report}"]
    runtime = stack.runtime()
    bridge = stack.bridge(start=False, wrap=wrap, **runtime.options)
    bridge.start(timeout=60)
    runtime.wait_subscribed(timeout=60)
    bridge.wait_ready(timeout=60)
    return runtime, bridge, report


@pytest.mark.long
def test_whole_flow(checked, stack):
    """Connect in each form, refusals, a message, five events, hostile input, a reset, drain."""
    runtime, bridge, report = checked
    clients = [stack.connect("alice"), stack.connect("alice", subprotocols=["agent_chat.msgpack"])]
    stack.raw().upgrade(changes={"Authorization": "Bearer bad"})
    stack.raw().upgrade(changes={"Upgrade": "foo"})
    stack.raw_connect("bob").reset()
    for client in clients:
        client.send({"type": "user_message", "text": "hi"})
        client.ping()
    clients[0].send("not json")
    clients[0].recv_type("error_message")
    runtime.wait_commands("MESSAGE", 2)
    runtime.raw_send([b"rubbish"])
    runtime.raw_publish([b"alice", b"\xdf\xff\xff\xff\xff"])
    for number, kind in enumerate(("agent_started", "agent_thinking", "tool_executing", "tool_completed", "agent_completed")):
        runtime.emit("alice", {"type": kind, "user_id": "alice", "n": number, "args": {"x": [1.5, b"bin", None]}})
    for client in clients:
        assert [event["n"] for event in client.recv_events(5)] == [0, 1, 2, 3, 4]
    assert bridge.http("GET", "/metrics").status == bridge.http("GET", "/ws/health").status == 200
    assert bridge.stop(timeout=60) == 0, report.read_text()[-6000:]
    for client in clients:
        assert client.wait_closed()[0] == 1012
