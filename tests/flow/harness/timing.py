"""Deadlines, all under one scale."""
import os
import time

SCALE = float(os.environ.get("FLOW_TIME_SCALE", "1"))


def scaled(seconds):
    """A deadline as this machine and build need it."""
    return seconds * SCALE


def wait_until(check, timeout=10.0, what="condition", poll=0.02):
    """Call `check` until it returns something true, which is returned; AssertionError when the time is over."""
    deadline = time.monotonic() + scaled(timeout)
    while True:
        value = check()
        if value:
            return value
        if time.monotonic() > deadline:
            raise AssertionError(f"not within {scaled(timeout):g} s: {what}")
        time.sleep(poll)
