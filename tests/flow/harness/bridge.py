"""The bridge as a process: options, ports, log lines, metrics, signals."""
import collections
import http.client
import json
import os
import pathlib
import select
import shlex
import signal
import subprocess
import threading

from . import metrics
from .tables import ROOT
from .timing import scaled, wait_until

Response = collections.namedtuple("Response", "status headers body")


def binary():
    """The program under test."""
    path = pathlib.Path(os.environ.get("AGENTBRIDGE_BIN", "build/release/bridge/agentbridge"))
    path = path if path.is_absolute() else ROOT / path
    assert path.exists(), f"{path} is not built (AGENTBRIDGE_BIN names another)"
    return str(path)


def flags(options):
    """{"jwt_secret": "x"} as --jwt-secret x; None leaves an option out."""
    words = []
    for name, value in options.items():
        if value is not None:
            text = str(value).lower() if isinstance(value, bool) else str(value)
            words += ["--" + name.replace("_", "-"), text]
    return words


def clean_env(extra=None):
    """The environment without settings of the bridge that the caller's shell may hold."""
    kept = {name: value for name, value in os.environ.items()
            if not name.startswith("AGENTBRIDGE_") and name not in ("ENVIRONMENT", "E2E_OAUTH_SIMULATION_KEY")}
    return {**kept, **(extra or {})}


def run_program(*args, stdin="", env=None, timeout=10, **options):
    """Run the program to its end: returncode, stdout, stderr."""
    return subprocess.run([binary(), *args, *flags(options)], input=stdin, env=clean_env(env), text=True,
                          capture_output=True, timeout=scaled(timeout), check=False)


