"""The settings, from environment variables. Only app, keeper and commands read them.

Settings that security depends on have no default: a process without issuer, audience or database refuses to start and
names the variable. A test compares docs/settings.md with this file.
"""

from __future__ import annotations

import os
import re
from ipaddress import ip_network
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final, Literal
from urllib.parse import urlsplit

from pydantic import Field, ValidationError, ValidationInfo, field_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

from events.stream import check_redis_url
from service.errors import Misconfigured
from service.places import printable
from service.variables import PREFIX, SERVICE_LINK, refuse_unknown_variables

if TYPE_CHECKING:
    from collections.abc import Mapping

# Settings that may come from a file instead, named by the variable with _FILE at its end.
SECRETS: Final = (
    "database_url",
    "replica_url",
    "redis_url",
    "cursor_key",
    "erasure_keys",
    "console_client_secret",
    "console_keys",
)
MAX_SECRET_CHARACTERS: Final = 16_384
LOOPBACK = frozenset({"127.0.0.1", "localhost", "::1"})
# As browsers serialize origins (RFC 6454 section 6.2), also with the schemes of apps in a web view.
_ORIGIN = re.compile(r"[a-z][a-z0-9+.-]*://([a-z0-9_-]+(\.[a-z0-9_-]+)*|\[[0-9a-f:.]+\])(:[0-9]{1,5})?")

# What stands in a quoted parameter of a challenge as it is.
_QUOTABLE = re.compile(r"[ !#-\[\]-~]*")
# What ends a user's password, or begins the parameters of a URL.
_MAY_HOLD_A_PASSWORD = re.compile(r"[@?]")
_CONTACT = re.compile(r"https://[!-~]+|mailto:[!-?A-~]+@[!-?A-~]+")


