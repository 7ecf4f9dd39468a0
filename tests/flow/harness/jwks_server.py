"""A server of key sets on loopback, with TLS, in the hands of a test; and keys that an issuer rotates."""
import contextlib
import datetime
import http.server
import ipaddress
import json
import ssl
import threading

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from ports import free_port

from .timing import scaled, wait_until
from .tokens import b64url

PATH = "/keys"


class IssuerKey:
    """One EC key under its kid."""

    def __init__(self, kid):
        self.kid = kid
        self.private = ec.generate_private_key(ec.SECP256R1())

    def jwk(self):
        """The public side."""
        numbers = self.private.public_key().public_numbers()
        x, y = (b64url(number.to_bytes(32, "big")) for number in (numbers.x, numbers.y))
        return {"kty": "EC", "crv": "P-256", "use": "sig", "alg": "ES256", "kid": self.kid, "x": x, "y": y}

    def token(self, keys, user="alice", **claims):
        """Signed with this key; `keys` makes it (tokens.py)."""
        return keys.token(user, alg="ES256", kid=self.kid, key=self.private, **claims)


def make_certificate(directory, name="127.0.0.1"):
    """A self-signed certificate for this address or host: its file, with the key in it."""
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    try:
        alternative = x509.IPAddress(ipaddress.ip_address(name))
    except ValueError:
        alternative = x509.DNSName(name)
    now = datetime.datetime.utcnow()
    certificate = (x509.CertificateBuilder().subject_name(subject).issuer_name(subject).public_key(key.public_key())
                   .serial_number(x509.random_serial_number()).not_valid_before(now - datetime.timedelta(days=1))
                   .not_valid_after(now + datetime.timedelta(days=1))
                   .add_extension(x509.SubjectAlternativeName([alternative]), False)
                   .add_extension(x509.BasicConstraints(ca=True, path_length=None), True).sign(key, hashes.SHA256()))
    file = directory / f"{certificate.serial_number}.pem"
    file.write_bytes(certificate.public_bytes(serialization.Encoding.PEM) + key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()))
    return file


class _Handler(http.server.BaseHTTPRequestHandler):
    """Asks its JwksServer for everything."""
    protocol_version = "HTTP/1.1"

    def do_GET(self):  # pylint: disable=invalid-name
        """One fetch."""
        with contextlib.suppress(OSError):  # the bridge may have given up
            self.server.owner.answer(self)

    def log_message(self, format, *args):  # pylint: disable=redefined-builtin
        """Nothing."""


class _Server(http.server.ThreadingHTTPServer):
    """TLS is shaken hands in the thread of the connection."""

    def finish_request(self, request, client_address):
        try:
            if self.owner.context:
                request.settimeout(scaled(30))
                request = self.owner.context.wrap_socket(request, server_side=True)
            super().finish_request(request, client_address)
        except OSError:  # a bridge that does not trust the certificate
            pass


class JwksServer:
    """Answers with `keys`, or with `answer_with`: (status, headers, body). Hold it with `gate.clear()`."""

    def __init__(self, directory, certificate=None, tls=True):
        self.certificate = (certificate or make_certificate(directory)) if tls else None
        self.context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER) if tls else None
        if tls:
            self.context.load_cert_chain(self.certificate)
        self.port = free_port()
        self.keys = []
        self.headers = {}
        self.answer_with = None
        self.redirects = {}   # path: where to
        self.requests = []    # (path, headers in small letters)
        self.gate = threading.Event()
        self.gate.set()
        self._server = None

    @property
    def url(self):
        """Of the key set."""
        return f"http{'s' if self.context else ''}://127.0.0.1:{self.port}{PATH}"

    def options(self, **more):
        """A bridge that has no other keys than these."""
        return {"jwt_secret": None, "jwks_url": self.url, "jwks_ca_file": self.certificate, "auth_failure": "http",
                "jwks_timeout_ms": int(scaled(10000)), "max_connections_per_user": 1000, **more}

    def start(self):
        """Listen; again after stop() too."""
        self._server = _Server(("127.0.0.1", self.port), _Handler)
        self._server.owner = self
        threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()
        return self

    def stop(self):
        """Nobody listens any more."""
        if self._server:
            self.gate.set()
            self._server.shutdown()
            self._server.server_close()
            self._server = None

    def body(self):
        """The key set as it is served."""
        return json.dumps({"keys": [key if isinstance(key, dict) else key.jwk() for key in self.keys]}).encode()

    def answer(self, handler):
        """In the thread of the connection."""
        self.requests.append((handler.path, {name.lower(): value for name, value in handler.headers.items()}))
        assert self.gate.wait(scaled(60))
        status, headers, body = self.answer_with or (200, self.headers, self.body())
        if handler.path in self.redirects:
            status, headers, body = 302, {"Location": self.redirects[handler.path]}, b""
        elif self.headers.get("ETag") and handler.headers.get("If-None-Match") == self.headers["ETag"]:
            status, headers, body = 304, self.headers, b""
        handler.send_response(status)
        for name, value in {"Content-Length": len(body), **headers}.items():
            handler.send_header(name, value)
        handler.end_headers()
        handler.wfile.write(body)

    def wait_requests(self, count):
        """Until so many have come since the start; then exactly so many."""
        wait_until(lambda: len(self.requests) >= count, what=f"{count} requests for the key set")
        assert len(self.requests) == count, self.requests
