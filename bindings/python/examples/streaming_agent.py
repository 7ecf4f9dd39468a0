#!/usr/bin/python3
"""An agent as they are built on language models: the model streams text and asks for tools, the agent passes the text on as it
comes, calls the tools and feeds their results back. The model here is a stand-in, an asyncio generator; put yours in its place.

    PYTHONPATH=bindings/python bindings/python/examples/streaming_agent.py"""

import asyncio
import datetime
import logging
from typing import Any, AsyncIterator, Dict, List, NamedTuple, Union

from agentbridge import AgentError, Message, Run, Runtime

MAX_TURNS = 4  # of one answer


class ToolCall(NamedTuple):
    """The model wants this called, and to go on with the results."""

    name: str
    args: Dict[str, Any]


async def model(messages: List[Dict[str, Any]]) -> AsyncIterator[Union[str, ToolCall]]:
    """Streams pieces of text and tool calls, as a language model does."""
    if messages[-1]["role"] == "user":
        for piece in ("You are asking ", "for the weekday. ", "I will look."):
            await asyncio.sleep(0.01)
            yield piece
        yield ToolCall("weekday", {"date": messages[-1]["content"].split()[-1].rstrip("?.")})
    else:
        for piece in ("That day ", "is a ", f"{messages[-1]['content']}."):
            await asyncio.sleep(0.01)
            yield piece


async def weekday(date: str) -> str:
    """A tool: the weekday of a date as 2026-11-25."""
    try:
        return datetime.date.fromisoformat(date).strftime("%A")
    except ValueError:
        raise AgentError("BAD_DATE", f"{date!r} is no date; write it as 2026-11-25.") from None


TOOLS = {"weekday": weekday}
rt = Runtime("streaming-agent")


async def call_tool(run: Run, call: ToolCall) -> Any:
    """One tool, from tool_executing to tool_completed; what it raises ends the run."""
    async with run.tool(call.name, call.args) as tool:
        results = await TOOLS[call.name](**call.args)
        tool.result(results)
    return results


async def turn(run: Run, messages: List[Dict[str, Any]]) -> str:
    """One turn of the model: its text, streamed on the way, and the results of its tools behind `messages`."""
    text = ""
    async for piece in model(messages):
        if isinstance(piece, ToolCall):
            messages.append({"role": "tool", "content": await call_tool(run, piece)})
        else:
            text += piece
            run.chunk(piece)
    return text


@rt.on_message
async def answer(message: Message) -> None:
    """One run a message."""
    content = message.json()
    question = str(content.get("text", ""))
    async with rt.run(message.user, thread_id=content.get("thread_id"), task_description=question[:200]) as run:
        messages: List[Dict[str, Any]] = [{"role": "user", "content": question or "?"}]
        for _ in range(MAX_TURNS):
            known = len(messages)
            text = await turn(run, messages)
            if len(messages) == known:  # no tool was called: that was the answer
                return run.complete(text)
        raise AgentError("TOO_MANY_TURNS", "The model did not come to an end.")


if __name__ == "__main__":
    logging.basicConfig(level=logging.INFO)
    rt.serve_forever()
