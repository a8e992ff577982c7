"""A client certificate counts when a trusted proxy passes it on, in one of two forms, and from nobody else."""

from __future__ import annotations

import base64
import datetime as dt
from urllib.parse import quote

import pytest
import structlog
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import NameOID

from service.errors import MalformedCredentials, Misconfigured
from service.identity.mtls import ClientCertificates

PROXY = "10.1.2.3"
STRANGER = "203.0.113.7"


def certificate() -> x509.Certificate:
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "import job")])
    start = dt.datetime.now(dt.UTC)
    builder = x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
    return builder.not_valid_before(start).not_valid_after(start + dt.timedelta(days=1)).sign(key, SHA256())


CERTIFICATE = certificate()
DER = CERTIFICATE.public_bytes(Encoding.DER)
PEM = CERTIFICATE.public_bytes(Encoding.PEM)
BASE64 = base64.b64encode(DER)
ESCAPED = quote(PEM, safe="").encode()


def certificates(*proxies: str) -> ClientCertificates:
    return ClientCertificates("Client-Cert", proxies or ("10.0.0.0/8", "2001:db8::/32", "192.0.2.1"))


def read_header(*values: bytes, peer: str | None = PROXY) -> bytes | None:
    headers = [(b"host", b"api.example"), *((b"client-cert", value) for value in values)]
    return certificates().read(peer, headers)


@pytest.mark.parametrize(
    "value", [b":" + BASE64 + b":", ESCAPED, quote(PEM).encode(), b" " + ESCAPED + b" ", ESCAPED.removesuffix(b"%0A")]
)
def test_both_forms_give_the_same_certificate(value: bytes) -> None:
    assert read_header(value) == DER


@pytest.mark.parametrize("peer", ["10.255.255.255", "192.0.2.1", "2001:db8::5", "::ffff:10.1.2.3"])
def test_a_trusted_proxy_is_an_address_or_of_a_network(peer: str) -> None:
    assert read_header(ESCAPED, peer=peer) == DER


@pytest.mark.parametrize(
    "peer", [STRANGER, "11.0.0.1", "192.0.2.2", "2001:db9::1", "::ffff:203.0.113.7", "unix", "", None, "10.1.2.3, x"]
)
def test_from_anybody_else_it_is_left_aside(peer: str | None) -> None:
    assert read_header(ESCAPED, peer=peer) is None
    assert read_header(b"rubbish", b"rubbish", peer=peer) is None


def test_without_the_header_or_with_an_empty_one_there_is_no_certificate() -> None:
    assert read_header() is None
    assert read_header(b"") is None


def test_another_header_is_not_the_configured_one() -> None:
    assert certificates().read(PROXY, [(b"x-client-cert", ESCAPED), (b"client_cert", ESCAPED)]) is None


@pytest.mark.parametrize("second", [ESCAPED, b""])
def test_a_second_header_shows_that_the_proxy_let_one_through(second: bytes) -> None:
    with pytest.raises(MalformedCredentials, match="two client certificates"):
        read_header(ESCAPED, second)


BAD = {
    "rubbish": b"rubbish",
    "base64 without its colons": BASE64,
    "one colon": b":" + BASE64,
    "two certificates": ESCAPED * 2,
    "two joined by a comma": b":" + BASE64 + b":, :" + BASE64 + b":",
    "a parameter": b":" + BASE64 + b":;a=1",
    "another alphabet": b":" + BASE64.replace(b"/", b"_").replace(b"+", b"-") + b"_:",
    "no padding": b":" + BASE64.rstrip(b"=") + b"A:",
    "a certificate cut short": b":" + base64.b64encode(DER[:-3]) + b":",
    "more behind the certificate": b":" + base64.b64encode(DER + b"more") + b":",
    "a key": quote("-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----").encode(),
    "an empty certificate": b"-----BEGIN CERTIFICATE-----%0A-----END CERTIFICATE-----",
    "bytes": b"\xff\xfe",
    "an unknown version": b":" + base64.b64encode(DER.replace(b"\xa0\x03\x02\x01\x02", b"\xa0\x03\x02\x01\x05")) + b":",
    # As much as a request's headers can hold.
    "spaces without an end": b"-----BEGIN CERTIFICATE-----" + b" " * 32_000 + b".",
    "escaped spaces without an end": b"-----BEGIN CERTIFICATE-----" + b"%20" * 10_000 + b".",
    "spaces behind the end": b"-----BEGIN CERTIFICATE----- A-----END CERTIFICATE-----" + b"%0A" * 10_000 + b".",
}


@pytest.mark.parametrize("value", BAD.values(), ids=BAD)
def test_what_is_no_certificate_is_refused(value: bytes) -> None:
    with pytest.raises(MalformedCredentials, match="is not valid"):
        read_header(value)


@pytest.mark.parametrize(
    ("header", "proxies"),
    [("", ["10.0.0.1"]), ("a b", ["10.0.0.1"]), ("Client-Cert", []), ("Client-Cert", ["proxy"]), ("A", ["10.0.0.1/8"])],
)
def test_a_header_needs_a_name_and_proxies_that_are_addresses(header: str, proxies: list[str]) -> None:
    with pytest.raises(Misconfigured):
        ClientCertificates(header, proxies)


def test_headers_of_untrusted_peers_are_counted_and_logged_once_a_minute_without_content() -> None:
    held = certificates()
    with structlog.testing.capture_logs() as lines:
        for _ in range(50):
            held.read(STRANGER, [(b"client-cert", ESCAPED)])
    (line,) = lines
    assert line["event"] == "client_certificate_of_untrusted_peer_ignored"
    assert ESCAPED.decode() not in str(line)
