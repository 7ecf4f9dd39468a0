"""What both runtimes, for asyncio and for threads, have in common. The picture:

    bridge ─▶ ROUTER ─▶ Link.receive ─▶ Core._read ─▶ Core._take ─▶ Inbox ─▶ a handler
                                                        ├ HELLO, PING, REPLAY (Replayer): answered at once ─▶ Link ─▶ bridge
                                                        └ ABANDONED: Run.cancel
    bridge ◀─ PUB ◀─ Publisher.publish ◀─ Core._publish ◀─ Run (any thread)
"""
from __future__ import annotations

import asyncio
import collections
import contextlib
import logging
import sys
from typing import Any, Callable, Dict, List, Mapping, Optional, TypeVar, Union

import zmq

from . import endpoints, speech, wire
from .endpoints import Curve
from .errors import AgentError, BridgeBusy, BridgeGone, EventError, MessageError, NotRunning, RunCancelled, StartError
from .events import check_fields, make_event
from .inbox import Inbox, Item
from .link import Link
from .messages import (Abandoned, Connection, Disconnect, Message, read_abandoned, read_connection, read_disconnect,
                       read_message, read_replay)
from .publisher import Limits, Publisher
from .registry import Registry
from .replayer import Replayer
from .run import Run, fixed_fields
from .stats import Stats
from .version import __version__

LOG = logging.getLogger("agentbridge")
BATCH = 32    # commands read before others in the loop have their turn
LAST_S = 2.0  # for handlers that have been cancelled
STOPPING = "The agent is shutting down."

Handler = Callable[[Any], Any]
H = TypeVar("H", bound=Handler)


