"""A runtime in a process of its own, with the same verbs as Runtime."""
import base64
import json
import os
import pathlib
import signal
import subprocess
import sys
import threading

from .runtime import Command, CommandLog, _bytes, _packed
from .timing import scaled

SCRIPT = pathlib.Path(__file__).with_name("runtime_main.py")


class RuntimeProcess(CommandLog):
    """start(), kill() and start() again on the same endpoints. Commands of all lives are in one log; `mark()` and
    `since` tell the lives apart. `behaviour` are options of the runtime; with `sequenced` it numbers its events, and what it
    has kept for REPLAY dies with it."""

    script = SCRIPT

    def __init__(self, commands, events, **behaviour):
        super().__init__()
        self.behaviour = behaviour
        self.commands_endpoint = commands
        self.events_endpoint = events
        self.options = {"runtime_commands": ">" + commands, "runtime_events": ">" + events}
        self.process = None
        self._ready = threading.Event()
        self._reader = None

    def start(self, **changes):
        """Start the process and wait until its sockets are bound. `changes` to the behaviour stay for later lives."""
        self.behaviour.update(changes)
        self._ready.clear()
        with self._changed:
            self._subscriptions = 0
        self.process = subprocess.Popen([sys.executable, "-B", str(self.script), self.commands_endpoint,
                                         self.events_endpoint, json.dumps(self.behaviour)],
                                        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self._reader = threading.Thread(target=self._read, args=(self.process.stdout,), daemon=True)
        self._reader.start()
        assert self._ready.wait(scaled(20)), "the runtime process did not start"
        return self

    def kill(self):
        """kill -9; what the process has told until then is in the log when this returns."""
        self.process.kill()
        self.process.wait()
        self._reader.join(scaled(10))

    def pause(self):
        """SIGSTOP: the process is there, but does nothing. Returns when it has stopped."""
        self.process.send_signal(signal.SIGSTOP)
        os.waitid(os.P_PID, self.process.pid, os.WSTOPPED)

    def resume(self):
        """SIGCONT."""
        self.process.send_signal(signal.SIGCONT)

    def finish(self):
        """End of a test."""
        if self.process and self.process.poll() is None:
            self.kill()

    def emit(self, user, event, meta=None):
        """Publish one event; a sequenced runtime numbers it, unless it has meta already."""
        frames = [_bytes(user), _packed(event)]
        if meta is not None:
            self._order("publish", frames + [_packed(meta)])
        else:
            self._order("emit" if self.behaviour.get("sequenced") else "publish", frames)

    def emit_plain(self, user, event):
        """Publish one event without meta."""
        self._order("publish", [_bytes(user), _packed(event)])

    def drop(self, user, event):
        """One event that a sequenced runtime numbers and keeps, but never publishes."""
        self._order("drop", [_bytes(user), _packed(event)])

    def send(self, name, connection_id="", user_id="", headers=None, body=b""):
        """A command to the bridge."""
        self._order("route", [_bytes(name), _bytes(connection_id), _bytes(user_id), _packed(headers or {}), _packed(body)])

    def _order(self, what, frames):
        order = {"what": what, "frames": [base64.b64encode(frame).decode() for frame in frames]}
        self.process.stdin.write(json.dumps(order) + "\n")
        self.process.stdin.flush()

    def _read(self, pipe):
        for line in pipe:
            told = json.loads(line)
            if "ready" in told:
                self._ready.set()
            elif "subscription" in told:
                self._note_subscription(told["subscription"])
            else:
                fields = told["command"]
                fields["body"] = base64.b64decode(fields["body"])
                fields["identity"] = base64.b64decode(fields["identity"])
                self._note(Command(**fields))
