"""Tokens bound to a key (RFC 9449), and refresh tokens with rotation (RFC 9700), against a running server."""

from __future__ import annotations

import base64
import json
import time
from typing import TYPE_CHECKING, Any

import pytest
from joserfc import jwt as jose
from joserfc.jwk import ECKey, OctKey

from service.development.authorization_server.proof_keys import ProofKey
from service.development.authorization_server.sign_in import (
    SignInRefused,
    client_credentials_token,
    refresh_token_grant,
)
from tests.integration.authorization_server.browser import ana, claims

if TYPE_CHECKING:
    import httpx2

MACHINE = ("payroll-import", "payroll-import-demo")


async def test_a_token_is_bound_to_the_key_that_was_proven(issuer: str) -> None:
    key = ProofKey()
    for answer in (await ana(issuer, dpop=key), await client_credentials_token(issuer, *MACHINE, dpop=key)):
        assert answer.token_type == "DPoP"
        assert claims(answer.access_token)["cnf"] == {"jkt": key.thumbprint}


async def test_without_a_proof_the_token_is_a_bearer_token(issuer: str) -> None:
    answer = await client_credentials_token(issuer, *MACHINE)
    assert answer.token_type == "Bearer"
    assert "cnf" not in claims(answer.access_token)


async def test_a_code_bound_to_a_key_is_not_exchanged_with_another_key(issuer: str) -> None:
    class Changed(ProofKey):
        """Names one key at the authorization endpoint and proves another one at the token endpoint."""

        def __init__(self) -> None:
            super().__init__()
            self.thumbprint = ProofKey().thumbprint

    with pytest.raises(SignInRefused) as refused:
        await ana(issuer, dpop=Changed())
    assert refused.value.error == "invalid_grant"


KEY = ECKey.generate_key("P-256", auto_kid=False)
OTHER_KEY = ECKey.generate_key("P-256", auto_kid=False)


def proof(url: str, *, header: dict[str, Any] | None = None, **changed: Any) -> str:
    """A proof of KEY with members changed; None takes one away."""
    head = {"typ": "dpop+jwt", "alg": "ES256", "jwk": KEY.as_dict(private=False)} | (header or {})
    body = {"jti": f"id {time.time_ns()}", "htm": "POST", "htu": url, "iat": int(time.time())} | changed
    head = {name: value for name, value in head.items() if value is not None}
    body = {name: value for name, value in body.items() if value is not None}
    signer = OctKey.import_key("x" * 32) if head.get("alg") == "HS256" else KEY
    return jose.encode(head, body, signer, algorithms=["ES256", "HS256"])


async def ask(browser: httpx2.AsyncClient, *proofs: str) -> httpx2.Response:
    return await browser.post(
        "/token", data={"grant_type": "client_credentials"}, auth=MACHINE, headers=[("DPoP", proof) for proof in proofs]
    )


@pytest.mark.parametrize(
    "fault",
    [
        {"htm": "GET"},
        {"htm": "post"},
        {"htm": None},
        {"htu": "https://elsewhere.example/token"},
        {"htu": None},
        {"iat": int(time.time()) - 3600},
        {"iat": int(time.time()) + 7200},
        {"iat": "now"},
        {"iat": None},
        {"jti": None},
        {"jti": ""},
        {"jti": 7},
        {"jti": "x" * 300},
        {"header": {"typ": "JWT"}},
        {"header": {"typ": None}},
        {"header": {"jwk": None}},
        {"header": {"jwk": KEY.as_dict(private=True)}},
        {"header": {"jwk": OTHER_KEY.as_dict(private=False)}},
        {"header": {"jwk": OctKey.import_key("x" * 32).as_dict(private=True), "alg": "HS256"}},
    ],
)
async def test_a_proof_with_a_fault_gives_no_token(
    browser: httpx2.AsyncClient, issuer: str, fault: dict[str, Any]
) -> None:
    answer = await ask(browser, proof(f"{issuer}/token", **fault))
    assert (answer.status_code, answer.json()["error"]) == (400, "invalid_dpop_proof")


@pytest.mark.parametrize("text", ["", "x", "a.b.c", "e30.e30.", "x" * 5000])
async def test_what_is_no_proof_gives_no_token(browser: httpx2.AsyncClient, text: str) -> None:
    answer = await ask(browser, text)
    assert (answer.status_code, answer.json()["error"]) == (400, "invalid_dpop_proof")


