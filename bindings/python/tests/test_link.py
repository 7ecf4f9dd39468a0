"""The binding against plain ZeroMQ sockets: what no bridge would send, a bridge that does not read, CURVE."""
import asyncio
import json
import select
import threading
import time

import agentbridge
import msgpack
import pytest
import zmq
from agentbridge import BridgeBusy, Connection, Curve, speech
from harness import scaled, wait_until
from hosted import ROOT, Hosted

ONE = {"commands": "@tcp://127.0.0.1:*", "events": "@tcp://127.0.0.1:*", "grace_s": 0}


class Peer:
    """What a bridge is to a runtime."""

    def __init__(self, context, hosted, name=b"peer", **options):
        self.dealer, self.sub = context.socket(zmq.DEALER), context.socket(zmq.SUB)
        self.dealer.routing_id = name
        self.sub.subscribe(b"")
        for socket, endpoint in ((self.dealer, hosted.rt.commands_endpoints[0]), (self.sub, hosted.rt.events_endpoints[0])):
            for option, value in {"linger": 0, **options}.items():
                setattr(socket, option, value)
            socket.connect(endpoint)

    def send(self, command, headers=None, connection="", user="", body=b""):
        """A command."""
        self.dealer.send_multipart([command.encode(), connection.encode(), user.encode(), msgpack.packb(headers or {}), body])

    def recv(self):
        """(command, headers, body) of the next one."""
        assert self.dealer.poll(scaled(10) * 1000), "no command came"
        command, _, user, headers, body = self.dealer.recv_multipart()
        return command.decode(), msgpack.unpackb(headers), (user.decode(), msgpack.unpackb(body)) if body else None

    def close(self):
        """Both sockets."""
        self.dealer.close()
        self.sub.close()


@pytest.fixture(name="meet")
def meet_fixture():
    """A started runtime with these options, and peers of it."""
    context, ends = zmq.Context(), []

    def meet(runtime, name=b"peer", **options):
        if not isinstance(runtime, Hosted):
            runtime = Hosted(runtime).start()
            ends.append(runtime.stop)
        peer = Peer(context, runtime, name, **options)
        ends.append(peer.close)
        return runtime, peer

    yield meet
    for end in reversed(ends):
        end()
    context.destroy(linger=0)


def test_hello_ping_and_replay(meet):
    hosted, peer = meet(agentbridge.Runtime("sage", **ONE, replay_events=3))
    for number in range(1, 6):
        hosted.rt.emit("alice", "n", n=number)
    name = hosted.rt.publisher
    peer.send("HELLO", {"protocol": 1, "bridge": "b"})
    assert peer.recv() == ("HELLO", {"protocol": 1, "runtime": "sage", "publisher": name, "seq": 5,
                                     "sdk": "agentbridge-python/0.1.0"}, None)
    for t in (12.5, 2**64 - 1, "x", b"\x00", None, [1, {"a": []}], msgpack.Timestamp(1, 2)):
        peer.send("PING", {"t": t})
        assert peer.recv() == ("PONG", {"t": t, "seq": 5}, None)
    peer.send("REPLAY", {"publisher": name, "from": 2, "to": 4})
    assert peer.recv() == ("LOST", {"publisher": name, "from": 2, "to": 2}, None)
    for seq in (3, 4):
        command, headers, (user, event) = peer.recv()
        assert (command, headers, user, event["n"]) == ("EVENT", {"publisher": name, "seq": seq}, "alice", seq)
    peer.send("REPLAY", {"publisher": "another", "from": 1, "to": 7})
    assert peer.recv() == ("LOST", {"publisher": "another", "from": 1, "to": 7}, None)


