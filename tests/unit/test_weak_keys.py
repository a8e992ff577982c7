"""Published keys that are known to be weak are refused by name; the other keys of their set are still used."""

from __future__ import annotations

import math
from typing import Any

import pytest
from structlog.testing import capture_logs

from service.api_process import check_issuers
from service.errors import InvalidToken
from service.identity.jwk_set import read_jwk_set
from service.identity.keys import KeySet, KeyState
from service.identity.refusals import SENTENCES
from service.identity.token_explanation import explain
from tests.token_forge import (
    HeldKeys,
    claims,
    ec_key,
    ed_key,
    encode_part,
    good_token,
    header,
    issuer,
    jwk,
    jwks,
    rsa_key,
    sign,
    verifier,
)

ALL = ["RS256", "PS256", "ES256", "Ed25519", "EdDSA"]
# C2SP Wycheproof, testvectors_v1/json_web_key_test.json, jws_rsa_roca_key (Apache-2.0).
ROCA_MODULUS = (
    "AanFpofbj7KjD4Lf-"
    "N2hVMKR7yewSyXhhbirIMTGpfYEhZ_lnt5UoK98DnKIgArXGTu3MaW_HhFw16HGaTDUHqPrId7fe4r11CqRw09yBFuW79V8sYIwH"
    "dzCaWflUI6auImYbVfoN9_nD5n8N8SY9DwXw7mwZM9wREPXoDPgOoIWl6q_MPsp7n0zs3Z5ZaiQWOOzl1S9OhwAfSiiOwz6efnXE"
    "axuTEtPd7BjSx7NaFka8Dx9U7YqXy2RFj1O9PjyaDGuRh7YXsX3iMUSP_wSyHQg_c_qHRtKUsNSGCT7OZg0hzm2KphtjnayKJvC6"
    "4vAbROBR4Ubg6Bxg9IQVZ-QYyE"
)