async def test_a_proof_without_a_signature_gives_no_token(browser: httpx2.AsyncClient, issuer: str) -> None:
    head, body, _ = proof(f"{issuer}/token").split(".")
    for header in (head, _encode({"typ": "dpop+jwt", "alg": "none", "jwk": KEY.as_dict(private=False)})):
        answer = await ask(browser, f"{header}.{body}.")
        assert answer.json()["error"] == "invalid_dpop_proof"


async def test_a_proof_is_good_once_and_only_alone(browser: httpx2.AsyncClient, issuer: str) -> None:
    good = proof(f"{issuer}/token?ignored#ignored")
    assert (await ask(browser, good)).status_code == 200
    assert (await ask(browser, good)).json()["error"] == "invalid_dpop_proof"
    two = (proof(f"{issuer}/token"), proof(f"{issuer}/token"))
    assert (await ask(browser, *two)).json()["error"] == "invalid_dpop_proof"


async def test_a_refreshed_token_is_the_same_grant_with_new_tokens(issuer: str) -> None:
    first = await ana(issuer, scopes=["read:timesheets", "create:timesheets"])
    assert first.refresh_token
    assert first.refresh_token not in repr(first)
    second = await refresh_token_grant(issuer, "hours-app", first.refresh_token)
    assert second.refresh_token not in (None, first.refresh_token)
    before, after = claims(first.access_token), claims(second.access_token)
    assert before["jti"] != after["jti"]
    for name in ("sub", "client_id", "scope", "auth_time", "roles"):
        assert before[name] == after[name]


async def test_fewer_scopes_may_be_requested_without_losing_the_others(issuer: str) -> None:
    first = await ana(issuer, scopes=["read:timesheets", "create:timesheets"])
    fewer = await refresh_token_grant(issuer, "hours-app", first.refresh_token or "", ["read:timesheets"])
    assert fewer.scope == "read:timesheets"
    whole = await refresh_token_grant(issuer, "hours-app", fewer.refresh_token or "")
    assert whole.scope == "read:timesheets create:timesheets"
    with pytest.raises(SignInRefused) as refused:
        await refresh_token_grant(issuer, "hours-app", whole.refresh_token or "", ["delete:timesheets"])
    assert refused.value.error == "invalid_scope"


async def test_a_refresh_token_used_twice_ends_its_whole_family(issuer: str) -> None:
    first, stranger = await ana(issuer), await ana(issuer)
    second = await refresh_token_grant(issuer, "hours-app", first.refresh_token or "")
    for token in (first.refresh_token, second.refresh_token):
        with pytest.raises(SignInRefused) as refused:
            await refresh_token_grant(issuer, "hours-app", token or "")
        assert refused.value.error == "invalid_grant"
    assert (await refresh_token_grant(issuer, "hours-app", stranger.refresh_token or "")).scope


async def test_a_refresh_token_is_its_clients_alone(issuer: str) -> None:
    first = await ana(issuer)
    for client, token in (("timesheets-cli", first.refresh_token or ""), ("hours-app", "guess")):
        with pytest.raises(SignInRefused) as refused:
            await refresh_token_grant(issuer, client, token)
        assert refused.value.error == "invalid_grant"


async def test_a_bound_refresh_token_needs_its_key(issuer: str) -> None:
    key = ProofKey()
    first = await ana(issuer, dpop=key)
    for other in (None, ProofKey()):
        with pytest.raises(SignInRefused) as refused:
            await refresh_token_grant(issuer, "hours-app", first.refresh_token or "", dpop=other)
        assert refused.value.error == "invalid_grant"
    second = await refresh_token_grant(issuer, "hours-app", first.refresh_token or "", dpop=key)
    assert claims(second.access_token)["cnf"] == {"jkt": key.thumbprint}


async def test_a_machine_client_gets_no_refresh_token(issuer: str) -> None:
    assert (await client_credentials_token(issuer, *MACHINE)).refresh_token is None


async def test_a_code_that_is_presented_twice_revokes_its_tokens(browser: httpx2.AsyncClient, issuer: str) -> None:
    from tests.integration.authorization_server.browser import exchange, get_code

    code = await get_code(browser)
    bought = (await exchange(browser, code)).json()
    assert (await exchange(browser, code)).json()["error"] == "invalid_grant"
    with pytest.raises(SignInRefused) as refused:
        await refresh_token_grant(issuer, "hours-app", bought["refresh_token"])
    assert refused.value.error == "invalid_grant"


def _encode(part: dict[str, Any]) -> str:
    return base64.urlsafe_b64encode(json.dumps(part).encode()).rstrip(b"=").decode()
