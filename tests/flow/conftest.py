"""Fixtures of the flow tests: real bridge, real ZeroMQ runtime, real WebSocket clients."""
import os
import socket
import sys

import pytest

sys.dont_write_bytecode = True

from harness import Authority, Keys, Secure, Stack  # noqa: E402  pylint: disable=wrong-import-position
from harness.conformance import Echo  # noqa: E402  pylint: disable=wrong-import-position
from harness.no_memory import NoMemory, World  # noqa: E402  pylint: disable=wrong-import-position


def pytest_collection_modifyitems(items):
    """Those that take long begin first, so that nothing waits for one of them alone at the end."""
    items.sort(key=lambda item: item.get_closest_marker("long") is None)


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


@pytest.fixture(scope="session", name="authority")
def authority_fixture():
    """Signs certificates."""
    return Authority()


@pytest.fixture(name="secure")
def secure_fixture(stack, runtime, authority, tmp_path):
    """Maker of bridges, linked with `runtime`, whose public port speaks TLS."""
    return Secure(stack, runtime, authority, tmp_path)


@pytest.fixture(name="no_memory")
def no_memory_fixture():
    """An allocator that fails when it is told to."""
    if os.environ.get("AGENTBRIDGE_BUILD") == "tsan":
        pytest.skip("the thread sanitizer bears no other allocator before its own")
    no_memory = NoMemory()
    yield no_memory
    no_memory.close()


@pytest.fixture(name="world")
def world_fixture(stack, no_memory):
    """A bridge with it, its runtime and two clients."""
    return World(stack, no_memory)


@pytest.fixture(scope="module", name="echo")
def echo_fixture(keys):
    """A bridge and a runtime that sends every message back, for all cases of a module."""
    echo = Echo(keys, max_message_bytes=65537)
    yield echo
    echo.finish()


@pytest.fixture(scope="session", name="outside_address")
def outside_address_fixture():
    """An address of this machine that is not loopback; skips when there is none."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect(("192.0.2.1", 9))
            address = probe.getsockname()[0]
        except OSError:
            address = "127.0.0.1"
    if address.startswith("127."):
        pytest.skip("this machine has loopback only")
    return address
