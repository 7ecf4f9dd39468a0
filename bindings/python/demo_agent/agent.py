"""The demo agent: what happens in a run. The wire is the binding's matter."""

import asyncio
import logging

import tools
from agentbridge import MessageError
from agentbridge.events import new_id


class Agent:
    """Answers each user_message with a run of its own, and stops runs for their user."""

    def __init__(self, runtime, pace):
        self._runtime = runtime
        self._pace = pace  # seconds between two events
        runtime.on_message(self._on_message)
        runtime.on_connect(self._on_connect)

    async def _on_connect(self, connection):
        logging.info("CONNECT %s user %r", connection.id, connection.user)

    async def _on_message(self, message):
        content = message.json()
        if content.get("type") == "user_message":
            await self._answer(message.user, content)
        elif content.get("type") == "stop_agent":
            self._stop(message.user, content)
        else:
            raise MessageError(f"unknown type {content.get('type')!r}")

    async def _answer(self, user, content):
        text = next((content[key] for key in ("text", "content", "message") if key in content), None)
        if not isinstance(text, str):
            raise MessageError("a user_message needs a string text, content or message")
        given = {"message_id": content["message_id"]} if isinstance(content.get("message_id"), str) else {}
        async with self._runtime.run(user, thread_id=str(content.get("thread_id") or new_id("thread")),
                                     task_description=text[:200], **given) as run:
            try:
                await self._work(run, text)
            except asyncio.CancelledError:  # without this the run ends with agent_error, CANCELLED
                run.complete("Stopped on request.", status="cancelled")
                raise

    async def _work(self, run, text):
        """Think, use a tool, answer."""
        expression = tools.find_expression(text)
        plan = (f"The question holds the expression {expression}. The calculator will tell." if expression else
                "There is nothing to calculate in this message. I will count its words instead.")
        await self._think(run, 1, plan)
        answer = await (self._calculate(run, expression) if expression else self._count_words(run, text))
        await self._think(run, 3, "That is enough to answer.")
        run.complete(answer)

    async def _think(self, run, step_number, text):
        words = text.split(" ")
        for at in range(0, len(words), 3):
            run.thinking(("" if at == 0 else " ") + " ".join(words[at:at + 3]), step_number=step_number)
            await asyncio.sleep(self._pace)

    async def _calculate(self, run, expression):
        async with run.tool("calculator", {"expression": expression}) as tool:
            await asyncio.sleep(self._pace)
            try:
                value = tools.portable(tools.calculate(expression))
            except tools.ToolError as fault:
                tool.error(str(fault))
                return f"I cannot work out {expression}: {fault}."
            tool.result({"expression": expression, "value": value})
        return f"{expression} = {value}"

    async def _count_words(self, run, text):
        async with run.tool("word_count", {"text": text}) as tool:
            await asyncio.sleep(self._pace)
            counts = tools.word_count(text)
            tool.result(counts)
        return f"Your message has {counts['words']} words, {counts['unique_words']} of them different, and " \
               f"{counts['characters']} characters. Ask me to calculate something, such as (17 + 4) * 2."

    def _stop(self, user, content):
        """Only ever the user's own runs: the one named, those of the thread named, or all."""
        for run in self._runtime.runs:
            asked = all(content.get(key) is None or str(content[key]) == getattr(run, key)
                        for key in ("run_id", "thread_id"))
            if asked and run.user == user:
                run.cancel()
