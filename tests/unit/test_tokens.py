"""A good token yields its Principal. Every known kind of bad token is refused, each with its cause."""

from __future__ import annotations

import hashlib
import hmac
import json
from typing import Any

import pytest
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec

from service.errors import InvalidToken, Misconfigured
from service.identity.jwk_set import MAX_KEYS_PER_KID
from service.identity.principal import UNLISTED, PrincipalKind
from service.identity.refusals import SENTENCES
from service.identity.tokens import Tokens
from tests.token_forge import (
    ABSENT,
    AUDIENCE,
    ISSUER,
    NOW,
    bearer,
    claims,
    ec_key,
    encode_part,
    good_ec_token,
    good_token,
    header,
    issuer,
    jwk,
    jwks,
    rsa_key,
    sign,
    verifier,
)


async def refusal_cause(token: bytes, tokens: Tokens | None = None) -> str:
    """The cause of the refusal. Fails if the token is accepted, or if the error shows its content."""
    with pytest.raises(InvalidToken) as caught:
        await (tokens or verifier()).verify(bearer(token))
    assert caught.value.public in SENTENCES.values()
    return str(caught.value.cause)


@pytest.mark.parametrize("token", [good_token, good_ec_token], ids=["RS256", "ES256"])
async def test_a_good_token_gives_its_principal(token: Any) -> None:
    caller = await verifier().verify(
        bearer(token(roles=["payroll", "Team:Lead"], auth_time=NOW - 60, amr=["pwd", "otp"], acr="loa2"))
    )
    assert caller.kind is PrincipalKind.USER
    assert (caller.issuer, caller.issuer_name, caller.subject) == (ISSUER, "example", "auth0|ana")
    assert (caller.client, caller.token_id, caller.acr) == ("web-app", "token-1", "loa2")
    assert caller.scopes == {"read:timesheets", "create:timesheets"}
    assert caller.roles == {"role:payroll", "role:Team:Lead"}
    assert caller.methods == frozenset({"pwd", "otp"})
    assert caller.authenticated_at == NOW - 60
    assert caller.person is None


async def test_a_token_without_scopes_roles_and_sign_in_grants_none_of_them() -> None:
    caller = await verifier().verify(bearer(good_token(scope=ABSENT)))
    assert (caller.scopes, caller.roles) == (frozenset(), frozenset())
    assert (caller.methods, caller.acr, caller.authenticated_at) == (None, None, None)


@pytest.mark.parametrize("typ", ["at+jwt", "AT+JWT", "application/at+jwt", "Application/At+Jwt"])
async def test_the_type_of_rfc_9068_is_accepted_in_every_spelling(typ: str) -> None:
    await verifier().verify(bearer(sign(header(typ=typ), claims())))


@pytest.mark.parametrize("audience", [AUDIENCE, [AUDIENCE], ["https://other.example", AUDIENCE]])
async def test_an_audience_that_contains_ours_is_accepted(audience: Any) -> None:
    await verifier().verify(bearer(good_token(aud=audience)))


async def test_roles_may_be_in_a_claim_named_by_a_url() -> None:
    claim = "https://timewarden.example/roles"
    tokens = verifier(issuer(roles_claim=claim))
    caller = await tokens.verify(bearer(good_token(**{claim: ["auditor"], "roles": ["ignored"]})))
    assert caller.roles == {"role:auditor"}


async def test_ps256_works_with_a_key_that_names_no_algorithm_where_the_issuer_allows_it() -> None:
    token = sign(header(alg="PS256"), claims())
    await verifier(issuer(algorithms=frozenset({"PS256", "RS256"}))).verify(bearer(token))
    assert await refusal_cause(token) == "algorithm"


async def test_a_token_without_kid_is_accepted_only_if_one_key_could_have_signed_it() -> None:
    token = sign(header(kid=ABSENT), claims())
    await verifier().verify(bearer(token))
    two = jwks(jwk(rsa_key(), "rsa-1"), jwk(rsa_key("second"), "rsa-2"))
    assert await refusal_cause(token, verifier(body=two)) == "ambiguous-key"


