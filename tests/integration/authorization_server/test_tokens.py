"""Tokens of the development authorization server, got over HTTP from a running server and verified as strangers
would.
"""

from __future__ import annotations

import hashlib
import json
import logging
import re
import stat
import time
from typing import TYPE_CHECKING, Any

import httpx2
import jwt
import pytest

from service.development.authorization_server import create
from service.development.authorization_server.application import running
from service.development.authorization_server.sign_in import (
    DEVICE_GRANT,
    EXCHANGE_GRANT,
    SignInRefused,
    authorization_code_token,
    client_credentials_token,
)
from service.development.people import ALL_MEANINGS, PEOPLE, scopes_of
from service.errors import Misconfigured
from tests.integration.authorization_server.browser import AUDIENCE, held_issuer

if TYPE_CHECKING:
    from pathlib import Path

HOURS = ("read:timesheets", "create:timesheets", "delete:timesheets", "approve:timesheets")


async def _keys(issuer: str) -> dict[str, Any]:
    async with httpx2.AsyncClient(trust_env=False) as http:
        document = (await http.get(f"{issuer}/.well-known/oauth-authorization-server")).json()
        keys: dict[str, Any] = (await http.get(document["jwks_uri"])).json()
    return keys


def _verify(token: str, keys: dict[str, Any], issuer: str, algorithm: str = "RS256") -> dict[str, Any]:
    header = jwt.get_unverified_header(token)
    assert header == {"alg": algorithm, "typ": "at+jwt", "kid": header["kid"]}
    (key,) = [jwk for jwk in keys["keys"] if jwk["kid"] == header["kid"]]
    claims: dict[str, Any] = jwt.decode(
        token,
        jwt.PyJWK(key),
        algorithms=[algorithm],
        audience=AUDIENCE,
        issuer=issuer,
        options={"require": ["iss", "exp", "aud", "sub", "client_id", "iat", "jti"]},
    )
    return claims


async def test_discovery_names_this_server_and_what_it_can_do(issuer: str) -> None:
    async with httpx2.AsyncClient(trust_env=False) as http:
        metadata = (await http.get(f"{issuer}/.well-known/oauth-authorization-server")).json()
        other = (await http.get(f"{issuer}/.well-known/openid-configuration")).json()
    assert metadata == other
    assert metadata["issuer"] == issuer
    assert metadata["token_endpoint"] == f"{issuer}/token"
    assert metadata["authorization_endpoint"] == f"{issuer}/authorize"
    assert metadata["code_challenge_methods_supported"] == ["S256"]
    assert metadata["response_types_supported"] == ["code"]
    assert metadata["grant_types_supported"] == [
        "authorization_code",
        "client_credentials",
        "refresh_token",
        DEVICE_GRANT,
        EXCHANGE_GRANT,
    ]
    assert metadata["scopes_supported"] == list(ALL_MEANINGS)


async def test_published_keys_are_public_and_named_by_their_thumbprint(issuer: str) -> None:
    keys = (await _keys(issuer))["keys"]
    assert [(key["kty"], key["alg"], key["use"]) for key in keys] == [("RSA", "RS256", "sig"), ("EC", "ES256", "sig")]
    for key in keys:
        assert not {"d", "p", "q", "dp", "dq", "qi", "k"} & set(key)
        members = ("e", "kty", "n") if key["kty"] == "RSA" else ("crv", "kty", "x", "y")
        canonical = json.dumps({name: key[name] for name in members}, separators=(",", ":")).encode()
        assert key["kid"] == jwt.utils.base64url_encode(hashlib.sha256(canonical).digest()).decode()


