"""What is measured: one row each. A row's cases run in turn; ratios are to its first case, in the same repeat."""
import dataclasses

# Options of bench_load that say how long a row lasts (--scale), and how big it is (--short makes both smaller).
LENGTHS = ("events", "warm")
SIZES = ("users", "active", "absent", "backlog", "flood", "refusals")
SHORT = 1 / 50


@dataclasses.dataclass(frozen=True)
class Figure:
    """A member of bench_load's line, or of what the disturbance adds to it."""
    key: str
    title: str
    goal: str = ""
    factor: float = 1.0


@dataclasses.dataclass(frozen=True)
class Case:
    """One column: a server, its further options, the load's further options, and what goes on meanwhile."""
    name: str
    server: str
    options: tuple = ()
    load: dict = dataclasses.field(default_factory=dict)
    disturbance: str = ""


@dataclasses.dataclass(frozen=True)
class Row:
    """One measurement. `fixed`: its length is its size, so that --scale leaves it alone."""
    group: str
    name: str
    what: str
    scenario: str
    load: dict
    cases: tuple
    figures: tuple
    peers: bool = False
    fixed: bool = False
    load_program: str = ""  # beside this folder, in place of bench_load and its scenario

    def load_of(self, case, scale=1.0, short=False):
        """The load's options of a case, as {name: value}; True stands for a flag."""
        return {name: scaled(name, value, scale if not self.fixed else 1.0, short)
                for name, value in {**self.load, **case.load}.items()}

    def with_peers(self, peers):
        """The same row with a case for each of these servers that has a part in it."""
        more = tuple(Case(peer.name, peer.name) for peer in peers if self.name not in peer.without)
        return dataclasses.replace(self, cases=self.cases + more) if self.peers else self


def scaled(name, value, scale, short):
    """One option under --scale and --short."""
    if name in LENGTHS:
        value *= scale
    if short and name in LENGTHS + SIZES:
        value *= SHORT
    if short and name == "idle_s":
        value = 1
    return max(1, round(value)) if isinstance(value, float) else value


def servers(*names):
    """A case for each server, plain."""
    return tuple(Case(name, name) for name in names)


BOTH = servers("limit", "bridge")
BRIDGE = servers("bridge")


def growth(name, server="bridge", **load):
    """A case with another size."""
    return Case(name, server, load=load)


def while_(disturbance, *options, **load):
    """The bridge left alone, then the same under a disturbance."""
    return (Case("undisturbed", "bridge-two-runtimes", options),
            Case("disturbed", "bridge-two-runtimes", options, load, disturbance))


def variant(*options, disturbance="", **load):
    """The bridge as it is, then changed in one thing."""
    return (Case("bridge", "bridge"), Case("changed", "bridge", options, load, disturbance))


# --- loads and figures that rows share ---

# The load polls, so that no server pays for waking it up: which one would have to depends on who is faster.
EVENTS = {"users": 1000, "events": 300_000, "warm": 30_000, "spin": True}
THREE = {**EVENTS, "users": 300, "per_user": 3, "events": 100_000, "warm": 10_000}
STEADY = {"users": 1000, "events": 50_000, "warm": 10_000, "rate": 10_000, "spin": True}
SPARSE = {**EVENTS, "users": 10_000, "active": 100}
QUIET = {"users": 100, "events": 10_000, "warm": 1000, "rate": 1000}
BIG = {**EVENTS, "size": 16_384, "events": 40_000, "warm": 4000, "in_flight": 64}
MESSAGES = {"users": 1000, "events": 200_000, "warm": 20_000}
CLOSE = {"in_flight": 64, "events": 200_000, "warm": 20_000, "spin": True}
SETUPS = {"users": 10_000, "events": 10_000, "in_flight": 64}
STORM = {"users": 10_000, "events": 10_000, "in_flight": 10_000, "refusals": 100}


def per_delivery(goal=""):
    """CPU of an event that reaches a client."""
    return (Figure("cpu_us_per_delivery", "CPU µs per delivery", goal),)


FETCHED = ("--jwks-url", "http://127.0.0.1:{keys}/", "--jwks-retry-ms", "100", "--jwks-breaker-failures", "1000",
           "--jwks-min-age-s", "1", "--jwks-max-age-s", "1")
HELD = ("--history-events", "20000", "--history-bytes", "16777216", "--queue-bytes", "16777216")
FAIR = (Figure("latency_p99_us", "p99 µs", "≤ 2 × undisturbed"), Figure("latency_p999_us", "p99.9 µs"))
STORMED = (Figure("setup_p50_us", "set-up p50 ms", factor=1e-3), Figure("setup_p99_us", "set-up p99 ms", factor=1e-3),
           Figure("setup_max_us", "set-up max ms", factor=1e-3), Figure("cpu_us_per_setup", "CPU µs per set-up"),
           Figure("refused", "set-ups that failed", "< 1 %"))

