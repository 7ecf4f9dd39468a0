"""What can be measured: one entry a server; the peers are in peers.py."""
import pathlib

from . import machine
from .peers import PEERS
from .server import Server

TOP = pathlib.Path(__file__).resolve().parents[3]
BENCH = TOP / "build" / "release" / "tests" / "bench"
SECRET = "0123456789abcdef0123456789abcdef"


class Limit(Server):
    """The least that a server could do for the bridge's work."""
    wire = "limit"
    program = str(BENCH / "bench_limit")
    exit_codes = (0,)

    def __init__(self, name, *options):
        self.name = name
        self.options = options

    def start(self, ports, tmp):
        return [self.program, "--listen", f"127.0.0.1:{ports.public}", "--events", f"tcp://127.0.0.1:{ports.events}",
                "--upstream", f"tcp://127.0.0.1:{ports.commands}", *self.options]

    def load_arguments(self, ports):
        return [*super().load_arguments(ports), "--events-port", str(ports.events),
                "--commands-port", str(ports.commands)]


class Bridge(Server):
    """The bridge, with authentication, as it is shipped but for limits that the load goes beyond."""
    name = wire = "bridge"
    program = str(TOP / "build" / "release" / "bridge" / "agentbridge")
    exit_codes = (0,)

    def version(self):
        return machine.first_line(self.program, "--version").removeprefix("agentbridge ")

    def runtimes(self, ports):
        """(commands, events) of each runtime."""
        return [(ports.commands, ports.events)]

    def start(self, ports, tmp):
        commands, events = (",".join(f">tcp://127.0.0.1:{port}" for port in row) for row in zip(*self.runtimes(ports)))
        (tmp / "secret").write_text(SECRET)
        return [self.program, "--listen", f"127.0.0.1:{ports.public}", "--admin-listen", f"127.0.0.1:{ports.admin}",
                "--runtime-commands", commands, "--runtime-events", events, "--environment", "test",
                "--jwt-secret-file", str(tmp / "secret"), "--max-connections", "19000",
                "--client-messages-per-minute", "0", "--log-level", "warn"]

    def load_arguments(self, ports):
        return [*super().load_arguments(ports), "--admin-port", str(ports.admin), "--secret", SECRET,
                "--events-port", str(ports.events), "--commands-port", str(ports.commands)]


class TwoRuntimes(Bridge):
    """The same with endpoints for a second runtime, which a second load plays."""
    name = "bridge-two-runtimes"

    def runtimes(self, ports):
        return [(ports.commands, ports.events), (ports.commands2, ports.events2)]

    def second_load_arguments(self, ports):
        """What the second load must be told."""
        return [*Bridge.load_arguments(self, ports), "--events-port", str(ports.events2),
                "--commands-port", str(ports.commands2)]


class Emitter(Server):
    """A runtime that emits: what is measured is not the bridge. Its load is runtimes/measure.py."""
    listens = "commands"

    def __init__(self, name, interpreter, source, needs=None):
        self.name = name
        self.program = interpreter
        self.source, self.needs = str(TOP / "tests" / "bench" / "runtimes" / source), needs

    def is_installed(self):
        return super().is_installed() and (not self.needs or (TOP / self.needs).exists())

    def start(self, ports, tmp):
        return [self.program, self.source, f"tcp://127.0.0.1:{ports.commands}", f"tcp://127.0.0.1:{ports.events}"]

    def load_arguments(self, ports):
        named = {f"--{name}-port": str(getattr(ports, name)) for name in ("public", "admin", "commands", "events")}
        return ["--bridge", Bridge.program, *(word for pair in named.items() for word in pair)]


EMITTERS = (Emitter("by-hand", "/usr/bin/python3", "by_hand.py"), Emitter("emit-python", "/usr/bin/python3", "binding.py"),
            Emitter("emit-node", "node", "binding.mjs", "bindings/js/node_modules/zeromq"))
OURS = (Limit("limit"), Limit("limit-join", "--join"), Bridge(), TwoRuntimes())

SERVERS = {server.name: server for server in OURS + EMITTERS + PEERS}


def peers_named(choice):
    """The peers of --peers: auto (those that are installed), none, or a comma list; ValueError when one is not there."""
    if choice == "none":
        return []
    if choice == "auto":
        return [peer for peer in PEERS if peer.is_installed()]
    known = {peer.name: peer for peer in PEERS}
    for name in choice.split(","):
        if name not in known or not known[name].is_installed():
            raise ValueError(f"{name} is {'not installed' if name in known else 'unknown'}; "
                             f"peers are {', '.join(known) or 'not there yet'}")
    return [known[name] for name in choice.split(",")]
