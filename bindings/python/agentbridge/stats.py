"""What Runtime.stats gives."""
from __future__ import annotations

import dataclasses


@dataclasses.dataclass(frozen=True)
class Stats:
    """What has happened since the start, and how things stand."""

    commands_received: int   # well-formed ones
    commands_malformed: int  # dropped, each with a line in the log
    messages_refused: int    # while stopping, or without an on_message handler; their clients were told RUNTIME_UNAVAILABLE
    messages_unreadable: int  # dropped because a handler let MessageError pass, each with a line in the log
    handlers_failed: int     # ended with an exception, each with a traceback in the log
    handlers_running: int
    inbox_messages: int      # waiting for a handler
    inbox_bytes: int
    inbox_full: int          # how often reading stopped because the inbox was full
    answers_unsent: int      # to a bridge that is gone or does not read
    events_published: int
    events_replayed: int     # sent again, for REPLAY
    events_lost: int         # asked for and no longer held
    replay_events: int       # held
    replay_bytes: int
    replay_evicted: int      # no longer held, asked for or not
    runs_open: int
    runs_abandoned: int      # cancelled because nobody reads them
