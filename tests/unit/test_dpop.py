"""A DPoP proof is taken when all of RFC 9449 section 4.3 holds, and refused for its cause when one thing does not."""

from __future__ import annotations

import time
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, rsa

from service.errors import InvalidProof, InvalidToken, Misconfigured, NonceRequired, Unauthenticated
from service.identity.credentials import RequestCredentials
from service.identity.dpop import Proofs
from service.identity.nonces import LIFETIME_SECONDS, STEP_SECONDS, Nonces
from service.identity.refusals import SENTENCES
from tests.dpop_forge import ProofKey, private_jwk, proof_claims, proof_key, public_jwk
from tests.token_forge import ABSENT, encode_part

URL = "https://api.example/v1/timesheets"
TOKEN = b"an.access.token"
SECRET = "s" * 32
KEY = proof_key()
OTHER = proof_key()
RSA = proof_key("RS256")
ALGORITHMS = ("ES256", "ES384", "ES512", "RS256", "PS256", "EdDSA", "Ed25519")


class Remembered:
    """Uses in memory: what the verifier asks, and how long it wants it kept."""

    def __init__(self) -> None:
        self.seen: dict[tuple[str, str], float] = {}

    async def first_use(self, key: str, proof_id: str, seconds: float) -> bool:
        known = (key, proof_id) in self.seen
        self.seen[key, proof_id] = seconds
        return not known


def proofs(uses: Remembered | None = None, **options: Any) -> Proofs:
    return Proofs((uses or Remembered()).first_use, Nonces(SECRET), **{"algorithms": ALGORITHMS, **options})


def request(*headers: bytes, method: str = "GET", url: str = URL) -> RequestCredentials:
    return RequestCredentials((b"DPoP " + TOKEN,), headers, method, url)


def claims(**changes: Any) -> dict[str, Any]:
    return proof_claims("GET", URL, TOKEN, **changes)


def make_proof(**changes: Any) -> bytes:
    return KEY.sign(KEY.header(), claims(**changes))


def with_header(**changes: Any) -> bytes:
    return KEY.sign(KEY.header(**changes), claims())


async def check(proof: bytes, uses: Remembered | None = None, key: ProofKey = KEY, **options: Any) -> None:
    await proofs(uses, **options).check(request(proof), TOKEN, key.thumbprint)


async def cause_of(*headers: bytes, key: str = KEY.thumbprint, kind: type[Unauthenticated] = InvalidProof) -> str:
    uses = Remembered()
    with pytest.raises(kind) as caught:
        await proofs(uses).check(request(*headers), TOKEN, key)
    assert type(caught.value) is kind
    assert uses.seen == {}, "what was refused uses nothing up"
    return str(caught.value.cause)


@pytest.mark.parametrize("alg", ALGORITHMS)
async def test_a_good_proof_is_accepted_with_each_algorithm(alg: str) -> None:
    key = proof_key(alg)
    await check(key.proof("GET", URL, TOKEN), key=key)


@pytest.mark.parametrize("count", [0, 2])
async def test_exactly_one_proof_comes_with_a_request(count: int) -> None:
    assert await cause_of(*[make_proof()] * count) == "proof-headers"


async def test_two_proofs_joined_by_a_proxy_are_no_proof() -> None:
    assert await cause_of(make_proof() + b", " + make_proof()) == "proof-format"


