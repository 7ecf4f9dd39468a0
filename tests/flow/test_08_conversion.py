"""MessagePack to JSON: every row of the rules, as a client sees it."""
import json
import math
import re
import struct

import msgpack
import pytest
from harness import wait_until


def event_of(raw, kind="t"):
    """An event whose member `v` is these msgpack bytes."""
    return b"\x82" + msgpack.packb("type") + msgpack.packb(kind) + msgpack.packb("v") + raw


def value_text(client):
    """The JSON text of `v` in the next event."""
    text = client.recv()
    match = re.fullmatch(r'\{"type":"t","v":(.*),"_offset":\d+\}', text, re.S)
    assert match, text
    json.loads(text)
    return match[1]


def convert(stack, runtime, rows):
    """{name: JSON text} for {name: msgpack bytes}."""
    client = stack.connect()
    for raw in rows.values():
        runtime.emit("alice", event_of(raw))
    return {name: value_text(client) for name in rows}


def timestamp(seconds, nanoseconds, bits):
    """A timestamp ext of the given width."""
    if bits == 32:
        return b"\xd6\xff" + struct.pack("!I", seconds)
    if bits == 64:
        return b"\xd7\xff" + struct.pack("!Q", nanoseconds << 34 | seconds)
    return b"\xc7\x0c\xff" + struct.pack("!Iq", nanoseconds, seconds)


