"""UTF-8 (RFC 3629) in text frames and in what a close frame says: texts that everybody trips over, each in one frame, cut
between all of its bytes into fragments, and into TCP segments. Python's decoder is the judge. Autobahn's 6.x have the same
texts."""
import itertools

import pytest
from harness.conformance import Case, back, close_payload, echoed, fragments
from harness.raw import BINARY, CLOSE, CONTINUATION, PING, PONG, TEXT, encode_frame

KOSME = "κόσμε".encode()
TEXTS = {
    "6.2-hello": ["Hello-µ@ßöäüàá-UTF-8!!".encode()],
    "6.3-surrogate-amid": [KOSME + b"\xed\xa0\x80edited", KOSME + b"\xf4\x90\x80\x80edited"],
    "6.6-kosme": [KOSME[:size] for size in range(1, len(KOSME) + 1)],
    "6.7-first-of-each-length": [b"\0", b"\xc2\x80", b"\xe0\xa0\x80", b"\xf0\x90\x80\x80"],
    "6.8-five-and-six-bytes": [b"\xf8\x88\x80\x80\x80", b"\xfc\x84\x80\x80\x80\x80"],
    "6.9-last-of-each-length": [b"\x7f", b"\xdf\xbf", b"\xef\xbf\xbf", b"\xf4\x8f\xbf\xbf"],
    "6.10-last-beyond": [b"\xf7\xbf\xbf\xbf", b"\xfb\xbf\xbf\xbf\xbf", b"\xfd\xbf\xbf\xbf\xbf\xbf"],
    "6.11-boundaries": [b"\xed\x9f\xbf", b"\xee\x80\x80", b"\xef\xbf\xbd", b"\xf4\x8f\xbf\xbf", b"\xf4\x90\x80\x80"],
    "6.12-lone-continuations": [b"\x80", b"\xbf", b"\x80\xbf", b"\x80\xbf" * 3, bytes(range(0x80, 0xc0))],
    "6.13-lone-starts": [b" ".join(bytes([one]) for one in range(*span)) + b" "
                         for span in ((0xc0, 0xe0), (0xe0, 0xf0), (0xf0, 0xf8), (0xf8, 0xfc), (0xfc, 0xfe))],
    "6.14-last-byte-missing": [b"\xc0", b"\xe0\x80", b"\xf0\x80\x80", b"\xf8\x80\x80\x80", b"\xdf", b"\xef\xbf",
                               b"\xf7\xbf\xbf", b"\xe2\x82", b"\xf0\x9f\x98", b"a\xc3", "ok €".encode()[:-1]],
    "6.15-all-of-them": [b"\xc0\xe0\x80\xf0\x80\x80\xf8\x80\x80\x80\xdf\xef\xbf"],
    "6.16-impossible": [b"\xfe", b"\xff", b"\xfe\xfe\xff\xff"],
    "6.17-overlong": [b"\xc0\xaf", b"\xe0\x80\xaf", b"\xf0\x80\x80\xaf", b"\xf8\x80\x80\x80\xaf", b"\xc1\xbf", b"\xe0\x9f\xbf",
                      b"\xf0\x8f\xbf\xbf", b"\xc0\x80", b"\xe0\x80\x80", b"\xf0\x80\x80\x80"],
    "6.20-surrogates": [bytes([0xed, second, third]) for second in (0xa0, 0xad, 0xae, 0xaf, 0xb0, 0xbe, 0xbf)
                        for third in (0x80, 0xbf)],
    "6.21-paired-surrogates": [b"\xed\xa0\x80\xed\xb0\x80", b"\xed\xaf\xbf\xed\xbf\xbf"],
    "6.22-no-characters": [b"\xef\xbf\xbe", b"\xef\xbf\xbf", b"\xf0\x9f\xbf\xbe", b"\xf3\xbf\xbf\xbf", b"\xf4\x8f\xbf\xbe"],
    "6.23-specials": [b"\xef\xbf\xb9", b"\xef\xbf\xba", b"\xef\xbf\xbb", b"\xef\xbf\xbc", b"\xef\xbf\xbd"],
}


def is_text(data):
    """What Python thinks."""
    try:
        data.decode()
    except UnicodeDecodeError:
        return False
    return True