HEADERS: dict[str, tuple[bytes, str]] = {
    "nothing": (b"", "format"),
    "no JWT": (b"proof", "format"),
    "four parts": (make_proof() + b".x", "format"),
    "a header that is a list": (KEY.sign(b"[]", claims()), "format"),
    "a repeated member": (KEY.sign(KEY.header(), b'{"jti":"1","jti":"2"}'), "format"),
    "claims behind a byte order mark": (KEY.sign(KEY.header(), b"\xef\xbb\xbf{}"), "format"),
    "claims in UTF-16": (KEY.sign(KEY.header(), '{"jti":"1"}'.encode("utf-16")), "format"),
    "too large": (make_proof(more="x" * 9000), "format"),
    "padding": (make_proof() + b"=", "format"),
    "no type": (with_header(typ=ABSENT), "type"),
    "the type of another JWT": (with_header(typ="at+jwt"), "type"),
    "the type JWT": (with_header(typ="JWT"), "type"),
    "the type in capitals": (with_header(typ="DPOP+JWT"), "type"),
    "a critical extension": (with_header(crit=["exp"]), "extensions"),
    "an unencoded payload": (with_header(b64=False), "extensions"),
    "compression": (with_header(zip="DEF"), "extensions"),
    "a key by reference": (with_header(jku="https://attacker.example/jwks"), "extensions"),
    "a certificate by reference": (with_header(x5u="https://attacker.example/cert"), "extensions"),
    "a certificate": (with_header(x5c=["MIIB"]), "extensions"),
    "no algorithm": (with_header(alg=ABSENT), "algorithm"),
    "the algorithm none": (with_header(alg="none"), "algorithm"),
    "a shared secret": (with_header(alg="HS256"), "algorithm"),
    "an algorithm in small letters": (with_header(alg="es256"), "algorithm"),
    "an algorithm that is a list": (with_header(alg=["ES256"]), "algorithm"),
    "no key": (with_header(jwk=ABSENT), "key"),
    "a key that is a text": (with_header(jwk="key"), "key"),
    "the private key": (with_header(jwk=private_jwk(KEY.key)), "key"),  # type: ignore[arg-type]  # made as an EC key
    "a secret key": (with_header(jwk={"kty": "oct", "k": "AAAA"}), "key"),
    "a key of another kind": (with_header(jwk=RSA.jwk), "key"),
    "a key of another curve": (with_header(jwk=public_jwk(ec.generate_private_key(ec.SECP384R1()))), "key"),
    "a key without y": (with_header(jwk={**KEY.jwk, "y": ""}), "key"),
    "a point that is not on the curve": (with_header(jwk={**KEY.jwk, "y": KEY.jwk["x"]}), "key"),
    "a key for encryption": (with_header(jwk={**KEY.jwk, "use": "enc"}), "key"),
    "a key that may not verify": (with_header(jwk={**KEY.jwk, "key_ops": ["sign"]}), "key"),
    "a key for another algorithm": (with_header(jwk={**KEY.jwk, "alg": "ES384"}), "key"),
    "a coordinate that is a number": (with_header(jwk={**KEY.jwk, "x": 1}), "key"),
    "another key's signature": (OTHER.sign(KEY.header(), claims()), "signature"),
    "another payload's signature": (
        make_proof().rpartition(b".")[0] + b"." + make_proof().rpartition(b".")[2],
        "signature",
    ),
    "a signature of zeros": (make_proof().rpartition(b".")[0] + b"." + encode_part(bytes(64)), "signature"),
    "a signature in DER": (
        make_proof().rpartition(b".")[0] + b"." + encode_part(b"\x30\x06\x02\x01\x01\x02\x01\x01"),
        "signature",
    ),
}


@pytest.mark.parametrize(("proof", "cause"), HEADERS.values(), ids=HEADERS)
async def test_a_proof_with_a_wrong_header_form_or_signature_is_refused(proof: bytes, cause: str) -> None:
    assert await cause_of(proof) == f"proof-{cause}"


