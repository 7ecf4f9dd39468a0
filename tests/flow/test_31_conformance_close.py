"""Close frames (RFC 6455 sections 5.5.1 and 7): codes, reasons, what comes behind. Autobahn's 7.x are like these."""
import itertools

import pytest
from harness.conformance import Case, back, close_payload, echoed, fragments
from harness.raw import BINARY, CLOSE, PING, PONG, TEXT, encode_frame

CODES = [1000, 1001, 1002, 1003, 1007, 1008, 1009, 1010, 1011, 3000, 3999, 4000, 4999]
# Registered since the RFC, but libwebsockets takes them for reserved.
LATER_CODES = [1012, 1013, 1014]
NO_CODES = [0, 1, 999, 1004, 1005, 1006, 1015, 1016, 1100, 2000, 2999, 5000, 32768, 65535]
FAREWELL = "peer_closed"


def closing(payload, answer, *before, messages=(), reason=FAREWELL):
    """A close frame and its answer, then the end of the stream."""
    return Case([*before, encode_frame(CLOSE, payload), back(CLOSE, answer)], list(messages), None, reason)


def proper():
    """Echoed, and told to the runtime."""
    yield "7.3-empty", closing(b"", b""), 1005, ""
    for code in CODES:
        yield f"7.7-{code}", closing(close_payload(code), close_payload(code)), code, ""
        said = close_payload(code, "Tschüß".encode())
        yield f"7.7-{code}-with-reason", closing(said, said), code, "Tschüß"
    for size in (1, 122, 123):
        said = close_payload(1000, b"r" * size)
        yield f"7.3-reason-of-{size}", closing(said, said), 1000, "r" * size
    good = echoed(TEXT, b"before")
    said = close_payload(1000)
    yield "7.1-after-a-message", closing(said, said, *good.steps, messages=good.messages), 1000, ""
    said = close_payload(1001)
    slowly = [bytes([one]) for one in encode_frame(CLOSE, said)]
    yield "7.1-byte-by-byte", Case([*slowly, back(CLOSE, said)], [], None, FAREWELL), 1001, ""
    yield "unmasked", Case([encode_frame(CLOSE, said, masked=False), back(CLOSE, said)], [], None, FAREWELL), 1001, ""
    yield "inside-fragments", closing(said, said, fragments(BINARY, [b"begun", b"never sent"])[0]), 1001, ""


def followed():
    """Nothing that comes behind a close frame is taken or answered."""
    said = close_payload(1000)
    late = {name: encode_frame(opcode, b"late") for name, opcode in {"text": TEXT, "ping": PING, "pong": PONG}.items()}
    late["fragment"] = encode_frame(TEXT, b"late", fin=False)
    late["close"] = encode_frame(CLOSE, close_payload(1001))
    for name, frame in late.items():
        yield f"7.1-then-{name}", Case([encode_frame(CLOSE, said) + frame, back(CLOSE, said)], [], None, FAREWELL), 1000, ""
    yield "7.1-then-garbage", Case([encode_frame(CLOSE, said) + b"\xff" * 100], [], None, FAREWELL), 1000, ""


def faulty():
    """No close frame may be like this: 1002, for the runtime too."""
    for code in NO_CODES + LATER_CODES:
        answered = "peer_closed" if code < 5000 else "protocol_error"
        yield f"7.9-{code}", closing(close_payload(code), close_payload(1002), reason=answered), 1002, ""
    for byte in (b"\0", b"\x03", b"\xff"):
        yield f"7.3-one-byte-{byte.hex()}", closing(byte, close_payload(1002), reason="protocol_error"), 1002, ""
    for size in (124, 200):
        head = bytes([0x80 | CLOSE, 0x80 | 126]) + (size + 2).to_bytes(2, "big") + bytes(4)
        yield f"7.3-reason-of-{size}", Case([head + close_payload(1000, b"r" * 10)], [], None, "peer_lost"), 1006, ""


CASES = {name: rest for name, *rest in itertools.chain(proper(), followed(), faulty())}


@pytest.mark.parametrize("name", CASES)
def test_case(echo, name):
    """As the table says: the answer, the counter, and what the runtime hears."""
    case, code, reason = CASES[name]
    gone = echo.play(case)
    assert (gone.headers["code"], gone.headers["reason"]) == (code, reason)


@pytest.mark.parametrize("code, reason", [(1000, ""), (1001, "x"), (1008, "ß"), (1011, "r" * 123), (3000, "y"), (4999, "z")])
def test_close_of_the_runtime(echo, code, reason):
    """CLOSE goes out to the byte; the client's answer ends the connection, whatever it says."""
    for answer in (close_payload(code, reason.encode()), b"", b"\x03", close_payload(0), close_payload(1000, b"\xff")):
        client, connection_id = echo.dial()
        echo.runtime.send("CLOSE", connection_id, "alice", {"code": code, "reason": reason})
        said = encode_frame(CLOSE, close_payload(code, reason.encode()), masked=False)
        assert client.take(len(said)) == said
        client.send_frame(CLOSE, answer)
        assert client.rest() == b""
        gone = echo.runtime.wait_command("DISCONNECT", connection_id=connection_id)
        assert (gone.headers["code"], gone.headers["reason"]) == (code, reason)


def test_frames_before_the_end_of_the_handshake(echo):
    """A client that goes on sending between the bridge's close frame and its own: nothing is answered or handed on."""
    client, connection_id = echo.dial()
    echo.runtime.send("CLOSE", connection_id, "alice", {"code": 1000, "reason": ""})
    assert client.recv_close(answer=False) == (1000, "")
    for opcode, payload in ((TEXT, b"late"), (BINARY, b"late" * 100), (PONG, b"late"), (TEXT, b"\xff")):
        client.send_frame(opcode, payload)
    client.send_frame(CLOSE, close_payload(1000))
    assert client.rest() == b""
    assert not echo.runtime.commands("MESSAGE", connection_id=connection_id)
