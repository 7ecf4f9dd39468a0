"""Answers REPLAY, at the pace of the bridge that asks."""
from __future__ import annotations

import asyncio
import collections
import logging
from typing import Counter, Dict, List, Optional

from . import speech
from .errors import BridgeBusy, BridgeGone, NotRunning
from .link import Link
from .publisher import Held, Lost, Publisher
from .wire import Malformed

LOG = logging.getLogger("agentbridge")
MAX_QUESTIONS = 8  # of one bridge that wait for their answer; a bridge asks one at a time
BATCH = 32         # events sent before others in the loop have their turn


class Replayer:
    """Only for the loop's thread. Counts `replayed`, `lost` and `unsent`."""

    def __init__(self, link: Link, publisher: Publisher, counts: Counter[str]) -> None:
        self._link = link
        self._publisher = publisher
        self._counts = counts
        self._open: Dict[bytes, List[asyncio.Task[None]]] = collections.defaultdict(list)

    def ask(self, bridge: bytes, publisher: str, first: int, last: int) -> None:
        """One question. Malformed when too many wait already."""
        before = self._open[bridge]
        if len(before) >= MAX_QUESTIONS:
            raise Malformed(f"REPLAY: {MAX_QUESTIONS} are not answered yet")
        task = asyncio.ensure_future(self._answer(before[-1] if before else None, bridge, publisher, first, last))
        before.append(task)
        task.add_done_callback(lambda done: self._answered(bridge, done))

    async def stop(self) -> None:
        """Answer nothing more."""
        tasks = [task for tasks in self._open.values() for task in tasks]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def _answered(self, bridge: bytes, task: asyncio.Task[None]) -> None:
        self._open[bridge].remove(task)
        if not self._open[bridge]:
            del self._open[bridge]

    async def _answer(self, before: Optional[asyncio.Task[None]], bridge: bytes, publisher: str, first: int,
                      last: int) -> None:
        """After the answer to the question before."""
        if before:
            await asyncio.wait({before})
        ours = publisher == self._publisher.name
        try:
            for count, answer in enumerate(self._publisher.replay(first, last) if ours else [Lost(first, last)], 1):
                await self._link.send(bridge, speech.replayed(publisher, answer))
                if isinstance(answer, Held):
                    self._counts["replayed"] += 1
                elif ours:
                    self._counts["lost"] += answer.last - answer.first + 1
                    LOG.warning("events %d to %d are asked for and no longer held", *answer)
                if count % BATCH == 0:
                    await asyncio.sleep(0)
        except (BridgeGone, BridgeBusy, NotRunning) as fault:
            self._counts["unsent"] += 1
            LOG.warning("REPLAY %d to %d is not answered in full: %s", first, last, fault)
