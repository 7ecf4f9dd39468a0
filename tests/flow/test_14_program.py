"""The program: options, their sources and faults, reload, exit codes."""
import json
import re
import signal
import subprocess

import pytest
from harness import run_program, tables, wait_until
from harness.bridge import binary, clean_env

SECRET = "s" * 40
GOOD = {"environment": "test", "jwt_secret": SECRET}


def config_of(output):
    """{option: value} of what check-config prints (ZPL)."""
    pairs = re.findall(r'^\s*([a-z0-9-]+)\s*=\s*"?(.*?)"?\s*$', output, re.M)
    return dict(pairs)


def test_help():
    """--help lists every option with its default."""
    result = run_program("--help")
    assert result.returncode == 0 and not result.stderr
    for option in tables.options():
        assert f"--{option.name}" in result.stdout, option.name
    for command in ("serve", "check-config", "token", "verify"):
        assert command in result.stdout


def test_version():
    """--version names program and version, once."""
    result = run_program("--version")
    assert result.returncode == 0
    assert re.fullmatch(r"agentbridge \d+\.\d+\.\d+\S*\n", result.stdout)


# name: (arguments, words that the one line must have)
FAULTS = {
    "unknown": (["--no-such-option", "1"], ["no-such-option"]),
    "no-value": (["--listen"], ["listen"]),
    "too-small": (["--max-connections", "0"], ["max-connections", "0", "1"]),
    "too-big": (["--runtime-wait-ms", "600001"], ["runtime-wait-ms", "600001", "600000"]),
    "no-number": (["--ping-interval-s", "often"], ["ping-interval-s", "often"]),
    "half-number": (["--ping-interval-s", "5x"], ["ping-interval-s", "5x"]),
    "overflow": (["--queue-bytes", "99999999999999999999"], ["queue-bytes", "99999999999999999999"]),
    "no-bool": (["--jwt-require-exp", "maybe"], ["jwt-require-exp", "maybe", "true"]),
    "no-choice": (["--auth-failure", "ignore"], ["auth-failure", "ignore", "close", "http"]),
    "no-file": (["--jwks-file", "/does/not/exist"], ["jwks-file", "/does/not/exist"]),
    "bad-address": (["--listen", "nonsense"], ["listen", "nonsense"]),
    "bad-port": (["--listen", "127.0.0.1:70000"], ["listen", "70000"]),
    "bad-endpoint": (["--runtime-commands", "tcp//x"], ["runtime-commands"]),
    "none-algorithm": (["--jwt-algorithms", "none"], ["jwt-algorithms", "none"]),
    "no-config": (["--config", "/does/not/exist"], ["/does/not/exist"]),
    "curve-needed": (["--runtime-commands", ">tcp://192.0.2.1:5555"], ["runtime-commands", "curve"]),
}


@pytest.mark.parametrize("command", ["serve", "check-config"])
@pytest.mark.parametrize("case", FAULTS)
def test_faulty_option(case, command):
    """Exit 2 and one line that names option, value and what is allowed."""
    arguments, words = FAULTS[case]
    good = ["--environment", "test", "--jwt-secret", SECRET]
    result = run_program(command, *good, *arguments)
    assert result.returncode == 2, result
    lines = (result.stderr + result.stdout).strip().splitlines()
    line = [line for line in lines if all(word.lower() in line.lower() for word in words)]
    assert len(line) == 1, lines
    if command == "serve":
        assert len(lines) == 1, lines


def test_unknown_command():
    """Exit 2, and the word that was not understood."""
    result = run_program("frobnicate")
    assert result.returncode == 2 and "frobnicate" in result.stderr


def test_no_keys(tmp_path):
    """Without any usable key the bridge does not start, and says which options would give one."""
    result = run_program("serve", environment="test")
    assert result.returncode == 2 and "jwt-secret" in result.stderr and "jwks-file" in result.stderr
    for text in ('{"keys":[]}', '{"keys":[{"kty":"oct","k":"c2VjcmV0","use":"enc"}]}'):
        (tmp_path / "jwks.json").write_text(text)
        result = run_program("serve", environment="test", jwks_file=tmp_path / "jwks.json")
        assert result.returncode == 2 and "jwks-file" in result.stderr, result


def test_production_wants_a_long_secret():
    """31 bytes are refused in production, 32 are not; elsewhere any will do."""
    for environment, size, code in (("production", 31, 2), ("production", 32, 0), ("test", 5, 0)):
        result = run_program("check-config", environment=environment, jwt_secret="x" * size)
        assert result.returncode == code, (environment, size, result)


