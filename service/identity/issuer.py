"""An Issuer: one authorization server whose access tokens are taken, and the rules for its tokens. Pure: owns no state.

Several issuers live side by side, each with its own rules and keys; nothing is shared between them.
"""

from __future__ import annotations

from dataclasses import dataclass
from ipaddress import ip_address
from urllib.parse import urlsplit

from service.errors import Misconfigured

MAX_LEEWAY_SECONDS = 60
STRICT_TYPE = "at+jwt"
NO_TYPE = ""

KEY_TYPES = {
    "RS256": ("RSA", None),
    "RS384": ("RSA", None),
    "RS512": ("RSA", None),
    "PS256": ("RSA", None),
    "PS384": ("RSA", None),
    "PS512": ("RSA", None),
    "ES256": ("EC", "P-256"),
    "ES384": ("EC", "P-384"),
    "ES512": ("EC", "P-521"),
}
"""Signature algorithm to the `kty` and `crv` that it needs (RFC 7518 section 3.1): asymmetric ones only."""


@dataclass(frozen=True, slots=True)
class Issuer:
    """One authorization server. Raises Misconfigured when a value is unsafe.

    `name`: our short word for it, in logs and readiness. `issuer`: the exact `iss`. `audience`: what `aud` must hold.
    `jwks_url`: where the keys are; None: read from `discovery_url`, or from the well-known places of RFC 8414 and
    OpenID Connect. `algorithms`: allow-list. `accepted_types`: `typ` headers, compared without case and without
    `application/`; add `JWT` for issuers that do not follow RFC 9068, and the empty string for those that send none.
    `roles_claim`: where roles stand, may be a URL. `scope_claim`: a string of scopes divided by spaces.
    `max_lifetime`, `leeway`: seconds.
    """

    name: str
    issuer: str
    audience: str
    jwks_url: str | None = None
    discovery_url: str | None = None
    algorithms: frozenset[str] = frozenset({"RS256", "ES256"})
    accepted_types: frozenset[str] = frozenset({STRICT_TYPE})
    roles_claim: str = "roles"
    scope_claim: str = "scope"
    max_lifetime: int = 86_400
    leeway: int = 30

    def __post_init__(self) -> None:
        for label, value in (("name", self.name), ("issuer", self.issuer), ("audience", self.audience)):
            if not value or value != value.strip():
                raise Misconfigured(f"The issuer's {label} is empty or has spaces around it")
        for label, url in (("issuer", self.issuer), ("jwks_url", self.jwks_url), ("discovery_url", self.discovery_url)):
            if url is not None and not is_safe_url(url):
                raise Misconfigured(f"{label} of issuer {self.name} must be an https URL, or http on loopback")
        if not self.algorithms or not self.algorithms <= KEY_TYPES.keys():
            raise Misconfigured(f"Issuer {self.name} may use only these algorithms: {', '.join(KEY_TYPES)}")
        if not self.accepted_types:
            raise Misconfigured(f"Issuer {self.name} accepts no token type at all")
        if not 0 <= self.leeway <= MAX_LEEWAY_SECONDS or self.max_lifetime <= 0:
            raise Misconfigured(f"Issuer {self.name} needs a leeway of 0 to 60 seconds and a positive longest lifetime")
        object.__setattr__(self, "accepted_types", frozenset(short_type(one) for one in self.accepted_types))


def short_type(typ: str) -> str:
    """A `typ` as it is compared: lower case, without the optional `application/` (RFC 7515 section 4.1.9)."""
    lowered = typ.lower()
    rest = lowered.removeprefix("application/")
    return lowered if "/" in rest else rest


def is_safe_url(url: str) -> bool:
    """Whether `url` is https with a host, or plain http on this machine, without credentials or fragment."""
    try:
        parts = urlsplit(url)
        host = parts.hostname or ""
        _ = parts.port
    except ValueError:
        return False
    if (
        not host
        or parts.fragment
        or parts.username is not None
        or not url.isascii()
        or not url.isprintable()
        or " " in url
    ):
        return False
    return parts.scheme == "https" or (parts.scheme == "http" and is_loopback(host))


def is_loopback(host: str) -> bool:
    """Whether `host` is `localhost` or an address of this machine's loopback."""
    if host == "localhost":
        return True
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return False
