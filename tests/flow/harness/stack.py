"""Everything that a test starts, and its end in the right order: clients, bridges, runtimes."""
import shutil
import tempfile

from ports import free_port

from .bridge import Bridge
from .client import Client, close_many, connect_many
from .proxy import Wire
from .raw import RawClient
from .resuming import ResumingClient
from .runtime import Runtime
from .runtime_process import RuntimeProcess
from .sequenced import SequencedRuntime


class Stack:
    """Makes runtimes, bridges and clients. A client goes to the bridge that was made last, unless it is told which."""

    def __init__(self, keys):
        self.keys = keys
        self._directory = None
        self._runtimes = []
        self._bridges = []
        self._clients = []
        self._raw = []
        self._wires = []
        self._resuming = []

    # runtimes

    def directory(self):
        """A folder with a short name (an ipc path has at most 107 characters)."""
        self._directory = self._directory or tempfile.mkdtemp(prefix="flow-")
        return self._directory

    def endpoints(self, transport="ipc"):
        """A pair of endpoints (commands, events) that nothing has bound yet."""
        if transport == "tcp":
            return f"tcp://127.0.0.1:{free_port()}", f"tcp://127.0.0.1:{free_port()}"
        number = len(self._runtimes)
        return tuple(f"ipc://{self.directory()}/{kind}{number}" for kind in ("commands", "events"))

    def runtime(self, transport="ipc", endpoints=None, sequenced=False, **options):
        """A runtime in a thread, started; a sequenced one numbers its events."""
        kind = SequencedRuntime if sequenced else Runtime
        runtime = kind(*(endpoints or self.endpoints(transport)), **options)
        self._runtimes.append(runtime)
        return runtime.start()

    def runtime_process(self, transport="ipc", kind=RuntimeProcess, **behaviour):
        """A runtime in its own process, started."""
        runtime = kind(*self.endpoints(transport), **behaviour)
        self._runtimes.append(runtime)
        return runtime.start()

    def wire(self, runtime):
        """Proxies between a bridge and this runtime, which has tcp endpoints."""
        wire = Wire(runtime)
        self._wires.append(wire)
        return wire

    # bridges

    def bridge(self, runtime=None, *, env=None, wrap=None, json_logs=True, start=True, **options):
        """A bridge; with a runtime it is ready to deliver when this returns."""
        defaults = {"listen": "127.0.0.1:0", "admin_listen": "127.0.0.1:0", "environment": "test",
                    "bridge_id": "flow-bridge", "jwt_secret": self.keys.secret}
        bridge = Bridge({**defaults, **(runtime.options if runtime else self.nowhere()), **options}, env, wrap, json_logs)
        self._bridges.append(bridge)
        if start:
            bridge.start()
        if start and runtime:
            runtime.wait_subscribed()
            bridge.wait_ready()
        return bridge

    def nowhere(self):
        """Runtime options that lead to no runtime."""
        directory = self.directory()
        return {"runtime_commands": f">ipc://{directory}/none-c", "runtime_events": f">ipc://{directory}/none-e"}

    # clients

    def client(self, user="alice", *, bridge=None, token=None, **options):
        """A client that has not connected yet."""
        client = Client(bridge or self._bridges[-1], token or self.keys.token(user), user, **options)
        self._clients.append(client)
        return client

    def connect(self, user="alice", **options):
        """A client that has seen connection_established."""
        return self.client(user, **options).open().establish()

    def connect_all(self, users, **options):
        """One client for each of these users, in the same order."""
        return connect_many([self.client(user, **options) for user in users])

    def resuming(self, user="alice", *, bridge=None, kind=ResumingClient, **options):
        """A client that comes back after every end; it has seen its first connection_established."""
        client = kind(bridge or self._bridges[-1], self.keys.token(user), user, **options)
        self._resuming.append(client)
        return client.start()

    def raw(self, bridge=None, **options):
        """A TCP connection to the bridge."""
        client = RawClient(bridge or self._bridges[-1], **options)
        self._raw.append(client)
        return client

    def raw_connect(self, user="alice", *, bridge=None, changes=None, **options):
        """An upgraded raw client; `established` is its first frame."""
        client = self.raw(bridge, **options)
        answer = client.upgrade(changes={"Authorization": f"Bearer {self.keys.token(user)}", **(changes or {})})
        assert answer and answer.status == 101, answer
        client.established = client.recv_json()
        assert client.established["type"] == "connection_established", client.established
        return client

    # end

    def finish(self):
        """Tear down; the first fault found is raised after everything is down."""
        faults = []
        ends = ([client.close for client in self._raw] + [client.stop for client in self._resuming]
                + [lambda: close_many(self._clients)] + [part.finish for part in self._bridges + self._runtimes]
                + [wire.stop for wire in self._wires])
        for end in ends:
            try:
                end()
            except Exception as fault:  # pylint: disable=broad-except
                faults.append(fault)
        if self._directory:
            shutil.rmtree(self._directory, ignore_errors=True)
        if faults:
            raise faults[0]
