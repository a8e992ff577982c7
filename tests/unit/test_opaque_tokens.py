"""Opaque tokens: believed only as far as their issuer says, asked once, remembered briefly, never a way round a JWT."""

from __future__ import annotations

import asyncio
import base64
import json
from typing import TYPE_CHECKING, Any

import httpx
import jwt
import pytest
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from service.errors import IntrospectionUnavailable, InvalidToken, Misconfigured
from service.identity.introspection import HttpIntrospector
from service.identity.issuer import Introspection
from service.identity.keys import KeySet
from service.identity.opaque_tokens import MAX_DENIED
from service.identity.outbound import Outbound
from service.identity.principal import PrincipalKind
from tests.token_forge import (
    ABSENT,
    AUDIENCE,
    ISSUER,
    NOW,
    HeldKeys,
    bearer,
    claims,
    good_jwks,
    good_token,
    issuer,
    rsa_key,
    signed,
    verifier,
)

if TYPE_CHECKING:
    from collections.abc import Mapping

URL = f"{ISSUER}introspect"
SECRET = Introspection(URL, "our id", client_secret="a:b c")


def active(**changes: Any) -> dict[str, Any]:
    return claims(**{"active": True, "token_type": "Bearer", **changes})


class Desk:
    """An issuer's word in memory; counts how often it was asked."""

    def __init__(self, answer: Mapping[str, Any] | None) -> None:
        self.answer, self.asked, self.closed = answer, 0, False
        self.gate: asyncio.Event | None = None

    async def ask(self, token: bytes, /) -> Mapping[str, Any]:
        assert token
        self.asked += 1
        if self.gate is not None:
            await self.gate.wait()
        if self.answer is None:
            raise IntrospectionUnavailable(cause="down")
        return self.answer

    async def close(self) -> None:
        self.closed = True


def asking(desk: Desk, rules: Introspection = SECRET, **options: Any) -> Any:
    return verifier(issuer(introspection=rules), introspector=lambda _issuer, _keys: desk, **options)


async def cause_of(answer: Mapping[str, Any], rules: Introspection = SECRET) -> str:
    with pytest.raises(InvalidToken) as caught:
        await asking(Desk(answer), rules).verify(bearer("opaque"))
    return str(caught.value.cause)


async def test_an_active_token_gives_its_principal() -> None:
    asker = await asking(Desk(active(roles=["auditor"]))).verify(bearer("2YotnFZFEjr1zCsicMWpAA"))
    assert (asker.kind, asker.subject, asker.client) == (PrincipalKind.USER, "auth0|ana", "web-app")
    assert (asker.scopes, asker.roles) == ({"read:timesheets", "create:timesheets"}, {"role:auditor"})


REFUSED: dict[str, tuple[dict[str, Any], str]] = {
    "inactive": ({"active": False}, "inactive"),
    "active as a string": ({"active": "true"}, "inactive"),
    "active as a number": ({"active": 1}, "inactive"),
    "active not told": ({"active": ABSENT}, "inactive"),
    "another issuer": ({"iss": "https://other.example/"}, "issuer"),
    "an issuer that is null": ({"iss": None}, "issuer"),
    "another audience": ({"aud": "https://other.example"}, "audience"),
    "no audience": ({"aud": ABSENT}, "audience"),
    "no expiry": ({"exp": ABSENT}, "expiry"),
    "expired, though active": ({"exp": NOW - 1}, "expired"),
    "not valid yet": ({"nbf": NOW + 300}, "not-yet"),
    "a refresh token": ({"token_type": "refresh_token"}, "type"),
    "a refresh token by its use": ({"token_use": "refresh_token"}, "other-use"),
    "a type that is no string": ({"token_type": ["Bearer"]}, "type"),
    "DPoP without a key": ({"token_type": "DPoP"}, "sender-constrained"),
    "bound to a key that nobody checks": ({"cnf": {"jkt": "x"}}, "sender-constrained"),
    "no subject": ({"sub": ABSENT}, "subject"),
    "no client": ({"client_id": ABSENT}, "client"),
    "a scope that is a list": ({"scope": ["read:timesheets"]}, "scope"),
}


@pytest.mark.parametrize(("changes", "cause"), REFUSED.values(), ids=REFUSED)
async def test_nothing_but_a_clear_word_of_the_issuer_lets_an_opaque_token_in(
    changes: dict[str, Any], cause: str
) -> None:
    assert await cause_of(active(**changes)) == cause


async def test_an_audience_may_be_absent_only_where_that_is_configured() -> None:
    lenient = Introspection(URL, "us", client_secret="s", audience_optional=True)
    await asking(Desk(active(aud=ABSENT)), lenient).verify(bearer("opaque"))
    assert await cause_of(active(aud="https://other.example"), lenient) == "audience"


