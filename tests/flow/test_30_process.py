"""The process: how it is built, what it needs, and that its secrets show nowhere."""
import json
import os
import pathlib
import resource
import shutil
import signal
import subprocess
import tempfile

import pytest
from harness import metrics, run_program, wait_until
from harness.bridge import binary
from harness.elf import (BIND_NOW, EXECUTE, GNU_RELRO, GNU_STACK, INTERP, NOW_1, PIE_1, SHARED, WRITE, X86_64, Elf)
from harness.raw import TEXT
from test_17_curve import PUBLIC as CURVE_PUBLIC, SECRET as CURVE_SECRET, CurveRuntime, add, new_pair

NOBODY = 65534
BUILD = os.environ.get("AGENTBRIDGE_BUILD", "release")

# As Kubernetes would with runAsNonRoot, readOnlyRootFilesystem, capabilities.drop ALL, allowPrivilegeEscalation false.
CONFINED = ["unshare", "--mount", "sh", "-c", """
    while read -r _ at _; do mount -o remount,ro,bind "$at" 2>/dev/null; done </proc/self/mounts
    exec setpriv --reuid 65534 --regid 65534 --clear-groups --inh-caps=-all --bounding-set=-all --no-new-privs "$@"
""", "confined"]


# how it is built

@pytest.fixture(name="elf", scope="module")
def elf_fixture():
    """The release build's file."""
    if BUILD != "release":
        pytest.skip("only the release build is hardened in full")
    return Elf(binary())


def test_positions_are_random(elf):
    """A position-independent program, with its loader, and without places that the loader would have to patch in code."""
    assert elf.type == SHARED and elf.tag("flags_1") & PIE_1 and elf.of_kind(INTERP) and elf.tag("textrel") is None


def test_relocations_are_read_only(elf):
    """Full RELRO: everything is bound at the start, and then read-only."""
    assert elf.of_kind(GNU_RELRO)
    assert elf.tag("flags") & BIND_NOW and elf.tag("flags_1") & NOW_1


def test_nothing_is_writable_and_executable(elf):
    """Not the stack, no segment."""
    stack, = elf.of_kind(GNU_STACK)
    assert not stack.flags & EXECUTE
    assert not [segment for segment in elf.segments if segment.flags & WRITE and segment.flags & EXECUTE]


def test_libraries_come_from_the_system(elf):
    """No search path of its own, where somebody else could put one."""
    assert elf.tag("rpath") is None and elf.tag("runpath") is None


def test_compiler_checks(elf):
    """Stack protector and _FORTIFY_SOURCE are in use, and what leaves no mark is in the compiler's own record."""
    imports = elf.imports()
    assert "__stack_chk_fail" in imports
    assert {"__snprintf_chk", "__vsnprintf_chk"} <= imports, imports
    producers = [text for text in elf.bytes.split(b"\0") if text.startswith(b"GNU C1")]
    if not producers:
        pytest.skip("the program holds no record of its compiler's options")
    wanted = [b"-fstack-protector-strong", b"-fstack-clash-protection"]
    wanted += [b"-fcf-protection"] if elf.machine == X86_64 else []
    assert all(flag in text for text in producers for flag in wanted), producers


# what it needs

def confined():
    """The command that confines, or a skip that says what is missing."""
    for tool in ("unshare", "setpriv", "mount"):
        if not shutil.which(tool):
            pytest.skip(f"{tool} (util-linux) is not installed")
    if os.geteuid() != 0:
        pytest.skip("to mount read-only and to become nobody takes root")
    trial = subprocess.run([*CONFINED, "sh", "-c", "id -u; touch /tmp/probe"], capture_output=True, text=True, check=False)
    if trial.stdout != f"{NOBODY}\n" or "Read-only" not in trial.stderr:
        pytest.skip("this system lets nobody mount: " + trial.stderr.strip()[-200:])
    return CONFINED


@pytest.fixture(name="public_binary")
def public_binary_fixture(monkeypatch):
    """The program where everybody may run it, which a checkout in somebody's home is not."""
    folder = tempfile.mkdtemp(prefix="flow-")
    os.chmod(folder, 0o755)
    monkeypatch.setenv("AGENTBRIDGE_BIN", shutil.copy(binary(), folder))
    yield
    shutil.rmtree(folder)