class Bridge:
    """One running bridge. `ports` has "public" and "admin" after start()."""

    def __init__(self, options, env=None, wrap=None, json_logs=True):
        self.options = options
        self.json_logs = json_logs
        self.ports = {}
        self.lines = []   # parsed log lines
        self.noise = []   # everything else on stderr
        self.text = []    # all of stderr, line by line
        self.changed = threading.Condition()  # told of every line
        self._ended = False  # by the test
        prefix = shlex.split(os.environ.get("AGENTBRIDGE_WRAP", "")) if wrap is None else wrap
        self._command = [*prefix, binary(), "serve", *flags(options)]
        self._env = clean_env(env)
        self._reader = None
        self._rest = b""  # of stderr, behind its last whole line
        self.process = None

    # life

    def start(self, timeout=10):
        """Start and wait until both ports are open."""
        self.process = subprocess.Popen(self._command, env=self._env, stdin=subprocess.DEVNULL,
                                        stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, bufsize=0)
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()
        if self.json_logs:
            for listener in ("public", "admin"):
                self.ports[listener] = self.wait_log("LISTENING", timeout, listener=listener)["port"]
        return self

    def signal(self, number):
        """Send a signal."""
        self.process.send_signal(number)

    def stop(self, timeout=20):
        """SIGTERM; the exit code."""
        self._ended = True
        if self.process.poll() is None:
            self.signal(signal.SIGTERM)
        return self.wait_exit(timeout)

    def wait_exit(self, timeout=20):
        """Wait for the end that the test has asked for; the exit code."""
        self._ended = True
        try:
            code = self.process.wait(scaled(timeout))
        except subprocess.TimeoutExpired:
            self.kill()
            raise AssertionError(f"the bridge did not end within {scaled(timeout):g} s; {self.tail()}") from None
        self._reader.join(scaled(5))
        return code

    def kill(self):
        """SIGKILL."""
        self._ended = True
        self.process.kill()
        self.process.wait()
        self._reader.join(scaled(5))

    def finish(self):
        """End of a test: the bridge must have lived until now, leave with 0 and have written nothing alarming."""
        if not self._ended:
            code = self.process.poll()
            assert code is None, f"the bridge died with {code}; {self.tail()}"
            code = self.stop()
            assert code == 0, f"exit code {code} after SIGTERM; {self.tail()}"
        if self.json_logs:
            assert not self.noise, "not a log line on stderr:\n" + "\n".join(self.noise[:60])
            assert not self.logs("STATE_ILLEGAL"), self.logs("STATE_ILLEGAL")

    # log

    def _read(self):
        while self._take():
            self._has_written(None)

    def _has_written(self, timeout_ms):
        poll = select.poll()
        poll.register(self.process.stderr, select.POLLIN)
        return poll.poll(timeout_ms)

    def _take(self):
        """What the bridge has written up to now, which a pipe gives in one piece. False at its end."""
        with self.changed:
            if not self._has_written(0):
                return True
            data = os.read(self.process.stderr.fileno(), 1 << 20)
            *lines, self._rest = (self._rest + data).split(b"\n")
            if not data and self._rest:
                lines, self._rest = [self._rest], b""
            for raw in lines:
                self._take_line(raw.decode("utf-8", "replace"))
            self.changed.notify_all()
            return bool(data)

    def _take_line(self, line):
        self.text.append(line)
        try:
            self.lines.append(dict(json.loads(line)))
        except ValueError:
            self.noise.append(line)

    def logs(self, log_id, **fields):
        """The lines with this id and these fields so far. A line stands in the pipe before the bridge does anything else, so
        those of what a test has seen of it are among them."""
        self._take()
        return [line for line in list(self.lines) if line.get("id") == log_id
                and all(line.get(name) == value for name, value in fields.items())]

    def wait_log(self, log_id, timeout=10, **fields):
        """The first such line, as soon as it is there."""
        with self.changed:
            self.changed.wait_for(lambda: self.logs(log_id, **fields) or self._dead(), scaled(timeout))
        found = self.logs(log_id, **fields)
        assert found, f"no log line {log_id} {fields}; {self.tail()}"
        return found[0]

    def _dead(self):
        return not self._reader.is_alive() or self.process.poll() is not None

    def tail(self):
        """The last lines of stderr, for messages."""
        return "stderr ends with:\n" + "\n".join(self.text[-25:])

    # HTTP

    def http(self, method, path, port="admin", headers=None, timeout=10, host="127.0.0.1"):
        """One request on its own connection."""
        connection = http.client.HTTPConnection(host, self.ports.get(port, port), timeout=scaled(timeout))
        try:
            connection.request(method, path, headers=headers or {})
            answer = connection.getresponse()
            return Response(answer.status, {name.lower(): value for name, value in answer.getheaders()}, answer.read())
        finally:
            connection.close()

    def get_json(self, path, port="admin"):
        """Status and parsed body."""
        answer = self.http("GET", path, port)
        return answer.status, json.loads(answer.body)

    def wait_ready(self, timeout=10):
        """Until /readyz says 200."""
        wait_until(lambda: self.http("GET", "/readyz").status == 200, timeout, "readyz 200")
        return self

    # metrics

    def metrics(self):
        """{(name, frozenset of labels): value}, names with prefix."""
        answer = self.http("GET", "/metrics")
        assert answer.status == 200, answer
        return metrics.parse(answer.body.decode())

    def metric(self, name, **labels):
        """One value, the name without prefix."""
        return metrics.value(self.metrics(), name, **labels)

    def total(self, name):
        """The sum over all labels."""
        return metrics.total(self.metrics(), name)

    def wait_metric(self, name, expected, timeout=10, **labels):
        """Until the metric has exactly this value."""
        seen = []

        def check():
            seen[:] = [self.metric(name, **labels)]
            return seen[0] == expected
        try:
            wait_until(check, timeout)
        except AssertionError:
            raise AssertionError(f"{name}{labels or ''} is {seen[0]}, not {expected}; {self.tail()}") from None

    def wait_total(self, name, expected, timeout=10):
        """The same for the sum over all labels."""
        wait_until(lambda: self.total(name) == expected, timeout, f"sum of {name} = {expected}")