async def test_a_persons_token_is_an_rfc_9068_token(issuer: str) -> None:
    before = int(time.time())
    answer = await authorization_code_token(issuer, "ana", PEOPLE["ana"].password, "hours-app", ["read:timesheets"])
    claims = _verify(answer.access_token, await _keys(issuer), issuer)
    assert set(claims) == {
        *("iss", "aud", "exp", "iat", "jti", "sub", "client_id", "scope", "auth_time", "amr", "roles")
    }
    assert claims["iss"] == issuer
    assert claims["aud"] == AUDIENCE
    assert claims["sub"] == "dev|ana"
    assert claims["client_id"] == "hours-app"
    assert claims["scope"] == answer.scope == "read:timesheets"
    assert claims["roles"] == ["employee"]
    assert claims["amr"] == ["pwd"]
    assert before <= claims["auth_time"] <= claims["iat"] <= int(time.time())
    assert claims["exp"] - claims["iat"] == answer.expires_in == 3600
    again = await authorization_code_token(issuer, "ana", PEOPLE["ana"].password, "hours-app", ["read:timesheets"])
    assert _verify(again.access_token, await _keys(issuer), issuer)["jti"] != claims["jti"]
    assert answer.access_token not in repr(answer)


async def test_a_clients_own_token_is_signed_with_es256_and_speaks_of_the_client_alone(issuer: str) -> None:
    answer = await client_credentials_token(issuer, "payroll-import", "payroll-import-demo", ["batch:upload"])
    claims = _verify(answer.access_token, await _keys(issuer), issuer, "ES256")
    assert set(claims) == {"iss", "aud", "exp", "iat", "jti", "sub", "client_id", "scope"}
    assert claims["sub"] == claims["client_id"] == "payroll-import"
    assert claims["scope"] == answer.scope == "batch:upload"


async def test_a_client_that_names_no_scope_gets_all_of_its_own(issuer: str) -> None:
    machine = await client_credentials_token(issuer, "payroll-import", "payroll-import-demo")
    assert machine.scope == "batch:upload"
    person = await authorization_code_token(issuer, "mia", PEOPLE["mia"].password, "hours-app")
    assert person.scope.split() == list(HOURS)


async def test_a_machine_client_cannot_have_another_clients_scope(issuer: str) -> None:
    for scopes in (["read:timesheets"], ["batch:upload", "read:timesheets"], ["no:such"]):
        with pytest.raises(SignInRefused) as refused:
            await client_credentials_token(issuer, "payroll-import", "payroll-import-demo", scopes)
        assert refused.value.error == "invalid_scope"


async def test_an_app_cannot_ask_for_a_scope_that_is_not_registered_for_it(issuer: str) -> None:
    for scopes in (["read:audit"], ["batch:upload"], ["read:timesheets", "no:such"]):
        with pytest.raises(SignInRefused) as refused:
            await authorization_code_token(issuer, "audrey", PEOPLE["audrey"].password, "hours-app", scopes)
        assert refused.value.error == "invalid_scope"


async def test_unticked_scopes_are_absent_from_the_token(issuer: str) -> None:
    answer = await authorization_code_token(
        issuer, "ana", PEOPLE["ana"].password, "hours-app", HOURS, granted=["read:timesheets"]
    )
    claims = _verify(answer.access_token, await _keys(issuer), issuer)
    assert claims["scope"] == answer.scope == "read:timesheets"


@pytest.mark.parametrize("login", list(PEOPLE))
async def test_no_token_has_a_scope_above_the_persons_role(issuer: str, login: str) -> None:
    person = PEOPLE[login]
    answer = await authorization_code_token(issuer, login, person.password, "timesheets-cli")
    claims = _verify(answer.access_token, await _keys(issuer), issuer)
    assert set(claims["scope"].split()) == scopes_of(person)
    assert claims["roles"] == list(person.roles)


async def test_a_sign_in_in_which_nothing_is_granted_gives_no_token(issuer: str) -> None:
    with pytest.raises(SignInRefused) as refused:
        await authorization_code_token(issuer, "ana", PEOPLE["ana"].password, "hours-app", HOURS, granted=[])
    assert refused.value.error == "access_denied"
    with pytest.raises(SignInRefused) as refused:
        await authorization_code_token(issuer, "adam", PEOPLE["adam"].password, "hours-app", ["approve:timesheets"])
    assert refused.value.error == "access_denied"


