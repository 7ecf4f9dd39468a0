"""The runtime of the chaos test as a program of its own: users' runs without end, numbered, at some hundred events a second.
What it emits stands in its journal before it is published, so that the test knows the truth when it is killed. Orders come as
JSON lines on standard input: `burst`, `finish` (the runs) and `mark` (one more event for every user). Ends with its
standard input."""
import base64
import json
import os
import pathlib
import random
import sys
import threading
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1]))
import msgpack  # noqa: E402  pylint: disable=wrong-import-position
from harness.runtime_main import tell, tell_command  # noqa: E402  pylint: disable=wrong-import-position
from harness.sequenced import SequencedRuntime  # noqa: E402  pylint: disable=wrong-import-position

TICK = 0.005          # seconds
DROPPED = 0.02        # of all events are kept without being published
BURST = 100           # events
BURST_PAD = 60000     # bytes of each: all together more than the kernel holds for a client that does not read


class JournalingRuntime(SequencedRuntime):
    """Writes [publisher, seq, monotonic seconds, user, event] before the event goes anywhere. Every event names itself: in
    `publisher`, and in `seq` or, where deltas may merge, in a delta of its own."""

    def __init__(self, *endpoints, journal, **options):
        super().__init__(*endpoints, **options)
        self._journal = os.open(journal, os.O_WRONLY | os.O_CREAT | os.O_APPEND)

    def _number(self, user, event, publish):
        event = {**msgpack.unpackb(event), "publisher": self.publisher}
        name = self.seq + 1
        event.update({"delta": f"{name};"} if "delta" in event else {"seq": name})
        pad = event.get("pad", 0)
        line = json.dumps([self.publisher, name, time.monotonic(), user.decode(), event]) + "\n"
        os.write(self._journal, line.encode())
        super()._number(user, msgpack.packb({**event, **({"pad": "x" * pad} if pad else {})}), publish)


class Generator:
    """Runs of all users, mixed by chance."""

    def __init__(self, runtime, users, rate, seed):
        self._runtime = runtime
        self._chance = random.Random(f"{seed} {runtime.publisher}")
        self._users = users
        self._rate = rate
        self._started = 0
        self._open = {user: [] for user in users}  # iterators over what is left of each run
        self._lock = threading.Lock()
        self._finished = False

    def run(self):
        """Until the runs are finished; time in which the process was stopped is not made up for."""
        while not self._finished:
            time.sleep(TICK)
            with self._lock:
                for _ in range(0 if self._finished else round(self._rate * TICK)):
                    self._step()

    def finish(self):
        """End all runs, and begin no more."""
        with self._lock:
            self._finished = True
            for user, runs in self._open.items():
                for run in runs:
                    for event in run:
                        self._emit(user, event)

    def burst(self, user):
        """Much at once for one user: deltas, which may merge, or something else."""
        with self._lock:
            run = self._new_run(user)
            self._open[user].append(run)
            start = next(run)
            self._emit(user, start)
            what = self._chance.choice(({"type": "stream_chunk", "delta": ""}, {"type": "blob"}))
            for _ in range(BURST):
                self._emit(user, {**start, **what, "pad": BURST_PAD})

    def mark(self, number):
        """One event for each user that tells where everybody is."""
        with self._lock:
            for user in self._users:
                self._runtime.emit(user, {"type": "mark", "number": number, "user_id": user})

    def _step(self):
        user = self._chance.choice(self._users)
        runs = self._open[user]
        if len(runs) < 2 and self._chance.random() < 0.3:
            runs.append(self._new_run(user))
        if not runs:
            return
        run = self._chance.choice(runs)
        event = next(run, None)
        if event is None:
            runs.remove(run)
        else:
            self._emit(user, event)

    def _emit(self, user, event):
        dropped = self._chance.random() < DROPPED
        (self._runtime.drop if dropped else self._runtime.emit)(user, event)

    def _new_run(self, user):
        self._started += 1
        return self._course(user, f"{self._runtime.publisher}/{self._started}")

    def _course(self, user, run):
        """The five events of a run, with deltas between them."""
        def event(kind, **fields):
            return {"type": kind, "user_id": user, "run_id": run, **fields}
        yield event("agent_started", task_description="chaos")
        yield event("agent_thinking", delta="")
        for _ in range(self._chance.randrange(20)):
            yield event("stream_chunk", delta="")
        yield event("tool_executing", tool_name="wrench", execution_id=run)
        yield event("tool_completed", tool_name="wrench", execution_id=run, success=True)
        for _ in range(self._chance.randrange(20)):
            yield event("stream_chunk", delta="")
        if self._chance.random() < 0.1:
            yield event("agent_error", error_code="CHAOS", error_message="as it goes")
        else:
            yield event("agent_completed", status="completed")


def main(commands, events, options):
    """Serve until standard input ends."""
    options = json.loads(options)
    users, rate, seed = (options.pop(name) for name in ("users", "rate", "seed"))
    runtime = JournalingRuntime(commands, events, handler=tell_command,
                                on_subscription=lambda message: tell({"subscription": 1 if message[:1] == b"\1" else -1}),
                                **options)
    runtime.start()
    generator = Generator(runtime, users, rate, seed)
    threading.Thread(target=generator.run, daemon=True).start()
    tell({"ready": True})
    for line in sys.stdin:
        order = json.loads(line)
        getattr(generator, order["what"])(*(json.loads(base64.b64decode(frame)) for frame in order["frames"]))


if __name__ == "__main__":
    main(*sys.argv[1:])