CLAIMS: dict[str, tuple[dict[str, Any], str]] = {
    "no method": ({"htm": ABSENT}, "method"),
    "another method": ({"htm": "POST"}, "method"),
    "the method in small letters": ({"htm": "get"}, "method"),
    "a list of methods": ({"htm": ["GET"]}, "method"),
    "no target": ({"htu": ABSENT}, "target"),
    "another path": ({"htu": URL + "/x"}, "target"),
    "a path in capitals": ({"htu": "https://api.example/V1/timesheets"}, "target"),
    "another host": ({"htu": "https://attacker.example/v1/timesheets"}, "target"),
    "our host as a user": ({"htu": "https://api.example@attacker.example/v1/timesheets"}, "target"),
    "a user at our host": ({"htu": "https://user@api.example/v1/timesheets"}, "target"),
    "another scheme": ({"htu": "http://api.example/v1/timesheets"}, "target"),
    "another port": ({"htu": "https://api.example:8443/v1/timesheets"}, "target"),
    "no port at all": ({"htu": "https://api.example:port/v1/timesheets"}, "target"),
    "a path alone": ({"htu": "/v1/timesheets"}, "target"),
    "a space before": ({"htu": " " + URL}, "target"),
    "a line break within": ({"htu": "https://api.example/v1/time\nsheets"}, "target"),
    "a broken escape": ({"htu": URL + "/%zz"}, "target"),
    "a slash too many": ({"htu": URL + "/"}, "target"),
    "an escaped slash": ({"htu": "https://api.example/v1%2Ftimesheets"}, "target"),
    "a target that is a list": ({"htu": [URL]}, "target"),
    "no identifier": ({"jti": ABSENT}, "proof-id"),
    "an empty identifier": ({"jti": ""}, "proof-id"),
    "a number as identifier": ({"jti": 1}, "proof-id"),
    "an identifier without end": ({"jti": "x" * 257}, "proof-id"),
    "no token hash": ({"ath": ABSENT}, "token-hash"),
    "a number as token hash": ({"ath": 1}, "token-hash"),
    "no time": ({"iat": ABSENT}, "time"),
    "a text as time": ({"iat": str(int(time.time()))}, "time"),
    "true as time": ({"iat": True}, "time"),
    "a time before all": ({"iat": -1}, "time"),
    "a time after all": ({"iat": 1e30}, "time"),
    "an expiry in the past": ({"exp": 1}, "time"),
    "a text as expiry": ({"exp": "tomorrow"}, "time"),
    "a start in an hour": ({"nbf": int(time.time()) + 3600}, "time"),
    "a nonce that is a number": ({"nonce": 1}, "nonce"),
}


@pytest.mark.parametrize(("changes", "cause"), CLAIMS.values(), ids=CLAIMS)
async def test_a_proof_that_says_something_else_is_refused(changes: dict[str, Any], cause: str) -> None:
    assert await cause_of(make_proof(**changes)) == f"proof-{cause}"


async def test_a_short_rsa_key_is_refused() -> None:
    key = rsa.generate_private_key(public_exponent=65537, key_size=1024)  # noqa: S505 — that it is weak is the point
    short = ProofKey(key, "RS256")
    assert await cause_of(short.proof("GET", URL, TOKEN), key=short.thumbprint) == "proof-key"


async def test_a_proof_by_another_key_than_the_tokens_is_a_refusal_of_the_token() -> None:
    assert await cause_of(OTHER.proof("GET", URL, TOKEN), kind=InvalidToken) == "other-key"


async def test_a_proof_for_another_token_is_a_refusal_of_the_token() -> None:
    assert await cause_of(KEY.proof("GET", URL, b"another.access.token"), kind=InvalidToken) == "other-token"


async def test_a_public_key_in_the_proof_does_not_make_a_secret_of_it() -> None:
    head = RSA.header(alg="HS256")
    proof = RSA.sign(head, claims())
    assert await cause_of(proof, key=RSA.thumbprint) == "proof-algorithm"


async def test_an_algorithm_that_is_not_offered_is_refused() -> None:
    with pytest.raises(InvalidProof):
        await check(make_proof(), algorithms=("PS256",))


@pytest.mark.parametrize("algorithms", [(), ("HS256",), ("none",), ("ES256", "ES256K")])
def test_only_asymmetric_algorithms_can_be_configured(algorithms: tuple[str, ...]) -> None:
    with pytest.raises(Misconfigured):
        proofs(algorithms=algorithms)


@pytest.mark.parametrize(
    "htu",
    [
        URL + "?page=2",
        URL + "#part",
        "HTTPS://API.EXAMPLE/v1/timesheets",
        "https://api.example:443/v1/timesheets",
        "https://api.example/v1/%74imesheets",
        "https://api.example/v1/./x/../timesheets",
    ],
)
async def test_another_spelling_of_the_same_url_is_accepted(htu: str) -> None:
    await check(make_proof(htu=htu))


@pytest.mark.parametrize("age", [0, 59, -59])
async def test_a_proof_is_good_for_a_minute_around_its_time(age: int) -> None:
    now = time.time()
    await check(make_proof(iat=now - age), clock=lambda: now)


