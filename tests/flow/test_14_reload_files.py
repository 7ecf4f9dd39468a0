"""Key files that change under a running bridge, and two HMAC secrets at once for rotation."""
import os
import pathlib

import pytest
from harness import run_program, wait_until

OLD, NEW = "old-secret-" + "o" * 40, "new-secret-" + "n" * 40


def accepted(stack, token):
    """Is an upgrade with this token accepted? (auth-failure=http)"""
    return stack.raw().upgrade(changes={"Authorization": f"Bearer {token}"}).status == 101


def replace(path, text):
    """A new file in the place of the old one."""
    beside = path.with_suffix(".new")
    beside.write_text(text)
    beside.rename(path)


def write_in_place(path, text):
    """The same file with another content."""
    path.write_text(text)


class Volume:
    """A folder as Kubernetes mounts a Secret: name -> ..data/name, ..data -> a folder that an update replaces."""

    def __init__(self, folder, **files):
        self.folder, self.versions = folder, 0
        self.update(**files)
        for name in files:
            (folder / name).symlink_to(pathlib.Path("..data") / name)

    def update(self, **files):
        """All files anew, in one step."""
        self.versions += 1
        data = self.folder / f"..version{self.versions}"
        data.mkdir()
        for name, text in files.items():
            (data / name).write_text(text)
        (self.folder / "..data_tmp").symlink_to(data.name)
        os.rename(self.folder / "..data_tmp", self.folder / "..data")

    def path(self, name):
        """What the bridge is told."""
        return self.folder / name


def start(stack, runtime, **options):
    """A bridge without the secret of the harness, that answers by HTTP status."""
    return stack.bridge(runtime, jwt_secret=None, auth_failure="http", **options)


@pytest.mark.parametrize("change", [replace, write_in_place])
def test_secret_file(runtime, stack, tmp_path, change):
    """A new secret is in force soon after the file has changed, without a signal; connections live on."""
    secret = tmp_path / "secret"
    secret.write_text(OLD)
    bridge = start(stack, runtime, jwt_secret_file=secret)
    old, new = stack.keys.token("alice", key=OLD), stack.keys.token("alice", key=NEW)
    client = stack.connect("alice", token=old)
    assert accepted(stack, old) and not accepted(stack, new)
    change(secret, NEW + "\n")
    assert bridge.wait_log("KEYS_LOADED")["keys"] == 1
    assert accepted(stack, new) and not accepted(stack, old)
    client.ping()
    client.quiet(runtime)
    assert bridge.metric("reloads_total", result="ok") == 1 and not bridge.logs("RELOADED")


def test_volume_of_kubernetes(runtime, stack, tmp_path):
    """Links on the way: the swap of ..data is seen, and all files are taken together, once."""
    volume = Volume(tmp_path, secret=OLD, keys="")
    volume.update(secret=OLD, keys=stack.keys.jwks())
    bridge = start(stack, runtime, jwt_secret_file=volume.path("secret"), jwks_file=volume.path("keys"))
    client = stack.connect("alice", token=stack.keys.token(key=OLD))
    assert accepted(stack, stack.keys.token("bob", alg="ES256", kid="ES256"))
    volume.update(secret=NEW, keys='{"keys":[]}')
    assert bridge.wait_log("KEYS_LOADED")["keys"] == 1
    assert accepted(stack, stack.keys.token("bob", key=NEW)) and not accepted(stack, stack.keys.token("bob", key=OLD))
    assert not accepted(stack, stack.keys.token("bob", alg="ES256", kid="ES256"))
    volume.update(secret=NEW, keys=stack.keys.jwks())
    bridge.wait_metric("reloads_total", 2, result="ok")
    assert accepted(stack, stack.keys.token("bob", alg="ES256", kid="ES256"))
    client.ping()


def test_public_keys(runtime, stack, tmp_path):
    """The PEM file is looked at too."""
    pem = tmp_path / "keys.pem"
    pem.write_bytes(stack.keys.pem())
    bridge = start(stack, runtime, jwt_public_key_file=pem)
    assert accepted(stack, stack.keys.token(alg="EdDSA"))
    blocks = stack.keys.pem().decode().split("-----BEGIN")
    replace(pem, "-----BEGIN" + blocks[1])  # RSA alone
    assert bridge.wait_log("KEYS_LOADED")["keys"] == 1
    assert accepted(stack, stack.keys.token(alg="RS256")) and not accepted(stack, stack.keys.token(alg="EdDSA"))


