"""Fixtures: the harness of the flow tests (real bridge, real WebSocket clients) and the binding as it lies here."""
import pathlib
import sys

import pytest

sys.dont_write_bytecode = True
PYTHON = pathlib.Path(__file__).resolve().parents[1]
sys.path[:0] = [str(PYTHON), str(PYTHON.parents[1] / "tests" / "flow"), str(pathlib.Path(__file__).parent)]

from harness import Keys, Stack  # noqa: E402  pylint: disable=wrong-import-position
from hosted import Hosted  # noqa: E402  pylint: disable=wrong-import-position


@pytest.fixture(scope="session", name="keys")
def keys_fixture():
    """Signing keys."""
    return Keys()


@pytest.fixture(name="hosted")
def hosted_fixture():
    """What `host` has made. It ends after the bridges, which would wait for a runtime that is gone."""
    hosted = []
    yield hosted
    for one in hosted:
        one.stop()


@pytest.fixture(name="stack")
def stack_fixture(keys, hosted):  # pylint: disable=unused-argument
    """Maker of bridges and clients."""
    stack = Stack(keys)
    yield stack
    stack.finish()


@pytest.fixture(name="host")
def host_fixture(stack, hosted):
    """Makes a runtime, of asyncio or of threads, on ipc endpoints of its own."""
    def host(kind, **options):
        commands, events = (f"@{endpoint}-{len(hosted)}" for endpoint in stack.endpoints())
        hosted.append(Hosted(kind(**{"commands": commands, "events": events, "grace_s": 0, **options})))
        return hosted[-1]

    return host
