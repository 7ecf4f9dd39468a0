"""All faults at once, by chance. What the clients must have received all the same: harness/oracle.py.

CHAOS_SECONDS is how long faults happen, CHAOS_SEED repeats a run (as far as the machine lets it be repeated). That memory
returns is looked at where the load is the same each time: test_25_memory_returns.py."""
import collections
import heapq
import os
import random
import signal
import threading
import time

import pytest
from harness import DOWN, UP, wait_until
from harness.chaos import ChaosClient, ChaosRuntime
from harness.oracle import Oracle, Reading, Violation, story
from ports import free_port

RELEASE = os.environ.get("AGENTBRIDGE_BUILD", "release") == "release"
SECONDS = float(os.environ.get("CHAOS_SECONDS", "60" if RELEASE else "15"))
SEED = int(os.environ.get("CHAOS_SEED", random.SystemRandom().randrange(1 << 32)))
USERS = [f"user-{number}" for number in range(20)]
RATE = 600             # events a second
EVENTS_HWM = 50        # of PUB, for each bridge
OPTIONS = {"runtime_ping_s": 1, "runtime_lost_s": 2, "run_stall_s": 30, "history_ttl_s": 5, "history_bytes": 8 << 20,
           "queue_bytes": 1 << 18, "max_connections_per_user": 100}
CLOSES = {1006, 1013, 4008}  # lost; the runtime did not come in time; slow

# kind of fault: (its place, cards of it in a deck)
FATAL = {"bridge_killed": ("bridge", 1)}
DECK = {"runtime_killed": ("runtime", 1), "runtime_stopped": ("runtime", 2), "bridge_stopped": ("bridge", 2),
        "link_paused": (None, 4), "link_slow": (None, 4), "link_cut": (None, 3), "link_gone": (None, 2),
        "client_cut": (None, 8), "client_away": (None, 4), "client_deaf": (None, 6), "burst": ("runtime", 2)}


class World:
    """One runtime, one bridge at a time, and the clients: what faults happen to."""

    def __init__(self, stack, directory, chance):
        self.stack = stack
        self.runtime = stack.runtime_process("tcp", ChaosRuntime, directory=directory, users=USERS, rate=RATE,
                                             seed=chance.random(), events_hwm=EVENTS_HWM, keep=3000)
        self.wire = stack.wire(self.runtime)
        self.ports = {"listen": f"127.0.0.1:{free_port()}", "admin_listen": f"127.0.0.1:{free_port()}"}
        self.bridges = []
        self.start_bridge()
        forms = ("agent_chat", "agent_chat.msgpack")
        self.clients = [stack.resuming(user, kind=ChaosClient, subprotocol=form) for user in USERS for form in forms]

    @property
    def bridge(self):
        """The one that lives."""
        return self.bridges[-1]

    def start_bridge(self):
        """Another one on the same ports."""
        self.bridges.append(self.stack.bridge(**self.ports, **self.wire.options, **OPTIONS))

    def kill_bridge(self):
        """kill -9."""
        assert self.bridge.process.poll() is None, f"the bridge has died by itself; {self.bridge.tail()}"
        self.bridge.kill()

    def stop_bridge(self):
        """SIGSTOP."""
        self.bridge.signal(signal.SIGSTOP)

    def continue_bridge(self):
        """SIGCONT."""
        self.bridge.signal(signal.SIGCONT)