def test_a_command_that_comes_while_another_is_sent_is_heard(meet):
    """Sending takes the news from ZeroMQ's descriptor, which then tells the loop nothing any more."""
    hosted, peer = meet(agentbridge.Runtime(**ONE))
    peer.send("HELLO", {"bridge": "b"})
    assert peer.recv()[0] == "HELLO"
    to_peer = Connection("ws_000000000001", "alice", b"peer")

    async def send_until_taken():
        link = hosted.rt._link
        peer.send("PING", {"t": 1})
        assert select.select([link._fd], [], [], scaled(10))[0], "the PING has not come"
        while select.select([link._fd], [], [], 0)[0]:
            link.try_send(b"peer", speech.close(to_peer, 1000, ""))

    hosted.spawn(send_until_taken()).result(scaled(20))
    while peer.recv()[0] != "PONG":
        pass


def malformed():
    """The vectors that are no command, and what is wrong in a way of its own."""
    refused = json.loads((ROOT / "proto" / "vectors" / "refused.json").read_text(encoding="utf-8"))
    vectors = [[bytes.fromhex(frame) for frame in case["frames"]] for case in refused if case["link"] == "to_runtime"]
    packed = [(b"MESSAGE", {"opcode": "smoke"}), (b"MESSAGE", {"seq": "1"}), (b"MESSAGE", {"seq": True}), (b"MESSAGE", {"ts": "x"}),
              (b"CONNECT", {"claims": []}), (b"CONNECT", {"remote": 7}), (b"DISCONNECT", {"code": 1.5}),
              (b"ABANDONED", {"runs": "all"}), (b"ABANDONED", {"runs": [1]}), (b"HELLO", {"bridge": b"x"}),
              (b"REPLAY", {"publisher": "p", "from": 0, "to": 1}), (b"REPLAY", {"publisher": "p", "from": 1, "to": 2**62})]
    nested = b"\x81\xa1t" + b"\x91" * 900 + b"\x90"
    own = [[name, b"ws_0", b"alice", msgpack.packb(headers), b""] for name, headers in packed]
    return vectors + own + [[b"PING", b"", b"", b"\x81\xa1t" + b"\xc1", b""], [b"PING", b"", b"", nested, b""],
                            [b"PING", b"", b"", b"\x81\x91\x01\x01", b""]]


def test_malformed_commands_are_counted_and_survived(meet, caplog):
    rt = agentbridge.Runtime(**ONE)
    seen = []
    for register in (rt.on_message, rt.on_connect, rt.on_disconnect, rt.on_abandoned):
        register(seen.append)
    _, peer = meet(rt)
    cases = [frames for frames in malformed() if frames]
    for frames in cases:
        peer.dealer.send_multipart(frames)
    peer.send("PING", {"t": 1})
    assert peer.recv()[0] == "PONG"
    wait_until(lambda: rt.stats.commands_received == 1)  # counted when it has been answered
    assert rt.stats.commands_malformed == len(cases) and seen == []
    assert caplog.text.count("malformed command dropped") == len(cases)


def test_a_bridge_that_does_not_read_holds_up_nobody(meet):
    """Its queue is small and full: send() waits, then raises; another bridge is served meanwhile."""
    hosted, deaf = meet(agentbridge.Runtime(**ONE, commands_hwm=1, send_timeout_s=0.5), b"deaf", rcvhwm=1, rcvbuf=4096)
    _, other = meet(hosted, b"other")
    deaf.send("HELLO", {"bridge": "deaf"})
    assert deaf.recv()[0] == "HELLO"
    to_deaf = Connection("ws_000000000001", "alice", b"deaf")

    async def fill():
        while True:
            await hosted.rt.send(to_deaf, {"type": "x", "ballast": "x" * 500_000})

    filling = hosted.spawn(fill())
    other.send("PING", {"t": 1})
    assert other.recv()[0] == "PONG"
    with pytest.raises(BridgeBusy, match="deaf"):
        filling.result(scaled(20))
    other.send("PING", {"t": 2})
    assert other.recv()[1]["t"] == 2
    deaf.send("PING", {"t": 3})
    wait_until(lambda: hosted.rt.stats.answers_unsent == 1, what="a PONG that found no room")


