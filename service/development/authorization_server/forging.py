"""Forges access tokens for the demo page: with any claims, and with one fault of a list, to see what refuses them.

Pure but for the clock and the random: keys are handed in. What no library would sign is put together here.
"""

from __future__ import annotations

import base64
import hmac
import json
import time
from dataclasses import dataclass
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, cast

from joserfc.jwk import ECKey, RSAKey
from joserfc.jws import JWSRegistry

from service.development.authorization_server.access_tokens import access_token_claims
from service.development.authorization_server.sessions import SignIn
from service.development.people import PEOPLE

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from joserfc.jwk import Key

Claims = dict[str, Any]

TYPES = ("at+jwt", "application/at+jwt", "JWT", "dpop+jwt", "token-introspection+jwt", "(none)")
FORGED_ALGORITHMS = ("RS256", "ES256", "PS256")


@dataclass(frozen=True, slots=True)
class Wish:
    """What the token shall say. `who` is a demo person's login, or empty for the client itself; `lifetime` in seconds,
    less than zero for one that has expired; `second_factor` and `sign_in_age` (seconds) are those of the person.
    """

    client_id: str
    who: str = ""
    scope: str = ""
    lifetime: int = 3600
    typ: str = "at+jwt"
    algorithm: str = "RS256"
    fault: str = ""
    second_factor: bool = False
    sign_in_age: int = 0


def forged(wish: Wish, issuer: str, audience: str, signing_key: Callable[[str], Key]) -> str:
    """The token. `signing_key` gives the server's key for an algorithm. `wish.fault` is one of FAULTS, or empty."""
    person = PEOPLE.get(wish.who)
    methods = ("pwd", "mfa") if wish.second_factor else ("pwd",)
    who = SignIn(person, int(time.time()) - wish.sign_in_age, methods) if person else None
    claims = access_token_claims(issuer, audience, wish.client_id, who, wish.scope, None)
    claims["exp"] = claims["iat"] + wish.lifetime
    if wish.lifetime < 0:
        claims["iat"] = claims["exp"] - 60
    key = signing_key("ES256" if wish.algorithm == "ES256" else "RS256")
    header = {"alg": wish.algorithm, "typ": wish.typ, "kid": key.kid}
    if wish.typ == "(none)":
        del header["typ"]
    if wish.fault in _CHANGED_CLAIMS:
        claims |= _CHANGED_CLAIMS[wish.fault](claims)
    if wish.fault in _MISSING_CLAIMS:
        claims.pop(_MISSING_CLAIMS[wish.fault], None)
    return _put_together(wish.fault, header, claims, key)


_MISSING_CLAIMS: Mapping[str, str] = {
    "no-issuer": "iss",
    "no-audience": "aud",
    "no-expiry": "exp",
    "no-subject": "sub",
    "no-client": "client_id",
    "no-id": "jti",
}

_CHANGED_CLAIMS: Mapping[str, Callable[[Claims], Claims]] = {
    "other-issuer": lambda claims: {"iss": f"{claims['iss']}/"},
    "other-audience": lambda claims: {"aud": f"{claims['aud']}/"},
    "expiry-as-text": lambda claims: {"exp": str(claims["exp"])},
    "endless": lambda _: {"exp": 1e30},
    "not-yet": lambda claims: {"nbf": claims["iat"] + 3600},
    "from-the-future": lambda claims: {"iat": claims["iat"] + 1800, "exp": claims["iat"] + 3600},
    "numeric-subject": lambda _: {"sub": 7},
    "nul-in-subject": lambda claims: {"sub": f"{claims['sub']}\x00"},
    "id-token": lambda claims: {"nonce": "n", "aud": claims["client_id"]},
    "bound-to-a-key": lambda _: {"cnf": {"jkt": "0" * 43}},
    "bound-to-what-nobody-knows": lambda _: {"cnf": {"no-such-binding": "x"}},
}

FAULTS: Mapping[str, str] = MappingProxyType(
    {
        "changed-signature": "a bit of the signature is changed",
        "changed-claims": "a claim is changed after signing",
        "unsigned": "alg is none, and there is no signature",
        "public-key-as-secret": "HS256 with our public key as its secret",
        "unknown-key": "signed with a key that we do not publish",
        "foreign-key": "signed with another key, under the id of ours",
        "embedded-key": "signed with another key, which the header holds",
        "critical": "a critical header extension",
        "repeated-claim": "sub stands twice",
        "no-issuer": "without iss",
        "other-issuer": "another iss, by one slash",
        "no-audience": "without aud",
        "other-audience": "another aud, by one slash",
        "no-expiry": "without exp",
        "expiry-as-text": "exp is a text",
        "endless": "exp is 1e30",
        "not-yet": "nbf is an hour ahead",
        "from-the-future": "iat is half an hour ahead",
        "no-subject": "without sub",
        "numeric-subject": "sub is a number",
        "nul-in-subject": "sub holds a NUL",
        "no-client": "without client_id",
        "no-id": "without jti",
        "id-token": "an ID token: nonce, and the client as aud",
        "bound-to-a-key": "bound to a DPoP key, sent as Bearer",
        "bound-to-what-nobody-knows": "bound to something that nobody can check",
    }
)


def _put_together(fault: str, header: dict[str, Any], claims: Claims, key: Key) -> str:
    signer: Key = key
    if fault in ("unknown-key", "foreign-key", "embedded-key"):
        signer = ECKey.generate_key("P-256") if header["alg"] == "ES256" else RSAKey.generate_key(2048)
        header |= {"kid": "no-such-key"} if fault == "unknown-key" else {}
        header |= {"jwk": signer.as_dict(private=False)} if fault == "embedded-key" else {}
    if fault == "critical":
        header |= {"crit": ["no-such-extension"], "no-such-extension": True}
    if fault == "unsigned":
        return f"{_part(_json(header | {'alg': 'none'}))}.{_part(_json(claims))}."
    if fault == "public-key-as-secret":
        header["alg"] = "HS256"
    payload = _json(claims)
    if fault == "repeated-claim":
        payload = payload[:-1] + b',"sub":"dev|adam"}'
    signed = f"{_part(_json(header))}.{_part(payload)}"
    if fault == "public-key-as-secret":
        secret = cast("RSAKey | ECKey", key).as_pem(private=False)
        signature = hmac.digest(secret, signed.encode(), "sha256")
    else:
        signature = JWSRegistry.algorithms[header["alg"]].sign(signed.encode(), signer)
    if fault == "changed-signature":
        signature = bytes([signature[0] ^ 1]) + signature[1:]
    if fault == "changed-claims":
        signed = f"{_part(_json(header))}.{_part(_json(claims | {'sub': 'dev|adam'}))}"
    return f"{signed}.{_part(signature)}"


def _json(part: Mapping[str, Any]) -> bytes:
    return json.dumps(part, separators=(",", ":")).encode()


def _part(content: bytes) -> str:
    return base64.urlsafe_b64encode(content).rstrip(b"=").decode()