async def test_a_token_whose_age_is_not_told_counts_as_older_than_any_revocation() -> None:
    assert (await asking(Desk(active(iat=ABSENT))).verify(bearer("opaque"))).issued_at == 0


async def test_a_jwt_that_fails_here_is_never_shown_to_its_issuer() -> None:
    desk = Desk(active())
    tokens = asking(desk)
    for token in (
        signed({"alg": "RS256", "typ": "at+jwt", "kid": "rsa-1"}, claims(), rsa_key("attacker")),
        good_token(exp=NOW - 5),
        good_token(iss="https://other.example/"),
        b"a.b.c",
        b"a.b.c.d.e",
        b"a..c.d.e",
    ):
        with pytest.raises(InvalidToken):
            await tokens.verify(bearer(token))
    assert desk.asked == 0
    await tokens.verify(bearer(good_token()))


async def test_without_introspection_an_opaque_token_is_no_jwt() -> None:
    with pytest.raises(InvalidToken) as caught:
        await verifier().verify(bearer("opaque"))
    assert caught.value.cause == "format"


async def test_a_positive_answer_is_believed_for_a_while_but_not_beyond_its_expiry() -> None:
    clock = [float(NOW)]
    desk = Desk(active(exp=NOW + 100))
    tokens = asking(desk, clock=lambda: clock[0])
    for later, asked in ((0, 1), (59, 1), (60, 2), (99, 2)):
        clock[0] = NOW + later
        await tokens.verify(bearer("opaque"))
        assert desk.asked == asked
    clock[0] = NOW + 100
    with pytest.raises(InvalidToken):
        await tokens.verify(bearer("opaque"))
    assert desk.asked == 3


async def test_a_denial_is_remembered_briefly_and_boundedly() -> None:
    clock = [float(NOW)]
    desk = Desk({"active": False})
    tokens = asking(desk, clock=lambda: clock[0])
    for _ in range(5):
        with pytest.raises(InvalidToken):
            await tokens.verify(bearer("opaque"))
    assert desk.asked == 1
    clock[0] += 5
    desk.answer = active()
    await tokens.verify(bearer("opaque"))
    desk.answer = {"active": False}
    for number in range(MAX_DENIED + 50):
        with pytest.raises(InvalidToken):
            await tokens.verify(bearer(f"guess-{number}"))
    assert len(tokens._opaque._denied) == MAX_DENIED


async def test_an_issuer_that_cannot_be_asked_leaves_the_token_unjudged_and_nothing_remembered() -> None:
    desk = Desk(None)
    tokens = asking(desk)
    for _ in range(2):
        with pytest.raises(IntrospectionUnavailable):
            await tokens.verify(bearer("opaque"))
    desk.answer = active()
    await tokens.verify(bearer("opaque"))
    assert desk.asked == 3


async def test_a_hundred_requests_with_one_token_ask_once_and_too_many_tokens_are_not_asked_about() -> None:
    desk = Desk(active())
    desk.gate = asyncio.Event()
    tokens = asking(desk)
    waiting = [asyncio.create_task(tokens.verify(bearer("opaque"))) for _ in range(100)]
    others = [asyncio.create_task(tokens.verify(bearer(f"other-{number}"))) for number in range(100)]
    await asyncio.sleep(0.01)
    waiting[0].cancel()
    desk.gate.set()
    results = await asyncio.gather(*waiting[1:], *others, return_exceptions=True)
    assert desk.asked == 100
    assert sum(isinstance(one, IntrospectionUnavailable) for one in results) == 1
    await tokens.close()
    assert desk.closed


class Server:
    """The issuer's introspection endpoint behind the real client: keeps the questions, gives the answer it is told."""

    def __init__(self, **answer: Any) -> None:
        self.answer = answer
        self.questions: list[httpx.Request] = []

    def __call__(self, request: httpx.Request) -> httpx.Response:
        self.questions.append(request)
        made = httpx.Response(self.answer.get("status", 200), **{k: v for k, v in self.answer.items() if k != "status"})
        # As from the network: not read yet.
        return httpx.Response(made.status_code, headers=made.headers, stream=httpx.ByteStream(made.content))

    def introspector(self, rules: Introspection = SECRET) -> HttpIntrospector:
        mine = issuer(introspection=rules)
        outbound = Outbound(connect=lambda: httpx.AsyncClient(transport=httpx.MockTransport(self)))
        return HttpIntrospector(mine, KeySet(mine, HeldKeys(good_jwks())), outbound=outbound)


