"""The runtime for asyncio."""
from __future__ import annotations

import asyncio
import inspect
import signal
from types import TracebackType
from typing import Any, Mapping, Optional, Type, Union

from .core import Core, Handler
from .messages import Connection

SIGNALS = (signal.SIGTERM, signal.SIGINT)


class Runtime(Core):
    """The agent's end of the link with one or more bridges, for asyncio. Options: Core.__init__.

    Handlers are coroutines, each in a task of its own; those of one connection begin in the order in which it sent. A plain
    function is called in the loop and must not block. run(), emit() and the methods of Run never wait, and may be called from
    any thread; all else belongs to the loop in which the runtime was started.
    """

    async def start(self) -> None:
        """Bind and connect, and begin to read. StartError."""
        await self._start()

    async def serve(self, *, signals: bool = False) -> None:
        """Until stop(). With `signals` SIGTERM and SIGINT call it, and a second one ends the grace."""
        if signals:
            loop = asyncio.get_running_loop()
            for number in SIGNALS:
                loop.add_signal_handler(number, self._on_signal)
        await self._serve()

    async def stop(self, grace_s: Optional[float] = None) -> None:
        """The end. New messages are refused (their clients get RUNTIME_UNAVAILABLE), other news reaches no handler. Handlers
        and runs have `grace_s` (default: the option) to end by themselves, then they are cancelled (`agent_error`,
        CANCELLED); what was sent is flushed. A second call waits for the first one; with 0 it ends the grace."""
        await self._stop(grace_s)

    def serve_forever(self) -> None:
        """For a program that does nothing else: start, serve, and stop at SIGTERM or SIGINT (a second one ends the grace)."""
        asyncio.run(self._main())

    async def send(self, connection: Connection, event: Mapping[str, Any]) -> None:
        """One event to this connection only (not kept for resume). `event` has a `type`; event_id, timestamp and user_id are
        added. EventError, BridgeGone, BridgeBusy, NotRunning; nothing was sent then."""
        await self._send(connection, event)

    async def send_frame(self, connection: Connection, data: Union[str, bytes]) -> None:
        """One WebSocket frame as it is, text or binary. Errors as send()."""
        await self._send_frame(connection, data)

    async def close(self, connection: Connection, code: int = 1000, reason: str = "") -> None:
        """Close one connection. Errors as send()."""
        await self._close(connection, code, reason)

    async def kick(self, user: str, reason: str = "") -> None:
        """Close all of the user's connections (4009), at every bridge that has some. Errors as send()."""
        await self._kick(user, reason)

    async def __aenter__(self) -> Runtime:
        await self.start()
        return self

    async def __aexit__(self, _kind: Optional[Type[BaseException]], _fault: Optional[BaseException],
                        _trace: Optional[TracebackType]) -> None:
        await self.stop()

    async def _main(self) -> None:
        async with self:
            await self.serve(signals=True)

    def _on_signal(self) -> None:
        self._signalled = asyncio.ensure_future(self._stop(0 if self._state == "stopping" else None))

    async def _call(self, handler: Handler, what: Any) -> None:
        result = handler(what)
        if inspect.isawaitable(result):
            await result
