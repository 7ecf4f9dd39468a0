"""Processes end when they shall, and how they ended is told; reports say which row failed."""
import json
import os
import pathlib
import socket
import subprocess
import sys
import types
import xml.etree.ElementTree as ElementTree

import ports
import pytest

from . import junit, processes
from .measure import Result, Run, Unable
from .rows import Case, Figure, Row

ROW = Row("main", "x", "", "events", {}, (Case("limit", "limit"),), (Figure("cpu", ""),))


@pytest.fixture(name="run")
def run_fixture(tmp_path):
    """A run whose load has said something."""
    (tmp_path / "load.log").write_text("bench_load: first\nbench_load: cannot listen\n")
    place = types.SimpleNamespace(servers={"limit": None}, cpus=None, bench_load="")
    run = Run(place, ROW, ROW.cases[0], {})
    run.tmp = tmp_path
    return run


def line(**figures):
    """What bench_load prints."""
    return json.dumps(dict.fromkeys(("malformed", "foreign", "repeated", "lost", "refused"), 0) | figures)


def test_figures_are_read(run):
    assert run.judge(0, line(cpu=1.5))["cpu"] == 1.5


@pytest.mark.parametrize("code, out, message", [
    (1, "", r"bench_load: cannot listen \(exit code 1\)"),
    (1, line(cpu=1, lost=1234, foreign=2), r"2 foreign, 1,234 lost"),
    (-11, line(cpu=1), "exit code -11"),
    (0, line(), "the load did not tell cpu"),
])
def test_a_run_that_was_wrong_says_why(run, code, out, message):
    with pytest.raises(processes.Failed, match="^" + message + "$"):
        run.judge(code, out)


def test_what_a_server_cannot_do_is_no_fault(run):
    with pytest.raises(Unable):
        run.judge(3, "")


def test_ports_are_never_given_twice():
    numbers = [port for _ in range(20) for port in vars(processes.free_ports()).values()]
    assert len(set(numbers)) == len(numbers) == 20 * len(processes.PORTS)


def test_no_other_process_is_given_a_port_that_this_one_holds(monkeypatch):
    mine = ports.free_port()
    ask = "import ports, sys; ports._candidates = lambda: [int(sys.argv[1])]; print(ports.free_port())"
    theirs = subprocess.run([sys.executable, "-Bc", ask, str(mine)], env={"PYTHONPATH": str(pathlib.Path(ports.__file__).parent)},
                            stderr=subprocess.PIPE, check=False)
    assert b"every port is taken" in theirs.stderr
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", ports.free_port()))
        monkeypatch.setattr(ports, "_candidates", lambda: [taken.getsockname()[1]])
        monkeypatch.setattr(ports, "_hold", lambda port: ports._held.append(socket.socket()) or True)
        with pytest.raises(RuntimeError, match="taken"):
            ports.free_port()


def test_the_kernel_gives_a_port_to_nobody_else():
    low, high = map(int, ports.EPHEMERAL.read_text().split())
    assert not any(low <= ports.free_port() <= high for _ in range(20))


def test_a_process_is_ended_by_its_pid():
    process = processes.Process(["sleep", "60"])
    assert process.is_alive()
    assert process.stop() == -15
    assert not process.is_alive()


def test_one_that_ignores_sigterm_is_killed(monkeypatch, tmp_path):
    monkeypatch.setattr(processes, "END_S", 0.2)
    there = tmp_path / "there"
    process = processes.Process(["sh", "-c", f"trap '' TERM; : >{there}; while :; do sleep 0.01; done"])
    processes.wait_until(there.exists, process, 10, "it ignores SIGTERM")
    assert process.stop() == -9


def test_waiting_ends_with_the_process_or_the_time():
    process = processes.Process(["sh", "-c", "exit 7"])
    with pytest.raises(processes.Failed, match="ended with exit code 7 before it is there"):
        processes.wait_until(lambda: False, process, 30, "it is there")
    process = processes.Process(["sleep", "60"])
    with pytest.raises(processes.Failed, match="not within 0 s: it is there"):
        processes.wait_until(lambda: False, process, 0, "it is there")
    process.stop()


def test_cpus_are_shared_out():
    assert vars(processes.Cpus({3, 1})) == {"n": 2, "pinned": True, "server": 1, "load": 3, "rest": 3}
    assert vars(processes.Cpus({0, 1, 2, 3})) == {"n": 4, "pinned": True, "server": 0, "load": 3, "rest": 1}
    assert vars(processes.Cpus({5})) == {"n": 1, "pinned": False, "server": 5, "load": 5, "rest": 5}
    assert str(processes.Cpus({5})).startswith("one core only")
    assert str(processes.Cpus({0, 1}, pin=False)) == "nothing is pinned"


def test_own_cpu_time_is_counted():
    before = processes.cpu_seconds(os.getpid())
    while os.times().user + os.times().system < before + 0.05:
        pass
    assert before < processes.cpu_seconds(os.getpid()) < before + 10
    assert processes.busy_seconds(min(os.sched_getaffinity(0))) > 0


def test_junit_has_a_case_a_row(tmp_path):
    path = pathlib.Path(tmp_path / "new" / "report.xml")
    fails = Row("more", "y", "", "events", {}, (Case("limit", "limit"), Case("bridge", "bridge")), ())
    outcomes = {"x": {"limit": [Result({"cpu": 1})]}, "y": {"limit": [Result({})], "bridge": [Result(fault="2 lost")]}}
    junit.write(path, [ROW, fails], outcomes, {"x": 1.25, "y": 2})
    good, bad = ElementTree.parse(path).iter("testcase")
    assert (good.attrib, list(good)) == ({"classname": "bench.main", "name": "x", "time": "1.25"}, [])
    assert (bad.get("name"), bad[0].tag, bad[0].get("message")) == ("y", "failure", "bridge: 2 lost")
