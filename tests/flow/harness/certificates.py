"""Certificates for 127.0.0.1, signed by an authority that lives as long as the tests."""
import datetime
import ipaddress
import ssl

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

_NO_PASSPHRASE = serialization.NoEncryption()


def _name(text):
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, text)])


def _builder(subject, issuer, key, days):
    now = datetime.datetime.utcnow().replace(microsecond=0)
    return (x509.CertificateBuilder().subject_name(_name(subject)).issuer_name(_name(issuer)).public_key(key.public_key())
            .serial_number(x509.random_serial_number()).not_valid_before(now - datetime.timedelta(days=1))
            .not_valid_after(now + datetime.timedelta(days=days)))


def key_pem(key, passphrase=None):
    """The private key as a file holds it."""
    how = serialization.BestAvailableEncryption(passphrase) if passphrase else _NO_PASSPHRASE
    return key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, how)


class Pair:
    """One certificate with its chain and its key."""

    def __init__(self, certificate, authority, key):
        self.serial = certificate.serial_number
        self.expires = certificate.not_valid_after.replace(tzinfo=datetime.timezone.utc).timestamp()
        self.key = key
        self.chain_pem = b"".join(one.public_bytes(serialization.Encoding.PEM) for one in (certificate, authority))
        self.key_pem = key_pem(key)

    def write(self, folder):
        """Both files in this folder, and the options that name them."""
        for name, data in (("cert.pem", self.chain_pem), ("key.pem", self.key_pem)):
            (folder / name).write_bytes(data)
        return {"tls_cert_file": folder / "cert.pem", "tls_key_file": folder / "key.pem"}


class Authority:
    """Signs pairs. The authority that clients know has signed another one in between, so that only a chain convinces."""

    def __init__(self):
        self._root_key = ec.generate_private_key(ec.SECP256R1())
        self._key = ec.generate_private_key(ec.SECP256R1())
        self.root = self._sign_authority("root", self._root_key, "root")
        self._between = self._sign_authority("between", self._key, "root")
        self.root_pem = self.root.public_bytes(serialization.Encoding.PEM).decode()

    def _sign_authority(self, subject, key, issuer):
        builder = _builder(subject, issuer, key, 3650)
        return builder.add_extension(x509.BasicConstraints(True, None), True).sign(self._root_key, hashes.SHA256())

    def pair(self, key=None, days=90):
        """A new certificate for 127.0.0.1."""
        key = key or ec.generate_private_key(ec.SECP256R1())
        names = x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))])
        builder = _builder("127.0.0.1", "between", key, days).add_extension(names, False)
        return Pair(builder.sign(self._key, hashes.SHA256()), self._between, key)

    def context(self, alpn=None, least=None, most=None):
        """What a client trusts and offers."""
        context = ssl.create_default_context(cadata=self.root_pem)
        if least:
            context.minimum_version = least
        if most:
            context.maximum_version = most
        if most and most < ssl.TLSVersion.TLSv1_2:
            context.set_ciphers("ALL:@SECLEVEL=0")
        if alpn:
            context.set_alpn_protocols(alpn)
        return context
