"""RFC 6455 by hand-made bytes: a `raw` client, a runtime that sends every message back, and a case as a list of steps."""
import collections
import socket

import msgpack

from .raw import CLOSE, encode_frame
from .stack import Stack
from .timing import wait_until

# `steps`: bytes are sent, a Back is what must come next. `messages`: what the runtime gets, as (opcode, body). `end`: the
# code of the bridge's close frame; None: it ends the stream without one; GOODBYE: the client closes and is answered.
# `reason`: the label under which the end is counted.
Case = collections.namedtuple("Case", "steps messages end reason", defaults=([], "goodbye", None))
GOODBYE = "goodbye"
OPCODES = {1: "text", 2: "binary"}
CAUSES = {GOODBYE: "peer_closed", None: "peer_lost", 1007: "invalid_text", 1009: "message_too_big"}


class Back(bytes):
    """Bytes that the bridge must send next."""


def back(opcode, payload=b"", **how):
    """A frame that must come next, to the byte."""
    return Back(encode_frame(opcode, payload, masked=False, **how))


def close_payload(code, reason=b""):
    """The payload of a close frame."""
    return code.to_bytes(2, "big") + reason


def fragments(opcode, parts, **how):
    """One message in these parts: a list of frames."""
    return [encode_frame(0 if number else opcode, part, fin=number == len(parts) - 1, **how)
            for number, part in enumerate(parts)]


def echoed(opcode, body, steps=None):
    """A case of one message that comes back."""
    return Case([*(steps or [encode_frame(opcode, body)]), back(opcode, body)], [(opcode, body)])


def send_back(runtime, command):
    """A runtime's handler: each MESSAGE returns as it came."""
    if command.command == "MESSAGE":
        runtime.raw_send([b"SEND", command.connection_id.encode(), command.user_id.encode(),
                          msgpack.packb({"opcode": command.headers["opcode"]}), command.body], command.identity)


class Echo:
    """A bridge and such a runtime, for many cases one after the other."""

    def __init__(self, keys, **options):
        self.stack = Stack(keys)
        self.runtime = self.stack.runtime(handler=send_back)
        self.bridge = self.stack.bridge(self.runtime, client_messages_per_minute=0, **options)

    def finish(self):
        """The bridge must have lived until now."""
        self.stack.finish()

    def dial(self, user="alice"):
        """A `raw` connection and the id that the runtime knows it by."""
        mark = self.runtime.mark()
        client = self.stack.raw(self.bridge)
        client.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        answer = client.upgrade(changes={"Authorization": f"Bearer {self.stack.keys.token(user)}",
                                         "Sec-WebSocket-Protocol": "raw"})
        assert answer.status == 101
        return client, self.runtime.wait_commands("CONNECT", 1, since=mark)[0].connection_id

    def closed(self):
        """{reason: ended connections}."""
        return {dict(labels)["reason"]: count for (name, labels), count in self.bridge.metrics().items()
                if name == "agentbridge_connections_closed_total"}

    def play(self, case):
        """Say the client's part, compare the bridge's with it, and what the runtime and the operator see."""
        before, mark = self.closed(), self.runtime.mark()
        client, connection_id = self.dial()
        for step in case.steps:
            if isinstance(step, Back):
                got = client.take(len(step))
                assert got == step, (got, step)
            else:
                client.send(step)
        self._end(client, case.end)
        gone = self.runtime.wait_commands("DISCONNECT", 1, since=mark, connection_id=connection_id)
        told = self.runtime.commands("MESSAGE", mark, connection_id=connection_id)
        assert [(one.headers["opcode"], one.body) for one in told] == [(OPCODES[op], body) for op, body in case.messages]
        assert [one.headers["seq"] for one in told] == list(range(1, len(told) + 1))
        reason = case.reason or CAUSES.get(case.end, "protocol_error")
        before[reason] += 1
        wait_until(lambda: self.closed() == before, what=f"{reason} one more: {before}, not {self.closed()}")
        return gone[0]

    @staticmethod
    def _end(client, end):
        if end == GOODBYE:
            client.send_frame(CLOSE, close_payload(1000))
            assert client.rest() == encode_frame(CLOSE, close_payload(1000), masked=False)
            return
        closed = client.recv_close(answer=False)
        assert (closed and closed[0]) == end, closed
        if closed:
            client.socket.shutdown(socket.SHUT_WR)
        rest = client.rest()
        assert rest == b"", rest
