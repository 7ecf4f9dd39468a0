"""Keys of every kind and tokens signed with them. Made once a session."""
import base64
import json
import time

import jwt
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa

HMAC = ("HS256", "HS384", "HS512")
ASYMMETRIC = ("RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "EdDSA")
SECRET = "flow-test-secret-" + "0123456789abcdef" * 4
_CURVES = {"ES256": (ec.SECP256R1, "P-256", 32), "ES384": (ec.SECP384R1, "P-384", 48), "ES512": (ec.SECP521R1, "P-521", 66)}


def b64url(data):
    """Base64url without padding."""
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def _uint(number, size=None):
    return b64url(number.to_bytes(size or (number.bit_length() + 7) // 8, "big"))


class Keys:
    """One private key per family; the public sides as PEM or as a key set."""

    def __init__(self):
        self.secret = SECRET
        self.rsa = rsa.generate_private_key(public_exponent=65537, key_size=2048)
        self.ec = {alg: ec.generate_private_key(curve()) for alg, (curve, _, _) in _CURVES.items()}
        self.ed = ed25519.Ed25519PrivateKey.generate()

    def private(self, alg):
        """What signs for this algorithm."""
        if alg in HMAC:
            return self.secret
        if alg[:2] in ("RS", "PS"):
            return self.rsa
        return self.ed if alg == "EdDSA" else self.ec[alg]

    def token(self, user="alice", alg="HS256", ttl=3600, kid=None, key=None, drop=(), **claims):
        """A compact token; `drop` names claims to leave out, `claims` adds or replaces some."""
        now = time.time()
        body = {"sub": user, "iat": int(now) - 1, "exp": int(now) + ttl, **claims}
        body = {name: value for name, value in body.items() if name not in drop}
        return jwt.encode(body, key or self.private(alg), algorithm=alg, headers={"kid": kid} if kid else None)

    def sign(self, payload, alg="HS256"):
        """A token over any bytes, JSON object or not."""
        return jwt.api_jws.encode(payload, self.private(alg), algorithm=alg)

    def pem(self):
        """All public keys in one file."""
        publics = [self.rsa, *self.ec.values(), self.ed]
        return b"".join(key.public_key().public_bytes(serialization.Encoding.PEM,
                                                      serialization.PublicFormat.SubjectPublicKeyInfo) for key in publics)

    def jwks(self):
        """All public keys and the secret as a key set; the kid is the family."""
        numbers = self.rsa.public_key().public_numbers()
        raw = self.ed.public_key().public_bytes(serialization.Encoding.Raw, serialization.PublicFormat.Raw)
        keys = [{"kty": "RSA", "kid": "rsa", "use": "sig", "n": _uint(numbers.n), "e": _uint(numbers.e)},
                {"kty": "OKP", "kid": "EdDSA", "crv": "Ed25519", "x": b64url(raw)},
                {"kty": "oct", "kid": "hmac", "k": b64url(self.secret.encode())}]
        return json.dumps({"keys": keys + [self._ec_jwk(alg) for alg in _CURVES]})

    def _ec_jwk(self, alg):
        _, curve, size = _CURVES[alg]
        numbers = self.ec[alg].public_key().public_numbers()
        return {"kty": "EC", "kid": alg, "crv": curve, "x": _uint(numbers.x, size), "y": _uint(numbers.y, size)}


def kid_of(alg):
    """The kid in `jwks` that serves an algorithm."""
    if alg in HMAC:
        return "hmac"
    return "rsa" if alg[:2] in ("RS", "PS") else alg


def token_forms(token):
    """{name: text} of the encodings in which a token may be sent."""
    standard = base64.b64encode(token.encode()).decode()
    url_safe = base64.urlsafe_b64encode(token.encode()).decode()
    return {"raw": token, "base64": standard, "base64-unpadded": standard.rstrip("="),
            "base64url": url_safe, "base64url-unpadded": url_safe.rstrip("=")}