class Settings(BaseSettings):
    """Each field is a setting; its variable is TIMEWARDEN_ and the name in capitals."""

    model_config = SettingsConfigDict(env_prefix=PREFIX, extra="ignore", frozen=True)

    environment: Literal["production", "development"] = Field(
        default="production", description="`development` allows plain http on loopback"
    )
    database_url: str = Field(
        default="",
        description="`postgresql://user:password@host/name`, also with several hosts, `@first,second/name`;"
        " docs/production.md says which user for which command",
    )
    replica_url: str = Field(
        default="",
        description="A [standby](sizing.md#a-standby-for-auditors) that answers searches, counts and exports of the"
        " log, as the same user; empty: the primary does",
    )
    redis_url: str = Field(
        default="",
        description="`redis://:password@host:6379/0`, also with [Sentinels or as a cluster](backup.md#redis); for"
        " events, used DPoP proofs, rate limits and hints at new policy versions",
    )
    issuer: str = Field(
        default="", description="The authorization server's exact `iss`, for example `https://acme.eu.auth0.com/`"
    )
    audience: str = Field(
        default="",
        description="The `aud` of tokens for this API, for example `https://api.acme.com/timesheets`",
    )
    jwks_url: str = Field(default="", description="The issuer's keys; empty: found through its metadata")
    issuers_file: str = Field(
        default="",
        description="A TOML file of issuers, instead of `TIMEWARDEN_ISSUER` or beside it: docs/issuers.md",
    )
    token_types: str = Field(
        default="at+jwt",
        description="Accepted `typ` headers, comma-separated; add `JWT` for Auth0's default and Keycloak",
    )
    token_algorithms: str = Field(default="RS256,ES256", description="Accepted signature algorithms, comma-separated")
    roles_claim: str = Field(default="roles", description="The claim with a person's roles; may be a URL")
    public_url: str = Field(
        default="", description="The base URL that callers use, in metadata and as the events' source"
    )
    contact_url: str = Field(
        default="",
        description="A page, or `mailto:` and an address, of those who run the service; in the API's document",
    )
    policies_directory: Path = Field(
        default=Path("policies"),
        description="The policy files that `policy` commands read and that `serve` compares at its start",
    )
    host: str = Field(default="127.0.0.1", description="Address of the API")
    port: Annotated[int, Field(ge=1, le=65535, description="Port of the API")] = 8080
    management_address: str = Field(
        default="127.0.0.1:8081",
        description="Where `serve` answers health and metrics, `host:port`; not for clients; in a container"
        " `0.0.0.0:8081`",
    )
    keeper_address: str = Field(
        default="",
        description="Where `keep` answers metrics, `host:port`, for example `127.0.0.1:8082`; empty: nowhere",
    )
    instance: str = Field(
        default="",
        pattern=r"^[A-Za-z0-9._-]{0,64}$",
        description="A name that readiness repeats, so that a starter recognises its own `serve`",
    )
    workers: Annotated[int, Field(ge=1, le=64, description="API processes")] = 1
    connections: Annotated[
        int, Field(ge=64, le=100_000, description="Open connections of clients, per API process; others wait")
    ] = 4096
    idle_timeout: Annotated[
        float,
        Field(ge=1, le=600, description="Seconds after which a connection without a request is closed"),
    ] = 30.0
    database_pool: Annotated[int, Field(ge=2, le=200, description="Connections for requests, per API process")] = 8
    log_inbox: Annotated[
        int, Field(ge=64, le=100_000, description="Records that may wait for the log's next commit, per API process")
    ] = 4096
    # Postgres counts both in milliseconds, and for 0 it waits without end.
    database_timeout: Annotated[float, Field(ge=0.001, le=60, description="Seconds that a statement may take")] = 5.0
    lock_timeout: Annotated[float, Field(ge=0.001, le=60, description="Seconds to wait for a lock")] = 3.0
    admission_timeout: Annotated[
        float,
        Field(
            gt=0,
            le=60,
            description="Seconds that a request may wait before it is worked on; then 503 `try-later`",
        ),
    ] = 1.0
    max_body_bytes: Annotated[int, Field(ge=1024, le=10_000_000, description="Largest request body")] = 262_144
    max_upload_bytes: Annotated[
        int, Field(ge=1024, le=1_000_000_000, description="Largest upload file (NDJSON or CSV)")
    ] = 33_554_432
    weeks_ahead: Annotated[
        int, Field(ge=0, le=5_000, description="For how many weeks after this one hours can be entered")
    ] = 53
    cursor_key: str = Field(
        default="", description="Encrypts page cursors; at least 32 characters, the same on every replica"
    )
    erasure_keys: str = Field(
        default="",
        description="Secrets that recognise erased people who return; at least 32 characters each, the same on every"
        " replica; comma-separated, newest first, while keys are changed; empty: nobody can be erased",
    )
    erasure_memory_days: Annotated[
        int,
        Field(ge=1, le=3650, description="Days for which erased people who return are recognised"),
    ] = 400
    dpop_algorithms: str = Field(
        default="ES256,ES384,Ed25519,EdDSA,PS256,RS256",
        description="Signature algorithms of DPoP proofs, comma-separated; DPoP also needs the public URL and Redis",
    )
    dpop_nonce: Literal["optional", "required"] = Field(
        default="optional", description="`required`: every DPoP proof must contain a nonce of ours"
    )
    dpop_required: bool = Field(default=False, description="Refuse tokens that are not bound to a key by DPoP")
    client_certificate_header: str = Field(
        default="",
        pattern=r"^[A-Za-z0-9-]*$",
        description="The header in which a trusted proxy passes the client's certificate, for example `Client-Cert`;"
        " empty: certificate-bound tokens are refused",
    )
    trusted_proxies: str = Field(
        default="",
        description="Addresses or networks of proxies whose headers are believed, comma-separated",
    )
    client_rate: Annotated[
        int, Field(ge=0, le=1_000_000, description="Requests a minute of one person through one client; 0: unlimited")
    ] = 1200
    address_rate: Annotated[
        int,
        Field(ge=0, le=1_000_000, description="Requests a minute without a valid token from one address; 0: unlimited"),
    ] = 300
    failed_authentication_weight: Annotated[
        int, Field(ge=1, le=1000, description="How many requests a failed authentication counts as")
    ] = 5
    step_up_acr: str = Field(
        default="",
        description="`acr_values` of the challenge for a second factor, for example"
        " `http://schemas.openid.net/pape/policies/2007/06/multi-factor`",
    )
    cors_origins: str = Field(
        default="",
        description="Origins of browser apps, comma-separated, for example `https://hours.acme.com`; never `*`",
    )
    log_level: Literal["debug", "info", "warning", "error"] = Field(
        default="info", description="The lowest level that is logged"
    )
    traces: bool = Field(
        default=False,
        description="Send traces by OTLP, as OpenTelemetry's own variables (`OTEL_EXPORTER_OTLP_ENDPOINT` and others)"
        " say; needs the extra `tracing`",
    )
    seal_interval: Annotated[float, Field(gt=0, le=60, description="Seconds between checks for records to seal")] = 0.1
    log_origin: str = Field(
        default="",
        description="The log's name in its checkpoints, for example `timesheets.example.com/audit/2026a`; no scheme;"
        " never changed while the log goes on",
    )
    log_key_file: str = Field(
        default="",
        description="The file of the key that signs checkpoints, made by `timewarden audit key new`; comma-separated"
        " while keys are changed",
    )
    log_anchor_file: str = Field(
        default="",
        description="Where `keep` writes each checkpoint before it signs it: a file outside the database, shared by all"
        " keepers",
    )
    log_witnesses: str = Field(
        default="",
        description="Outside witnesses that cosign checkpoints, comma-separated: each its public key (vkey), a space"
        " and its https URL",
    )
    archive_url: str = Field(
        default="",
        description="Where `keep` [archives the log](sizing.md#archive-the-log): `s3://bucket/folder` or"
        " `file:///directory`; empty: nowhere",
    )
    archive_interval: Annotated[
        float, Field(gt=0, le=86_400, description="Seconds between checkpoints in the archive")
    ] = 3600.0
    checkpoint_interval: Annotated[
        float, Field(gt=0, le=3600, description="Seconds between checkpoints of a log that grows")
    ] = 2.0
    heartbeat_after: Annotated[
        float, Field(ge=1, le=86_400, description="Seconds without a record after which `keep` writes a heartbeat")
    ] = 3600.0
    replay_processes: Annotated[int, Field(ge=1, le=64, description="Processes in which a keeper runs replays")] = 2
    event_stream: str = Field(
        default="timewarden:events", description="Prefix of the Redis stream; the log's epoch follows it"
    )
    event_days: Annotated[
        int,
        Field(
            ge=0,
            le=3650,
            description="Days after which `keep` drops an event that every consumer group acknowledged; 0: never",
        ),
    ] = 30

    console_url: str = Field(
        default="",
        description="Where browsers reach the console, for example `https://hours.acme.com`; register at the issuer"
        " `/sign-in/callback` under it as redirect URI, and `/signed-out` as post-logout redirect URI",
    )
    console_address: str = Field(default="127.0.0.1:8070", description="Where `console` listens, `host:port`")
    console_client: str = Field(default="", description="The client id of the console at the issuer")
    console_client_secret: str = Field(
        default="", description="Its secret; empty: a public client, which PKCE alone protects"
    )
    console_keys: str = Field(
        default="",
        description="Secrets that encrypt the sessions of the console; at least 32 characters each, the same on every"
        " replica; comma-separated, newest first, while keys are changed",
    )
    console_scopes: str = Field(
        default="openid profile offline_access read:timesheets create:timesheets delete:timesheets approve:timesheets"
        " read:audit read:policies write:policies manage:directory manage:tokens",
        description="Scopes that the console asks for; those of OpenID only if the issuer offers them",
    )
    console_audience_parameter: Literal["resource", "audience", "none"] = Field(
        default="resource",
        description="How the console tells the issuer the audience: `resource` (RFC 8707), `audience` for Auth0, `none`"
        " where scopes imply it",
    )

    def need(self, *names: str) -> None:
        """Raise Misconfigured unless each named setting has a value, and settings are safe in production."""
        missing = [variable(name) for name in names if not str(getattr(self, name)).strip()]
        if missing:
            raise Misconfigured(f"Set {', '.join(missing)}: this process needs it to start")
        if self.environment == "production":
            for name in ("issuer", "jwks_url", "public_url", "console_url"):
                value = getattr(self, name)
                if value and urlsplit(value).scheme != "https":
                    raise Misconfigured(f"{variable(name)} must be an https URL in production")
            self._check_origins()
        if "cursor_key" in names and len(self.cursor_key) < 32:  # noqa: PLR2004 — 256 bits as text
            raise Misconfigured(f"{variable('cursor_key')} must have at least 32 characters")
        if "console_keys" in names and any(len(key) < 32 for key in self.split("console_keys")):  # noqa: PLR2004
            raise Misconfigured(f"{variable('console_keys')} must have at least 32 characters each")
        self._check_senders()

    def _check_origins(self) -> None:
        for origin in self.split("cors_origins"):
            parts = urlsplit(origin)
            if parts.scheme == "http" and parts.hostname not in LOOPBACK:
                raise Misconfigured(
                    f"{variable('cors_origins')} must hold https origins in production: an attacker on the network"
                    f" could change the pages of {origin}"
                )

    def _check_senders(self) -> None:
        if self.dpop_required and not (self.dpop_algorithms and self.public_url and self.redis_url):
            names = ", ".join(variable(name) for name in ("dpop_algorithms", "public_url", "redis_url"))
            raise Misconfigured(f"{variable('dpop_required')} needs {names}: without them no proof can be checked")
        if self.client_certificate_header and not self.trusted_proxies.strip():
            raise Misconfigured(f"{variable('client_certificate_header')} needs {variable('trusted_proxies')}")

    @field_validator("port", mode="before")
    @classmethod
    def _port(cls, given: object) -> object:
        if isinstance(given, str) and SERVICE_LINK.match(given):
            raise ValueError(
                "was set by Kubernetes for a Service named timewarden; set enableServiceLinks: false in the pod, or the"
                " port number in the env of the container"
            )
        return given

    @field_validator("host", "policies_directory", "roles_claim", "event_stream", mode="before")
    @classmethod
    def _not_blank(cls, given: object) -> object:
        if isinstance(given, str) and not given.strip():
            raise ValueError("must not be empty: leave it out for its default")
        return given

    @field_validator("step_up_acr")
    @classmethod
    def _quotable(cls, given: str) -> str:
        if not _QUOTABLE.fullmatch(given):
            raise ValueError("must have only ASCII characters that can be printed, without quotes and backslashes")
        return given

    @field_validator("redis_url")
    @classmethod
    def _redis(cls, given: str) -> str:
        if given:
            check_redis_url(given)
        return given

    @field_validator("console_url")
    @classmethod
    def _origin(cls, given: str) -> str:
        if given and not (given.startswith(("https://", "http://")) and _ORIGIN.fullmatch(given)):
            raise ValueError("must be scheme, host in lower case and, unless it is the default, port; without a path")
        return given

    @field_validator("contact_url")
    @classmethod
    def _contact(cls, given: str) -> str:
        if given and not _CONTACT.fullmatch(given):
            raise ValueError("must be an https URL, or mailto: and an e-mail address")
        return given

    @field_validator("issuer", "jwks_url", "audience", "public_url", "contact_url", "archive_url")
    @classmethod
    def _readable(cls, given: str) -> str:
        try:
            parts = urlsplit(given)
            _ = parts.port
        except ValueError as error:
            # The message of the error may quote a part of a password.
            raise ValueError("is not a URL") from error
        if parts.scheme in {"https", "http"} and "@" in parts.netloc:
            # Most of these are published.
            raise ValueError("must be a URL without a user and a password")
        return given

    @field_validator("database_url", "replica_url")
    @classmethod
    def _server(cls, given: str) -> str:
        try:
            # Not its port: the URL may name several hosts.
            scheme = urlsplit(given).scheme
        except ValueError as error:
            # As above.
            raise ValueError("is not a URL") from error
        if given.strip() and scheme not in {"postgresql", "postgres"}:
            raise ValueError("must begin with postgresql://")
        return given

    @field_validator("public_url")
    @classmethod
    def _base(cls, given: str) -> str:
        parts = urlsplit(given)
        if given and not (parts.scheme in {"https", "http"} and parts.hostname and not (parts.query or parts.fragment)):
            raise ValueError("must be an http or https URL with a host, without a query and a fragment")
        return given

    @field_validator("cors_origins")
    @classmethod
    def _origins(cls, given: str) -> str:
        for origin in filter(None, (part.strip() for part in given.split(","))):
            if "*" in origin or origin == "null":
                raise ValueError(
                    f"{_quote(origin, given)} would let every web page send requests with a person's token; write the"
                    " origin of each app, for example https://hours.acme.com"
                )
            if not _ORIGIN.fullmatch(origin):
                raise ValueError(
                    f"{_quote(origin, given)} is not an origin as browsers send it: write scheme, host in lower case"
                    " and, unless it is the default, port, without a slash at the end, for example https://hours.acme.com"
                )
        return given

    @field_validator("management_address", "keeper_address", "console_address")
    @classmethod
    def _address(cls, given: str, info: ValidationInfo) -> str:
        if given or info.field_name != "keeper_address":
            split_address(given)
        return given

    @field_validator("trusted_proxies")
    @classmethod
    def _addresses(cls, given: str) -> str:
        for part in filter(None, (part.strip() for part in given.split(","))):
            try:
                ip_network(part)
            except ValueError as error:
                raise ValueError(f"{_quote(part, given)} is not an address or a network") from error
        return given

    def management(self) -> tuple[str, int]:
        """Host and port of the management address."""
        return split_address(self.management_address)

    def names_of_issuer(self) -> tuple[str, ...]:
        """The settings that the issuer of the variables requires; none if only a file names issuers."""
        return ("issuer", "audience") if self.issuer or not self.issuers_file else ()

    def split(self, name: str) -> tuple[str, ...]:
        """The parts of a comma-separated setting."""
        return tuple(part.strip() for part in str(getattr(self, name)).split(",") if part.strip())


