"""Messages up to the limit and over it, large ones, and many in a row, both ways. Autobahn's 9.x and 10.x are like these."""
import itertools
import threading

import pytest
from harness.conformance import Case, Echo, back, echoed, fragments
from harness.raw import BINARY, TEXT, encode_frame

LIMIT = 1000
LARGEST = 16 << 20
KINDS = {"text": TEXT, "binary": BINARY}
COUNT = 1000


@pytest.fixture(scope="module", name="narrow")
def narrow_fixture(keys):
    """One that takes small messages only."""
    echo = Echo(keys, max_message_bytes=LIMIT)
    yield echo
    echo.finish()


@pytest.fixture(scope="module", name="wide")
def wide_fixture(keys):
    """One that takes large ones, and holds as many as a test sends."""
    echo = Echo(keys, max_message_bytes=LARGEST, max_event_bytes=LARGEST, queue_bytes=1 << 28, queue_messages=10000,
                runtime_queue_messages=10000)
    yield echo
    echo.finish()


def cut(body, size):
    """Parts of so many bytes."""
    return [body[at:at + size] for at in range(0, len(body), size)] or [b""]


def limits():
    """The limit itself comes back; a byte more closes 1009, however it is cut."""
    for kind, opcode in KINDS.items():
        for size in (LIMIT - 1, LIMIT):
            body = b"x" * size
            yield f"{kind}-{size}", echoed(opcode, body)
            yield f"{kind}-{size}-in-fragments", echoed(opcode, body, fragments(opcode, cut(body, 333)))
            yield f"{kind}-{size}-in-fragments-and-nothing", echoed(opcode, body, fragments(opcode, [*cut(body, 500), b""]))
        for size, step in itertools.product((LIMIT + 1, 2 * LIMIT, 60000), (1, 500, LIMIT, LIMIT + 1)):
            frames = fragments(opcode, cut(b"x" * size, step))
            yield f"{kind}-{size}-in-{step}s", Case([b"".join(frames)], end=1009)
            yield f"{kind}-{size}-in-{step}s-after-one", Case([*echoed(opcode, b"good").steps, b"".join(frames)],
                                                              [(opcode, b"good")], 1009)
        yield f"{kind}-two-at-the-limit", Case([*echoed(opcode, b"x" * LIMIT).steps, *echoed(opcode, b"y" * LIMIT).steps],
                                               [(opcode, b"x" * LIMIT), (opcode, b"y" * LIMIT)])
        yield f"{kind}-over-in-an-unfinished-frame", Case([encode_frame(opcode, b"x" * 5000)[:2000]], end=1009)


LIMITS = dict(limits())


@pytest.mark.parametrize("name", LIMITS)
def test_limit(narrow, name):
    """As the table says."""
    narrow.play(LIMITS[name])


def pattern(size):
    """So many bytes of ASCII that repeat nowhere near."""
    step = b"".join(b"%07d " % number for number in range(min(size, 1 << 20) // 8 + 1))
    return (step * (size // len(step) + 1))[:size]


@pytest.mark.parametrize("size, kind, pieces", [
    *itertools.product((1 << 16, 1 << 18, 1 << 20), KINDS, (None, 65536, 1009)),
    (4 << 20, "text", None), (4 << 20, "binary", 65536), (LARGEST, "text", 1000003), (LARGEST, "binary", None)])
def test_large(wide, size, kind, pieces):
    """Whole, or in fragments: back in one frame, byte for byte."""
    body, opcode = pattern(size), KINDS[kind]
    frames = fragments(opcode, cut(body, pieces or size))
    wide.play(Case([b"".join(frames), back(opcode, body)], [(opcode, body)]))


@pytest.mark.parametrize("size, kind", [
    *itertools.product((0, 16, 64, 256, 1024, 4096), KINDS), (16384, "text"), (65536, "binary")])
def test_thousand(wide, size, kind):
    """1,000 messages without waiting, all of them back, in order."""
    opcode = KINDS[kind]
    bodies = [(b"%d:" % number + b"m" * size)[:size] for number in range(COUNT)]
    client, connection_id = wide.dial()
    sender = threading.Thread(target=client.send, args=(b"".join(encode_frame(opcode, body) for body in bodies),))
    sender.start()
    for body in bodies:
        frame = client.recv_frame()
        assert (frame.fin, frame.opcode) == (True, opcode) and frame.payload == body
    sender.join()
    told = wide.runtime.commands("MESSAGE", connection_id=connection_id)
    assert [one.headers["seq"] for one in told] == list(range(1, COUNT + 1))
    client.reset()
    wide.runtime.wait_command("DISCONNECT", connection_id=connection_id)
