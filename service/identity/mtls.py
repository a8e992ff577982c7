"""Client certificates that a trusted proxy passes on, for tokens that are bound to one (RFC 8705 section 3, RFC 9440).

TLS ends at the proxy, which has verified that the client holds the key. The header counts only from a trusted proxy and
is ignored from any other peer. Owns a count of ignored headers, for one log line a minute.
"""

from __future__ import annotations

import base64
import re
import time
from typing import TYPE_CHECKING
from urllib.parse import unquote_to_bytes

import structlog
from cryptography.x509 import InvalidVersion, load_der_x509_certificate

from service.errors import Misconfigured
from service.identity.refusals import malformed_credentials
from service.identity.trusted_proxies import TrustedProxies

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

_log = structlog.get_logger(__name__)
_LOG_SECONDS = 60.0
_HEADER_NAME = re.compile(r"[A-Za-z0-9-]+")
_BYTES = re.compile(rb":([A-Za-z0-9+/]+=*):")
# One repetition up to the hyphens: several that match spaces would try each way to share them.
_PEM = re.compile(rb"-----BEGIN CERTIFICATE-----(\s[A-Za-z0-9+/=\s]+)-----END CERTIFICATE-----\s*")


class ClientCertificates:
    """`header`: the one in which proxies pass the certificate. `proxies`: their addresses or networks, such as
    10.0.0.0/8.

    Raises Misconfigured for a header without proxies, an invalid header name or an invalid network.
    """

    def __init__(self, header: str, proxies: Sequence[str]) -> None:
        if _HEADER_NAME.fullmatch(header) is None or not proxies:
            raise Misconfigured("A header for client certificates needs a name and the addresses of trusted proxies")
        self._proxies = TrustedProxies(proxies)
        self._header = header.lower().encode()
        self._ignored = 0
        self._logged_at = -_LOG_SECONDS

    def read(self, peer: str | None, headers: Iterable[tuple[bytes, bytes]]) -> bytes | None:
        """The DER certificate of a request from `peer`; None without a trusted one.

        Raises MalformedCredentials if a trusted proxy passed two headers or an invalid certificate: it then passed on
        a header that it did not set.
        """
        given = [value.strip() for name, value in headers if name == self._header]
        if not given:
            return None
        if peer not in self._proxies:
            self._ignore()
            return None
        if len(given) > 1:
            raise malformed_credentials("certificate-twice")
        return _parse_certificate(given[0]) if given[0] else None

    def _ignore(self) -> None:
        self._ignored += 1
        if time.monotonic() - self._logged_at >= _LOG_SECONDS:
            self._logged_at = time.monotonic()
            _log.warning("client_certificate_of_untrusted_peer_ignored", since_start=self._ignored)


def _parse_certificate(value: bytes) -> bytes:
    """The DER of `:base64:` (RFC 9440), or of PEM with URL escapes as in nginx's $ssl_client_escaped_cert."""
    found = _BYTES.fullmatch(value) or _PEM.fullmatch(unquote_to_bytes(value))
    try:
        if found is None:
            raise ValueError("neither form")
        der = base64.b64decode(b"".join(found[1].split()), validate=True)
        load_der_x509_certificate(der)
    except (ValueError, InvalidVersion) as error:
        raise malformed_credentials("certificate-unreadable") from error
    return der
