"""What waits for a handler, and the handlers at work: both bounded."""
from __future__ import annotations

import asyncio
import collections
from typing import Any, Callable, Coroutine, Deque, List, NamedTuple, Optional, Set

from .messages import Message


class Item(NamedTuple):
    """What waits: its size in bytes, what is done when it is its turn, and the message that it is, if it is one."""

    size: int
    work: Callable[[], Coroutine[Any, Any, None]]
    message: Optional[Message] = None


class Inbox:
    """Starts work in the order in which it came, `max_handlers` at a time. What comes beyond waits, within a number and a
    size; when the room is used up, put() is not to be called until room() returns. Only for the loop's thread."""

    def __init__(self, max_handlers: int, max_waiting: int, max_bytes: int) -> None:
        self.bytes = 0
        self._max_handlers = max_handlers
        self._max_waiting = max_waiting
        self._max_bytes = max_bytes
        self._waiting: Deque[Item] = collections.deque()
        self._tasks: Set[asyncio.Task[None]] = set()
        self._changed = asyncio.Event()

    @property
    def running(self) -> int:
        """Handlers at work."""
        return len(self._tasks)

    @property
    def waiting(self) -> int:
        """Items that wait for one."""
        return len(self._waiting)

    def is_full(self) -> bool:
        """Whether nothing more may come."""
        return len(self._waiting) >= self._max_waiting or self.bytes >= self._max_bytes

    async def room(self) -> None:
        """Until one more may come."""
        await self.wait(lambda: not self.is_full())

    def put(self, item: Item) -> None:
        """One more."""
        self._waiting.append(item)
        self.bytes += item.size
        self._fill()

    def _fill(self) -> None:
        while self._waiting and len(self._tasks) < self._max_handlers:
            item = self._waiting.popleft()
            self.bytes -= item.size
            task = asyncio.ensure_future(item.work())
            self._tasks.add(task)
            task.add_done_callback(self._done)

    def _done(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        self._fill()
        self._changed.set()

    def poke(self) -> None:
        """Let those who wait look again."""
        self._changed.set()

    async def wait(self, until: Callable[[], bool]) -> None:
        """Until this is true; looked at when a handler ends, and after poke()."""
        while not until():
            self._changed.clear()
            await self._changed.wait()

    def clear(self) -> List[Item]:
        """What waited; nothing does any more."""
        waited = list(self._waiting)
        self._waiting.clear()
        self.bytes = 0
        self._changed.set()
        return waited

    def interrupt(self) -> None:
        """Cancel every handler at work."""
        for task in list(self._tasks):
            task.cancel()
