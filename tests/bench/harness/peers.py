"""Other servers that do a part of the bridge's work, for comparison: Debian's packages, used when they are there.

Each is set up as somebody would who wants it fast: one process or worker, no logs, no authentication, nothing stored,
and no limit below 10,000 connections. What is not set here is as the package comes.
"""
import importlib.util
import os
import pathlib
import pwd
import shutil
import sys

PYTHON_PEER = pathlib.Path(__file__).resolve().parent.parent / "peers" / "python_peer.py"


def find_program(name):
    """Servers live in /usr/sbin, where not everybody looks."""
    return shutil.which(name, path=os.environ.get("PATH", os.defpath) + os.pathsep + "/usr/sbin")


def own_name():
    """Who runs this: servers that are started by root change to a user of their own, who cannot read `tmp`."""
    return pwd.getpwuid(os.geteuid()).pw_name


class Peer:
    """A server of which `program` is looked for, and which is configured by a file."""
    name = wire = program = config = None

    def is_installed(self):
        """Can start() work?"""
        return find_program(self.program) is not None

    def start(self, ports, tmp):
        """Write what it reads into the directory `tmp`; what to run."""
        path = pathlib.Path(tmp) / (self.name + ".conf")
        path.write_text(self.config.format(ports=ports, tmp=tmp, user=own_name()))
        return [find_program(self.program), *self.arguments(path)]

    def arguments(self, config):
        """What names the configuration."""
        return ["-c", str(config)]

    def load_arguments(self, ports):
        """Of bench_load."""
        return ["--wire", self.wire, "--server", f"127.0.0.1:{ports.public}", "--publish", f"127.0.0.1:{ports.publish}"]


class Nats(Peer):
    """Core NATS, without JetStream. Clients speak its own protocol in WebSocket frames."""
    name = wire = "nats"
    program = "nats-server"
    config = """\
host: "127.0.0.1"
port: {ports.publish}
log_file: "/dev/null"
max_connections: 65536
websocket {{
  host: "127.0.0.1"
  port: {ports.public}
  no_tls: true
}}
"""


PEERS = [Nats()]