@pytest.mark.parametrize("age", [61, -61, 3600])
async def test_a_proof_is_not_good_for_longer(age: int) -> None:
    now = time.time()
    with pytest.raises(InvalidProof, match="too old or from the future"):
        await check(make_proof(iat=now - age), clock=lambda: now)


async def test_a_proof_can_be_used_once_and_is_stored_for_as_long_as_it_could_be_accepted() -> None:
    uses = Remembered()
    proof = make_proof()
    await check(proof, uses)
    with pytest.raises(InvalidProof, match="used before"):
        await check(proof, uses)
    (seconds,) = uses.seen.values()
    assert 60 <= seconds <= 181


async def test_another_proof_with_the_same_identifier_is_a_replay_and_of_another_key_is_not() -> None:
    uses = Remembered()
    await check(make_proof(jti="one"), uses)
    with pytest.raises(InvalidProof, match="used before"):
        await check(make_proof(jti="one", htu=URL + "?other"), uses)
    await check(OTHER.sign(OTHER.header(), claims(jti="one")), uses, key=OTHER)


async def test_a_nonce_of_ours_stands_for_the_clients_clock() -> None:
    uses = Remembered()
    await check(make_proof(iat=1_000_000_000, nonce=Nonces(SECRET).current()), uses)
    (seconds,) = uses.seen.values()
    assert seconds >= LIFETIME_SECONDS - STEP_SECONDS


@pytest.mark.parametrize("nonce", ["", "x", "A" * 32, "\u00e9" * 32, "=" * 32])
async def test_a_nonce_that_is_not_ours_is_sent_back_for_one(nonce: str) -> None:
    await cause_of(make_proof(nonce=nonce), kind=NonceRequired)


async def test_a_nonce_of_another_secret_is_sent_back_for_one() -> None:
    await cause_of(make_proof(nonce=Nonces("t" * 32).current()), kind=NonceRequired)


async def test_where_a_nonce_is_required_a_proof_without_one_is_sent_back() -> None:
    with pytest.raises(NonceRequired):
        await check(make_proof(), nonce_required=True)
    await check(make_proof(nonce=Nonces(SECRET).current()), nonce_required=True)


def test_a_nonce_lives_for_five_minutes_on_every_replica_and_then_no_more() -> None:
    start = 1_800_000_000.0
    nonce = Nonces(SECRET, clock=lambda: start).current()
    ages = (
        -STEP_SECONDS,
        0,
        1,
        STEP_SECONDS,
        LIFETIME_SECONDS - STEP_SECONDS,
        LIFETIME_SECONDS - 1,
        LIFETIME_SECONDS,
        LIFETIME_SECONDS + STEP_SECONDS,
        10 * LIFETIME_SECONDS,
    )
    lives = [Nonces(SECRET, clock=lambda age=age: start + age).remaining(nonce) for age in ages]  # type: ignore[misc]  # mypy cannot infer the default
    assert [left is not None for left in lives] == [True, True, True, True, True, True, False, False, False]
    assert Nonces(SECRET, clock=lambda: start - STEP_SECONDS - 1).remaining(nonce) is None, (
        "from a future that no clock is in"
    )


def test_a_nonce_is_new_every_minute_and_tells_nothing_but_the_time() -> None:
    start = 1_800_000_000
    seen = {Nonces(SECRET, clock=lambda at=at: float(start + at)).current() for at in range(0, 600, 10)}  # type: ignore[misc]  # as above
    assert len(seen) == 600 // STEP_SECONDS
    assert all(nonce.isascii() and len(nonce) == 32 and SECRET not in nonce for nonce in seen)


def test_a_nonce_changed_in_any_position_is_not_ours() -> None:
    nonces = Nonces(SECRET)
    nonce = nonces.current()
    for place in range(len(nonce)):
        for letter in "AB-_=z":
            changed = nonce[:place] + letter + nonce[place + 1 :]
            assert changed == nonce or nonces.remaining(changed) is None


def test_every_sentence_fits_a_challenge() -> None:
    assert all(
        sentence.isascii() and sentence.isprintable() and '"' not in sentence and "\\" not in sentence
        for sentence in SENTENCES.values()
    )