def test_bad_key_files(tmp_path):
    """A key file that cannot be read as what it should be stops the start."""
    for option, text in (("jwks_file", "no json"), ("jwt_public_key_file", "no pem")):
        path = tmp_path / option
        path.write_text(text)
        result = run_program("serve", environment="test", **{option: path})
        assert result.returncode == 2 and option.replace("_", "-") in result.stderr, result


def test_check_config_shows_everything_but_secrets(tmp_path):
    """Every option, secrets as ***; the output is a configuration file again."""
    result = run_program("check-config", **GOOD, drain_key="open sesame", max_connections=77)
    assert result.returncode == 0, result
    shown = config_of(result.stdout)
    assert {option.name for option in tables.options()} <= set(shown)
    assert (shown["jwt-secret"], shown["drain-key"], shown["max-connections"]) == ("***", "***", "77")
    assert SECRET not in result.stdout + result.stderr and "sesame" not in result.stdout + result.stderr
    (tmp_path / "again").write_text(result.stdout)
    again = run_program("check-config", "--config", str(tmp_path / "again"))
    assert again.returncode == 0 and config_of(again.stdout) == shown


def test_defaults():
    """check-config without options shows the defaults of the table."""
    shown = config_of(run_program("check-config", environment="test", jwt_secret=SECRET).stdout)
    for option in tables.options():
        if option.name not in ("environment", "jwt-secret", "bridge-id"):
            assert shown[option.name] == option.default, option.name
    assert shown["bridge-id"] in ("", subprocess.check_output(["hostname"], text=True).strip())


def test_precedence(tmp_path):
    """Flag over variable over file over default."""
    file = tmp_path / "bridge.cfg"
    file.write_text("max-connections = 11\nmax-connections-per-user = 12\nhistory-events = 13\nenvironment = test\n")
    env = {"AGENTBRIDGE_MAX_CONNECTIONS": "21", "AGENTBRIDGE_MAX_CONNECTIONS_PER_USER": "22"}
    arguments = ("check-config", "--config", str(file), "--max-connections", "31")
    shown = config_of(run_program(*arguments, env=env, jwt_secret=SECRET).stdout)
    assert (shown["max-connections"], shown["max-connections-per-user"], shown["history-events"]) == ("31", "22", "13")
    assert shown["queue-messages"] == "1000"


def test_config_by_variable(tmp_path):
    """AGENTBRIDGE_CONFIG names the file; --name=value works like --name value."""
    file = tmp_path / "bridge.cfg"
    file.write_text("environment = test\nmax-connections = 11\n")
    result = run_program("check-config", f"--jwt-secret={SECRET}", env={"AGENTBRIDGE_CONFIG": str(file)})
    assert result.returncode == 0, result
    assert config_of(result.stdout)["max-connections"] == "11"


def test_faults_of_other_sources(tmp_path):
    """A bad variable or an unknown key of the file is told like a bad flag."""
    result = run_program("check-config", env={"AGENTBRIDGE_MAX_CONNECTIONS": "x"}, **GOOD)
    assert result.returncode == 2 and "max-connections" in (result.stderr + result.stdout).lower().replace("_", "-")
    file = tmp_path / "bridge.cfg"
    file.write_text("no-such-key = 1\n")
    result = run_program("check-config", "--config", str(file), **GOOD)
    assert result.returncode == 2 and "no-such-key" in result.stderr + result.stdout


def test_environment_fallback():
    """ENVIRONMENT is read when `environment` is not set otherwise."""
    shown = config_of(run_program("check-config", env={"ENVIRONMENT": "staging"}, jwt_secret=SECRET).stdout)
    assert shown["environment"] == "staging"
    shown = config_of(run_program("check-config", env={"ENVIRONMENT": "staging"}, **GOOD).stdout)
    assert shown["environment"] == "test"


def test_port_in_use(bridge):
    """A port that is taken: one clear line and an exit code that is not 0."""
    port = bridge.ports["public"]
    result = run_program("serve", listen=f"127.0.0.1:{port}", admin_listen="127.0.0.1:0", **GOOD)
    assert result.returncode in (1, 2)
    assert str(port) in result.stderr


def test_serve_is_the_default(tmp_path):
    """Without a command the program serves."""
    process = subprocess.Popen([binary(), "--listen", "127.0.0.1:0", "--admin-listen", "127.0.0.1:0", "--environment", "test",
                                "--jwt-secret", SECRET], stderr=subprocess.PIPE, text=True, env=clean_env(), cwd=tmp_path)
    try:
        ids = []
        while ids.count("LISTENING") < 2 or "START" not in ids:
            ids.append(json.loads(process.stderr.readline())["id"])
    finally:
        process.send_signal(signal.SIGTERM)
        process.communicate()
    assert process.returncode == 0


