"""The flow tests' harness, for the C binding: the real bridge, real WebSocket clients, a runtime in C."""
import pathlib
import sys

import pytest

sys.dont_write_bytecode = True
ROOT = pathlib.Path(__file__).resolve().parents[3]
sys.path.insert(0, str(ROOT / "tests" / "flow"))

from harness import Keys, Stack  # noqa: E402  pylint: disable=wrong-import-position


@pytest.fixture(scope="session", name="keys")
def keys_fixture():
    """Signing keys."""
    return Keys()


@pytest.fixture(name="stack")
def stack_fixture(keys):
    """Maker of runtimes, bridges and clients; checks at the end that every bridge lived and left with 0."""
    stack = Stack(keys)
    yield stack
    stack.finish()
