"""A bound token works for its holder alone; a binding that cannot be checked is a refusal, never passed over."""

from __future__ import annotations

from typing import Any

import pytest

from service.errors import InvalidProof, InvalidToken, Misconfigured, ReplayStoreUnavailable
from service.identity.credentials import RequestCredentials
from service.identity.dpop import Proofs
from service.identity.jwk_set import digest64
from service.identity.nonces import Nonces
from service.identity.sender import SenderConstraint, build_senders
from tests.dpop_forge import proof_key
from tests.token_forge import good_token, verifier

URL = "https://api.example/v1/timesheets"
TOKEN = b"an.access.token"
CERTIFICATE = b"\x30\x03\x02\x01\x01"
KEY = proof_key()
BY_KEY = {"jkt": KEY.thumbprint}
BY_CERTIFICATE = {"x5t#S256": digest64(CERTIFICATE)}


async def first(_key: str, _proof_id: str, _seconds: float) -> bool:
    return True


def constraint(*, dpop: bool = True, **options: Any) -> SenderConstraint:
    proofs = Proofs(first, Nonces("s" * 32), algorithms=["ES256"]) if dpop else None
    return SenderConstraint(proofs, **{"certificates": True, **options})


def request(*, proof: bool = True, certificate: bytes | None = CERTIFICATE, token: bytes = TOKEN) -> RequestCredentials:
    proofs = (KEY.proof("GET", URL, token),) if proof else ()
    return RequestCredentials((), proofs, "GET", URL, certificate)


GOOD: dict[str, tuple[str, dict[str, object]]] = {
    "unbound, as bearer": ("bearer", {}),
    "bound to a key, as DPoP": ("dpop", {**BY_KEY}),
    "bound to a certificate, as bearer": ("bearer", {**BY_CERTIFICATE}),
    "bound to both, as DPoP": ("dpop", {**BY_KEY, **BY_CERTIFICATE}),
}


@pytest.mark.parametrize(("scheme", "cnf"), GOOD.values(), ids=GOOD)
async def test_proved_possession_is_accepted(scheme: str, cnf: dict[str, object]) -> None:
    await constraint()(scheme, TOKEN, cnf, request())


OTHER = digest64(b"other")
BAD: dict[str, tuple[str, dict[str, object], str]] = {
    "bound to a key, as bearer": ("bearer", {**BY_KEY}, "bound-as-bearer"),
    "bound to both, as bearer": ("bearer", {**BY_KEY, **BY_CERTIFICATE}, "bound-as-bearer"),
    "unbound, as DPoP": ("dpop", {}, "unbound-as-dpop"),
    "bound to a certificate alone, as DPoP": ("dpop", {**BY_CERTIFICATE}, "unbound-as-dpop"),
    "bound to another key": ("dpop", {"jkt": OTHER}, "other-key"),
    "bound to another certificate": ("bearer", {"x5t#S256": OTHER}, "other-certificate"),
    "bound to this key and another certificate": ("dpop", {**BY_KEY, "x5t#S256": OTHER}, "other-certificate"),
    "bound to this certificate and another key": ("dpop", {**BY_CERTIFICATE, "jkt": OTHER}, "other-key"),
    "a whole key": ("dpop", {"jwk": KEY.jwk}, "sender-constrained"),
    "a key by name": ("bearer", {"kid": "1"}, "sender-constrained"),
    "something new beside a good key": ("dpop", {**BY_KEY, "new": 1}, "sender-constrained"),
    "something new beside a good certificate": ("bearer", {**BY_CERTIFICATE, "x5t": "AA"}, "sender-constrained"),
    "the right member in other letters": ("bearer", {"X5T#S256": digest64(CERTIFICATE)}, "sender-constrained"),
    "a thumbprint that is a list": ("dpop", {"jkt": [KEY.thumbprint]}, "sender-constrained"),
    "a thumbprint that is null": ("dpop", {"jkt": None}, "sender-constrained"),
    "a thumbprint beyond ASCII": ("dpop", {"jkt": "\u00e9"}, "sender-constrained"),
    "a certificate that is a number": ("bearer", {"x5t#S256": 1}, "sender-constrained"),
    "a certificate beyond ASCII": ("bearer", {"x5t#S256": "\u00e9"}, "sender-constrained"),
    "a padded certificate": ("bearer", {"x5t#S256": digest64(CERTIFICATE) + "="}, "other-certificate"),
}


