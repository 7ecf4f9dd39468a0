"""The runtime as a program of its own, for tests that kill it. Orders come as JSON lines on standard input; what happens
is told as JSON lines on standard output. Ends with its standard input. The third argument holds the options of the runtime
as a JSON object; with `sequenced` in it, it numbers its events."""
import base64
import json
import pathlib
import sys
import threading

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1]))
from harness.runtime import Runtime  # noqa: E402  pylint: disable=wrong-import-position
from harness.sequenced import SequencedRuntime  # noqa: E402  pylint: disable=wrong-import-position

LOCK = threading.Lock()


def tell(what):
    """One line out."""
    with LOCK:
        print(json.dumps(what), flush=True)


def tell_command(_, command):
    """A command as JSON."""
    fields = command._asdict()
    fields["body"] = base64.b64encode(command.body).decode()
    fields["identity"] = base64.b64encode(command.identity).decode()
    tell({"command": fields})


def verbs_of(runtime):
    """{order: what it does with its frames}."""
    verbs = {"publish": runtime.raw_publish, "route": runtime.raw_send}
    if isinstance(runtime, SequencedRuntime):
        verbs.update(emit=lambda frames: runtime.emit(*frames), drop=lambda frames: runtime.drop(*frames))
    return verbs


def main(commands, events, options):
    """Serve until standard input ends."""
    options = json.loads(options)
    kind = SequencedRuntime if options.pop("sequenced", False) else Runtime
    runtime = kind(commands, events, handler=tell_command,
                   on_subscription=lambda message: tell({"subscription": 1 if message[:1] == b"\1" else -1}), **options)
    runtime.start()
    verbs = verbs_of(runtime)
    tell({"ready": True})
    for line in sys.stdin:
        order = json.loads(line)
        verbs[order["what"]]([base64.b64decode(frame) for frame in order["frames"]])


if __name__ == "__main__":
    main(*sys.argv[1:])