class Faults:
    """Deals faults from a shuffled deck, each of which ends some time later. Two at the same place do not meet."""

    def __init__(self, world, chance):
        self._world = world
        self._chance = chance
        self._began = time.monotonic()
        self._due = []        # heap of (when, number, text, place, what ends it)
        self._busy = set()    # places
        self._number = 0
        self._clock = threading.Event()
        self.log = []

    # the kinds: each returns (text, place, seconds, what ends it)

    def runtime_killed(self):
        """Its successor has another name, and nothing of what this one kept."""
        self._world.runtime.kill()
        return "runtime killed", "runtime", self._chance.choice((0, 0.5, 3)), self._world.runtime.start

    def runtime_stopped(self):
        """SIGSTOP."""
        self._world.runtime.pause()
        return "runtime stopped", "runtime", self._chance.uniform(0, 1), self._world.runtime.resume

    def bridge_killed(self):
        """Its successor has the same ports, and knows nothing."""
        self._world.kill_bridge()
        return "bridge killed", "bridge", self._chance.uniform(0, 1), self._world.start_bridge

    def bridge_stopped(self):
        """SIGSTOP."""
        self._world.stop_bridge()
        return "bridge stopped", "bridge", self._chance.uniform(0, 1), self._world.continue_bridge

    def link_paused(self):
        """Nothing is forwarded."""
        name, proxy = self._link()
        ways = self._chance.choice(((UP,), (DOWN,), (UP, DOWN)))
        proxy.pause(*ways)
        return f"{name} paused {' and '.join(ways)}", name, self._chance.uniform(0, 1.5), proxy.resume

    def link_slow(self):
        """Every byte takes some time."""
        name, proxy = self._link()
        seconds = self._chance.uniform(0.01, 0.3)
        proxy.delay(seconds)
        return f"{name} slow by {seconds:.2f} s", name, self._chance.uniform(0, 3), lambda: proxy.delay(0)

    def link_cut(self):
        """RST."""
        name, proxy = self._link()
        proxy.reset()
        return f"{name} cut", None, 0, None

    def link_gone(self):
        """RST, and nobody listens."""
        name, proxy = self._link()
        proxy.refuse()
        proxy.reset()
        return f"{name} gone", name, self._chance.choice((0.1, 1, 3)), proxy.accept

    def client_cut(self):
        """It is back at once."""
        number, client = self._client()
        client.cut()
        return f"client {number} cut", None, 0, None

    def client_away(self):
        """For so long that history may have expired."""
        number, client = self._client()
        client.leave()
        return f"client {number} away", f"client {number}", self._chance.choice((0.5, 2, 7)), client.come_back

    def client_deaf(self):
        """It reads nothing, perhaps while much comes for it."""
        number, client = self._client()
        client.stop_reading()
        burst = self._chance.random() < 0.5 and "runtime" not in self._busy
        if burst:
            self._world.runtime.burst(client.user)
        return (f"client {number} deaf" + (" under a burst" if burst else ""), f"client {number}",
                self._chance.uniform(0, 3), client.read_on)

    def burst(self):
        """More than PUB holds."""
        user = self._chance.choice(USERS)
        self._world.runtime.burst(user)
        return f"burst for {user}", None, 0, None

    def _link(self):
        name = self._chance.choice([name for name in ("commands", "events") if name not in self._busy])
        return name, getattr(self._world.wire, name)

    def _client(self):
        free = [number for number in range(len(self._world.clients)) if f"client {number}" not in self._busy]
        number = self._chance.choice(free)
        return number, self._world.clients[number]

    # time

    def run(self, seconds, deck):
        """Faults of this deck for so long, and each kind once. Some may still last then."""
        end = time.monotonic() + seconds
        cards, missing = [], set(deck)
        following = time.monotonic()
        while time.monotonic() < end or missing:
            self._end_due()
            if time.monotonic() >= following:
                cards = cards or self._shuffled(deck)
                missing.discard(self._begin(cards))
                following = time.monotonic() + self._chance.uniform(0.02, 0.3)
            self._clock.wait(0.01)

    def end_all(self):
        """Everything works again."""
        while self._due:
            self._end_next()

    def _shuffled(self, deck):
        cards = [(name, place) for name, (place, count) in deck.items() for _ in range(count)]
        self._chance.shuffle(cards)
        return cards

    def _begin(self, cards):
        """What the first card says whose place is free; its kind, None when there is none."""
        links = {"commands", "events"} <= self._busy
        for card in cards:
            name, place = card
            if place not in self._busy and not (links and name.startswith("link")):
                cards.remove(card)
                self._happen(getattr(self, name))
                return name
        return None

    def _happen(self, kind):
        text, place, seconds, ends = kind()
        self._note(text)
        if ends:
            self._number += 1
            self._busy.add(place)
            heapq.heappush(self._due, (time.monotonic() + seconds, self._number, text, place, ends))

    def _end_due(self):
        while self._due and self._due[0][0] <= time.monotonic():
            self._end_next()

    def _end_next(self):
        _, _, text, place, ends = heapq.heappop(self._due)
        ends()
        self._busy.discard(place)
        self._note(f"    no longer {text}")

    def _note(self, text):
        self.log.append(f"{time.time():.3f} {time.monotonic():.3f} {time.monotonic() - self._began:7.3f} {text}")


