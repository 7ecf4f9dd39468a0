"""An agent runtime that speaks plain ZeroMQ: ROUTER for commands, XPUB for events (XPUB tells who has subscribed)."""
import collections
import queue
import threading

import msgpack
import zmq

from .timing import scaled

Command = collections.namedtuple("Command", "command connection_id user_id headers body identity")


class CommandLog:
    """Every command that the bridge has sent, in order."""

    def __init__(self):
        self._commands = []
        self._changed = threading.Condition()
        self._subscriptions = 0

    def _note(self, command):
        with self._changed:
            self._commands.append(command)
            self._changed.notify_all()

    def _note_subscription(self, difference):
        with self._changed:
            self._subscriptions += difference
            self._changed.notify_all()

    def mark(self):
        """The number of commands so far, for `since`."""
        return len(self._commands)

    def commands(self, name=None, since=0, **match):
        """All so far, or those with this name and these fields."""
        return [c for c in self._commands[since:] if name in (None, c.command)
                and all(getattr(c, field) == value for field, value in match.items())]

    def wait_commands(self, name, count, timeout=10, since=0, **match):
        """At least `count` of them; all that there are."""
        with self._changed:
            self._changed.wait_for(lambda: len(self.commands(name, since, **match)) >= count, scaled(timeout))
        found = self.commands(name, since, **match)
        assert len(found) >= count, (f"{len(found)} of {count} {name} {match} within {scaled(timeout):g} s; "
                                     f"last commands: {self._commands[-10:]}")
        return found

    def wait_command(self, name, timeout=10, **match):
        """The first such command."""
        return self.wait_commands(name, 1, timeout, **match)[0]

    def wait_subscribed(self, count=1, timeout=10):
        """Until the bridge has subscribed at the event socket."""
        with self._changed:
            assert self._changed.wait_for(lambda: self._subscriptions >= count, scaled(timeout)), "no subscription"
        return self


def parse_command(frames):
    """Routing id and five frames; None when the bridge has sent anything else."""
    if len(frames) != 6:
        return None
    identity, name, connection_id, user, headers, body = frames
    return Command(name.decode(), connection_id.decode(), user.decode(), msgpack.unpackb(headers), body, identity)


