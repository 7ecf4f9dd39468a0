"""What operators install beside the bridge (k8s/monitoring), read for the tests."""
import json
import re
import textwrap

from .tables import ROOT

FOLDER = ROOT / "k8s/monitoring"
RUNBOOK = ROOT / "k8s/RUNBOOK.md"
VARIABLES = {"$__rate_interval": "1m", "$namespace": ".*", "$job": ".*", "$pod": ".*"}


def rule_groups():
    """spec.groups of the PrometheusRule, as a rules file."""
    return textwrap.dedent((FOLDER / "rules.yaml").read_text().split("\nspec:\n", 1)[1])


def dashboard():
    """The dashboard of Grafana."""
    return json.loads((FOLDER / "dashboard.json").read_text())


def panel_queries():
    """[(title of the panel, query with Grafana's variables)]."""
    return [(panel["title"], target["expr"]) for panel in dashboard()["panels"] for target in panel.get("targets", [])]


def annotation_queries():
    """The same of what is drawn across all panels."""
    return [(entry["name"], entry["expr"]) for entry in dashboard()["annotations"]["list"]]


def runbook_queries():
    """What the runbook has operators ask."""
    return re.findall(r"^```promql\n(.+?)\n```$", RUNBOOK.read_text(), re.M | re.S)


def filled_in(query):
    """As Grafana asks it when everything is selected."""
    for name, value in VARIABLES.items():
        query = query.replace(name, value)
    assert "$" not in query, query
    return query


def metric_names(query):
    """The metrics that a query names: identifiers of ours and of processes, without the bodies of label matchers."""
    return set(re.findall(r"\b(?:agentbridge|process)_\w+", re.sub(r'"[^"]*"', "", query)))
