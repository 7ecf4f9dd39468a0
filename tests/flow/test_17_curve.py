"""CURVE on the links to the runtime: only the two that know each other's keys talk, and nothing goes in the clear beyond
loopback."""
import collections

import pytest
import zmq
from harness import Runtime, run_program, scaled
from ports import free_port
from zmq.auth.thread import ThreadAuthenticator

FAILED = 0x0800 | 0x2000 | 0x4000  # ZMQ_EVENT_HANDSHAKE_FAILED_*: no detail, protocol, authentication

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
    """A runtime with CURVE on both sockets: the server that the bridge connects to, or (endpoints with `>`) the client of a
    bridge that binds. Without `own` it speaks plain ZeroMQ. `only`: the keys that it lets in; all when there are none."""

    def __init__(self, commands, events, own, server=None, only=None):
        self.own, self.server, self.only = own, server, only
        self.authenticator = None
        self.watches = []   # monitors of the two sockets, for the test's thread
        super().__init__(commands, events)

    def _bound(self, kind, endpoint, hwm=0):
        if self.only and not self.authenticator:
            self.authenticator = ThreadAuthenticator(self._context)
            self.authenticator.start()
            self.authenticator.configure_curve_callback("*", self)
        socket = self._context.socket(kind)
        for option, value in ((zmq.LINGER, 0), (zmq.SNDHWM, hwm), (zmq.RCVHWM, 0), (zmq.RECONNECT_IVL, 20)):
            socket.setsockopt(option, value)
        socket.setsockopt(*((zmq.ROUTER_HANDOVER, 1) if kind == zmq.ROUTER else (zmq.XPUB_VERBOSER, 1)))
        if self.own:
            socket.curve_publickey, socket.curve_secretkey = self.own.public.encode(), self.own.secret.encode()
        if self.server:
            socket.curve_serverkey = self.server.public.encode()
        elif self.own:
            socket.curve_server = True
        self.watches.append(socket.get_monitor_socket(FAILED))
        (socket.connect if endpoint[0] == ">" else socket.bind)(endpoint.lstrip(">"))
        return socket

    def callback(self, _, key):
        """Of the authenticator: may this key come in?"""
        return key.decode() in self.only

    def wait_failures(self, count):
        """Until so many handshakes have failed on each socket."""
        for watch in self.watches:
            for _ in range(count):
                assert watch.poll(scaled(10) * 1000), "no handshake has failed"
                watch.recv_multipart()

    def stop(self):
        """Close the sockets."""
        for watch in self.watches:
            watch.close(0)
        if self.authenticator and self.authenticator.is_alive():
            self.authenticator.stop()
        super().stop()


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


@pytest.mark.parametrize("transport", ["tcp", "ipc"])
def test_connect(stack, certs, transport):
    """The runtime is the CURVE server."""
    pairs, folder = certs
    runtime = add(stack, CurveRuntime(*stack.endpoints(transport), pairs["runtime"]))
    bridge = stack.bridge(**runtime.options, **curve_options(folder))
    runtime.wait_subscribed()
    bridge.wait_ready()
    round_trip(bridge, stack, runtime)
    assert not bridge.logs("LINK_REFUSED")


def test_bind(stack, certs):
    """The bridge is the CURVE server and lets in the runtime's key."""
    pairs, folder = certs
    commands, events = tcp_pair()
    bridge = stack.bridge(runtime_commands="@" + commands, runtime_events="@" + events, **curve_options(folder))
    runtime = add(stack, CurveRuntime(">" + commands, ">" + events, pairs["runtime"], pairs["bridge"]))
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
NOT_LET_IN = {"stranger": ("stranger", "bridge"), "another-bridge": ("runtime", "stranger"), "plain": (None, None)}


@pytest.mark.parametrize("who", ["stranger", "plain"])
def test_bound_refuses(stack, certs, who):
    """A runtime with another key, or with none, is turned away from both bound endpoints; the log says so. The right one
    gets in afterwards."""
    pairs, folder = certs
    own, server = (name and pairs[name] for name in NOT_LET_IN[who])
    commands, events = tcp_pair()
    bridge = stack.bridge(runtime_commands="@" + commands, runtime_events="@" + events, runtime_wait_ms=200,
                          **curve_options(folder))
    runtime = add(stack, CurveRuntime(">" + commands, ">" + events, own, server))
    bridge.wait_log("LINK_REFUSED", link="@" + commands, lane=0)
    bridge.wait_log("LINK_REFUSED", link="@" + events, lane=-1)
    expect_down(bridge, runtime, stack)
    runtime.stop()
    right = add(stack, CurveRuntime(">" + commands, ">" + events, pairs["runtime"], pairs["bridge"]))
    right.wait_subscribed()
    bridge.wait_ready()
    round_trip(bridge, stack, right)


@pytest.mark.parametrize("who", list(NOT_LET_IN))
def test_connecting_side_refuses(stack, certs, who):
    """The server at the endpoint is not the one whose key the bridge knows, or speaks no CURVE: tried again and again,
    never up."""
    pairs, folder = certs
    own, _ = (name and pairs[name] for name in NOT_LET_IN[who])
    names = {"runtime": "stranger"} if who == "another-bridge" else {}
    runtime = add(stack, CurveRuntime(*tcp_pair(), own))
    bridge = stack.bridge(runtime_wait_ms=200, **runtime.options, **curve_options(folder, **names))
    runtime.wait_failures(3)
    expect_down(bridge, runtime, stack)


