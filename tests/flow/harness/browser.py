"""Chromium, driven through playwright-core by a Node process (browser.mjs)."""
import json
import os
import pathlib
import select
import shutil
import subprocess
import tempfile

import pytest

from .tables import ROOT
from .timing import scaled

PAGE = ROOT / "bridge/page"
SHOTS = ROOT / "build/screenshots"


def need_packages():
    """The page's npm packages, installed; skips when they cannot be had, and in builds that cannot tell more."""
    if os.environ.get("AGENTBRIDGE_BUILD", "release") != "release":
        pytest.skip("the page is the same in every build; the release build's tests look at it")
    if not (shutil.which("node") and shutil.which("npm")):
        pytest.skip("node and npm are not installed")
    done = subprocess.run([PAGE / "build", "--packages"], capture_output=True, text=True, timeout=300, check=False)
    if done.returncode:
        pytest.skip("the page's npm packages cannot be had: " + done.stderr.strip()[-200:])


class Browser:
    """One Chromium. `open` makes a page, `run` runs code in the driver's process, where `page` is playwright's."""

    def __init__(self):
        need_packages()
        chromium = shutil.which("chromium")
        if not chromium:
            pytest.skip("chromium is not installed")
        driver = pathlib.Path(__file__).with_name("browser.mjs")
        self._log = tempfile.TemporaryFile()  # pylint: disable=consider-using-with
        self._process = subprocess.Popen(["node", driver, PAGE / "package.json", chromium],
                                         stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=self._log)

    def _ask(self, question):
        self._process.stdin.write(json.dumps(question).encode() + b"\n")
        self._process.stdin.flush()
        ready, _, _ = select.select([self._process.stdout], [], [], scaled(120))
        line = self._process.stdout.readline() if ready else b""
        assert line, f"the browser does not answer; {self._said()}"
        answer = json.loads(line)
        assert "error" not in answer, answer["error"]
        return answer["value"]

    def _said(self):
        self._log.seek(0)
        return self._log.read().decode("utf-8", "replace")[-2000:]

    def open(self, url, **options):
        """A new page with these options of playwright's newContext."""
        options = {"timeout": scaled(45) * 1000, "viewport": {"width": 1280, "height": 1000}, **options}
        self._ask({"options": options, "code": f"await page.goto({json.dumps(url)})"})
        return self

    def run(self, code):
        """Run JavaScript in the driver; what it returns."""
        return self._ask({"code": code})

    def text(self, selector):
        """The text of an element."""
        return self.run(f"return (await page.textContent({json.dumps(selector)})).trim()")

    def wait_text(self, selector, pattern):
        """Until the text of an element matches this regular expression; the text."""
        code = ("([selector, pattern]) => { const text = document.querySelector(selector)?.textContent ?? ''; "
                "return new RegExp(pattern).test(text) && (text.trim() || ' '); }")
        return self.run(f"return (await page.waitForFunction({code}, {json.dumps([selector, pattern])})).jsonValue()").strip()

    def shot(self, name):
        """Keep a picture as an artifact of the tests."""
        SHOTS.mkdir(parents=True, exist_ok=True)
        path = SHOTS / f"{name}.png"
        self.run(f"await page.screenshot({{path: {json.dumps(str(path))}, fullPage: true}})")
        assert path.read_bytes()[:4] == b"\x89PNG"

    def check_clean(self, *rules):
        """axe-core finds nothing (by these rules alone, when some are named), and the page's console is empty."""
        found = self.run(f"return audit({json.dumps(list(rules) or None)})") + self.run("return faults")
        assert not found, "\n".join(found)

    def finish(self):
        """Close it."""
        self._process.stdin.close()
        try:
            self._process.wait(scaled(15))
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._process.stdout.close()
        self._log.close()
