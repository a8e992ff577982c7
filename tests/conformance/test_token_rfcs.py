"""Examples and rules as the RFCs print them: 8037 and 9864 (Ed25519), 7662 and 9701 (introspection)."""

from __future__ import annotations

import pytest

from service.errors import InvalidToken
from service.identity.issuer import Introspection
from service.identity.jwk_set import read_jwk_set
from service.identity.jws import check_signature
from tests.token_forge import bearer, claims, ed_key, header, issuer, jwk, jwks, sign, verifier

RFC8037_KEY = {"kty": "OKP", "crv": "Ed25519", "x": "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}
RFC8037_A4 = (
    b"eyJhbGciOiJFZERTQSJ9.RXhhbXBsZSBvZiBFZDI1NTE5IHNpZ25pbmc."
    b"hgyY0il_MGCjP0JzlnLWG1PPOt7-09PGcvMg3AIbQR6dWbhijcNR4ki4iylGjg5BhVsPt9g7sVvpAr_MuM0KAg"
)
RFC7662_ACTIVE = {
    "active": True,
    "client_id": "l238j323ds-23ij4",
    "username": "jdoe",
    "scope": "read write dolphin",
    "sub": "Z5O3upPC88QrAjx00dis",
    "aud": "https://protected.example.net/resource",
    "iss": "https://server.example.com/",
    "exp": 1419356238,
    "iat": 1419350238,
    "extension_field": "twenty-seven",
}


def test_the_signed_example_of_rfc_8037_verifies_and_fails_with_one_byte_changed() -> None:
    keys = read_jwk_set(jwks(RFC8037_KEY), ["EdDSA"]).keys
    check_signature(RFC8037_A4, keys, "EdDSA")
    with pytest.raises(InvalidToken):
        check_signature(RFC8037_A4.replace(b"RXhh", b"RXhi"), keys, "EdDSA")
    with pytest.raises(InvalidToken):
        check_signature(RFC8037_A4.replace(b".hgyY", b".hgyZ"), keys, "EdDSA")


@pytest.mark.parametrize("crv", ["Ed448", "X25519", "P-256", "ed25519"])
def test_no_other_curve_stands_for_ed25519(crv: str) -> None:
    assert read_jwk_set(jwks({**RFC8037_KEY, "crv": crv}), ["EdDSA", "Ed25519"]).keys == ()


async def test_the_name_of_rfc_9864_is_accepted_and_a_key_with_an_algorithm_serves_only_that_one() -> None:
    both = issuer(algorithms=frozenset({"Ed25519", "EdDSA"}))
    for named in ("Ed25519", "EdDSA"):
        tokens = verifier(both, body=jwks(jwk(ed_key(), "ed-1", alg=named)))
        for used in ("Ed25519", "EdDSA"):
            token = sign(header(alg=used, kid="ed-1"), claims(), ed_key())
            if used == named:
                await tokens.verify(bearer(token))
            else:
                with pytest.raises(InvalidToken) as caught:
                    await tokens.verify(bearer(token))
                assert caught.value.cause == "unknown-key"


async def test_the_active_example_of_rfc_7662_is_accepted_within_its_time_and_the_inactive_one_is_not() -> None:
    class FakeIntrospector:
        answer: dict[str, object] = RFC7662_ACTIVE

        async def introspect(self, token: bytes, /) -> dict[str, object]:
            assert token == b"2YotnFZFEjr1zCsicMWpAA"
            return self.answer

        async def close(self) -> None:
            """Nothing is held open."""

    theirs = issuer(
        issuer="https://server.example.com/",
        audience="https://protected.example.net/resource",
        introspection=Introspection("https://server.example.com/introspect", "s6BhdRkqt3", client_secret="gX1fBat3bV"),
    )
    desk = FakeIntrospector()
    tokens = verifier(theirs, introspector=lambda _issuer, _keys: desk, clock=lambda: 1419350300.0)
    asker = await tokens.verify(bearer("2YotnFZFEjr1zCsicMWpAA"))
    assert (asker.subject, asker.client) == ("Z5O3upPC88QrAjx00dis", "l238j323ds-23ij4")
    assert asker.scopes == {"read", "write", "dolphin"}
    desk.answer = {"active": False}
    tokens = verifier(theirs, introspector=lambda _issuer, _keys: desk)
    with pytest.raises(InvalidToken):
        await tokens.verify(bearer("2YotnFZFEjr1zCsicMWpAA"))