async def test_a_wrong_password_gives_no_token(issuer: str) -> None:
    with pytest.raises(SignInRefused, match="Wrong name or password"):
        await authorization_code_token(issuer, "ana", "wrong", "hours-app", ["read:timesheets"])


async def test_our_audience_may_be_named_and_any_other_is_refused(issuer: str) -> None:
    password = PEOPLE["ana"].password
    answer = await authorization_code_token(
        issuer, "ana", password, "hours-app", ["read:timesheets"], audience=AUDIENCE
    )
    assert answer.scope == "read:timesheets"
    with pytest.raises(SignInRefused) as refused:
        await authorization_code_token(issuer, "ana", password, "hours-app", audience=AUDIENCE + "/")
    assert refused.value.error == "invalid_target"


async def test_a_client_at_another_address_than_the_issuer_is_refused(issuer: str) -> None:
    with pytest.raises(SignInRefused) as refused:
        await client_credentials_token(f"{issuer}/", "payroll-import", "payroll-import-demo")
    assert refused.value.error == "wrong_issuer"


async def test_tokens_survive_a_restart_because_the_keys_do(tmp_path: Path) -> None:
    url, held = held_issuer()
    async with running(url, AUDIENCE, tmp_path / "keys", listener=held.dup()):
        token = (await client_credentials_token(url, "payroll-import", "payroll-import-demo")).access_token
        first = await _keys(url)
    async with running(url, AUDIENCE, tmp_path / "keys", listener=held):
        assert await _keys(url) == first
        _verify(token, await _keys(url), url, "ES256")
    files = {file.name: stat.S_IMODE(file.stat().st_mode) for file in (tmp_path / "keys").iterdir()}
    assert files == {"signing-keys.json": 0o600, "timewarden-api.pem": 0o600}


async def test_a_second_server_on_the_same_port_is_refused(issuer: str, tmp_path: Path) -> None:
    with pytest.raises(Misconfigured, match="in use"):
        async with running(issuer, AUDIENCE, tmp_path):
            pytest.fail("two servers would share the requests")


async def test_an_app_may_listen_on_any_loopback_port_ipv6_included(issuer: str) -> None:
    for back in ("http://127.0.0.1:50000/callback", "http://[::1]:50001/callback"):
        answer = await authorization_code_token(
            issuer, "mia", PEOPLE["mia"].password, "timesheets-cli", HOURS, redirect_uri=back
        )
        assert _verify(answer.access_token, await _keys(issuer), issuer)["roles"] == ["manager"]


def test_a_damaged_key_file_stops_the_start_and_is_named(tmp_path: Path) -> None:
    create("http://127.0.0.1:9000", AUDIENCE, tmp_path)
    for file in list(tmp_path.iterdir()):
        good = file.read_text(encoding="utf-8")
        for damage in ("", "[]", "{}", '{"keys": []}', '{"keys": [{"kty": "RSA"}]}', '{"kty": "EC"}'):
            file.write_text(damage, encoding="utf-8")
            with pytest.raises(Misconfigured, match=re.escape(file.name)):
                create("http://127.0.0.1:9000", AUDIENCE, tmp_path)
        file.write_text(good, encoding="utf-8")


def test_a_server_for_another_machine_is_refused_before_it_makes_keys(tmp_path: Path) -> None:
    with pytest.raises(Misconfigured):
        create("http://192.168.1.10:9000", AUDIENCE, tmp_path / "keys")
    assert not (tmp_path / "keys").exists()


async def test_no_token_reaches_a_log(issuer: str, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.DEBUG):
        answer = await authorization_code_token(issuer, "ana", PEOPLE["ana"].password, "hours-app")
    assert answer.access_token.rpartition(".")[2] not in caplog.text
    assert PEOPLE["ana"].password not in caplog.text
