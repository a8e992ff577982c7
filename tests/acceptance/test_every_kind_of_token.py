"""The running service accepts every kind of token of the development authorization server and refuses every forged one.

Over HTTP, with the configuration of `timewarden up`.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

import pytest
from joserfc.jwk import RSAKey

from service.development.authorization_server import sign_in
from service.development.authorization_server.proof_keys import ProofKey
from service.development.authorization_server.signing_keys import load_or_create
from service.development.people import PEOPLE
from tests.token_forge import FAULTS, claims, forge

if TYPE_CHECKING:
    import httpx2

    from tests.acceptance.running_service import RunningService

CLIENT = "timesheets-cli"
ME = "/v1/me"


async def ana(service: RunningService, **asked: Any) -> sign_in.TokenAnswer:
    issuer = service.addresses.issuer
    return await sign_in.authorization_code_token(issuer, "ana", PEOPLE["ana"].password, CLIENT, **asked)


async def me(http: httpx2.AsyncClient, token: str, key: ProofKey | None = None) -> httpx2.Response:
    if key is None:
        return await http.get(ME, headers={"Authorization": f"Bearer {token}"})
    proof = key.proof("GET", str(http.base_url.join(ME)), token)
    return await http.get(ME, headers={"Authorization": f"DPoP {token}", "DPoP": proof})


async def test_a_person_is_the_same_with_every_kind_of_token(service: RunningService, http: httpx2.AsyncClient) -> None:
    key = ProofKey()
    plain = await ana(service)
    issuer = service.addresses.issuer
    answers = [
        await me(http, plain.access_token),
        await me(http, (await ana(service, opaque=True)).access_token),
        await me(http, (await ana(service, mfa=True)).access_token),
        await me(http, (await ana(service, dpop=key)).access_token, key),
        await me(http, (await ana(service, dpop=key, opaque=True)).access_token, key),
        await me(http, (await sign_in.refresh_token_grant(issuer, CLIENT, plain.refresh_token or "")).access_token),
        await me(http, (await sign_in.device_token(issuer, "ana", PEOPLE["ana"].password, CLIENT)).access_token),
    ]
    assert [answer.status_code for answer in answers] == [200] * len(answers)
    assert len({answer.json()["person"] for answer in answers}) == 1


async def test_a_machine_is_the_same_with_every_kind_of_token(
    service: RunningService, http: httpx2.AsyncClient
) -> None:
    issuer, machine, key = service.addresses.issuer, ("payroll-import", "payroll-import-demo"), ProofKey()
    answers = [
        await me(http, (await sign_in.client_credentials_token(issuer, *machine)).access_token),
        await me(http, (await sign_in.client_credentials_token(issuer, *machine, opaque=True)).access_token),
        await me(http, (await sign_in.client_credentials_token(issuer, *machine, dpop=key)).access_token, key),
    ]
    assert [(answer.status_code, answer.json()["client"]) for answer in answers] == [(200, machine[0])] * len(answers)


@pytest.mark.parametrize("opaque", [False, True])
async def test_a_stolen_token_is_of_no_use_without_its_key(
    service: RunningService, http: httpx2.AsyncClient, *, opaque: bool
) -> None:
    token = (await ana(service, dpop=ProofKey(), opaque=opaque)).access_token
    for key in (None, ProofKey()):
        answer = await me(http, token, key)
        assert answer.status_code == 401
        assert "invalid_token" in answer.headers["www-authenticate"]


async def test_an_opaque_token_that_its_issuer_revoked_is_refused(
    service: RunningService, http: httpx2.AsyncClient
) -> None:
    token = (await ana(service, opaque=True)).access_token
    await sign_in.revoke(service.addresses.issuer, CLIENT, token)
    assert (await me(http, token)).status_code == 401


@pytest.mark.parametrize("fault", FAULTS)
async def test_a_forged_token_is_refused_and_the_answer_does_not_repeat_it(
    service: RunningService, http: httpx2.AsyncClient, fault: str
) -> None:
    key = load_or_create(service.state / "authorization-server").signing_key("RS256")
    assert isinstance(key, RSAKey)
    assert key.private_key is not None
    now = int(time.time())
    good = claims(
        iss=service.addresses.issuer,
        aud=service.addresses.audience,
        sub="dev|ana",
        client_id=CLIENT,
        iat=now,
        exp=now + 3600,
        scope="read:timesheets",
    )
    token = forge(fault, {"alg": "RS256", "typ": "at+jwt", "kid": key.kid}, good, key.private_key).decode()
    answer = await me(http, token)
    assert answer.status_code == 401
    assert 'error="invalid_token"' in answer.headers["www-authenticate"]
    assert not any(part in answer.text + str(answer.headers) for part in token.split(".") if part)
    assert "dev|ana" not in answer.text