class Core:
    """Not for direct use: Runtime and sync.Runtime."""

    def __init__(self, name: str = "agent", *, commands: str = "@tcp://127.0.0.1:5555",
                 events: str = "@tcp://127.0.0.1:5556", curve: Optional[Curve] = None, max_handlers: int = 100,
                 inbox_messages: int = 1_000, inbox_bytes: int = 16 << 20, replay_events: int = 10_000,
                 replay_bytes: int = 64 << 20, max_event_bytes: int = 1 << 20, max_command_bytes: int = 16 << 20,
                 events_hwm: int = 10_000, commands_hwm: int = 20_000, send_timeout_s: float = 5.0,
                 linger_s: float = 1.0, grace_s: float = 5.0, cancel_abandoned: bool = True) -> None:
        """
        name               the runtime's name for bridges, and `agent_name` of its runs
        commands, events   endpoints of ROUTER and PUB: a comma list, `@` binds, `>` connects, without either it binds;
                           tcp://127.0.0.1:* takes a free port. Only loopback and ipc without `curve`
        max_handlers       handlers at work at the same time; what comes beyond waits in the inbox
        inbox_messages, inbox_bytes   of the inbox. When it is full nothing is read any more: nothing is lost, the bridge keeps
                           `runtime-queue-messages` and then tells clients RUNTIME_UNAVAILABLE. PING and REPLAY wait too then
        replay_events, replay_bytes   how much is held for bridges that missed something; the oldest goes first
        max_event_bytes    of one event; what the bridge's option of this name says
        max_command_bytes  of one frame of a bridge; one that sends more is cut off
        events_hwm         events that wait for one bridge (ZMQ_SNDHWM); beyond it PUB drops and the bridge asks again
        commands_hwm       commands that wait for one bridge; beyond it send() and its like wait
        send_timeout_s     how long they wait
        linger_s           how long the end waits until what was sent is out
        grace_s            how long the end waits for handlers and runs before it cancels them
        cancel_abandoned   whether runs that nobody reads are cancelled (`abandon-grace-s` of the bridge)
        """
        for option, value in {"max_handlers": max_handlers, "inbox_messages": inbox_messages, "inbox_bytes": inbox_bytes,
                              "events_hwm": events_hwm, "commands_hwm": commands_hwm}.items():
            if value < 1:
                raise StartError(f"{option}={value}: at least 1 (there is no such thing as no limit)")
        self.name = name
        self.grace_s = grace_s
        self.cancel_abandoned = cancel_abandoned
        self.commands_endpoints: List[str] = []  # bound and connected, after the start
        self.events_endpoints: List[str] = []
        self._commands, self._events, self._curve = commands, events, curve
        self._hwm = (commands_hwm, events_hwm)
        self._max_command_bytes, self._send_timeout_s, self._linger_s = max_command_bytes, send_timeout_s, linger_s
        self._inbox_limits = (max_handlers, inbox_messages, inbox_bytes)
        self._publisher = Publisher(Limits(replay_events, replay_bytes, max_event_bytes))
        self._handlers: Dict[str, Handler] = {}
        self._runs: Dict[str, Run] = {}
        self._counts: collections.Counter[str] = collections.Counter()
        self._registry = Registry()
        self._takers = {"HELLO": self._on_hello, "PING": self._on_ping, "PONG": self._on_pong,
                        "CONNECT": self._on_connect, "MESSAGE": self._on_message, "DISCONNECT": self._on_disconnect,
                        "ABANDONED": self._on_abandoned, "REPLAY": self._on_replay}
        self._state = "new"  # new, open, stopping, stopped
        self._context: Optional[zmq.Context[Any]] = None
        self._stopper: Optional[asyncio.Future[None]] = None

    # --- handlers -------------------------------------------------------------------------------------------------

    def on_message(self, handler: H) -> H:
        """Decorator: the handler of every Message."""
        return self._register("message", handler)

    def on_connect(self, handler: H) -> H:
        """Decorator: the handler of every Connection; begins before that of its first message. After a restart of this runtime
        or of the link it is called again for every live connection, with `resumed` true."""
        return self._register("connect", handler)

    def on_disconnect(self, handler: H) -> H:
        """Decorator: the handler of every Disconnect."""
        return self._register("disconnect", handler)

    def on_abandoned(self, handler: H) -> H:
        """Decorator: the handler of every Abandoned. The runs have been cancelled by then, unless `cancel_abandoned` is off."""
        return self._register("abandoned", handler)

    def _register(self, kind: str, handler: H) -> H:
        if kind in self._handlers:
            raise StartError(f"on_{kind} has a handler already")
        self._handlers[kind] = handler
        return handler

    # --- what an agent says, from any thread ----------------------------------------------------------------------

    def run(self, user: str, *, thread_id: Optional[str] = None, run_id: Optional[str] = None,
            agent_name: Optional[str] = None, task_description: Optional[str] = None, **fields: Any) -> Run:
        """A run of this user, which begins with `async with` or `with`. `run_id` is made when none is given; `fields` go into
        `agent_started`. EventError for what cannot be."""
        wire.check_user(user)
        check_fields(fields)
        started = {} if task_description is None else {"task_description": task_description}
        fixed = fixed_fields(run_id, thread_id, self.name if agent_name is None else agent_name)
        return Run(self, user, fixed, {**started, **fields})

    def emit(self, user: str, kind: str, /, *, connection: Optional[Connection] = None, **fields: Any) -> None:
        """An event outside of a run, to all of the user's connections, or only to this one. Never waits."""
        check_fields(fields)
        if connection is not None:
            if connection.user != user:
                raise EventError(f"connection {connection.id} is not of user {user!r}")
            fields["connection_id"] = connection.id
        self._publish(user, make_event(user, kind, fields))

    @property
    def publisher(self) -> str:
        """The name under which events are numbered, new with every Runtime."""
        return self._publisher.name

    @property
    def bridges(self) -> List[str]:
        """Ids of the bridges that have said HELLO, the latest one last."""
        return [name for _, name in self._registry.bridges()]

    def connections(self, user: Optional[str] = None) -> List[Connection]:
        """Live connections, of all bridges; all, or those of this user."""
        return self._registry.connections(user)

    @property
    def runs(self) -> List[Run]:
        """Open runs."""
        return list(self._runs.values())

    @property
    def stats(self) -> Stats:
        """A copy of the counters."""
        seq, held, held_bytes, evicted = self._publisher.state()
        inbox = getattr(self, "_inbox", None)
        waiting = (inbox.running, inbox.waiting, inbox.bytes) if inbox else (0, 0, 0)
        count = self._counts
        return Stats(commands_received=count["received"], commands_malformed=count["malformed"],
                     messages_refused=count["refused"],
                     messages_unreadable=count["unreadable"], handlers_failed=count["failed"], handlers_running=waiting[0],
                     inbox_messages=waiting[1], inbox_bytes=waiting[2], inbox_full=count["full"],
                     answers_unsent=count["unsent"], events_published=seq, events_replayed=count["replayed"],
                     events_lost=count["lost"], replay_events=held, replay_bytes=held_bytes, replay_evicted=evicted,
                     runs_open=len(self._runs), runs_abandoned=count["abandoned"])

    def _publish(self, user: str, event: Mapping[str, Any]) -> None:
        self._publisher.publish(user, event)

    def _check_event(self, event: Mapping[str, Any]) -> None:
        self._publisher.check(event)

    def _run_begins(self, run: Run) -> None:
        if self._runs.setdefault(run.run_id, run) is not run:
            raise EventError(f"a run {run.run_id} is open already")

    def _run_ended(self, run: Run) -> None:
        self._runs.pop(run.run_id, None)
        if self._state == "stopping":
            with contextlib.suppress(RuntimeError):  # the loop has gone meanwhile
                self._loop.call_soon_threadsafe(self._inbox.poke)

    # --- life, in the loop ----------------------------------------------------------------------------------------

    async def _start(self) -> None:
        if self._state != "new":
            raise StartError("a Runtime starts once; make a new one")
        self._context = zmq.Context()
        sockets: List[zmq.Socket[bytes]] = []
        auth = None
        try:
            auth = endpoints.authenticator(self._context, self._curve)
            sockets = [self._socket(kind, hwm) for kind, hwm in zip((zmq.ROUTER, zmq.PUB), self._hwm)]
            self.commands_endpoints = endpoints.attach(sockets[0], self._commands, self._curve)
            self.events_endpoints = endpoints.attach(sockets[1], self._events, self._curve)
        except BaseException:
            for socket in sockets:
                socket.close(linger=0)
            if auth:
                auth.stop()
            self._context.term()
            raise
        self._auth = auth
        self._open(*sockets)

    def _open(self, router: zmq.Socket[bytes], pub: zmq.Socket[bytes]) -> None:
        self._loop = asyncio.get_running_loop()
        self._over: asyncio.Future[None] = self._loop.create_future()
        self._over.add_done_callback(lambda over: over.cancelled() or over.exception())  # nobody need look
        self._hurry = asyncio.Event()
        self._inbox = Inbox(*self._inbox_limits)
        self._link = Link(router, self._send_timeout_s)
        self._replayer = Replayer(self._link, self._publisher, self._counts)
        self._publisher.open(pub)
        self._state = "open"
        self._reader = asyncio.ensure_future(self._read())
        self._reader.add_done_callback(self._reader_ended)

    def _socket(self, kind: int, hwm: int) -> zmq.Socket[bytes]:
        assert self._context is not None
        socket: zmq.Socket[bytes] = self._context.socket(kind)
        socket.linger = round(self._linger_s * 1000)
        socket.sndhwm = hwm
        socket.maxmsgsize = self._max_command_bytes
        if kind == zmq.ROUTER:
            socket.router_handover = 1   # a bridge that comes back under its old id replaces its old connection
            socket.router_mandatory = 1  # a command for a bridge that is gone fails instead of vanishing
        return socket

    def _reader_ended(self, reader: asyncio.Task[None]) -> None:
        if not reader.cancelled() and reader.exception() and not self._over.done():
            self._over.set_exception(reader.exception() or NotRunning())

    async def _serve(self) -> None:
        if self._state == "new":
            raise NotRunning("start() comes before serve(), or `async with Runtime(...) as rt:`")
        await asyncio.shield(self._over)

    async def _stop(self, grace_s: Optional[float] = None) -> None:
        if self._state == "new":
            self._state = "stopped"
            self._publisher.close()
        elif self._state == "open":
            self._state = "stopping"
            self._stopper = asyncio.ensure_future(self._end(self.grace_s if grace_s is None else grace_s))
        elif self._state == "stopping" and grace_s is not None and grace_s <= 0:
            self._hurry.set()
        if self._stopper is not None:  # a task of its own: the handler that asked for the end may be cancelled by it
            await asyncio.shield(self._stopper)

    async def _end(self, grace_s: float) -> None:
        try:
            await self._wind_up(grace_s)
        finally:
            await self._shut()

    async def _wind_up(self, grace_s: float) -> None:
        """Handlers and runs may end by themselves; then they are cancelled; then runs are ended for them."""
        idle = asyncio.ensure_future(self._inbox.wait(self._is_idle))
        hurry = asyncio.ensure_future(self._hurry.wait())
        await asyncio.wait({idle, hurry}, timeout=max(0.0, grace_s), return_when=asyncio.FIRST_COMPLETED)
        hurry.cancel()
        for item in self._inbox.clear():
            if item.message:
                self._refuse(item.message)
        for run in self.runs:
            run.cancel(STOPPING)
        if not self._is_idle():
            await asyncio.sleep(0)  # runs first, so that theirs is the reason
            self._interrupt_handlers()
            await asyncio.wait({idle}, timeout=LAST_S)
        idle.cancel()
        self._inbox.interrupt()
        for run in self.runs:
            LOG.warning("run %s did not end within %g s and is ended", run.run_id, LAST_S)
            run._end_cancelled(STOPPING)

    def _is_idle(self) -> bool:
        return not (self._inbox.running or self._inbox.waiting or self._runs)

    def _interrupt_handlers(self) -> None:
        self._inbox.interrupt()

    async def _shut(self) -> None:
        self._reader.cancel()
        found = self._link.take()
        while found is not None:  # what came in the meantime is refused, not forgotten
            self._take_frames(*found)
            found = self._link.take()
        await asyncio.gather(self._reader, self._replayer.stop(), return_exceptions=True)
        self._publisher.close()
        self._link.close()
        if self._auth:
            self._auth.stop()
        assert self._context is not None
        await self._loop.run_in_executor(None, self._context.term)  # waits for the linger time at most
        self._state = "stopped"
        if not self._over.done():
            self._over.set_result(None)

    # --- what bridges say -----------------------------------------------------------------------------------------

    async def _read(self) -> None:
        count = 0
        while True:
            self._take_frames(*await self._link.receive())
            count += 1
            if self._inbox.is_full():
                self._counts["full"] += 1
                LOG.warning("the inbox is full (%d messages, %d bytes): reading stops until handlers have ended",
                            self._inbox.waiting, self._inbox.bytes)
                await self._inbox.room()
            elif count % BATCH == 0:
                await asyncio.sleep(0)

    def _take_frames(self, bridge: bytes, frames: List[bytes]) -> None:
        try:
            command = wire.read_command(frames)
            self._takers[command.name](bridge, command)
        except (wire.Malformed, EventError) as fault:  # EventError: `t` of a PING, nested too deep to be packed again
            self._counts["malformed"] += 1
            LOG.warning("malformed command dropped: %s", fault)
        else:
            self._counts["received"] += 1

    def _on_hello(self, bridge: bytes, command: wire.Command) -> None:
        name, protocol = command.header("bridge", str, ""), command.header("protocol", int, wire.PROTOCOL)
        LOG.info("HELLO of bridge %r, protocol %r", name, protocol)
        if protocol != wire.PROTOCOL:
            LOG.warning("bridge %r speaks protocol %r, this package %r", name, protocol, wire.PROTOCOL)
        self._registry.hello(bridge, name)
        self._answer(bridge, "HELLO", {"protocol": wire.PROTOCOL, "runtime": self.name, "publisher": self._publisher.name,
                                       "seq": self._publisher.seq, "sdk": f"agentbridge-python/{__version__}"})

    def _on_ping(self, bridge: bytes, command: wire.Command) -> None:
        self._answer(bridge, "PONG", {"t": command.headers.get("t"), "seq": self._publisher.seq})

    def _on_pong(self, bridge: bytes, command: wire.Command) -> None:
        pass

    def _on_connect(self, bridge: bytes, command: wire.Command) -> None:
        connection = read_connection(bridge, command)
        self._registry.add(connection)
        self._deliver("connect", connection, command)

    def _on_message(self, bridge: bytes, command: wire.Command) -> None:
        message = read_message(self._registry.of(bridge, command), command)
        if self._state != "open":
            self._refuse(message)
        elif "message" not in self._handlers:
            LOG.warning("a message of %s has no handler: rt.on_message is missing", message.connection.id)
            self._refuse(message)
        else:
            self._deliver("message", message, command)

    def _on_disconnect(self, bridge: bytes, command: wire.Command) -> None:
        gone = read_disconnect(self._registry.of(bridge, command), command)
        self._registry.remove(gone.connection)
        self._deliver("disconnect", gone, command)

    def _on_abandoned(self, _bridge: bytes, command: wire.Command) -> None:
        abandoned = read_abandoned(command)
        for run_id in abandoned.runs if self.cancel_abandoned else ():
            run = self._runs.get(run_id)
            if run is not None and run.user == abandoned.user:
                self._counts["abandoned"] += 1
                LOG.info("run %s is cancelled: its user has gone", run_id)
                run.cancel("The user has gone.")
        self._deliver("abandoned", abandoned, command)

    def _on_replay(self, bridge: bytes, command: wire.Command) -> None:
        self._replayer.ask(bridge, *read_replay(command))

    # --- what goes to one bridge ----------------------------------------------------------------------------------

    def _answer(self, bridge: bytes, name: str, headers: Mapping[str, Any]) -> None:
        self._try_send(bridge, wire.command_frames(name, headers=headers), name)

    def _try_send(self, bridge: bytes, frames: List[bytes], what: str) -> None:
        """Reading goes on whatever becomes of it: a bridge that does not read must not hold up the others."""
        try:
            self._link.try_send(bridge, frames)
        except (BridgeGone, BridgeBusy, NotRunning) as fault:
            self._counts["unsent"] += 1
            LOG.warning("%s is not sent: %s", what, fault)

    def _refuse(self, message: Message) -> None:
        LOG.warning("a message of %s is refused: %s", message.connection.id, speech.REFUSED)
        self._try_send(message.connection.bridge, speech.refusal(self._publisher, message), "RUNTIME_UNAVAILABLE")
        self._counts["refused"] += 1

    async def _send(self, connection: Connection, event: Mapping[str, Any]) -> None:
        await self._route(connection.bridge, speech.send(self._publisher, connection, event))

    async def _send_frame(self, connection: Connection, data: Union[str, bytes]) -> None:
        await self._route(connection.bridge, speech.send_frame(connection, data))

    async def _close(self, connection: Connection, code: int, reason: str) -> None:
        await self._route(connection.bridge, speech.close(connection, code, reason))

    async def _kick(self, user: str, reason: str) -> None:
        """Where the user has connections; when none is known, everywhere. One bridge that fails does not save the others."""
        self._check_open()
        frames = speech.kick(user, reason)
        where = {connection.bridge for connection in self.connections(user)}
        bridges = where or {bridge for bridge, _ in self._registry.bridges()}
        results = await asyncio.gather(*(self._route(bridge, frames) for bridge in bridges), return_exceptions=True)
        for result in results:
            if isinstance(result, BaseException):
                raise result

    async def _route(self, bridge: bytes, frames: List[bytes]) -> None:
        self._check_open()
        await self._link.send(bridge, frames)

    def _check_open(self) -> None:
        if self._state not in ("open", "stopping"):
            raise NotRunning(f"the runtime is {'not started yet' if self._state == 'new' else 'stopped'}")

    # --- handlers at work -----------------------------------------------------------------------------------------

    def _deliver(self, kind: str, what: Union[Connection, Message, Disconnect, Abandoned], command: wire.Command) -> None:
        if kind in self._handlers and self._state == "open":
            handler = self._handlers[kind]
            size = len(command.body) + sys.getsizeof(command.headers)
            message = what if isinstance(what, Message) else None
            self._inbox.put(Item(size, lambda: self._handle(kind, handler, what), message))

    async def _handle(self, kind: str, handler: Handler, what: Any) -> None:
        try:
            await self._call(handler, what)
        except (AgentError, RunCancelled) as fault:
            LOG.info("on_%s ends: %s", kind, fault)
        except MessageError as fault:  # the client's fault, not the agent's
            LOG.warning("a message of user %r is dropped: %s", what.user, fault)
            self._counts["unreadable"] += 1
        except Exception:  # the agent's fault must not end the runtime
            LOG.exception("on_%s failed", kind)
            self._counts["failed"] += 1

    async def _call(self, handler: Handler, what: Any) -> None:
        raise NotImplementedError
