"""The wire vectors (proto/vectors) against the binding."""
import json

import msgpack
import pytest
from agentbridge import messages, wire
from agentbridge.wire import Malformed
from hosted import ROOT

VECTORS = ROOT / "proto" / "vectors"
READERS = {"CONNECT": lambda c: messages.read_connection(b"b", c),
           "MESSAGE": lambda c: messages.read_message(messages.Connection(c.connection, c.user, b"b"), c),
           "DISCONNECT": lambda c: messages.read_disconnect(messages.Connection(c.connection, c.user, b"b"), c),
           "ABANDONED": messages.read_abandoned, "REPLAY": messages.read_replay}
SPECIAL = {"$bin": bytes.fromhex, "$float": float, "$int": int,
           "$ext": lambda v: ext_of(v[0], bytes.fromhex(v[1])), "$map": lambda v: Pairs(v)}


class Pairs(dict):
    """A map with keys that are the same to a dict, as 1 and True are."""

    def __init__(self, pairs):
        super().__init__()
        self._pairs = [(key, value_of(value)) for key, value in pairs]

    def __len__(self):
        return len(self._pairs)

    def items(self):
        return self._pairs


def ext_of(kind, data):
    """A time is a Timestamp to Python."""
    if kind == -1:
        return msgpack.Timestamp.from_bytes(data)
    return msgpack.ExtType(kind, data)


def cases(name, **match):
    """Those that are like this, named for pytest."""
    found = json.loads((VECTORS / name).read_text(encoding="utf-8"))
    return [pytest.param(case, id=case["name"]) for case in found if all(case[key] == match[key] for key in match)]


def value_of(written):
    """What the notation of the vectors means."""
    if isinstance(written, dict):
        key = next(iter(written), "")
        return SPECIAL[key](written[key]) if key in SPECIAL else {k: value_of(v) for k, v in written.items()}
    return [value_of(one) for one in written] if isinstance(written, list) else written


def frames_of(case):
    """Bytes."""
    return [bytes.fromhex(frame) for frame in case["frames"]]


def body_of(case):
    """A body is bytes, or an event."""
    return bytes.fromhex(case["body"]) if isinstance(case["body"], str) else wire.pack(value_of(case["body"]))


@pytest.mark.parametrize("case", cases("commands.json", to="bridge"))
def test_commands_are_made(case):
    headers = None if case["headers"] is None else value_of(case["headers"])
    assert wire.command_frames(case["command"], case["connection"], case["user"], headers, body_of(case)) == frames_of(case)


@pytest.mark.parametrize("case", cases("commands.json", to="runtime"))
def test_commands_are_read(case):
    command = wire.read_command(frames_of(case))
    assert command == wire.Command(case["command"], case["connection"], case["user"], value_of(case["headers"] or {}),
                                   body_of(case))
    read = READERS.get(case["command"], lambda c: None)(command)
    if case["command"] == "MESSAGE":
        expected = [case["headers"].get(key) for key in ("seq", "opcode", "traceparent")]
        assert [read.seq, read.opcode, read.traceparent, read.body] == [*expected, body_of(case)]
        assert read.ts == float(value_of(case["headers"]["ts"]))
    elif case["command"] == "REPLAY":
        assert read == (case["headers"]["publisher"], case["headers"]["from"], case["headers"]["to"])
    elif read is not None:
        for key, value in value_of(case["headers"]).items():
            found = getattr(read, key)
            assert (list(found) if key == "runs" else found) == value


@pytest.mark.parametrize("case", cases("events.json"))
def test_events_are_made(case):
    if '"$str"' in json.dumps(case["event"]):
        return  # a str of Python cannot hold bytes that are not UTF-8
    event = wire.pack(value_of(case["event"]))
    frames = wire.event_frames(case["user"], event, **case["meta"]) if case["meta"] else [case["user"].encode(), event]
    if frames != frames_of(case):  # a time may be written longer than Python does, as long as it is the same
        assert [frames[0], wire.unpack(frames[1])] == [frames_of(case)[0], wire.unpack(frames_of(case)[1])]
        assert case["name"] == "times"


@pytest.mark.parametrize("case", cases("refused.json", link="to_runtime"))
def test_what_is_no_command_is_refused(case):
    with pytest.raises(Malformed):
        command = wire.read_command(frames_of(case))
        READERS[command.name](command)
