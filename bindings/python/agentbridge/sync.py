"""The runtime for threads: plain functions, no asyncio in sight. `from agentbridge.sync import Runtime`."""
from __future__ import annotations

import asyncio
import concurrent.futures
import contextlib
import contextvars
import signal
import threading
from types import FrameType, TracebackType
from typing import Any, Coroutine, List, Mapping, Optional, Type, TypeVar, Union

from .core import Core, Handler
from .errors import NotRunning, StartError
from .messages import Connection
from .runtime import SIGNALS

T = TypeVar("T")


class Runtime(Core):
    """The agent's end of the link with one or more bridges, for threads. Options: Core.__init__.

    The sockets live in a thread of their own. Every handler is called in a thread of its own, at most `max_handlers` at a
    time; those of one connection begin in the order in which it sent. All methods may be called from any thread, handlers
    included. A thread cannot be interrupted: when its run is cancelled, its next event raises RunCancelled, and
    Run.cancelled is true.
    """

    _thread: Optional[threading.Thread] = None

    def start(self) -> None:
        """Bind and connect, and begin to read. StartError."""
        if self._thread is not None:
            raise StartError("a Runtime starts once; make a new one")
        started: concurrent.futures.Future[None] = concurrent.futures.Future()
        self._ended: concurrent.futures.Future[None] = concurrent.futures.Future()
        self._thread = threading.Thread(target=self._work, args=(started,), name=f"agentbridge {self.name}", daemon=True)
        self._thread.start()
        started.result()

    def serve(self) -> None:
        """Until stop()."""
        if self._thread is None:
            raise NotRunning("start() comes before serve(), or `with Runtime(...) as rt:`")
        self._ended.result()

    def stop(self, grace_s: Optional[float] = None) -> None:
        """The end. New messages are refused (their clients get RUNTIME_UNAVAILABLE), other news reaches no handler. Handlers
        and runs have `grace_s` (default: the option) to end by themselves, then runs are cancelled (`agent_error`,
        CANCELLED); what was sent is flushed. A second call waits for the first one; with 0 it ends the grace. Not from a
        handler: it would wait for itself."""
        if self._thread is not None:
            self._stop_soon(grace_s)
            self._thread.join()

    def serve_forever(self) -> None:
        """For a program that does nothing else: start, serve, and stop at SIGTERM or SIGINT (a second one ends the grace).
        In the main thread."""
        stopping: List[bool] = []

        def stop(_number: int, _frame: Optional[FrameType]) -> None:
            self._stop_soon(0 if stopping else None)
            stopping.append(True)

        self.start()
        before = [(number, signal.signal(number, stop)) for number in SIGNALS]
        try:
            self.serve()
        finally:
            self.stop()
            for number, handler in before:
                signal.signal(number, handler)

    def send(self, connection: Connection, event: Mapping[str, Any]) -> None:
        """One event to this connection only (not kept for resume). `event` has a `type`; event_id, timestamp and user_id are
        added. EventError, BridgeGone, BridgeBusy, NotRunning; nothing was sent then."""
        self._do(self._send(connection, event))

    def send_frame(self, connection: Connection, data: Union[str, bytes]) -> None:
        """One WebSocket frame as it is, text or binary. Errors as send()."""
        self._do(self._send_frame(connection, data))

    def close(self, connection: Connection, code: int = 1000, reason: str = "") -> None:
        """Close one connection. Errors as send()."""
        self._do(self._close(connection, code, reason))

    def kick(self, user: str, reason: str = "") -> None:
        """Close all of the user's connections (4009), at every bridge that has some. Errors as send()."""
        self._do(self._kick(user, reason))

    def __enter__(self) -> Runtime:
        self.start()
        return self

    def __exit__(self, _kind: Optional[Type[BaseException]], _fault: Optional[BaseException],
                 _trace: Optional[TracebackType]) -> None:
        self.stop()

    # inside

    def _do(self, coroutine: Coroutine[Any, Any, T]) -> T:
        """In the loop; its result."""
        try:
            self._check_open()
        except NotRunning:
            coroutine.close()
            raise
        return asyncio.run_coroutine_threadsafe(coroutine, self._loop).result()

    def _stop_soon(self, grace_s: Optional[float]) -> None:
        with contextlib.suppress(RuntimeError, AttributeError):  # the loop has ended, or never began
            self._loop.call_soon_threadsafe(lambda: asyncio.ensure_future(self._stop(grace_s)))

    def _work(self, started: concurrent.futures.Future[None]) -> None:
        try:
            asyncio.run(self._live(started))
        except BaseException as fault:  # pylint: disable=broad-except
            self._ended.set_exception(fault)
        else:
            self._ended.set_result(None)

    async def _live(self, started: concurrent.futures.Future[None]) -> None:
        try:
            await self._start()
        except BaseException as fault:
            started.set_exception(fault)
            return
        started.set_result(None)
        try:
            await self._serve()
        finally:
            await self._stop()

    def _interrupt_handlers(self) -> None:
        """Threads cannot be; they find out at their next event."""

    async def _call(self, handler: Handler, what: Any) -> None:
        loop = asyncio.get_running_loop()
        done: asyncio.Future[None] = loop.create_future()

        def settle(fault: Optional[BaseException]) -> None:
            if not done.done():
                done.set_exception(fault) if fault else done.set_result(None)

        def work() -> None:
            fault: Optional[BaseException] = None
            try:
                handler(what)
            except Exception as raised:  # pylint: disable=broad-except
                fault = raised
            with contextlib.suppress(RuntimeError):  # the loop has ended before
                loop.call_soon_threadsafe(settle, fault)

        threading.Thread(target=contextvars.copy_context().run, args=(work,), daemon=True,
                         name=f"agentbridge {getattr(handler, '__name__', 'handler')}").start()
        await done
