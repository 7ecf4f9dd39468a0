"""What a client must have received, when everything is quiet again.

The truth is the journal: each event was written there before it was published. For every client:

- Each event that it got was emitted, for its user, just so. Numbers of a publisher rise: no repeat, no wrong order. Offsets
  rise within an epoch, and mean the same event to both connections of a user. `recovered` goes on exactly where asked.
- An event of its user that it did not get is excused only by
    connection_established with recovered:false, between the neighbours (same publisher) that it did get, after the event was
      emitted;
    resync before the next one that it did get, after the event was emitted: a client that fetches its state then has it;
    the death of its publisher, behind the last number that any client got: nobody can know of that tail;
    for the end of a run: the bridge has ended the run (RUNTIME_LOST), and one end is all there may be. Whoever was told of a
      loss since the run began may not have seen that either.
- Of a run whose start it saw it gets exactly one end, unless it was told of a loss in between.

Time is the monotonic clock, which all processes share; a client notes a frame after the bridge has written it, so what was
lost before the frame was emitted before it was noted."""
import collections
import itertools

from .chaos import tells_of_loss
from .resuming import NOTICES

Telling = collections.namedtuple("Telling", "index at resync")
ENDS = ("agent_completed", "agent_error")
NEVER = float("inf")


class Violation(AssertionError):
    """A promise that was not kept to `client`, at `index` of its log; about `run` when it is one run's."""

    def __init__(self, client, index, text, run=None):
        super().__init__(f"{client.user}: {text}")
        self.client = client
        self.index = index
        self.run = run


def names_of(frame):
    """The (publisher, seq) of an event: several when deltas have merged."""
    seqs = [frame["seq"]] if "seq" in frame else [int(seq) for seq in frame["delta"].split(";")[:-1]]
    return [(frame["publisher"], seq) for seq in seqs]


def is_end(frame):
    """Does it end a run?"""
    return frame["type"] in ENDS


class Reading:
    """One client's log, walked once from its beginning."""

    def __init__(self, oracle, client):
        self.oracle = oracle
        self.client = client
        self.index = 0
        self.tellings = []
        self.places = {}                 # (publisher, seq): index
        self.synthetic_ends = set()      # run ids
        self.runs = {}                   # run id: has ended; those whose course it has followed from the start
        self.ended = set()               # runs whose end it has seen since it was told last
        self._last = collections.Counter()  # publisher: seq
        self._epoch = None
        self._offset = 0
        for self.index, entry in enumerate(list(client.entries)):
            self._read(entry.at, entry.frame)

    def fail(self, text, index=None):
        """It is an error."""
        raise Violation(self.client, self.index if index is None else index, text)

    def _check(self, good, text):
        if not good:
            self.fail(text)

    def _read(self, at, frame):
        if frame["type"] in ("connection_established", "resync"):
            self._read_resume(at, frame)
        elif frame["type"] not in NOTICES:
            self._check(frame.get("user_id") == self.client.user, f"an event of another user: {frame}")
            self._check(frame["_offset"] > self._offset, f"offset {frame['_offset']} after {self._offset}")
            self._offset = frame["_offset"]
            if "_synthetic" in frame:
                self._read_synthetic(frame)
            else:
                self._read_event(frame)
            self._read_run(frame)

    def _read_resume(self, at, frame):
        resume = frame["data"]["resume"]
        if tells_of_loss(frame):
            self.tellings.append(Telling(self.index, at, frame["type"] == "resync"))
            self.runs.clear()
            self.ended.clear()
        else:
            self._check(resume == {"epoch": self._epoch, "offset": self._offset}, f"recovered, but from {resume}")
        self._epoch, self._offset = resume["epoch"], resume["offset"]

    def _read_synthetic(self, frame):
        self._check(self.oracle.users_of_runs.get(frame["run_id"]) == self.client.user, "a run of another user")
        self._check(frame["type"] == "run_stalled" or frame.get("error_code") == "RUNTIME_LOST", "the bridge made this up")
        if is_end(frame):
            self.synthetic_ends.add(frame["run_id"])

    def _read_event(self, frame):
        names = names_of(frame)
        for publisher, seq in names:
            emitted = self.oracle.emitted.get((publisher, seq))
            self._check(emitted, f"{publisher} {seq} was never emitted")
            self._check(emitted.user == self.client.user, f"{publisher} {seq} is an event of {emitted.user}")
            self._check(seq > self._last[publisher], f"{publisher} {seq} after {self._last[publisher]}")
            self._last[publisher] = seq
            self.places[publisher, seq] = self.index
        self._check(self._as_emitted(names) == {key: value for key, value in frame.items() if key != "_offset"},
                    "not the event that was emitted")
        place = (self.client.user, self._epoch, frame["_offset"])
        self._check(self.oracle.offsets.setdefault(place, names[-1]) == names[-1],
                    f"this offset is {self.oracle.offsets[place]} on another connection")

    def _as_emitted(self, names):
        """The last of them, with all their deltas."""
        events = [self.oracle.emitted[name].event for name in names]
        deltas = {"delta": "".join(event["delta"] for event in events)} if "delta" in events[0] else {}
        return {**events[-1], **deltas}

    def _read_run(self, frame):
        run = frame.get("run_id")
        if frame["type"] == "agent_started":
            self.runs[run] = False
        elif is_end(frame):
            self._check(run not in self.ended, f"the run {run} ends again")
            self.ended.add(run)
            if run in self.runs:
                self.runs[run] = True

    def open_runs(self):
        """Runs that should have ended, when everything is quiet."""
        return [run for run, ended in self.runs.items() if not ended]