def test_replay_waits_for_a_bridge_that_reads_slowly(meet):
    hosted, peer = meet(agentbridge.Runtime(**ONE, commands_hwm=1), rcvhwm=1, rcvbuf=4096)
    for number in range(1, 61):
        hosted.rt.emit("alice", "n", n=number, ballast="x" * 100_000)
    for first in (1, 31):
        peer.send("REPLAY", {"publisher": hosted.rt.publisher, "from": first, "to": first + 29})
    wait_until(lambda: 0 < hosted.rt.stats.events_replayed, what="the first answer")
    assert [peer.recv()[1]["seq"] for _ in range(60)] == list(range(1, 61))
    wait_until(lambda: hosted.rt.stats.events_replayed == 60)


def test_questions_without_end_are_refused(meet):
    hosted, peer = meet(agentbridge.Runtime(**ONE, commands_hwm=1), rcvhwm=1, rcvbuf=4096)
    for _ in range(60):
        hosted.rt.emit("alice", "n", ballast="x" * 500_000)
    for _ in range(20):
        peer.send("REPLAY", {"publisher": hosted.rt.publisher, "from": 1, "to": 60})
    wait_until(lambda: hosted.rt.stats.commands_received + hosted.rt.stats.commands_malformed == 20)
    assert hosted.rt.stats.commands_malformed == 12


def test_a_bridge_that_comes_back_replaces_its_old_connection(meet):
    hosted, peer = meet(agentbridge.Runtime(**ONE))
    peer.send("HELLO", {"bridge": "b"})
    peer.send("CONNECT", {"claims": {"sub": "alice"}}, "ws_000000000001", "alice")
    peer.send("PING", {"t": 1})
    assert [peer.recv()[0], peer.recv()[0]] == ["HELLO", "PONG"] and len(hosted.rt.connections()) == 1
    _, again = meet(hosted)
    again.send("HELLO", {"bridge": "b"})
    assert again.recv()[0] == "HELLO"
    assert hosted.rt.connections() == [] and hosted.rt.bridges == ["b"]


def test_many_bridges_are_forgotten_in_order(meet, monkeypatch):
    monkeypatch.setattr("agentbridge.registry.MAX_BRIDGES", 2)
    hosted, first = meet(agentbridge.Runtime(**ONE), b"b0")
    peers = [first] + [meet(hosted, b"b%d" % number)[1] for number in (1, 2)]
    for number, peer in enumerate(peers):
        peer.send("HELLO", {"bridge": f"b{number}"})
        assert peer.recv()[0] == "HELLO"
        peer.send("CONNECT", {}, f"ws_00000000000{number}", "alice")
        peer.send("PING", {"t": 1})
        assert peer.recv()[0] == "PONG"
    assert hosted.rt.bridges == ["b1", "b2"]
    assert [one.id for one in hosted.rt.connections()] == ["ws_000000000001", "ws_000000000002"]


def test_what_waits_at_the_end_is_refused(meet):
    """At work, in the inbox and not yet read: of each message its client hears."""
    rt = agentbridge.Runtime(**ONE, max_handlers=1, inbox_messages=2)
    left = []

    async def handler(_message):
        try:
            await asyncio.sleep(60)
        finally:
            left.append(1)

    rt.on_message(handler)
    hosted, peer = meet(rt)
    for number in range(10):
        peer.send("MESSAGE", {"seq": number + 1, "ts": time.time(), "opcode": "text"}, "ws_000000000001", "alice",
                  json.dumps({"type": "x", "message_id": str(number)}).encode())
    wait_until(lambda: rt.stats.inbox_full == 1)
    hosted.stop(0)
    told = [peer.recv() for _ in range(9)]
    assert [command for command, _, _ in told] == ["SEND"] * 9 and left == [1]
    assert [body[1]["details"]["message_id"] for _, _, body in told] == [str(number) for number in range(1, 10)]
    assert {body[1]["error_code"] for _, _, body in told} == {"RUNTIME_UNAVAILABLE"} and rt.stats.messages_refused == 9


