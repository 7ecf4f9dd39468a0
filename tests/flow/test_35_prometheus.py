"""A real Prometheus: it reads both formats alike, the rules work in it, and every query of the dashboard has an answer."""
import math
import time

import pytest
from harness import metrics, wait_until
from harness.jwks_server import IssuerKey, JwksServer
from harness.monitoring import annotation_queries, filled_in, panel_queries, rule_groups, runbook_queries
from harness.prometheus import Prometheus, TextOnly

OPEN = "application/openmetrics-text; version=1.0.0; charset=utf-8"
TEXT = "text/plain; version=0.0.4; charset=utf-8"
PROMETHEUS_2 = ("application/openmetrics-text;version=1.0.0,application/openmetrics-text;version=0.0.1;q=0.75,"
                "text/plain;version=0.0.4;q=0.5,*/*;q=0.1")
RUN = ("agent_started", "agent_thinking", "tool_executing", "tool_completed", "agent_completed")


@pytest.mark.parametrize("accept, expected", [
    (None, TEXT), ("*/*", TEXT), ("text/plain", TEXT), ("text/html,application/xhtml+xml,*/*;q=0.8", TEXT),
    ("application/openmetrics-text", OPEN), ("application/openmetrics-text; version=1.0.0", OPEN), (PROMETHEUS_2, OPEN),
    ("application/openmetrics-text;version=0.0.1", TEXT), ("application/openmetrics-text;q=0", TEXT),
    ("application/openmetrics-text;q=0.4, text/plain;q=0.5", TEXT), ("application/openmetrics-text, */*", OPEN)])
def test_format_that_is_asked_for(bridge, accept, expected):
    """OpenMetrics for those who name it and like nothing better; its end and its families are its own."""
    answer = bridge.http("GET", "/metrics", headers={"Accept": accept} if accept else {})
    text = answer.body.decode()
    assert (answer.status, answer.headers["content-type"], answer.headers["vary"]) == (200, expected, "Accept")
    assert text.endswith("\n# EOF\n") == (expected == OPEN)
    family = "agentbridge_handshakes" + ("" if expected == OPEN else "_total")
    assert metrics.families(text)[family] == "counter"


def test_limits(bridge, stack, runtime):
    """What alerts compare with is what is in force."""
    assert bridge.metric("connections_max") == 10000 and bridge.metric("history_max_bytes") == 268435456
    assert (bridge.metric("jwks_max_age_seconds"), bridge.metric("jwks_stale_seconds")) == (0, 0)
    small = stack.bridge(runtime, bridge_id="small", max_connections=7, history_total_bytes=1000,
                         jwks_url="http://127.0.0.1:9/none", jwks_max_age_s=60, jwks_stale_s=120, start=False)
    small.start()
    assert (small.metric("connections_max"), small.metric("history_max_bytes")) == (7, 1000)
    assert (small.metric("jwks_max_age_seconds"), small.metric("jwks_stale_seconds")) == (60, 120)


def answer_with_a_run(runtime, command):
    """The agent: five events for every message."""
    for kind in RUN if command.command == "MESSAGE" else ():
        runtime.emit(command.user_id, {"type": kind, "run_id": command.body.decode(), "timestamp": time.time()})


def converse(client, run):
    """One message and the run that it leads to."""
    client.send(run)
    assert [client.recv_event()["type"] for _ in RUN] == list(RUN)


