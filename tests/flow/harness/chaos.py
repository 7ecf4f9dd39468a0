"""What the chaos test adds to the harness: a runtime process whose events stand in a journal, and clients that note when
they were told of losses."""
import collections
import json
import pathlib
import time

from .resuming import ResumingClient
from .runtime_process import RuntimeProcess

Emitted = collections.namedtuple("Emitted", "publisher seq at user event")
Entry = collections.namedtuple("Entry", "at frame")  # monotonic seconds, as in the journal


class ChaosRuntime(RuntimeProcess):
    """Emits by itself as long as it lives. Each life is a publisher of its own, with a journal of its own."""

    script = pathlib.Path(__file__).with_name("chaos_main.py")

    def __init__(self, *endpoints, directory, **behaviour):
        super().__init__(*endpoints, **behaviour)
        self.directory = pathlib.Path(directory)
        self.killed = []  # publishers
        self._lives = 0

    @property
    def publisher(self):
        """The name of this life."""
        return self.behaviour["publisher"]

    def start(self, **changes):
        """Another life."""
        self._lives += 1
        name = f"life-{self._lives}"
        return super().start(publisher=name, journal=str(self.directory / f"{name}.journal"), **changes)

    def kill(self):
        """kill -9."""
        super().kill()
        self.killed.append(self.publisher)

    def burst(self, user):
        """Much at once for one user."""
        self._order("burst", [json.dumps(user).encode()])

    def finish_runs(self):
        """No more runs after those that are open."""
        self._order("finish", [])

    def mark_all(self, number):
        """One more event for every user."""
        self._order("mark", [json.dumps(number).encode()])

    def journal(self):
        """All that was emitted in all lives. A line that a kill has cut was not published."""
        lines = [line for path in self.directory.glob("*.journal") for line in path.read_text().split("\n")[:-1]]
        return [Emitted(*json.loads(line)) for line in lines]


class ChaosClient(ResumingClient):
    """`entries` is its log with times; of padding the length is kept."""

    def __init__(self, *args, **options):
        super().__init__(*args, **options)
        self.entries = []
        self.marked = 0  # number of the last mark
        self.told = 0    # how often it was told of losses

    def _take(self, frame):
        if "pad" in frame:
            frame["pad"] = len(frame["pad"])
        self.entries.append(Entry(time.monotonic(), frame))
        self.marked = frame["number"] if frame["type"] == "mark" else self.marked
        self.told += tells_of_loss(frame)
        super()._take(frame)


def tells_of_loss(frame):
    """Does this frame say that events may be missing?"""
    if frame["type"] == "connection_established":
        return not frame["data"]["recovered"]
    return frame["type"] == "resync"