def status_of(pid):
    """/proc/PID/status as a dictionary."""
    lines = pathlib.Path(f"/proc/{pid}/status").read_text().splitlines()
    return dict(line.split(":\t", 1) for line in lines)


@pytest.mark.usefixtures("public_binary")
def test_nobody_on_a_read_only_root(stack):
    """As nobody, without capabilities, with nothing writable: the golden path, probes and a drain."""
    wrap = confined()
    runtime = stack.runtime("tcp")
    bridge = stack.bridge(runtime, wrap=wrap, jwt_secret=None, env={"AGENTBRIDGE_JWT_SECRET": stack.keys.secret})
    pid = bridge.process.pid
    status = status_of(pid)
    assert status["Uid"].split() == [str(NOBODY)] * 4 and status["Gid"].split() == [str(NOBODY)] * 4
    assert status["Groups"].split() == [] and status["NoNewPrivs"] == "1"
    assert [int(status[name], 16) for name in ("CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb")] == [0] * 5
    root, = [line.split() for line in pathlib.Path(f"/proc/{pid}/mountinfo").read_text().splitlines()
             if line.split()[4] == "/"][-1:]
    assert root[5].split(",")[0] == "ro"
    client = stack.connect("alice")
    client.send({"type": "user_message", "text": "hello"})
    assert json.loads(runtime.wait_command("MESSAGE").body)["text"] == "hello"
    runtime.emit("alice", {"type": "agent_started", "run_id": "r"})
    assert client.recv_event()["run_id"] == "r"
    assert metrics.value(bridge.metrics(), "process_open_fds") > 0
    runtime.emit("alice", {"type": "agent_completed", "run_id": "r"})
    client.recv_type("agent_completed")
    assert bridge.stop() == 0


@pytest.mark.usefixtures("public_binary")
def test_memory_is_private(stack):
    """Others with the same uid cannot read memory or environment of the process: its files in /proc are root's."""
    wrap = confined()
    bridge = stack.bridge(stack.runtime("tcp"), wrap=wrap)
    folder = pathlib.Path(f"/proc/{bridge.process.pid}")
    assert {name: (folder / name).stat().st_uid for name in ("mem", "environ", "maps")} == {
        "mem": 0, "environ": 0, "maps": 0}
    reader = ["setpriv", "--reuid", str(NOBODY), "--regid", str(NOBODY), "--clear-groups", "--inh-caps=-all",
              "--bounding-set=-all", "cat", str(folder / "environ")]
    result = subprocess.run(reader, capture_output=True, check=False)
    assert result.returncode != 0 and not result.stdout


def dumps_core(process):
    """Has this process, which is about to end by a signal, left a core file?"""
    _, status = os.waitpid(process.pid, 0)
    process.returncode = -os.WTERMSIG(status)
    return os.WCOREDUMP(status)


def test_no_core_file(runtime, stack, tmp_path):
    """Where others leave one when they crash, the bridge does not."""
    if "/" in pathlib.Path("/proc/sys/kernel/core_pattern").read_text():
        pytest.skip("this system's core files go elsewhere (core_pattern)")
    wrap = ["sh", "-c", f"ulimit -c unlimited && cd {tmp_path} && exec \"$@\"", "unlimited"]
    _, hard = resource.getrlimit(resource.RLIMIT_CORE)
    with subprocess.Popen([*wrap, "sleep", "60"]) as other:
        wait_until(lambda: pathlib.Path(f"/proc/{other.pid}/comm").read_text() == "sleep\n", what="sleep")
        other.send_signal(signal.SIGABRT)
        if not dumps_core(other):
            pytest.skip(f"no process leaves a core file here (limit {hard})")
    bridge = stack.bridge(runtime, wrap=wrap)
    bridge._ended = True  # pylint: disable=protected-access
    before = sorted(tmp_path.iterdir())
    bridge.signal(signal.SIGABRT)
    assert not dumps_core(bridge.process)
    assert bridge.process.returncode == -signal.SIGABRT and sorted(tmp_path.iterdir()) == before


