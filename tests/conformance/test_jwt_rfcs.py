"""Examples and rules as the RFCs print them: 6750, 7515, 7517, 7519, 8725, 9068, 9470 and 9728."""

from __future__ import annotations

import json
from typing import Any

import pytest

from service.errors import (
    Forbidden,
    InsufficientScope,
    InvalidToken,
    KeysUnavailable,
    MalformedCredentials,
    MalformedRequest,
    MissingToken,
    StepUpNeeded,
    TimewardenError,
)
from service.identity.challenges import build_challenge
from service.identity.jwk_set import read_jwk_set
from service.identity.jws import check_signature, read_token
from service.identity.principal import PrincipalKind
from tests.token_forge import bearer, claims, header, issuer, jwk, jwks, rsa_key, sign, verifier

RFC7515_PAYLOAD = b"eyJpc3MiOiJqb2UiLA0KICJleHAiOjEzMDA4MTkzODAsDQogImh0dHA6Ly9leGFtcGxlLmNvbS9pc19yb290Ijp0cnVlfQ"
RFC7515_A2_KEY = {
    "kty": "RSA",
    "n": "ofgWCuLjybRlzo0tZWJjNiuSfb4p4fAkd_wWJcyQoTbji9k0l8W26mPddxHmfHQp-Vaw-4qPCJrcS2mJPMEzP1Pt0Bm4d4QlL-yRT-SFd2lZ"
    "S-p"
    "CgNMsD1W_YpRPEwOWvG6b32690r2jZ47soMZo9wGzjb_7OMg0LOL-bSf63kpaSHSXndS5z5rexMdbBYUsLA9e-KXBd"
    "QOS-UTo7WTBEMa2R2CapHg665xs"
    "mtdVMTBQY4uDZlxvb3qCo5ZwKh9kG4LT6_I5IhlJH7aGhyxXFvUK-DWNmoudF8NAco9_h9iaGNj8q2ethFkMLs91kzk2PAcDTW9gb54h4FRWyuXpoQ",
    "e": "AQAB",
}
RFC7515_A2_SIGNATURE = (
    b"cC4hiUPoj9Eetdgtv3hF80EGrhuB__dzERat0XF9g2VtQgr9PJbu3XOiZj5RZmh7AAuHIm4Bh-0Qc_lF5YKt_O8W2F"
    b"p5jujGbds9uJdbF9CUAr7t1dn"
    b"ZcAcQjbKBYNX4BAynRFdiuB--f_nZLgrnbyTyWzO75vRK5h6xBArLIARNPvkSjtQBMHlb1L07Qe7K0GarZRmB_eSN9"
    b"383LcOLn6_dO--xi12jzDwusC-"
    b"eOkHWEsqtFZESc6BfI7noOPqvhJ1phCnvWh6IeYI2w9QOYEUipUTI8np6LbgGY9Fs98rqVt5AXLIhWkWywlVmtVrBp0igcN_IoypGlUPQGe77Rw"
)
RFC7515_A3_KEY = {
    "kty": "EC",
    "crv": "P-256",
    "x": "f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU",
    "y": "x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0",
}
RFC7515_A3_SIGNATURE = b"DtEhU3ljbEg8L38VWAfUAqOyKAM6-Xx-F4GawxaepmXFCgfTjDxw5djxLa8ISlSApmWQxfKTUJqPP3-Kg6NU1Q"
RFC7517_A1: list[dict[str, Any]] = [
    {
        "kty": "EC",
        "crv": "P-256",
        "x": "MKBCTNIcKUSDii11ySs3526iDZ8AiTo7Tu6KPAqv7D4",
        "y": "4Etl6SRW2YiLUrN5vfvVHuhp7x8PxltmWWlbbM4IFyM",
        "use": "enc",
        "kid": "1",
    },
    {
        "kty": "RSA",
        "n": "0vx7agoebGcQSuuPiLJXZptN9nndrQmbXEps2aiAFbWhM78LhWx4cbbfAAtVT86zwu1RK7aPFFxuhDR1L6tSo"
        "c_BJECPebWKRXjBZCiFV4n3o"
        "knjhMstn64tZ_2W-5JsGY4Hc5n9yBXArwl93lqt7_RN5w6Cf0h4QyQ5v-65YGjQR0_FDW2QvzqY368QQMicAtaSqzs"
        "8KJZgnYb9c7d0zgdAZHzu6qMQ"
        "vRL5hajrn1n91CbOpbISD08qNLyrdkt-bFTWhAI4vMQFh6WeZu0fM4lFd2NcRwr3XPksINHaQ-G_xBniIqbw0Ls1jF"
        "44-csFCur-kEgU8awapJzKnqD"
        "Kgw",
        "e": "AQAB",
        "alg": "RS256",
        "kid": "2011-04-29",
    },
]
UNSECURED = b"eyJhbGciOiJub25lIn0." + RFC7515_PAYLOAD + b"."
HS256 = b"eyJ0eXAiOiJKV1QiLA0KICJhbGciOiJIUzI1NiJ9." + RFC7515_PAYLOAD + b".dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk"


