"""Token exchange (RFC 8693) against a running server: who acts for whom, and what is refused."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from service.development.authorization_server.proof_keys import ProofKey
from service.development.authorization_server.sign_in import (
    ACCESS_TOKEN_TYPE,
    EXCHANGE_GRANT,
    SignInRefused,
    TokenAnswer,
    authorization_code_token,
    client_credentials_token,
    exchanged_token,
)
from service.development.people import PEOPLE
from tests.integration.authorization_server.browser import claims

if TYPE_CHECKING:
    import httpx2

AGENT = ("assistant", "assistant-demo")
SCOPES = ("read:timesheets", "approve:timesheets")


async def mia(issuer: str, scopes: tuple[str, ...] = SCOPES, **asked: Any) -> TokenAnswer:
    return await authorization_code_token(issuer, "mia", PEOPLE["mia"].password, "timesheets-cli", scopes, **asked)


async def test_the_token_is_the_persons_and_names_the_agent(issuer: str) -> None:
    person = await mia(issuer, mfa=True)
    answer = await exchanged_token(issuer, *AGENT, person.access_token)
    before, after = claims(person.access_token), claims(answer.access_token)
    assert (after["sub"], after["client_id"]) == ("dev|mia", "assistant")
    assert after["act"] == {"sub": "assistant", "client_id": "assistant"}
    assert set(answer.scope.split()) == set(SCOPES)
    assert {name: after[name] for name in ("amr", "acr", "auth_time", "roles")} == {
        name: before[name] for name in ("amr", "acr", "auth_time", "roles")
    }
    assert after["exp"] <= before["exp"]
    assert after["jti"] != before["jti"]
    assert answer.refresh_token is None


async def test_an_exchanged_token_can_be_exchanged_until_there_are_four_actors(issuer: str) -> None:
    token = (await mia(issuer)).access_token
    for _ in range(4):
        token = (await exchanged_token(issuer, *AGENT, token)).access_token
    act = claims(token)["act"]
    assert act["act"]["act"]["act"] == {"sub": "assistant", "client_id": "assistant"}
    with pytest.raises(SignInRefused) as refused:
        await exchanged_token(issuer, *AGENT, token)
    assert refused.value.error == "invalid_request"


async def test_the_scopes_are_at_most_those_of_both(issuer: str) -> None:
    person = (await mia(issuer, ("read:timesheets",))).access_token
    assert (await exchanged_token(issuer, *AGENT, person)).scope == "read:timesheets"
    auditor = (
        await authorization_code_token(issuer, "audrey", PEOPLE["audrey"].password, "timesheets-cli")
    ).access_token
    assert (await exchanged_token(issuer, *AGENT, auditor)).scope == "read:timesheets"
    for scopes in (("approve:timesheets",), ("read:timesheets", "approve:timesheets"), ("read:audit",)):
        with pytest.raises(SignInRefused) as refused:
            await exchanged_token(issuer, *AGENT, person, scopes)
        assert refused.value.error == "invalid_scope"


async def test_opaque_and_bound_tokens_are_exchanged_for_each_other_but_no_bound_token_of_a_person(issuer: str) -> None:
    key = ProofKey()
    opaque = (await mia(issuer, opaque=True)).access_token
    bound = await exchanged_token(issuer, *AGENT, opaque, dpop=key)
    assert (bound.token_type, claims(bound.access_token)["cnf"]) == ("DPoP", {"jkt": key.thumbprint})
    assert (await exchanged_token(issuer, *AGENT, opaque, opaque=True)).access_token.count(".") == 0
    with pytest.raises(SignInRefused) as refused:
        await exchanged_token(issuer, *AGENT, (await mia(issuer, dpop=key)).access_token)
    assert refused.value.error == "invalid_request"


async def test_a_token_of_a_client_a_forged_and_an_unknown_token_are_not_exchanged(issuer: str) -> None:
    machine = (await client_credentials_token(issuer, "payroll-import", "payroll-import-demo")).access_token
    person = (await mia(issuer)).access_token
    for token in (machine, person[:-4], "x", ""):
        with pytest.raises(SignInRefused) as refused:
            await exchanged_token(issuer, *AGENT, token)
        assert refused.value.error == "invalid_request"


async def test_a_client_that_is_no_agent_exchanges_nothing(issuer: str) -> None:
    with pytest.raises(SignInRefused) as refused:
        await exchanged_token(issuer, "payroll-import", "payroll-import-demo", (await mia(issuer)).access_token)
    assert refused.value.error == "unauthorized_client"


@pytest.mark.parametrize(
    ("changed", "error"),
    [
        ({"subject_token_type": "urn:ietf:params:oauth:token-type:id_token"}, "invalid_request"),
        ({"subject_token_type": None}, "invalid_request"),
        ({"subject_token": None}, "invalid_request"),
        ({"requested_token_type": "urn:ietf:params:oauth:token-type:refresh_token"}, "invalid_request"),
        ({"actor_token": "x"}, "invalid_request"),
        ({"audience": "https://other.example"}, "invalid_target"),
        ({"token_format": "paper"}, "invalid_request"),
    ],
)
async def test_a_request_that_asks_for_something_else_is_refused(
    issuer: str, browser: httpx2.AsyncClient, changed: dict[str, str | None], error: str
) -> None:
    form = {
        "grant_type": EXCHANGE_GRANT,
        "subject_token": (await mia(issuer)).access_token,
        "subject_token_type": ACCESS_TOKEN_TYPE,
        **changed,
    }
    asked = {name: value for name, value in form.items() if value is not None}
    answer = await browser.post("/token", data=asked, auth=AGENT)
    assert (answer.status_code, answer.json()["error"]) == (400, error)
