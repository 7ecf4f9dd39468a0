"""Words that the tests of gaps share. Events carry their own count in `n`."""
from .sequenced import Question
from .timing import wait_until

# No PONG tells of anything unless the test wants it, and nothing but the tested limit counts.
CALM = {"runtime_ping_s": 3600, "history_events": 100000, "history_bytes": 1 << 28, "queue_messages": 100000,
        "queue_bytes": 1 << 28}


def linked(stack, runtime, **options):
    """A bridge that has heard the runtime's HELLO."""
    bridge = stack.bridge(runtime, **{**CALM, **options})
    bridge.wait_log("RUNTIME_HELLO")
    return bridge


def event(number, **fields):
    """One of a counted row."""
    return {"type": "stream_chunk", "n": number, **fields}


def emit(runtime, numbers, user="alice", **fields):
    """Publish one event a number."""
    for number in numbers:
        runtime.emit(user, event(number, **fields))


def drop(runtime, numbers, user="alice", **fields):
    """The same, but lost on the way."""
    for number in numbers:
        runtime.drop(user, event(number, **fields))


def expect(client, numbers):
    """The next frames are exactly these, with rising offsets; the last offset."""
    events = client.recv_events(len(numbers), timeout=30)
    assert [one["n"] for one in events] == list(numbers)
    offsets = [one["_offset"] for one in events]
    assert offsets == sorted(set(offsets))
    return offsets[-1]


def counts(bridge):
    """(gaps, repaired, lost)."""
    metrics = bridge.metrics()
    return tuple(metrics[f"agentbridge_{name}", frozenset()]
                 for name in ("event_gaps_total", "events_repaired_total", "events_lost_total"))


def wait_counts(bridge, *expected):
    """Until (gaps, repaired, lost) are these."""
    wait_until(lambda: counts(bridge) == expected, what=f"{expected}, last {counts(bridge)}")


def asked(runtime, *ranges):
    """The questions so far are exactly these."""
    assert runtime.questions() == [Question(runtime.publisher, *one) for one in ranges]


def settled(runtime):
    """The bridge has handled every command that was sent to it, and what it said before is in the log."""
    mark = runtime.mark()
    runtime.send("PING", headers={"t": mark})
    runtime.wait_command("PONG", since=mark)
