"""The status page in a real Chromium: right numbers, charts that move, loss of contact, the Try tab, accessibility."""
import json
import time

import pytest
from harness import tokens
from harness.browser import Browser


@pytest.fixture(scope="module", name="browser")
def browser_fixture():
    """A Chromium for all tests here."""
    browser = Browser()
    yield browser
    browser.finish()


def page_url(bridge):
    """Where the page is."""
    return f"http://127.0.0.1:{bridge.ports['admin']}/"


def number(browser, value):
    """What the page shows there."""
    return browser.text(f'[data-value="{value}"]')


def row(browser, table, name):
    """The cells of this row."""
    return browser.run(f"""
        const row = page.locator('table[data-rows={table}] tr', {{ has: page.getByRole('rowheader', {{ name: {json.dumps(name)}, exact: true }}) }});
        return row.locator('td').allTextContents()""")


def emit_run(runtime, user, run, ended):
    """A run with three events, ended or not."""
    kinds = ["agent_started", "agent_thinking", "agent_completed" if ended else "agent_thinking"]
    for kind in kinds:
        runtime.emit(user, {"type": kind, "run_id": run, "timestamp": time.time()})


def test_numbers_and_charts(browser, bridge, runtime, stack):
    """Three connections of two users, two runs of three events: the page says so, and its charts go on."""
    clients = stack.connect_all(["alice", "alice", "bob"])
    emit_run(runtime, "alice", "r1", ended=True)
    emit_run(runtime, "bob", "r2", ended=False)
    for client in clients:
        client.recv_events(3)
    browser.open(page_url(bridge))
    browser.wait_text("#health", "^Healthy$")
    browser.wait_text('[data-value="events.delivered"]', "^9$")
    assert [number(browser, value) for value in ("live.connections", "connections.users", "events.received", "runs.active")] == [
        "3", "2", "6", "1"]
    assert row(browser, "states", "processing") == ["1"] and row(browser, "states", "closing") == ["0"]
    assert row(browser, "ages", "under 10 s") == ["1"] or row(browser, "ages", "10 s to 1 min") == ["1"]
    assert row(browser, "ended", "completed") == ["1"]
    assert row(browser, "links", "events " + bridge.options["runtime_events"]) == ["up"]
    browser.run("await page.waitForFunction(() => Number(document.getElementById('chart-events').dataset.points) >= 2)")
    before = browser.run("return page.evaluate(() => document.querySelector('#chart-events canvas').toDataURL())")
    for _ in range(200):
        runtime.emit("bob", {"type": "stream_chunk", "run_id": "r2", "timestamp": time.time()})
    browser.wait_text('[data-value="events.received"]', "^206$")
    browser.run("await page.waitForFunction(() => /highest: in \\d\\d/.test(document.getElementById('chart-events').ariaLabel))")
    assert browser.run("return page.evaluate(() => document.querySelector('#chart-events canvas').toDataURL())") != before
    browser.wait_text('[data-value="latency.event_delivery_last_minute.2"]', "m?s$")
    assert not any(word in browser.text("main") for word in ("alice", "bob", clients[0].connection_id))
    assert browser.run("return faults") == []


LOOKS = {"light": "await page.emulateMedia({colorScheme: 'light'})", "dark": "await page.emulateMedia({colorScheme: 'dark'})",
         "phone": "await page.setViewportSize({width: 390, height: 844})"}

RULES = {"light": [], "dark": ["color-contrast"]}  # all, and what the colours change


@pytest.mark.long
def test_looks(browser, bridge, stack):
    """Light, dark and on a phone: nothing is cut off; names and, in both, contrast are as axe wants them, in every tab."""
    stack.connect("alice")
    browser.open(page_url(bridge))
    browser.wait_text("#health", "^Healthy$")
    browser.run("await page.waitForFunction(() => Number(document.getElementById('chart-load').dataset.points) >= 2)")
    grounds = set()
    for look, change in LOOKS.items():
        browser.run(change)
        grounds.add(browser.run("return page.evaluate(() => getComputedStyle(document.body).backgroundColor)"))
        for tab in ("overview", "config", "try"):
            browser.run(f"await page.click('#tab-{tab}')")
            assert browser.run("return page.evaluate(() => document.documentElement.scrollWidth <= innerWidth)"), (look, tab)
            browser.shot(f"status-{look}-{tab}")
            if look != "phone":
                browser.check_clean(*RULES[look])
    assert len(grounds) == 2


def test_configuration(browser, bridge, stack):
    """As check-config prints it, secrets masked; the filter finds an option."""
    browser.open(page_url(bridge))
    browser.wait_text("#health", "^Healthy$")
    browser.run("await page.click('#tab-config')")
    assert row(browser, "config", "jwt-secret") == ["***"]
    assert stack.keys.secret not in browser.run("return page.content()")
    browser.run("await page.check('#config-changed'); await page.fill('#config-filter', 'bridge-id')")
    rows = browser.run("return page.locator('table[data-rows=config] tbody tr').allTextContents()")
    assert rows == ["bridge-idflow-bridge"]