def test_both_formats_are_the_same(stack):
    """Every series and value, with the types that each format gives them; histograms answer quantiles."""
    runtime = stack.runtime(handler=answer_with_a_run)
    bridge = stack.bridge(runtime, runtime_ping_s=3600)  # nothing changes between two scrapes
    client = stack.connect("alice")
    converse(client, '{"type":"user_message"}')
    with TextOnly(bridge) as text, Prometheus({"open": bridge.ports["admin"], "text": text.port}) as prometheus:
        prometheus.wait_value('sum(agentbridge_events_delivered_total{job="open"})', 5)
        prometheus.wait_value('sum(agentbridge_events_delivered_total{job="text"})', 5)
        assert "application/openmetrics-text;version=1.0.0" in text.accepts[0]
        compare_formats(prometheus)
        for job, family in (("open", "agentbridge_runs"), ("text", "agentbridge_runs_total")):
            described = prometheus.api("targets/metadata", match_target=f'{{job="{job}"}}', metric=family)
            assert [entry["type"] for entry in described] == ["counter"], job
        assert math.isnan(prometheus.value(  # nothing has ended
            'histogram_quantile(0.5, agentbridge_connection_duration_seconds_bucket{job="open"})'))
        assert 0 < prometheus.value('histogram_quantile(1, agentbridge_event_delivery_seconds_bucket{job="open"})') <= 10
        assert prometheus.log() == ""


def compare_formats(prometheus):
    """Series of the bridge by job, process metrics left out: they differ from scrape to scrape."""
    samples = prometheus.query('{__name__=~"agentbridge_.+",__name__!~".*http_requests.*"}')
    names = prometheus.api("series", **{"match[]": '{__name__=~"agentbridge_.+"}'})
    by_job = {job: sorted(str(sorted((key, value) for key, value in series.items() if key not in ("job", "instance", "pod")))
                          for series in names if series["job"] == job) for job in ("open", "text")}
    assert by_job["open"] == by_job["text"] and len(by_job["open"]) == len(set(by_job["open"])) > 200
    values = {job: sorted(value for labels, value in samples if labels["job"] == job) for job in ("open", "text")}
    assert values["open"] == values["text"]


@pytest.fixture(name="busy")
def busy_fixture(stack, authority, tmp_path):
    """A bridge that uses everything that the dashboard shows, and its runtime: TLS, keys by URL."""
    issuer = JwksServer(tmp_path, tls=False)
    issuer.keys = [IssuerKey("first")]
    issuer.start()
    runtime = stack.runtime(handler=answer_with_a_run)
    bridge = stack.bridge(runtime, jwks_url=issuer.url, runtime_ping_s=1, **authority.pair().write(tmp_path))
    yield bridge, runtime
    issuer.stop()


def test_dashboard_and_rules(busy, stack, authority):
    """Under load every query of the dashboard gives numbers, and every rule is evaluated; no alert fires."""
    bridge, runtime = busy
    with Prometheus({"agentbridge": bridge.ports["admin"]}, rule_groups()) as prometheus:
        prometheus.wait_value("sum(agentbridge_connections)", 0)
        trips = bridge.metric("runtime_round_trip_seconds_count")
        for number in range(3):
            client = stack.connect(f"user-{number}", tls=authority.context())
            for message in range(4):
                converse(client, '{"type":"user_message","n":%d}' % message)
        client.close()
        runtime.wait_command("DISCONNECT")
        prometheus.wait_value("sum(agentbridge_events_delivered_total)", 60)
        prometheus.wait_value("agentbridge_connection_duration_seconds_count", 1)
        wait_until(lambda: prometheus.value("agentbridge_runtime_round_trip_seconds_count") > trips, 20, "a round trip")
        unanswered = [(title, query) for title, query in panel_queries() if not prometheus.finite(filled_in(query))]
        assert not unanswered, unanswered
        assert all(prometheus.finite(query) for query in runbook_queries())
        for _, query in annotation_queries():
            prometheus.query(filled_in(query))
        wait_until(lambda: all_evaluated(prometheus), 20, "every rule evaluated", poll=0.1)
        assert prometheus.query('ALERTS{alertstate="firing"}') == []
        prometheus.wait_value("job:agentbridge_runs_incomplete:ratio_increase30m", 0)


def all_evaluated(prometheus):
    """Whether every rule has been evaluated; none may have failed."""
    rules = [rule for group in prometheus.api("rules")["groups"] for rule in group["rules"]]
    assert not [rule for rule in rules if rule["health"] == "err"], rules
    return len(rules) > 20 and all(rule["health"] == "ok" for rule in rules)
