"""A runtime whose publisher numbers its events, keeps them for a while and answers REPLAY. Each part can be left out, and
a test may answer by hand instead."""
import collections
import itertools

from .runtime import Runtime, _bytes, _packed

MOST = 1000  # events that one REPLAY may ask for

Question = collections.namedtuple("Question", "publisher first last")


def question_of(command):
    """What a REPLAY command asks for."""
    headers = command.headers
    return Question(headers["publisher"], headers["from"], headers["to"])


class SequencedRuntime(Runtime):
    """`emit` numbers; `drop` numbers and keeps without publishing, as if ZeroMQ had dropped the event. Numbers are given
    in the runtime's thread, so that `seq` in PONG never tells of an event that has not been published."""

    def __init__(self, *endpoints, keep=50000, hello_seq=True, pong_seq=True, answer_replay=True, **options):
        super().__init__(*endpoints, **options)
        self.hello_seq = hello_seq
        self.pong_seq = pong_seq
        self.answer_replay = answer_replay
        self.seq = 0           # of the last event
        self._keep = keep      # events at most
        self._kept = {}        # seq: (user, event)

    # what a test does

    def emit(self, user, event, meta=None):
        """Publish one event under the next number; with `meta` it goes as it is and takes none."""
        if meta is not None:
            super().emit(user, event, meta)
        else:
            self._order("number", (_bytes(user), _packed(event), True))

    def drop(self, user, event):
        """One event that takes a number and is kept, but never published."""
        self._order("number", (_bytes(user), _packed(event), False))

    def forget(self, first, last):
        """Hold these no longer."""
        self._order("forget", (first, last))

    def answer(self, first, last, publisher=None):
        """The whole answer to a question: EVENT for what is kept, LOST for the rest, in ascending order."""
        self._order("answer", (self.identity(), publisher or self.publisher, first, last))

    def send_event(self, user, event, seq, publisher=None):
        """One EVENT made by hand."""
        self.send("EVENT", "", user, {"publisher": publisher or self.publisher, "seq": seq}, event)

    def send_lost(self, first, last, publisher=None):
        """One LOST made by hand."""
        self.send("LOST", headers={"publisher": publisher or self.publisher, "from": first, "to": last})

    # what the bridge has asked

    def questions(self):
        """All REPLAYs so far."""
        return [question_of(command) for command in self.commands("REPLAY")]

    def wait_questions(self, count, timeout=10):
        """At least so many REPLAYs; all that there are."""
        return [question_of(command) for command in self.wait_commands("REPLAY", count, timeout)]

    # thread

    def _hello(self):
        return {**super()._hello(), **({"seq": self.seq} if self.hello_seq else {})}

    def _pong(self, command):
        return {**super()._pong(command), **({"seq": self.seq} if self.pong_seq else {})}

    def _react(self, command):
        super()._react(command)
        if command.command != "REPLAY":
            return
        question = question_of(command)
        assert 1 <= question.first <= question.last < question.first + MOST, question
        if self.answer_replay:
            self._answer(command.identity, *question)

    def _obey(self, what, frames):
        if what == "number":
            self._number(*frames)
        elif what == "forget":
            for seq in range(frames[0], frames[1] + 1):
                self._kept.pop(seq, None)
        elif what == "answer":
            self._answer(*frames)
        else:
            return super()._obey(what, frames)
        return True

    def _number(self, user, event, publish):
        self.seq += 1
        self._kept[self.seq] = (user, event)
        if len(self._kept) > self._keep:
            del self._kept[next(iter(self._kept))]
        if publish:
            self._events.send_multipart([user, event, _packed({"publisher": self.publisher, "seq": self.seq})])

    def _answer(self, identity, publisher, first, last):
        kept = self._kept if publisher == self.publisher else {}
        for held, group in itertools.groupby(range(first, last + 1), kept.__contains__):
            seqs = list(group)
            if not held:
                self._route(identity, "LOST", {"publisher": publisher, "from": seqs[0], "to": seqs[-1]})
                continue
            for seq in seqs:
                user, event = kept[seq]
                self._route(identity, "EVENT", {"publisher": publisher, "seq": seq}, user, event)