def _quote(part: str, setting: str) -> str:
    """A part of a comma-separated setting for a message. Not quoted if the setting may hold a URL with a password."""
    return "One of them" if _MAY_HOLD_A_PASSWORD.search(setting) else printable(part, 100)


def variables() -> frozenset[str]:
    """The environment variables of all settings."""
    return frozenset(map(variable, Settings.model_fields)) | frozenset(map(_file_variable, SECRETS))


def split_address(address: str) -> tuple[str, int]:
    """Host and port of `host:port`, without the brackets of an IPv6 address. Raises ValueError."""
    host, _, port = address.rpartition(":")
    if not (host and port.isascii() and port.isdigit() and 0 < int(port) < 65536):  # noqa: PLR2004 — a port's 16 bits
        raise ValueError("must be an address and a port, for example 127.0.0.1:8081 or [::1]:8081")
    return host.removeprefix("[").removesuffix("]"), int(port)


def variable(name: str) -> str:
    """The environment variable of a setting."""
    return PREFIX + name.upper()


def load() -> Settings:
    """Read the environment. Raises Misconfigured that names each invalid or misspelt variable and its error."""
    refuse_unknown_variables(os.environ, variables)
    # As pydantic reads the others, in any case.
    secrets = _read_secrets({name.upper(): value for name, value in os.environ.items()})
    try:
        return Settings(**secrets)
    except ValidationError as error:
        wrong = "; ".join(
            f"{variable(str(problem['loc'][0]))}: {problem['msg'].removeprefix('Value error, ')}"
            for problem in error.errors()
        )
        raise Misconfigured(f"Settings are invalid: {wrong}") from error


def _read_secrets(environment: Mapping[str, str]) -> dict[str, Any]:
    """The settings whose files the environment names, without the line end that editors add. Raises Misconfigured,
    which never quotes a file."""
    found: dict[str, Any] = {}
    for name in SECRETS:
        path = environment.get(_file_variable(name))
        if not path:
            continue
        if environment.get(variable(name)):
            raise Misconfigured(f"Set {variable(name)} or {_file_variable(name)}, not both")
        try:
            with Path(path).open(encoding="utf-8") as file:
                content = file.read(MAX_SECRET_CHARACTERS + 1)
        except (OSError, UnicodeDecodeError) as error:
            reason = error.strerror if isinstance(error, OSError) else "it is not text"
            raise Misconfigured(f"The file of {_file_variable(name)} cannot be read: {reason}") from error
        if len(content) > MAX_SECRET_CHARACTERS:
            raise Misconfigured(
                f"The file of {_file_variable(name)} has more than {MAX_SECRET_CHARACTERS:,} characters"
            )
        found[name] = content.rstrip("\r\n")
    return found


def _file_variable(name: str) -> str:
    return f"{variable(name)}_FILE"
