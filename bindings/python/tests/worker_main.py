"""A worker process for the tests: answers every message with its own name. Arguments: name, commands, events."""
import sys

import agentbridge

NAME, COMMANDS, EVENTS = sys.argv[1:]
rt = agentbridge.sync.Runtime(NAME, commands=COMMANDS, events=EVENTS)


@rt.on_message
def answer(message):
    """One run."""
    with rt.run(message.user) as run:
        run.complete(f"{NAME} {rt.publisher}")


rt.serve_forever()