class Runtime(CommandLog):
    """Runs in a thread. `handler(runtime, command)` is called there for every command."""

    def __init__(self, commands="tcp://127.0.0.1:*", events="tcp://127.0.0.1:*", answer_hello=True, answer_ping=True,
                 handler=None, publisher="flow", on_subscription=None, events_socket=zmq.XPUB, events_hwm=0):
        super().__init__()
        self.answer_hello = answer_hello
        self.answer_ping = answer_ping
        self.handler = handler
        self.publisher = publisher
        self.malformed = []      # what the bridge sent and was no command
        self.errors = []         # exceptions in the thread
        self.on_subscription = on_subscription
        self._orders = queue.Queue()
        self._context = zmq.Context()
        self._router = self._bound(zmq.ROUTER, commands)
        self._events = self._bound(events_socket, events, events_hwm)
        self._wake_in, self._wake_out = self._wake_pair()
        self._wake_lock = threading.Lock()
        self.commands_endpoint = self._router.getsockopt(zmq.LAST_ENDPOINT).rstrip(b"\0").decode()
        self.events_endpoint = self._events.getsockopt(zmq.LAST_ENDPOINT).rstrip(b"\0").decode()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def _bound(self, kind, endpoint, hwm=0):
        socket = self._context.socket(kind)
        socket.setsockopt(zmq.LINGER, 0)
        socket.setsockopt(zmq.SNDHWM, hwm)
        socket.setsockopt(zmq.RCVHWM, 0)
        if kind == zmq.ROUTER:
            socket.setsockopt(zmq.ROUTER_MANDATORY, 1)
            socket.setsockopt(zmq.ROUTER_HANDOVER, 1)
        elif kind == zmq.XPUB:
            socket.setsockopt(zmq.XPUB_VERBOSER, 1)
        socket.bind(endpoint)
        return socket

    def _wake_pair(self):
        out = self._context.socket(zmq.PULL)
        out.bind("inproc://wake")
        into = self._context.socket(zmq.PUSH)
        into.setsockopt(zmq.LINGER, 0)
        into.connect("inproc://wake")
        return into, out

    # life

    def start(self):
        """Start the thread."""
        self._thread.start()
        return self

    def stop(self):
        """Close the sockets; the bridge sees the runtime go."""
        if self._thread.is_alive():
            self._order("stop")
            self._thread.join(scaled(10))
            with self._wake_lock:
                self._wake_in.close()
            self._context.term()

    def finish(self):
        """End of a test: nothing must have gone wrong on this side of the wire."""
        self.stop()
        assert not self.errors, self.errors
        assert not self.malformed, f"the bridge sent what is no command: {self.malformed}"

    @property
    def options(self):
        """The options by which a bridge finds this runtime."""
        return {"runtime_commands": ">" + self.commands_endpoint, "runtime_events": ">" + self.events_endpoint}

    # what a test or a handler does

    def emit(self, user, event, meta=None):
        """Publish one event; a dictionary is packed, bytes go as they are."""
        frames = [_bytes(user), _packed(event)]
        self.raw_publish(frames if meta is None else frames + [_packed(meta)])

    def emit_plain(self, user, event):
        """Publish one event without meta, also when the runtime numbers its events."""
        self.raw_publish([_bytes(user), _packed(event)])

    def raw_publish(self, frames):
        """Publish any frames."""
        self._order("publish", frames)

    def send(self, name, connection_id="", user_id="", headers=None, body=b"", identity=None):
        """A command to the bridge (the one that spoke last, unless `identity` says which)."""
        self.raw_send([_bytes(name), _bytes(connection_id), _bytes(user_id), _packed(headers or {}), _packed(body)], identity)

    def raw_send(self, frames, identity=None):
        """Any frames to the bridge."""
        self._order("route", [identity or self.identity(), *frames])

    def identity(self):
        """The routing id of the bridge."""
        self.wait_command("HELLO")
        return self._commands[-1].identity

    # thread

    def _order(self, what, frames=None):
        self._orders.put((what, frames))
        with self._wake_lock:
            self._wake_in.send(b"")

    def _run(self):
        poller = zmq.Poller()
        for socket in (self._router, self._events, self._wake_out):
            poller.register(socket, zmq.POLLIN)
        running = True
        while running:
            ready = dict(poller.poll())
            try:
                if self._router in ready:
                    self._receive(self._router.recv_multipart())
                if self._events in ready:
                    self._subscribed(self._events.recv())
                if self._wake_out in ready:
                    self._wake_out.recv()
                    running = self._obey(*self._orders.get())
            except Exception as error:  # pylint: disable=broad-except
                self.errors.append(error)
        for socket in (self._router, self._events, self._wake_out):
            socket.close()

    def _obey(self, what, frames):
        if what == "publish":
            self._events.send_multipart(frames)
        elif what == "route":
            self._router.send_multipart(frames)
        return what != "stop"

    def _subscribed(self, message):
        self._note_subscription(1 if message[:1] == b"\1" else -1)
        if self.on_subscription:
            self.on_subscription(message)

    def _receive(self, frames):
        command = parse_command(frames)
        if command is None:
            self.malformed.append(frames)
            return
        self._note(command)
        self._react(command)
        if self.handler:
            self.handler(self, command)

    def _react(self, command):
        if command.command == "HELLO" and self.answer_hello:
            self._route(command.identity, "HELLO", self._hello())
        if command.command == "PING" and self.answer_ping:
            self._route(command.identity, "PONG", self._pong(command))

    def _hello(self):
        return {"protocol": 1, "runtime": "flow-runtime", "publisher": self.publisher, "sdk": "flow/1"}

    def _pong(self, command):
        return command.headers

    def _route(self, identity, name, headers, user=b"", body=b""):
        try:
            self._router.send_multipart([identity, name.encode(), b"", user, msgpack.packb(headers), body])
        except zmq.ZMQError as error:
            if error.errno != zmq.EHOSTUNREACH:  # whoever asked has gone meanwhile
                raise


def _bytes(text):
    return text if isinstance(text, bytes) else text.encode()


def _packed(value):
    return value if isinstance(value, bytes) else msgpack.packb(value)
