"""What operators install: every alert of the issue fires and is silent as it should, has a chapter of the runbook, and nothing
names a metric that is not there."""
import re
import subprocess

import pytest
from harness import tables
from harness.metrics import PREFIX
from harness.monitoring import (FOLDER, RUNBOOK, annotation_queries, dashboard, metric_names, panel_queries, rule_groups,
                                runbook_queries)
from harness.prometheus import program

yaml = pytest.importorskip("yaml", reason="python3-yaml is not installed")

ALERTS = {"BridgeAbsent", "RuntimeLinkDown", "HandshakeFailureRatio", "HandshakeClientFaults", "EventDeliverySlow", "EventsLost",
          "IsolationViolation", "FirstEventSlow", "RunsIncomplete", "RunsStuck", "SlowConsumerCloses", "AuthBreakerOpen",
          "JwksStale", "AuthBypassInUse", "ConnectionsNearLimit", "ConnectionSetupSlow", "HistoryEvicting"}
PROCESS = {"process_cpu_seconds_total", "process_resident_memory_bytes", "process_virtual_memory_bytes", "process_open_fds",
           "process_max_fds", "process_start_time_seconds"}
PROMISED = """build_info connections users handshakes_total connection_setup_seconds connection_duration_seconds
connections_closed_total auth_bypass_total state_transition_errors_total client_messages_total events_received_total
events_delivered_total events_dropped_total events_coalesced_total event_delivery_seconds isolation_violations_total
event_gaps_total events_repaired_total events_lost_total resumes_total replayed_events_total history_bytes history_events
history_evicted_total outbound_queue_bytes runtime_link_up runtime_round_trip_seconds runtime_commands_total runs_active
runs_total run_first_event_seconds run_event_gap_seconds run_duration_seconds runs_stalled jwks_refreshes_total
jwks_last_success_timestamp_seconds auth_breaker_state draining""".split()
SUFFIXES = ("", "_bucket", "_sum", "_count")


def rules():
    """All rules of all groups."""
    return [rule for group in yaml.safe_load(rule_groups())["groups"] for rule in group["rules"]]


def alerts():
    """Those that are alerts."""
    return [rule for rule in rules() if "alert" in rule]


def known_metrics():
    """Every name that a scrape brings."""
    ours = {PREFIX + row.name + suffix for row in tables.metrics()
            for suffix in (SUFFIXES[1:] if row.kind.startswith("HISTOGRAM") else SUFFIXES[:1])}
    return ours | PROCESS


def test_names_that_others_rely_on():
    """Dashboards and rules of others go on working: these names stay. No unit but base units, counters end with _total."""
    rows = {row.name: row for row in tables.metrics()}
    assert set(PROMISED) <= set(rows)
    for name, row in rows.items():
        assert name.endswith("_total") == (row.kind == "COUNTER"), name
        assert name.endswith("_seconds") or not row.kind.startswith("HISTOGRAM"), name
        assert not re.search(r"_(ms|milliseconds|minutes|kb|kilobytes|percent)(_|$)", name), name


def test_check(tmp_path):
    """promtool finds the rules sound and every alert as its tests say; it does notice an alert that is gone, and one that
    always fires."""
    program("promtool")
    check = [FOLDER / "check"]
    good = subprocess.run(check, capture_output=True, text=True, check=False)
    assert good.returncode == 0, good.stdout + good.stderr
    text = (FOLDER / "rules.yaml").read_text()
    for name, expression in (("mute", "vector(0) > 1"), ("loud", "vector(1)")):
        broken = re.sub(r"(alert: RunsStuck\n\s+expr: ).*", rf"\g<1>{expression}", text)
        assert broken != text
        (tmp_path / name).write_text(broken)
        checked = subprocess.run([*check, tmp_path / name, only_tests_of("RunsStuck", tmp_path)], capture_output=True,
                                 text=True, check=False)
        assert checked.returncode == 1 and "RunsStuck" in checked.stdout + checked.stderr


def only_tests_of(alert, folder):
    """A file with the tests of one alert: promtool takes its time for all of them."""
    document = yaml.safe_load((FOLDER / "rules_test.yaml").read_text())
    document["tests"] = [test for test in document["tests"] if test["name"].startswith(alert)]
    assert document["tests"]
    file = folder / f"{alert}.yaml"
    file.write_text(yaml.safe_dump(document))
    return file


def test_every_alert_is_tried():
    """Once where it fires and once where it is silent, each severity of it."""
    fires, silent = set(), set()
    for test in yaml.safe_load((FOLDER / "rules_test.yaml").read_text())["tests"]:
        for entry in test.get("promql_expr_test", []):
            name = re.search(r'alertname="(\w+)"', entry["expr"])[1]
            if not entry["exp_samples"]:
                silent.add(name)
            fires.update((name, re.search(r'severity="(\w+)"', sample["labels"])[1]) for sample in entry["exp_samples"])
    assert fires == {(rule["alert"], rule["labels"]["severity"]) for rule in alerts()}
    assert silent == {rule["alert"] for rule in alerts()} == ALERTS