def test_the_runtime_refuses(stack, certs):
    """The runtime does not let the bridge's key in: the bridge logs LINK_REFUSED for both links."""
    pairs, folder = certs
    runtime = add(stack, CurveRuntime(*tcp_pair(), pairs["runtime"], only={pairs["stranger"].public}))
    bridge = stack.bridge(runtime_wait_ms=200, **runtime.options, **curve_options(folder))
    bridge.wait_log("LINK_REFUSED", link=">" + runtime.commands_endpoint, lane=0)
    bridge.wait_log("LINK_REFUSED", link=">" + runtime.events_endpoint, lane=-1)
    expect_down(bridge, runtime, stack)


def test_the_runtime_lets_in_this_bridge(stack, certs):
    """The same with the bridge's own key on the list: it is the key of curve-secret-file that the runtime sees."""
    pairs, folder = certs
    runtime = add(stack, CurveRuntime(*tcp_pair(), pairs["runtime"], only={pairs["bridge"].public}))
    bridge = stack.bridge(**runtime.options, **curve_options(folder))
    runtime.wait_subscribed()
    bridge.wait_ready()
    round_trip(bridge, stack, runtime)


# configuration

BEYOND = [">tcp://10.0.0.1:5555", "tcp://10.0.0.1:5555", "@tcp://0.0.0.0:5555", "@tcp://*:5555", "@tcp://[::]:5555",
          ">tcp://runtime.example:5555", ">tcp://127.example.com:5555", ">tcp://[::2]:5555"]
LOOPBACK = [">tcp://127.0.0.1:5555", "@tcp://127.0.0.2:5555", ">tcp://localhost:5555", "@tcp://[::1]:5555", ">ipc:///tmp/x"]


def configuration(keys, **options):
    """check-config with these options."""
    return run_program("check-config", environment="test", jwt_secret=keys.secret, **options)


@pytest.mark.parametrize("option", ["runtime_commands", "runtime_events"])
@pytest.mark.parametrize("endpoint", BEYOND)
def test_no_clear_text_beyond_loopback(keys, certs, option, endpoint):
    """Without both certificates the start is refused with 2; the line names option, endpoint and what is missing."""
    _, folder = certs
    both = curve_options(folder)
    for given in ({}, {"curve_secret_file": both["curve_secret_file"]}, {"curve_runtime_file": both["curve_runtime_file"]}):
        for command in ("serve", "check-config"):
            result = run_program(command, environment="test", jwt_secret=keys.secret, **{option: endpoint}, **given)
            assert (result.returncode, result.stdout) == (2, "")
            lines = [line for line in result.stderr.splitlines() if "curve-secret-file" in line]
            assert len(lines) == 1, result.stderr
            assert "curve-runtime-file" in lines[0]
            if not given:
                assert option.replace("_", "-") in lines[0] and endpoint in lines[0]
    assert configuration(keys, **{option: endpoint}, **both).returncode == 0


@pytest.mark.parametrize("endpoint", LOOPBACK)
def test_loopback_needs_no_keys(keys, endpoint):
    """On the machine itself clear text is allowed."""
    result = configuration(keys, runtime_commands=endpoint, runtime_events=endpoint)
    assert (result.returncode, result.stderr) == (0, "")


def start(stack, **options):
    """Exit code and stderr of a bridge that does not start."""
    bridge = stack.bridge(start=False, json_logs=False, **options)
    bridge.start()
    return bridge.wait_exit(5), "\n".join(bridge.text)


@pytest.mark.parametrize("option", ["curve_secret_file", "curve_runtime_file"])
@pytest.mark.parametrize("content", [b"", b"nonsense\n", b"curve\n", b'curve\n    public-key = "short"\n', b"\0\xff" * 50])
def test_not_a_certificate(stack, certs, option, content):
    """A file that is no certificate stops the start with 2 and one line that names option and file."""
    _, folder = certs
    (folder / "bad").write_bytes(content)
    code, text = start(stack, **{**curve_options(folder), option: folder / "bad"})
    assert code == 2, text
    assert [option.replace("_", "-") in line and "bad" in line for line in text.splitlines()] == [True], text


@pytest.mark.parametrize("option", ["curve_secret_file", "curve_runtime_file"])
def test_missing_file(keys, certs, option):
    """A file that is not there."""
    _, folder = certs
    result = configuration(keys, **{**curve_options(folder), option: folder / "none"})
    assert result.returncode == 2
    assert option.replace("_", "-") in result.stderr and "none" in result.stderr


@pytest.mark.parametrize("option", ["curve_secret_file", "curve_runtime_file"])
def test_one_of_two(stack, certs, option):
    """One certificate alone is a mistake: it must not end in clear text that nobody wanted."""
    _, folder = certs
    code, text = start(stack, **{option: curve_options(folder)[option]})
    assert code == 2, text
    other = {"curve_secret_file": "curve-runtime-file", "curve_runtime_file": "curve-secret-file"}[option]
    assert other in text


def test_secret_file_without_a_secret(stack, certs):
    """The bridge's own certificate has to hold the secret key."""
    pairs, folder = certs
    (folder / "public-only.txt").write_text(PUBLIC.format(name="bridge", pair=pairs["bridge"]))
    code, text = start(stack, curve_secret_file=folder / "public-only.txt", curve_runtime_file=folder / "runtime.txt")
    assert code == 2, text
    assert "curve-secret-file" in text


def test_secrets_stay_secret(keys, certs):
    """Neither the printed configuration nor its faults show a secret key."""
    pairs, folder = certs
    result = configuration(keys, **curve_options(folder))
    assert result.returncode == 0
    assert pairs["bridge"].secret not in result.stdout + result.stderr
