"""Commands and events as ZeroMQ frames and back (proto/README.md, sections 8 and 9). Knows no sockets."""
from __future__ import annotations

import dataclasses
from typing import Any, Dict, List, Mapping, Optional, Sequence

import msgpack

from .errors import EventError

PROTOCOL = 1
TO_RUNTIME = frozenset({"HELLO", "PING", "PONG", "CONNECT", "MESSAGE", "DISCONNECT", "ABANDONED", "REPLAY"})
COMMAND_FRAMES = 5
MAX_DEPTH = 64        # maps and lists within each other, the outermost counts as 1
MAX_USER_BYTES = 128
MAX_REASON_BYTES = 123


class Malformed(Exception):
    """Frames that are no command for a runtime; the text says why."""


@dataclasses.dataclass(frozen=True)
class Command:
    """One command of a bridge."""

    name: str
    connection: str
    user: str
    headers: Dict[Any, Any]
    body: bytes

    def header(self, key: str, kind: type, default: Any = None) -> Any:
        """The header, which must be of this kind when it is there (bool is no int, an int is a float)."""
        value = self.headers.get(key, default)
        if value is default and key not in self.headers:
            return default
        if kind is float and type(value) is int:
            return float(value)
        if not isinstance(value, kind) or (kind is int and isinstance(value, bool)):
            raise Malformed(f"header {key} is a {type(value).__name__}")
        return value


def unpack(data: bytes) -> Any:
    """One MessagePack value with nothing behind it. ValueError when it is none."""
    try:
        return msgpack.unpackb(data, strict_map_key=False)
    except (TypeError, ValueError, RecursionError, MemoryError) as fault:  # a list as a key; nested without end; ...
        raise ValueError(str(fault) or type(fault).__name__) from None


def _text(frame: bytes, what: str) -> str:
    try:
        return frame.decode()
    except UnicodeDecodeError:
        raise Malformed(f"{what} is not UTF-8") from None


def read_command(frames: Sequence[bytes]) -> Command:
    """What stands behind the routing id. Malformed when it is no command for a runtime."""
    if len(frames) != COMMAND_FRAMES:
        raise Malformed(f"{len(frames)} frames, not {COMMAND_FRAMES}")
    name = _text(frames[0], "command")
    if name not in TO_RUNTIME:
        raise Malformed(f"no such command for a runtime: {name[:32]!r}")
    try:
        headers = unpack(frames[3]) if frames[3] else {}
    except ValueError as fault:
        raise Malformed(f"headers of {name} are no MessagePack: {fault}") from None
    if not isinstance(headers, dict):
        raise Malformed(f"headers of {name} are no map")
    return Command(name, _text(frames[1], "connection"), _text(frames[2], "user"), headers, frames[4])


def command_frames(name: str, connection: str = "", user: str = "", headers: Optional[Mapping[str, Any]] = None,
                   body: bytes = b"") -> List[bytes]:
    """The five frames of a command."""
    packed = b"" if headers is None else pack(headers)
    return [name.encode(), connection.encode(), user.encode(), packed, body]


def event_frames(user: str, event: bytes, publisher: str, seq: int) -> List[bytes]:
    """The three frames of an event that is packed already."""
    return [user.encode(), event, msgpack.packb({"publisher": publisher, "seq": seq})]


def pack(value: Any) -> bytes:
    """MessagePack of a value, datetimes with a zone as timestamps. Half a surrogate pair, which UTF-8 does not have,
    becomes "?". EventError, which names the place, when MessagePack has nothing for it."""
    try:
        return bytes(msgpack.packb(value, datetime=True, unicode_errors="replace"))
    except (TypeError, ValueError, OverflowError, RecursionError) as fault:
        raise EventError(f"{_culprit(value)}cannot be packed: {fault}") from None


def _culprit(value: Any) -> str:
    """The name of the first field that does not go, for the message."""
    for key, part in value.items() if isinstance(value, Mapping) else ():
        try:
            msgpack.packb({key: part}, datetime=True, unicode_errors="replace")
        except (TypeError, ValueError, OverflowError, RecursionError):
            return f"field {key!r} "
    return ""


def is_too_deep(value: Any, room: int = MAX_DEPTH) -> bool:
    """Whether maps and lists lie within each other more than `room` times."""
    if isinstance(value, Mapping):
        return room == 0 or any(is_too_deep(part, room - 1) for part in value.values())
    if isinstance(value, (list, tuple)):
        return room == 0 or any(is_too_deep(part, room - 1) for part in value)
    return False


def check_user(user: str) -> None:
    """EventError unless this can be a user id."""
    size = len(user.encode(errors="replace")) if isinstance(user, str) else 0
    if not 1 <= size <= MAX_USER_BYTES or not _is_plain(user):
        raise EventError(f"user id {user!r}: a string of 1 to {MAX_USER_BYTES} bytes of UTF-8 without control characters")


def _is_plain(text: str) -> bool:
    return not any(c < " " or "\x7f" <= c <= "\x9f" or "\ud800" <= c <= "\udfff" for c in text)


def check_reason(reason: str) -> None:
    """EventError unless a close frame can carry it."""
    if len(reason.encode(errors="replace")) > MAX_REASON_BYTES:
        raise EventError(f"a reason has at most {MAX_REASON_BYTES} bytes of UTF-8")


def check_close_code(code: int) -> None:
    """EventError unless an endpoint may send it (RFC 6455, section 7.4)."""
    if not (1000 <= code <= 1003 or 1007 <= code <= 1014 or 3000 <= code <= 4999):
        raise EventError(f"close code {code}: 1000 to 1003, 1007 to 1014 or 3000 to 4999")