def test_every_alert_says_what_to_do():
    """Severity, for, texts, and a link to a chapter of the runbook that says three things; no chapter without an alert."""
    chapters = dict(re.findall(r"^## (\w+)\n(.*?)(?=^## |\Z)", RUNBOOK.read_text(), re.M | re.S))
    for rule in alerts():
        assert rule["labels"] in ({"severity": "warning"}, {"severity": "critical"})
        assert re.fullmatch(r"\d+m", rule["for"])
        assert set(rule["annotations"]) == {"summary", "description", "runbook_url"}
        assert rule["annotations"]["runbook_url"].endswith("/RUNBOOK.md#" + rule["alert"].lower())
        assert all(f"**{part}**" in chapters[rule["alert"]] for part in ("Means.", "Look.", "Do.")), rule["alert"]
    assert set(chapters) == ALERTS


def test_runbook_names_what_there_is():
    """Log ids, error codes, options, metrics, label values, files that it links to."""
    text = RUNBOOK.read_text()
    table = "".join((tables.ROOT / "bridge/tbl" / name).read_text() for name in ("log_ids.h", "client_errors.h"))
    known = set(re.findall(r"^(?:LOG_ID|CLIENT_ERROR) \((\w+)", table, re.M)) | set(tables.error_codes())
    words = set(re.findall(r"`([A-Z][A-Z0-9]*(?:_[A-Z0-9]+)+)`", text)) | set(re.findall(r'\.id == "(\w+)"', text))
    assert words - known == {"RUNTIME_LOST", "E2E_OAUTH_SIMULATION_KEY"}
    assert set(re.findall(r"`([a-z0-9]+(?:-[a-z0-9]+)+)`", text)) <= {row.name for row in tables.options()} | {"like-this"}
    assert all(metric_names(query) <= known_metrics() for query in runbook_queries())
    assert set(re.findall(r"`(agentbridge_\w+)", text)) <= known_metrics() | {"agentbridge_runtime_round_trip_seconds"}
    for link in re.findall(r"\]\(([^)#]+)", text):
        assert (RUNBOOK.parent / link).exists(), link


def test_rules_name_what_there_is():
    """Metrics of the tables, or series that a rule above has recorded; label values of the tables."""
    recorded = set()
    for rule in rules():
        names = metric_names(re.sub(r"\b(?:job|instance):\w+:\w+", "", rule["expr"]))
        assert names <= known_metrics(), rule
        assert set(re.findall(r"\b(?:job|instance):\w+:\w+", rule["expr"])) <= recorded, rule
        recorded.add(rule.get("record"))


@pytest.mark.parametrize("source", [rule_groups, lambda: "\n".join(query for _, query in panel_queries()),
                                    lambda: "\n".join(runbook_queries())], ids=["rules", "dashboard", "runbook"])
def test_results_of_handshakes_exist(source):
    """An error code that is renamed leaves no alert or panel behind that looks for the old one."""
    known = {"ok"} | {code.lower() for code in tables.error_codes()}
    named = re.findall(r'(?<![a-z_])result[!=]~?"([a-z_|]+)"', source())
    used = {word for value in named for word in value.split("|")} - {"recovered"}
    assert used and used <= known


def test_dashboard_names_what_there_is():
    """Metrics of the tables only, so that it works without the rules; every metric of a panel is of bridges."""
    for title, query in panel_queries() + annotation_queries():
        assert metric_names(query) <= known_metrics() | {"process"}, title
        assert "job:" not in query and "instance:" not in query, title
    for panel in dashboard()["panels"]:
        assert panel["type"] == "row" or panel["description"].endswith("."), panel["title"]


def test_dashboard_shows_all_that_matters():
    """Its rows, and a panel for nearly every metric."""
    rows = [panel["title"] for panel in dashboard()["panels"] if panel["type"] == "row"]
    assert rows == ["Golden path", "Latency", "Saturation", "Isolation and loss", "Auth and TLS", "Runtime"]
    shown = set().union(*(metric_names(query) for _, query in panel_queries()))
    shown = {re.sub(r"_(bucket|sum|count)$", "", name) for name in shown}
    left_out = {row.name for row in tables.metrics() if PREFIX + row.name not in shown}
    assert left_out == {"forwarded_unusable_total", "rates_tracked", "reserved_keys_total", "tls_connections",
                        "history_events", "jwks_max_age_seconds", "tokens_total"}


def test_dashboard_panels_have_room():
    """Ids are their own, nothing lies over something else, every query names its source."""
    panels = dashboard()["panels"]
    assert len({panel["id"] for panel in panels}) == len(panels)
    taken = set()
    for panel in panels:
        place = panel["gridPos"]
        cells = {(x, y) for x in range(place["x"], place["x"] + place["w"]) for y in range(place["y"], place["y"] + place["h"])}
        assert not cells & taken and place["x"] + place["w"] <= 24, panel["title"]
        taken |= cells
    assert all(target["datasource"]["uid"] == "${datasource}" for panel in panels for target in panel.get("targets", []))