# secrets

def cmdline(pid):
    """The arguments of a process as ps shows them."""
    return pathlib.Path(f"/proc/{pid}/cmdline").read_bytes().decode().split("\0")[:-1]


def test_flags_are_overwritten(runtime, stack):
    """Secrets that came as flags are starred out at once, told of in the log, and still known when SIGHUP reads again."""
    bridge = stack.bridge(runtime, drain_key="drain-secret-1", e2e_bypass_key="bypass-secret-123")
    words = cmdline(bridge.process.pid)
    for name, length in (("--jwt-secret", len(stack.keys.secret)), ("--drain-key", 14), ("--e2e-bypass-key", 17)):
        assert words[words.index(name) + 1] == "*" * length
    assert words[words.index("--bridge-id") + 1] == "flow-bridge"
    for secret in (stack.keys.secret, "drain-secret-1", "bypass-secret-123"):
        assert secret not in " ".join(words)
    assert bridge.wait_log("SECRET_IN_FLAG")["flags"] == 3
    bridge.signal(signal.SIGHUP)
    bridge.wait_log("RELOADED")
    stack.connect("alice").ping()
    assert bridge.http("GET", "/drain", headers={"X-Drain-Key": "drain-secret-1"}).status == 200


def test_quiet_without_flags(runtime, stack):
    """Nothing is told when secrets came by variable."""
    bridge = stack.bridge(runtime, jwt_secret=None, env={"AGENTBRIDGE_JWT_SECRET": stack.keys.secret})
    stack.connect("alice").ping()
    assert not bridge.logs("SECRET_IN_FLAG")


class Secrets:
    """A bridge with every kind of secret, and each of them by name."""

    def __init__(self, stack, folder):
        self.ours, self.theirs = new_pair(), new_pair()
        self.by_name = {"jwt": stack.keys.secret, "previous": "previous-secret-" + "p" * 32, "drain": "drain-secret-12345",
                        "bypass": "bypass-secret-12345", "curve": self.ours.secret}
        files = {"secret": self.by_name["jwt"], "previous": self.by_name["previous"] + "\n",
                 "own": CURVE_SECRET.format(name="bridge", pair=self.ours),
                 "runtime": CURVE_PUBLIC.format(name="runtime", pair=self.theirs)}
        for name, text in files.items():
            (folder / name).write_text(text)
        self.options = {"jwt_secret": None, "jwt_secret_file": folder / "secret", "log_level": "debug",
                        "jwt_secret_previous_file": folder / "previous", "drain_key": self.by_name["drain"],
                        "curve_secret_file": folder / "own", "curve_runtime_file": folder / "runtime",
                        "allow_query_token": True}
        self.env = {"AGENTBRIDGE_E2E_BYPASS_KEY": self.by_name["bypass"]}

    def add_token(self, name, token):
        """A token, of which neither the whole nor its signature may be seen."""
        self.by_name[name] = token
        self.by_name[name + "-signature"] = token.split(".")[-1]
        return token

    def found_in(self, text):
        """Names of the secrets in a text."""
        return [name for name, secret in self.by_name.items() if secret in text]


