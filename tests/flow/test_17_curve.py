"""CURVE on the links to the runtime: only the two that know each other's keys talk, and nothing goes in the clear beyond
loopback."""
import collections

import pytest
import zmq
from harness import Runtime, run_program
from harness.stack import free_port

Pair = collections.namedtuple("Pair", "public secret")

PUBLIC = """#   ZeroMQ CURVE Public Certificate

metadata
    name = "{name}"
curve
    public-key = "{pair.public}"
"""
SECRET = PUBLIC.replace("Public", "**Secret**") + '    secret-key = "{pair.secret}"\n'


def new_pair():
    """Keys as Z85 text."""
    return Pair(*(key.decode() for key in zmq.curve_keypair()))


class CurveRuntime(Runtime):
    """A runtime with CURVE on both sockets: as the server that the bridge connects to, or as the client of a bridge that
    binds. `only` are the keys that it lets in (a server without a list lets in all)."""

    def __init__(self, commands, events, own, server=None):
        self.own, self.server = own, server
        super().__init__(commands, events)

    def _bound(self, kind, endpoint):
        socket = self._context.socket(kind)
        for option, value in ((zmq.LINGER, 0), (zmq.SNDHWM, 0), (zmq.RCVHWM, 0), (zmq.RECONNECT_IVL, 20)):
            socket.setsockopt(option, value)
        if kind == zmq.ROUTER:
            socket.setsockopt(zmq.ROUTER_HANDOVER, 1)
        else:
            socket.setsockopt(zmq.XPUB_VERBOSER, 1)
        if self.own:
            socket.curve_publickey, socket.curve_secretkey = self.own.public.encode(), self.own.secret.encode()
        if self.server:
            socket.curve_serverkey = self.server.public.encode()
        elif self.own:
            socket.curve_server = True
        (socket.connect if endpoint[0] == ">" else socket.bind)(endpoint.lstrip(">"))
        return socket


@pytest.fixture(name="certs")
def certs_fixture(tmp_path):
    """Pairs of bridge, runtime and a stranger; their certificate files as options of the bridge."""
    pairs = {name: new_pair() for name in ("bridge", "runtime", "stranger")}
    for name, pair in pairs.items():
        (tmp_path / f"{name}.txt").write_text(PUBLIC.format(name=name, pair=pair))
        (tmp_path / f"{name}.txt_secret").write_text(SECRET.format(name=name, pair=pair))
    return pairs, tmp_path


def curve_options(folder, own="bridge", runtime="runtime"):
    """The two options."""
    return {"curve_secret_file": folder / f"{own}.txt_secret", "curve_runtime_file": folder / f"{runtime}.txt"}


def add(stack, runtime):
    """Started, and ended with the stack."""
    stack._runtimes.append(runtime)  # pylint: disable=protected-access
    return runtime.start()


def round_trip(bridge, stack, runtime):
    """A message up, an event down."""
    client = stack.connect()
    client.send({"type": "user_message", "n": 1})
    assert runtime.wait_command("MESSAGE").body == b'{"type": "user_message", "n": 1}'
    runtime.emit("alice", {"type": "stream_chunk", "n": 2})
    assert client.recv_event()["n"] == 2
    runtime.send("SEND", client.connection_id, "alice", {"opcode": "text"}, b"{}")
    assert client.recv() == "{}"
    assert bridge.metric("runtime_link_up", link="commands") == 1
    assert bridge.metric("runtime_link_up", link="events") == 1


def tcp_pair():
    """Two endpoints that nothing has bound yet."""
    return [f"tcp://127.0.0.1:{free_port()}" for _ in range(2)]


def connected(stack, own, folder, endpoints=None, **names):
    """A runtime that binds and a bridge that connects."""
    commands, events = endpoints or tcp_pair()
    runtime = add(stack, CurveRuntime(commands, events, own))
    bridge = stack.bridge(**{**runtime.options, **curve_options(folder, **names)})
    return runtime, bridge


def bound(stack, own, server, folder, **names):
    """A bridge that binds and a runtime that connects."""
    commands, events = tcp_pair()
    bridge = stack.bridge(runtime_commands="@" + commands, runtime_events="@" + events, **curve_options(folder, **names))
    return add(stack, CurveRuntime(">" + commands, ">" + events, own, server)), bridge