@pytest.mark.parametrize("signed_by", ["first", "second"])
async def test_a_token_is_checked_with_each_key_of_the_name_that_it_gives(signed_by: str) -> None:
    shared = jwks(jwk(rsa_key("first"), "rsa-1"), jwk(ec_key(), "rsa-1"), jwk(rsa_key("second"), "rsa-1", use="sig"))
    tokens = verifier(body=shared)
    await tokens.verify(bearer(sign(header(), claims(), rsa_key(signed_by))))
    assert await refusal_cause(sign(header(), claims(), rsa_key("attacker")), tokens) == "signature"


async def test_a_token_is_not_checked_with_a_key_of_its_name_for_another_use_or_algorithm() -> None:
    others = (jwk(rsa_key("second"), "rsa-1", use="enc"), jwk(rsa_key("third"), "rsa-1", alg="RS512"))
    tokens = verifier(body=jwks(jwk(rsa_key(), "rsa-1"), *others))
    for name in ("second", "third"):
        assert await refusal_cause(sign(header(), claims(), rsa_key(name)), tokens) == "signature"


async def test_more_keys_of_one_name_than_are_tried_are_refused_as_ambiguous() -> None:
    keys = [jwk(ec_key(str(number)), "shared") for number in range(MAX_KEYS_PER_KID + 1)]
    token = sign(header(alg="ES256", kid="shared"), claims(), ec_key(str(MAX_KEYS_PER_KID - 1)))
    await verifier(body=jwks(*keys[:-1])).verify(bearer(token))
    assert await refusal_cause(token, verifier(body=jwks(*keys))) == "ambiguous-key"


async def test_a_key_that_is_listed_twice_is_one_key() -> None:
    twice = jwks(jwk(rsa_key(), None), jwk(rsa_key(), None, use="sig"))
    await verifier(body=twice).verify(bearer(sign(header(kid=ABSENT), claims())))


async def test_each_issuer_has_its_own_keys_audience_and_rules() -> None:
    other = issuer(
        name="other",
        prefix="other",
        issuer="https://other.example",
        accepted_types=frozenset({"JWT"}),
        audience="other",
    )
    tokens = verifier(issuer(), other)
    await tokens.verify(bearer(good_token()))
    theirs = claims(iss="https://other.example", aud="other")
    caller = await tokens.verify(bearer(sign(header(typ="JWT"), theirs)))
    assert caller.issuer_name == "other"
    assert await refusal_cause(sign(header(), theirs), tokens) == "type"
    assert await refusal_cause(good_token(aud="other"), tokens) == "audience"


def raw(text: str) -> bytes:
    """A token with exactly this text as its claims, correctly signed."""
    return sign(header(), text.encode())


def with_claims(extra: str) -> str:
    """The good claims as JSON, with these members appended."""
    return json.dumps(claims())[:-1] + "," + extra + "}"


ALPHABET = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"


def with_stray_bits() -> bytes:
    """The good token with a non-canonical signature: unused trailing bits are set."""
    token = good_token()
    last = ALPHABET.index(token[-1:])
    return token[:-1] + ALPHABET[last + 1 : last + 2]


def hmac_with_public_key() -> bytes:
    body = encode_part(json.dumps(header(alg="HS256")).encode()) + b"." + encode_part(json.dumps(claims()).encode())
    secret = json.dumps(jwk(rsa_key(), "rsa-1")).encode()
    return body + b"." + encode_part(hmac.digest(secret, body, hashlib.sha256))