MAIN = (
    Row("main", "deliver-1000x1", "events, 1,000 users × 1 connection", "events", EVENTS, BOTH,
        per_delivery("≤ 1.2 × limit, below NATS"), peers=True),
    Row("main", "deliver-meta", "the same, events numbered by their publisher", "events", {**EVENTS, "meta": True}, BOTH,
        per_delivery()),
    Row("main", "deliver-300x3", "events, 300 users × 3 connections", "events", THREE,
        servers("limit", "limit-join", "bridge"), per_delivery("≤ 0.85 × limit"), peers=True),
    Row("main", "latency-10k", "latency at 10,000 events/s, 1,000 users", "events", STEADY, BOTH,
        (Figure("latency_p50_us", "p50 µs", "≤ 1.15 × limit"), Figure("latency_p99_us", "p99 µs", "≤ 1.3 × limit")),
        peers=True),
    Row("main", "idle-10k", "memory of 10,000 idle connections", "idle", {"users": 10_000, "idle_s": 3}, BOTH,
        (Figure("kib_per_connection", "KiB per connection", "≤ 3 KiB"),), peers=True),
    Row("main", "setups", "10,000 connections set up, 64 in flight", "setups", SETUPS, BOTH,
        (Figure("cpu_us_per_setup", "CPU µs per set-up", "≤ 45 µs and ≤ 45/16 × limit"),), peers=True, fixed=True),
    Row("main", "messages", "messages of 1,000 clients to the runtime", "messages", MESSAGES, BOTH,
        (Figure("cpu_us_per_message", "CPU µs per message", "≤ 1.4 × limit"),), peers=True),
)

MORE = (
    Row("more", "sparse-10k", "10,000 connections, 1 % active", "events", SPARSE, BOTH, per_delivery()),
    Row("more", "size-1k", "events of 1 KB", "events", {**EVENTS, "size": 1024, "events": 200_000}, BOTH, per_delivery()),
    Row("more", "size-16k", "events of 16 KB, 64 in flight", "events", BIG, BOTH, per_delivery()),
    Row("more", "connect-storm", "10,000 clients connect at once", "setups", STORM, BOTH, STORMED, fixed=True),
    Row("more", "resume-storm", "5,000 clients resume at once, 10 missed events each", "resume",
        {"users": 5000, "in_flight": 5000}, BRIDGE,
        (Figure("seconds", "seconds"), Figure("setup_p99_us", "set-up p99 ms", factor=1e-3),
         Figure("cpu_us_per_resume", "CPU µs per resume")), fixed=True),
    Row("more", "drain-10k", "drain of 10,000 connections, all told 1012", "drain", {"users": 10_000}, BRIDGE,
        (Figure("seconds", "seconds"), Figure("cpu_us_per_connection", "CPU µs per connection")), fixed=True),
)

VARIANTS = (
    Row("variants", "msgpack", "changed: MessagePack output", "events", EVENTS, variant(subprotocol="agent_chat.msgpack"),
        per_delivery()),
    Row("variants", "no-history", "changed: no history", "events", EVENTS, variant("--history-events", "0"), per_delivery()),
    Row("variants", "scrape", "changed: /metrics scraped 20 times a second", "events", EVENTS, variant(disturbance="scrape"),
        per_delivery()),
)

GROWTH = (
    Row("growth", "growth-limit", "limit, 64 in flight, by connections: what the kernel's sockets cost", "events", CLOSE,
        tuple(growth(f"{n:,}", "limit", users=n) for n in (100, 1000, 10_000)), per_delivery()),
    Row("growth", "growth", "events, 64 in flight, by connections", "events", CLOSE,
        (growth("100", users=100), growth("1,000", users=1000), growth("10,000", users=10_000),
         growth("1,000 and 50,000 absent", users=1000, absent=50_000, patience_s=120)), per_delivery("flat within 20 %")),
)


def fair(name, what, cases):
    """A row of the group fairness."""
    return Row("fairness", name, what, "events", QUIET, cases, FAIR)


FAIRNESS = (
    fair("fair-flood", "one more user gets 100,000 events/s", while_("flood", flood=100_000)),
    fair("fair-setups", "5,000 connects/s", while_("setups")),
    fair("fair-scrape", "/metrics scraped 20 times a second", while_("scrape")),
    fair("fair-resume", "one user resumes 10,000 events over and over", while_("resume", *HELD)),
    fair("fair-reload", "keys reloaded by SIGHUP 5 times a second", while_("reload", "--log-level", "info")),
    fair("fair-jwks", "200 keys fetched from jwks-url each second", while_("keys", *FETCHED)),
)

EMITTING = (
    Row("emitting", "emit", "events that a runtime emits, numbered, in one go", "", {"events": 100_000},
        (Case("by hand", "by-hand"), Case("Python", "emit-python"), Case("Node", "emit-node")),
        (Figure("events_per_s", "events/s"), Figure("cpu_us_per_event", "CPU µs per event")), load_program="runtimes/measure.py"),
)

ROWS = MAIN + MORE + VARIANTS + GROWTH + FAIRNESS + EMITTING
