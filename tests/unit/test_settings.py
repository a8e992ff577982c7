"""Settings refuse to start half-configured, and every complaint names its variable."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from service import settings as configuration
from service.errors import Misconfigured
from service.settings import Settings, variable

if TYPE_CHECKING:
    from pathlib import Path

WHOLE = {
    "database_url": "postgresql://timewarden_app:secret@db/timewarden",
    "issuer": "https://issuer.example/",
    "audience": "https://api.example/timesheets",
    "cursor_key": "c" * 32,
}
NEEDED = tuple(WHOLE)


@pytest.mark.parametrize("name", NEEDED)
@pytest.mark.parametrize("value", ["", "   "])
def test_an_empty_setting_that_security_rests_on_stops_the_start_and_is_named(name: str, value: str) -> None:
    with pytest.raises(Misconfigured, match=variable(name)):
        Settings(**{**WHOLE, name: value}).need(*NEEDED)  # type: ignore[arg-type]  # texts are what the environment gives


def test_a_whole_configuration_is_enough() -> None:
    Settings(**WHOLE).need(*NEEDED)  # type: ignore[arg-type]  # as above


@pytest.mark.parametrize("name", ["issuer", "jwks_url", "public_url"])
def test_a_plain_http_address_is_refused_in_production(name: str) -> None:
    with pytest.raises(Misconfigured, match=f"TIMEWARDEN_{name.upper()} must be an https URL"):
        Settings(**{**WHOLE, name: "http://issuer.example/"}).need(*NEEDED)  # type: ignore[arg-type]  # as above


def test_a_plain_http_issuer_is_possible_in_development() -> None:
    changed = {**WHOLE, "issuer": "http://127.0.0.1:8090", "environment": "development"}
    Settings(**changed).need(*NEEDED)  # type: ignore[arg-type]  # as above


def test_a_short_cursor_key_is_refused() -> None:
    with pytest.raises(Misconfigured, match="TIMEWARDEN_CURSOR_KEY"):
        Settings(**{**WHOLE, "cursor_key": "short"}).need(*NEEDED)  # type: ignore[arg-type]  # as above


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("PORT", "0"),
        ("PORT", "eighty"),
        ("WORKERS", "0"),
        ("LOG_LEVEL", "loud"),
        ("ENVIRONMENT", "x"),
        ("DPOP_NONCE", "sometimes"),
        ("DPOP_REQUIRED", "perhaps"),
        ("CLIENT_CERTIFICATE_HEADER", "Client Cert"),
        ("TRUSTED_PROXIES", "10.0.0.0/8, proxy.example"),
        ("CORS_ORIGINS", "*"),
        ("CORS_ORIGINS", "https://hours.acme.com, *"),
        ("CORS_ORIGINS", "https://*.acme.com"),
        ("CORS_ORIGINS", "null"),
        ("CORS_ORIGINS", "https://hours.acme.com/"),
        ("CORS_ORIGINS", "https://hours.acme.com/app"),
        ("CORS_ORIGINS", "https://Hours.acme.com"),
        ("CORS_ORIGINS", "https://ana:secret@hours.acme.com"),
        ("CORS_ORIGINS", "https://ana:unquoted@hours.acme.com"),
        ("CORS_ORIGINS", "https://ana:unquoted,s@hours.acme.com"),
        ("CORS_ORIGINS", "https://ana:unquoted*@hours.acme.com"),
        ("CORS_ORIGINS", "https://hours.acme.com?key=unquoted"),
        ("CORS_ORIGINS", "hours.acme.com"),
        ("CORS_ORIGINS", "https://hours\u2028.acme.com"),
        ("REDIS_URL", "redis.example:6379"),
        ("REDIS_URL", "redis://:pass/word@redis.example:6379/0"),
        ("PUBLIC_URL", "https://[api.example"),
        ("PUBLIC_URL", "timesheets.example.com"),
        ("PUBLIC_URL", "https:/timesheets.example.com"),
        ("PUBLIC_URL", "https://"),
        ("PUBLIC_URL", "https://timesheets.example.com/?q=1"),
        ("AUDIENCE", "https://[api.example"),
        ("AUDIENCE", "https://ana:unquoted@api.example"),
        ("ISSUER", "https://ana:unquoted@[issuer.example/"),
        ("ISSUER", "https://ana:unquoted@issuer.example/"),
        ("JWKS_URL", "https://ana:unquoted@issuer.example/keys"),
        ("PUBLIC_URL", "https://ana:unquoted@timesheets.example.com"),
        ("CONTACT_URL", "https://ana:unquoted@acme.com/help"),
        ("TRUSTED_PROXIES", "https://ana:unquoted@proxy.example"),
        ("CONTACT_URL", "help@acme.com"),
        ("CONTACT_URL", "javascript:alert(1)"),
        ("CONTACT_URL", "https://acme.com/a b"),
        ("DATABASE_URL", "postgresql://ana:unquoted@[db/timewarden"),
        ("DATABASE_URL", "mysql://db/timewarden"),
        ("REPLICA_URL", "postgresql://ana:unquoted@[db/timewarden"),
        ("ARCHIVE_URL", "s3://[bucket"),
        ("DATABASE_TIMEOUT", "0.0001"),
        ("LOCK_TIMEOUT", "0.0009"),
        ("TRUSTED_PROXIES", "10.0.0.0/8, " + "x" * 10_000),
        ("STEP_UP_ACR", "mfa\nSet-Cookie: a=b"),
        ("STEP_UP_ACR", 'urn:"mfa"'),
        ("HOST", ""),
        ("POLICIES_DIRECTORY", " "),
        ("ROLES_CLAIM", ""),
        ("EVENT_STREAM", ""),
    ],
)
def test_a_value_that_cannot_be_is_named_with_its_variable(
    monkeypatch: pytest.MonkeyPatch, name: str, value: str
) -> None:
    monkeypatch.setenv(f"TIMEWARDEN_{name}", value)
    with pytest.raises(Misconfigured, match=f"TIMEWARDEN_{name}") as caught:
        configuration.load()
    assert len(caught.value.public) < 400
    assert "\n" not in caught.value.public
    assert "unquoted" not in caught.value.public
    # Pydantic's words for an error of ours.
    assert "Value error" not in caught.value.public


@pytest.mark.parametrize(
    "origins",
    [
        "",
        "https://hours.acme.com",
        " https://a.acme.com , http://localhost:3000",
        "capacitor://localhost",
        "http://[::1]",
    ],
)
def test_origins_are_written_as_browsers_send_them(origins: str) -> None:
    Settings(**WHOLE, cors_origins=origins).need(*NEEDED)  # type: ignore[arg-type]  # as above


def test_a_plain_http_origin_is_refused_in_production_with_what_to_write() -> None:
    plain = {**WHOLE, "cors_origins": "http://hours.acme.com"}
    with pytest.raises(Misconfigured, match="CORS_ORIGINS must hold https origins"):
        Settings(**plain).need(*NEEDED)  # type: ignore[arg-type]  # as above
    Settings(**plain, environment="development").need(*NEEDED)  # type: ignore[arg-type]  # as above


def test_all_origins_are_refused_with_what_to_write(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TIMEWARDEN_CORS_ORIGINS", "*")
    with pytest.raises(Misconfigured, match="write the origin of each app, for example https"):
        configuration.load()


def test_production_is_what_nothing_said_means() -> None:
    assert Settings().environment == "production"


@pytest.mark.parametrize("missing", ["public_url", "redis_url", "dpop_algorithms"])
def test_dpop_cannot_be_required_where_no_proof_can_be_judged(missing: str) -> None:
    whole = {**WHOLE, "dpop_required": True, "public_url": "https://api.example", "redis_url": "redis://redis/0"}
    Settings(**whole).need(*NEEDED)  # type: ignore[arg-type]  # as above
    with pytest.raises(Misconfigured, match="TIMEWARDEN_DPOP_REQUIRED needs"):
        Settings(**{**whole, missing: ""}).need(*NEEDED)  # type: ignore[arg-type]  # as above


def test_a_certificate_header_that_anybody_could_send_stops_the_start() -> None:
    header = {**WHOLE, "client_certificate_header": "Client-Cert"}
    Settings(**{**header, "trusted_proxies": "10.0.0.0/8, 2001:db8::1"}).need(*NEEDED)  # type: ignore[arg-type]  # as above
    with pytest.raises(Misconfigured, match="TIMEWARDEN_TRUSTED_PROXIES"):
        Settings(**header).need(*NEEDED)  # type: ignore[arg-type]  # as above


def test_secrets_may_come_from_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "url").write_text("postgresql://timewarden_app:secret@db/timewarden\n")
    monkeypatch.setenv("TIMEWARDEN_DATABASE_URL_FILE", str(tmp_path / "url"))
    assert configuration.load().database_url == "postgresql://timewarden_app:secret@db/timewarden"
    monkeypatch.setenv("TIMEWARDEN_DATABASE_URL", "postgresql://db/timewarden")
    with pytest.raises(Misconfigured, match="not both"):
        configuration.load()


def test_the_variable_of_a_file_is_read_in_any_case_as_the_others(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "keys").write_text("k" * 32)
    monkeypatch.setenv("timewarden_erasure_keys_file", str(tmp_path / "keys"))
    monkeypatch.setenv("timewarden_port", "8081")
    assert (configuration.load().erasure_keys, configuration.load().port) == ("k" * 32, 8081)


def test_a_secret_that_is_too_long_is_not_cut(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "key").write_text("k" * 16_385)
    monkeypatch.setenv("TIMEWARDEN_CURSOR_KEY_FILE", str(tmp_path / "key"))
    with pytest.raises(Misconfigured, match="TIMEWARDEN_CURSOR_KEY_FILE has more than 16,384 characters"):
        configuration.load()


@pytest.mark.parametrize("content", [None, b"\xff\xfe"])
def test_a_secret_that_cannot_be_read_stops_the_start(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, content: bytes | None
) -> None:
    if content is not None:
        (tmp_path / "key").write_bytes(content)
    monkeypatch.setenv("TIMEWARDEN_CURSOR_KEY_FILE", str(tmp_path / "key"))
    with pytest.raises(Misconfigured, match="The file of TIMEWARDEN_CURSOR_KEY_FILE cannot be read"):
        configuration.load()


def test_only_secrets_come_from_files(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TIMEWARDEN_PORT_FILE", "/run/secrets/port")
    with pytest.raises(Misconfigured, match="TIMEWARDEN_PORT_FILE is no setting"):
        configuration.load()