def one_by_one(data):
    """Single bytes."""
    return [data[at:at + 1] for at in range(len(data))]


def ways(body):
    """The same text in one frame, in a frame of which each byte is a segment, in fragments of a byte, and an empty last one."""
    return {"whole": [encode_frame(TEXT, body)],
            "byte-by-byte": one_by_one(encode_frame(TEXT, body)),
            "fragments": [b"".join(fragments(TEXT, one_by_one(body)))],
            "empty-last": [b"".join(fragments(TEXT, [*one_by_one(body), b""]))]}


def texts():
    """Good ones come back, the others close 1007."""
    for (name, bodies) in TEXTS.items():
        for number, body in enumerate(bodies):
            for way, steps in ways(body).items():
                bad = Case(steps, end=1007)
                yield f"{name}-{number}-{way}", echoed(TEXT, body, steps) if is_text(body) else bad


def early():
    """Closed as soon as it is clear that no good end is left (Autobahn's 6.4): the rest is never sent."""
    start = encode_frame(TEXT, KOSME, fin=False)
    yield "6.4-fragment", Case([start, encode_frame(CONTINUATION, b"\xf4\x90", fin=False)], end=1007)
    yield "6.4-third-fragment", Case([start, encode_frame(CONTINUATION, b"\xf4", fin=False),
                                      encode_frame(CONTINUATION, b"\x90", fin=False)], end=1007)
    yield "6.4-inside-a-frame", Case([encode_frame(TEXT, KOSME + b"\xff" + b"x" * 1000)[:400]], end=1007)


def beside():
    """What is no text is not held to it, and does not disturb a text around it."""
    bad = b"\xff\xc3\x80\xed\xa0\x80"
    yield "binary", echoed(BINARY, bad)
    yield "binary-fragments", echoed(BINARY, bad, fragments(BINARY, one_by_one(bad)))
    cut = fragments(TEXT, ["é".encode()[:1], "é".encode()[1:]])
    for name, frames in {"ping": [encode_frame(PING, bad), back(PONG, bad)], "pong": [encode_frame(PONG, bad)]}.items():
        yield f"{name}-inside-a-character", echoed(TEXT, "é".encode(), [cut[0], *frames, cut[1]])
    half = echoed(TEXT, "é".encode())
    yield "begins-anew", Case([*half.steps, encode_frame(TEXT, b"\xa9")], half.messages, 1007)
    other = echoed(BINARY, b"\xa9")
    yield "binary-after-text", Case([*half.steps, *other.steps], [*half.messages, *other.messages])
    yield "6.1-empty", echoed(TEXT, b"")
    yield "6.1-empty-fragments", echoed(TEXT, b"", fragments(TEXT, [b"", b"", b""]))
    long = ("x" * 255 + "€" + "y" * 253 + "😀" * 100).encode()
    yield "across-chunks", echoed(TEXT, long)
    yield "bad-across-chunks", Case([encode_frame(TEXT, long[:-1])], end=1007)
    more = encode_frame(TEXT, b"more") + encode_frame(3, b"x")
    yield "nothing-behind-1007", Case([encode_frame(TEXT, b"\xff") + more], end=1007)


CASES = dict(itertools.chain(texts(), early(), beside()))


@pytest.mark.parametrize("name", CASES)
def test_case(echo, name):
    """As the table says."""
    echo.play(CASES[name])


REASONS = [body for bodies in TEXTS.values() for body in bodies]


@pytest.mark.parametrize("number", range(len(REASONS)))
def test_close_reason(echo, number):
    """The reason of a close is text too: what is not is answered with 1007, and never told to the runtime."""
    body = REASONS[number]
    frame = encode_frame(CLOSE, close_payload(1000, body))
    if is_text(body):
        answer = back(CLOSE, close_payload(1000, body))
        gone = echo.play(Case([frame, answer], end=None, reason="peer_closed"))
        assert (gone.headers["code"], gone.headers["reason"]) == (1000, body.decode())
    else:
        gone = echo.play(Case([frame, back(CLOSE, close_payload(1007))], end=None, reason="protocol_error"))
        assert (gone.headers["code"], gone.headers["reason"]) == (1007, "")
