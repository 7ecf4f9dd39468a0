"""Commands for one bridge, put together and checked."""
from __future__ import annotations

from typing import Any, Dict, List, Mapping, Union

from . import wire
from .errors import EventError, MessageError
from .events import check_fields, make_event
from .messages import Connection, Message
from .publisher import Held, Lost, Publisher

REFUSED = "The agent is not taking messages now."
Frames = List[bytes]


def send(publisher: Publisher, connection: Connection, event: Mapping[str, Any]) -> Frames:
    """SEND of an event, whose usual fields are added."""
    fields = {key: value for key, value in event.items() if key != "type"}
    check_fields(fields)
    if fields.get("connection_id") not in (None, connection.id):
        raise EventError(f"connection_id {fields['connection_id']!r} is not that of the connection, {connection.id!r}")
    made = make_event(connection.user, event.get("type", ""), fields)
    return wire.command_frames("SEND", connection.id, connection.user, {}, publisher.check(made))


def send_frame(connection: Connection, data: Union[str, bytes]) -> Frames:
    """SEND of a WebSocket frame as it is."""
    opcode = "text" if isinstance(data, str) else "binary"
    body = data.encode(errors="replace") if isinstance(data, str) else bytes(data)
    return wire.command_frames("SEND", connection.id, connection.user, {"opcode": opcode}, body)


def close(connection: Connection, code: int, reason: str) -> Frames:
    """CLOSE."""
    wire.check_close_code(code)
    wire.check_reason(reason)
    return wire.command_frames("CLOSE", connection.id, connection.user, {"code": code, "reason": reason})


def kick(user: str, reason: str) -> Frames:
    """KICK."""
    wire.check_user(user)
    wire.check_reason(reason)
    return wire.command_frames("KICK", "", user, {"reason": reason} if reason else {})


def refusal(publisher: Publisher, message: Message) -> Frames:
    """The client is told as the bridge would have told it: this message was not taken."""
    if message.connection.subprotocol == "raw":  # nothing but a close code can be said there
        return close(message.connection, 1013, "Try again later")
    return send(publisher, message.connection, {"type": "error_message", "error_code": "RUNTIME_UNAVAILABLE",
                                                "error_message": REFUSED, "details": _message_id(message)})


def _message_id(message: Message) -> Dict[str, str]:
    try:
        message_id = message.json().get("message_id")
    except MessageError:
        return {}
    return {"message_id": message_id} if isinstance(message_id, str) else {}


def replayed(publisher: str, answer: Union[Held, Lost]) -> Frames:
    """EVENT or LOST."""
    if isinstance(answer, Held):
        return wire.command_frames("EVENT", "", answer.user, {"publisher": publisher, "seq": answer.seq}, answer.event)
    return wire.command_frames("LOST", headers={"publisher": publisher, "from": answer.first, "to": answer.last})