def test_loses_contact_and_comes_back(browser, runtime, stack):
    """While the bridge is away the page says so; with the next one it goes on, and says that it is another."""
    bridge = stack.bridge(runtime)
    browser.open(page_url(bridge))
    browser.wait_text("#health", "^Healthy$")
    bridge.kill()
    assert browser.wait_text("#health", "^No contact$") and "No answer" in browser.wait_text("#contact", "No answer")
    browser.shot("status-no-contact")
    stack.bridge(runtime, admin_listen=f"127.0.0.1:{bridge.ports['admin']}")
    browser.wait_text("#health", "^Healthy$")
    assert "has restarted" in browser.wait_text("#restarted", "has restarted")
    assert not browser.run("return page.isVisible('#contact')")
    browser.run("await page.waitForFunction(() => Number(document.getElementById('chart-events').dataset.points) >= 2)")


def test_says_why_it_is_not_ready(browser, stack):
    """The reasons of /readyz; the links as down; the log ids of what went wrong."""
    bridge = stack.bridge(runtime_wait_ms=0)
    assert stack.client("alice", token="nonsense").open().wait_closed()[0] == 1008
    browser.open(page_url(bridge))
    browser.wait_text("#health", "^Degraded$")
    assert browser.run("return page.locator('#reasons li').allTextContents()") == [
        "no command link to the runtime", "no event link to the runtime"]
    assert row(browser, "links", "events " + bridge.options["runtime_events"]) == ["down"]
    assert row(browser, "log", "HANDSHAKE_REFUSED")[0] == "1"
    browser.check_clean("color-contrast", "list", "listitem")


def answer_with_run(runtime, command):
    """A message begins a run of one event."""
    if command.command == "MESSAGE":
        runtime.emit(command.user_id, {"type": "agent_started", "run_id": "r", "timestamp": time.time()})


def press(browser, *keys):
    """Keys on the keyboard, one after the other."""
    for key in keys:
        browser.run(f"await page.keyboard.press({json.dumps(key)})")


def test_try_tab_by_keyboard(browser, stack):
    """Make a token, connect, send, see the event, miss one, resume and get it: without a mouse."""
    runtime = stack.runtime(handler=answer_with_run)
    bridge = stack.bridge(runtime)
    browser.open(page_url(bridge))
    browser.wait_text("#health", "^Healthy$")
    browser.run("await page.focus('#tab-overview')")
    press(browser, "End")
    assert browser.run("return page.isVisible('#try')") and browser.run("return page.evaluate(() => document.activeElement.id)") == "tab-try"
    press(browser, "Tab", "Tab", "Enter")  # the panel, the user, its form
    browser.wait_text("#try-mint-note", "^Valid for 3600 s$")
    browser.run("await page.focus('#try-url')")
    press(browser, "Enter")
    browser.wait_text("#try-state", "^Connected as developer$")
    browser.run("await page.focus('#try-send')")
    press(browser, "Enter")
    browser.wait_text("#try-log", "agent_started")
    assert runtime.wait_command("MESSAGE").body == b'{"type": "user_message", "text": "What is 6 * 7?"}'
    browser.run("await page.focus('#try-disconnect')")
    press(browser, "Enter")
    browser.wait_text("#try-state", "^Not connected: closed 1000")
    runtime.wait_command("DISCONNECT")
    runtime.emit("developer", {"type": "agent_completed", "run_id": "r", "timestamp": time.time()})
    bridge.wait_metric("events_received_total", 1, type="agent_completed")
    browser.run("await page.focus('#try-resume')")
    press(browser, "Enter")
    browser.wait_text("#try-state", "^Connected as developer, resumed$")
    browser.wait_text("#try-log", "agent_completed")
    bridge.wait_metric("resumes_total", 1, result="recovered")
    browser.shot("status-try")
    browser.check_clean()


def test_try_tab_without_a_secret(browser, runtime, stack, keys, tmp_path):
    """Without an HMAC secret a token is pasted; a bad URL is told, not thrown."""
    pem = tmp_path / "keys.pem"
    pem.write_bytes(keys.pem())
    bridge = stack.bridge(runtime, jwt_secret=None, jwt_public_key_file=pem)
    browser.open(page_url(bridge))
    browser.wait_text("#try-mint-note", "paste a token")
    browser.run("await page.click('#tab-try')")
    assert browser.run("return page.isDisabled('#try-make')")
    browser.run("await page.fill('#try-token', 'x'); await page.click('#try-connect')")
    browser.wait_text("#try-log", "authentication_error.*VALIDATION_FAILED|JWT_FORMAT_INVALID")
    browser.run(f"await page.fill('#try-token', {json.dumps(keys.token('carol', alg='EdDSA'))}); await page.click('#try-connect')")
    browser.wait_text("#try-state", "^Connected as carol$")
    browser.run("await page.fill('#try-url', 'nowhere'); await page.click('#try-connect')")
    browser.wait_text("#try-state", "^Not connected: ")


def test_production_has_no_try_tab(browser, runtime, stack):
    """Neither the tab nor its panel; everything else works under a stricter policy."""
    bridge = stack.bridge(runtime, environment="production", jwt_secret=tokens.SECRET)
    browser.open(page_url(bridge))
    browser.wait_text("#health", "^Healthy$")
    assert browser.run("return page.locator('[role=tab]').allTextContents()") == ["Overview", "Configuration"]
    assert browser.run("return page.locator('#try, #tab-try').count()") == 0
    assert browser.run("return faults") == []
    refused = browser.run(f"""return page.evaluate((url) => new Promise((resolve) => {{
        document.addEventListener('securitypolicyviolation', (event) => resolve(event.effectiveDirective));
        new WebSocket(url).onopen = () => resolve('connected'); }}), 'ws://127.0.0.1:{bridge.ports['public']}/ws')""")
    assert refused == "connect-src"
