"""The demo agent: the runtime's side of the ZeroMQ link (proto/README.md), and what happens in a run."""

import asyncio
import json
import sys
import time
import uuid
from collections import deque

import msgpack
import zmq

import tools

VERSION = "0.1.0"
AGENT_NAME = "demo-agent"
HISTORY_EVENTS = 10_000
MAX_RUNS = 1_000


def log(text):
    print(f"demo agent: {text}", file=sys.stderr, flush=True)


def new_id(prefix):
    return f"{prefix}_{uuid.uuid4().hex[:16]}"


class Publisher:
    """The PUB socket, the sequence of everything that went over it, and the last of it for REPLAY."""

    def __init__(self, socket):
        self.name = new_id("demo")  # new at every start, because the sequence starts anew
        self.seq = 0
        self.held = deque(maxlen=HISTORY_EVENTS)  # (seq, user_id, event), without gaps
        self._socket = socket

    def publish(self, user_id, event):
        user, body = user_id.encode(), msgpack.packb(event)
        self.seq += 1
        self.held.append((self.seq, user, body))
        meta = msgpack.packb({"publisher": self.name, "seq": self.seq})
        self._socket.send_multipart([user, body, meta])  # PUB never blocks

    def replay(self, first, last):
        """What is still held of first..last, and the part before it that is gone as (from, to) or None."""
        oldest = self.held[0][0] if self.held else self.seq + 1
        lost = (first, min(last, oldest - 1)) if first < oldest and first <= self.seq else None
        return [entry for entry in self.held if first <= entry[0] <= last], lost


class Run:
    """One answer to one message: a task that emits events and ends exactly once."""

    def __init__(self, publisher, user_id, thread_id):
        self.user_id, self.thread_id, self.run_id = user_id, thread_id, new_id("run")
        self.ended = False
        self.task = None
        self._publisher = publisher
        self._started = time.monotonic()

    def emit(self, event_type, **fields):
        if self.ended:
            return
        self._publisher.publish(self.user_id, {
            "type": event_type, "event_id": uuid.uuid4().hex, "timestamp": time.time(), "user_id": self.user_id,
            "thread_id": self.thread_id, "run_id": self.run_id, "agent_name": AGENT_NAME, **fields})

    def complete(self, status, final_response):
        duration_ms = round((time.monotonic() - self._started) * 1000)
        self.emit("agent_completed", status=status, final_response=final_response, duration_ms=duration_ms)
        self.ended = True

    def fail(self, code, message):
        self.emit("agent_error", error_code=code, error_message=message)
        self.ended = True

    def cancel(self):
        self.complete("cancelled", "Stopped on request.")
        self.task.cancel()

    async def work(self, text, pace):
        """Think, use a tool, answer."""
        try:
            expression = tools.find_expression(text)
            plan = (f"The question holds the expression {expression}. The calculator will tell." if expression else
                    "There is nothing to calculate in this message. I will count its words instead.")
            await self._think(1, plan, pace)
            answer = await (self._calculate(expression, pace) if expression else self._count_words(text, pace))
            await self._think(3, "That is enough to answer.", pace)
            self.complete("completed", answer)
        except Exception as fault:  # whatever it is, the run ends and the client hears of it
            log(f"run {self.run_id} failed: {fault!r}")
            self.fail("AGENT_FAILED", "The demo agent failed on this message.")

    async def _think(self, step_number, text, pace):
        words = text.split(" ")
        for at in range(0, len(words), 3):
            delta = ("" if at == 0 else " ") + " ".join(words[at:at + 3])
            self.emit("agent_thinking", delta=delta, step_number=step_number)
            await asyncio.sleep(pace)

    async def _use_tool(self, name, arguments, tool, pace):
        """Returns the results, or the ToolError's text and False."""
        execution_id = new_id("exec")
        self.emit("tool_executing", tool_name=name, tool_args=arguments, execution_id=execution_id)
        await asyncio.sleep(pace)
        started = time.perf_counter()
        try:
            results, success = tool(), True
        except tools.ToolError as fault:
            results, success = {"error": str(fault)}, False
        self.emit("tool_completed", tool_name=name, results=results, success=success, execution_id=execution_id,
                  execution_time=time.perf_counter() - started)
        return results, success

    async def _calculate(self, expression, pace):
        results, success = await self._use_tool(
            "calculator", {"expression": expression},
            lambda: {"expression": expression, "value": tools.portable(tools.calculate(expression))}, pace)
        return f"{expression} = {results['value']}" if success else f"I cannot work out {expression}: {results['error']}."

    async def _count_words(self, text, pace):
        counts, _ = await self._use_tool("word_count", {"text": text}, lambda: tools.word_count(text), pace)
        return f"Your message has {counts['words']} words, {counts['unique_words']} of them different, and " \
               f"{counts['characters']} characters. Ask me to calculate something, such as (17 + 4) * 2."


