"""Whole programs: those of the README as printed, the example, workers side by side; and the package as it is built."""
import os
import pathlib
import re
import signal
import subprocess
import sys

import pytest
from harness import scaled, wait_until
from hosted import PYTHON, kinds, until_end
from ports import free_port

TESTS = pathlib.Path(__file__).parent
ENV = {**os.environ, "PYTHONPATH": str(PYTHON), "PYTHONDONTWRITEBYTECODE": "1"}


def programs():
    """The blocks of the README that are whole programs."""
    return re.findall(r"```python\n(.*?)```", (PYTHON / "README.md").read_text(encoding="utf-8"), re.DOTALL)


@pytest.fixture(name="program")
def program_fixture():
    """Starts Python programs; each must leave with 0 at SIGTERM."""
    started = []

    def start(*words):
        started.append(subprocess.Popen([sys.executable, *words], env=ENV, stderr=subprocess.PIPE, text=True))
        return started[-1]

    yield start
    for process in started:
        process.send_signal(signal.SIGTERM)
    for process in started:
        try:
            _, errors = process.communicate(timeout=scaled(15))
        except subprocess.TimeoutExpired:
            process.kill()
            process.communicate()
            raise
        assert process.returncode == 0 and "Traceback" not in errors, errors


def elsewhere(source, path, ports):
    """A program with its runtime on these ports, in place of the fixed ones that somebody else may have, as a file."""
    options = ", ".join(f'{name}="tcp://127.0.0.1:{port}"' for name, port in zip(("commands", "events"), ports))
    changed, count = re.subn(r'Runtime\("([\w-]+)"\)', rf'Runtime("\1", {options})', source)
    assert count == 1
    path.write_text(changed, encoding="utf-8")
    return str(path)


def bridge_on(stack, *pairs):
    """A bridge that has heard HELLO of the runtime on each pair of ports."""
    commands, events = (",".join(f">tcp://127.0.0.1:{pair[at]}" for pair in pairs) for at in (0, 1))
    bridge = stack.bridge(None, runtime_commands=commands, runtime_events=events, runtime_ping_s=1, runtime_wait_ms=20_000)
    wait_until(lambda: len(bridge.logs("RUNTIME_HELLO")) == len(pairs), 20, "HELLO")
    bridge.wait_ready()
    return bridge


def ask(stack, source, path, program, text):
    """The events that come of this question to this program."""
    ports = free_port(), free_port()
    program(elsewhere(source, path, ports))
    bridge_on(stack, ports)
    client = stack.connect("alice")
    client.send({"type": "user_message", "text": text})
    return until_end(client)


def test_the_first_program_of_the_readme(program, stack, tmp_path):
    events = ask(stack, programs()[0], tmp_path / "agent.py", program, "Hello out there")
    assert kinds(events) == ["agent_started"] + ["agent_thinking"] * 3 + ["agent_completed"]
    assert "".join(event.get("delta", "") for event in events) == "Hello out there "
    assert (events[-1]["final_response"], events[-1]["agent_name"]) == ("You said it.", "echo")
    assert len([line for line in programs()[0].splitlines() if line.strip()]) <= 10


def test_the_program_with_threads(program, stack, tmp_path):
    events = ask(stack, programs()[1], tmp_path / "agent.py", program, "Hello")
    assert kinds(events) == ["agent_started", "tool_executing", "tool_completed", "agent_completed"]
    assert events[2]["results"] == "HELLO" and len(programs()) == 2


def test_the_program_of_the_front_page(program, stack, tmp_path):
    page = (PYTHON.parents[1] / "README.md").read_text(encoding="utf-8")
    events = ask(stack, re.search(r"```python\n(.*?)```", page, re.DOTALL)[1], tmp_path / "agent.py", program, "Hi you")
    assert events[0]["type"] == "agent_started" and events[-1]["type"] == "agent_completed"


def test_the_streaming_example(program, stack, tmp_path):
    source = (PYTHON / "examples" / "streaming_agent.py").read_text(encoding="utf-8")
    events = ask(stack, source, tmp_path / "agent.py", program, "Which weekday is 2026-11-25?")
    assert kinds(events) == ["agent_started", *["stream_chunk"] * 3, "tool_executing", "tool_completed", *["stream_chunk"] * 3,
                             "agent_completed"]
    assert (events[5]["results"], events[-1]["final_response"]) == ("Wednesday", "That day is a Wednesday.")


def test_two_workers_beside_one_bridge(program, stack):
    pairs = {name: (free_port(), free_port()) for name in ("left", "right")}
    for name, ports in pairs.items():
        program(str(TESTS / "worker_main.py"), name, *(f"tcp://127.0.0.1:{port}" for port in ports))
    bridge = bridge_on(stack, *pairs.values())
    clients = stack.connect_all([f"user{number}" for number in range(40)])
    answers = {}
    for _ in range(2):
        for client in clients:
            client.send({"type": "user_message"})
        for client in clients:
            answers.setdefault(client.user, set()).add(until_end(client)[-1]["final_response"])
    assert all(len(given) == 1 for given in answers.values()), "a user sticks to one worker"
    given = {next(iter(one)) for one in answers.values()}
    assert sorted(one.split()[0] for one in given) == ["left", "right"] and len({one.split()[1] for one in given}) == 2
    assert bridge.total("events_lost_total") == 0


def test_the_package_is_built_and_stands_by_itself(tmp_path):
    pytest.importorskip("setuptools", reason="building wants python3-setuptools")
    pytest.importorskip("wheel", reason="building wants python3-wheel")
    pytest.importorskip("pip", reason="building wants python3-pip")
    source, target = tmp_path / "source", tmp_path / "target"
    source.mkdir()
    for name in ("pyproject.toml", "README.md", "agentbridge"):  # what a build writes stays out of the clone
        subprocess.run(["cp", "-r", str(PYTHON / name), str(source)], check=True)
    subprocess.run([sys.executable, "-m", "pip", "install", "--quiet", "--no-build-isolation", "--no-deps", "--no-index",
                    "--root-user-action", "ignore", "--target", str(target), str(source)], check=True, timeout=scaled(60))
    code = "import agentbridge, importlib.metadata as m; print(agentbridge.__file__, m.version('agentbridge'), " \
           "agentbridge.__version__, m.metadata('agentbridge')['License'])"
    told = subprocess.run([sys.executable, "-c", code], env={**ENV, "PYTHONPATH": str(target)}, cwd=tmp_path, text=True,
                          capture_output=True, check=True).stdout.split()
    assert told == [str(target / "agentbridge" / "__init__.py"), "0.1.0", "0.1.0", "Apache-2.0"]
    assert (target / "agentbridge" / "py.typed").exists()
    listed = re.search(r"project \(agentbridge VERSION\s+([\d.]+)", (PYTHON.parents[1] / "CMakeLists.txt").read_text())
    assert listed and listed[1] == told[1]