SHAPES: dict[str, tuple[bytes, str]] = {
    "one part": (b"abc", "format"),
    "two parts": (b"abc.def", "format"),
    "four parts": (good_token() + b".abc", "format"),
    "five parts, as encrypted tokens have": (b"a.b.c.d.e", "format"),
    "an empty signature": (good_token().rsplit(b".", 1)[0] + b".", "format"),
    "alg none": (sign(header(alg="none"), claims()), "algorithm"),
    "padding": (good_token() + b"==", "format"),
    "the alphabet of plain base64": (good_token().replace(b".", b".+/", 1), "format"),
    "stray trailing bits": (with_stray_bits(), "encoding"),
    "a part of impossible length": (b"abcde." + good_token().split(b".", 1)[1], "encoding"),
    "too many bytes": (good_token(scope="x" * 13_000), "too-large"),
    "claims that are a list": (raw("[]"), "json"),
    "claims that are not JSON": (raw("{"), "json"),
    "claims nested too deeply": (raw(with_claims('"x":' + "[" * 5000 + "]" * 5000)), "json"),
    "a repeated claim": (raw(with_claims('"sub":"root"')), "json"),
    "a repeated member inside a claim": (raw(with_claims('"x":{"a":1,"a":2}')), "json"),
    "a byte order mark": (raw("\ufeff" + json.dumps(claims())), "json"),
    "UTF-16": (sign(header(), json.dumps(claims()).encode("utf-16")), "json"),
    "UTF-16 without mark": (sign(header(), json.dumps(claims()).encode("utf-16-le")), "json"),
    "bytes that are not UTF-8": (sign(header(), b'{"sub":"\xff"}'), "json"),
    "NaN": (raw(with_claims('"x":NaN')), "json"),
    "Infinity": (raw(with_claims('"x":Infinity')), "json"),
    "a number beyond a double": (raw(with_claims('"x":1e999')), "json"),
    "an integer of five thousand digits": (raw(with_claims('"x":' + "9" * 5000)), "json"),
    "a raw control character": (raw(with_claims('"x":"\x00"')), "json"),
    "a lone surrogate anywhere": (raw(with_claims('"x":["\\ud800"]')), "json"),
    "a repeated header member": (
        sign(b'{"alg":"none","alg":"RS256","typ":"at+jwt","kid":"rsa-1"}', claims()),
        "json",
    ),
    "a header that is a list": (sign(b"[]", claims()), "json"),
}


@pytest.mark.parametrize(("token", "cause"), SHAPES.values(), ids=SHAPES)
async def test_anything_but_a_strict_jwt_is_refused(token: bytes, cause: str) -> None:
    assert await refusal_cause(token) == cause


HEADERS: dict[str, tuple[dict[str, Any], str]] = {
    "no alg": ({"alg": ABSENT}, "header"),
    "an alg that is no string": ({"alg": ["RS256"]}, "header"),
    "alg in other case": ({"alg": "rs256"}, "algorithm"),
    "alg None": ({"alg": "None"}, "algorithm"),
    "an algorithm outside the list": ({"alg": "RS512"}, "algorithm"),
    "no type": ({"typ": ABSENT}, "type"),
    "an empty type": ({"typ": ""}, "header"),
    "a type that is no string": ({"typ": 1}, "header"),
    "JWT without opt-in": ({"typ": "JWT"}, "type"),
    "a DPoP proof": ({"typ": "dpop+jwt"}, "type"),
    "a logout token": ({"typ": "logout+jwt"}, "type"),
    "an introspection answer": ({"typ": "token-introspection+jwt"}, "type"),
    "a security event": ({"typ": "secevent+jwt"}, "type"),
    "a type with another prefix": ({"typ": "text/at+jwt"}, "type"),
    "a type with a longer path": ({"typ": "application/x/at+jwt"}, "type"),
    "crit": ({"crit": ["exp"]}, "critical"),
    "an empty crit": ({"crit": []}, "critical"),
    "b64": ({"b64": True}, "critical"),
    "zip": ({"zip": "DEF"}, "critical"),
    "jwk": ({"jwk": jwk(rsa_key("attacker"), "rsa-1")}, "embedded-key"),
    "jku": ({"jku": "https://attacker.example/jwks"}, "embedded-key"),
    "x5u": ({"x5u": "https://attacker.example/x5u"}, "embedded-key"),
    "x5c": ({"x5c": ["MII"]}, "embedded-key"),
    "an empty kid": ({"kid": ""}, "header"),
    "a kid that is no string": ({"kid": 1}, "header"),
    "a kid that is null": ({"kid": None}, "header"),
    "an endless kid": ({"kid": "k" * 257}, "header"),
    "an unknown kid": ({"kid": "../../dev/null"}, "unknown-key"),
    "the kid of a key of another kind": ({"kid": "ec-1"}, "unknown-key"),
}


@pytest.mark.parametrize(("changes", "cause"), HEADERS.values(), ids=HEADERS)
async def test_a_wrong_header_is_refused(changes: dict[str, Any], cause: str) -> None:
    assert await refusal_cause(sign(header(**changes), claims())) == cause


