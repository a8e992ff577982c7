"""The page that forges and reads tokens and changes the signing keys: a good token passes our verifier, and each fault
is refused by it, by the check that is meant.
"""

from __future__ import annotations

from html.parser import HTMLParser
from typing import TYPE_CHECKING

import httpx
import jwt
import pytest
import pytest_asyncio

from service.development.authorization_server.access_tokens import LIFETIME_SECONDS
from service.development.authorization_server.forging import FAULTS
from service.development.authorization_server.forms import read_page
from service.development.authorization_server.sign_in import client_credentials_token
from service.development.authorization_server.signing_keys import PUBLISHED_BEFORE_USE, load_or_make
from service.errors import Conflict, InvalidToken
from service.identity.issuer import Issuer
from service.identity.tokens import Tokens
from tests.integration.authorization_server.browser import AUDIENCE
from tests.token_forge import bearer

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

MACHINE = ("payroll-import", "payroll-import-demo")
CAUSES = {
    "changed-signature": "signature",
    "changed-claims": "signature",
    "unsigned": "format",
    "public-key-as-secret": "algorithm",
    "unknown-key": "unknown-key",
    "foreign-key": "signature",
    "embedded-key": "embedded-key",
    "critical": "critical",
    "repeated-claim": "json",
    "no-issuer": "issuer",
    "other-issuer": "issuer",
    "no-audience": "audience",
    "other-audience": "audience",
    "no-expiry": "expiry",
    "expiry-as-text": "expiry",
    "endless": "expiry",
    "not-yet": "not-yet",
    "from-the-future": "issued-at",
    "no-subject": "subject",
    "numeric-subject": "subject",
    "nul-in-subject": "subject",
    "no-client": "client",
    "no-id": "token-id",
    "id-token": "audience",
    "bound-to-a-key": "sender-constrained",
    "bound-to-what-nobody-knows": "sender-constrained",
}


@pytest_asyncio.fixture(loop_scope="session")
async def http(issuer: str) -> AsyncIterator[httpx.AsyncClient]:
    async with httpx.AsyncClient(base_url=issuer, trust_env=False) as client:
        yield client


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def verifier(issuer: str) -> AsyncIterator[Tokens]:
    tokens = Tokens([Issuer("local", issuer, AUDIENCE)])
    await tokens.start()
    yield tokens
    await tokens.close()


async def forge(http: httpx.AsyncClient, **form: str) -> str:
    wish = {"client_id": "hours-app", "who": "ana", "scope": "read:timesheets"} | form
    answer = await http.post("/demo/forge", data=wish, headers={"Accept": "application/json"})
    assert answer.status_code == 200, answer.text
    token: str = answer.json()["access_token"]
    return token


async def cause(verifier: Tokens, token: str) -> str:
    with pytest.raises(InvalidToken) as refused:
        await verifier.verify(bearer(token))
    return str(refused.value.cause)


async def test_a_forged_token_without_a_fault_is_as_good_as_any(http: httpx.AsyncClient, verifier: Tokens) -> None:
    for algorithm in ("RS256", "ES256"):
        asker = await verifier.verify(bearer(await forge(http, algorithm=algorithm, second_factor="yes")))
        assert asker.subject == "dev|ana"
        assert asker.methods == frozenset({"pwd", "mfa"})
    machine = await verifier.verify(bearer(await forge(http, who="", client_id="payroll-import")))
    assert machine.client == machine.subject == "payroll-import"


@pytest.mark.parametrize("fault", FAULTS)
async def test_each_fault_is_refused_for_what_it_is(http: httpx.AsyncClient, verifier: Tokens, fault: str) -> None:
    for algorithm in ("RS256", "ES256"):
        assert await cause(verifier, await forge(http, fault=fault, algorithm=algorithm)) == CAUSES[fault]


@pytest.mark.parametrize("typ", ["JWT", "dpop+jwt", "token-introspection+jwt", "(none)"])
async def test_each_type_but_that_of_access_tokens_is_refused(
    http: httpx.AsyncClient, verifier: Tokens, typ: str
) -> None:
    assert await cause(verifier, await forge(http, typ=typ)) == "type"


async def test_an_expired_token_is_refused_and_so_is_an_algorithm_that_is_not_allowed(
    http: httpx.AsyncClient, verifier: Tokens
) -> None:
    assert await cause(verifier, await forge(http, lifetime="-3600")) == "expired"
    assert await cause(verifier, await forge(http, algorithm="PS256")) == "algorithm"