async def test_the_question_is_a_form_and_the_secret_is_encoded_as_rfc_6749_asks() -> None:
    server = Server(json={"active": True})
    assert await server.introspector().ask(b"2YotnFZFEjr1zCsicMWpAA") == {"active": True}
    (asked,) = server.questions
    assert (asked.method, str(asked.url)) == ("POST", URL)
    assert asked.content == b"token=2YotnFZFEjr1zCsicMWpAA&token_type_hint=access_token"
    assert base64.b64decode(asked.headers["authorization"].split()[1]) == b"our+id:a%3Ab+c"


async def test_a_private_key_proves_us_to_the_issuer_alone_and_once() -> None:
    pem = rsa_key().private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()
    server = Server(json={"active": False})
    ours = server.introspector(
        Introspection(URL, "us", private_key=pem, private_key_id="k", private_key_algorithm="PS256")
    )
    seen = []
    for _ in range(2):
        await ours.ask(b"opaque")
        form = httpx.QueryParams(server.questions[-1].content.decode())
        assert form["client_assertion_type"] == "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"
        seen.append(jwt.decode(form["client_assertion"], rsa_key().public_key(), algorithms=["PS256"], audience=ISSUER))
        assert jwt.get_unverified_header(form["client_assertion"])["kid"] == "k"
    assert {one["iss"] for one in seen} == {one["sub"] for one in seen} == {"us"}
    assert seen[0]["jti"] != seen[1]["jti"]
    assert seen[0]["exp"] - seen[0]["iat"] == 60


def test_a_key_that_cannot_sign_stops_the_start() -> None:
    with pytest.raises(Misconfigured):
        Server().introspector(Introspection(URL, "us", private_key="no key"))


BROKEN: dict[str, dict[str, Any]] = {
    "unauthorized": {"status": 401},
    "an error": {"status": 500},
    "a redirect": {"status": 302, "headers": {"location": "https://evil.example"}},
    "no JSON": {"content": b"<html>"},
    "a list": {"json": []},
    "a repeated member": {"content": b'{"active":false,"active":true}'},
    "far too much": {"content": b" " * 100_000},
}


@pytest.mark.parametrize("answer", BROKEN.values(), ids=BROKEN)
async def test_an_answer_that_is_none_leaves_the_token_unjudged(answer: dict[str, Any]) -> None:
    with pytest.raises(IntrospectionUnavailable):
        await Server(**answer).introspector().ask(b"opaque")


SIGNED = Introspection(URL, "us", client_secret="s", signed=True)
TYPE = "application/token-introspection+jwt"


def answer_jwt(key: Any = None, typ: str = "token-introspection+jwt", **changes: Any) -> bytes:
    import time

    body = {"iss": ISSUER, "aud": "us", "iat": int(time.time()), "token_introspection": {"active": True}, **changes}
    head = {"alg": "RS256", "typ": typ, "kid": "rsa-1"}
    return signed(head, {name: value for name, value in body.items() if value is not ABSENT}, key)


async def test_a_signed_answer_is_verified_and_its_content_taken() -> None:
    server = Server(content=answer_jwt(), headers={"content-type": TYPE})
    assert await server.introspector(SIGNED).ask(b"opaque") == {"active": True}
    assert server.questions[0].headers["accept"] == TYPE


UNSOUND: dict[str, tuple[bytes, str]] = {
    "plain JSON": (json.dumps({"active": True}).encode(), "application/json"),
    "signed by another key": (answer_jwt(rsa_key("attacker")), TYPE),
    "of another type": (answer_jwt(typ="JWT"), TYPE),
    "an access token": (good_token(), TYPE),
    "for another client": (answer_jwt(aud="them"), TYPE),
    "for nobody": (answer_jwt(aud=ABSENT), TYPE),
    "of another issuer": (answer_jwt(iss="https://other.example/"), TYPE),
    "old": (answer_jwt(iat=NOW - 3600), TYPE),
    "of no time": (answer_jwt(iat=ABSENT), TYPE),
    "without content": (answer_jwt(token_introspection=ABSENT), TYPE),
    "no JWT": (b"x", TYPE),
}


@pytest.mark.parametrize(("body", "kind"), UNSOUND.values(), ids=UNSOUND)
async def test_an_answer_that_is_not_signed_for_us_just_now_is_no_answer(body: bytes, kind: str) -> None:
    with pytest.raises(IntrospectionUnavailable):
        await Server(content=body, headers={"content-type": kind}).introspector(SIGNED).ask(b"opaque")


def test_what_an_introspection_holds_of_secrets_is_not_shown() -> None:
    assert "a:b c" not in repr(SECRET)
    assert AUDIENCE not in repr(SECRET)
