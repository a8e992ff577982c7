"""Introspection (RFC 7662, signed as RFC 9701 says), opaque tokens and revocation (RFC 7009), against a running
server.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

import httpx2
import jwt
import pytest
import pytest_asyncio
from joserfc import jwt as jose
from joserfc.jwk import ECKey

from service.development.authorization_server.application import running
from service.development.authorization_server.proof_keys import ProofKey
from service.development.authorization_server.sign_in import (
    SignInRefused,
    client_credentials_token,
    refresh_token_grant,
    revoke,
)
from tests.integration.authorization_server.browser import AUDIENCE, ana, held_issuer

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

US = ("timewarden-api", "timewarden-api-demo")
MACHINE = ("payroll-import", "payroll-import-demo")
ASSERTION = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"
SIGNED = "application/token-introspection+jwt"


@pytest.fixture(scope="module")
def keys(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("keys")


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def issuer(keys: Path) -> AsyncIterator[str]:
    url, held = held_issuer()
    async with running(url, AUDIENCE, keys, listener=held):
        yield url


async def introspect(http: httpx2.AsyncClient, token: str) -> dict[str, Any]:
    answer = await http.post("/introspect", data={"token": token}, auth=US)
    assert answer.status_code == 200
    assert answer.headers["cache-control"] == "no-store"
    said: dict[str, Any] = answer.json()
    return said


async def test_an_opaque_token_says_nothing_by_itself_and_all_by_introspection(
    http: httpx2.AsyncClient, issuer: str
) -> None:
    answer = await ana(issuer, scopes=["read:timesheets"], opaque=True)
    assert "." not in answer.access_token
    said = await introspect(http, answer.access_token)
    assert said["active"] is True
    assert (said["iss"], said["aud"], said["sub"]) == (issuer, AUDIENCE, "dev|ana")
    assert (said["client_id"], said["scope"], said["token_type"]) == ("hours-app", "read:timesheets", "Bearer")
    assert said["roles"] == ["employee"]
    assert said["exp"] - said["iat"] == 3600
    again = await refresh_token_grant(issuer, "hours-app", answer.refresh_token or "")
    assert "." not in again.access_token


async def test_a_jwt_can_be_introspected_too_and_says_the_same(http: httpx2.AsyncClient, issuer: str) -> None:
    token = (await client_credentials_token(issuer, *MACHINE)).access_token
    claims = jwt.decode(token, options={"verify_signature": False})
    assert await introspect(http, token) == {"active": True, "token_type": "Bearer"} | claims


async def test_a_bound_token_names_its_key(http: httpx2.AsyncClient, issuer: str) -> None:
    key = ProofKey()
    said = await introspect(
        http, (await client_credentials_token(issuer, *MACHINE, opaque=True, dpop=key)).access_token
    )
    assert (said["token_type"], said["cnf"]) == ("DPoP", {"jkt": key.thumbprint})


async def test_nothing_is_revealed_about_an_invalid_token(http: httpx2.AsyncClient, issuer: str) -> None:
    answer = await ana(issuer)
    changed = answer.access_token[:-4] + ("AAAA" if answer.access_token[-4:] != "AAAA" else "BBBB")
    for token in ("x", changed, answer.refresh_token or "", "a.b.c"):
        assert await introspect(http, token) == {"active": False}


async def test_a_signed_answer_is_for_the_resource_server_that_asked(http: httpx2.AsyncClient, issuer: str) -> None:
    published = (await http.get("/jwks")).json()["keys"]
    opaque = (await client_credentials_token(issuer, *MACHINE, opaque=True)).access_token
    for token, active in ((opaque, True), ("x", False)):
        answer = await http.post("/introspect", data={"token": token}, auth=US, headers={"Accept": SIGNED})
        assert answer.headers["content-type"].partition(";")[0] == SIGNED
        header = jwt.get_unverified_header(answer.text)
        assert (header["typ"], header["alg"]) == ("token-introspection+jwt", "RS256")
        (key,) = [jwk for jwk in published if jwk["kid"] == header["kid"]]
        said = jwt.decode(answer.text, jwt.PyJWK(key), algorithms=["RS256"], audience=US[0], issuer=issuer)
        assert set(said) == {"iss", "aud", "iat", "token_introspection"}
        assert said["token_introspection"]["active"] is active


@pytest.mark.parametrize("accept", ["*/*", "application/json", f"{SIGNED};q=0, application/json", ""])
async def test_who_does_not_ask_for_a_signed_answer_gets_json(http: httpx2.AsyncClient, accept: str) -> None:
    answer = await http.post("/introspect", data={"token": "x"}, auth=US, headers={"Accept": accept})
    assert answer.json() == {"active": False}


@pytest.mark.parametrize("auth", [None, ("timewarden-api", "wrong"), ("no-such-client", "x"), ("hours-app", "x")])
async def test_an_unauthenticated_client_learns_nothing(
    http: httpx2.AsyncClient, issuer: str, auth: tuple[str, str] | None
) -> None:
    token = (await client_credentials_token(issuer, *MACHINE)).access_token
    answer = await http.post("/introspect", data={"token": token, "client_id": "hours-app"}, auth=auth or httpx2.Auth())
    assert (answer.status_code, answer.json()["error"]) == (401, "invalid_client")
    assert answer.headers["www-authenticate"].startswith("Basic")


async def test_a_client_that_is_no_resource_server_learns_nothing_about_a_token(
    http: httpx2.AsyncClient, issuer: str
) -> None:
    token = (await client_credentials_token(issuer, *MACHINE)).access_token
    assert (await http.post("/introspect", data={"token": token}, auth=MACHINE)).json() == {"active": False}


@pytest.mark.parametrize("path", ["/introspect", "/revoke"])
async def test_a_request_without_a_token_is_malformed(http: httpx2.AsyncClient, path: str) -> None:
    for content in ({"data": {"x": "y"}}, {"data": {"token": ["a", "b"]}}, {"json": {"token": "a"}}):
        answer = await http.post(path, auth=US, **content)
        assert (answer.status_code, answer.json()["error"]) == (400, "invalid_request")


def assertion(keys: Path, issuer: str, key: Any = None, **changed: Any) -> dict[str, str]:
    """A client assertion of ours, with claims changed; None takes one away."""
    made = {"iss": US[0], "sub": US[0], "aud": issuer, "exp": int(time.time()) + 60, "jti": f"id {time.time_ns()}"}
    claims = {name: value for name, value in (made | changed).items() if value is not None}
    ours = ECKey.import_key((keys / "timewarden-api.pem").read_bytes())
    text = jose.encode({"alg": "ES256"}, claims, key or ours, algorithms=["ES256"])
    return {"client_assertion_type": ASSERTION, "client_assertion": text}


async def test_a_resource_server_may_prove_itself_with_its_key(
    http: httpx2.AsyncClient, keys: Path, issuer: str
) -> None:
    token = (await client_credentials_token(issuer, *MACHINE)).access_token
    for audience in (issuer, f"{issuer}/introspect", [f"{issuer}/token", "other"]):
        answer = await http.post("/introspect", data={"token": token} | assertion(keys, issuer, aud=audience))
        assert answer.json()["active"] is True, answer.text


@pytest.mark.parametrize(
    "fault",
    [
        {"aud": "https://elsewhere.example"},
        {"aud": None},
        {"exp": 1},
        {"exp": int(time.time()) + 86_400},
        {"exp": None},
        {"iss": "hours-app"},
        {"iss": None},
        {"sub": "payroll-import"},
        {"sub": "no-such-client"},
        {"sub": None},
        {"jti": None},
        {"key": ECKey.generate_key("P-256")},
    ],
)
async def test_an_assertion_with_a_fault_proves_nothing(
    http: httpx2.AsyncClient, keys: Path, issuer: str, fault: dict[str, Any]
) -> None:
    answer = await http.post("/introspect", data={"token": "x"} | assertion(keys, issuer, **fault))
    assert (answer.status_code, answer.json()["error"]) == (401, "invalid_client")


async def test_an_assertion_is_good_once_and_alone(http: httpx2.AsyncClient, keys: Path, issuer: str) -> None:
    form = {"token": "x"} | assertion(keys, issuer)
    assert (await http.post("/introspect", data=form)).status_code == 200
    assert (await http.post("/introspect", data=form)).status_code == 401
    both = await http.post("/introspect", data={"token": "x"} | assertion(keys, issuer), auth=US)
    assert (both.status_code, both.json()["error"]) == (400, "invalid_request")


async def test_a_resource_server_gets_no_token_of_its_own(issuer: str) -> None:
    with pytest.raises(SignInRefused) as refused:
        await client_credentials_token(issuer, *US)
    assert refused.value.error == "unauthorized_client"


async def test_a_revoked_access_token_ends_alone(http: httpx2.AsyncClient, issuer: str) -> None:
    first = await ana(issuer)
    await revoke(issuer, "hours-app", first.access_token)
    assert await introspect(http, first.access_token) == {"active": False}
    second = await refresh_token_grant(issuer, "hours-app", first.refresh_token or "")
    assert (await introspect(http, second.access_token))["active"] is True


async def test_a_revoked_refresh_token_takes_its_family_along(http: httpx2.AsyncClient, issuer: str) -> None:
    first, stranger = await ana(issuer), await ana(issuer)
    second = await refresh_token_grant(issuer, "hours-app", first.refresh_token or "")
    await revoke(issuer, "hours-app", second.refresh_token or "")
    for answer in (first, second):
        assert await introspect(http, answer.access_token) == {"active": False}
    with pytest.raises(SignInRefused):
        await refresh_token_grant(issuer, "hours-app", second.refresh_token or "")
    assert (await introspect(http, stranger.access_token))["active"] is True


async def test_a_copied_refresh_token_ends_the_access_tokens_too(http: httpx2.AsyncClient, issuer: str) -> None:
    first = await ana(issuer)
    second = await refresh_token_grant(issuer, "hours-app", first.refresh_token or "")
    with pytest.raises(SignInRefused):
        await refresh_token_grant(issuer, "hours-app", first.refresh_token or "")
    assert await introspect(http, second.access_token) == {"active": False}


async def test_only_its_own_client_revokes_a_token(http: httpx2.AsyncClient, issuer: str) -> None:
    answer = await ana(issuer)
    for token in (answer.access_token, answer.refresh_token or ""):
        with pytest.raises(SignInRefused) as refused:
            await revoke(issuer, "timesheets-cli", token)
        assert refused.value.error == "invalid_grant"
    assert (await introspect(http, answer.access_token))["active"] is True


async def test_revoking_an_unknown_token_or_with_a_wrong_hint_succeeds(http: httpx2.AsyncClient) -> None:
    for form in ({"token": "x"}, {"token": "x", "token_type_hint": "no-such-type"}):
        answer = await http.post("/revoke", data=form | {"client_id": "hours-app"})
        assert (answer.status_code, answer.json()) == (200, {})


async def test_a_confidential_client_cannot_revoke_without_its_secret(http: httpx2.AsyncClient) -> None:
    answer = await http.post("/revoke", data={"token": "x", "client_id": "payroll-import"})
    assert (answer.status_code, answer.json()["error"]) == (401, "invalid_client")


async def test_another_token_format_is_refused(http: httpx2.AsyncClient) -> None:
    answer = await http.post("/token", data={"grant_type": "client_credentials", "token_format": "saml"}, auth=MACHINE)
    assert (answer.status_code, answer.json()["error"]) == (400, "invalid_request")
