"""Fixtures of the flow tests: real bridge, real ZeroMQ runtime, real WebSocket clients."""
import sys

import pytest

sys.dont_write_bytecode = True

from harness import Keys, Stack  # noqa: E402  pylint: disable=wrong-import-position


@pytest.fixture(scope="session", name="keys")
def keys_fixture():
    """Signing keys of every family."""
    return Keys()


@pytest.fixture(name="stack")
def stack_fixture(keys):
    """Maker of runtimes, bridges and clients; checks at the end that every bridge lived and left with 0."""
    stack = Stack(keys)
    yield stack
    stack.finish()


@pytest.fixture(name="runtime")
def runtime_fixture(stack):
    """A runtime on ipc endpoints."""
    return stack.runtime()


@pytest.fixture(name="bridge")
def bridge_fixture(stack, runtime):
    """A bridge with default limits, linked with `runtime`."""
    return stack.bridge(runtime)
