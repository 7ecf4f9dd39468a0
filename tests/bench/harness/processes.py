"""Processes that are started and ended by their pid, ports that are free, and the CPUs of everybody."""
import contextlib
import os
import pathlib
import signal
import socket
import subprocess
import time
import types

from ports import free_port

PORTS = ("public", "admin", "publish", "commands", "events", "commands2", "events2", "keys")
END_S = 20  # a server's time to leave after SIGTERM


class Failed(Exception):
    """A run that says nothing; the text says why."""


def free_ports():
    """Ports by name."""
    return types.SimpleNamespace(**{name: free_port() for name in PORTS})


class Cpus:
    """The server's CPU, the measuring load's, and where the rest goes (with two CPUs to the load's)."""

    def __init__(self, available, pin=True):
        mine = sorted(available)
        self.n = len(mine)
        self.pinned = pin and self.n > 1
        self.server, self.load, self.rest = mine[0], mine[-1], mine[1 % len(mine)]

    def __str__(self):
        if self.n == 1:
            return "one core only: nothing is pinned, load and server take turns, the figures say little"
        if not self.pinned:
            return "nothing is pinned"
        return f"server on CPU {self.server}, load on CPU {self.load}, anything else on CPU {self.rest}"


def environment():
    """The environment without settings of the bridge that the caller's shell may hold."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("AGENTBRIDGE_")}
    kept.pop("ENVIRONMENT", None)
    return kept


class Process:
    """One process, bound to a CPU (None: to any). It does not outlive us, whatever ends us."""

    def __init__(self, argv, cpu=None, nice=0, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL):
        before = ["setpriv", "--pdeathsig", "KILL"]
        before += ["taskset", "-c", str(cpu)] if cpu is not None else []
        before += ["nice", "-n", str(nice)] if nice > 0 or (nice < 0 and os.geteuid() == 0) else []
        self.process = subprocess.Popen([*before, *argv], stdin=subprocess.DEVNULL, stdout=stdout, stderr=stderr,
                                        env=environment(), start_new_session=True)
        self.pid = self.process.pid

    def is_alive(self):
        """Still there?"""
        return self.process.poll() is None

    def wait(self, seconds):
        """Its exit code."""
        return self.process.wait(seconds)

    def stop(self):
        """SIGTERM, and SIGKILL when that does not help; the exit code."""
        if self.is_alive():
            self.process.send_signal(signal.SIGTERM)
        with contextlib.suppress(subprocess.TimeoutExpired):
            return self.wait(END_S)
        self.process.kill()
        return self.wait(END_S)


def cpu_seconds(pid):
    """What a process and its children have used, all threads."""
    total = 0
    for task in pathlib.Path(f"/proc/{pid}/task").glob("*"):
        with contextlib.suppress(OSError, ValueError):  # it may have just ended
            total += int((task / "schedstat").read_text().split()[0]) / 1e9
            total += sum(cpu_seconds(int(child)) for child in (task / "children").read_text().split())
    return total


def busy_seconds(cpu):
    """How long somebody, or another machine on the same metal, has had this CPU."""
    line = next(line for line in pathlib.Path("/proc/stat").read_text("ascii").splitlines() if line.startswith(f"cpu{cpu} "))
    user, nice, system, _idle, _iowait, irq, softirq, steal = map(int, line.split()[1:9])
    return (user + nice + system + irq + softirq + steal) / os.sysconf("SC_CLK_TCK")


class Company:
    """Who else uses the server's CPU, from now on."""

    def __init__(self, pid, cpu):
        self.pid, self.cpu = pid, cpu
        self.begun = self.now()

    def now(self):
        """Time, CPU of all, CPU of the server."""
        return time.monotonic(), busy_seconds(self.cpu), cpu_seconds(self.pid)

    def share(self):
        """The part of the time that others have had."""
        elapsed, busy, own = (now - begun for now, begun in zip(self.now(), self.begun))
        return max(0.0, busy - own) / elapsed


def wait_until(check, process, seconds, what):
    """Until `check` is true; Failed when the process ends before, or the time."""
    deadline = time.monotonic() + seconds
    while not check():
        if not process.is_alive():
            raise Failed(f"ended with exit code {process.wait(0)} before {what}")
        if time.monotonic() > deadline:
            raise Failed(f"not within {seconds} s: {what}")
        time.sleep(0.01)


def accepts(port):
    """Does somebody accept connections there?"""
    with socket.socket() as one:
        return one.connect_ex(("127.0.0.1", port)) == 0


def last_line(path):
    """What a process has said last."""
    lines = path.read_text("utf-8", "replace").strip().splitlines()
    return lines[-1] if lines else "no message"
