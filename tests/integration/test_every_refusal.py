"""Each cause in the two tables of refusals is really raised, by the whole verifier with real keys, Redis and Postgres.

The cases are collected and compared with the tables: a cause that nobody can raise any more, or a new one that no case
raises, fails here.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import pytest

from service.authorization.enforcement.token_revocation import RevocationKind, RevocationRequest, Revocations
from service.errors import InvalidProof, InvalidToken
from service.identity import refusals
from service.identity.credentials import RequestCredentials
from service.identity.jwk_set import digest64
from service.identity.sender import build_senders
from service.timesheets.listing import Filters
from tests.dpop_forge import proof_key
from tests.integration.site import ok, site
from tests.token_forge import (
    ABSENT,
    claims,
    ec_key,
    good_jwks,
    good_token,
    header,
    issuer,
    jwk,
    jwks,
    rsa_key,
    sign,
    verifier,
)
from tests.unit.test_opaque_tokens import SECRET
from tests.unit.test_weak_keys import WEAK

if TYPE_CHECKING:
    from collections.abc import Callable

    from service.identity.issuer import Issuer
    from tests.integration.house import House

pytest_plugins = ["tests.integration.log_fixtures", "tests.integration.house_fixtures"]

MINE = issuer()
GOOD_KEYS = good_jwks()
URL = "https://api.example/v1/timesheets"
KEY, OTHER = proof_key(), proof_key()
CERTIFICATE = b"\x30\x03\x02\x01\x01"
BOUND = good_token(cnf={"jkt": KEY.thumbprint})
CERTIFIED = good_token(cnf={"x5t#S256": digest64(CERTIFICATE)})
TWO_KEYS = jwks(jwk(rsa_key(), "rsa-1"), jwk(rsa_key("second"), "rsa-2"))
WITH_JWT = issuer(accepted_types=frozenset({"at+jwt", "JWT"}))
WITH_GROUPS = issuer(groups_claim="groups", groups={"staff": ("auditor",)})


@dataclass(frozen=True, slots=True)
class Sent:
    """A request, and the API that it comes to. `proofs` are made when it is sent, `times` tells how often that is."""

    token: bytes
    scheme: bytes = b"Bearer"
    proofs: Callable[[], tuple[bytes, ...]] = tuple
    certificate: bytes | None = None
    times: int = 1
    issuer: Issuer = MINE
    keys: bytes = GOOD_KEYS
    dpop_required: bool = False


def with_header(**changes: Any) -> Sent:
    return Sent(sign(header(**changes), claims()))


def saying(**changes: Any) -> Sent:
    return Sent(good_token(**changes))


def proving(token: bytes = BOUND, key: Any = KEY, **changes: Any) -> Sent:
    """The bound token with a proof whose claims are changed."""
    return Sent(BOUND, b"DPoP", lambda: (key.proof("GET", URL, token, **changes),))


def proof_headed(**changes: Any) -> Sent:
    return Sent(BOUND, b"DPoP", lambda: (KEY.sign(KEY.header(**changes), {}),))


TOKENS: dict[str, Sent] = {
    "too-large": saying(scope="x" * 13_000),
    "format": Sent(b"a.b.c.d.e"),
    "encoding": Sent(b"abcde." + good_token().split(b".", 1)[1]),
    "json": Sent(sign(header(), b"{")),
    "header": with_header(kid=1),
    "critical": with_header(crit=["exp"]),
    "embedded-key": with_header(jku="https://attacker.example/jwks"),
    "type": with_header(typ="logout+jwt"),
    "other-use": Sent(sign(header(typ="JWT"), claims(nonce="n")), issuer=WITH_JWT),
    "algorithm": with_header(alg="none"),
    "issuer": saying(iss="https://attacker.example/"),
    "unknown-key": with_header(kid="../../dev/null"),
    "ambiguous-key": Sent(with_header(kid=ABSENT).token, keys=TWO_KEYS),
    "signature": Sent(sign(header(alg="ES256", kid="ec-1"), claims(), ec_key("attacker"))),
    "expiry": saying(exp=ABSENT),
    "expired": saying(exp=claims()["iat"]),
    "lifetime": saying(exp=claims()["iat"] + 200_000),
    "not-yet": saying(nbf=claims()["exp"]),
    "issued-at": saying(iat=ABSENT),
    "audience": saying(aud="https://other.example"),
    "subject": saying(sub=""),
    "client": saying(azp="other-app"),
    "token-id": saying(jti=ABSENT),
    "scope": saying(scope=["read:timesheets"]),
    "roles": saying(roles="payroll"),
    "groups": Sent(good_token(_claim_names={"groups": "src1"}), issuer=WITH_GROUPS),
    "inactive": Sent(b"opaque"),
    "kind": saying(sub="other@clients"),
    "sender-constrained": saying(cnf={"kid": "1"}),
    "bound-as-bearer": Sent(BOUND),
    "unbound-as-dpop": Sent(good_token(), b"DPoP"),
    "dpop-required": Sent(good_token(), dpop_required=True),
    "other-key": proving(key=OTHER),
    "other-token": proving(b"another.access.token"),
    "no-certificate": Sent(CERTIFIED),
    "other-certificate": Sent(CERTIFIED, certificate=b"another"),
    "authentication": saying(auth_time="yesterday"),
    "actors": saying(act="assistant"),
    **{
        f"key-{why}": Sent(
            sign(header(kid="weak"), claims()),
            keys=jwks(key, jwk(rsa_key(), "rsa-1")),
            issuer=issuer(algorithms=frozenset({"RS256", "ES256", "Ed25519"})),
        )
        for key, why in WEAK.values()
    },
}
PROOFS: dict[str, Sent] = {
    "headers": Sent(BOUND, b"DPoP"),
    "format": Sent(BOUND, b"DPoP", lambda: (b"proof",)),
    "type": proof_headed(typ="JWT"),
    "extensions": proof_headed(crit=["exp"]),
    "algorithm": proof_headed(alg="none"),
    "key": proof_headed(jwk={"kty": "oct", "k": "AAAA"}),
    "signature": Sent(BOUND, b"DPoP", lambda: (OTHER.sign(KEY.header(), {}),)),
    "method": proving(htm="POST"),
    "target": proving(htu="https://attacker.example/v1/timesheets"),
    "proof-id": proving(jti=""),
    "time": proving(iat=1_000_000_000),
    "token-hash": proving(ath=ABSENT),
    "nonce": proving(nonce=1),
    "replayed": replace(proving(jti="the-same"), times=2),
}
# Told by the gate, which reads it with the facts of a decision.
DECIDED = {"revoked"}


async def answer(sent: Sent, redis_url: str) -> None:
    """The verifier's final refusal, wired as the service wires it, but for the keys, which are held in memory."""
    senders = build_senders(
        redis_url=redis_url,
        public_url="https://api.example",
        secret="s" * 32,
        algorithms=("ES256",),
        nonce_required=False,
        dpop_required=sent.dpop_required,
        certificate_header="Client-Cert",
        trusted_proxies=["127.0.0.1"],
    )
    async with site() as here:
        here.answers["/introspect"] = ok(b'{"active":false}')
        asked = replace(SECRET, url=f"{here.origin}/introspect") if sent.token == b"opaque" else None
        tokens = verifier(replace(sent.issuer, introspection=asked), body=sent.keys, sender=senders.check)
        try:
            for _ in range(sent.times - 1):
                await tokens.verify(request(sent))
            await tokens.verify(request(sent))
        finally:
            await tokens.close()
            assert senders.used_proofs is not None
            await senders.used_proofs.close()


