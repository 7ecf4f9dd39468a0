"""Fixtures: the harness of the flow tests (real bridge, real WebSocket clients) and the binding as it lies here."""
import pathlib
import sys

import pytest

sys.dont_write_bytecode = True
PYTHON = pathlib.Path(__file__).resolve().parents[1]
ROOT = PYTHON.parents[1]
sys.path[:0] = [str(PYTHON), str(ROOT / "tests" / "flow"), str(pathlib.Path(__file__).parent)]

from harness import Keys, Stack  # noqa: E402  pylint: disable=wrong-import-position
from hosted import Hosted  # noqa: E402  pylint: disable=wrong-import-position


@pytest.fixture(scope="session", name="keys")
def keys_fixture():
    """Signing keys."""
    return Keys()


@pytest.fixture(name="stack")
def stack_fixture(keys):
    """Maker of bridges and clients."""
    stack = Stack(keys)
    yield stack
    stack.finish()


@pytest.fixture(name="host")
def host_fixture(stack):
    """Starts a runtime, of asyncio or of threads, on ipc endpoints of its own. All end before the bridges do."""
    hosted = []

    def host(kind, **options):
        commands, events = stack.endpoints()
        number = len(hosted)
        runtime = kind(**{"commands": f"@{commands}-{number}", "events": f"@{events}-{number}", "grace_s": 0, **options})
        hosted.append(Hosted(runtime))
        return hosted[-1]

    yield host
    for one in hosted:
        one.stop()