# name: (msgpack bytes, JSON text)
EXACT = {
    "nil": (b"\xc0", "null"),
    "false": (b"\xc2", "false"),
    "true": (b"\xc3", "true"),
    "zero": (b"\x00", "0"),
    "fixint": (b"\x7f", "127"),
    "negative-fixint": (b"\xe0", "-32"),
    "uint8": (b"\xcc\xff", "255"),
    "uint16": (b"\xcd\xff\xff", "65535"),
    "uint32": (b"\xce\xff\xff\xff\xff", "4294967295"),
    "uint64-max": (b"\xcf" + b"\xff" * 8, "18446744073709551615"),
    "uint64-over-2^53": (b"\xcf" + struct.pack("!Q", 2 ** 53 + 1), "9007199254740993"),
    "int8": (b"\xd0\x80", "-128"),
    "int16": (b"\xd1\x80\x00", "-32768"),
    "int32": (b"\xd2\x80\x00\x00\x00", "-2147483648"),
    "int64-min": (b"\xd3\x80" + b"\x00" * 7, "-9223372036854775808"),
    "int64-positive": (b"\xd3\x7f" + b"\xff" * 7, "9223372036854775807"),
    "nan": (b"\xcb" + struct.pack("!d", math.nan), "null"),
    "infinity": (b"\xcb" + struct.pack("!d", math.inf), "null"),
    "minus-infinity-32": (b"\xca" + struct.pack("!f", -math.inf), "null"),
    "one": (b"\xcb" + struct.pack("!d", 1.0), "1.0"),
    "tenth": (b"\xcb" + struct.pack("!d", 0.1), "0.1"),
    "float32": (b"\xca" + struct.pack("!f", 0.5), "0.5"),
    "minus-zero": (b"\xcb" + struct.pack("!d", -0.0), "-0.0"),
    "empty-string": (b"\xa0", '""'),
    "str8": (b"\xd9\x01a", '"a"'),
    "str16": (b"\xda\x00\x01a", '"a"'),
    "str32": (b"\xdb\x00\x00\x00\x01a", '"a"'),
    "quotes": (msgpack.packb('"\\'), '"\\"\\\\"'),
    "utf8": (msgpack.packb("é日\U0001f600"), '"é日\U0001f600"'),
    "not-utf8": (b"\xa3a\xffb", '"a\ufffdb"'),
    "bin": (msgpack.packb(b"\x00\x01\xff"), '"AAH/"'),
    "bin-padding": (msgpack.packb(b"\x01"), '"AQ=="'),
    "empty-bin": (b"\xc4\x00", '""'),
    "bin32": (b"\xc6\x00\x00\x00\x01\x01", '"AQ=="'),
    "empty-array": (b"\x90", "[]"),
    "array": (msgpack.packb([1, [2, {}], None]), "[1,[2,{}],null]"),
    "array32": (b"\xdd\x00\x00\x00\x01\x01", "[1]"),
    "empty-map": (b"\x80", "{}"),
    "map-order": (msgpack.packb({"b": 1, "a": 2}), '{"b":1,"a":2}'),
    "map32": (b"\xdf\x00\x00\x00\x01\xa1a\x01", '{"a":1}'),
    "inner-underscore": (msgpack.packb({"_x": 1}), '{"_x":1}'),
    "keys": (b"\x86\x01\xa1a\xfe\xa1b\xc3\xa1c\xc0\xa1d\xcb" + struct.pack("!d", 1.5) + b"\xa1e\xc4\x01\x01\xa1f",
             '{"1":"a","-2":"b","true":"c","null":"d","1.5":"e","AQ==":"f"}'),
    "key-true": (b"\x81\xc3\x01", '{"true":1}'),
    "key-array": (b"\x81\x92\x01\xa1x\x01", '{"[1,\\"x\\"]":1}'),
    "ext": (b"\xc7\x02\x05\x01\x02", '{"_ext":5,"data":"AQI="}'),
    "ext-negative": (b"\xd4\x80\x01", '{"_ext":-128,"data":"AQ=="}'),
    "ext-empty": (b"\xc7\x00\x07", '{"_ext":7,"data":""}'),
    "time-32": (timestamp(0, 0, 32), '"1970-01-01T00:00:00Z"'),
    "time-32-max": (timestamp(2 ** 32 - 1, 0, 32), '"2106-02-07T06:28:15Z"'),
    "time-64-milli": (timestamp(1700000000, 500_000_000, 64), '"2023-11-14T22:13:20.500Z"'),
    "time-64-micro": (timestamp(1700000000, 1_000, 64), '"2023-11-14T22:13:20.000001Z"'),
    "time-64-nano": (timestamp(1700000000, 1, 64), '"2023-11-14T22:13:20.000000001Z"'),
    "time-96-before-1970": (timestamp(-1, 0, 96), '"1969-12-31T23:59:59Z"'),
    "time-96-leap-day": (timestamp(951782400, 0, 96), '"2000-02-29T00:00:00Z"'),
    "time-96-last": (timestamp(253402300799, 999_999_999, 96), '"9999-12-31T23:59:59.999999999Z"'),
    "time-96-too-late": (timestamp(253402300800, 0, 96), '{"_ext":-1,"data":"AAAAAAAAADr/9EGA"}'),
    "time-bad-nanoseconds": (timestamp(0, 1_000_000_000, 96), '{"_ext":-1,"data":"O5rKAAAAAAAAAAAA"}'),
    "time-bad-length": (b"\xc7\x03\xff\x01\x02\x03", '{"_ext":-1,"data":"AQID"}'),
}


def test_exact_texts(bridge, runtime, stack):
    """Every row with one possible text."""
    assert bridge
    got = convert(stack, runtime, {name: raw for name, (raw, _) in EXACT.items()})
    assert got == {name: text for name, (_, text) in EXACT.items()}


def test_floats_round_trip(bridge, runtime, stack):
    """Any float reads back as the same double and looks like one."""
    assert bridge
    doubles = [1e300, 5e-324, 1.7976931348623157e308, 1 / 3, 123456789.125, 1e21, 1e-7, -2.5, 2.0 ** 53, 1e16]
    singles = [struct.unpack("!f", struct.pack("!f", number))[0] for number in (0.1, 3.4e38, 1e-45, 16777216.0)]
    rows = {f"d{n}": b"\xcb" + struct.pack("!d", number) for n, number in enumerate(doubles)}
    rows |= {f"s{n}": b"\xca" + struct.pack("!f", number) for n, number in enumerate(singles)}
    got = convert(stack, runtime, rows)
    assert [float(text) for text in got.values()] == doubles + singles
    assert all(re.search("[.e]", text) for text in got.values()), got
    assert all(len(text) <= len(repr(float(text))) + 2 for text in got.values()), got