@pytest.mark.parametrize("transport", ["tcp", "ipc"])
def test_connect(stack, certs, transport):
    """The runtime is the CURVE server."""
    pairs, folder = certs
    runtime, bridge = connected(stack, pairs["runtime"], folder, stack.endpoints(transport))
    runtime.wait_subscribed()
    bridge.wait_ready()
    round_trip(bridge, stack, runtime)
    assert not bridge.logs("LINK_REFUSED")


def test_bind(stack, certs):
    """The bridge is the CURVE server and lets in the runtime's key."""
    pairs, folder = certs
    runtime, bridge = bound(stack, pairs["runtime"], pairs["bridge"], folder)
    runtime.wait_subscribed()
    bridge.wait_ready()
    round_trip(bridge, stack, runtime)
    assert not bridge.logs("LINK_REFUSED")


def test_beyond_loopback(stack, certs):
    """With both certificates an endpoint on all interfaces is allowed, and works."""
    pairs, folder = certs
    ports = [free_port(), free_port()]
    bridge = stack.bridge(runtime_commands=f"@tcp://0.0.0.0:{ports[0]}", runtime_events=f"@tcp://*:{ports[1]}",
                          **curve_options(folder))
    runtime = add(stack, CurveRuntime(*(f">tcp://127.0.0.1:{port}" for port in ports), pairs["runtime"], pairs["bridge"]))
    runtime.wait_subscribed()
    bridge.wait_ready()
    round_trip(bridge, stack, runtime)


def expect_down(bridge, runtime, stack):
    """Neither link is up, and a client is told so."""
    status, ready = bridge.get_json("/readyz")
    assert (status, ready["reasons"]) == (503, ["no command link to the runtime", "no event link to the runtime"])
    assert bridge.metric("runtime_link_up", link="commands") == 0
    assert bridge.metric("runtime_link_up", link="events") == 0
    client = stack.client().open()
    assert client.recv_type("connection_error")["error_code"] == "SERVICE_NOT_READY"
    assert client.wait_closed()[0] == 1013
    assert not bridge.logs("LINK_UP")
    assert not runtime.commands()


# name: (the runtime's own keys, the server key that it expects)
NOT_LET_IN = {"stranger": ("stranger", "bridge"), "plain": (None, None)}


@pytest.mark.parametrize("who", list(NOT_LET_IN))
def test_bound_refuses(stack, certs, who):
    """A runtime with another key, or with none, is turned away from both bound endpoints, again and again; the log says so.
    The right one gets in afterwards."""
    pairs, folder = certs
    own, server = (name and pairs[name] for name in NOT_LET_IN[who])
    commands, events = tcp_pair()
    bridge = stack.bridge(runtime_commands="@" + commands, runtime_events="@" + events, runtime_wait_ms=200,
                          **curve_options(folder))
    if own:
        runtime = add(stack, CurveRuntime(">" + commands, ">" + events, own, server))
    else:
        runtime = add(stack, PlainRuntime(">" + commands, ">" + events, None))
    bridge.wait_log("LINK_REFUSED", link="@" + commands, lane=0)
    bridge.wait_log("LINK_REFUSED", link="@" + events, lane=-1)
    expect_down(bridge, runtime, stack)
    runtime.stop()
    right = add(stack, CurveRuntime(">" + commands, ">" + events, pairs["runtime"], pairs["bridge"]))
    right.wait_subscribed()
    bridge.wait_ready()
    round_trip(bridge, stack, right)


class PlainRuntime(CurveRuntime):
    """One that connects without CURVE."""


def wait_tries(runtime, events, count):
    """Until so many of these handshake failures were seen at the runtime's side."""
    seen = 0
    while seen < count:
        assert runtime.watch.poll(30000), "no try to connect"
        event = zmq.utils.monitor.recv_monitor_message(runtime.watch)
        seen += event["event"] in events


def test_connect_to_the_wrong_server(stack, certs):
    """The runtime's key is not the one that the bridge knows: its handshake never succeeds, the links stay down."""
    pairs, folder = certs
    runtime, bridge = connected(stack, pairs["stranger"], folder)
    bridge.options["runtime_wait_ms"] = 200
    del bridge, runtime
