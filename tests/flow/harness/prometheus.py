"""A real Prometheus that scrapes bridges, and the API by which it is asked."""
import http.client
import http.server
import json
import math
import pathlib
import shutil
import subprocess
import tempfile
import threading
import urllib.parse

import pytest
from ports import free_port

from .timing import scaled, wait_until

CONFIG = """
global: {scrape_interval: 500ms, scrape_timeout: 500ms, evaluation_interval: 500ms}
rule_files: [rules-*.yaml]
scrape_configs:
"""
JOB = "  - {{job_name: {job}, static_configs: [{{targets: ['127.0.0.1:{port}'], labels: {{namespace: test, pod: {job}}}}}]}}\n"


def program(name):
    """`prometheus` or `promtool`; the test is skipped when it is not there."""
    found = shutil.which(name)
    if not found:
        pytest.skip(f"{name} (package prometheus) is not installed")
    return found


class Prometheus:
    """Scrapes `targets` ({job: port}) twice a second and evaluates `rules` (text of a rules file) as often."""

    def __init__(self, targets, rules=None):
        self._binary = program("prometheus")
        self._folder = pathlib.Path(tempfile.mkdtemp(prefix="flow-prometheus-"))
        self._port = free_port()
        self._process = None
        jobs = "".join(JOB.format(job=job, port=port) for job, port in targets.items())
        (self._folder / "prometheus.yml").write_text(CONFIG + jobs)
        if rules:
            (self._folder / "rules-all.yaml").write_text(rules)

    def __enter__(self):
        with open(self._folder / "log", "wb") as log:
            self._process = subprocess.Popen(
                [self._binary, "--config.file=prometheus.yml", "--storage.tsdb.path=data", "--log.level=warn",
                 f"--web.listen-address=127.0.0.1:{self._port}"], cwd=self._folder, stdin=subprocess.DEVNULL, stdout=log,
                stderr=subprocess.STDOUT)
        wait_until(self._is_ready, 30, "a Prometheus that is ready")
        return self

    def __exit__(self, *_):
        self._process.kill()
        self._process.wait()
        shutil.rmtree(self._folder, ignore_errors=True)

    def log(self):
        """What it has written."""
        return (self._folder / "log").read_text()

    def _is_ready(self):
        assert self._process.poll() is None, self.log()
        try:
            return self._http("/-/ready")[0] == 200
        except OSError:
            return False

    def _http(self, path):
        connection = http.client.HTTPConnection("127.0.0.1", self._port, timeout=scaled(10))
        try:
            connection.request("GET", path)
            answer = connection.getresponse()
            return answer.status, answer.read()
        finally:
            connection.close()

    def api(self, name, **parameters):
        """`data` of the answer."""
        status, body = self._http(f"/api/v1/{name}?{urllib.parse.urlencode(parameters)}")
        answer = json.loads(body)
        assert status == 200 and answer["status"] == "success" and "warnings" not in answer, (name, parameters, answer)
        return answer["data"]

    def query(self, text):
        """[(labels without name, value)] of an instant vector."""
        found = self.api("query", query=text)
        assert found["resultType"] == "vector", (text, found)
        return [({name: value for name, value in sample["metric"].items() if name != "__name__"}, float(sample["value"][1]))
                for sample in found["result"]]

    def value(self, text):
        """The one value that this query gives; None as long as it gives none."""
        found = self.query(text)
        assert len(found) < 2, (text, found)
        return found[0][1] if found else None

    def wait_value(self, text, expected, timeout=30):
        """Until a query gives exactly this value."""
        wait_until(lambda: self.value(text) == expected, timeout, f"{text} = {expected}", poll=0.1)

    def finite(self, text):
        """Whether a query gives something, and only numbers."""
        found = self.query(text)
        return bool(found) and all(math.isfinite(value) for _, value in found)


class _Handler(http.server.BaseHTTPRequestHandler):
    """Asks the bridge for the one format."""

    def do_GET(self):  # pylint: disable=invalid-name
        """One scrape."""
        owner = self.server.owner
        owner.accepts.append(self.headers["Accept"])
        answer = owner.bridge.http("GET", self.path, headers={"Accept": "text/plain"})
        self.send_response(answer.status)
        self.send_header("Content-Type", answer.headers["content-type"])
        self.send_header("Content-Length", str(len(answer.body)))
        self.end_headers()
        self.wfile.write(answer.body)

    def log_message(self, format, *args):  # pylint: disable=redefined-builtin
        """Nothing."""


class TextOnly:
    """Stands before the admin port of a bridge and asks for Prometheus text, whatever the scraper would rather have;
    `accepts` is what that was."""

    def __init__(self, bridge):
        self.bridge = bridge
        self.accepts = []
        self.port = free_port()
        self._server = http.server.ThreadingHTTPServer(("127.0.0.1", self.port), _Handler)
        self._server.owner = self

    def __enter__(self):
        threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()
        return self

    def __exit__(self, *_):
        self._server.shutdown()
        self._server.server_close()
