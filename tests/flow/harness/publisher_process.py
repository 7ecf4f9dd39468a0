"""A publisher in a process of its own, so that what a test does with its clients does not slow it down."""
import json
import pathlib
import selectors
import subprocess
import sys

from .timing import scaled

SCRIPT = pathlib.Path(__file__).with_name("publisher_main.py")


class PublisherProcess:
    """Pours events beside a Runtime, which serves the commands."""

    def __init__(self, endpoint):
        self.endpoint = endpoint
        self.process = subprocess.Popen([sys.executable, "-B", str(SCRIPT), endpoint], stdin=subprocess.PIPE,
                                        stdout=subprocess.PIPE, bufsize=0)
        self._pouring = False
        self._told()

    def options(self, runtime):
        """The options of a bridge for this publisher and that runtime."""
        return {"runtime_commands": runtime.options["runtime_commands"],
                "runtime_events": runtime.options["runtime_events"] + ",>" + self.endpoint}

    def wait_subscribed(self):
        """Until a bridge has come (since the last time)."""
        self._order({"what": "wait_subscriber"})
        self._told()

    def pour(self, users, rate=0, pad=0, count=0):
        """Events for these users. With `count` this returns when they are sent; else go on until stop()."""
        self._order({"what": "pour", "users": users, "rate": rate, "pad": pad, "count": count})
        self._pouring = not count
        return None if self._pouring else self._told()["sent"]

    def stop(self):
        """Pour no more; {user: number of its last event}."""
        self._order({"what": "stop"})
        if self._pouring:
            self._told()
        self._pouring = False
        return self._told()["sent"]

    def finish(self):
        """End the process."""
        self.process.stdin.close()
        self.process.kill()
        self.process.wait()
        self.process.stdout.close()

    def _order(self, order):
        self.process.stdin.write(json.dumps(order).encode() + b"\n")
        self.process.stdin.flush()

    def _told(self, timeout=60):
        with selectors.DefaultSelector() as selector:
            selector.register(self.process.stdout, selectors.EVENT_READ)
            assert selector.select(scaled(timeout)), "the publisher is silent"
        line = self.process.stdout.readline()
        assert line, "the publisher has died"
        return json.loads(line)
