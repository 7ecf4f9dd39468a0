"""Probes, health and metrics as orchestrators and Prometheus read them."""
import http.client
import json
import shutil
import subprocess
import time

import pytest
from harness import metrics, scaled, tables

KEYS = {"status", "timestamp", "environment", "version", "uptime_s", "checks", "metrics", "config", "e2e_testing"}
CHECKS = {"runtime_commands", "runtime_events", "auth_keys", "accepting", "engine"}
NUMBERS = {"active_connections", "total_connections", "active_users", "active_runs", "error_rate"}


@pytest.mark.parametrize("port, path", [("public", "/ws/health"), ("public", "/health/websocket"), ("admin", "/ws/health")])
def test_health(bridge, runtime, stack, port, path):
    """Exactly the keys of the contract, with true values; no id and no secret."""
    client = stack.connect("alice")
    stack.connect("alice").close()
    runtime.wait_command("DISCONNECT")
    answer = bridge.http("GET", path, port)
    health = json.loads(answer.body)
    assert answer.status == 200 and answer.headers["content-type"].startswith("application/json")
    assert set(health) == KEYS
    assert (health["status"], health["environment"]) == ("healthy", "test")
    assert health["version"] and health["uptime_s"] >= 0
    assert health["checks"] == dict.fromkeys(CHECKS, True)
    assert set(health["metrics"]) == NUMBERS
    assert (health["metrics"]["active_connections"], health["metrics"]["active_users"]) == (1, 1)
    assert health["metrics"]["total_connections"] == 2
    assert set(health["config"]) == {"pre_connection_auth_required", "subprotocols"}
    assert health["config"]["pre_connection_auth_required"] is True
    assert set(tables.subprotocols()) <= set(health["config"]["subprotocols"])
    assert health["e2e_testing"] == {"enabled": False, "auth_bypass_active": False}
    text = answer.body.decode()
    assert client.connection_id not in text and "alice" not in text and stack.keys.secret not in text


def test_probes(bridge):
    """livez, startupz and readyz of a healthy bridge; HEAD and POST are answered sensibly."""
    for path in ("/livez", "/startupz", "/readyz"):
        assert bridge.http("GET", path).status == 200
    assert bridge.http("GET", "/nope").status == 404
    assert bridge.http("POST", "/metrics").status in (404, 405)
    assert bridge.http("GET", "/livez", "public").status == 404


KINDS = {"COUNTER": "counter", "GAUGE": "gauge",
         **dict.fromkeys(("HISTOGRAM_FAST", "HISTOGRAM_WAIT", "HISTOGRAM_SLOW", "HISTOGRAM_LIFE"), "histogram")}
LABELS = {"CONN_STATE": ("state", tables.conn_states), "EVENT_TYPE": ("type", lambda: tables.event_types() + ["other"]),
          "HANDSHAKE": ("result", lambda: ["ok"] + [code.lower() for code in tables.error_codes()])}


def test_every_metric_is_there(bridge):
    """Each row of the table from the first scrape on, with its kind and every label value."""
    answer = bridge.http("GET", "/metrics")
    assert answer.headers["content-type"].startswith("text/plain")
    text = answer.body.decode()
    kinds = metrics.families(text)
    samples = metrics.parse(text)
    for row in tables.metrics():
        full = metrics.PREFIX + row.name
        assert kinds.get(full) == KINDS[row.kind], row
        if row.labels in LABELS:
            label, values = LABELS[row.labels]
            seen = {dict(labels)[label] for name, labels in samples if name == full}
            assert seen == set(values()), row
    for name in ("process_cpu_seconds_total", "process_resident_memory_bytes", "process_open_fds",
                 "process_start_time_seconds"):
        assert metrics.value(samples, name) > 0
    assert abs(metrics.value(samples, "process_start_time_seconds") - time.time()) < 120
    assert all(line.startswith(("# HELP ", "# TYPE ")) for line in text.splitlines() if line.startswith("#"))


def test_no_ids_in_labels(bridge, runtime, stack):
    """Neither users nor connections nor strange event types become labels."""
    client = stack.connect("alice")
    runtime.emit("alice", {"type": "odd-type"})
    client.recv_event()
    text = bridge.http("GET", "/metrics").body.decode()
    assert not any(word in text for word in ("alice", client.connection_id, "odd-type"))


def test_build_info(bridge):
    """build_info is 1 and names the version that /ws/health names."""
    samples = bridge.metrics()
    labels = [dict(labels) for name, labels in samples if name == "agentbridge_build_info"]
    assert len(labels) == 1
    assert labels[0]["version"] == bridge.get_json("/ws/health")[1]["version"]


def test_histograms(bridge, runtime, stack):
    """Buckets are cumulative and end with the count."""
    client = stack.connect("alice")
    runtime.emit("alice", {"type": "agent_started", "timestamp": time.time()})
    client.recv_event()
    client.close()
    runtime.wait_command("DISCONNECT")
    samples = bridge.metrics()
    for name in ("connection_setup_seconds", "connection_duration_seconds", "event_delivery_seconds"):
        full = metrics.PREFIX + name
        buckets = sorted((float(dict(labels)["le"]), value) for (other, labels), value in samples.items()
                         if other == full + "_bucket")
        counts = [value for _, value in buckets]
        assert counts == sorted(counts) and buckets[-1] == (float("inf"), 1)
        assert metrics.value(samples, name + "_count") == 1
        assert 0 <= metrics.value(samples, name + "_sum") < 60


def test_promtool(bridge, runtime, stack):
    """promtool finds nothing to complain about."""
    promtool = shutil.which("promtool")
    if not promtool:
        pytest.skip("promtool (package prometheus) is not installed")
    client = stack.connect("alice")
    runtime.emit("alice", {"type": "agent_started", "timestamp": time.time()})
    client.recv_event()
    text = bridge.http("GET", "/metrics").body
    checked = subprocess.run([promtool, "check", "metrics"], input=text, capture_output=True, check=False)
    assert checked.returncode == 0 and not checked.stderr, checked.stderr.decode()


def test_metrics_are_not_public(bridge):
    """The public port shows neither metrics nor drain."""
    for path in ("/metrics", "/drain", "/readyz", "/startupz"):
        assert bridge.http("GET", path, "public").status == 404
    assert bridge.metric("draining") == 0


def test_http_requests_are_counted(bridge):
    """http_requests_total by class, both ports together."""
    before = bridge.metric("http_requests_total", **{"class": "4xx"})
    for _ in range(3):
        bridge.http("GET", "/nope", "public")
    bridge.http("GET", "/nope")
    bridge.wait_metric("http_requests_total", before + 4, **{"class": "4xx"})


def test_many_scrapes_at_once(bridge):
    """Probes on a kept connection and many in a row."""
    connection = http.client.HTTPConnection("127.0.0.1", bridge.ports["admin"], timeout=scaled(10))
    for path in ("/livez", "/metrics", "/ws/health", "/readyz") * 10:
        connection.request("GET", path)
        answer = connection.getresponse()
        assert answer.status == 200 and answer.read()
    connection.close()