def number(value: int) -> str:
    return encode_part(value.to_bytes((value.bit_length() + 7) // 8, "big")).decode()


def rsa_jwk(modulus: int | str, exponent: int = 65537, kid: str = "weak") -> dict[str, Any]:
    shown = modulus if isinstance(modulus, str) else number(modulus)
    return {"kty": "RSA", "n": shown, "e": number(exponent), "kid": kid}


def modulus_of(name: str = "first") -> int:
    return rsa_key(name).public_key().public_numbers().n


def close_primes() -> int:
    """The product of two primes of 1,024 bits that follow one another."""
    start = 3 << 1022
    return (start + 1037) * (start + 1697)


def made_like_roca() -> int:
    """Of another length, with primes of the form k * M + (65537 ** a mod M)."""
    product = math.prod(prime for prime in range(2, 168) if all(prime % other for other in range(2, prime)))

    def prime(power: int, start: int, steps: int) -> int:
        return (start // product + steps) * product + pow(65537, power, product)

    return prime(11, 3 << 1534, 120) * prime(7, 3 << 1533, 50)


FIELD = 2**255 - 19
ORDER_8 = 2707385501144840649318225287225658788936804267575313519463743609750303402022


def ed25519_jwk(y: int) -> dict[str, Any]:
    return {"kty": "OKP", "crv": "Ed25519", "kid": "weak", "x": encode_part(y.to_bytes(32, "little")).decode()}


WEAK: dict[str, tuple[dict[str, Any], str]] = {
    "ROCA, Wycheproof's": (rsa_jwk(ROCA_MODULUS), "roca"),
    "ROCA, of another length": (rsa_jwk(made_like_roca()), "roca"),
    "1024 bits": (rsa_jwk(modulus_of() >> 1024 | 1), "modulus-length"),
    "far too long": (rsa_jwk(1 << 8192 | 1), "modulus-length"),
    "exponent 3": (rsa_jwk(modulus_of(), 3), "exponent"),
    "exponent 17": (rsa_jwk(modulus_of(), 17), "exponent"),
    "exponent 1": (rsa_jwk(modulus_of(), 1), "unreadable"),
    "an even exponent": (rsa_jwk(modulus_of(), 65538), "unreadable"),
    "an exponent as long as the modulus": (rsa_jwk(modulus_of(), modulus_of() - 2), "exponent"),
    "an even modulus": (rsa_jwk(modulus_of() - 1), "small-factor"),
    "a multiple of 751": (rsa_jwk(751 * modulus_of()), "small-factor"),
    "close primes": (rsa_jwk(close_primes()), "close-primes"),
    "the square of a prime": (rsa_jwk(rsa_key().private_numbers().p ** 2), "close-primes"),
    "a point that is not on the curve": ({**jwk(ec_key(), "weak"), "y": encode_part(bytes(32)).decode()}, "unreadable"),
    "a point at another curve": ({**jwk(ec_key(), "weak"), "x": encode_part(b"\1" * 48).decode()}, "unreadable"),
    "an Ed25519 key of order 1": (ed25519_jwk(1), "small-order"),
    "of order 2": (ed25519_jwk(FIELD - 1), "small-order"),
    "of order 4": (ed25519_jwk(0), "small-order"),
    "of order 8": (ed25519_jwk(ORDER_8), "small-order"),
    "of order 8, the other one": (ed25519_jwk(FIELD - ORDER_8), "small-order"),
    "of order 8, with its sign": (ed25519_jwk(ORDER_8 | 1 << 255), "small-order"),
    "of order 1, written beyond the field": (ed25519_jwk(FIELD + 1), "small-order"),
    "published with its private part": ({**jwk(rsa_key("shown"), "weak"), "d": "AQAB"}, "private"),
}


@pytest.mark.parametrize(("weak", "why"), WEAK.values(), ids=WEAK)
def test_a_weak_key_is_refused_by_name_and_the_others_of_its_set_are_used(weak: dict[str, Any], why: str) -> None:
    found = read_jwk_set(jwks(weak, jwk(rsa_key(), "rsa-1"), jwk(ed_key(), "ed-1")), ALL)
    assert [key.kid for key in found.keys] == ["rsa-1", "ed-1"]
    assert [(key.kid, key.why) for key in found.refused] == [("weak", why)]
    assert f"key-{why}" in SENTENCES


def test_keys_that_are_not_for_signatures_are_skipped_silently() -> None:
    others = [
        {"kty": "oct", "k": "AAAA", "kid": "a"},
        {**rsa_jwk(ROCA_MODULUS), "use": "enc"},
        {**rsa_jwk(ROCA_MODULUS), "key_ops": ["encrypt"]},
        {"kty": "OKP", "crv": "X25519", "x": "AA"},
        {**rsa_jwk(ROCA_MODULUS), "alg": "RSA-OAEP"},
    ]
    assert read_jwk_set(jwks(*others), ALL).refused == ()


@pytest.mark.parametrize("members", [{}, {"kid": "other"}, {"use": "enc"}, {"key_ops": ["sign"]}])
def test_a_key_whose_private_part_is_published_beside_it_is_refused(members: dict[str, Any]) -> None:
    public = jwk(rsa_key("shown"), "a")
    found = read_jwk_set(jwks(public, {**public, "d": "AQAB", **members}, jwk(rsa_key(), "b")), ALL)
    assert [key.kid for key in found.keys] == ["b"]
    assert ("a", "private") in [(key.kid, key.why) for key in found.refused]


def test_ordinary_keys_are_not_refused_as_weak() -> None:
    keys = [jwk(rsa_key(f"ordinary {index}"), str(index)) for index in range(10)]
    found = read_jwk_set(jwks(*keys, jwk(ec_key(), "ec"), jwk(ed_key(), "ed")), ALL)
    assert (len(found.keys), found.refused) == (12, ())


async def test_a_token_that_names_a_weak_key_is_refused_with_the_reason_and_log_and_readiness_name_it() -> None:
    source = HeldKeys(jwks(rsa_jwk(ROCA_MODULUS, kid="old\ncard"), jwk(rsa_key(), "rsa-1")))
    keys = KeySet(issuer(), source)
    with capture_logs() as lines:
        for _ in range(2):
            await keys._refresh()
    assert [(line["event"], line["key"]) for line in lines] == [("key_refused", r"key 'old\ncard' (roca)")]
    with pytest.raises(InvalidToken, match="ROCA") as refused:
        await keys.find("old\ncard", "RS256")
    assert refused.value.cause == "key-roca"
    (part,) = check_issuers([keys.state()])
    assert part.ready
    assert part.detail.endswith(r"; refused: key 'old\ncard' (roca)")


async def test_an_explained_token_says_that_its_key_is_weak() -> None:
    tokens = verifier(body=jwks(rsa_jwk(ROCA_MODULUS, kid="card"), jwk(rsa_key(), "rsa-1")))
    explanation = await explain(tokens, sign(header(kid="card"), claims()))
    assert (explanation.verdict, explanation.cause, explanation.checks[-1].name) == ("refused", "key-roca", "key")
    assert "ROCA" in explanation.checks[-1].detail
    assert (await explain(tokens, good_token())).verdict == "accepted"


def state(name: str, *, ready: bool, opaque: bool = False) -> KeyState:
    return KeyState(name, ready, 1 if ready else 0, 1.0 if ready else None, None, 0, 0, opaque=opaque)


def test_one_issuer_that_works_is_enough_to_be_ready_and_the_others_are_named() -> None:
    parts = check_issuers([state("down", ready=False), state("up", ready=True)])
    assert [(part.name, part.ready, part.needed) for part in parts] == [
        ("keys of down", False, False),
        ("keys of up", True, False),
    ]
    opaque = check_issuers([state("opaque", ready=False, opaque=True)])
    assert [part.needed for part in opaque] == [False]
    none = check_issuers([state("down", ready=False), state("down too", ready=False)])
    assert [part.needed for part in none] == [True, True]