async def test_a_signature_by_another_key_is_refused() -> None:
    assert await refusal_cause(sign(header(), claims(), rsa_key("attacker"))) == "signature"
    assert await refusal_cause(sign(header(alg="ES256", kid="ec-1"), claims(), ec_key("attacker"))) == "signature"


async def test_the_public_key_used_as_a_shared_secret_is_refused() -> None:
    assert await refusal_cause(hmac_with_public_key()) == "algorithm"


@pytest.mark.parametrize("zeros", [b"\0" * 64, b"\0" * 63 + b"\1", b"\0", b"\xff" * 64, b"\0" * 65])
async def test_an_elliptic_signature_of_zeros_or_of_another_length_is_refused(zeros: bytes) -> None:
    body = good_ec_token().rsplit(b".", 1)[0]
    assert await refusal_cause(body + b"." + encode_part(zeros)) == "signature"


async def test_a_signature_in_der_is_refused() -> None:
    body = good_ec_token().rsplit(b".", 1)[0]
    der = ec_key().sign(body, ec.ECDSA(hashes.SHA256()))
    assert await refusal_cause(body + b"." + encode_part(der)) == "signature"


async def test_the_signature_of_another_token_is_refused() -> None:
    body = good_token(sub="root").rsplit(b".", 1)[0]
    assert await refusal_cause(body + b"." + good_token().rsplit(b".", 1)[1]) == "signature"


KEYS: dict[str, dict[str, Any]] = {
    "for encryption": jwk(rsa_key(), "rsa-1", use="enc"),
    "whose use is no word": jwk(rsa_key(), "rsa-1", use=["sig"]),
    "for signing only": jwk(rsa_key(), "rsa-1", key_ops=["sign"]),
    "whose operations are no list": jwk(rsa_key(), "rsa-1", key_ops="verify"),
    "for another algorithm": jwk(rsa_key(), "rsa-1", alg="PS256"),
    "whose algorithm is null": jwk(rsa_key(), "rsa-1", alg=None),
    "of 1024 bits": jwk(rsa_key("short", 1024), "rsa-1"),
    "published with its private part": jwk(rsa_key(), "rsa-1", d="AQAB"),
    "of an unknown kind": {**jwk(rsa_key(), "rsa-1"), "kty": "rsa"},
    "without its modulus": {"kty": "RSA", "kid": "rsa-1", "e": "AQAB"},
    "with a number for a modulus": {"kty": "RSA", "kid": "rsa-1", "e": "AQAB", "n": 5},
    "with an empty modulus": {"kty": "RSA", "kid": "rsa-1", "e": "AQAB", "n": ""},
    "that is a secret": {"kty": "oct", "kid": "rsa-1", "k": "AAAA"},
    "with a number for its id": {**jwk(rsa_key(), None), "kid": 1},
    "of another kind than the header says": jwk(ec_key(), "rsa-1"),
}
REFUSED_KEYS = {
    "of 1024 bits": "key-modulus-length",
    "published with its private part": "key-private",
    "without its modulus": "key-unreadable",
    "with a number for a modulus": "key-unreadable",
    "with an empty modulus": "key-unreadable",
}


@pytest.mark.parametrize("name", KEYS)
async def test_an_unsuitable_key_is_not_used(name: str) -> None:
    signer = rsa_key("short", 1024) if name == "of 1024 bits" else rsa_key()
    tokens = verifier(body=jwks(KEYS[name], jwk(rsa_key("second"), "rsa-2")))
    assert await refusal_cause(sign(header(), claims(), signer), tokens) == REFUSED_KEYS.get(name, "unknown-key")


async def test_a_point_that_is_not_on_the_curve_is_no_key() -> None:
    key = {**jwk(ec_key(), "ec-1"), "y": jwk(ec_key("second"), "x")["y"]}
    assert await refusal_cause(good_ec_token(), verifier(body=jwks(key, jwk(rsa_key(), "rsa-1")))) == "key-unreadable"


def nested_actors(count: int) -> dict[str, Any]:
    act: dict[str, Any] = {"client_id": "assistant"}
    for _ in range(count - 1):
        act = {"client_id": "gateway", "act": act}
    return act


