"""ordered_runtime and other programs of this binding as processes."""
import json
import os
import signal
import subprocess
import threading

from harness import scaled
from harness.bridge import binary

COUNTERS = ("received", "malformed", "dropped", "unsent", "replayed", "lost", "evicted", "abandoned")


def built(path):
    """A file of the build tree that the bridge under test is from, by its path below bindings/c."""
    folder = os.path.dirname(os.path.dirname(binary()))
    return os.path.join(folder, "bindings", "c", path)


class CRuntime:
    """`options` by which a bridge finds it, as other runtimes of the harness have them. What it tells is in `told`."""

    def __init__(self, stack, *settings, program="tests/ordered_runtime", transport="ipc", notation="@"):
        self.commands_endpoint, self.events_endpoint = stack.endpoints(transport)
        self.options = {"runtime_commands": ">" + self.commands_endpoint, "runtime_events": ">" + self.events_endpoint}
        self.told = []
        self.noise = []   # stderr
        self._changed = threading.Condition()
        self._command = [program if os.path.isabs(program) else built(program), notation + self.commands_endpoint,
                         notation + self.events_endpoint, *settings]
        self.process = None
        self._readers = []
        stack._runtimes.append(self)  # pylint: disable=protected-access

    def start(self):
        """Start; what speaks JSON is ready when this returns."""
        self.process = subprocess.Popen(self._command, stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                                        stderr=subprocess.PIPE, text=True)
        for read in (self._read, self._read_noise):
            self._readers.append(threading.Thread(target=read, daemon=True))
            self._readers[-1].start()
        return self

    def ready(self):
        """Until it says so; its publisher."""
        return self.wait(lambda told: told.get("ready"))["ready"]

    def _read(self):
        for line in self.process.stdout:
            with self._changed:
                self.told.append(json.loads(line))
                self._changed.notify_all()

    def _read_noise(self):
        for line in self.process.stderr:
            self.noise.append(line)

    def items(self, kind):
        """What has come in of this kind."""
        return [told for told in list(self.told) if told.get("item") == kind]

    def wait(self, check, timeout=10, since=0):
        """The first thing told that passes."""
        def found():
            return next((told for told in self.told[since:] if check(told)), None)
        with self._changed:
            assert self._changed.wait_for(found, scaled(timeout)), (self.told[-10:], self.noise[-10:])
            return found()

    def wait_item(self, kind, **match):
        """The first such item."""
        return self.wait(lambda told: told.get("item") == kind and all(told[key] == match[key] for key in match))

    def order(self, line):
        """A line on its standard input; what it tells afterwards."""
        since = len(self.told)
        self.process.stdin.write(line + "\n")
        self.process.stdin.flush()
        told = self.wait(lambda told: "counters" in told, since=since)
        return {**told, "counters": dict(zip(COUNTERS, told["counters"]))}

    def wait_subscribed(self):
        """The bridge's readiness says it: a bridge that has had HELLO knows from `seq` what it has missed."""

    def stop(self):
        """SIGTERM; it must end well."""
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
            try:
                self.process.wait(scaled(10))
            except subprocess.TimeoutExpired:
                self.process.kill()
        for reader in self._readers:
            reader.join(scaled(5))
        return self.process.returncode

    def finish(self):
        """End of a test."""
        if self.process:
            assert self.stop() == 0, self.noise
            assert not [line for line in self.noise if "dangling" in line or "ERROR" in line], self.noise
