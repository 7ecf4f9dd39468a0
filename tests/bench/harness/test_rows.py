"""The table of rows fits bench_load, the servers and itself."""
import re

import pytest

from . import disturb, servers, table
from .measure import doubts_of, flags
from .rows import LENGTHS, ROWS, SHORT, SIZES, Case, Figure, Row
from .server import Server

LOAD = servers.TOP / "tests" / "bench" / "load"
OPTIONS = set(re.findall(r"ROW \((?:TEXT|NUMBER|FLAG), (\w+),", (LOAD / "options.h").read_text("utf-8")))
SCENARIOS = set(re.findall(r'^    \{"(\w+)", \w+_run,', (LOAD / "main.c").read_text("utf-8"), re.M))
CASES = [(row, case) for row in ROWS for case in row.cases]


def row_named(name):
    """One of the table."""
    return next(row for row in ROWS if row.name == name)


def test_names_are_told_apart():
    assert len({row.name for row in ROWS}) == len(ROWS)
    assert all(len({case.name for case in row.cases}) == len(row.cases) for row in ROWS)


def test_every_group_has_a_table():
    assert {row.group for row in ROWS} == set(table.HEADS)


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.name)
def test_a_row_is_what_bench_load_offers(row):
    assert row.figures
    if row.load_program:
        assert (servers.TOP / "tests" / "bench" / row.load_program).is_file() and not row.scenario
        return
    assert row.scenario in SCENARIOS
    assert all(set(row.load_of(case)) <= OPTIONS for case in row.cases)


def test_cases_name_servers_and_disturbances():
    assert {case.server for _, case in CASES} <= set(servers.SERVERS)
    assert {case.disturbance for _, case in CASES} == set(disturb.KINDS)


def test_disturbed_rows_begin_undisturbed_with_the_same_server():
    for row in ROWS:
        if row.group == "fairness":
            first, second = row.cases
            assert not first.disturbance and second.disturbance
            assert (first.server, first.options) == (second.server, second.options)
            assert "spin" not in row.load_of(second)


def test_options_that_are_scaled_exist():
    assert set(LENGTHS + SIZES) <= OPTIONS


def test_scale_makes_longer_and_nothing_else():
    row = row_named("deliver-1000x1")
    assert row.load_of(row.cases[0], 2.0) == {"users": 1000, "events": 600_000, "warm": 60_000, "spin": True}


def test_scale_leaves_rows_alone_whose_length_is_their_size():
    row = row_named("setups")
    assert row.load_of(row.cases[0], 0.5) == {"users": 10_000, "events": 10_000, "in_flight": 64}


def test_the_short_form_is_a_fiftieth():
    assert SHORT == 1 / 50
    row = row_named("latency-10k")
    assert row.load_of(row.cases[0], short=True) == {"users": 20, "events": 1000, "warm": 200, "rate": 10_000, "spin": True}
    assert row_named("growth").load_of(row_named("growth").cases[3], short=True)["absent"] == 1000


def test_nothing_gets_smaller_than_one():
    row = Row("main", "x", "", "events", {"users": 1, "events": 3}, (), ())
    assert row.load_of(Case("a", "limit"), 0.001, short=True) == {"users": 1, "events": 1}


def test_flags_are_bench_loads():
    assert flags({"per_user": 3, "spin": True, "subprotocol": "x"}) == ["--per-user", "3", "--spin", "--subprotocol", "x"]


def test_peers_join_the_rows_that_want_them_and_that_they_can():
    class Peer(Server):
        """Has no part in messages."""
        name = "peer"
        without = ("messages",)
    with_it = {row.name for row in ROWS if row.with_peers([Peer()]) != row}
    assert with_it == {"deliver-1000x1", "deliver-300x3", "latency-10k", "idle-10k", "setups"}
    assert row_named("setups").with_peers([Peer()]).cases[-1] == Case("peer", "peer")


def test_peers_are_chosen_by_name(monkeypatch):
    class Peer(Server):
        """A peer that is there, or not."""
        def __init__(self, name, there):
            self.name, self.there = name, there

        def is_installed(self):
            return self.there
    here, away = Peer("here", True), Peer("away", False)
    monkeypatch.setattr(servers, "PEERS", (here, away))
    assert servers.peers_named("auto") == servers.peers_named("here") == [here]
    assert servers.peers_named("none") == []
    for name, why in (("away", "away is not installed"), ("here,nobody", "nobody is unknown")):
        with pytest.raises(ValueError, match=why):
            servers.peers_named(name)


def test_doubts_are_told():
    assert doubts_of(None, 0.0) == doubts_of(0.95, 0.1) == ""
    assert doubts_of(0.46, 0.0) == "the disturbance reached only 46% of its rate"
    assert doubts_of(0.5, 0.25) == "the disturbance reached only 50% of its rate; others had 25% of the server's CPU"


def test_figures_default_to_no_goal_and_no_factor():
    assert Figure("x", "y") == Figure("x", "y", "", 1.0)