CLAIMS: dict[str, tuple[dict[str, Any], str]] = {
    "no issuer": ({"iss": ABSENT}, "issuer"),
    "another issuer": ({"iss": "https://other.example/"}, "issuer"),
    "the issuer without its slash": ({"iss": ISSUER.rstrip("/")}, "issuer"),
    "the issuer in other case": ({"iss": ISSUER.upper()}, "issuer"),
    "a list of issuers": ({"iss": [ISSUER]}, "issuer"),
    "no expiry": ({"exp": ABSENT}, "expiry"),
    "an expiry as a string": ({"exp": str(NOW + 60)}, "expiry"),
    "an expiry that is true": ({"exp": True}, "expiry"),
    "an expiry that is null": ({"exp": None}, "expiry"),
    "an expiry beyond all years": ({"exp": 1e30}, "expiry"),
    "an expiry of a thousand digits": ({"exp": 10**1000}, "expiry"),
    "a negative expiry": ({"exp": -1}, "expiry"),
    "an expiry a second ago": ({"exp": NOW - 1}, "expired"),
    "an expiry now": ({"exp": NOW}, "expired"),
    "a life of two days": ({"exp": NOW + 172_800}, "lifetime"),
    "no time of issue": ({"iat": ABSENT}, "issued-at"),
    "a time of issue as a string": ({"iat": str(NOW)}, "issued-at"),
    "a time of issue ahead": ({"iat": NOW + 120}, "issued-at"),
    "not valid before later": ({"nbf": NOW + 120}, "not-yet"),
    "not valid before a word": ({"nbf": "now"}, "not-yet"),
    "no audience": ({"aud": ABSENT}, "audience"),
    "another audience": ({"aud": "https://api.example/other"}, "audience"),
    "an audience that begins with ours": ({"aud": AUDIENCE + "/"}, "audience"),
    "an empty list of audiences": ({"aud": []}, "audience"),
    "an audience list with a number": ({"aud": [AUDIENCE, 1]}, "audience"),
    "an audience object": ({"aud": {AUDIENCE: 1}}, "audience"),
    "a hundred audiences": ({"aud": [AUDIENCE] * 100}, "audience"),
    "no subject": ({"sub": ABSENT}, "subject"),
    "an empty subject": ({"sub": ""}, "subject"),
    "a blank subject": ({"sub": " "}, "subject"),
    "a subject that is a number": ({"sub": 7}, "subject"),
    "a subject with NUL": ({"sub": "ana\x00"}, "subject"),
    "a subject with a line break": ({"sub": "ana\nroot"}, "subject"),
    "a subject with a C1 control": ({"sub": "ana\x9b"}, "subject"),
    "a subject with a lone surrogate": ({"sub": "ana\ud800"}, "json"),
    "an endless subject": ({"sub": "a" * 256}, "subject"),
    "no client": ({"client_id": ABSENT}, "client"),
    "azp alone, in an at+jwt": ({"client_id": ABSENT, "azp": "web-app"}, "client"),
    "azp that contradicts": ({"azp": "other-app"}, "client"),
    "a client that is a list": ({"client_id": ["web-app"]}, "client"),
    "an empty client": ({"client_id": ""}, "client"),
    "no token id": ({"jti": ABSENT}, "token-id"),
    "a token id that is a number": ({"jti": 1}, "token-id"),
    "an endless token id": ({"jti": "j" * 256}, "token-id"),
    "scopes as a list": ({"scope": ["read:timesheets"]}, "scope"),
    "scopes that are null": ({"scope": None}, "scope"),
    "scopes with two spaces": ({"scope": "read:timesheets  create:timesheets"}, "scope"),
    "scopes with a tab": ({"scope": "read:timesheets\tapprove:timesheets"}, "scope"),
    "scopes with a quote": ({"scope": 'read:"timesheets'}, "scope"),
    "scopes without end": ({"scope": " ".join(f"s{number}" for number in range(101))}, "scope"),
    "roles as a string": ({"roles": "payroll"}, "roles"),
    "roles that are null": ({"roles": None}, "roles"),
    "a role with a space": ({"roles": ["pay roll"]}, "roles"),
    "a role with a comma": ({"roles": ["a,b"]}, "roles"),
    "a role with a line break at its end": ({"roles": ["payroll\n"]}, "roles"),
    "an empty role": ({"roles": [""]}, "roles"),
    "a role that is a number": ({"roles": [1]}, "roles"),
    "a role of 65 characters": ({"roles": ["r" * 65]}, "roles"),
    "roles without end": ({"roles": [f"r{number}" for number in range(101)]}, "roles"),
    "a binding to a DPoP key": ({"cnf": {"jkt": "x"}}, "sender-constrained"),
    "a binding to a certificate": ({"cnf": {"x5t#S256": "x"}}, "sender-constrained"),
    "a binding to nothing": ({"cnf": None}, "sender-constrained"),
    "acr as a number": ({"acr": 2}, "authentication"),
    "amr as a string": ({"amr": "mfa"}, "authentication"),
    "amr with a number": ({"amr": [1]}, "authentication"),
    "a sign-in as a string": ({"auth_time": str(NOW)}, "authentication"),
    "a sign-in that is true": ({"auth_time": True}, "authentication"),
    "a sign-in after the token was issued": ({"auth_time": NOW + 600}, "authentication"),
    "an actor that is a string": ({"act": "assistant"}, "actors"),
    "an actor that is null": ({"act": None}, "actors"),
    "actors in a list": ({"act": [{"sub": "assistant"}]}, "actors"),
    "an actor without a name": ({"act": {}}, "actors"),
    "an actor of whom only the issuer is named": ({"act": {"iss": "https://other.example"}}, "actors"),
    "an actor whose subject is a number": ({"act": {"sub": 7}}, "actors"),
    "an actor whose subject is a list": ({"act": {"sub": ["assistant"]}}, "actors"),
    "an actor whose client is an object": ({"act": {"client_id": {"a": 1}}}, "actors"),
    "an actor with a line break": ({"act": {"client_id": "assistant\nroot"}}, "actors"),
    "an endless actor": ({"act": {"client_id": "a" * 256}}, "actors"),
    "an actor with two clients": ({"act": {"client_id": "assistant", "azp": "gateway"}}, "actors"),
    "an actor who calls itself unlisted": ({"act": {"client_id": UNLISTED}}, "actors"),
    "a bad actor behind a good one": ({"act": {"client_id": "assistant", "act": {"sub": ""}}}, "actors"),
    "five actors": ({"act": nested_actors(5)}, "actors"),
    "actors without end": ({"act": nested_actors(100)}, "actors"),
    "another client's machine subject": ({"sub": "other-app@clients"}, "kind"),
    "a service account that is not the client": ({"preferred_username": "service-account-x"}, "kind"),
    "client credentials in one claim, a person in the other": ({"gty": "client-credentials", "idtyp": "user"}, "kind"),
    "a person's grant with the client as subject": ({"gty": "password", "sub": "web-app"}, "kind"),
    "a grant that is a list": ({"gty": ["client-credentials"]}, "kind"),
}


