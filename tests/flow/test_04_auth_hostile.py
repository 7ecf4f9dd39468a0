"""Tokens made to get past the verifier: the client learns the code and nothing else, `agentbridge verify` says which check."""
import base64
import datetime
import hashlib
import hmac
import json
import time

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, utils
from harness import run_program
from harness.tables import error_codes
from harness.tokens import b64url

CODES = error_codes()
CLAIMS = {"sub": "mallory", "exp": int(time.time()) + 3600}


def dump(value):
    """JSON without blanks; bytes stay."""
    return value if isinstance(value, bytes) else json.dumps(value, separators=(",", ":")).encode()


def signing_input(header, claims):
    """BASE64URL(header) . BASE64URL(claims)"""
    return f"{b64url(dump(header))}.{b64url(dump(claims))}"


def hs256(secret, header, claims):
    """A token with an HMAC under this secret."""
    text = signing_input(header, claims)
    return f"{text}.{b64url(hmac.new(secret, text.encode(), hashlib.sha256).digest())}"


def es256(key, header, claims, der=False):
    """A token with an ECDSA signature, as r || s or as DER."""
    text = signing_input(header, claims)
    signature = key.sign(text.encode(), ec.ECDSA(hashes.SHA256()))
    r, s = utils.decode_dss_signature(signature)
    return f"{text}.{b64url(signature if der else r.to_bytes(32, 'big') + s.to_bytes(32, 'big'))}"


def with_own_key(_keys):
    """The signer's own key stands in the header, as jwk and by address."""
    key = ec.generate_private_key(ec.SECP256R1())
    numbers = key.public_key().public_numbers()
    jwk = {"kty": "EC", "crv": "P-256", "x": b64url(numbers.x.to_bytes(32, "big")), "y": b64url(numbers.y.to_bytes(32, "big"))}
    return es256(key, {"alg": "ES256", "jwk": jwk, "jku": "https://evil.example/jwks"}, CLAIMS)