def test_control_characters(bridge, runtime, stack):
    """Every character below space, DEL, and the separators of JavaScript survive."""
    assert bridge
    text = "".join(map(chr, range(32))) + "\x7f\u2028\u2029"
    assert json.loads(convert(stack, runtime, {"all": msgpack.packb(text)})["all"]) == text


@pytest.mark.parametrize("raw", [b"\xff", b"\xc0\xaf", b"\xed\xa0\x80", b"\xf4\x90\x80\x80", b"\xe2\x82", b"\xf0\x9f\x98",
                                 b"\x80", b"ok\xc3"])
def test_replacement_characters(bridge, runtime, stack, raw):
    """What is not UTF-8 becomes U+FFFD, as values and as keys, and the connection lives."""
    assert bridge
    rows = {"value": bytes([0xa0 | len(raw)]) + raw, "key": b"\x81" + bytes([0xa0 | len(raw)]) + raw + b"\x01"}
    got = convert(stack, runtime, rows)
    value = json.loads(got["value"])
    assert "\ufffd" in value and value.replace("\ufffd", "") == raw.decode(errors="ignore")
    assert list(json.loads(got["key"])) == [value]


def test_depth(bridge, runtime, stack):
    """64 levels, the event's own map counted, are delivered; 65 are dropped."""
    client = stack.connect()
    nested = {levels: event_of(b"\x91" * (levels - 2) + b"\x90") for levels in (64, 65, 1000)}
    maps = event_of(b"\x81\xa1k" * 63 + b"\x80")
    for event in (nested[64], nested[65], nested[1000], maps):
        runtime.emit("alice", event)
    assert value_text(client) == "[" * 63 + "]" * 63
    client.quiet(runtime)
    assert bridge.metric("events_dropped_total", reason="too_deep") == 3


