"""Tokens that end on thousands of live connections: each to its second, and nobody else's."""
import asyncio
import resource
import time

import pytest
from harness import scaled
from harness.client import LOOP
from harness.crowd import Member

CROWD = 2000
SPREAD = 10   # seconds over which their tokens end
LEEWAY = 12


@pytest.fixture(name="descriptors")
def descriptors_fixture():
    """One for each client, in this process."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = CROWD + 500
    if hard != resource.RLIM_INFINITY and hard < wanted:
        pytest.skip(f"{wanted} file descriptors are not allowed (hard limit {hard})")
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, wanted), hard))
    yield
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


class Crowd:
    """Everybody's course: a token that ends after some seconds; some refresh it in time."""

    def __init__(self, bridge, keys):
        self.bridge, self.keys = bridge, keys
        self.gate = asyncio.Semaphore(100)
        self.members = []
        self.ends = []      # (expected end, timestamp of token_expired, close frame)
        self.alive = []     # those that live on

    def token(self, member, exp):
        """A token of this member."""
        return self.keys.token(member.user, exp=exp)

    async def open(self, number, exp_of_now):
        """A member, and when its token ends."""
        member = Member(self.bridge, f"user-{number}")
        self.members.append(member)
        async with self.gate:
            exp = exp_of_now(int(time.time()))
            await member.open(self.token(member, exp))
        return member, exp

    async def see_end(self, member, expected):
        """token_expired, then the close frame."""
        frame = await member.frame()
        assert frame["type"] == "token_expired", frame
        self.ends.append((expected, frame["timestamp"], await member.frame()))

    async def expires(self, number):
        """At `exp`, without the leeway."""
        member, exp = await self.open(number, lambda now: now + int(scaled(6)) + number % SPREAD)
        await self.see_end(member, exp)

    async def taken_late(self, number):
        """The token had expired already, within the leeway, which is when it ends."""
        member, exp = await self.open(number, lambda now: now - 1 - number % 4)
        await self.see_end(member, exp + LEEWAY)

    async def moves(self, number):
        """A refresh gives some seconds more, or fewer."""
        member, exp = await self.open(number, lambda now: now + int(scaled(8)) + number % SPREAD)
        exp += 4 if number % 2 else -3
        await member.ask({"type": "refresh_token", "token": self.token(member, exp)}, "token_refreshed")
        await self.see_end(member, exp)

    async def lives_on(self, number):
        """A refresh in time: the old end passes unnoticed."""
        member, exp = await self.open(number, lambda now: now + int(scaled(6)) + number % SPREAD)
        await member.ask({"type": "refresh_token", "token": self.token(member, exp + 3600)}, "token_refreshed")
        await asyncio.sleep(exp + 2 - time.time())
        pong = await member.ask({"type": "ping", "id": number}, "pong")
        assert pong["id"] == number and pong["timestamp"] > exp + 1
        self.alive.append(member)

    async def close(self):
        """On the loop that the sockets belong to."""
        for member in self.members:
            member.close()

    async def run(self):
        """All at once."""
        courses = [self.expires, self.expires, self.taken_late, self.moves, self.lives_on]
        await asyncio.gather(*(courses[i % len(courses)](i) for i in range(CROWD)))


@pytest.mark.long
@pytest.mark.usefixtures("descriptors")
def test_everybody_to_the_second(runtime, stack):
    """token_expired and 1008 within a second of each one's end, never before; the refreshed stay."""
    bridge = stack.bridge(runtime, jwt_leeway_s=LEEWAY, ping_interval_s=3600)
    crowd = Crowd(bridge, stack.keys)
    try:
        LOOP.run(crowd.run(), 200)
        gone, here = CROWD * 4 // 5, CROWD // 5
        assert (len(crowd.ends), len(crowd.alive)) == (gone, here)
        assert {frame for _, _, frame in crowd.ends} == {(1008, "Token expired")}
        late = [(expected, told - expected) for expected, told, _ in crowd.ends if not 0 <= told - expected < scaled(1)]
        assert not late, (len(late), late[:10])
        assert bridge.metric("handshakes_total", result="ok") == CROWD
        bridge.wait_metric("connections_closed_total", gone, reason="token_expired")
        bridge.wait_metric("connections", here, state="processing_ready")
        codes = [command.headers["code"] for command in runtime.wait_commands("DISCONNECT", gone)]
        assert codes == [1008] * gone
    finally:
        LOOP.run(crowd.close())
