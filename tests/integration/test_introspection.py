"""An issuer is asked about opaque tokens over real HTTP: what we send, and which of its answers are believed."""

from __future__ import annotations

import base64
import gzip
import json
import time
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import jwt
import pytest
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from httpx2 import QueryParams

from service.errors import IntrospectionUnavailable, InvalidToken, Misconfigured
from service.identity.introspection import HttpIntrospector
from service.identity.issuer import Introspection
from service.identity.key_source import HttpKeySource
from service.identity.keys import KeySet
from service.identity.outbound import Outbound
from service.identity.tokens import Tokens
from tests.integration.site import Site, ok, site
from tests.token_forge import ABSENT, ISSUER, NOW, bearer, good_jwks, good_token, issuer, rsa_key, sign
from tests.unit.test_opaque_tokens import REFUSED, SECRET, active

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

PATH = "/introspect"
JSON = "Content-Type: application/json"
SIGNED = replace(SECRET, client_id="us", signed=True)
TYPE = "application/token-introspection+jwt"


@asynccontextmanager
async def desk(answer: bytes, rules: Introspection = SECRET) -> AsyncIterator[tuple[Site, HttpIntrospector]]:
    """The issuer with this answer to every question and its good keys, and what asks it."""
    async with site() as here:
        here.answers[PATH] = answer
        here.answers["/jwks"] = ok(good_jwks())
        mine = issuer(introspection=replace(rules, url=here.origin + PATH), jwks_url=f"{here.origin}/jwks")
        keys = KeySet(mine, HttpKeySource(mine))
        asking = HttpIntrospector(mine, keys)
        try:
            yield here, asking
        finally:
            await asking.close()
            await keys.close()


async def failure(answer: bytes, rules: Introspection = SECRET) -> str:
    """Why nothing is believed of this answer."""
    async with desk(answer, rules) as (here, asking):
        with pytest.raises(IntrospectionUnavailable) as caught:
            await asking.introspect(b"opaque")
        assert {question.path for question in here.questions} <= {PATH, "/jwks"}
    return str(caught.value.cause).removeprefix("introspection at issuer example: ")


def answer_with(**members: Any) -> bytes:
    return ok(json.dumps(members).encode(), JSON)


async def test_the_question_is_a_form_and_the_secret_is_encoded_as_rfc_6749_asks() -> None:
    async with desk(answer_with(active=True)) as (here, asking):
        assert await asking.introspect(b"2YotnFZFEjr1zCsicMWpAA") == {"active": True}
    (asked,) = here.questions
    assert (asked.method, asked.path) == ("POST", PATH)
    assert asked.headers["host"] == here.origin.removeprefix("http://")
    assert asked.headers["content-type"] == "application/x-www-form-urlencoded"
    assert asked.body == b"token=2YotnFZFEjr1zCsicMWpAA&token_type_hint=access_token"
    assert base64.b64decode(asked.headers["authorization"].split()[1]) == b"our+id:a%3Ab+c"


async def test_a_private_key_proves_us_to_the_issuer_alone_and_once() -> None:
    pem = rsa_key().private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()
    rules = Introspection(SECRET.url, "us", private_key=pem, private_key_id="k", private_key_algorithm="PS256")
    async with desk(answer_with(active=False), rules) as (here, asking):
        for _ in range(2):
            await asking.introspect(b"opaque")
    seen = []
    for asked in here.questions:
        form = QueryParams(asked.body.decode())
        assert "authorization" not in asked.headers
        assert form["client_assertion_type"] == "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"
        seen.append(jwt.decode(form["client_assertion"], rsa_key().public_key(), algorithms=["PS256"], audience=ISSUER))
        assert jwt.get_unverified_header(form["client_assertion"])["kid"] == "k"
    assert {claims["iss"] for claims in seen} == {claims["sub"] for claims in seen} == {"us"}
    assert seen[0]["jti"] != seen[1]["jti"]
    assert seen[0]["exp"] - seen[0]["iat"] == 60


async def test_a_key_that_cannot_sign_stops_the_start() -> None:
    with pytest.raises(Misconfigured):
        async with desk(b"", Introspection(SECRET.url, "us", private_key="no key")):
            pass


def refuse(status: str, *headers: str) -> bytes:
    return "\r\n".join([f"HTTP/1.1 {status}", "Content-Length: 0", "Connection: close", *headers, "", ""]).encode()


BROKEN: dict[str, tuple[bytes, str]] = {
    "unauthorized": (refuse("401 Unauthorized"), "status-401"),
    "an error": (refuse("500 Internal Server Error"), "status-500"),
    "no content": (refuse("204 No Content"), "status-204"),
    "a redirect": (refuse("302 Found", "Location: /other"), "redirected"),
    "a redirect that keeps the form": (refuse("307 Temporary Redirect", "Location: /other"), "redirected"),
    "no HTTP": (b"garbage\r\n\r\n", "unreachable"),
    "half an answer": (ok(b'{"active":true}')[:-3], "unreachable"),
    "no JSON": (ok(b"<html>", JSON), "answer-not-json"),
    "a list": (ok(b"[]", JSON), "answer-not-json"),
    "a repeated member": (ok(b'{"active":false,"active":true}', JSON), "answer-not-json"),
    "far too much": (ok(b" " * 100_000, JSON), "too-large"),
    "compressed": (ok(gzip.compress(b'{"active":true}'), JSON, "Content-Encoding: gzip"), "compressed"),
}