@pytest.mark.parametrize(
    ("head", "alg", "key", "signature"),
    [
        (b"eyJhbGciOiJSUzI1NiJ9", "RS256", RFC7515_A2_KEY, RFC7515_A2_SIGNATURE),
        (b"eyJhbGciOiJFUzI1NiJ9", "ES256", RFC7515_A3_KEY, RFC7515_A3_SIGNATURE),
    ],
    ids=["RFC 7515 A.2", "RFC 7515 A.3"],
)
def test_the_signed_examples_verify_and_fail_with_one_byte_changed(
    head: bytes, alg: str, key: dict[str, str], signature: bytes
) -> None:
    token = head + b"." + RFC7515_PAYLOAD + b"." + signature
    held = read_jwk_set(jwks(key), [alg]).keys
    assert read_token(token).unverified_claims["iss"] == "joe"
    check_signature(token, held, alg)
    with pytest.raises(InvalidToken):
        check_signature(token.replace(b"cnVlfQ", b"cnVlfA"), held, alg)
    with pytest.raises(InvalidToken):
        check_signature(token.replace(b"." + signature[:1], b".A"), held, alg)


async def test_the_examples_without_or_with_a_shared_secret_are_refused() -> None:
    tokens = verifier(issuer(issuer="https://joe"))
    for token in (UNSECURED, HS256):
        with pytest.raises(InvalidToken):
            await tokens.verify(bearer(token))


def test_of_the_example_key_set_only_the_key_for_signatures_is_used() -> None:
    keys = read_jwk_set(jwks(*RFC7517_A1), ["RS256", "ES256", "PS256"]).keys
    assert [(key.kid, sorted(key.by_algorithm)) for key in keys] == [("2011-04-29", ["RS256"])]


def test_private_and_secret_keys_of_a_set_are_never_used() -> None:
    private = [{**key, "d": "870MB6gfuTJ4HtUnUvYMyJpr5eUZNP4Bk43bVdj3eAE"} for key in (RFC7515_A2_KEY, RFC7515_A3_KEY)]
    secret = {"kty": "oct", "alg": "A128KW", "k": "GawgguFyGrWKav7AX4VKUg"}
    assert read_jwk_set(jwks(*private, secret), ["RS256", "ES256"]).keys == ()


def test_members_and_keys_that_are_not_understood_are_ignored() -> None:
    body = json.dumps({"keys": [{**RFC7515_A3_KEY, "new": 1}, {"kty": "NEW"}], "more": {}}).encode()
    assert len(read_jwk_set(body, ["ES256"]).keys) == 1