@pytest.mark.parametrize(
    "form",
    [
        {"client_id": "no-such-client"},
        {"who": "no-such-person"},
        {"fault": "no-such-fault"},
        {"typ": "x"},
        {"algorithm": "HS256"},
        {"lifetime": "long"},
        {"lifetime": "9" * 12},
        {"lifetime": "9" * 5000},
        {"sign_in_age": "x"},
    ],
)
async def test_a_wish_that_cannot_be_forged_is_explained(http: httpx.AsyncClient, form: dict[str, str]) -> None:
    answer = await http.post("/demo/forge", data={"client_id": "hours-app"} | form)
    assert answer.status_code == 400
    assert next(iter(form)) in read_page(answer.text).alert


async def test_the_page_shows_the_token_and_reads_it_back(http: httpx.AsyncClient, issuer: str) -> None:
    page = await http.post("/demo/forge", data={"client_id": "hours-app", "who": "ana"})
    token = Areas.first(page.text)
    assert jwt.decode(token, options={"verify_signature": False})["sub"] == "dev|ana"
    opaque = (await client_credentials_token(issuer, *MACHINE, opaque=True)).access_token
    ours = (await client_credentials_token(issuer, *MACHINE)).access_token
    for text, verdict in (
        (token, "we do not remember it"),
        (ours, "We issued it, and it holds"),
        (opaque, "We issued it, and it holds"),
        (ours[:-6] + "AAAAAA", "its signature is not ours"),
        ("<script>", "We know nothing of it"),
        ("", "We know nothing of it"),
    ):
        answer = await http.post("/demo/read", data={"token": text})
        assert verdict in answer.text, text
        assert "<script" not in answer.text


async def test_the_keys_are_changed_only_from_our_own_page(http: httpx.AsyncClient) -> None:
    before = (await http.get("/jwks")).json()
    for form in ({}, {"form_token": "guess"}):
        assert (await http.post("/demo/keys", data=form | {"when": "now"})).status_code == 403
    assert (await http.get("/jwks")).json() == before


async def test_a_key_that_signs_at_once_is_met_by_verifiers_that_look_again(
    http: httpx.AsyncClient, issuer: str, verifier: Tokens
) -> None:
    old = (await client_credentials_token(issuer, *MACHINE)).access_token
    page = await http.get("/demo")
    (token,) = [
        field.value for form in read_page(page.text).forms for field in form.fields if field.name == "form_token"
    ]
    assert (await http.post("/demo/keys", data={"form_token": token, "when": "now"})).status_code == 303
    new = (await client_credentials_token(issuer, *MACHINE)).access_token
    assert jwt.get_unverified_header(old)["kid"] != jwt.get_unverified_header(new)["kid"]
    for one in (old, new):
        assert (await verifier.verify(bearer(one))).client == "payroll-import"


class Clock:
    now = 1_800_000_000.0

    def __call__(self) -> float:
        return self.now


def test_a_new_key_is_published_before_it_signs_and_the_old_one_until_its_tokens_expire(tmp_path: Path) -> None:
    clock = Clock()
    keys = load_or_make(tmp_path, clock)
    first = keys.signing_key("RS256").kid
    keys.rotate()
    published = {key["kid"] for key in keys.published()["keys"]}
    assert len(published) == 4
    assert keys.signing_key("RS256").kid == first
    assert load_or_make(tmp_path, clock).published() == keys.published()
    clock.now += PUBLISHED_BEFORE_USE
    second = keys.signing_key("RS256").kid
    assert second != first
    assert load_or_make(tmp_path, clock).signing_key("RS256").kid == second
    clock.now += LIFETIME_SECONDS
    assert first in {key["kid"] for key in keys.published()["keys"]}
    clock.now += 600
    assert {key["kid"] for key in keys.published()["keys"]} < published - {first}
    assert len(keys.published()["keys"]) == 2
    keys.rotate(0)
    assert len(keys.published()["keys"]) == 4


def test_keys_cannot_be_made_without_end(tmp_path: Path) -> None:
    keys = load_or_make(tmp_path, Clock())
    for _ in range(9):
        keys.rotate()
    with pytest.raises(Conflict):
        keys.rotate()
    assert len(keys.published()["keys"]) == 20


class Areas(HTMLParser):
    """The text of a page's first textarea."""

    def __init__(self) -> None:
        super().__init__()
        self.texts: list[str] = []
        self.inside = False

    @classmethod
    def first(cls, html: str) -> str:
        reader = cls()
        reader.feed(html)
        return reader.texts[0]

    def handle_starttag(self, tag: str, attrs: object) -> None:  # noqa: ARG002  # the base class's signature
        self.inside = tag == "textarea"

    def handle_data(self, data: str) -> None:
        if self.inside:
            self.texts.append(data)
            self.inside = False
