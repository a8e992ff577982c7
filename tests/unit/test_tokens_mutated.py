"""Laws of the verifier: a token that is changed anywhere is refused, and no input causes any other error."""

from __future__ import annotations

import contextlib

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from service.errors import InvalidToken, MalformedCredentials, MissingToken
from service.identity.credentials import RequestCredentials
from tests.example_count import example_count
from tests.token_forge import (
    bearer,
    claims,
    ed_key,
    good_ec_token,
    good_token,
    header,
    issuer,
    rsa_key,
    sign,
    verifier,
)

ALPHABET = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_.=+/~ "
GOOD = {
    "RS256": good_token(jti="mutated", exp=claims()["exp"]),
    "ES256": good_ec_token(jti="mutated"),
    "PS256": sign(header(alg="PS256"), claims(jti="mutated")),
    "Ed25519": sign(header(alg="Ed25519", kid="ed-1"), claims(jti="mutated"), ed_key()),
    "EdDSA": sign(header(alg="EdDSA", kid="ed-1"), claims(jti="mutated"), ed_key()),
}
EVERY = issuer(algorithms=frozenset(GOOD))
REFUSALS = (InvalidToken, MalformedCredentials, MissingToken)

json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=8,
)


@pytest.mark.parametrize("token", GOOD.values(), ids=GOOD)
async def test_a_token_changed_in_any_one_position_is_refused(token: bytes) -> None:
    tokens = verifier(EVERY)
    await tokens.verify(bearer(token))
    for place in range(len(token)):
        now = ALPHABET.find(token[place : place + 1])
        for other in (ALPHABET[(now + 1) % 64], ALPHABET[(now + 33) % 64], ord("."), ord("=")):
            changed = token[:place] + bytes([other]) + token[place + 1 :]
            if changed != token:
                with pytest.raises(REFUSALS):
                    await tokens.verify(bearer(changed))


@pytest.mark.parametrize("token", GOOD.values(), ids=GOOD)
async def test_a_token_cut_short_or_prolonged_anywhere_is_refused(token: bytes) -> None:
    tokens = verifier(EVERY)
    for place in range(len(token)):
        for changed in (token[:place], token[:place] + token[place + 1 :], token[:place] + b"A" + token[place:]):
            if changed != token:
                with pytest.raises(REFUSALS):
                    await tokens.verify(bearer(changed))


@settings(max_examples=example_count(300))
@given(st.sampled_from(sorted(GOOD)), st.data())
async def test_a_token_changed_in_several_places_is_refused(name: str, data: st.DataObject) -> None:
    token = bytearray(GOOD[name])
    places = data.draw(st.lists(st.integers(0, len(token) - 1), min_size=1, max_size=6))
    for place in places:
        token[place] = data.draw(st.sampled_from(ALPHABET))
    if bytes(token) != GOOD[name]:
        with pytest.raises(REFUSALS):
            await verifier(EVERY).verify(bearer(bytes(token)))


@settings(max_examples=example_count(300))
@given(st.lists(st.binary(max_size=80), max_size=3))
@example([b"Bearer \xff"])
async def test_arbitrary_headers_are_refused_without_another_error(headers: list[bytes]) -> None:
    with pytest.raises(REFUSALS):
        await verifier().verify(RequestCredentials(tuple(headers)))


@settings(max_examples=example_count(300))
@given(st.sampled_from(sorted(claims())), json_values)
async def test_a_claim_with_any_json_value_is_accepted_or_refused_without_another_error(
    name: str, value: object
) -> None:
    await verify_or_refuse(sign(header(), claims(**{name: value})))


@settings(max_examples=example_count(200))
@given(st.sampled_from(["alg", "typ", "kid", "crit", "cty", "x5t", "other"]), json_values)
async def test_a_header_member_with_any_json_value_is_accepted_or_refused_without_another_error(
    name: str, value: object
) -> None:
    await verify_or_refuse(sign(header(**{name: value}), claims(), rsa_key()))


async def verify_or_refuse(token: bytes) -> None:
    """Any other error than a refusal fails the test."""
    with contextlib.suppress(InvalidToken):
        caller = await verifier().verify(bearer(token))
        assert caller.subject
        assert isinstance(caller.expires_at, int)
