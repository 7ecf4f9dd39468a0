"""What goes on while a row is measured. A disturbance must be on for the whole of it, and at its rate."""
import http.client
import http.server
import json
import re
import signal
import threading
import time

from . import processes

ENOUGH = 0.9  # of the rate


def scrape(ports):
    """The text of /metrics."""
    connection = http.client.HTTPConnection("127.0.0.1", ports.admin, timeout=10)
    try:
        connection.request("GET", "/metrics")
        return connection.getresponse().read().decode()
    finally:
        connection.close()


def metric(ports, pattern):
    """The sum of the samples whose name and labels match."""
    lines = scrape(ports).splitlines()
    return sum(float(line.rsplit(" ", 1)[1]) for line in lines if re.match(pattern, line))


class Disturbance:
    """Does nothing. `rate`: how much a second is due; 0: as much as it takes."""
    rate = 0

    def __init__(self, run):
        self.run = run
        self.since = self.before = 0

    def begin(self):
        """Start, and return when it is on."""

    def count(self):
        """How much there has been."""
        return 0

    def end(self):
        """Stop it."""

    def __enter__(self):
        try:
            self.begin()
        except BaseException:
            self.end()
            raise
        self.since, self.before = time.monotonic(), self.count()
        return self

    def __exit__(self, *_):
        self.end()

    def share(self, _figures):
        """Which part of its rate it has reached by now; None: it has none."""
        done, due = self.count() - self.before, self.rate * (time.monotonic() - self.since)
        return done / due if due else None


class Flood(Disturbance):
    """The load itself plays it (--flood)."""

    def share(self, figures):
        return figures["flooded_events"] / (self.run.load["flood"] * figures["seconds"])


class Repeated(Disturbance):
    """An act so many times a second."""

    def __init__(self, run):
        super().__init__(run)
        self.done = 0
        self.over = threading.Event()
        self.thread = threading.Thread(target=self._repeat, daemon=True)

    def act(self):
        """The act."""
        raise NotImplementedError

    def begin(self):
        self.act()
        self.thread.start()

    def end(self):
        self.over.set()
        if self.thread.is_alive():
            self.thread.join(15)

    def count(self):
        return self.done

    def _repeat(self):
        due = time.monotonic()
        while not self.over.wait(max(0.0, due - time.monotonic())):
            due += 1 / self.rate
            try:
                self.act()
            except OSError:
                return  # what is missing in the count tells
            self.done += 1


class Scrape(Repeated):
    """GET /metrics."""
    rate = 20

    def act(self):
        scrape(self.run.ports)


class Reload(Repeated):
    """SIGHUP; counted by what the bridge says of it."""
    rate = 5

    def act(self):
        self.run.server.process.send_signal(signal.SIGHUP)

    def count(self):
        return self.run.log("server").read_text("utf-8", "replace").count('"RELOADED"')


class KeySet(Disturbance):
    """A server at jwks-url whose set is fresh for the shortest time that the bridge allows; counted by its metric."""
    rate = 1

    def __init__(self, run):
        super().__init__(run)
        self.server = None

    def begin(self):
        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", self.run.ports.keys), Keys)
        threading.Thread(target=self.server.serve_forever, daemon=True).start()
        processes.wait_until(lambda: self.count() > 0, self.run.server, 30, "keys are fetched")

    def count(self):
        return metric(self.run.ports, r'agentbridge_jwks_refreshes_total\{result="ok"\}')

    def end(self):
        if self.server:
            self.server.shutdown()
            self.server.server_close()


# RFC 7517 appendix A.1
MODULUS = ("0vx7agoebGcQSuuPiLJXZptN9nndrQmbXEps2aiAFbWhM78LhWx4cbbfAAtVT86zwu1RK7aPFFxuhDR1L6tSoc_BJECPebWKRXjBZCiFV4n3oknjhMst"
           "n64tZ_2W-5JsGY4Hc5n9yBXArwl93lqt7_RN5w6Cf0h4QyQ5v-65YGjQR0_FDW2QvzqY368QQMicAtaSqzs8KJZgnYb9c7d0zgdAZHzu6qMQvRL5hajrn1n9"
           "1CbOpbISD08qNLyrdkt-bFTWhAI4vMQFh6WeZu0fM4lFd2NcRwr3XPksINHaQ-G_xBniIqbw0Ls1jF44-csFCur-kEgU8awapJzKnqDKgw")
KEY_SET = json.dumps({"keys": [{"kty": "RSA", "n": MODULUS, "e": "AQAB", "kid": str(number)} for number in range(200)]})


class Keys(http.server.BaseHTTPRequestHandler):
    """200 keys of 2,048 bits: one under as many names."""

    def do_GET(self):  # pylint: disable=invalid-name
        """The set."""
        self.send_response(200)
        self.end_headers()
        self.wfile.write(KEY_SET.encode())

    def log_message(self, format, *args):  # pylint: disable=redefined-builtin
        """Says nothing."""


class SecondLoad(Disturbance):
    """Another bench_load with users and a runtime of its own; counted by the bridge's metric."""
    arguments = ()
    counted = ""

    def __init__(self, run):
        super().__init__(run)
        self.process = None

    def begin(self):
        arguments = [*self.arguments, *self.run.entry.second_load_arguments(self.run.ports), "--first-user", "500000"]
        self.process = self.run.start("second", [self.run.bench_load, *arguments], self.run.cpus.rest, nice=10)
        try:
            processes.wait_until(lambda: self.count() > 0, self.process, 30, "the second load is under way")
        except processes.Failed as error:
            raise processes.Failed(f"{error}: {processes.last_line(self.run.log('second'))}") from None

    def count(self):
        return metric(self.run.ports, self.counted)

    def end(self):
        if self.process:
            self.process.stop()

    def share(self, figures):
        if not self.process.is_alive():
            raise processes.Failed("the second load ended early: " + processes.last_line(self.run.log("second")))
        return super().share(figures)


class Setups(SecondLoad):
    """5,000 connects a second, each closed again; more than any row lasts for."""
    rate = 5000
    arguments = ("setups", "--users", "500", "--events", "1000000", "--rate", "5000")
    counted = r'agentbridge_handshakes_total\{result="ok"\}'


class Resume(SecondLoad):
    """One user comes back for the same 10,000 events, over and over."""
    arguments = ("resume", "--users", "1", "--backlog", "10000", "--rounds", "1000000")
    counted = r"agentbridge_replayed_events_total\b"


KINDS = {"": Disturbance, "flood": Flood, "scrape": Scrape, "reload": Reload, "keys": KeySet, "setups": Setups,
         "resume": Resume}
