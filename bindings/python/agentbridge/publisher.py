"""The PUB socket, the count of everything that went over it, and the last of it for REPLAY."""
from __future__ import annotations

import dataclasses
import threading
from typing import Any, Dict, Iterator, Mapping, NamedTuple, Optional, Tuple, Union

import zmq

from .errors import EventError, NotRunning
from .events import new_id
from .wire import MAX_DEPTH, event_frames, is_too_deep, pack


class Held(NamedTuple):
    """An event that is kept for REPLAY."""

    seq: int
    user: str
    event: bytes


class Lost(NamedTuple):
    """Numbers that are no longer held, both included."""

    first: int
    last: int


class ReplayBuffer:
    """The last events, without gaps, within a number and a size (user ids and events). The oldest go first."""

    def __init__(self, max_events: int, max_bytes: int) -> None:
        self.bytes = 0
        self.evicted = 0
        self._max_events = max_events
        self._max_bytes = max_bytes
        self._held: Dict[int, Held] = {}
        self._oldest = 1  # the number of the oldest event held, or of the next one

    def __len__(self) -> int:
        return len(self._held)

    def add(self, entry: Held) -> None:
        """Keep one more; numbers follow each other."""
        self._held[entry.seq] = entry
        self.bytes += self._size(entry)
        while len(self._held) > self._max_events or self.bytes > self._max_bytes:
            self.bytes -= self._size(self._held.pop(self._oldest))
            self._oldest += 1
            self.evicted += 1

    def get(self, seq: int) -> Optional[Held]:
        """This one, if it is still held."""
        return self._held.get(seq)

    @property
    def oldest(self) -> int:
        """The number of the oldest event held; that of the next event when none is."""
        return self._oldest

    @staticmethod
    def _size(entry: Held) -> int:
        return len(entry.user) + len(entry.event)


@dataclasses.dataclass(frozen=True)
class Limits:
    """How much is kept, and how large one event may be."""

    replay_events: int
    replay_bytes: int
    max_event_bytes: int


class Publisher:
    """Numbers and publishes. Its methods may be called from any thread: number and send stand under one lock, so that events
    leave in the order of their numbers, and ZeroMQ allows a socket to be used by one thread after the other."""

    def __init__(self, limits: Limits) -> None:
        self.name = new_id("py")  # new with every publisher, because the count begins anew
        self.seq = 0              # of the last event that went out
        self.buffer = ReplayBuffer(limits.replay_events, limits.replay_bytes)
        self._max_event_bytes = limits.max_event_bytes
        self._lock = threading.Lock()
        self._socket: Optional[zmq.Socket[bytes]] = None
        self._closed = False

    def open(self, socket: zmq.Socket[bytes]) -> None:
        """From now on events go out here. Takes the socket."""
        with self._lock:
            self._socket = socket

    def close(self) -> None:
        """No event goes out any more; those that did are sent within the socket's linger time."""
        with self._lock:
            self._closed = True
            socket, self._socket = self._socket, None
        if socket is not None:
            socket.close()

    def check(self, event: Mapping[str, Any]) -> bytes:
        """The event packed, or EventError when the bridge would not take it."""
        if is_too_deep(event):
            raise EventError(f"the event {event.get('type')!r} is nested more than {MAX_DEPTH} deep")
        body = pack(event)
        if len(body) > self._max_event_bytes:
            raise EventError(f"the event {event.get('type')!r} has {len(body)} bytes, more than max_event_bytes "
                             f"({self._max_event_bytes}; the bridge has an option of that name too)")
        return body

    def publish(self, user: str, event: Mapping[str, Any]) -> int:
        """Send one event; its number. Never waits: at its high-water mark, or before the bridge has subscribed, PUB drops,
        the bridge sees the gap in the count and asks for it (REPLAY), and the buffer answers."""
        body = self.check(event)
        with self._lock:
            if self._socket is None:
                raise NotRunning("the runtime is stopped" if self._closed else "the runtime is not started yet")
            entry = Held(self.seq + 1, user, body)
            self._socket.send_multipart(event_frames(user, body, self.name, entry.seq), zmq.NOBLOCK)
            self.buffer.add(entry)
            self.seq = entry.seq
            return entry.seq

    def replay(self, first: int, last: int) -> Iterator[Union[Held, Lost]]:
        """What to answer for these numbers, ascending; looks at each one when it is its turn, since the buffer goes on.
        Numbers that were never given are left out: they can come yet."""
        seq = first
        while seq <= last:
            with self._lock:
                entry, oldest, end = self.buffer.get(seq), self.buffer.oldest, min(last, self.seq)
            if entry:
                yield entry
                seq += 1
            elif seq <= end:
                gone = min(end, oldest - 1)
                yield Lost(seq, gone)
                seq = gone + 1
            else:
                return

    def state(self) -> Tuple[int, int, int, int]:
        """(seq, events held, bytes held, events evicted)."""
        with self._lock:
            return self.seq, len(self.buffer), self.buffer.bytes, self.buffer.evicted