async def test_an_algorithm_is_bound_to_its_key_as_rfc_8725_section_3_1_asks() -> None:
    tokens = verifier(issuer(algorithms=frozenset({"RS256", "PS256"})), body=jwks(jwk(rsa_key(), "rsa-1", alg="RS256")))
    await tokens.verify(bearer(sign(header(), claims())))
    with pytest.raises(InvalidToken):
        await tokens.verify(bearer(sign(header(alg="PS256"), claims())))


async def test_the_example_of_rfc_9068_is_accepted_within_its_time() -> None:
    name = "https://authorization-server.example.com/"
    example = {
        "iss": name,
        "sub": "5ba552d67",
        "aud": "https://rs.example.com/",
        "exp": 1639528912,
        "iat": 1618354090,
        "jti": "dbe39bf3a3ba4238a513f51d6e1691c4",
        "client_id": "s6BhdRkqt3",
        "scope": "openid profile reademail",
    }
    theirs = issuer(issuer=name, audience="https://rs.example.com/", max_lifetime=366 * 86_400)
    tokens = verifier(theirs, body=jwks(jwk(rsa_key(), "RjEwOwOA")), clock=lambda: 1618354100.0)
    token = sign(header(typ="at+JWT", kid="RjEwOwOA"), example)
    asker = await tokens.verify(bearer(token))
    assert (asker.kind, asker.subject, asker.client) == (PrincipalKind.USER, "5ba552d67", "s6BhdRkqt3")
    assert asker.scopes == {"openid", "profile", "reademail"}


METADATA = "https://resource.example.com/.well-known/oauth-protected-resource"
CHALLENGES: dict[str, tuple[TimewardenError, str | None]] = {
    "no credentials, no code (6750 section 3.1)": (MissingToken(), 'Bearer realm="example"'),
    "a malformed request": (
        MalformedCredentials("Send one header"),
        'Bearer realm="example", error="invalid_request", error_description="Send one header"',
    ),
    "the example of 6750 section 3": (
        InvalidToken("The access token expired"),
        'Bearer realm="example", error="invalid_token", error_description="The access token expired"',
    ),
    "a scope that is lacking": (
        InsufficientScope(["read:timesheets"]),
        (
            'Bearer realm="example", error="insufficient_scope",'
            ' error_description="This needs the scope read:timesheets", scope="read:timesheets"'
        ),
    ),
    "the first example of 9470 section 3": (
        StepUpNeeded("A different authentication level is required", acr_values="myACR"),
        (
            'Bearer realm="example", error="insufficient_user_authentication",'
            ' error_description="A different authentication level is required", acr_values="myACR"'
        ),
    ),
    "the second example of 9470 section 3": (
        StepUpNeeded("More recent authentication is required", max_age=5),
        (
            'Bearer realm="example", error="insufficient_user_authentication",'
            ' error_description="More recent authentication is required", max_age="5"'
        ),
    ),
    "a policy that denies": (Forbidden(["You do not lead this team"]), None),
    "keys that cannot be had": (KeysUnavailable(), None),
    "a malformed body": (MalformedRequest(), None),
}


@pytest.mark.parametrize(("error", "value"), CHALLENGES.values(), ids=CHALLENGES)
def test_each_error_has_the_challenge_that_the_rfcs_give_it(error: TimewardenError, value: str | None) -> None:
    assert build_challenge(error, realm="example") == value


def test_the_challenge_names_the_metadata_of_rfc_9728() -> None:
    value = build_challenge(MissingToken(), realm="example", resource_metadata=METADATA)
    assert value == f'Bearer realm="example", resource_metadata="{METADATA}"'


def test_nothing_breaks_out_of_a_quoted_value() -> None:
    value = build_challenge(InvalidToken('a"b\\c\r\nSet-Cookie: d\x00\u20ac'), realm='x"y', resource_metadata='z"')
    assert value == (
        'Bearer realm="xy", error="invalid_token", error_description="abcSet-Cookie: d", resource_metadata="z"'
    )
