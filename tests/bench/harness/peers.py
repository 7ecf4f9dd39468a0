"""Other servers that do a part of the bridge's work, for comparison: Debian's packages, used when they are there.

Each is set up as somebody would who wants it fast: one process or worker, no logs, no authentication, nothing stored,
and no limit below 10,000 connections. What is not set here is as the package comes.
"""
import importlib.metadata
import importlib.util
import os
import pathlib
import platform
import pwd
import re
import shutil
import subprocess
import sys

from .server import Server

PYTHON_PEER = pathlib.Path(__file__).resolve().parent.parent / "peers" / "python_peer.py"


def find_program(name):
    """Servers live in /usr/sbin, where not everybody looks."""
    return shutil.which(name, path=os.environ.get("PATH", os.defpath) + os.pathsep + "/usr/sbin")


def own_name():
    """Who runs this: servers that are started by root change to a user of their own, who cannot read `tmp`."""
    return pwd.getpwuid(os.geteuid()).pw_name


class Peer(Server):
    """A server that is configured by a file, and that the publisher connects to."""
    config = ""
    version_flag = "--version"  # what it says may go to stderr

    def path(self):
        """Of its program; None: it is not there."""
        return find_program(self.program)

    def is_installed(self):
        return self.path() is not None

    def version(self):
        said = subprocess.run([self.path(), self.version_flag], capture_output=True, text=True, timeout=10, check=False)
        found = re.search(r"\d+(\.\d+)+", said.stdout + said.stderr)
        return found.group() if found else None

    def start(self, ports, tmp):
        config = tmp / "server.conf"
        config.write_text(self.config.format(**self.settings(ports, tmp)))
        return [self.path(), "-c", str(config)]

    def settings(self, ports, tmp):
        """What is filled into `config`."""
        return {"ports": ports, "tmp": tmp, "user": own_name()}

    def load_arguments(self, ports):
        return [*super().load_arguments(ports), "--publish", f"127.0.0.1:{ports.publish}"]


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


class Mosquitto(Peer):
    """MQTT over WebSockets; nothing is dropped because of its queues."""
    version_flag = "-h"
    name = program = "mosquitto"
    wire = "mqtt"
    config = """\
user {user}
allow_anonymous true
persistence false
sys_interval 0
log_dest none
connection_messages false
max_queued_messages 0
listener {ports.publish} 127.0.0.1
listener {ports.public} 127.0.0.1
protocol websockets
"""


class Nchan(Peer):
    """nginx with nchan. Events are not kept: who is not there misses them."""
    name = wire = "nchan"
    program = "nginx"
    version_flag = "-v"
    config = """\
load_module {module};
user {user};
daemon off;
pid {tmp}/nginx.pid;
error_log /dev/null;
worker_processes 1;
worker_rlimit_nofile 20000;
events {{
  worker_connections 19000;
}}
http {{
  access_log off;
  keepalive_requests 1000000000;
  keepalive_timeout 3600;
  client_body_temp_path {tmp}/body;
  proxy_temp_path {tmp}/proxy;
  fastcgi_temp_path {tmp}/fastcgi;
  uwsgi_temp_path {tmp}/uwsgi;
  scgi_temp_path {tmp}/scgi;
  server {{
    listen 127.0.0.1:{ports.public} backlog=4096;
    location ~ ^/sub/(\\w+)$ {{
      nchan_subscriber websocket;
      nchan_channel_id $1;
      nchan_store_messages off;
    }}
  }}
  server {{
    listen 127.0.0.1:{ports.publish};
    client_body_buffer_size 64k;
    location ~ ^/pub/(\\w+)$ {{
      nchan_publisher http;
      nchan_channel_id $1;
      nchan_store_messages off;
    }}
    location = /ready {{
      return 200 "";
    }}
  }}
}}
"""

    def module(self):
        """Beside the program, as packages put it."""
        return pathlib.Path(self.path()).parent.parent / "lib/nginx/modules/ngx_nchan_module.so"

    def is_installed(self):
        return super().is_installed() and self.module().exists() and self.has_bodies()

    @staticmethod
    def has_bodies():
        """nchan has nginx make its own directory for bodies, whatever client_body_temp_path says."""
        state = pathlib.Path("/var/lib/nginx")
        return (state / "body").is_dir() or os.access(state, os.W_OK)

    def settings(self, ports, tmp):
        return {**super().settings(ports, tmp), "module": self.module()}


class Python(Server):
    """python_peer.py, with Debian's python3-websockets and python3-zmq."""
    name = "python"
    wire = "limit"

    def is_installed(self):
        """Does this very Python have what it imports?"""
        return all(importlib.util.find_spec(name) for name in ("websockets", "zmq"))

    def version(self):
        return f"{platform.python_version()} with websockets {importlib.metadata.version('websockets')}"

    def start(self, ports, tmp):
        return [sys.executable, str(PYTHON_PEER), "--listen", f"127.0.0.1:{ports.public}",
                "--events", f"tcp://127.0.0.1:{ports.events}", "--upstream", f"tcp://127.0.0.1:{ports.commands}"]

    def load_arguments(self, ports):
        return [*super().load_arguments(ports), "--events-port", str(ports.events),
                "--commands-port", str(ports.commands)]


PEERS = (Nats(), Mosquitto(), Nchan(), Python())