@pytest.mark.parametrize(("answer", "why"), BROKEN.values(), ids=BROKEN)
async def test_an_answer_that_is_none_leaves_the_token_unjudged(answer: bytes, why: str) -> None:
    assert await failure(answer) == why


async def test_an_issuer_that_is_silent_is_given_up_in_time() -> None:
    async with desk(answer_with(active=True)) as (here, _):
        here.pause = 0.5
        mine = issuer(introspection=replace(SECRET, url=here.origin + PATH), jwks_url=f"{here.origin}/jwks")
        asking = HttpIntrospector(mine, KeySet(mine, HttpKeySource(mine)), outbound=Outbound(timeout=0.1))
        with pytest.raises(IntrospectionUnavailable) as caught:
            await asking.introspect(b"opaque")
        assert str(caught.value.cause).endswith("timeout")
        await asking.close()


def answer_jwt(key: Any = None, typ: str = "token-introspection+jwt", **changes: Any) -> bytes:
    content = {"iss": ISSUER, "aud": "us", "iat": int(time.time()), "token_introspection": {"active": True}, **changes}
    head = {"alg": "RS256", "typ": typ, "kid": "rsa-1"}
    return sign(head, {name: value for name, value in content.items() if value is not ABSENT}, key)


async def test_a_signed_answer_is_verified_and_its_content_used() -> None:
    async with desk(ok(answer_jwt(), f"Content-Type: {TYPE}"), SIGNED) as (here, asking):
        assert await asking.introspect(b"opaque") == {"active": True}
    assert here.questions[0].headers["accept"] == TYPE
    assert here.asked == [PATH, "/jwks"]


async def test_a_signed_answer_is_verified_even_where_a_plain_one_would_do() -> None:
    rules = replace(SIGNED, signed=False)
    assert await failure(ok(answer_jwt(rsa_key("attacker")), f"Content-Type: {TYPE}"), rules) == "answer-signature"


# Answers are made when they are asked for: in a long run they would grow old.
UNSOUND: dict[str, tuple[Callable[[], bytes], str, str]] = {
    "plain JSON": (lambda: b'{"active":true}', "application/json", "answer-not-signed"),
    "signed by another key": (lambda: answer_jwt(rsa_key("attacker")), TYPE, "answer-signature"),
    "of another type": (lambda: answer_jwt(typ="JWT"), TYPE, "answer-of-another-type"),
    "an access token": (good_token, TYPE, "answer-of-another-type"),
    "for another client": (lambda: answer_jwt(aud="them"), TYPE, "answer-for-another-client"),
    "for nobody": (lambda: answer_jwt(aud=ABSENT), TYPE, "answer-for-another-client"),
    "of another issuer": (lambda: answer_jwt(iss="https://other.example/"), TYPE, "answer-of-another-issuer"),
    "old": (lambda: answer_jwt(iat=NOW - 3600), TYPE, "answer-of-another-time"),
    "beyond any time": (lambda: answer_jwt(iat=10**400), TYPE, "answer-of-another-time"),
    "of no time": (lambda: answer_jwt(iat=ABSENT), TYPE, "answer-of-another-time"),
    "without content": (lambda: answer_jwt(token_introspection=ABSENT), TYPE, "answer-without-content"),
    "no JWT": (lambda: b"x", TYPE, "answer-format"),
}


@pytest.mark.parametrize(("body", "kind", "why"), UNSOUND.values(), ids=UNSOUND)
async def test_an_answer_that_is_not_signed_for_us_just_now_is_no_answer(
    body: Callable[[], bytes], kind: str, why: str
) -> None:
    assert await failure(ok(body(), f"Content-Type: {kind}"), SIGNED) == why


@asynccontextmanager
async def verifier(here: Site) -> AsyncIterator[Tokens]:
    """The verifier as the service has it: nothing of it is replaced."""
    rules = replace(SECRET, url=here.origin + PATH)
    tokens = Tokens([issuer(introspection=rules, jwks_url=f"{here.origin}/jwks")])
    try:
        yield tokens
    finally:
        await tokens.close()


@pytest.mark.parametrize(("changes", "cause"), REFUSED.values(), ids=REFUSED)
async def test_what_the_issuer_does_not_clearly_say_lets_no_token_in(changes: dict[str, Any], cause: str) -> None:
    async with site() as here, verifier(here) as tokens:
        here.answers[PATH] = answer_with(**active(**changes))
        with pytest.raises(InvalidToken) as caught:
            await tokens.verify(bearer("opaque"))
        assert caught.value.cause == cause


async def test_an_opaque_token_is_introspected_once_and_a_jwt_never() -> None:
    async with site() as here, verifier(here) as tokens:
        here.answers.update({PATH: answer_with(**active()), "/jwks": ok(good_jwks())})
        for _ in range(3):
            assert (await tokens.verify(bearer("opaque"))).subject == "auth0|ana"
            await tokens.verify(bearer(good_token()))
        assert sorted(here.asked) == [PATH, "/jwks"]
