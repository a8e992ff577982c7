"""An Issuer: one authorization server whose access tokens are accepted, and the rules for its tokens. Pure.

Several issuers can be configured, each with its own rules and keys; they share nothing.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from ipaddress import ip_address
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from service.errors import Misconfigured

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

MAX_LEEWAY_SECONDS = 60
STRICT_TYPE = "at+jwt"
NO_TYPE = ""
MACHINE_RULES = ("standard", "keycloak", "entra", "okta")

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
    "Ed25519": ("OKP", "Ed25519"),
    "EdDSA": ("OKP", "Ed25519"),
}
"""The `kty` and `crv` of each signature algorithm (RFC 7518 section 3.1, 8037, 9864). Only asymmetric algorithms."""

ClaimPath = str | tuple[str, ...]
"""A claim's name, or the names of the objects that lead to it."""

# In words: `is_safe_url`.
_SAFE_URL = "an https URL, or http on loopback, without user, password and fragment"
# No hyphen and no colon: one of them ends the prefix, so no two prefixes overlap.
_PREFIX = re.compile(r"[a-z][a-z0-9]{0,19}")
_OUR_ROLE = re.compile(r"[a-z0-9][a-z0-9-]{0,62}")
_ATTRIBUTE = re.compile(r"[a-z][a-z0-9_]{0,62}")
# The attributes of a caller that code supplies.
_OWN_ATTRIBUTES = frozenset({"id", "client", "kind", "roles", "groups", "teams", "projects_led"})


@dataclass(frozen=True, slots=True)
class Introspection:
    """Introspection of an issuer's opaque tokens (RFC 7662). Raises Misconfigured if a value is unsafe.

    `client_id` is our id at the issuer, with `client_secret` (client_secret_basic) or `private_key`, a PEM
    (private_key_jwt, RFC 7523) with the id `private_key_id`, which signs with `private_key_algorithm`. `signed`: only
    answers that are JWTs (RFC 9701) are accepted. `audience_optional`: an answer without `aud` is for us.
    `subject_optional`: an answer without `sub` and `username` is for a client's own token. `positive_seconds` and
    `negative_seconds`: how long answers are cached at most.
    """

    url: str
    client_id: str
    client_secret: str | None = field(default=None, repr=False)
    private_key: str | None = field(default=None, repr=False)
    private_key_id: str | None = None
    private_key_algorithm: str = "RS256"
    signed: bool = False
    audience_optional: bool = False
    subject_optional: bool = False
    positive_seconds: int = 60
    negative_seconds: int = 5

    def __post_init__(self) -> None:
        if not is_safe_url(self.url):
            raise Misconfigured(f"The introspection url must be {_SAFE_URL}")
        if not self.client_id or (self.client_secret is None) == (self.private_key is None):
            raise Misconfigured("Introspection needs a client_id, and either a client secret or a private key")
        if self.private_key_algorithm not in KEY_TYPES:
            raise Misconfigured(f"Introspection may sign only with these algorithms: {', '.join(KEY_TYPES)}")
        if not 0 <= self.positive_seconds <= 300 or not 0 <= self.negative_seconds <= 60:  # noqa: PLR2004
            raise Misconfigured("Introspection answers may be cached for at most 300 seconds, denials for at most 60")


