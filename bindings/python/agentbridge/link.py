"""The ROUTER socket in an asyncio loop: commands of all bridges in, commands to one bridge out.

A plain socket, not zmq.asyncio's: that one waits for "writable", which a ROUTER tells of all its peers together, so that one
bridge that does not read would hold up or fail what is meant for another.
"""
from __future__ import annotations

import asyncio
from typing import List, Optional, Tuple

import zmq

from .errors import BridgeBusy, BridgeGone, NotRunning

FIRST_PAUSE_S, LONGEST_PAUSE_S = 0.001, 0.05


class Link:
    """Only for the loop's thread. Takes the socket."""

    def __init__(self, socket: zmq.Socket[bytes], send_timeout_s: float) -> None:
        self._socket: Optional[zmq.Socket[bytes]] = socket
        self._send_timeout_s = send_timeout_s
        self._readable = asyncio.Event()
        self._loop = asyncio.get_running_loop()
        self._fd = int(socket.getsockopt(zmq.FD))
        self._loop.add_reader(self._fd, self._poke)

    def close(self) -> None:
        """What was sent goes on being sent within the socket's linger time."""
        if self._socket is not None:
            self._loop.remove_reader(self._fd)
            self._socket.close()
            self._socket = None

    def _poke(self) -> None:
        """ZeroMQ's descriptor only tells of changes: asking for the events takes the news, here and after every send."""
        if self._socket is not None and int(self._socket.getsockopt(zmq.EVENTS)) & zmq.POLLIN:
            self._readable.set()

    def take(self) -> Optional[Tuple[bytes, List[bytes]]]:
        """(bridge, frames) of a command that has come, or None."""
        if self._socket is None:
            return None
        try:
            bridge, *frames = self._socket.recv_multipart(zmq.NOBLOCK)
        except zmq.Again:
            return None
        return bridge, frames

    async def receive(self) -> Tuple[bytes, List[bytes]]:
        """The next command."""
        while True:
            self._readable.clear()
            found = self.take()
            if found is not None:
                return found
            await self._readable.wait()

    def try_send(self, bridge: bytes, frames: List[bytes]) -> None:
        """BridgeGone, BridgeBusy (its queue is full at this moment), NotRunning."""
        if self._socket is None:
            raise NotRunning("the runtime is stopped")
        try:
            self._socket.send_multipart([bridge, *frames], zmq.NOBLOCK)
        except zmq.Again:
            raise BridgeBusy(f"bridge {_name(bridge)} has not read for {self._send_timeout_s:g} s; try later") from None
        except zmq.ZMQError as fault:
            if fault.errno != zmq.EHOSTUNREACH:
                raise
            raise BridgeGone(f"bridge {_name(bridge)} is not connected") from None
        finally:
            self._poke()

    async def send(self, bridge: bytes, frames: List[bytes]) -> None:
        """The same, but waits up to `send_timeout_s` for room. Nothing tells when one peer has room, so it asks again."""
        end, pause = self._loop.time() + self._send_timeout_s, FIRST_PAUSE_S
        while True:
            try:
                return self.try_send(bridge, frames)
            except BridgeBusy:
                if self._loop.time() + pause > end:
                    raise
            await asyncio.sleep(pause)
            pause = min(2 * pause, LONGEST_PAUSE_S)


def _name(bridge: bytes) -> str:
    return repr(bridge.decode(errors="replace"))