@pytest.mark.parametrize(("changes", "cause"), CLAIMS.values(), ids=CLAIMS)
async def test_missing_wrong_or_ambiguous_claims_are_refused(changes: dict[str, Any], cause: str) -> None:
    assert await refusal_cause(good_token(**changes)) == cause


def test_no_sentence_needs_escaping_in_a_challenge() -> None:
    for sentence in SENTENCES.values():
        assert sentence.isascii()
        assert sentence.isprintable()
        assert not set(sentence) & {'"', "\\"}


PERSON, MACHINE = PrincipalKind.USER, PrincipalKind.CLIENT
KINDS: dict[str, tuple[dict[str, Any], PrincipalKind]] = {
    "a person through a client": ({}, PERSON),
    "the client as subject (RFC 9068)": ({"sub": "web-app"}, MACHINE),
    "Auth0's machine subject": ({"sub": "web-app@clients"}, MACHINE),
    "Auth0's grant type": ({"gty": "client-credentials", "sub": "web-app@clients"}, MACHINE),
    "a person's grant type": ({"gty": "password"}, PERSON),
    "Entra's app": ({"idtyp": "app"}, MACHINE),
    "Entra's user": ({"idtyp": "user"}, PERSON),
}


@pytest.mark.parametrize(("changes", "kind"), KINDS.values(), ids=KINDS)
async def test_a_client_acting_for_itself_is_distinguished_from_a_person(
    changes: dict[str, Any], kind: PrincipalKind
) -> None:
    assert (await verifier().verify(bearer(good_token(**changes)))).kind is kind