@pytest.mark.parametrize("fault", ["empty", "gone", "folder", "weak"])
def test_faulty_file(runtime, stack, tmp_path, fault):
    """The old keys stay, told once and counted; the file that comes right is taken."""
    secret = tmp_path / "secret"
    secret.write_text(OLD)
    bridge = start(stack, runtime, jwt_secret_file=secret, environment="production")
    secret.unlink()
    if fault == "folder":
        secret.mkdir()
    elif fault != "gone":
        secret.write_text({"empty": "", "weak": "w" * 31}[fault])
    assert str(secret) in bridge.wait_log("RELOAD_FAILED")["why"]
    assert bridge.metric("reloads_total", result="failed") == 1
    assert accepted(stack, stack.keys.token(key=OLD)) and not accepted(stack, stack.keys.token(key="w" * 31))
    assert bridge.http("GET", "/readyz").status == 200
    if fault == "folder":
        secret.rmdir()
    replace(secret, NEW)
    bridge.wait_log("KEYS_LOADED")
    assert accepted(stack, stack.keys.token(key=NEW)) and not accepted(stack, stack.keys.token(key=OLD))
    assert len(bridge.logs("KEYS_LOADED")) == 1


def test_files_of_a_reload_are_watched(runtime, stack, tmp_path):
    """A file that SIGHUP has brought in counts from then on, the one before it no longer."""
    first, second, config = tmp_path / "first", tmp_path / "second", tmp_path / "bridge.cfg"
    first.write_text(OLD)
    second.write_text("second-" + "s" * 40)
    config.write_text(f"jwt-secret-file = {first}\n")
    bridge = start(stack, runtime, config=config)
    config.write_text(f"jwt-secret-file = {second}\n")
    bridge.signal(1)
    bridge.wait_log("RELOADED")
    replace(first, "first-again-" + "f" * 40)
    replace(second, NEW)
    bridge.wait_log("KEYS_LOADED")
    assert accepted(stack, stack.keys.token(key=NEW))
    assert not accepted(stack, stack.keys.token(key="first-again-" + "f" * 40))


def test_rotation(runtime, stack, tmp_path):
    """The recipe of SECURITY.md: at no step is a token refused that was good before, until its secret is taken away."""
    volume = Volume(tmp_path, current=OLD, previous="")
    options = {"jwt_secret_file": volume.path("current"), "jwt_secret_previous_file": volume.path("previous")}
    bridge = start(stack, runtime, **options)
    old, new = stack.keys.token("alice", key=OLD), stack.keys.token("alice", key=NEW)
    client = stack.connect("alice", token=old)
    assert accepted(stack, old) and not accepted(stack, new)
    volume.update(current=NEW, previous=OLD)
    assert bridge.wait_log("KEYS_LOADED")["keys"] == 2
    assert accepted(stack, old) and accepted(stack, new)
    volume.update(current=NEW, previous="\n")
    bridge.wait_metric("reloads_total", 2, result="ok")
    assert accepted(stack, new) and not accepted(stack, old)
    client.send({"type": "refresh_token", "token": old})
    assert client.recv_type("error_message")["error_code"] == "TOKEN_REFUSED"
    client.send({"type": "refresh_token", "token": new})
    client.recv_type("token_refreshed")


def test_token_signs_with_the_current_secret(tmp_path):
    """`agentbridge token` uses jwt-secret-file; `verify` takes both."""
    (tmp_path / "current").write_text(NEW)
    (tmp_path / "previous").write_text(OLD)
    both = {"environment": "test", "jwt_secret_file": tmp_path / "current",
            "jwt_secret_previous_file": tmp_path / "previous"}
    made = run_program("token", "--user", "alice", **both)
    assert made.returncode == 0, made
    for secret, code in ((NEW, 0), (OLD, 1)):
        assert run_program("verify", stdin=made.stdout, environment="test", jwt_secret=secret).returncode == code
    by_old = run_program("token", "--user", "bob", environment="test", jwt_secret=OLD).stdout
    checked = run_program("verify", stdin=made.stdout + by_old, **both)
    assert (checked.returncode, checked.stdout.split("\n")[:2]) == (0, ["OK alice", "OK bob"])


def test_unchanged_files_are_left_alone(runtime, stack, tmp_path):
    """Looks that find nothing load nothing: the next change is the first reload."""
    secret = tmp_path / "secret"
    secret.write_text(OLD)
    bridge = start(stack, runtime, jwt_secret_file=secret)
    uptime = bridge.get_json("/ws/health")[1]["uptime_s"]
    wait_until(lambda: bridge.get_json("/ws/health")[1]["uptime_s"] > uptime + 3, what="three looks")
    assert bridge.total("reloads_total") == 0
    replace(secret, NEW)
    bridge.wait_metric("reloads_total", 1, result="ok")