def test_a_handler_may_ask_for_the_end(meet):
    rt = agentbridge.Runtime(**{**ONE, "grace_s": 0.2})
    left = []

    async def handler(_message):
        try:
            await rt.stop()
        finally:
            left.append(1)

    rt.on_message(handler)
    hosted, peer = meet(rt)
    serving = hosted.spawn(rt.serve())
    peer.send("MESSAGE", {"seq": 1, "ts": time.time(), "opcode": "text"}, "ws_000000000001", "alice", b"{}")
    serving.result(scaled(10))
    wait_until(lambda: rt._state == "stopped")
    assert left == [1]


def test_from_any_thread_while_the_loop_works(meet):
    hosted, peer = meet(agentbridge.Runtime(**ONE))
    wait_until(lambda: (hosted.rt.emit("alice", "probe"), peer.sub.poll(20))[1], what="the subscription")
    first = hosted.rt.stats.events_published

    def work(name):
        with hosted.rt.run("alice", run_id=name) as run:
            for _ in range(200):
                run.thinking("x")

    threads = [threading.Thread(target=work, args=(f"r{number}",)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    seqs, by_run = [], {}
    while not seqs or seqs[-1] < first + 4 * 202:
        assert peer.sub.poll(scaled(10) * 1000)
        _, event, meta = peer.sub.recv_multipart()
        event = msgpack.unpackb(event)
        seqs.append(msgpack.unpackb(meta)["seq"])
        by_run.setdefault(event.get("run_id"), []).append(event["type"])
    assert seqs == list(range(seqs[0], seqs[0] + len(seqs)))
    del by_run[None]
    assert by_run == {f"r{number}": ["agent_started", *["agent_thinking"] * 200, "agent_completed"] for number in range(4)}


def keys():
    """(public, secret)."""
    return tuple(key.decode() for key in zmq.curve_keypair())


def test_curve_lets_in_who_is_known(meet):
    (mine, my_secret), (friend, friend_secret), (stranger, stranger_secret) = keys(), keys(), keys()
    hosted, known = meet(agentbridge.Runtime(**ONE, curve=Curve(mine, my_secret, clients=[friend])), b"friend",
                         curve_publickey=friend.encode(), curve_secretkey=friend_secret.encode(), curve_serverkey=mine.encode())
    known.send("HELLO", {"bridge": "friend"})
    assert known.recv()[0] == "HELLO"
    context = zmq.Context()
    try:
        monitored = context.socket(zmq.DEALER)
        monitor = monitored.get_monitor_socket(zmq.EVENT_HANDSHAKE_FAILED_AUTH | zmq.EVENT_HANDSHAKE_FAILED_NO_DETAIL)
        monitored.curve_publickey, monitored.curve_secretkey = stranger.encode(), stranger_secret.encode()
        monitored.curve_serverkey = mine.encode()
        monitored.connect(hosted.rt.commands_endpoints[0])
        assert monitor.poll(scaled(10) * 1000), "the stranger was not refused"
        monitored.disable_monitor()
    finally:
        context.destroy(linger=0)
    assert hosted.rt.bridges == ["friend"] and my_secret not in repr(Curve(mine, my_secret))


def test_curve_with_a_bridge(stack, host, tmp_path):
    (mine, my_secret), (bridges, bridge_secret) = keys(), keys()
    certificate = 'metadata\n    name = "x"\ncurve\n    public-key = "{}"\n'
    (tmp_path / "bridge").write_text(certificate.format(bridges) + f'    secret-key = "{bridge_secret}"\n')
    (tmp_path / "runtime").write_text(certificate.format(mine))
    hosted = host(agentbridge.Runtime, commands="@tcp://127.0.0.1:*", events="@tcp://127.0.0.1:*",
                  curve=Curve(mine, my_secret, clients=[bridges])).start()
    bridge = stack.bridge(None, **hosted.options, curve_secret_file=tmp_path / "bridge", curve_runtime_file=tmp_path / "runtime",
                          runtime_ping_s=1)
    bridge.wait_log("RUNTIME_HELLO")
    bridge.wait_ready()
    client = stack.connect("alice")
    hosted.rt.emit("alice", "sealed")
    client.recv_type("sealed")