OTHER_USES: dict[str, dict[str, Any]] = {
    "an ID token by its nonce": {"nonce": "n"},
    "an ID token by its at_hash": {"at_hash": "h"},
    "an ID token by its only audience": {"client_id": AUDIENCE},
    "an ID token by its only audience in a list": {"client_id": AUDIENCE, "aud": [AUDIENCE]},
    "an ID token of Cognito": {"token_use": "id"},
    "a refresh token of Keycloak": {"typ": "Refresh"},
    "an ID token of Keycloak": {"typ": "ID"},
    "a logout token": {"events": {}},
    "an introspection answer": {"token_introspection": {}},
}


@pytest.mark.parametrize("changes", OTHER_USES.values(), ids=OTHER_USES)
async def test_other_kinds_of_token_are_refused_even_if_the_type_jwt_is_allowed(changes: dict[str, Any]) -> None:
    tokens = verifier(issuer(accepted_types=frozenset({"at+jwt", "JWT"})))
    assert await refusal_cause(sign(header(typ="JWT"), claims(**changes)), tokens) == "other-use"


async def test_with_the_type_jwt_azp_may_name_the_client_and_jti_may_be_absent() -> None:
    tokens = verifier(issuer(accepted_types=frozenset({"JWT"})))
    token = sign(header(typ="JWT"), claims(client_id=ABSENT, azp="spa", jti=ABSENT))
    caller = await tokens.verify(bearer(token))
    assert (caller.client, caller.token_id) == ("spa", None)
    assert await refusal_cause(sign(header(typ=ABSENT), claims()), tokens) == "type"


async def test_a_token_without_type_is_accepted_if_the_issuer_allows_it() -> None:
    tokens = verifier(issuer(accepted_types=frozenset({""})))
    await tokens.verify(bearer(sign(header(typ=ABSENT), claims())))


async def test_a_cached_token_still_expires() -> None:
    clock = [float(NOW)]
    tokens = verifier(clock=lambda: clock[0])
    token = good_token(exp=NOW + 100)
    first = await tokens.verify(bearer(token))
    assert await tokens.verify(bearer(token)) is first
    clock[0] = NOW + 100
    assert await refusal_cause(token, tokens) == "expired"


async def test_at_most_max_cached_tokens_are_cached() -> None:
    tokens = verifier(max_cached=2)
    oldest, *newer = (good_token(jti=name) for name in ("first", "second", "third"))
    first = await tokens.verify(bearer(oldest))
    for token in newer:
        await tokens.verify(bearer(token))
    assert await tokens.verify(bearer(oldest)) is not first
    assert len(tokens._cache) == 2


async def test_the_error_shows_no_content_of_a_refused_token() -> None:
    token = good_token(sub="secret-person\x00", jti="secret-id", scope="secret:scope")
    with pytest.raises(InvalidToken) as caught:
        await verifier().verify(bearer(token))
    shown = f"{caught.value!r} {caught.value.public} {caught.value.cause} {caught.value.extra}"
    assert "secret" not in shown
    assert "ey" not in shown.replace("key", "")


UNSAFE: dict[str, dict[str, Any]] = {
    "no name": {"name": ""},
    "no issuer": {"issuer": ""},
    "no audience": {"audience": " "},
    "plain http": {"jwks_url": "http://keys.example/jwks"},
    "a file": {"jwks_url": "file:///etc/passwd"},
    "credentials in the address": {"jwks_url": "https://user:secret@keys.example/"},
    "a shared-secret algorithm": {"algorithms": frozenset({"RS256", "HS256"})},
    "alg none": {"algorithms": frozenset({"none"})},
    "no algorithm": {"algorithms": frozenset()},
    "no type": {"accepted_types": frozenset()},
    "an hour of leeway": {"leeway": 3600},
}


@pytest.mark.parametrize("changes", UNSAFE.values(), ids=UNSAFE)
def test_an_unsafe_issuer_cannot_be_configured(changes: dict[str, Any]) -> None:
    with pytest.raises(Misconfigured):
        issuer(**changes)


def test_an_issuer_is_configured_once_and_at_least_one_is() -> None:
    with pytest.raises(Misconfigured):
        verifier(issuer(), issuer(name="again", prefix="again"))
    with pytest.raises(Misconfigured):
        Tokens(())
