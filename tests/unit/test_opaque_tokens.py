"""Opaque tokens: believed only as far as their issuer says, asked once, remembered briefly, never a way round a JWT."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest

from service.errors import IntrospectionUnavailable, InvalidToken
from service.identity.issuer import Introspection
from service.identity.opaque_tokens import MAX_DENIED_TOKENS, MAX_INTROSPECTIONS
from service.identity.principal import PrincipalKind
from tests.token_forge import (
    ABSENT,
    AUDIENCE,
    ISSUER,
    NOW,
    bearer,
    claims,
    good_token,
    issuer,
    rsa_key,
    sign,
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

    async def introspect(self, token: bytes, /) -> Mapping[str, Any]:
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
    principal = await asking(Desk(active(roles=["auditor"]))).verify(bearer("2YotnFZFEjr1zCsicMWpAA"))
    assert (principal.kind, principal.subject, principal.client) == (PrincipalKind.USER, "auth0|ana", "web-app")
    assert (principal.scopes, principal.roles) == ({"read:timesheets", "create:timesheets"}, {"role:auditor"})


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
    "not valid yet": ({"nbf": NOW + 1800}, "not-yet"),
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


async def test_a_token_without_issue_time_counts_as_older_than_any_revocation() -> None:
    assert (await asking(Desk(active(iat=ABSENT))).verify(bearer("opaque"))).issued_at == 0


async def test_a_jwt_that_fails_here_is_never_shown_to_its_issuer() -> None:
    desk = Desk(active())
    tokens = asking(desk)
    for token in (
        sign({"alg": "RS256", "typ": "at+jwt", "kid": "rsa-1"}, claims(), rsa_key("attacker")),
        good_token(exp=NOW - 5),
        good_token(iss="https://other.example/"),
        b"a.b.c",
        b"a.b.c.d.e",
        b"a..c.d.e",
        good_token() + b"=",
        good_token().rpartition(b".")[0] + b".",
        good_token().rpartition(b".")[0],
        good_token() + b".x",
        good_token() + b"~",
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


async def test_a_clock_that_is_set_back_makes_no_answer_last_longer() -> None:
    clock = [float(NOW)]
    desk = Desk(active(iat=NOW - 7200, exp=NOW + 7200))
    tokens = asking(desk, clock=lambda: clock[0])
    await tokens.verify(bearer("opaque"))
    desk.answer = {"active": False}
    clock[0] -= 3600
    for denied in (2, 3):
        with pytest.raises(InvalidToken):
            await tokens.verify(bearer("opaque"))
        assert desk.asked == denied
        clock[0] -= 3600


async def test_a_clock_that_is_set_back_makes_no_pause_last_longer() -> None:
    clock = [float(NOW)]
    desk = Desk(active(iat=NOW - 7200, exp=NOW + 7200))
    tokens = asking(desk, clock=lambda: clock[0])
    await tokens.verify(bearer("opaque"))
    clock[0] += 61
    desk.answer = None
    with pytest.raises(IntrospectionUnavailable):
        await tokens.verify(bearer("opaque"))
    desk.answer = active(iat=NOW - 7200, exp=NOW + 7200)
    clock[0] -= 3600
    assert (await tokens.verify(bearer("opaque"))).client == "web-app"


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
    for number in range(MAX_DENIED_TOKENS + 50):
        with pytest.raises(InvalidToken):
            await tokens.verify(bearer(f"guess-{number}"))
    assert len(tokens._opaque._denied) == MAX_DENIED_TOKENS


async def test_nothing_is_cached_when_the_issuer_does_not_answer() -> None:
    desk = Desk(None)
    tokens = asking(desk)
    for _ in range(2):
        with pytest.raises(IntrospectionUnavailable):
            await tokens.verify(bearer("opaque"))
    desk.answer = active()
    await tokens.verify(bearer("opaque"))
    assert desk.asked == 3


async def test_a_hundred_requests_with_one_token_cause_one_introspection_and_their_number_is_bounded() -> None:
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
    assert sum(isinstance(result, IntrospectionUnavailable) for result in results) == 1
    await tokens.close()
    assert desk.closed


def test_what_an_introspection_holds_of_secrets_is_not_shown() -> None:
    assert "a:b c" not in repr(SECRET)
    assert AUDIENCE not in repr(SECRET)


async def test_a_flood_of_unknown_tokens_leaves_questions_about_tokens_that_were_good() -> None:
    clock = [float(NOW)]
    desk = Desk(active(exp=NOW + 100))
    tokens = asking(desk, clock=lambda: clock[0])
    await tokens.verify(bearer("opaque"))
    clock[0] += 61
    desk.gate = asyncio.Event()
    flood = [asyncio.create_task(tokens.verify(bearer(f"made-up-{number}"))) for number in range(150)]
    await asyncio.sleep(0.01)
    assert desk.asked == 1 + MAX_INTROSPECTIONS
    again = asyncio.create_task(tokens.verify(bearer("opaque")))
    await asyncio.sleep(0.01)
    assert desk.asked == 2 + MAX_INTROSPECTIONS
    desk.gate.set()
    assert (await again).client == "web-app"
    await asyncio.gather(*flood, return_exceptions=True)
    await tokens.close()


async def test_a_valid_token_is_introspected_once_per_pause_while_its_issuer_fails() -> None:
    clock = [float(NOW)]
    desk = Desk(active(exp=NOW + 600))
    tokens = asking(desk, clock=lambda: clock[0])
    await tokens.verify(bearer("opaque"))
    clock[0] += 61
    desk.answer = None
    for _ in range(50):
        with pytest.raises(IntrospectionUnavailable):
            await tokens.verify(bearer("opaque"))
    assert desk.asked == 2
    desk.answer = active(exp=NOW + 600)
    clock[0] += 1
    assert (await tokens.verify(bearer("opaque"))).client == "web-app"
    assert desk.asked == 3
