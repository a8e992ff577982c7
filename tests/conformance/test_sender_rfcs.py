"""Examples and rules as the RFCs print them: 7638, 8037, 8705, 9440 and 9449."""

from __future__ import annotations

import base64
from typing import TYPE_CHECKING, Any

import pytest

from service.errors import InsufficientScope, InvalidProof, InvalidToken, MissingToken, NonceRequired
from service.identity.challenges import build_challenge
from service.identity.credentials import RequestCredentials
from service.identity.dpop import Proofs
from service.identity.jwk_set import digest64, thumbprint
from service.identity.mtls import ClientCertificates
from service.identity.nonces import Nonces

if TYPE_CHECKING:
    from service.errors import TimewardenError

RFC7638_KEY = {
    "kty": "RSA",
    "n": "0vx7agoebGcQSuuPiLJXZptN9nndrQmbXEps2aiAFbWhM78LhWx4cbbfAAtVT86zwu1RK7aPFFxuhDR1L6tSoc_BJECPebWKRXjBZCiFV4n3"
    "oknjhMstn64tZ_2W-5JsGY4Hc5n9yBXArwl93lqt7_RN5w6Cf0h4QyQ5v-65YGjQR0_FDW2QvzqY368QQMicAtaSqzs8KJZgnYb9c7d0zgdAZHzu6"
    "qMQvRL5hajrn1n91CbOpbISD08qNLyrdkt-bFTWhAI4vMQFh6WeZu0fM4lFd2NcRwr3XPksINHaQ-G_xBniIqbw0Ls1jF44-csFCur-kEgU8awapJ"
    "zKnqDKgw",
    "e": "AQAB",
    "alg": "RS256",
    "kid": "2011-04-29",
}
RFC8037_KEY = {"kty": "OKP", "crv": "Ed25519", "x": "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}
RFC9449_KEY = {
    "kty": "EC",
    "x": "l8tFrhx-34tV3hRICRDY9zCkDlpBhF42UQUfWVAWBFs",
    "y": "9VE4jf_Ok_o64zbTTlcuNJajHmt6v9TDVrU0CdvGRDA",
    "crv": "P-256",
}
RFC9449_JKT = "0ZcOCORZNYy-DWpqq30jZyJGHTN0d2HglBV3uiguA4I"
RFC9449_TOKEN = b"Kz~8mXK1EalYznwH-LC-1fBAo.4Ljp~zsPE_NeO.gxU"
RFC9449_ATH = "fUHyO2r2Z3DZ53EsNrWBb0xWXoaNy59IiKCAqksmQEo"
RFC9449_HEADER = (
    "eyJ0eXAiOiJkcG9wK2p3dCIsImFsZyI6IkVTMjU2IiwiandrIjp7Imt0eSI6IkVDIiwieCI6Imw4dEZyaHgtMzR0VjNoUklDUkRZOXpDa0RscEJo"
    "RjQyVVFVZldWQVdCRnMiLCJ5IjoiOVZFNGpmX09rX282NHpiVFRsY3VOSmFqSG10NnY5VERWclUwQ2R2R1JEQSIsImNydiI6IlAtMjU2In19"
)
# Figure 12, the request for a protected resource, and figure 2, which is for the token endpoint and has no `ath`.
RFC9449_PROOF = (
    RFC9449_HEADER + ".eyJqdGkiOiJlMWozVl9iS2ljOC1MQUVCIiwiaHRtIjoiR0VUIiwiaHR1IjoiaHR0cHM6Ly9yZXNvdXJjZS5leGFtcGxlLm9y"
    "Zy9wcm90ZWN0ZWRyZXNvdXJjZSIsImlhdCI6MTU2MjI2MjYxOCwiYXRoIjoiZlVIeU8ycjJaM0RaNTNFc05yV0JiMHhXWG9hTnk1OUlpS0NBcWtz"
    "bVFFbyJ9.2oW9RP35yRqzhrtNP86L-Ey71EOptxRimPPToA1plemAgR6pxHF8y6-yqyVnmcw6Fy1dqd-jfxSYoMxhAJpLjA"
).encode()
RFC9449_TOKEN_PROOF = (
    RFC9449_HEADER + ".eyJqdGkiOiItQndDM0VTYzZhY2MybFRjIiwiaHRtIjoiUE9TVCIsImh0dSI6Imh0dHBzOi8vc2VydmVyLmV4YW1wbGUuY29t"
    "L3Rva2VuIiwiaWF0IjoxNTYyMjYyNjE2fQ.2-GxA6T8lP4vfrg8v-FdWP0A0zdrj8igiMLvqRMUvwnQg4PtFLbdLXiOSsX0x7NVY-FNyJK70nfbV3"
    "7xRZT3Lg"
).encode()
RFC9449_URL = "https://resource.example.org/protectedresource"
RFC8705_CERTIFICATE = (
    "MIIBBjCBrAIBAjAKBggqhkjOPQQDAjAPMQ0wCwYDVQQDDARtdGxzMB4XDTE4MTAxODEyMzcwOVoXDTIyMDUwMjEyMzcwOVowDzENMAsGA1UEAwwEb"
    "XRsczBZMBMGByqGSM49AgEGCCqGSM49AwEHA0IABNcnyxwqV6hY8QnhxxzFQ03C7HKW9OylMbnQZjjJ/Au08/coZwxS7LfA4vOLS9WuneIXhbGGWv"
    "sDSb0tH6IxLm8wCgYIKoZIzj0EAwIDSQAwRgIhAP0RC1E+vwJD/D1AGHGzuri+hlV/PpQEKTWUVeORWz83AiEA5x2eXZOVbUlJSGQgjwD5vaUaKlL"
    "R50Q2DmFfQj1L+SY="
)


async def first(_key: str, _proof_id: str, _seconds: float) -> bool:
    return True


def proofs(now: float = 1562262620.0) -> Proofs:
    return Proofs(first, Nonces("s" * 32), algorithms=["ES256"], clock=lambda: now)


@pytest.mark.parametrize(
    ("key", "expected"),
    [
        (RFC7638_KEY, "NzbLsXh8uDCcd-6MNwXF4W_7noWXFZAfHkxZsRGC9Xs"),
        (RFC8037_KEY, "kPrK_qmxVWaYVA9wwBF6Iuo3vVzz7TxHCTwXBygrS4k"),
        (RFC9449_KEY, RFC9449_JKT),
    ],
    ids=["RFC 7638 section 3.1", "RFC 8037 A.3", "RFC 9449 figure 9"],
)
def test_the_thumbprints_are_those_of_the_rfcs(key: dict[str, str], expected: str) -> None:
    assert thumbprint(key) == expected
    assert thumbprint(dict(reversed(key.items()))) == expected


def test_the_hash_of_the_access_token_is_that_of_rfc_9449_section_7_1() -> None:
    assert digest64(RFC9449_TOKEN) == RFC9449_ATH


async def test_the_proof_of_rfc_9449_figure_12_is_accepted_only_for_its_request() -> None:
    request = RequestCredentials((), (RFC9449_PROOF,), "GET", RFC9449_URL)
    await proofs().check(request, RFC9449_TOKEN, RFC9449_JKT)
    for method, url in (("POST", RFC9449_URL), ("GET", RFC9449_URL + "/other"), ("GET", "https://other.example/")):
        with pytest.raises(InvalidProof):
            await proofs().check(RequestCredentials((), (RFC9449_PROOF,), method, url), RFC9449_TOKEN, RFC9449_JKT)
    with pytest.raises(InvalidToken):
        await proofs().check(request, b"another", RFC9449_JKT)
    with pytest.raises(InvalidToken):
        await proofs().check(request, RFC9449_TOKEN, thumbprint(RFC8037_KEY))
    with pytest.raises(InvalidProof):
        await proofs(1562263000.0).check(request, RFC9449_TOKEN, RFC9449_JKT)


async def test_the_proof_for_the_token_endpoint_is_none_for_a_resource() -> None:
    request = RequestCredentials((), (RFC9449_TOKEN_PROOF,), "POST", "https://server.example.com/token")
    with pytest.raises(InvalidProof, match="does not name the access token"):
        await proofs().check(request, RFC9449_TOKEN, RFC9449_JKT)


def test_the_certificate_of_rfc_8705_appendix_a_has_the_thumbprint_of_its_token() -> None:
    passed = [(b"client-cert", f":{RFC8705_CERTIFICATE}:".encode())]
    der = ClientCertificates("Client-Cert", ["127.0.0.1"]).read("127.0.0.1", passed)
    assert der == base64.b64decode(RFC8705_CERTIFICATE)
    assert digest64(der) == "A4DtL2JmUMhAsvJj5tKyn64SqzmuXbMrJa0n761y5v0"


DPOP: dict[str, Any] = {"realm": "example", "dpop_algorithms": ["ES256", "PS256"]}
BESIDE = ', DPoP algs="ES256 PS256"'
CHALLENGES: dict[str, tuple[TimewardenError, dict[str, Any], str]] = {
    "no credentials, no code (9449 section 7.2)": (MissingToken(), {}, 'Bearer realm="example"' + BESIDE),
    "no credentials, where nothing but DPoP will do (figure 14)": (
        MissingToken(),
        {"dpop_required": True},
        'DPoP realm="example", algs="ES256 PS256"',
    ),
    "an invalid token as bearer": (
        InvalidToken("Expired"),
        {"scheme": "bearer"},
        'Bearer realm="example", error="invalid_token", error_description="Expired"' + BESIDE,
    ),
    "an invalid token as DPoP (figure 15)": (
        InvalidToken("Invalid DPoP key binding"),
        {"scheme": "dpop"},
        'DPoP realm="example", error="invalid_token", error_description="Invalid DPoP key binding", algs="ES256 PS256"',
    ),
    "a bad proof (section 7.1)": (
        InvalidProof("No"),
        {"scheme": "dpop"},
        'DPoP realm="example", error="invalid_dpop_proof", error_description="No", algs="ES256 PS256"',
    ),
    "a nonce is wanted (section 9)": (
        NonceRequired("Resource server requires nonce in DPoP proof"),
        {"scheme": "dpop"},
        (
            'DPoP realm="example", error="use_dpop_nonce",'
            ' error_description="Resource server requires nonce in DPoP proof", algs="ES256 PS256"'
        ),
    ),
    "a scope that is lacking, as DPoP": (
        InsufficientScope(["read:timesheets"]),
        {"scheme": "dpop"},
        (
            'DPoP realm="example", error="insufficient_scope", '
            'error_description="This needs the scope read:timesheets", scope="read:timesheets", algs="ES256 PS256"'
        ),
    ),
    "a scope that is lacking, as bearer": (
        InsufficientScope(["read:timesheets"]),
        {"scheme": "bearer"},
        (
            'Bearer realm="example", error="insufficient_scope", '
            'error_description="This needs the scope read:timesheets", scope="read:timesheets"'
        ),
    ),
    "DPoP where it is not offered": (
        InvalidToken("No"),
        {"scheme": "dpop", "dpop_algorithms": []},
        'Bearer realm="example", error="invalid_token", error_description="No"',
    ),
}


@pytest.mark.parametrize(("error", "options", "value"), CHALLENGES.values(), ids=CHALLENGES)
def test_each_challenge_is_in_the_scheme_of_the_request_and_offers_dpop(
    error: TimewardenError, options: dict[str, Any], value: str
) -> None:
    assert build_challenge(error, **{**DPOP, **options}) == value