def with_own_certificate(_keys):
    """The same as a chain of certificates."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([])
    now = datetime.datetime.now(datetime.timezone.utc)
    certificate = (x509.CertificateBuilder().subject_name(name).issuer_name(name).public_key(key.public_key())
                   .serial_number(1).not_valid_before(now).not_valid_after(now + datetime.timedelta(days=1))
                   .sign(key, hashes.SHA256()))
    chain = [base64.b64encode(certificate.public_bytes(serialization.Encoding.DER)).decode()]
    return es256(key, {"alg": "ES256", "x5c": chain}, CLAIMS)


def with_public_key(keys):
    """The RSA public key as the secret of an HMAC."""
    pem = keys.rsa.public_key().public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
    return hs256(pem, {"alg": "HS256"}, CLAIMS)


def with_trailing_bits(keys):
    """The last character of a good token spelt otherwise: the same signature for a decoder that is not strict."""
    digits = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
    token = hs256(keys.secret.encode(), {"alg": "HS256", "kid": "hmac"}, CLAIMS)
    return token[:-1] + digits[digits.index(token[-1]) + 1]


# name: (code, what `verify` says, how it is made from the keys)
TOKENS = {
    "none": ("VALIDATION_FAILED", "algorithm", lambda keys: signing_input({"alg": "nOnE"}, CLAIMS) + "."),
    "own-key": ("VALIDATION_FAILED", "signature", with_own_key),
    "own-certificate": ("VALIDATION_FAILED", "signature", with_own_certificate),
    "public-key": ("VALIDATION_FAILED", "signature", with_public_key),
    "der": ("VALIDATION_FAILED", "signature", lambda keys: es256(keys.ec["ES256"], {"alg": "ES256"}, CLAIMS, der=True)),
    "zeros": ("VALIDATION_FAILED", "signature",
              lambda keys: f'{signing_input({"alg": "ES256", "kid": "ES256"}, CLAIMS)}.{b64url(bytes(64))}'),
    "kid-path": ("VALIDATION_FAILED", "key",
                 lambda keys: hs256(b"", {"alg": "HS256", "kid": "../../../../dev/null"}, CLAIMS)),
    "crit": ("JWT_FORMAT_INVALID", "format",
             lambda keys: hs256(keys.secret.encode(), {"alg": "HS256", "crit": ["b64"], "b64": False}, CLAIMS)),
    "trailing-bits": ("JWT_FORMAT_INVALID", "format", with_trailing_bits),
    "twice": ("JWT_FORMAT_INVALID", "claims",
              lambda keys: hs256(keys.secret.encode(), {"alg": "HS256"}, b'{"sub":"alice","sub":"mallory","exp":4102444800}')),
    "nul": ("JWT_FORMAT_INVALID", "claims",
            lambda keys: hs256(keys.secret.encode(), {"alg": "HS256"}, b'{"sub":"mallory","exp":4102444800\0}')),
    "exp-text": ("JWT_FORMAT_INVALID", "claims: exp",
                 lambda keys: hs256(keys.secret.encode(), {"alg": "HS256"}, {**CLAIMS, "exp": "4102444800"})),
    "logout-token": ("JWT_FORMAT_INVALID", "format",
                     lambda keys: hs256(keys.secret.encode(), {"alg": "HS256", "typ": "logout+jwt"}, CLAIMS)),
}


@pytest.fixture(name="tokens", scope="module")
def tokens_fixture(keys):
    """{name: token}"""
    return {name: make(keys) for name, (_, _, make) in TOKENS.items()}


@pytest.fixture(name="jwks")
def jwks_fixture(keys, tmp_path):
    """A file with keys of every kind, the secret among them."""
    path = tmp_path / "jwks.json"
    path.write_text(keys.jwks())
    return path


def refused(stack, token):
    """Every byte of the answer to this token in `close` mode, as (frame, close)."""
    client = stack.raw()
    answer = client.upgrade(changes={"Sec-WebSocket-Protocol": f"agent_chat, jwt.{token}"})
    assert answer.status == 101
    assert answer.headers["sec-websocket-protocol"] == "agent_chat"
    return client.recv_json(), client.recv_close()


def test_client_learns_the_code_only(runtime, stack, tokens, jwks):
    """In `close` mode: one frame with the members and the text of its code, then the one close frame there is for all."""
    bridge = stack.bridge(runtime, jwt_secret=None, jwks_file=jwks)
    for name, (code, _, _) in TOKENS.items():
        frame, close = refused(stack, tokens[name])
        assert abs(frame.pop("timestamp") - time.time()) < 60
        assert frame == {"type": "authentication_error", "error_code": code, "error_message": CODES[code].message,
                         "retry_allowed": CODES[code].retry}, name
        assert close == (1008, "Authentication failed"), name
    for code in {code for code, _, _ in TOKENS.values()}:
        wanted = sum(code == other for other, _, _ in TOKENS.values())
        assert bridge.metric("handshakes_total", result=code.lower()) == wanted
    assert not runtime.commands("CONNECT")


def test_client_learns_the_code_only_http(runtime, stack, tokens, jwks):
    """In `http` mode: 401 and two members."""
    stack.bridge(runtime, jwt_secret=None, jwks_file=jwks, auth_failure="http")
    for name, (code, _, _) in TOKENS.items():
        answer = stack.raw().upgrade(changes={"Authorization": f"Bearer {tokens[name]}"})
        assert answer.status == 401, name
        assert json.loads(answer.body) == {"error_code": code, "error_message": CODES[code].message}, name


def test_verify_tells_the_check(tokens, jwks):
    """The operator learns which check failed; a good token among them passes."""
    result = run_program("verify", stdin="\n".join(tokens.values()) + "\n", jwks_file=jwks, environment="test")
    assert result.returncode == 1
    assert result.stdout.splitlines() == [f"{code}: {check}" for code, check, _ in TOKENS.values()]