def quiet(world):
    """Every client has got the last events of all, and every run that it followed has ended."""
    world.bridge.wait_ready()
    for client in world.clients:
        client.wait(lambda one=client: one.is_there, "a connection")
    world.runtime.finish_runs()
    told = [None]
    number = 0

    def marked():
        nonlocal number
        if told != [client.told for client in world.clients]:  # what was lost may have been a mark
            told[:] = [client.told for client in world.clients]
            number += 1
            world.runtime.mark_all(number)
        return all(client.marked == number for client in world.clients)
    try:
        wait_until(marked, 60, poll=0.1)
    except AssertionError:
        client = next(client for client in world.clients if client.marked != number)
        raise Violation(client, len(client.entries), f"the mark {number} has not come") from None
    oracle = Oracle(world.runtime.journal(), world.runtime.killed)

    def has_open(client):
        return Reading(oracle, client).open_runs()
    try:
        wait_until(lambda: not any(map(has_open, world.clients)), 20, poll=0.5)
    except AssertionError:
        client = next(filter(has_open, world.clients))
        runs = has_open(client)
        raise Violation(client, len(client.entries), f"the runs {runs} have not ended", runs[0]) from None


def check_bridges(world):
    """No bridge has had to do what must never be done; the last one's numbers fit what is there."""
    for bridge in world.bridges:
        assert not bridge.logs("ISOLATION_VIOLATION") and not bridge.logs("STATE_ILLEGAL")
    for name in ("isolation_violations_total", "state_transition_errors_total"):
        assert world.bridge.metric(name) == 0
    codes = {code for client in world.clients for code, _ in client.closes}
    assert codes <= CLOSES, codes
    world.bridge.wait_total("connections", len(world.clients))
    world.bridge.wait_metric("users", len(USERS))
    world.bridge.wait_metric("outbound_queue_bytes", 0)


def check_empty(world):
    """Everybody leaves, and the bridge forgets."""
    for client in world.clients:
        client.stop()
    for name in ("connections", "users", "outbound_queue_bytes", "history_events", "history_bytes"):
        world.bridge.wait_total(name, 0, timeout=20)


def links_log(world):
    """What the bridges have said of links and publishers, by wall clock."""
    ids = ("LISTENING", "LINK_UP", "LINK_DOWN", "RUNTIME_HELLO", "PUBLISHER_NEW", "EVENT_GAP", "GAP_CLOSED", "EVENTS_LOST",
           "EVENTS_UNSURE", "EVENT_DROPPED", "RUN_LOST")
    return [str(line) for bridge in world.bridges for line in bridge.lines if line.get("id") in ids]


def report(world, faults, wrong):
    """All that is needed to understand what went wrong."""
    log = story(wrong, world.runtime.journal()) if isinstance(wrong, Violation) else []
    return "\n".join([repr(wrong), f"CHAOS_SEED={SEED} CHAOS_SECONDS={SECONDS:g}", *faults.log, *links_log(world), *log])


@pytest.mark.long
def test_chaos(stack, tmp_path):
    """Every kind of fault, the death of bridges in the first two thirds; then quiet, and nobody left."""
    print(f"CHAOS_SEED={SEED} CHAOS_SECONDS={SECONDS:g}")
    chance = random.Random(SEED)
    world = World(stack, tmp_path, chance)
    faults = Faults(world, chance)
    try:
        faults.run(SECONDS * 2 / 3, {**DECK, **FATAL})
        faults.run(SECONDS / 3, DECK)
        faults.end_all()
        quiet(world)
        oracle = Oracle(world.runtime.journal(), world.runtime.killed)
        missed = oracle.check(world.clients)
        check_bridges(world)
        check_empty(world)
    except Exception as wrong:
        raise AssertionError(report(world, faults, wrong)) from wrong
    closes = collections.Counter(code for client in world.clients for code, _ in client.closes)
    print(f"{len(faults.log)} turns, {len(world.bridges)} bridges, {len(oracle.emitted)} events emitted, {missed} missed by "
          f"{len(world.clients)} clients, who were told so; {dict(closes)}")