def use_everything(stack, secrets):
    """Clients that send every secret, right and wrong, wherever one may stand. The texts that they get back."""
    keys, bypass = stack.keys, secrets.by_name["bypass"]
    good = {place: secrets.add_token(place, keys.token(f"user-{place}")) for place in ("header", "entry", "query", "refresh")}
    bad = secrets.add_token("bad", keys.token(key="y" * 40))
    old = secrets.add_token("old", keys.token(ttl=-900))
    secrets.add_token("previous-token", keys.token("p", key=secrets.by_name["previous"]))
    asks = [({"Authorization": f"Bearer {good['header']}"}, "/ws"),
            ({"Sec-WebSocket-Protocol": f"agent_chat, bearer.{good['entry']}"}, "/ws"), ({}, f"/ws?token={good['query']}"),
            ({"Authorization": f"Bearer {secrets.by_name['previous-token']}"}, "/ws"),
            ({"Sec-WebSocket-Protocol": f"e2e-testing, e2e.{bypass}, e2e-user.eve"}, "/ws"),
            ({"X-E2E-Bypass-Key": bypass, "X-E2E-User-ID": "eve"}, "/ws"), ({"X-E2E-Bypass-Key": bypass}, "/ws"),
            ({"Authorization": f"Bearer {bad}"}, "/ws"), ({"Sec-WebSocket-Protocol": f"jwt.{old}"}, "/ws"),
            ({"Authorization": f"Bearer {bypass}"}, "/ws"), ({"Authorization": f"Basic {good['header']}"}, "/ws"),
            ({}, f"/ws?token={bad}")]
    texts = []
    for changes, target in asks:
        client = stack.raw()
        answer = client.upgrade(target, changes)
        assert answer and answer.status == 101, (answer, target)
        texts += [str(answer.headers), json.dumps(client.recv_json())]
    refresh = stack.raw_connect("user-refresh")
    for token in (good["refresh"], bad):
        refresh.send_frame(TEXT, json.dumps({"type": "refresh_token", "token": token}).encode())
        texts.append(json.dumps(refresh.recv_json()))
    return texts


def pages(bridge):
    """What both ports answer, by page."""
    found = {}
    for path in ("/ws/health", "/metrics", "/readyz", "/", "/ws"):
        for port in ("public", "admin"):
            answer = bridge.http("GET", path, port)
            found[f"{port} {path}"] = f"{answer.headers} {answer.body.decode()}"
    return found


def reload_badly_and_well(bridge, file):
    """A key file that is none, then what it was."""
    good = file.read_text()
    file.write_text("-----BEGIN " + good)
    bridge.signal(signal.SIGHUP)
    bridge.wait_log("RELOAD_FAILED")
    file.write_text(good)
    bridge.signal(signal.SIGHUP)
    bridge.wait_log("RELOADED")


def commands(secrets, options):
    """What the other commands say with the same secrets, and a start that is refused."""
    token = secrets.by_name["bad"] + "\n"
    results = {name: run_program(name, env=secrets.env, stdin=token, **options) for name in ("check-config", "verify")}
    results["token"] = run_program("token", "--user", "", env=secrets.env, **options)
    results["production"] = run_program("serve", env=secrets.env, **{**options, "environment": "production"})
    assert {name: result.returncode for name, result in results.items()} == {
        "check-config": 0, "verify": 1, "token": 2, "production": 2}
    return {name: result.stdout + result.stderr for name, result in results.items()}


def test_secrets_show_nowhere(stack, tmp_path):
    """Not in the log at its most talkative, not on any page, not in answers, arguments or what commands print."""
    secrets = Secrets(stack, tmp_path)
    runtime = add(stack, CurveRuntime(*stack.endpoints("tcp"), own=secrets.theirs, only={secrets.ours.public}))
    bridge = stack.bridge(runtime, env=secrets.env, **secrets.options)
    texts = {"answers": "\n".join(use_everything(stack, secrets))}
    malformed = stack.raw().upgrade(f"/ws?token={secrets.by_name['query']}", {
        "Authorization": f"Bearer {secrets.by_name['header']}", "Sec-WebSocket-Version": "12",
        "X-E2E-Bypass-Key": secrets.by_name["bypass"]})
    assert malformed.status == 426
    reload_badly_and_well(bridge, tmp_path / "previous")
    texts.update(pages(bridge), malformed=str(malformed), cmdline=" ".join(cmdline(bridge.process.pid)))
    texts.update(commands(secrets, bridge.options))
    assert bridge.stop() == 0
    texts["log"] = "\n".join(bridge.text)
    assert 'drain-key = "***"' in texts["check-config"] and 'e2e-bypass-key = "***"' in texts["check-config"]
    assert texts["log"].count("CONN_OPEN") >= 7 and texts["log"].count("HANDSHAKE_REFUSED") >= 5
    assert {name: secrets.found_in(text) for name, text in texts.items() if secrets.found_in(text)} == {}