@pytest.mark.parametrize("filler", ["x", "\x01", "é", '"'])
def test_largest_event(bridge, runtime, stack, filler):
    """An event of exactly max-event-bytes arrives; one byte more is dropped and nothing else happens."""
    client = stack.connect()
    room = 1048576 - len(event_of(b"\xdb\x00\x00\x00\x00"))
    text = (filler * room)[:room // len(filler.encode())]
    text += "y" * (room - len(text.encode()))
    event = event_of(msgpack.packb(text))
    assert len(event) == 1048576
    runtime.emit("alice", event_of(msgpack.packb(text + "z")))
    runtime.emit("alice", event)
    assert json.loads(client.recv(timeout=30))["v"] == text
    client.quiet(runtime)
    assert bridge.metric("events_dropped_total", reason="too_big") == 1


def test_far_too_big_event(bridge, runtime, stack):
    """32 MiB are more than the link takes: at worst it is made anew, and events flow again."""
    client = stack.connect()
    runtime.emit("alice", event_of(msgpack.packb("x" * (32 << 20))))

    def flows():
        runtime.emit("alice", {"type": "agent_started"})
        return bridge.metric("events_delivered_total", type="agent_started") > 0
    wait_until(flows, what="an event after the big one")
    client.recv_type("agent_started")
    assert bridge.metric("process_resident_memory_bytes") < 512 << 20
    bridge.wait_ready()


def test_reserved_keys(bridge, runtime, stack):
    """Top-level keys that begin with `_` are left out, and the event is delivered."""
    client = stack.connect()
    runtime.emit("alice", {"_offset": 99, "type": "a", "_": 1, "x": {"_in": 1}, "_synthetic": True})
    runtime.emit("alice", {"type": "b"})
    first, second = client.recv_events(2)
    assert first.pop("_offset") < second.pop("_offset") < 99
    assert (first, second) == ({"type": "a", "x": {"_in": 1}}, {"type": "b"})
    assert bridge.metric("reserved_keys_total") == 1


def test_reserved_keys_msgpack(bridge, runtime, stack):
    """The same in msgpack."""
    assert bridge
    client = stack.connect(subprotocols=["agent_chat.msgpack"])
    runtime.emit("alice", {"_offset": 99, "type": "a", "_": 1, "x": 1})
    event = client.recv_event()
    assert event.pop("_offset") != 99 and event == {"type": "a", "x": 1}


GOOD = msgpack.packb({"type": "x"})
HUGE = b"\xff\xff\xff\xff"

# name: (reason, frames for user alice)
DROPPED = {
    "empty": ("malformed", [b"alice", b""]),
    "never-used-byte": ("malformed", [b"alice", b"\xc1"]),
    "array": ("malformed", [b"alice", msgpack.packb(["type", "x"])]),
    "json": ("malformed", [b"alice", b'{"type":"x"}']),
    "truncated": ("malformed", [b"alice", GOOD[:-1]]),
    "trailing": ("malformed", [b"alice", GOOD + b"\x00"]),
    "two-maps": ("malformed", [b"alice", GOOD + GOOD]),
    "map32-count": ("malformed", [b"alice", b"\xdf" + HUGE]),
    "map32-count-inside": ("malformed", [b"alice", event_of(b"\xdf" + HUGE)]),
    "array32-count": ("malformed", [b"alice", event_of(b"\xdd" + HUGE)]),
    "str32-length": ("malformed", [b"alice", event_of(b"\xdb" + HUGE)]),
    "bin32-length": ("malformed", [b"alice", event_of(b"\xc6" + HUGE)]),
    "ext32-length": ("malformed", [b"alice", event_of(b"\xc9" + HUGE + b"\x01")]),
    "ext-without-type": ("malformed", [b"alice", event_of(b"\xc9\x00\x00\x00\x00")]),
    "connection-number": ("malformed", [b"alice", msgpack.packb({"type": "x", "connection_id": 7})]),
    "no-type": ("no_type", [b"alice", b"\x80"]),
    "number-type": ("no_type", [b"alice", msgpack.packb({"type": 7})]),
    "empty-type": ("no_type", [b"alice", msgpack.packb({"type": ""})]),
    "two-types": ("duplicate_key", [b"alice", b"\x82" + (msgpack.packb("type") + msgpack.packb("x")) * 2]),
    "two-users": ("duplicate_key", [b"alice", b"\x83" + GOOD[1:] + (msgpack.packb("user_id") + msgpack.packb("alice")) * 2]),
    "no-user": ("bad_user", [b"", GOOD]),
    "control-user": ("bad_user", [b"al\x00ice", GOOD]),
    "c1-user": ("bad_user", ["al\u0085ice".encode(), GOOD]),
    "latin1-user": ("bad_user", [b"\xe9", GOOD]),
    "long-user": ("bad_user", [b"x" * 129, GOOD]),
    "one-frame": ("bad_frames", [b"alice"]),
    "four-frames": ("bad_frames", [b"alice", GOOD, b"\x80", b""]),
    "bad-meta": ("bad_frames", [b"alice", GOOD, b"\xc1"]),
    "number-meta": ("bad_frames", [b"alice", GOOD, b"\x07"]),
}


def test_dropped_events(bridge, runtime, stack):
    """Each is counted under its reason, and none reaches the client."""
    client = stack.connect()
    expected = {}
    for reason, frames in DROPPED.values():
        runtime.raw_publish(frames)
        expected[reason] = expected.get(reason, 0) + 1
    client.quiet(runtime)
    assert {reason: bridge.metric("events_dropped_total", reason=reason) for reason in expected} == expected
    assert bridge.total("events_dropped_total") == len(DROPPED)
    assert bridge.metric("isolation_violations_total") == 0
    assert bridge.wait_log("EVENT_DROPPED", reason="malformed")


def test_event_with_meta(bridge, runtime, stack):
    """The third frame is the bridge's business; the event is delivered as without it."""
    assert bridge
    client = stack.connect()
    runtime.emit("alice", {"type": "agent_started"}, {"publisher": "flow", "seq": 1})
    assert set(client.recv_type("agent_started")) == {"type", "_offset"}


def test_any_type_name(bridge, runtime, stack):
    """Any other type is delivered, and counted as other."""
    client = stack.connect()
    runtime.emit("alice", {"type": "my own ütype"})
    client.recv_type("my own ütype")
    assert bridge.metric("events_received_total", type="other") == 1
    assert bridge.metric("events_delivered_total", type="other") == 1