class Oracle:
    """Compares journals with the logs of clients. `killed`: publishers that did not live to the end."""

    def __init__(self, journal, killed):
        self.emitted = {(one.publisher, one.seq): one for one in journal}
        self.killed = set(killed)
        self.users_of_runs = {}
        self.starts = {}    # run: when
        self.offsets = {}   # (user, epoch, offset): (publisher, seq)
        self._of_user = collections.defaultdict(list)
        for one in sorted(journal, key=lambda one: one[:2]):
            self._of_user[one.user, one.publisher].append(one)
            if one.event["type"] == "agent_started":
                self.users_of_runs[one.event["run_id"]] = one.user
                self.starts[one.event["run_id"]] = one.at

    def check(self, clients):
        """Raise Violation for the first promise that was not kept; how many events were missed, with notice."""
        readings = [Reading(self, client) for client in clients]
        heard = collections.Counter()  # publisher: the last number that any client got
        for publisher, seq in itertools.chain.from_iterable(reading.places for reading in readings):
            heard[publisher] = max(heard[publisher], seq)
        ended = {run for reading in readings for run in reading.synthetic_ends}
        missed = 0
        for reading in readings:
            missed += sum(self._check_missing(reading, emitted, heard, ended)
                          for (user, _), emitted in self._of_user.items() if user == reading.client.user)
            if reading.open_runs():
                reading.fail(f"the runs {reading.open_runs()} have not ended", len(reading.client.entries))
        return missed

    def _check_missing(self, reading, emitted, heard, ended):
        """The events of one publisher for one client; how many are missing."""
        before, waiting, missed = -1, [], 0
        for one in emitted:
            place = reading.places.get((one.publisher, one.seq))
            if place is None:
                waiting.append(one)
                continue
            self._excuse(reading, waiting, (before, place), heard, ended)
            before, missed, waiting = place, missed + len(waiting), []
        self._excuse(reading, waiting, (before, NEVER), heard, ended)
        return missed + len(waiting)

    def _excuse(self, reading, waiting, neighbours, heard, ended):
        for one in waiting:
            unknown = one.publisher in self.killed and one.seq > heard[one.publisher]
            if not (unknown or self._was_told(reading, one, *neighbours) or self._is_second_end(reading, one, ended)):
                index = min(neighbours[1], len(reading.client.entries))
                reading.fail(f"{one} is missing between {neighbours}, and nobody said so", index)

    def _was_told(self, reading, one, before, after):
        return any(telling.at >= one.at and telling.index < after and (telling.resync or telling.index > before)
                   for telling in reading.tellings)

    def _is_second_end(self, reading, one, ended):
        if not is_end(one.event):
            return False
        run = one.event["run_id"]
        return run in ended or any(telling.at >= self.starts[run] for telling in reading.tellings)


def story(violation, journal, around=25):
    """The client's log where it went wrong, for messages; all of the run, and how it was emitted, when it is about one."""
    def lines(numbers):
        return [f"{number:6} {entries[number].at:.3f} {entries[number].frame}" for number in numbers]
    entries = violation.client.entries
    if not violation.run:
        return lines(range(max(0, violation.index - around), min(len(entries), violation.index + around)))
    told = [number for number, entry in enumerate(entries) if entry.frame["type"] in ("connection_established", "resync")
            or entry.frame.get("run_id") == violation.run]
    return lines(told) + [str(one) for one in journal if one.event.get("run_id") == violation.run]
