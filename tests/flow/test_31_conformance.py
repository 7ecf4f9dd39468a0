"""RFC 6455, clause by clause, through the whole bridge: framing, fragments, control frames, reserved bits and opcodes. What
is sent is made by hand and what comes back is compared to the byte. Cases with Autobahn's numbers are like its cases."""
import itertools

import pytest
from harness.conformance import Case, back, echoed, fragments
from harness.raw import BINARY, CONTINUATION, PING, PONG, TEXT, encode_frame

# Lengths at which the header changes, and their neighbours.
EDGES = [0, 1, 124, 125, 126, 127, 128, 255, 256, 257, 4096, 65535, 65536, 65537]
KINDS = {"text": TEXT, "binary": BINARY}
KIND_OF = {opcode: kind for kind, opcode in KINDS.items()}


def body_of(opcode, size):
    """So many bytes, each one telling of its place; of text, UTF-8."""
    return bytes((at * 7 + at // 251) % (95 if opcode == TEXT else 256) + (32 if opcode == TEXT else 0) for at in range(size))


def with_length(form, length, payload=b"", opcode=TEXT):
    """A frame whose length is written in 2, 4 or 10 bytes, right or wrong, and whose mask is 0."""
    head = {2: lambda: bytes([0x80 | length]), 4: lambda: b"\xfe" + length.to_bytes(2, "big"),
            10: lambda: b"\xff" + length.to_bytes(8, "big")}[form]()
    return bytes([0x80 | opcode]) + head + bytes(4) + payload


def one_by_one(data):
    """Single bytes, each a segment of its own."""
    return [data[at:at + 1] for at in range(len(data))]


def framing():
    """Sizes in every form, pieces of segments, masks."""
    for (kind, opcode), size in itertools.product(KINDS.items(), EDGES):
        body = body_of(opcode, size)
        yield f"1-{kind}-{size}", echoed(opcode, body)
        if size <= 257:
            yield f"1-{kind}-{size}-byte-by-byte", echoed(opcode, body, one_by_one(encode_frame(opcode, body)))
        else:
            frame = encode_frame(opcode, body)
            yield f"1-{kind}-{size}-in-997s", echoed(opcode, body, [frame[at:at + 997] for at in range(0, len(frame), 997)])
    for kind, opcode in KINDS.items():
        bodies = [body_of(opcode, size) for size in (0, 1, 125, 126, 1000, 0, 300)]
        frames = b"".join(encode_frame(opcode, body) for body in bodies)
        steps = [back(opcode, body) for body in bodies]
        messages = [(opcode, body) for body in bodies]
        yield f"1-{kind}-seven-in-a-segment", Case([frames, *steps], messages)
        cuts = [frames[:3], frames[3:137], frames[137:1300], frames[1300:]]
        yield f"1-{kind}-seven-cut-anywhere", Case([*cuts, *steps], messages)
        yield f"1-{kind}-mask-of-zeros", echoed(opcode, b"as it is", [with_length(2, 8, b"as it is", opcode)])


def lengths():
    """Lengths that are not written in the shortest form, which a sender must not do: taken for what they say. A length of
    64 bits with the highest one set ends the stream."""
    for form, length in ((4, 0), (4, 5), (4, 125), (10, 0), (10, 5), (10, 126), (10, 65535)):
        body = body_of(BINARY, length)
        yield f"length-of-{length}-in-{form}-bytes", echoed(BINARY, body, [with_length(form, length, body, BINARY)])
    yield "length-over-63-bits", Case([with_length(10, 1 << 63)], end=None)
    yield "length-of-63-bits", Case([with_length(10, (1 << 63) - 1, b"x" * 70000)], end=1009)


def unmasked():
    """A server must close when a client does not mask; libwebsockets does not look, so such frames are taken as they are."""
    for kind, opcode in KINDS.items():
        yield f"unmasked-{kind}", echoed(opcode, b"bare", [encode_frame(opcode, b"bare", masked=False)])
        yield f"unmasked-{kind}-empty", echoed(opcode, b"", [encode_frame(opcode, masked=False)])
    yield "unmasked-ping", Case([encode_frame(PING, b"bare", masked=False), back(PONG, b"bare")])


def pings():
    """Answered with what they carry, in order. Of several in one segment libwebsockets answers the first (Autobahn's 2.10 and
    2.11 send such), so each is sent when the one before has been answered."""
    for number, size in enumerate((0, 1, 2, 64, 124, 125), 1):
        payload = body_of(BINARY, size)
        yield f"2.{number}-ping-{size}", Case([encode_frame(PING, payload), back(PONG, payload)])
    payload = b"\0\xff\xfe\xfd\xfc\xfb\0\xff"
    yield "2.4-ping-binary", Case([encode_frame(PING, payload), back(PONG, payload)])
    yield "2.6-ping-byte-by-byte", Case([*one_by_one(encode_frame(PING, b"\xfe" * 125)), back(PONG, b"\xfe" * 125)])
    for size, form in ((126, 4), (65536, 10)):
        yield f"2.5-ping-{size}", Case([with_length(form, size, b"x" * 8, PING)], end=None)
    yield "2.5-ping-5-in-4-bytes", Case([with_length(4, 5, b"x" * 5, PING)], end=None)
    yield "2.10-ten-pings", Case(list(itertools.chain.from_iterable(
        (encode_frame(PING, b"ping %d" % n), back(PONG, b"ping %d" % n)) for n in range(10))))
    payloads = {"empty": b"", "text": b"unsolicited", "binary": b"\xff\xc3\x80\xed\xa0\x80", "long": b"\xe2" * 125}
    for name, payload in payloads.items():
        after = echoed(TEXT, b"after it")
        yield f"2.7-unasked-pong-{name}", Case([encode_frame(PONG, payload), *after.steps], after.messages)
        yield f"2.9-pong-{name}-then-ping", Case([encode_frame(PONG, payload), encode_frame(PING, b"!"), back(PONG, b"!")])
        first = echoed(TEXT, b"before it").steps
        yield f"2.7-unasked-pong-{name}-after-text", Case([*first, encode_frame(PONG, payload), *first],
                                                          [(TEXT, b"before it")] * 2)


def reserved():
    """Bits and opcodes without a meaning: 1002."""
    for rsv in range(1, 8):
        for name, opcode in {**KINDS, "ping": PING, "pong": PONG, "close": 8}.items():
            yield f"3-rsv-{rsv}-{name}", Case([encode_frame(opcode, b"", rsv=rsv)], end=1002)
        good = echoed(TEXT, b"good").steps
        yield f"3-rsv-{rsv}-after-text", Case([*good, encode_frame(TEXT, b"x", rsv=rsv)], [(TEXT, b"good")], 1002)
        started = [encode_frame(TEXT, b"x", fin=False), encode_frame(CONTINUATION, b"x", rsv=rsv)]
        yield f"3-rsv-{rsv}-continuation", Case(started, end=1002)
        slowly = one_by_one(encode_frame(TEXT, b"x", rsv=rsv))
        yield f"3-rsv-{rsv}-byte-by-byte", Case([*good, *slowly], [(TEXT, b"good")], 1002)
    for opcode in (3, 4, 5, 6, 7, 11, 12, 13, 14, 15):
        for size in (0, 1, 125):
            yield f"4-opcode-{opcode}-{size}", Case([encode_frame(opcode, b"x" * size)], end=1002)
        good = echoed(TEXT, b"good").steps
        yield f"4-opcode-{opcode}-after-text", Case([*good, encode_frame(opcode, b"x")], [(TEXT, b"good")], 1002)


def splits(body):
    """Every way to cut it in up to three pieces, empty ones too."""
    for first in range(len(body) + 1):
        yield [body[:first], body[first:]]
        for second in range(first, len(body) + 1):
            yield [body[:first], body[first:second], body[second:]]


def fragmented():
    """Fragments, in every splitting, with control frames in between."""
    body = "aé€".encode()
    for opcode, parts in itertools.product((TEXT, BINARY), splits(body)):
        name = f"5-{KIND_OF[opcode]}-" + "-".join(str(len(part)) for part in parts)
        frames = fragments(opcode, parts)
        yield name, echoed(opcode, body, frames)
        mixed = [[frame, encode_frame(PING, b"p%d" % n), back(PONG, b"p%d" % n), encode_frame(PONG, b"\xff")]
                 for n, frame in enumerate(frames[:-1])]
        yield name + "-with-pings", echoed(opcode, body, [*itertools.chain.from_iterable(mixed), frames[-1]])
        yield name + "-in-a-segment", echoed(opcode, body, [b"".join(frames)])
    large = body_of(TEXT, 65536)
    for size in (1, 64, 125, 126, 1300, 65535):
        count = -(-len(large[:20000 if size == 1 else None]) // size)
        whole = large[:count * size]
        parts = [whole[at:at + size] for at in range(0, len(whole), size)]
        yield f"10-text-{len(whole)}-in-{size}s", echoed(TEXT, whole, [b"".join(fragments(TEXT, parts))])


def misfragmented():
    """Fragments out of place."""
    more, last = encode_frame(CONTINUATION, b"more", fin=False), encode_frame(CONTINUATION, b"last")
    start, good = encode_frame(TEXT, b"start", fin=False), echoed(TEXT, b"good").steps
    for name, opcode in {"ping": PING, "pong": PONG, "close": 8}.items():
        half = encode_frame(opcode, b"x", fin=False)
        yield f"5.1-fragmented-{name}", Case([half, encode_frame(CONTINUATION, b"y")], end=1002)
        yield f"5.1-fragmented-{name}-inside", Case([start, half], end=1002)
    for name, frame in {"last": last, "more": more}.items():
        yield f"5.9-{name}-without-start", Case([frame], end=1002)
        yield f"5.12-{name}-after-text", Case([*good, frame], [(TEXT, b"good")], 1002)
        yield f"5.11-{name}-after-fragments", Case([start, last, back(TEXT, b"startlast"), frame], [(TEXT, b"startlast")], 1002)
    for kind, opcode in KINDS.items():
        for fin in (False, True):
            yield f"5.18-{kind}-{fin}-inside", Case([start, encode_frame(opcode, b"new", fin=fin)], end=1002)
            yield f"5.18-{kind}-{fin}-inside-later", Case([start, more, encode_frame(opcode, b"new", fin=fin)], end=1002)


CASES = dict(itertools.chain(framing(), lengths(), unmasked(), pings(), reserved(), fragmented(), misfragmented()))


@pytest.mark.parametrize("name", CASES)
def test_case(echo, name):
    """As the table says."""
    echo.play(CASES[name])
