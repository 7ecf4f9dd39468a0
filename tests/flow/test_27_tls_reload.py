"""Certificates are read again, all or nothing, while connections live on."""
import os
import signal
import ssl

from harness import wait_until
from test_14_program import reload_with


def option_lines(options):
    """As the configuration file has them."""
    return "".join(f"{name.replace('_', '-')} = {value}\n" for name, value in options.items())


def test_rewritten_files(secure):
    """Both files are replaced: new connections see the new certificate, the old one lives on."""
    bridge = secure.start()
    client = secure.connect()
    assert secure.serial() == secure.pair.serial
    other = secure.authority.pair(days=10)
    other.write(secure.folder)
    bridge.wait_metric("tls_certificate_expiry_timestamp_seconds", other.expires)
    assert secure.serial() == other.serial
    client.ping()
    secure.connect("bob").ping()
    assert bridge.metric("tls_reloads_total", result="ok") >= 1
    assert bridge.logs("TLS_LOADED")[-1]["expires"] == other.expires


def test_turned_link(secure):
    """Kubernetes: the folder is a link that is turned, in one step, to another one."""
    pairs = [secure.pair, secure.authority.pair(days=20)]
    for number, pair in enumerate(pairs):
        folder = secure.folder / f"version-{number}"
        folder.mkdir()
        pair.write(folder)
    (secure.folder / "data").symlink_to("version-0")
    (secure.folder / "tls.crt").symlink_to("data/cert.pem")
    (secure.folder / "tls.key").symlink_to("data/key.pem")
    bridge = secure.start(tls_cert_file=secure.folder / "tls.crt", tls_key_file=secure.folder / "tls.key")
    assert secure.serial() == pairs[0].serial
    (secure.folder / "new").symlink_to("version-1")
    os.replace(secure.folder / "new", secure.folder / "data")
    bridge.wait_metric("tls_reloads_total", 1, result="ok")
    assert secure.serial() == pairs[1].serial
    assert bridge.metric("tls_reloads_total", result="failed") == 0


def test_pair_that_does_not_fit(secure):
    """A certificate without its key, then rubbish: told once each, the old pair stays; the whole pair is taken then."""
    bridge = secure.start()
    client = secure.connect()
    other = secure.authority.pair()
    (secure.folder / "cert.pem").write_bytes(other.chain_pem)
    bridge.wait_metric("tls_reloads_total", 1, result="failed")
    assert "tls-key-file" in bridge.wait_log("TLS_RELOAD_FAILED")["why"]
    assert secure.serial() == secure.pair.serial
    (secure.folder / "key.pem").write_bytes(b"rubbish")
    bridge.wait_metric("tls_reloads_total", 2, result="failed")
    assert secure.serial() == secure.pair.serial
    assert bridge.metric("tls_certificate_expiry_timestamp_seconds") == secure.pair.expires
    (secure.folder / "key.pem").write_bytes(other.key_pem)
    bridge.wait_metric("tls_reloads_total", 1, result="ok")
    assert secure.serial() == other.serial
    client.ping()
    assert len(bridge.logs("TLS_RELOAD_FAILED")) == 2


def test_hangup(secure):
    """SIGHUP takes the pair that the new configuration names, and the oldest version that it allows."""
    file = secure.folder / "bridge.cfg"
    file.write_text("tls-min-version = 1.2\n")
    bridge = secure.start(config=file)
    client = secure.connect()
    other = secure.authority.pair()
    other.write(secure.folder)
    assert reload_with(bridge, file, "tls-min-version = 1.3\n") == "RELOADED"
    assert secure.serial() == other.serial
    with secure.handshake() as socket:
        assert socket.version() == "TLSv1.3"
    client.ping()


def test_hangup_all_or_nothing(secure):
    """A pair that cannot be used stops the whole reload; so does a wish to leave TLS."""
    file = secure.folder / "bridge.cfg"
    paths = option_lines(secure.options)
    file.write_text(paths)
    bridge = secure.start(config=file, auth_failure="http", tls_cert_file=None, tls_key_file=None)
    faulty = option_lines({**secure.options, "tls_cert_file": "/dev/null"})
    assert reload_with(bridge, file, "max-message-bytes = 10\n" + faulty) == "RELOAD_FAILED"
    assert reload_with(bridge, file, "max-message-bytes = 10\n") == "RELOAD_FAILED"
    assert "restart" in bridge.logs("RELOAD_FAILED")[-1]["why"]
    assert secure.serial() == secure.pair.serial
    secure.connect().ping()  # longer than ten bytes
    assert reload_with(bridge, file, paths) == "RELOADED"


def test_hangup_of_a_plain_port(stack, runtime, secure):
    """TLS cannot be switched on without a restart."""
    file = secure.folder / "bridge.cfg"
    file.touch()
    bridge = stack.bridge(runtime, config=file)
    assert reload_with(bridge, file, option_lines(secure.options)) == "RELOAD_FAILED"
    assert "restart" in bridge.wait_log("RELOAD_FAILED")["why"]
    stack.connect().ping()


def test_resumption_under_another_certificate(secure):
    """A ticket of the old certificate leads to a whole handshake, not to a failure."""
    bridge = secure.start()
    context = secure.authority.context(most=ssl.TLSVersion.TLSv1_2)
    with secure.handshake(context) as client:
        session = client.session
    other = secure.authority.pair()
    other.write(secure.folder)
    bridge.signal(signal.SIGHUP)
    wait_until(lambda: secure.serial() == other.serial, what="the new certificate")
    with context.wrap_socket(secure.tcp(), server_hostname="127.0.0.1", session=session) as client:
        assert not client.session_reused and int(client.getpeercert()["serialNumber"], 16) == other.serial
