"""What load has taken, the bridge gives back: after the second time as little is held as after the first."""
import os
import pathlib
import re
import signal

import pytest
from harness import wait_until
from harness.publisher_process import PublisherProcess
from harness.reconnecting import Reconnecting, together

pytestmark = pytest.mark.skipif(os.environ.get("AGENTBRIDGE_BUILD") in ("asan", "tsan"),
                                reason="sanitizers keep memory for purposes of their own")

USERS = [f"user-{number}" for number in range(100)]
EVENTS, PAD = 30000, 1000
OPTIONS = {"history_events": 1000000, "history_bytes": 1 << 28, "queue_messages": 1000000,
           "queue_bytes": 1 << 28, "max_connections_per_user": 1000}


def resident(bridge):
    """Bytes of anonymous memory that the process holds."""
    status = pathlib.Path(f"/proc/{bridge.process.pid}/status").read_text(encoding="ascii")
    return int(re.search(r"RssAnon:\s+(\d+) kB", status)[1]) * 1024


@pytest.fixture(name="publisher")
def publisher_fixture(stack):
    """A publisher beside the runtime."""
    publisher = PublisherProcess(stack.endpoints()[1] + "-pour")
    yield publisher
    publisher.finish()


def load(stack, bridge, runtime, publisher):
    """Connections, events for those who read and for those who do not, narrowed ones, replays; then everybody goes. The
    most memory that was seen."""
    clients = [Reconnecting(stack, user) for user in USERS]
    sleepers = [Reconnecting(stack, user, receive_buffer=4096) for user in USERS]
    for client in clients + sleepers:
        client.begin()
        client.seen = None
    sent = publisher.pour(USERS, count=EVENTS, pad=PAD)
    together([lambda client=client: client.take() and client.take_until(sent[client.user]) for client in clients])
    again = [Reconnecting(stack, user) for user in USERS]
    for client, first in zip(again, clients):
        client.epoch, client.offset, client.seen = first.epoch, first.offset - EVENTS // len(USERS), None
        client.back()
    together([lambda client=client: client.take() and client.take_until(sent[client.user]) for client in again])
    for client in clients:
        for _ in range(20):
            runtime.emit(client.user, {"type": "narrowed", "connection_id": client.ids[-1], "pad": "x" * PAD})
    together([lambda client=client: [client.socket.recv_json() for _ in range(20)] for client in clients])
    most = resident(bridge)
    for client in clients + sleepers + again:
        client.cut("reset")
    return most


def set_ttl(bridge, file, seconds):
    """How long history is kept from now on."""
    before = len(bridge.logs("RELOADED"))
    file.write_text(f"history-ttl-s = {seconds}\n")
    bridge.signal(signal.SIGHUP)
    wait_until(lambda: len(bridge.logs("RELOADED")) > before, what="the reload")


def settle(bridge):
    """Until nothing is left."""
    bridge.wait_total("connections", 0)
    bridge.wait_metric("history_events", 0, timeout=20)
    wait_until(lambda: bridge.metric("users") == 0)
    for name in ("history_bytes", "outbound_queue_bytes"):
        assert bridge.metric(name) == 0


def test_memory_returns(stack, publisher, tmp_path):
    """Twice the same load. Each time most of what it took is given back, and the second time leaves no more behind than the
    first."""
    runtime, file = stack.runtime(), tmp_path / "bridge.cfg"
    file.touch()
    bridge = stack.bridge(runtime, config=file, **{**publisher.options(runtime), **OPTIONS})
    publisher.wait_subscribed()
    before, left = resident(bridge), []
    for _ in range(2):
        set_ttl(bridge, file, 3600)
        most = load(stack, bridge, runtime, publisher)
        assert most - before > EVENTS * PAD
        set_ttl(bridge, file, 1)
        settle(bridge)
        left.append(wait_until(lambda limit=before + (most - before) / 4: given_back(bridge, limit)))
    assert left[1] <= left[0] * 1.1, (before, left)


def given_back(bridge, limit):
    """What is held, when it is within the limit."""
    now = resident(bridge)
    return now if now <= limit else None
