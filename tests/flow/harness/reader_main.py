"""A client as a program of its own: reads numbered events until the last one or the end of its connection, and says how
far it came. Its receive buffer is small, so that it soon is behind when it does not run."""
import json
import pathlib
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1]))
from harness.raw import RawClient  # noqa: E402  pylint: disable=wrong-import-position
from harness.reconnecting import Reconnecting  # noqa: E402  pylint: disable=wrong-import-position


class Ports:
    """As much of a bridge as a client needs."""

    def __init__(self, port):
        self.ports = {"public": port}


class Here:
    """As much of a Stack and its keys as Reconnecting needs."""

    def __init__(self, port, token):
        self._bridge, self._token = Ports(port), token
        self.keys = self

    def raw(self, _, receive_buffer=None):
        """A TCP connection."""
        return RawClient(self._bridge, receive_buffer=receive_buffer)

    def token(self, _):
        """The only one there is."""
        return self._token


def main(port, token, last):
    """One connection."""
    client = Reconnecting(Here(int(port), token), "?", receive_buffer=4096)
    print(json.dumps(client.begin()), flush=True)
    client.socket.socket.settimeout(120)
    while client.seen < int(last) and client.take():
        pass
    print(json.dumps({"seen": client.seen, "offset": client.offset, "closed": client.closed}), flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
