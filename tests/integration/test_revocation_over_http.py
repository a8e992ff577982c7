"""A person's revoked token is refused before any fault of its request, counts as a failure, and makes nobody known."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from service.authorization.enforcement.token_revocation import RevocationKind, RevocationRequest, Revocations
from tests.integration.api import AUDIENCE, InProcess, api, token_of

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    import httpx2

    from tests.integration.house import House

pytest_plugins = ["tests.integration.log_fixtures", "tests.integration.house_fixtures"]


@pytest.fixture
async def running(house: House, issuer: str) -> AsyncIterator[InProcess]:
    async with api(house, issuer, address_rate=100, failed_authentication_weight=5) as started:
        yield started


async def revoke(house: House, what: RevocationKind, value: str, issuer: str | None) -> None:
    adam = house.caller("adam", scopes=frozenset({"manage:tokens"}), roles=frozenset({"role:administrator"}))
    await Revocations(house.gate, 86_430, 30).revoke(adam, RevocationRequest(what, value, issuer))


async def traces(house: House) -> list[int]:
    return [await house.count(table) for table in ("person", "person_link", "audit_record")]


async def test_a_revoked_unknown_subject_stays_unknown(house: House, running: InProcess) -> None:
    await revoke(house, RevocationKind.SUBJECT, "auth0|eve", running.issuer)
    before = await traces(house)
    answer = await running.send("GET", "/v1/me", running.token(sub="auth0|eve"))
    assert answer.status_code == 401
    assert answer.json()["detail"] == "The access token was revoked"
    assert 'error="invalid_token"' in answer.headers["WWW-Authenticate"]
    assert await traces(house) == before


@pytest.mark.parametrize(
    "what", [RevocationKind.TOKEN, RevocationKind.SUBJECT, RevocationKind.CLIENT, RevocationKind.PERSON]
)
async def test_a_persons_revoked_token_is_refused_before_a_fault_of_its_request(
    house: House, running: InProcess, what: RevocationKind
) -> None:
    token = running.token()
    wrong = await running.send("POST", "/v1/timesheets", token, body={"nonsense": 1})
    assert wrong.status_code == 422
    key = {"Idempotency-Key": "one"}
    made = await running.send("POST", "/v1/timesheets", token, body={"period_start": "2026-03-02"}, headers=key)
    assert made.status_code == 201
    person = str(await house.owner.fetchval("SELECT person_id FROM person_link WHERE subject = 'auth0|ana'"))
    value = {
        RevocationKind.TOKEN: "token-1",
        RevocationKind.SUBJECT: "auth0|ana",
        RevocationKind.CLIENT: "hours-app",
        RevocationKind.PERSON: person,
    }[what]
    await revoke(house, what, value, None if what is RevocationKind.PERSON else running.issuer)
    before = await traces(house)
    faulty: list[dict[str, Any]] = [{"body": {"nonsense": 1}}, {"content": b"{"}, {"content": b"-" * 20_000}]
    faulty += [{"body": {"period_start": "2026-03-09"}}, {"body": {"period_start": "2026-03-09"}, "headers": key}]
    for place, fault in enumerate(faulty, start=1):
        refused = await running.send("POST", "/v1/timesheets", token, **fault)
        assert refused.status_code == 401
        assert refused.json()["detail"] == "The access token was revoked"
        assert refused.headers["RateLimit"].startswith(f'"address";r={100 - 5 * place};')
    assert await traces(house) == before
    assert (await running.send("GET", "/v1/me", running.token(sub="auth0|ben", client_id="a", jti="2"))).is_success


@pytest.mark.parametrize("revoked", [False, True])
async def test_a_body_that_may_be_large_is_only_read_if_the_token_is_not_revoked(
    house: House, running: InProcess, *, revoked: bool
) -> None:
    token, read = running.token(), list[bytes]()

    async def send_body() -> AsyncIterator[bytes]:
        read.append(b"{}")
        yield read[-1]

    assert (await running.send("GET", "/v1/me", token)).is_success
    if revoked:
        await revoke(house, RevocationKind.TOKEN, "token-1", running.issuer)
    headers = {"Expect": "100-continue", "Content-Type": "application/json"}
    answer = await running.send("POST", "/v1/timesheets", token, headers=headers, content=send_body())
    assert answer.status_code == (401 if revoked else 422)
    assert read == ([] if revoked else [b"{}"])


async def test_a_revoked_token_of_a_client_is_refused_with_the_decision(house: House, running: InProcess) -> None:
    token = running.token(sub="payroll-import", client_id="payroll-import")
    await revoke(house, RevocationKind.CLIENT, "payroll-import", running.issuer)
    before = await traces(house)
    assert (await running.send("POST", "/v1/timesheets", token, body={"nonsense": 1})).status_code == 422
    assert (await running.send("GET", "/v1/timesheets", token)).status_code == 401
    assert await traces(house) == before


ISSUERS = """
[[issuer]]
name = "bare"
issuer = "{0}/bare"
audience = "{1}"
jwks_url = "{0}/jwks"

[[issuer]]
name = "keycloak"
prefix = "keycloak"
issuer = "{0}/realms/acme"
audience = "{1}"
jwks_url = "{0}/jwks"
"""


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({"token_id": "stolen", "issuer": "{}/bare/"}, "issuer"),
        ({"subject": "auth0|ana", "issuer": "https://elsewhere.example"}, "issuer"),
        ({"client": "payroll", "issuer": "{}/realms/acme"}, "client"),
        ({"client": "keycloak:payroll", "issuer": "{}/bare"}, "client"),
    ],
)
async def test_a_revocation_that_no_token_can_meet_is_refused(
    house: House, issuer: str, tmp_path: Path, body: dict[str, str], field: str
) -> None:
    file = tmp_path / "issuers.toml"
    file.write_text(ISSUERS.format(issuer, AUDIENCE))
    async with api(house, "", issuers_file=str(file), jwks_url="") as running:
        adam = token_of(f"{issuer}/bare", sub="auth0|adam", scope="manage:tokens", roles=["administrator"])

        async def ask(body: dict[str, str]) -> httpx2.Response:
            named = {name: value.format(issuer) for name, value in body.items()}
            return await running.send("POST", "/v1/revocations", adam, body=named)

        refused = await ask(body)
        assert refused.status_code == 422, refused.text
        assert [found["field"] for found in refused.json()["fields"]] == [field]
        assert (await ask({"client": "keycloak:payroll", "issuer": "{}/realms/acme"})).status_code == 201
        assert (await ask({"client": "payroll"})).status_code == 201