def request(sent: Sent) -> RequestCredentials:
    return RequestCredentials((sent.scheme + b" " + sent.token,), sent.proofs(), "GET", URL, sent.certificate)


@pytest.mark.parametrize("cause", sorted(refusals.SENTENCES.keys() - DECIDED))
async def test_each_refusal_of_a_token_is_raised(cause: str, redis_url: str) -> None:
    with pytest.raises(InvalidToken) as caught:
        await answer(TOKENS[cause], redis_url)
    assert (caught.value.cause, caught.value.public) == (cause, refusals.SENTENCES[cause])


@pytest.mark.parametrize("cause", sorted(refusals.PROOF_SENTENCES))
async def test_each_refusal_of_a_proof_is_raised(cause: str, redis_url: str) -> None:
    with pytest.raises(InvalidProof) as caught:
        await answer(PROOFS[cause], redis_url)
    assert (caught.value.cause, caught.value.public) == (f"proof-{cause}", refusals.PROOF_SENTENCES[cause])


@pytest.mark.parametrize("cause", sorted(DECIDED))
async def test_each_refusal_that_the_decision_finds_is_raised(cause: str, house: House) -> None:
    adam = house.caller("adam", scopes=frozenset({"manage:tokens"}), roles=frozenset({"role:administrator"}))
    await Revocations(house.gate, 3600, 30).revoke(
        adam, RevocationRequest(RevocationKind.PERSON, str(house.people["ana"]), None)
    )
    with pytest.raises(InvalidToken) as caught:
        await house.timesheets.list(house.caller("ana"), Filters())
    assert (caught.value.cause, caught.value.public) == (cause, refusals.SENTENCES[cause])


async def test_correct_values_are_accepted_in_every_case(redis_url: str) -> None:
    await answer(Sent(good_token()), redis_url)
    await answer(proving(), redis_url)
    await answer(replace(proving(), dpop_required=True), redis_url)
    await answer(Sent(CERTIFIED, certificate=CERTIFICATE), redis_url)
    await answer(replace(TOKENS["other-use"], token=sign(header(typ="JWT"), claims())), redis_url)
    await answer(replace(TOKENS["groups"], token=good_token(groups=["staff"])), redis_url)


def test_no_case_is_for_a_cause_that_is_gone() -> None:
    assert TOKENS.keys() | DECIDED == refusals.SENTENCES.keys()
    assert PROOFS.keys() == refusals.PROOF_SENTENCES.keys()