@pytest.mark.parametrize(("scheme", "cnf", "cause"), BAD.values(), ids=BAD)
async def test_what_is_not_proved_or_cannot_be_checked_is_refused(
    scheme: str, cnf: dict[str, object], cause: str
) -> None:
    with pytest.raises(InvalidToken) as caught:
        await constraint()(scheme, TOKEN, cnf, request())
    assert caught.value.cause == cause


async def test_a_certificate_bound_token_without_a_certificate_is_refused() -> None:
    with pytest.raises(InvalidToken) as caught:
        await constraint()("bearer", TOKEN, BY_CERTIFICATE, request(certificate=None))
    assert caught.value.cause == "no-certificate"


async def test_a_key_bound_token_without_a_proof_is_refused() -> None:
    with pytest.raises(InvalidProof):
        await constraint()("dpop", TOKEN, BY_KEY, request(proof=False))


@pytest.mark.parametrize(
    ("scheme", "cnf", "options"),
    [
        ("dpop", BY_KEY, {"dpop": False}),
        ("bearer", BY_CERTIFICATE, {"certificates": False}),
        ("dpop", {**BY_KEY, **BY_CERTIFICATE}, {"certificates": False}),
        ("dpop", {**BY_KEY, **BY_CERTIFICATE}, {"dpop": False}),
    ],
)
async def test_without_configuration_a_bound_token_is_refused(
    scheme: str, cnf: dict[str, object], options: dict[str, Any]
) -> None:
    with pytest.raises(InvalidToken) as caught:
        await constraint(**options)(scheme, TOKEN, cnf, request())
    assert caught.value.cause == "sender-constrained"


@pytest.mark.parametrize("cnf", [{}, BY_CERTIFICATE])
async def test_other_tokens_are_refused_if_dpop_is_required(cnf: dict[str, object]) -> None:
    with pytest.raises(InvalidToken) as caught:
        await constraint(dpop_required=True)("bearer", TOKEN, cnf, request())
    assert caught.value.cause == "dpop-required"
    await constraint(dpop_required=True)("dpop", TOKEN, BY_KEY, request())


async def test_possession_is_checked_at_every_use_of_a_cached_token() -> None:
    token = good_token(cnf=BY_KEY)
    tokens = verifier(sender=constraint())
    good = RequestCredentials((b"DPoP " + token,), (KEY.proof("GET", URL, token),), "GET", URL)
    await tokens.verify(good)
    await tokens.verify(good)
    with pytest.raises(InvalidProof):
        await tokens.verify(RequestCredentials((b"DPoP " + token,), (), "GET", URL))
    with pytest.raises(InvalidToken):
        await tokens.verify(RequestCredentials((b"Bearer " + token,), good.dpop, "GET", URL))


async def test_a_store_that_does_not_answer_affects_only_tokens_with_proofs() -> None:
    async def down(_key: str, _proof_id: str, _seconds: float) -> bool:
        raise ReplayStoreUnavailable

    check = SenderConstraint(Proofs(down, Nonces("s" * 32), algorithms=["ES256"]), certificates=True)
    with pytest.raises(ReplayStoreUnavailable):
        await check("dpop", TOKEN, BY_KEY, request())
    await check("bearer", TOKEN, {}, request())
    await check("bearer", TOKEN, BY_CERTIFICATE, request())
    with pytest.raises(InvalidProof):
        await check("dpop", TOKEN, BY_KEY, request(proof=False))


CONFIGURED: dict[str, Any] = {
    "redis_url": "redis://127.0.0.1:1/0",
    "public_url": "https://api.example",
    "secret": "s" * 32,
    "algorithms": ("ES256",),
    "nonce_required": False,
    "dpop_required": False,
    "certificate_header": "Client-Cert",
    "trusted_proxies": ("10.0.0.0/8",),
}


@pytest.mark.parametrize("without", ["redis_url", "public_url", "algorithms"])
def test_dpop_is_offered_only_if_proofs_can_be_checked(without: str) -> None:
    assert build_senders(**CONFIGURED).algorithms == ("ES256",)
    changed = {**CONFIGURED, without: type(CONFIGURED[without])()}
    assert build_senders(**changed).algorithms == ()


def test_a_certificate_header_without_proxies_stops_the_start() -> None:
    with pytest.raises(Misconfigured):
        build_senders(**{**CONFIGURED, "trusted_proxies": ()})