@dataclass(frozen=True, slots=True)
class Issuer:
    """One authorization server. Raises Misconfigured if a value is unsafe.

    `name`: our short name for it, in logs and readiness. `issuer`: the exact `iss`. `audience`: the value that `aud`
    must contain. `jwks_url`: where the keys are; if None, discovered at `discovery_url` or at the well-known places of
    RFC 8414 and OpenID Connect. `algorithms`: the accepted ones. `accepted_types`: `typ` headers, compared without case
    and without `application/`; add `JWT` for issuers that do not follow RFC 9068, and the empty string for those that
    send none. `prefix`: is put before this issuer's clients (`prefix:client`) and roles (`prefix-role`), so that they
    never equal another issuer's. `max_lifetime`, `leeway`: seconds.

    The claims of its tokens: `scope_claim`, a string of scopes separated by spaces (any claim but `scope` may also be a
    list); `scope_prefix`, which every scope must have and which is removed; `permissions_claim`, a list that must have
    the scopes too; `machine_scope_claim`, a list of scopes in clients' own tokens; `roles_claim`; `groups_claim` with
    `groups`, from a group to our roles; `attributes`, from an attribute of the caller to its claim; `client_claims`,
    which must agree; `subject_claim` and `token_id_claim`.
    `clients_as_audience`: clients whose tokens need no `aud`. `agents`: client ids and subjects of agents.
    `acting_clients`: subjects of actors (RFC 8693) that are clients, and no persons. `machine`: the rule that
    recognizes a client's own token, besides `machine_claim`, a claim with its value.
    """

    name: str
    issuer: str
    audience: str
    jwks_url: str | None = None
    discovery_url: str | None = None
    algorithms: frozenset[str] = frozenset({"RS256", "ES256"})
    accepted_types: frozenset[str] = frozenset({STRICT_TYPE})
    prefix: str = ""
    scope_claim: str = "scope"
    scope_prefix: str = ""
    permissions_claim: str | None = None
    machine_scope_claim: str | None = None
    roles_claim: ClaimPath = "roles"
    groups_claim: ClaimPath | None = None
    groups: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    attributes: Mapping[str, ClaimPath] = field(default_factory=dict)
    client_claims: tuple[str, ...] = ("client_id", "azp")
    subject_claim: str = "sub"
    token_id_claim: str = "jti"  # noqa: S105 — a claim's name
    machine: str = "standard"
    machine_claim: tuple[str, str] | None = None
    clients_as_audience: frozenset[str] = frozenset()
    agents: frozenset[str] = frozenset()
    acting_clients: frozenset[str] = frozenset()
    max_lifetime: int = 86_400
    leeway: int = 30
    introspection: Introspection | None = None
    foreign_prefixes: frozenset[str] = frozenset()

    def __post_init__(self) -> None:
        for label, value in (("name", self.name), ("issuer", self.issuer), ("audience", self.audience)):
            if not value or value != value.strip():
                raise Misconfigured(f"The issuer's {label} must not be empty or have spaces around it")
        for label, url in (("issuer", self.issuer), ("jwks_url", self.jwks_url), ("discovery_url", self.discovery_url)):
            if url is not None and not is_safe_url(url):
                raise Misconfigured(f"{label} of issuer {self.name} must be {_SAFE_URL}")
        if not self.algorithms or not self.algorithms <= KEY_TYPES.keys():
            raise Misconfigured(f"Issuer {self.name} may use only these algorithms: {', '.join(KEY_TYPES)}")
        if not self.accepted_types:
            raise Misconfigured(f"Issuer {self.name} must accept at least one token type")
        if not 0 <= self.leeway <= MAX_LEEWAY_SECONDS or self.max_lifetime <= 0:
            raise Misconfigured(f"Issuer {self.name} needs a leeway of 0 to 60 seconds and a positive max_lifetime")
        self._check_words()
        object.__setattr__(self, "accepted_types", frozenset(shorten_type(typ) for typ in self.accepted_types))

    def _check_words(self) -> None:
        if self.prefix and not _PREFIX.fullmatch(self.prefix):
            raise Misconfigured(f"The prefix of issuer {self.name} must be 1 to 20 lower-case letters and digits")
        if self.machine not in MACHINE_RULES:
            raise Misconfigured(f"machine of issuer {self.name} must be one of {', '.join(MACHINE_RULES)}")
        if not self.client_claims or not all(self.client_claims):
            raise Misconfigured(f"Issuer {self.name} needs a claim that names the client")
        wrong = [role for roles in self.groups.values() for role in roles if not _OUR_ROLE.fullmatch(role)]
        if wrong:
            raise Misconfigured(
                f"groups of issuer {self.name} must map to roles of lower-case letters, digits and hyphens"
            )
        for name in self.attributes:
            if not _ATTRIBUTE.fullmatch(name) or name in _OWN_ATTRIBUTES:
                raise Misconfigured(
                    f"attributes of issuer {self.name} must be names that a vocabulary declares under"
                    f" [directory.people], in lower case, and not {', '.join(sorted(_OWN_ATTRIBUTES))}"
                )


def prefix_of(client: str, prefixes: Collection[str]) -> str:
    """Which of the prefixes a client's id has, as rules name it; empty for none."""
    first, colon, _ = client.partition(":")
    return first if colon and first in prefixes else ""


def shorten_type(typ: str) -> str:
    """A `typ` in lower case and without the optional `application/` (RFC 7515 section 4.1.9)."""
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