def test_text_log(runtime, stack):
    """log-format=text writes lines for people, without colours when it is no terminal."""
    bridge = stack.bridge(log_format="text", json_logs=False, **runtime.options)
    runtime.wait_command("HELLO")
    assert bridge.stop() == 0
    text = "\n".join(bridge.text)
    assert all(word in text for word in ("START", "LISTENING", "STOPPED")) and "\x1b" not in text and "{" not in text


def test_log_lines(bridge, stack):
    """Each line is one JSON object with time, level and id."""
    stack.connect("alice").close()
    for line in list(bridge.lines):
        assert {"id", "level"} <= set(line) and any(key in line for key in ("ts", "time", "timestamp")), line
    assert not any(line["level"].lower() == "error" for line in bridge.lines)


def reload_with(bridge, file, text):
    """Write the configuration file and have it read; the line that tells the outcome."""
    file.write_text(text)

    def outcomes():
        return [line["id"] for line in list(bridge.lines) if line["id"].startswith("RELOAD")]
    before = len(outcomes())
    bridge.signal(signal.SIGHUP)
    return wait_until(lambda: outcomes()[before:], what="the outcome of the reload")[0]


def accepted(stack, token, **changes):
    """Is an upgrade with this token accepted? (auth-failure=http)"""
    return stack.raw().upgrade(changes={"Authorization": f"Bearer {token}", **changes}).status == 101


def test_reload(runtime, stack, tmp_path):
    """SIGHUP: origins, limits and log level change; connections stay."""
    file = tmp_path / "bridge.cfg"
    file.write_text("allowed-origins = https://a.example\n")
    bridge = stack.bridge(runtime, config=file, auth_failure="http")
    client = stack.connect("alice")
    token = stack.keys.token("bob")
    assert accepted(stack, token, Origin="https://a.example")
    assert not accepted(stack, token, Origin="https://b.example")
    assert reload_with(bridge, file, "allowed-origins = https://b.example\nmax-connections-per-user = 2\n") == "RELOADED"
    assert accepted(stack, token, Origin="https://b.example")
    assert not accepted(stack, token, Origin="https://a.example")
    second = stack.connect("alice")
    assert not accepted(stack, stack.keys.token("alice"))
    client.ping()
    second.ping()


def test_reload_of_the_log_level(runtime, stack, tmp_path):
    """After a reload to warn, lines of level info are no longer written, and again after a reload to info."""
    file = tmp_path / "bridge.cfg"
    file.touch()
    bridge = stack.bridge(runtime, config=file, auth_failure="http")
    file.write_text("log-level = warn\nmax-connections-per-user = 1\n")
    bridge.signal(signal.SIGHUP)
    user = iter(range(1000))

    def quiet():
        lines = len(bridge.logs("CONN_OPEN"))
        stack.connect(f"user-{next(user)}").ping()
        return len(bridge.logs("CONN_OPEN")) == lines
    wait_until(quiet, what="a connection that is not logged")
    assert reload_with(bridge, file, "log-level = info\n") == "RELOADED"
    client = stack.connect("alice")
    bridge.wait_log("CONN_OPEN", conn=client.connection_id)


def test_reload_of_the_secret(runtime, stack, tmp_path):
    """A new secret file: old tokens are no longer taken, live connections stay."""
    secret, file = tmp_path / "secret", tmp_path / "bridge.cfg"
    secret.write_text("a" * 64)
    bridge = stack.bridge(runtime, config=file.touch() or file, jwt_secret=None, jwt_secret_file=secret, auth_failure="http")
    old, new = stack.keys.token("alice", key="a" * 64), stack.keys.token("alice", key="b" * 64)
    client = stack.connect("alice", token=old)
    assert not accepted(stack, new)
    secret.write_text("b" * 64)
    assert reload_with(bridge, file, "") == "RELOADED"
    assert accepted(stack, new) and not accepted(stack, old)
    client.ping()


def test_faulty_reload(runtime, stack, tmp_path):
    """A faulty file leaves the old configuration in force."""
    file = tmp_path / "bridge.cfg"
    file.write_text("max-connections-per-user = 1\n")
    bridge = stack.bridge(runtime, config=file, auth_failure="http")
    client = stack.connect("alice")
    assert reload_with(bridge, file, "max-connections-per-user = 0\n") == "RELOAD_FAILED"
    assert not accepted(stack, stack.keys.token("alice"))
    client.ping()
    assert reload_with(bridge, file, "max-connections-per-user = 2\n") == "RELOADED"
    assert accepted(stack, stack.keys.token("alice"))
