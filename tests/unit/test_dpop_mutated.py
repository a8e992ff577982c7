"""Laws of the proof check: a proof changed in any position is refused, and no input makes it do anything but refuse."""

from __future__ import annotations

import contextlib
import time
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from service.errors import InvalidProof, InvalidToken, NonceRequired
from service.identity.credentials import RequestCredentials
from service.identity.dpop import Proofs
from service.identity.nonces import Nonces
from tests.dpop_forge import proof_claims, proof_key
from tests.example_count import example_count

URL = "https://api.example/v1/timesheets"
TOKEN = b"an.access.token"
ALPHABET = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_.=+/~ "
KEYS = {alg: proof_key(alg) for alg in ("ES256", "PS256", "Ed25519")}
GOOD = {alg: key.proof("GET", URL, TOKEN) for alg, key in KEYS.items()}
# A long run must not make the proofs above grow old.
MADE = time.time()
REFUSALS = (InvalidProof, InvalidToken, NonceRequired)

json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=8,
)


async def check(alg: str, *headers: bytes) -> None:
    """As good as every time the first: nothing is remembered."""

    async def first(_key: str, _proof_id: str, _seconds: float) -> bool:
        return True

    proofs = Proofs(first, Nonces("s" * 32), algorithms=tuple(KEYS), clock=lambda: MADE)
    await proofs.check(RequestCredentials((), headers, "GET", URL), TOKEN, KEYS[alg].thumbprint)


@pytest.mark.parametrize("alg", GOOD)
async def test_a_proof_changed_in_any_one_position_is_refused(alg: str) -> None:
    proof = GOOD[alg]
    await check(alg, proof)
    for place in range(len(proof)):
        now = ALPHABET.find(proof[place : place + 1])
        for other in (ALPHABET[(now + 1) % 64], ALPHABET[(now + 33) % 64], ord("."), ord("=")):
            changed = proof[:place] + bytes([other]) + proof[place + 1 :]
            if changed != proof:
                with pytest.raises(REFUSALS):
                    await check(alg, changed)


@pytest.mark.parametrize("alg", GOOD)
async def test_a_proof_cut_short_or_prolonged_anywhere_is_refused(alg: str) -> None:
    proof = GOOD[alg]
    for place in range(len(proof)):
        for changed in (proof[:place], proof[:place] + proof[place + 1 :], proof[:place] + b"A" + proof[place:]):
            if changed != proof:
                with pytest.raises(REFUSALS):
                    await check(alg, changed)


@settings(max_examples=example_count(150, uncut=300))
@given(st.lists(st.binary(max_size=200), max_size=3))
@example([b"." * 8192])
@example([b"\xff.\xff.\xff"])
async def test_whatever_stands_in_the_headers_is_refused_in_an_orderly_way(headers: list[bytes]) -> None:
    with pytest.raises(REFUSALS):
        await check("ES256", *headers)


@settings(max_examples=example_count(150, uncut=300))
@given(st.sampled_from(["jti", "htm", "htu", "iat", "ath", "nonce", "exp", "nbf", "other"]), json_values)
async def test_a_claim_with_any_json_value_is_accepted_or_refused_without_another_error(
    name: str, value: object
) -> None:
    key = KEYS["ES256"]
    with contextlib.suppress(*REFUSALS):
        await check("ES256", key.sign(key.header(), proof_claims("GET", URL, TOKEN, **{name: value})))


@settings(max_examples=example_count(150, uncut=300))
@given(
    st.sampled_from(["alg", "typ", "jwk", "kid", "crit", "other"]),
    json_values | st.dictionaries(st.sampled_from(["kty", "crv", "x", "y", "n", "e", "d", "alg", "use"]), json_values),
)
async def test_a_header_member_with_any_json_value_is_accepted_or_refused_without_another_error(
    name: str, value: Any
) -> None:
    key = KEYS["ES256"]
    with contextlib.suppress(*REFUSALS):
        await check("ES256", key.sign(key.header(**{name: value}), proof_claims("GET", URL, TOKEN)))


@settings(max_examples=example_count(150, uncut=300))
@given(st.sampled_from(sorted(KEYS)), st.sampled_from(["kty", "crv", "x", "y", "n", "e", "kid", "use"]), json_values)
async def test_a_key_with_any_json_value_as_a_member_is_accepted_or_refused_without_another_error(
    alg: str, name: str, value: object
) -> None:
    key = KEYS[alg]
    changed = key.header(jwk={**key.jwk, name: value})
    with contextlib.suppress(*REFUSALS):
        await check(alg, key.sign(changed, proof_claims("GET", URL, TOKEN)))
