"""The page that reads tokens and rotates the signing keys, and the rotation itself."""

from __future__ import annotations

from typing import TYPE_CHECKING

import jwt
import pytest
import pytest_asyncio

from service.development.authorization_server.access_tokens import LIFETIME_SECONDS
from service.development.authorization_server.page_walk import read_page
from service.development.authorization_server.sign_in import client_credentials_token
from service.development.authorization_server.signing_keys import PUBLISH_AHEAD_SECONDS, load_or_create
from service.errors import Conflict
from service.identity.issuer import Issuer
from service.identity.tokens import Tokens
from tests.integration.authorization_server.browser import AUDIENCE
from tests.token_forge import bearer

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    import httpx2

MACHINE = ("payroll-import", "payroll-import-demo")


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def verifier(issuer: str) -> AsyncIterator[Tokens]:
    tokens = Tokens([Issuer("local", issuer, AUDIENCE)])
    await tokens.start()
    yield tokens
    await tokens.close()


async def test_the_page_reads_a_token(http: httpx2.AsyncClient, issuer: str) -> None:
    opaque = (await client_credentials_token(issuer, *MACHINE, opaque=True)).access_token
    ours = (await client_credentials_token(issuer, *MACHINE)).access_token
    revoked = (await client_credentials_token(issuer, *MACHINE)).access_token
    await http.post("/revoke", data={"token": revoked}, auth=MACHINE)
    for text, verdict in (
        (revoked, "the token is unknown: revoked"),
        (ours, "This server issued it, and it is valid"),
        (opaque, "This server issued it, and it is valid"),
        (ours[:-6] + "AAAAAA", "its signature is not ours"),
        ("<script>", "its signature is not ours"),
        ("", "its signature is not ours"),
    ):
        answer = await http.post("/demo/read", data={"token": text})
        assert verdict in answer.text, text
        assert "<script" not in answer.text


async def test_the_keys_are_changed_only_from_our_own_page(http: httpx2.AsyncClient) -> None:
    before = (await http.get("/jwks")).json()
    for form in ({}, {"form_token": "guess"}):
        assert (await http.post("/demo/keys", data=form | {"when": "now"})).status_code == 403
    assert (await http.get("/jwks")).json() == before


async def test_verifiers_find_a_key_that_signs_at_once(http: httpx2.AsyncClient, issuer: str, verifier: Tokens) -> None:
    old = (await client_credentials_token(issuer, *MACHINE)).access_token
    page = await http.get("/demo")
    (token,) = [
        field.value for form in read_page(page.text).forms for field in form.fields if field.name == "form_token"
    ]
    assert (await http.post("/demo/keys", data={"form_token": token, "when": "now"})).status_code == 303
    new = (await client_credentials_token(issuer, *MACHINE)).access_token
    assert jwt.get_unverified_header(old)["kid"] != jwt.get_unverified_header(new)["kid"]
    for signed in (old, new):
        assert (await verifier.verify(bearer(signed))).client == "payroll-import"


class Clock:
    now = 1_800_000_000.0

    def __call__(self) -> float:
        return self.now


def test_a_new_key_is_published_before_it_signs_and_the_old_one_until_its_tokens_expire(tmp_path: Path) -> None:
    clock = Clock()
    keys = load_or_create(tmp_path, clock)
    first = keys.signing_key("RS256").kid
    keys.rotate()
    published = {key["kid"] for key in keys.public_jwks()["keys"]}
    assert len(published) == 4
    assert keys.signing_key("RS256").kid == first
    assert load_or_create(tmp_path, clock).public_jwks() == keys.public_jwks()
    clock.now += PUBLISH_AHEAD_SECONDS
    second = keys.signing_key("RS256").kid
    assert second != first
    assert load_or_create(tmp_path, clock).signing_key("RS256").kid == second
    clock.now += LIFETIME_SECONDS
    assert first in {key["kid"] for key in keys.public_jwks()["keys"]}
    clock.now += 600
    assert {key["kid"] for key in keys.public_jwks()["keys"]} < published - {first}
    assert len(keys.public_jwks()["keys"]) == 2
    keys.rotate(0)
    assert len(keys.public_jwks()["keys"]) == 4


def test_the_number_of_keys_is_bounded(tmp_path: Path) -> None:
    keys = load_or_create(tmp_path, Clock())
    for _ in range(9):
        keys.rotate()
    with pytest.raises(Conflict):
        keys.rotate()
    assert len(keys.public_jwks()["keys"]) == 20
