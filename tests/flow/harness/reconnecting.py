"""Clients that come back from where they were, and hold what they get to account: each event once, in order."""
import json
import pathlib
import subprocess
import sys
import threading

from .raw import CLOSE, PING, PONG, TEXT
from .timing import scaled

SCRIPT = pathlib.Path(__file__).with_name("reader_main.py")


class Reconnecting:
    """One user's client. Its events are numbered from 1 without a hole, as PublisherProcess pours them; `seen` is the
    number of the last one that came; None: the next one may have any."""

    def __init__(self, stack, user, bridge=None, receive_buffer=None):
        self.stack, self.user, self.bridge = stack, user, bridge
        self._receive_buffer = receive_buffer
        self.socket = None
        self.epoch = None
        self.offset = self.seen = 0
        self.ids = []    # of all its connections
        self.closed = None

    def connect(self):
        """Come, or come back; connection_established's data."""
        target = f"/ws?epoch={self.epoch}&offset={self.offset}" if self.epoch else "/ws"
        self.socket = self.stack.raw(self.bridge, receive_buffer=self._receive_buffer)
        answer = self.socket.upgrade(target, {"Authorization": f"Bearer {self.stack.keys.token(self.user)}"})
        assert answer and answer.status == 101, answer
        data = self.socket.recv_json()["data"]
        self.closed = None
        self.ids.append(data["connection_id"])
        return data

    def begin(self):
        """The first time, or anew: what counts from here on is what the bridge says."""
        data = self.connect()
        self.epoch, self.offset = data["resume"]["epoch"], data["resume"]["offset"]
        return data

    def back(self):
        """Come back; nothing may be lost."""
        data = self.connect()
        assert (data["recovered"], data["recovery_error"]) == (True, None), data
        assert data["resume"] == {"epoch": self.epoch, "offset": self.offset}
        return self

    def take(self):
        """The next event; False at the end of the connection, when `closed` is the code (None without close frame)."""
        frame = self.socket.recv_frame()
        if frame is not None and frame.payload is not None and frame.opcode == PING:
            self.socket.send_frame(PONG, frame.payload)
            return self.take()
        if frame is None or frame.payload is None or frame.opcode == CLOSE:
            self.closed = int.from_bytes(frame.payload[:2], "big") if frame and frame.payload else 1006
            return False
        assert frame.opcode == TEXT, frame
        event = json.loads(frame.payload)
        expected = event["n"] if self.seen is None else self.seen + 1
        assert (event["n"], event["_offset"]) == (expected, self.offset + 1), (self.user, self.seen, self.offset, event)
        self.seen, self.offset = event["n"], event["_offset"]
        return True

    def take_until(self, number):
        """All events up to this one."""
        while self.seen < number:
            assert self.take(), f"{self.user} closed with {self.closed} after {self.seen} of {number}"
        return self

    def cut(self, how):
        """End the connection: "reset", "close" (TCP) or "frame" (a close frame first)."""
        if how == "frame":
            self.socket.send_frame(CLOSE, b"\x03\xe8")
        if how == "reset":
            self.socket.reset()
        else:
            self.socket.close()


def together(calls, timeout=120):
    """Run all at once, each in a thread; the first fault is raised."""
    faults = []

    def run(call):
        try:
            call()
        except BaseException as fault:  # pylint: disable=broad-except
            faults.append(fault)
    threads = [threading.Thread(target=run, args=(call,), daemon=True) for call in calls]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(scaled(timeout))
        assert not thread.is_alive(), "a client is still waiting"
    if faults:
        raise faults[0]


class ReaderProcess:
    """A client in a process of its own, which can be stopped and continued. Tells at the end what it has got."""

    def __init__(self, stack, bridge, user, last):
        self.process = subprocess.Popen(
            [sys.executable, "-B", str(SCRIPT), str(bridge.ports["public"]), stack.keys.token(user), str(last)],
            stdout=subprocess.PIPE)
        self.established = json.loads(self.process.stdout.readline())

    def signal(self, number):
        """SIGSTOP, SIGCONT."""
        self.process.send_signal(number)

    def result(self, timeout=60):
        """{"seen", "offset", "closed"} after the last event or the end of the connection."""
        out, _ = self.process.communicate(timeout=scaled(timeout))
        return json.loads(out)

    def finish(self):
        """End the process."""
        if self.process.poll() is None:
            self.process.kill()
            self.process.communicate()
