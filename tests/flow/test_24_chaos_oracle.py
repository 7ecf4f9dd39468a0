"""The oracle of the chaos test, held to short logs. Alice's run is p 1 to 5, bob's event is p 6; number N was emitted at N
seconds. In a log, a number is that event, a pair two that have merged, "new" a first connection, "back" one that recovered,
"gone" one that did not; (word, seconds) is noted then, everything else long after the end."""
import types

import pytest
from harness.chaos import Emitted, Entry
from harness.oracle import Oracle, Violation

LATE = 100
RUN = {"user_id": "alice", "run_id": "r", "publisher": "p"}
EVENTS = {1: {**RUN, "type": "agent_started", "seq": 1},
          2: {**RUN, "type": "stream_chunk", "delta": "2;"},
          3: {**RUN, "type": "stream_chunk", "delta": "3;"},
          4: {**RUN, "type": "stream_chunk", "delta": "4;"},
          5: {**RUN, "type": "agent_completed", "seq": 5},
          6: {"user_id": "bob", "publisher": "p", "type": "mark", "seq": 6}}
JOURNAL = [Emitted("p", seq, seq, event["user_id"], event) for seq, event in EVENTS.items()]
FRAMES = {**EVENTS, (2, 3): {**RUN, "type": "stream_chunk", "delta": "2;3;"},
          "changed": {**EVENTS[3], "type": "agent_thinking"},
          "lost": {"type": "agent_error", "user_id": "alice", "run_id": "r", "error_code": "RUNTIME_LOST", "_synthetic": True},
          "stray": {"type": "agent_error", "user_id": "alice", "run_id": "x", "error_code": "RUNTIME_LOST", "_synthetic": True}}


def client_of(log):
    """A client of alice with this log. Offsets count from 1; what tells of a loss begins an epoch, but no new count."""
    entries, epoch, offset = [], 0, 0
    for item in log:
        word, at = item if item in (("gone", 2.5), ("resync", 2.5)) else (item, LATE)
        epoch += word in ("new", "gone", "resync")
        data = {"resume": {"epoch": epoch, "offset": offset}, "recovered": word == "back"}
        if word in ("new", "gone", "back"):
            frame = {"type": "connection_established", "data": data}
        elif word == "resync":
            frame = {"type": "resync", "data": data}
        else:
            offset += 1
            frame = {**FRAMES[word], "_offset": offset}
        entries.append(Entry(at, frame))
    return types.SimpleNamespace(user="alice", entries=entries)


def check(*logs, killed=()):
    """What the oracle says of these clients of alice."""
    return Oracle(JOURNAL, killed).check([client_of(log) for log in logs])


@pytest.mark.parametrize("log, missed", [
    (("new", 1, 2, 3, 4, 5), 0),
    (("new", 1, 2, "back", 3, 4, 5), 0),
    (("new", 1, (2, 3), 4, 5), 0),
    (("new", 2, 3, 4, 5), 1),
    (("new", 1, 2, "gone", 4, 5), 1),
    (("new", 1, 2, "gone"), 3),
    (("new", 1, 2, "resync", 4, 5), 1),
    (("new", 1, "resync", 2, 4, 5), 1),
    (("new", 1, 2, 3, 4, "lost"), 1),
    (("new", 1, 2, 3, 4, 5, "resync", "lost"), 0),
])
def test_good(log, missed):
    """Everything came, or it was told."""
    assert check(log) == missed


@pytest.mark.parametrize("log, fault", [
    (("new", 1, 2, 4, 5), "missing"),
    (("new", 1, 2, 3, 4), "have not ended"),
    (("new", 1, 2, 3, 5), "missing"),
    (("new", 1, 2, "back", 4, 5), "missing"),
    (("new", 1, 2, 4, "resync", 5), "missing"),
    (("new", 1, 2, 4, "gone", 5), "missing"),
    (("new", 1, "gone", 2, 4, 5), "missing"),
    (("new", 1, 2, ("gone", 2.5), 4, 5), "missing"),
    (("new", 1, 2, ("resync", 2.5), 4, 5), "missing"),
    (("new", 1, 2, 2, 3, 4, 5), "p 2 after 2"),
    (("new", 1, 2, "gone", 2, 3, 4, 5), "p 2 after 2"),
    (("new", 1, 3, 2, 4, 5), "p 2 after 3"),
    (("new", 1, 2, 3, 4, 5, 6), "another user"),
    (("new", 1, 2, "changed", 4, 5), "not the event"),
    (("new", 1, 2, 3, 4, 5, "lost"), "ends again"),
    (("new", 1, "lost", 2, 3, 4, 5), "ends again"),
    (("new", 1, 2, 3, 4, "stray"), "a run of another user"),
])
def test_bad(log, fault):
    """Nobody has said so, or it must never be."""
    with pytest.raises(Violation, match=fault):
        check(log)


def test_the_tail_of_the_dead():
    """Nobody can know of it, unless somebody got a later event of the same publisher."""
    tail = ("new", 1, 2, "lost")
    assert check(tail, tail, killed=["p"]) == 6
    with pytest.raises(Violation, match="missing"):
        check(tail, ("new", 1, 2, 3, 4, 5), killed=["p"])
    with pytest.raises(Violation, match="missing"):
        check(tail)
    with pytest.raises(Violation, match="have not ended"):
        check(("new", 1, 2), killed=["p"])


def test_offsets():
    """They mean the same on both connections of a user, rise, and go on where they were."""
    with pytest.raises(Violation, match="on another connection"):
        check(("new", 1, 2, 3, 4, 5), ("new", 2, 3, 4, 5))
    for index, offset, fault in ((2, 1, "offset 1 after 1"), (3, 7, "recovered, but from")):
        client = client_of(("new", 1, 2, "back", 3, 4, 5))
        frame = client.entries[index].frame
        (frame["data"]["resume"] if "data" in frame else frame)["offset" if "data" in frame else "_offset"] = offset
        with pytest.raises(Violation, match=fault):
            Oracle(JOURNAL, ()).check([client])