class Agent:
    """Reads commands of the bridge from the ROUTER socket and starts and stops runs."""

    def __init__(self, commands, events, pace):
        self.publisher = Publisher(events)
        self.runs = {}  # run_id -> Run
        self._commands = commands
        self._pace = pace
        self._handlers = {"HELLO": self._on_hello, "PING": self._on_ping, "PONG": self._on_pong,
                          "CONNECT": self._on_connect, "MESSAGE": self._on_message,
                          "DISCONNECT": self._on_disconnect, "ABANDONED": self._on_abandoned,
                          "REPLAY": self._on_replay}

    async def serve(self):
        while True:
            frames = await self._commands.recv_multipart()
            try:
                await self._take(frames)
            except zmq.ZMQError:
                raise
            except Exception as fault:  # outside bytes never end the agent
                log(f"malformed command dropped: {fault!r}")

    async def close(self):
        for run in list(self.runs.values()):
            run.cancel()
        await asyncio.gather(*(run.task for run in list(self.runs.values())), return_exceptions=True)

    async def _take(self, frames):
        peer, name, connection_id, user_id, headers, body = frames
        handler = self._handlers.get(name.decode())
        if handler is None:
            log(f"unknown command {name[:32]!r} dropped")
            return
        headers = msgpack.unpackb(headers) if headers else {}
        if not isinstance(headers, dict):
            raise ValueError("headers are not a map")
        await handler(peer, connection_id.decode(), user_id.decode(), headers, body)

    async def _send(self, peer, command, headers, user=b"", body=b""):
        await self._commands.send_multipart([peer, command, b"", user, msgpack.packb(headers), body])

    async def _on_hello(self, peer, _connection_id, _user_id, headers, _body):
        log(f"HELLO of bridge {headers.get('bridge')!r}, protocol {headers.get('protocol')!r}")
        await self._send(peer, b"HELLO", {"protocol": 1, "runtime": AGENT_NAME, "publisher": self.publisher.name,
                                          "seq": self.publisher.seq, "sdk": f"demo-agent/{VERSION}"})

    async def _on_ping(self, peer, _connection_id, _user_id, headers, _body):
        await self._send(peer, b"PONG", {"t": headers.get("t"), "seq": self.publisher.seq})

    async def _on_pong(self, *_):
        pass

    async def _on_connect(self, _peer, connection_id, user_id, headers, _body):
        log(f"CONNECT {connection_id!r} user {user_id!r} subprotocol {headers.get('subprotocol')!r}")

    async def _on_disconnect(self, _peer, connection_id, user_id, headers, _body):
        log(f"DISCONNECT {connection_id!r} user {user_id!r} code {headers.get('code')!r}")

    async def _on_abandoned(self, _peer, _connection_id, user_id, headers, _body):
        """Nobody has read these runs for a while: stop paying for them."""
        for run in list(self.runs.values()):
            if run.user_id == user_id and run.run_id in headers.get("runs", []):
                run.cancel()

    async def _on_message(self, _peer, connection_id, user_id, headers, body):
        message = json.loads(body) if headers.get("opcode", "text") == "text" else msgpack.unpackb(body)
        if not isinstance(message, dict):
            raise ValueError("the message is not a map")
        if message.get("type") == "user_message":
            self._start_run(user_id, message)
        elif message.get("type") == "stop_agent":
            self._stop_runs(user_id, message)
        else:
            log(f"message of unknown type {message.get('type')!r} from {connection_id!r} dropped")

    def _start_run(self, user_id, message):
        text = next((message[key] for key in ("text", "content", "message") if key in message), None)
        if not isinstance(text, str):
            raise ValueError("a user_message needs a string text, content or message")
        text = text.encode(errors="replace").decode()  # JSON can hold half a surrogate pair, MessagePack cannot
        run = Run(self.publisher, user_id, str(message.get("thread_id") or new_id("thread")))
        if len(self.runs) >= MAX_RUNS:
            run.fail("BUSY", f"The demo agent has {MAX_RUNS} runs already.")
            return
        given = {"message_id": message["message_id"]} if isinstance(message.get("message_id"), str) else {}
        run.emit("agent_started", task_description=text[:200], **given)
        self.runs[run.run_id] = run
        run.task = asyncio.get_running_loop().create_task(run.work(text, self._pace))
        run.task.add_done_callback(lambda _: self.runs.pop(run.run_id, None))

    def _stop_runs(self, user_id, message):
        """Only ever the user's own runs: the one named, those of the thread named, or all."""
        for run in list(self.runs.values()):
            asked = all(message.get(key) is None or str(message[key]) == getattr(run, key)
                        for key in ("run_id", "thread_id"))
            if asked and run.user_id == user_id:
                run.cancel()

    async def _on_replay(self, peer, _connection_id, _user_id, headers, _body):
        name, first, last = headers["publisher"], int(headers["from"]), int(headers["to"])
        held, lost = self.publisher.replay(first, last) if name == self.publisher.name else ([], (first, last))
        log(f"REPLAY {first} to {last}: {len(held)} held, lost {lost}")
        if lost:
            await self._send(peer, b"LOST", {"publisher": name, "from": lost[0], "to": lost[1]})
        for seq, user, event in held:
            await self._send(peer, b"EVENT", {"publisher": name, "seq": seq}, user, event)
